package generic

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"

	"ferric/hwmanager"
)

// i40e is the driver of network cards that answer LLDP packets themselves and
// keep them from the kernel.
const i40e = "i40e"

// stopFirmwareLLDP makes such cards hand the packets over (agent contract,
// section "Other managers", IntelCna).
func stopFirmwareLLDP(h *hwmanager.Host, names []string) error {
	if !slices.ContainsFunc(names, func(name string) bool {
		driver, err := os.Readlink(filepath.Join(h.Sys, "class/net", name, "device/driver"))
		return err == nil && filepath.Base(driver) == i40e
	}) {
		return nil
	}
	debug := filepath.Join(h.Sys, "kernel/debug")
	if _, err := os.Stat(filepath.Join(debug, i40e)); err != nil && live(h) {
		if err := unix.Mount("debugfs", debug, "debugfs", 0, ""); err != nil {
			return fmt.Errorf("stop LLDP of network cards: mount debugfs: %w", err)
		}
	}
	commands, err := filepath.Glob(filepath.Join(debug, i40e, "*", "command"))
	if err != nil || len(commands) == 0 {
		return fmt.Errorf("stop LLDP of network cards: %s has no commands", filepath.Join(debug, i40e))
	}
	for _, path := range commands {
		if err := os.WriteFile(path, []byte("lldp stop"), 0); err != nil {
			return fmt.Errorf("stop LLDP of a network card: %w", err)
		}
	}
	return nil
}
