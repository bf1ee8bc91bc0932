// Package firmware is the hardware manager that brings firmware to a machine by
// what its kernel and its UEFI offer, without a BMC: to NVMe drives by their own
// commands, and to whatever the EFI System Resource Table lists by capsules.
package firmware

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"

	"ferric/api/ipa"
	"ferric/hwmanager"
	"ferric/hwmanager/capsule"
	"ferric/hwmanager/nvme"
)

// version of the manager. A change of its steps raises it.
const version = "1.0"

// Manager updates firmware. Use New.
type Manager struct {
	// What stands between it and the hardware; tests have others.
	open  func(path string) (controller, error)
	reset func(ctx context.Context, dir string) error
}

// controller is an open NVMe controller.
type controller interface {
	nvme.Transport
	io.Closer
}

// New makes the manager.
func New() *Manager {
	return &Manager{
		open:  func(path string) (controller, error) { return nvme.OpenController(path) },
		reset: nvme.Reset,
	}
}

var (
	_ hwmanager.Manager        = (*Manager)(nil)
	_ hwmanager.CleanStepper   = (*Manager)(nil)
	_ hwmanager.ServiceStepper = (*Manager)(nil)
	_ hwmanager.Collector      = (*Manager)(nil)
)

// Name implements hwmanager.Manager; what Collect finds stands under it.
func (*Manager) Name() string { return "firmware" }

// ClassName implements hwmanager.Manager.
func (*Manager) ClassName() string { return "FirmwareHardwareManager" }

// Version implements hwmanager.Manager.
func (*Manager) Version() string { return version }

// Evaluate implements hwmanager.Manager: it stands beside the generic manager on
// machines with an NVMe drive, whose driver may not have found it yet, or an ESRT.
func (*Manager) Evaluate(_ context.Context, h *hwmanager.Host) (hwmanager.Support, error) {
	if resources, _ := capsule.Resources(h.Sys); len(resources) > 0 {
		return hwmanager.Generic, nil
	}
	if drives, _ := filepath.Glob(filepath.Join(h.Sys, "class/nvme/nvme[0-9]*")); len(drives) > 0 {
		return hwmanager.Generic, nil
	}
	classes, _ := filepath.Glob(filepath.Join(h.Sys, "bus/pci/devices/*/class"))
	for _, file := range classes {
		// Mass storage, non-volatile memory controller.
		if strings.HasPrefix(text(file), "0x0108") {
			return hwmanager.Generic, nil
		}
	}
	return hwmanager.None, nil
}

// CleanSteps implements hwmanager.CleanStepper.
func (m *Manager) CleanSteps(context.Context, *hwmanager.Host, hwmanager.Node) ([]hwmanager.Step, error) {
	return []hwmanager.Step{m.step()}, nil
}

// ServiceSteps implements hwmanager.ServiceStepper.
func (m *Manager) ServiceSteps(context.Context, *hwmanager.Host, hwmanager.Node) ([]hwmanager.Step, error) {
	return []hwmanager.Step{m.step()}, nil
}

// step is update_firmware. It is one of the interface deploy, for conductors that
// know no firmware interface. A loss of power in its middle is for people to look
// at: it does not begin again by itself.
func (m *Manager) step() hwmanager.Step {
	restartable := false
	return hwmanager.NewStep(ipa.Step{
		Step: "update_firmware", Interface: "deploy", Priority: 0, RebootRequested: true, Abortable: false, Restartable: &restartable,
	}, m.update)
}

// maxAttribute bounds what is read of an attribute in sysfs.
const maxAttribute = 4 << 10

// text is an attribute without what is around it; "" if it is not there.
func text(path ...string) string {
	f, err := os.Open(filepath.Join(path...))
	if err != nil {
		return ""
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxAttribute))
	if err != nil {
		return ""
	}
	return strings.Trim(string(b), "\x00 \n\t")
}
