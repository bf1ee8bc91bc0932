package generic

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"ferric/api/ipa"
	"ferric/hwmanager"
	"ferric/images/disk"
)

// deletePasses is how often arrays are looked for and deleted: an array may
// appear only when the one that it lies on is gone.
const deletePasses = 2

// fate is what deleting does with an array (agent contract, section
// "skip_block_devices").
type fate int

const (
	fateDelete fate = iota // with all superblocks
	fateWipe               // of its content only: it has disks in common with one to keep
	fateKeep
)

// deleteConfiguration removes all arrays and their superblocks.
func (m *Manager) deleteConfiguration(ctx context.Context, h *hwmanager.Host, call hwmanager.StepCall) (any, error) {
	if err := onlyArgs(call.Args); err != nil {
		return nil, err
	}
	return nil, m.deleteArrays(ctx, h, call.Node)
}

// fates decides on each array by the names of volumes to keep.
func fates(arrays []array, volumes []string) map[string]fate {
	decided := map[string]fate{}
	var shared []string // disks of those to keep
	for _, a := range arrays {
		if isVolume(a.name, volumes) {
			decided[a.device.Name] = fateKeep
			shared = append(shared, a.holders...)
		}
	}
	for _, a := range arrays {
		beside := slices.ContainsFunc(a.holders, func(d string) bool { return slices.Contains(shared, d) })
		switch {
		case decided[a.device.Name] == fateKeep || !beside:
		case a.volume() == espVolume:
			decided[a.device.Name] = fateKeep
		default:
			decided[a.device.Name] = fateWipe
		}
	}
	return decided
}

// deleteArrays deletes what the node does not want kept. Whether all disks may
// be written to is checked before the first one is touched. Superblocks that
// are left are an error.
func (m *Manager) deleteArrays(ctx context.Context, h *hwmanager.Host, node hwmanager.Node) error {
	volumes, err := raidVolumes(node)
	if err != nil {
		return err
	}
	for range deletePasses {
		if err := m.assembleArrays(ctx, h, arrayWait); err != nil {
			return err
		}
		left, err := m.deletePass(ctx, h, node, volumes)
		if err != nil || len(left) == 0 {
			return err
		}
	}
	left, err := m.superblocksLeft(ctx, h, node, volumes)
	switch {
	case err != nil:
		return raidError("look for what is left of arrays: %w", err)
	case len(left) > 0:
		return raidError("superblocks of arrays are left on %s", strings.Join(left, ", "))
	}
	return nil
}

// deletePass deletes the arrays that there are, and superblocks of others. What
// is left then is named.
func (m *Manager) deletePass(ctx context.Context, h *hwmanager.Host, node hwmanager.Node, volumes []string) (left []string, err error) {
	d, err := m.planDeletion(ctx, h, node, volumes)
	if err != nil {
		return nil, err
	}
	if err := m.runDeletion(ctx, h, d); err != nil {
		return nil, raidError("%w", err)
	}
	if left, err = m.superblocksLeft(ctx, h, node, volumes); err != nil {
		return nil, raidError("look for what is left of arrays: %w", err)
	}
	return left, nil
}

// deletion is what a pass does: everything in it may be written to.
type deletion struct {
	wipe    []disk.Target // contents of arrays
	stop    []string      // arrays
	members []disk.Target // of arrays that are stopped, and others with superblocks
	holders []holder
}

// holder is a disk of an array that is deleted, or of one that does not run: the
// partitions are freed, or all of it if nothing on it is kept.
type holder struct {
	disk    string
	target  disk.Target
	numbers []int
	whole   bool
}

// planDeletion checks everything that a pass will write to.
func (m *Manager) planDeletion(ctx context.Context, h *hwmanager.Host, node hwmanager.Node, volumes []string) (*deletion, error) {
	arrays, err := runningArrays(h)
	if err != nil {
		return nil, raidError("%w", err)
	}
	disks, err := m.raidCandidates(ctx, h, node)
	if err != nil {
		return nil, raidError("disks of arrays: %w", err)
	}
	protect := protects(h.Settings, node)
	fate := fates(arrays, volumes)
	d := &deletion{}
	staying := map[string]bool{} // members of arrays that stay, and their disks
	doomed := map[string]bool{}  // members of arrays that go
	var holders []string
	for _, a := range arrays {
		if !slices.ContainsFunc(disks, func(b ipa.BlockDevice) bool { return slices.Contains(a.holders, b.Name) }) || fate[a.device.Name] != fateDelete {
			for _, name := range append(a.members, a.holders...) {
				staying[name] = true
			}
		}
	}
	for _, a := range arrays {
		known := slices.ContainsFunc(disks, func(b ipa.BlockDevice) bool { return slices.Contains(a.holders, b.Name) })
		onOther := slices.ContainsFunc(a.holders, func(name string) bool {
			return !slices.ContainsFunc(disks, func(b ipa.BlockDevice) bool { return b.Name == name })
		})
		switch {
		case !known || fate[a.device.Name] == fateKeep:
			continue // all of it is on disks that are not ours to touch
		case onOther:
			return nil, raidError("%s (%s) has members on disks of skip_block_devices as well as on others: %s", a.device.Name, a.name, strings.Join(a.members, ", "))
		}
		if a.device.Size > 0 { // an inactive one shows nothing
			if err := mayErase(h, a.device, protect); err != nil {
				return nil, err
			}
			target, err := h.Fence(a.device)
			if err != nil {
				return nil, err
			}
			// Nobody may use it, which must not be found out when others are gone.
			free, err := target.Open()
			if err == nil {
				err = free.Close()
			}
			if err != nil {
				return nil, raidError("content of an array: %w", err)
			}
			d.wipe = append(d.wipe, target)
		}
		if fate[a.device.Name] == fateWipe {
			continue
		}
		d.stop = append(d.stop, a.device.Name)
		for _, name := range a.members {
			doomed[name] = true
		}
		holders = append(holders, a.holders...)
	}
	for _, b := range disks {
		if err := checkKept(h, b, staying, volumes); err != nil {
			return nil, err
		}
		if err := d.addDisk(h, b, protect, staying, doomed, slices.Contains(holders, b.Name)); err != nil {
			return nil, err
		}
	}
	return d, nil
}

