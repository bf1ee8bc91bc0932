package generic

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"ferric/api/ipa"
	"ferric/hwmanager"
	"ferric/hwmanager/ata"
	"ferric/images/partition"
)

// nvmeDisk are the names of NVMe namespaces.
var nvmeDisk = regexp.MustCompile(`^/dev/nvme\d+n\d+$`)

// Areas of an eMMC that Linux makes disks of (drivers/mmc/core/block.c). Boot
// areas are read-only as long as nobody says otherwise (force_ro); general purpose
// areas (gp0) are disks as others. Replay protected memory is a disk before Linux
// 4.15 only.
var (
	mmcBoot    = regexp.MustCompile(`^mmcblk\d+boot\d+$`)
	mmcSecrets = regexp.MustCompile(`^mmcblk\d+rpmb$`)
)

// eraseTarget is a disk that a step has to erase, or says why it does not.
type eraseTarget struct {
	device     ipa.BlockDevice
	partitions []ipa.BlockDevice
	skip       string // "" if it is to be erased
	part       bool   // it is a partition, beside members of arrays
}

func devicesOf(targets []eraseTarget) []ipa.BlockDevice {
	devices := make([]ipa.BlockDevice, len(targets))
	for i, t := range targets {
		devices[i] = t.device
	}
	return devices
}

// eraseTargets are the disks that a step has to erase, with their partitions:
// those that the node does not skip. Every one is checked, so that none is
// touched where one may not be: that it is no virtual media and no member of an
// assembled array, which are left alone, that it can be written to, that nothing
// on it is protected, that the ramdisk does not use it, that the guard allows it,
// and that nobody else holds it.
func (m *Manager) eraseTargets(ctx context.Context, h *hwmanager.Host, node hwmanager.Node, skipReadOnly bool) ([]eraseTarget, error) {
	if err := m.releaseFormer(ctx, h, node); err != nil {
		return nil, err
	}
	disks, err := m.candidates(ctx, h, node)
	if err != nil {
		return nil, ipa.BlockDeviceErase.New("%v", err)
	}
	own, err := ownDisks(h)
	if err != nil {
		return nil, ipa.BlockDeviceErase.New("%v", err)
	}
	protect := protects(h.Settings, node)
	var targets []eraseTarget
	for _, d := range disks {
		found, err := m.checked(ctx, h, d, own, skipReadOnly, protect)
		if err != nil {
			return nil, err
		}
		targets = append(targets, found...)
	}
	for _, t := range targets {
		if t.skip != "" {
			continue
		}
		opened, err := claim(ctx, h, t.device)
		if err == nil {
			err = opened.Close()
		}
		if err != nil {
			return nil, ipa.BlockDeviceErase.New("%s: nothing was erased: %v", t.device.Name, err)
		}
	}
	return append(targets, sizeless(h)...), nil
}

// sizeless are the disks of the machine that tell no size, as broken ones do, and
// SCSI disks that were at a sanitize when the kernel found them. No step can do
// anything to them, and the report says so. A drive without a medium is none.
func sizeless(h *hwmanager.Host) []eraseTarget {
	var targets []eraseTarget
	dirs, _ := filepath.Glob(filepath.Join(h.Sys, "block/*/device")) // there is none of a virtual device
	for _, device := range dirs {
		dir := filepath.Dir(device)
		name := filepath.Base(dir)
		if !isDisk(dir, name) || readSize(dir) > 0 || readText(dir, "removable") == "1" {
			continue
		}
		t := eraseTarget{device: readDisk(h, dir, name), skip: "it tells no size: it is broken, or was busy with a sanitize when the machine was started"}
		h.Log.WithField("device", t.device.Name).Warn("not erased: " + t.skip)
		targets = append(targets, t)
	}
	return targets
}

