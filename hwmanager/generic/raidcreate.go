package generic

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"ferric/api/hints"
	"ferric/api/ipa"
	"ferric/hwmanager"
	"ferric/images/disk"
	"ferric/images/partition"
)

// createConfiguration makes the arrays of node.target_raid_config, without the root
// volume or the others where its arguments say so.
func (m *Manager) createConfiguration(ctx context.Context, h *hwmanager.Host, call hwmanager.StepCall) (any, error) {
	if err := onlyArgs(call.Args, "create_root_volume", "create_nonroot_volumes", "delete_existing"); err != nil {
		return nil, err
	}
	root, others, remove := true, true, false
	err := errors.Join(boolOption(call.Args, "create_root_volume", &root), boolOption(call.Args, "create_nonroot_volumes", &others),
		boolOption(call.Args, "delete_existing", &remove))
	if err != nil {
		return nil, ipa.InvalidCommandParams.New("%v", err)
	}
	config, err := object(call.Node, "target_raid_config")
	if err != nil {
		return nil, ipa.SoftwareRAID.New("%v", err)
	}
	if config, err = onlyVolumes(config, root, others); err != nil {
		return nil, err
	}
	return m.configure(ctx, h, call.Node, config, remove)
}

// onlyVolumes is the configuration without the root volume or the others.
func onlyVolumes(config map[string]any, root, others bool) (map[string]any, error) {
	list, _ := config["logical_disks"].([]any)
	if root && others || len(list) == 0 {
		return config, nil
	}
	list = slices.DeleteFunc(slices.Clone(list), func(item any) bool {
		l, _ := item.(map[string]any)
		isRoot, _ := l["is_root_volume"].(bool)
		return isRoot && !root || !isRoot && !others
	})
	if len(list) == 0 {
		return nil, raidError("no logical disk is left to create: create_root_volume is %v, create_nonroot_volumes is %v", root, others)
	}
	config = maps.Clone(config)
	config["logical_disks"] = list
	return config, nil
}

// applyConfiguration makes the arrays of its argument, in place of those that
// there are unless delete_existing is false.
func (m *Manager) applyConfiguration(ctx context.Context, h *hwmanager.Host, call hwmanager.StepCall) (any, error) {
	if err := onlyArgs(call.Args, "raid_config", "delete_existing"); err != nil {
		return nil, err
	}
	config, ok := call.Args["raid_config"].(map[string]any)
	if !ok {
		return nil, ipa.InvalidCommandParams.New("raid_config must be an object")
	}
	remove := true
	if err := boolOption(call.Args, "delete_existing", &remove); err != nil {
		return nil, ipa.InvalidCommandParams.New("%v", err)
	}
	return m.configure(ctx, h, call.Node, config, remove)
}

// configure makes arrays, in place of those that there are if they are to be
// removed. What is wrong with them, or with their disks, is found before anything
// is deleted; a configuration that is not for us deletes nothing.
func (m *Manager) configure(ctx context.Context, h *hwmanager.Host, node hwmanager.Node, config map[string]any, remove bool) (any, error) {
	if remove && isSoftwareRAID(config) {
		if _, _, err := m.prepareArrays(ctx, h, node, config, true); err != nil {
			return nil, err
		}
		if err := m.deleteArrays(ctx, h, node); err != nil {
			return nil, err
		}
	}
	return m.createArrays(ctx, h, node, config)
}

// planArrays validates a configuration and gives its arrays their disks.
func (m *Manager) planArrays(ctx context.Context, h *hwmanager.Host, node hwmanager.Node, config map[string]any) (*raidPlan, error) {
	volumes, err := raidVolumes(node)
	if err != nil {
		return nil, err
	}
	candidates, err := m.raidCandidates(ctx, h, node)
	if err != nil {
		return nil, raidError("disks for arrays: %w", err)
	}
	logical, err := validateRAID(config, len(candidates), len(volumes) > 0)
	if err != nil {
		return nil, err
	}
	plan, err := pickDisks(logical, candidates)
	if err != nil {
		return nil, raidError("%w", err)
	}
	mode := nodeBootMode(h, node)
	plan.label = nodeDiskLabel(node, mode)
	plan.start = raidStart(plan.label, mode)
	return plan, nil
}

