package hwmanager_test

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"ferric/api/ipa"
	"ferric/hwmanager"
	"ferric/images/disk"
)

// attach makes a loop device of size MiB.
func attach(t *testing.T, mib int64) string {
	t.Helper()
	if os.Getuid() != 0 {
		if os.Getenv("CI") == "true" {
			t.Fatal("needs root")
		}
		t.Skip("needs root")
	}
	backing := filepath.Join(t.TempDir(), "disk")
	if err := os.WriteFile(backing, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(backing, mib<<20); err != nil {
		t.Fatal(err)
	}
	loop := losetup(t, "-f", "--show", backing)
	t.Cleanup(func() { losetup(t, "-d", loop) })
	return loop
}

func losetup(t *testing.T, args ...string) string {
	t.Helper()
	out, err := exec.Command("losetup", args...).CombinedOutput()
	if err != nil {
		t.Fatalf("losetup %q: %v: %s", args, err, out)
	}
	return strings.TrimSpace(string(out))
}

// node makes a device node for the disk at path, instead of what was there.
func node(t *testing.T, at, path string) {
	t.Helper()
	var stat unix.Stat_t
	if err := unix.Stat(path, &stat); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(at); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mknod(at, unix.S_IFBLK|0o600, int(stat.Rdev)); err != nil {
		t.Fatal(err)
	}
}

// backing is the file of a loop device.
func backing(t *testing.T, loop string) string {
	t.Helper()
	return losetup(t, "-n", "-O", "BACK-FILE", loop)
}

// listed is the disk as a manager lists it.
func listed(loop string) ipa.BlockDevice {
	name := filepath.Base(loop)
	return ipa.BlockDevice{Name: "/dev/" + name, Identity: hwmanager.DiskIdentity("/sys/block/" + name)}
}

// TestFence: what is written to is the disk that was chosen, whatever happens to
// its name between choice and writing.
func TestFence(t *testing.T) {
	for _, c := range []struct {
		name    string
		happens func(t *testing.T, dev, chosen, other string)
		fault   string
	}{
		{"nothing", func(*testing.T, string, string, string) {}, ""},
		{"the name goes to another disk", func(t *testing.T, dev, chosen, other string) {
			node(t, filepath.Join(dev, filepath.Base(chosen)), other)
		}, "that was chosen"},
		{"the name becomes a link to another disk", func(t *testing.T, dev, chosen, other string) {
			at := filepath.Join(dev, filepath.Base(chosen))
			if err := os.Remove(at); err != nil {
				t.Fatal(err)
			}
			if err := os.Symlink(other, at); err != nil {
				t.Fatal(err)
			}
		}, "that was chosen"},
		{"the name goes to a file", func(t *testing.T, dev, chosen, _ string) {
			at := filepath.Join(dev, filepath.Base(chosen))
			if err := errors.Join(os.Remove(at), os.WriteFile(at, make([]byte, 8<<20), 0o600)); err != nil {
				t.Fatal(err)
			}
		}, "no block device"},
		{"the disk is replaced by its like", func(t *testing.T, _, chosen, _ string) {
			file := backing(t, chosen)
			losetup(t, "-d", chosen)
			losetup(t, chosen, file)
		}, "not the disk that was chosen"},
		{"the disk changes its size", func(t *testing.T, _, chosen, _ string) {
			if err := os.Truncate(backing(t, chosen), 9<<20); err != nil {
				t.Fatal(err)
			}
			losetup(t, "-c", chosen)
		}, "not the disk that was chosen"},
	} {
		t.Run(c.name, func(t *testing.T) {
			chosen, other := attach(t, 8), attach(t, 8)
			dev := t.TempDir()
			node(t, filepath.Join(dev, filepath.Base(chosen)), chosen)
			h := &hwmanager.Host{Sys: "/sys", Dev: dev, Guard: hwmanager.DeviceGuard{InRamdisk: true}}
			target, err := h.Fence(listed(chosen))
			if err != nil {
				t.Fatal(err)
			}
			c.happens(t, dev, chosen, other)
			d, err := target.Open()
			if err == nil {
				defer d.Close()
			}
			checked := target.Check()
			if c.fault == "" {
				if err != nil || checked != nil {
					t.Fatalf("open: %v, check: %v", err, checked)
				}
				if _, err := d.WriteAt([]byte("x"), 0); err != nil {
					t.Error(err)
				}
				return
			}
			for _, err := range []error{err, checked} {
				if !ipa.BlockDeviceFailed.Is(err) || !strings.Contains(err.Error(), c.fault) {
					t.Errorf("error = %v; want one with %q", err, c.fault)
				}
			}
		})
	}
}

// TestFencePartition: a partition is behind the fence of its disk, under its own
// name and as a part of it.
func TestFencePartition(t *testing.T) {
	loop := attach(t, 64)
	sfdisk := exec.Command("sfdisk", "-q", loop)
	sfdisk.Stdin = strings.NewReader("label: gpt\nsize=8MiB\n")
	if out, err := sfdisk.CombinedOutput(); err != nil {
		t.Fatalf("sfdisk: %v: %s", err, out)
	}
	if out, err := exec.Command("partx", "-u", loop).CombinedOutput(); err != nil {
		t.Fatalf("partx: %v: %s", err, out)
	}
	t.Cleanup(func() { _ = exec.Command("partx", "-d", loop).Run() }) // the next user of the loop device wants it bare
	h := &hwmanager.Host{Sys: "/sys", Dev: "/dev", Guard: hwmanager.DeviceGuard{Allowed: []string{loop + "*"}}}
	whole, err := h.Fence(listed(loop))
	if err != nil {
		t.Fatal(err)
	}
	part := listed(loop)
	part.Name = disk.Node(loop, 1)
	own, err := h.Fence(part)
	if err != nil {
		t.Fatal(err)
	}
	for _, target := range []disk.Target{whole.Partition(1), own} {
		d, err := target.Open()
		if err != nil {
			t.Fatal(err)
		}
		if d.Size != 8<<20 {
			t.Errorf("%s has %d bytes; want those of the partition", target.Path(), d.Size)
		}
		d.Close()
	}
	var none disk.Target
	if _, err := none.Open(); err == nil {
		t.Error("a target that nobody made was opened")
	}
	if _, err := disk.Fence(loop, nil).Open(); err == nil {
		t.Error("a target without a check was opened")
	}
	h.Guard = hwmanager.DeviceGuard{}
	if _, err := h.Fence(listed(loop)); !ipa.ProtectedDevice.Is(err) {
		t.Errorf("outside the ramdisk: %v; want ProtectedDevice", err)
	}
}