// checked is targetsOn for a disk that may be erased: unless it is skipped, the
// ramdisk does not use it, the guard allows it, nothing on it is protected, and
// nobody else holds it.
func (m *Manager) checked(ctx context.Context, h *hwmanager.Host, d ipa.BlockDevice, own map[string]string, skipReadOnly, protect bool) ([]eraseTarget, error) {
	for settled := false; ; {
		found, err := targetsOn(h, d, skipReadOnly)
		if err != nil {
			return nil, ipa.BlockDeviceErase.New("%v", err)
		}
		whole := found[len(found)-1]
		if whole.skip != "" {
			return found, nil // nothing of it is to be erased
		}
		if use := own[sysName(d.Name)]; use != "" {
			return nil, ipa.ProtectedDevice.New("protected disk %s of the ramdisk itself: %s", d.Name, use)
		}
		if err := h.Guard.Check(h.DevicePath(d.Name)); err != nil {
			return nil, err
		}
		if err := readable(h, d); err != nil && !settled {
			if err := m.settle(ctx, h, d); err != nil && protect {
				return nil, ipa.BlockDeviceErase.New("%s: nothing was erased: whether it is protected cannot be told, "+
					"and driver_info wipe_special_filesystems does not permit to erase it all the same: %v", d.Name, err)
			} else if err != nil {
				h.Log.WithError(err).WithField("device", d.Name).Warn("erased without having been read")
			}
			settled = true
			continue // it has partitions now
		}
		if err := mayErase(h, d, protect); err != nil {
			return nil, err
		}
		if holder := heldBy(h, whole); holder != "" {
			return nil, ipa.BlockDeviceErase.New("%s is in use: %s", d.Name, holder)
		}
		return found, nil
	}
}

// readable is nil if the disk can be read at its beginning.
func readable(h *hwmanager.Host, d ipa.BlockDevice) error {
	f, err := os.Open(h.DevicePath(d.Name))
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := f.ReadAt(make([]byte, sectorUnit), 0); err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	return nil
}

// settle makes a disk readable that is not because of an erase that was cut off:
// it has it unlocked, or waits for the end of it. What is on the disk stays.
func (m *Manager) settle(ctx context.Context, h *hwmanager.Host, d ipa.BlockDevice) error {
	opened, err := claim(ctx, h, d)
	if err != nil {
		return err
	}
	h.Log.WithField("device", d.Name).Warn("the disk cannot be read: is it locked by an earlier erase, or still at it?")
	for _, r := range m.rungs {
		if r.settle != nil && r.applies(d, opened) {
			err = errors.Join(err, r.settle(ctx, opened))
		}
	}
	closed, unread := opened.Close(), readable(h, d)
	if closed != nil || unread != nil || errors.Is(err, ata.ErrPasswordLeft) {
		return errors.Join(err, closed, unread)
	}
	if err != nil { // of a way that the disk does not have: while it is busy it does not say so
		h.Log.WithError(err).WithField("device", d.Name).Info("the disk can be read now")
	}
	if err := partition.Reread(ctx, opened.Path); err != nil {
		h.Log.WithError(err).WithField("device", d.Name).Warn("the kernel does not know the partitions of the disk")
	}
	return nil
}

// targetsOn are the disk and, where it is skipped because partitions of it are
// members of arrays, its other partitions: they are not erased with the arrays.
func targetsOn(h *hwmanager.Host, d ipa.BlockDevice, skipReadOnly bool) ([]eraseTarget, error) {
	dir := filepath.Join(h.Sys, "block", sysName(d.Name))
	all := partitionsOf(dir, d)
	skip, err := mustSkip(h, dir, d, skipReadOnly)
	if err != nil {
		return nil, err
	}
	if skip == "" {
		return []eraseTarget{{device: d, partitions: all}}, nil
	}
	h.Log.WithField("device", d.Name).Warn("not erased: " + skip)
	var members []ipa.BlockDevice
	var others []eraseTarget
	for _, p := range all {
		if isArrayMember(filepath.Join(dir, sysName(p.Name))) {
			members = append(members, p)
		} else {
			others = append(others, eraseTarget{device: p, part: true})
		}
	}
	if isArrayMember(dir) || members == nil {
		return []eraseTarget{{device: d, partitions: all, skip: skip}}, nil
	}
	return append([]eraseTarget{{device: d, partitions: members, skip: skip}}, others...), nil
}