// checkKept refuses to touch a disk with a member of a volume to keep whose array
// does not run: what else is to be kept with it cannot be known.
func checkKept(h *hwmanager.Host, b ipa.BlockDevice, staying map[string]bool, volumes []string) error {
	if len(volumes) == 0 {
		return nil
	}
	for _, dev := range append([]ipa.BlockDevice{b}, partitionsOf(filepath.Join(h.Sys, "block", sysName(b.Name)), b)...) {
		name, err := volumeNameOf(h.DevicePath(dev.Name), dev.Size)
		if err != nil {
			return raidError("whether %s belongs to a volume to keep: %w", dev.Name, err)
		}
		if isVolume(name, volumes) && !staying[dev.Name] {
			return raidError("%s belongs to the volume %s, which is to be kept, but whose array does not run", dev.Name, name)
		}
	}
	return nil
}

// addDisk adds what is to be done to a disk, if it has anything of an array.
func (d *deletion) addDisk(h *hwmanager.Host, b ipa.BlockDevice, protect bool, staying, doomed map[string]bool, isHolder bool) error {
	dir := filepath.Join(h.Sys, "block", sysName(b.Name))
	var marked []ipa.BlockDevice // to lose its superblock
	var numbers []int
	for _, dev := range append([]ipa.BlockDevice{b}, partitionsOf(dir, b)...) {
		if staying[dev.Name] {
			continue
		}
		has := doomed[dev.Name]
		if !has {
			var err error
			if has, err = holdsSuperblock(h, dev); err != nil {
				return raidError("look for the superblock of an array on %s: %w", dev.Name, err)
			}
		}
		if has {
			marked = append(marked, dev)
			if dev.Name != b.Name {
				numbers = append(numbers, int(readInt(h.Sys, "class/block", sysName(dev.Name), "partition")))
			}
		}
	}
	if len(marked) == 0 && !isHolder {
		return nil
	}
	if readText(dir, "ro") == "1" {
		return raidError("%s is read-only and has the superblock of an array", b.Name)
	}
	if err := mayErase(h, b, protect); err != nil {
		return err
	}
	target, err := h.Fence(b)
	if err != nil {
		return err
	}
	for _, dev := range marked {
		if dev.Name == b.Name {
			d.members = append(d.members, target)
			continue
		}
		d.members = append(d.members, target.Partition(int(readInt(h.Sys, "class/block", sysName(dev.Name), "partition"))))
	}
	d.holders = append(d.holders, holder{b.Name, target, numbers, !staying[b.Name]})
	return nil
}

// holdsSuperblock reports whether the disk or partition has a superblock of any
// version. An extended partition, which is two sectors long, has none.
func holdsSuperblock(h *hwmanager.Host, d ipa.BlockDevice) (bool, error) {
	f, err := os.Open(h.DevicePath(d.Name))
	if err != nil {
		return false, err
	}
	defer f.Close()
	return hasSuperblock(f, d.Size)
}

// runDeletion wipes the contents of arrays, stops them, zeroes the superblocks and frees
// the disks.
func (m *Manager) runDeletion(ctx context.Context, h *hwmanager.Host, d *deletion) error {
	for _, t := range d.wipe {
		if err := t.Wipe(ctx); err != nil {
			return fmt.Errorf("content of %s: %w", t.Path(), err)
		}
	}
	for _, device := range d.stop {
		if err := m.stopArray(ctx, h, device); err != nil {
			return err
		}
		h.Log.WithField("device", device).Info("array stopped")
	}
	for _, t := range d.members {
		if err := t.Check(); err != nil {
			return err
		}
		if _, err := h.Run.Run(ctx, "mdadm", "--zero-superblock", t.Path()); err != nil {
			return fmt.Errorf("superblock of %s: %w", t.Path(), err)
		}
	}
	for _, holder := range d.holders {
		if err := freePartitions(ctx, holder.target, holder.numbers, holder.whole); err != nil {
			return fmt.Errorf("partitions of %s: %w", holder.target.Path(), err)
		}
	}
	return nil
}

// superblocksLeft are the disks and partitions with a superblock that belong to
// no array that stays.
func (m *Manager) superblocksLeft(ctx context.Context, h *hwmanager.Host, node hwmanager.Node, volumes []string) ([]string, error) {
	arrays, err := runningArrays(h)
	if err != nil {
		return nil, err
	}
	disks, err := m.raidCandidates(ctx, h, node)
	if err != nil {
		return nil, err
	}
	fate := fates(arrays, volumes)
	var left []string
	var problems []error
	for _, b := range disks {
		for _, dev := range append([]ipa.BlockDevice{b}, partitionsOf(filepath.Join(h.Sys, "block", sysName(b.Name)), b)...) {
			stays := slices.ContainsFunc(arrays, func(a array) bool { return fate[a.device.Name] != fateDelete && slices.Contains(a.members, dev.Name) })
			if stays {
				continue
			}
			has, err := holdsSuperblock(h, dev)
			problems = append(problems, err)
			if has {
				left = append(left, dev.Name)
			}
		}
	}
	return left, errors.Join(problems...)
}