// raidCandidates are the disks that arrays may be made of: not those that
// skip_block_devices names by hints, no arrays, no virtual media.
func (m *Manager) raidCandidates(ctx context.Context, h *hwmanager.Host, node hwmanager.Node) ([]ipa.BlockDevice, error) {
	disks, err := m.BlockDevices(ctx, h, false)
	if err != nil {
		return nil, err
	}
	listed, _, err := skipList(node)
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(disks, func(d ipa.BlockDevice) bool {
		name := sysName(d.Name)
		return strings.HasPrefix(name, "md") || isVirtualMedia(h, filepath.Join(h.Sys, "block", name), d) ||
			slices.ContainsFunc(listed, func(item hints.Hints) bool { return item.Match(d, otherNotations(d)) })
	}), nil
}

// createArrays makes the arrays of a configuration. Its answer is the
// configuration, which the conductor keeps, or {} if it is for no software RAID.
// After a failure in the middle the disks are as before, without partitions;
// where that fails, too, delete_configuration removes what there is.
func (m *Manager) createArrays(ctx context.Context, h *hwmanager.Host, node hwmanager.Node, config map[string]any) (any, error) {
	if !isSoftwareRAID(config) {
		h.Log.Info("no logical disk is for the software controller, nothing to create")
		return map[string]any{}, nil
	}
	plan, targets, err := m.prepareArrays(ctx, h, node, config, false)
	if err != nil {
		return nil, err
	}
	made, err := m.makeArrays(ctx, h, plan, targets)
	if err != nil {
		undone := m.undoArrays(context.WithoutCancel(ctx), h, plan, targets, made)
		if undone != nil {
			return nil, raidError("%w; and what was made could not be removed, which delete_configuration may: %w", err, undone)
		}
		return nil, raidError("%w; what was made is removed again", err)
	}
	return config, nil
}

// prepareArrays plans the arrays of a configuration to the last partition, and
// finds out without writing anything whether they can be made: on the disks as
// they are, or as they are when what there is has been deleted.
func (m *Manager) prepareArrays(ctx context.Context, h *hwmanager.Host, node hwmanager.Node, config map[string]any, deleted bool) (*raidPlan, map[string]disk.Target, error) {
	plan, err := m.planArrays(ctx, h, node, config)
	if err != nil {
		return nil, nil, err
	}
	if deleted {
		if err := m.planFreed(ctx, h, node, plan); err != nil {
			return nil, nil, err
		}
	}
	if err := m.keepPresent(ctx, h, node, plan, deleted); err != nil {
		return nil, nil, raidError("existing arrays: %w", err)
	}
	targets, err := plan.check(h, node)
	if err != nil {
		return nil, nil, err
	}
	if err := plan.lay(); err != nil {
		return nil, nil, raidError("%w", err)
	}
	if _, err := h.Run.Run(ctx, "mdadm", "--version"); err != nil {
		return nil, nil, raidError("arrays need mdadm in the ramdisk: %w", err)
	}
	return plan, targets, nil
}

// planFreed tells the disks of the plan what deleting the configuration frees.
func (m *Manager) planFreed(ctx context.Context, h *hwmanager.Host, node hwmanager.Node, p *raidPlan) error {
	volumes, err := raidVolumes(node)
	if err != nil {
		return err
	}
	if err := m.assembleArrays(ctx, h, arrayWait); err != nil {
		return raidError("existing arrays: %w", err)
	}
	deletion, err := m.planDeletion(ctx, h, node, volumes)
	if err != nil {
		return err
	}
	for _, d := range p.disks {
		if at := slices.IndexFunc(deletion.holders, func(freed holder) bool { return freed.disk == d.device.Name }); at >= 0 {
			d.freed = deletion.holders[at]
		}
	}
	return nil
}

