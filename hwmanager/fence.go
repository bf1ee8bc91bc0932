package hwmanager

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"ferric/api/ipa"
	"ferric/images/disk"
)

// Fence makes the disk (or partition) that was chosen a target of writes, and is the only way
// to one: the guard must allow it, and whenever it is opened it must still be
// the disk that had the name when it was listed. A disk without identity (from
// a manager that does not know it) is identified now. The errors are of kind
// ipa.ProtectedDevice or ipa.BlockDeviceFailed.
func (h *Host) Fence(device ipa.BlockDevice) (disk.Target, error) {
	path := h.DevicePath(device.Name)
	if err := h.Guard.Check(path); err != nil {
		return disk.Target{}, err
	}
	name := h.diskName(path, device.Name)
	chosen := device.Identity
	if chosen == "" {
		chosen = h.identity(name)
	}
	return disk.Fence(path, func(f *os.File) error {
		now, err := h.kernelName(f, name)
		if err != nil {
			return ipa.BlockDeviceFailed.New("%v", err)
		}
		if now != name {
			return ipa.BlockDeviceFailed.New("%s is %s now, not %s that was chosen", path, now, name)
		}
		if found := h.identity(now); found != chosen {
			return ipa.BlockDeviceFailed.New("%s is not the disk that was chosen: it is %s, chosen was %s", path, found, chosen)
		}
		return nil
	}), nil
}

// diskName is what sysfs calls the disk with the name on the wire, or the disk
// of the partition with that name.
func (h *Host) diskName(path, device string) string {
	name := strings.ReplaceAll(strings.TrimPrefix(device, "/dev/"), "/", "!")
	if at, err := filepath.EvalSymlinks(path); err == nil && filepath.Dir(at) == filepath.Clean(h.Dev) {
		name = filepath.Base(at) // what /dev/mapper and /dev/md link to
	}
	if at, err := filepath.Glob(filepath.Join(h.Sys, "block/*", name, "partition")); err == nil && len(at) == 1 {
		return filepath.Base(filepath.Dir(filepath.Dir(at[0])))
	}
	return name
}

// kernelName is what the kernel calls the disk that is open, or the disk of the
// partition that is. A regular file stands for the disk with the name, unless the
// kernel has that itself: a program makes such a file where a disk went away.
func (h *Host) kernelName(f *os.File, name string) (string, error) {
	var stat unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &stat); err != nil {
		return "", fmt.Errorf("stat %s: %w", f.Name(), err)
	}
	if stat.Mode&unix.S_IFMT != unix.S_IFBLK {
		if number := sysText(filepath.Join(h.Sys, "block", name), "dev"); number != "" {
			return "", fmt.Errorf("%s is no block device, %s has the number %s", f.Name(), name, number)
		}
		return name, nil
	}
	// Both are the kernel's: whatever is done to the names in /dev does not count.
	dir, err := filepath.EvalSymlinks(filepath.Join(h.Sys, "dev/block", fmt.Sprintf("%d:%d", unix.Major(stat.Rdev), unix.Minor(stat.Rdev))))
	if err != nil {
		return "", fmt.Errorf("the kernel knows no disk %s: %w", f.Name(), err)
	}
	if _, err := os.Stat(filepath.Join(dir, "partition")); err == nil {
		dir = filepath.Dir(dir)
	}
	return filepath.Base(dir), nil
}

// identity is DiskIdentity of the disk with the kernel's name.
func (h *Host) identity(name string) string {
	return DiskIdentity(filepath.Join(h.Sys, "block", name))
}

// DiskIdentity tells the disk with the directory in /sys/block from every other:
// by size, serial number and world-wide name or, where it has neither, by
// the number that the kernel gives to each disk that appears (diskseq).
func DiskIdentity(dir string) string {
	identity := "of " + sysText(dir, "size") + " sectors" // of 512 bytes
	known := false
	for _, property := range []struct{ label, text string }{
		{"serial", sysText(dir, "serial", "device/serial", "device/vpd_pg80")},
		{"wwn", sysText(dir, "wwid", "device/wwid")},
		{"uuid", sysText(dir, "dm/uuid", "md/uuid")},
	} {
		if property.text != "" {
			identity += fmt.Sprintf(", %s %q", property.label, property.text)
			known = true
		}
	}
	if known {
		return identity
	}
	if seq := sysText(dir, "diskseq"); seq != "" {
		return identity + ", number " + seq
	}
	return identity
}

// sysText is the first attribute that there is, without what is around it; ""
// for none.
func sysText(dir string, names ...string) string {
	for _, name := range names {
		text, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			continue
		}
		if filepath.Base(name) == "vpd_pg80" { // SPC-4, 7.8.12: four bytes of header
			text = text[min(4, len(text)):]
		}
		if s := strings.Trim(string(text), "\x00 \n\t"); s != "" {
			return s
		}
	}
	return ""
}
