package hwmanager

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// grow writes files below a directory.
func grow(t *testing.T, root string, files map[string]string) {
	t.Helper()
	for name, content := range files {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func TestIdentity(t *testing.T) {
	h := host()
	h.Sys = t.TempDir()
	if id, err := h.DMI(); err != nil || id != (Identity{}) {
		t.Errorf("without DMI: %+v, %v", id, err)
	}
	if devices, err := h.PCI(); err != nil || devices != nil {
		t.Errorf("without PCI: %v, %v", devices, err)
	}
	grow(t, h.Sys, map[string]string{
		"class/dmi/id/sys_vendor": "ACME Inc.\n", "class/dmi/id/product_name": "Rocket 2\n", "class/dmi/id/bios_version": " 1.4 \n", "class/dmi/id/board_serial": "\xff7\n",
		"bus/pci/devices/0000:3b:00.0/vendor": "0x1000\n", "bus/pci/devices/0000:3b:00.0/device": "0x005d\n", "bus/pci/devices/0000:3b:00.0/class": "0x010400\n",
		"bus/pci/devices/0000:3b:00.0/subsystem_vendor": "0x1028\n", "bus/pci/devices/0000:3b:00.0/subsystem_device": "0x1f47\n",
		"bus/pci/devices/0000:3b:00.0/revision": "0x02\n", "bus/pci/devices/0000:3b:00.0/numa_node": "1\n",
		"bus/pci/devices/0000:00:1f.2/vendor": "0x8086\n", "bus/pci/devices/0000:00:1f.2/device": "rubbish",
		"bus/pci/devices/0000:99:00.0/class": "0x020000\n",
	})
	if err := os.Symlink("../../../../bus/pci/drivers/megaraid_sas", filepath.Join(h.Sys, "bus/pci/devices/0000:3b:00.0/driver")); err != nil {
		t.Fatal(err)
	}
	id, err := h.DMI()
	if diff := cmp.Diff(Identity{Vendor: "ACME Inc.", Product: "Rocket 2", FirmwareVersion: "1.4", BoardSerial: "?7"}, id); err != nil || diff != "" {
		t.Errorf("%v, identity (-want +got):\n%s", err, diff)
	}
	devices, err := h.PCI()
	want := []PCIDevice{
		{Address: "0000:00:1f.2", Vendor: 0x8086, NUMANode: -1},
		{Address: "0000:3b:00.0", Vendor: 0x1000, Device: 0x5d, SubVendor: 0x1028, SubDevice: 0x1f47, Class: 0x010400, Revision: 2, Driver: "megaraid_sas", NUMANode: 1},
	}
	if diff := cmp.Diff(want, devices); err != nil || diff != "" {
		t.Errorf("%v, devices (-want +got):\n%s", err, diff)
	}
	if got := devices[1].String(); got != "0000:3b:00.0 1000:005d" {
		t.Errorf("String = %s", got)
	}
}

// TestBMC: no device, and files that are none; nothing of it waits for long.
func TestBMC(t *testing.T) {
	h := host()
	h.Dev = t.TempDir()
	if _, err := h.BMC(t.Context(), 6, 1, nil); !errors.Is(err, ErrNoBMC) {
		t.Errorf("without a device: %v", err)
	}
	if _, err := h.BMC(t.Context(), 6, 1, make([]byte, 256)); err == nil || errors.Is(err, ErrNoBMC) {
		t.Errorf("too much data: %v", err)
	}
	if err := unix.Mkfifo(filepath.Join(h.Dev, "ipmi0"), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	if _, err := h.BMC(ctx, 6, 1, nil); err == nil || errors.Is(err, ErrNoBMC) || errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a pipe instead of a device: %v", err)
	}
}