// mayErase is nil if the guard allows writing to the disk and, where protect
// is set, nothing on it is protected.
func mayErase(h *hwmanager.Host, d ipa.BlockDevice, protect bool) error {
	path := h.DevicePath(d.Name)
	if err := h.Guard.Check(path); err != nil || !protect {
		return err
	}
	return checkProtected(path, d)
}

// MayErase is nil if the disk may be written to for the node, and holds nothing
// that is protected: for managers that take whole disks away.
func (*Manager) MayErase(h *hwmanager.Host, node hwmanager.Node, d ipa.BlockDevice) error {
	return mayErase(h, d, protects(h.Settings, node))
}

// mustSkip says why a disk is left alone, "" if it is not. A read-only disk
// that may not be skipped is an error.
func mustSkip(h *hwmanager.Host, dir string, d ipa.BlockDevice, skipReadOnly bool) (string, error) {
	if isVirtualMedia(h, dir, d) {
		return "virtual media", nil
	}
	member, err := arrayOf(dir, partitionsOf(dir, d))
	if err != nil {
		return "it cannot be told whether it is a member of an array: " + err.Error(), nil
	}
	if member != "" {
		return "member of an assembled array: " + member, nil
	}
	readOnly := readText(dir, "ro") == "1"
	switch base := filepath.Base(dir); {
	case mmcSecrets.MatchString(base):
		return "replay protected memory of an eMMC, which takes authenticated writes only", nil
	case readOnly && mmcBoot.MatchString(base):
		return "boot area of an eMMC, which holds firmware and is read-only", nil
	}
	if readOnly {
		if skipReadOnly {
			return "read-only", nil
		}
		return "", fmt.Errorf("%s is read-only", d.Name)
	}
	return "", nil
}

// holders are what lies on a disk or partition.
func holders(dir string) ([]string, error) {
	entries, err := os.ReadDir(filepath.Join(dir, "holders"))
	if os.IsNotExist(err) {
		return nil, nil
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names, err
}

// arrayOf is the assembled Linux array that a disk, or a partition of it,
// belongs to, "" for none: it is erased with its array. A superblock alone,
// which anybody can write, keeps nothing from being erased.
func arrayOf(dir string, partitions []ipa.BlockDevice) (string, error) {
	for _, part := range append([]ipa.BlockDevice{{}}, partitions...) {
		sub := dir
		if part.Name != "" {
			sub = filepath.Join(dir, sysName(part.Name))
		}
		names, err := holders(sub)
		if err != nil {
			return "", err
		}
		for _, name := range names {
			if strings.HasPrefix(name, "md") {
				return name, nil
			}
		}
	}
	return "", nil
}

// isArrayMember reports whether a disk or partition by itself belongs to an
// assembled Linux array.
func isArrayMember(dir string) bool {
	member, _ := arrayOf(dir, nil)
	return member != ""
}

// heldBy names what else lies on a disk or a partition of it, "" for nothing.
func heldBy(h *hwmanager.Host, t eraseTarget) string {
	if t.part {
		return "" // its claim will tell
	}
	dir := filepath.Join(h.Sys, "block", sysName(t.device.Name))
	names, _ := holders(dir)
	for _, part := range t.partitions {
		more, _ := holders(filepath.Join(dir, sysName(part.Name)))
		for _, name := range more {
			names = append(names, sysName(part.Name)+" by "+name)
		}
	}
	return strings.Join(names, ", ")
}

// sysName is the name of a disk in /sys/block.
func sysName(name string) string {
	base := filepath.Base(name)
	if filepath.Dir(name) == "/dev" || filepath.Dir(name) == "/dev/mapper" {
		return base
	}
	return filepath.Base(filepath.Dir(name)) + "!" + base
}
