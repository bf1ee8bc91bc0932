package generic

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"ferric/hwmanager"
)

// addStick puts a disk into h, on a USB bus or on SATA, with a volume of 2 MiB
// that dosfstools or genisoimage made.
func addStick(t *testing.T, h *hwmanager.Host, bus, size, label string, iso bool) string {
	t.Helper()
	device := "devices/pci0000:00/0000:00:07.0/" + bus + "/host7/target7:0:0/7:0:0:0"
	attributes := map[string]string{device + "/type": "0", device + "/block/sdc/size": size, device + "/block/sdc/ro": "0"}
	for name, value := range attributes {
		path := filepath.Join(h.Sys, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(value+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for link, target := range map[string]string{"block/sdc": device + "/block/sdc", device + "/block/sdc/device": device} {
		if err := os.Symlink(filepath.Join(h.Sys, target), filepath.Join(h.Sys, link)); err != nil {
			t.Fatal(err)
		}
	}
	path := filepath.Join(h.Dev, "sdc")
	if err := os.WriteFile(path, make([]byte, 2*mib), 0o644); err != nil {
		t.Fatal(err)
	}
	if iso {
		cmd := exec.Command("genisoimage", "-quiet", "-V", label, "-o", "-", t.TempDir())
		volume, err := cmd.Output()
		if err != nil {
			t.Fatalf("genisoimage: %v", err)
		}
		write(t, path, 0, volume)
		return path
	}
	if out, err := exec.Command("mkfs.vfat", "-n", label, path).CombinedOutput(); err != nil {
		t.Fatalf("mkfs.vfat: %v\n%s", err, out)
	}
	return path
}

func TestVirtualMedia(t *testing.T) {
	const usb, sata, small, large = "usb1/1-1/1-1:1.0", "ata3", "4096", "16777216"
	tests := []struct {
		name, bus, size, label string
		iso, kept              bool
	}{
		{"a FAT volume", usb, small, "IR-VFD-DEV", false, true},
		{"an ISO 9660 volume", usb, small, "ir-vfd-dev", true, true},
		{"another label", usb, small, "DATA", false, false},
		{"a disk of the machine with the label", sata, small, "IR-VFD-DEV", false, false},
		{"a large disk with the label", usb, large, "IR-VFD-DEV", false, false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			h := lab(t)
			shrink(t, h, 2*mib, "vda", "sda", "sdb", "nvme0n1")
			path := addStick(t, h, test.bus, test.size, test.label, test.iso)
			if _, err := New().eraseDevices(context.Background(), h, call(nil)); err != nil {
				t.Fatal(err)
			}
			if kept := !isZero(t, path); kept != test.kept {
				t.Errorf("kept %v; want %v", kept, test.kept)
			}
		})
	}
}