// keepPresent takes out of the plan what is there already, if skip_block_devices
// names volumes to keep: every array must then have a name, and be in the
// configuration or among those that stay, unless the others are deleted first.
func (m *Manager) keepPresent(ctx context.Context, h *hwmanager.Host, node hwmanager.Node, p *raidPlan, deleted bool) error {
	volumes, err := raidVolumes(node)
	if err != nil || len(volumes) == 0 {
		return err
	}
	if err := m.assembleArrays(ctx, h, arrayWait); err != nil {
		return err
	}
	arrays, err := runningArrays(h)
	if err != nil {
		return err
	}
	fate := fates(arrays, volumes)
	for _, a := range arrays {
		at := slices.IndexFunc(p.arrays, func(planned raidArray) bool { return planned.volume == a.volume() })
		if !slices.ContainsFunc(p.candidates, func(d ipa.BlockDevice) bool { return slices.Contains(a.holders, d.Name) }) {
			continue // it is on disks that are skipped by hints
		}
		switch {
		case deleted && fate[a.device.Name] == fateDelete:
			continue
		case a.name == "":
			return fmt.Errorf("%s has no name, so that nobody knows whether it is to be kept", a.device.Name)
		case at >= 0:
			if root := p.arrays[at].root; root != nil {
				m.raid.remember(a.device.Name, *root)
			}
			p.arrays = slices.Delete(p.arrays, at, at+1)
		case fate[a.device.Name] == fateDelete:
			return fmt.Errorf("%s (%s) is neither in the configuration nor to be kept", a.device.Name, a.name)
		}
		for _, d := range p.disks {
			if slices.Contains(a.holders, d.device.Name) {
				d.used = 1 // and where it ends is seen when the disk is looked at
			}
		}
	}
	p.disks = slices.DeleteFunc(p.disks, func(d *raidDisk) bool {
		return !slices.ContainsFunc(p.arrays, func(a raidArray) bool { return slices.Contains(a.disks, d) })
	})
	return nil
}

// check looks at all disks before the first is touched: whether they may be
// written to, hold nothing protected, and have no partitions but those of arrays
// to keep. It takes their sizes.
func (p *raidPlan) check(h *hwmanager.Host, node hwmanager.Node) (map[string]disk.Target, error) {
	targets := map[string]disk.Target{}
	protect := protects(h.Settings, node)
	var problems []error
	for _, d := range p.disks {
		dir := filepath.Join(h.Sys, "block", sysName(d.device.Name))
		if readText(dir, "ro") == "1" {
			problems = append(problems, fmt.Errorf("%s is read-only", d.device.Name))
			continue
		}
		if isArrayMember(dir) && !d.freed.whole {
			problems = append(problems, fmt.Errorf("%s belongs to an array as a whole: delete the configuration first", d.device.Name))
			continue
		}
		if err := mayErase(h, d.device, protect); err != nil {
			return nil, err // says what is protected
		}
		target, err := h.Fence(d.device)
		if err != nil {
			return nil, err
		}
		targets[d.device.Name] = target
		if err := d.measure(h, p.label); err != nil {
			problems = append(problems, err)
		}
	}
	if err := errors.Join(problems...); err != nil {
		return nil, raidError("%w", err)
	}
	return targets, nil
}

// measure finds out where partitions of the disk have to end, and that there is
// none that nobody wants kept.
func (d *raidDisk) measure(h *hwmanager.Host, label string) error {
	device, err := disk.OpenReadOnly(h.DevicePath(d.device.Name))
	if err != nil {
		return err
	}
	defer device.Close()
	d.room = partition.Room(device, label)
	table, err := partition.Read(device)
	if err == nil {
		table.Partitions = slices.DeleteFunc(table.Partitions, func(q partition.Partition) bool { return slices.Contains(d.freed.numbers, q.Number) })
	}
	switch {
	case errors.Is(err, partition.ErrNoTable) || d.freed.whole:
		return nil
	case err != nil:
		return fmt.Errorf("partition table of %s: %w", d.device.Name, err)
	case d.used > 0 && table.Label != label:
		return fmt.Errorf("%s has arrays to keep and a partition table %s, but the node wants %s", d.device.Name, table.Label, label)
	case d.used > 0:
		for _, q := range table.Partitions {
			d.used, d.last = max(d.used, (q.Start+q.Size+mebibyte-1)&^(mebibyte-1)), max(d.last, q.Number)
		}
	case len(table.Partitions) > 0:
		return fmt.Errorf("%s has %d partitions: delete the configuration, or erase its metadata, first", d.device.Name, len(table.Partitions))
	}
	return nil
}
