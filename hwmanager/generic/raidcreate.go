package generic

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"ferric/api/hints"
	"ferric/api/ipa"
	"ferric/hwmanager"
	"ferric/images/disk"
	"ferric/images/partition"
)

// createConfiguration makes the arrays of node.target_raid_config.
func (m *Manager) createConfiguration(ctx context.Context, h *hwmanager.Host, call hwmanager.StepCall) (any, error) {
	if err := onlyArgs(call.Args); err != nil {
		return nil, err
	}
	config, err := object(call.Node, "target_raid_config")
	if err != nil {
		return nil, ipa.SoftwareRAID.New("%v", err)
	}
	return m.createArrays(ctx, h, call.Node, config)
}

// applyConfiguration makes the arrays of its argument, in place of those that
// there are unless delete_existing is false. What is wrong with them is found
// before anything is deleted.
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
	if err := m.ValidateRAID(ctx, h, call.Node, config); err != nil {
		return nil, err
	}
	if remove {
		if err := m.deleteArrays(ctx, h, call.Node); err != nil {
			return nil, err
		}
	}
	return m.createArrays(ctx, h, call.Node, config)
}

// ValidateRAID implements hwmanager.RAIDValidator.
func (m *Manager) ValidateRAID(ctx context.Context, h *hwmanager.Host, node hwmanager.Node, config map[string]any) error {
	if !isSoftwareRAID(config) {
		return nil
	}
	_, err := m.planArrays(ctx, h, node, config)
	return err
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
	// What takes the rest of the disks comes last.
	slices.SortStableFunc(logical, func(a, b logicalDisk) int { return boolInt(a.size == 0) - boolInt(b.size == 0) })
	plan, err := pickDisks(logical, candidates)
	if err != nil {
		return nil, raidError("%w", err)
	}
	mode := nodeBootMode(h, node)
	plan.label = nodeDiskLabel(node, mode)
	plan.start = raidStart(plan.label, mode)
	return plan, nil
}

func boolInt(b bool) int {
	if b {
		return 1
	}
	return 0
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
	plan, err := m.planArrays(ctx, h, node, config)
	if err != nil {
		return nil, err
	}
	if err := m.keepPresent(ctx, h, node, plan); err != nil {
		return nil, raidError("existing arrays: %w", err)
	}
	targets, err := plan.check(h, node)
	if err != nil {
		return nil, err
	}
	if err := plan.lay(); err != nil {
		return nil, raidError("%w", err)
	}
	if _, err := h.Run.Run(ctx, "mdadm", "--version"); err != nil {
		return nil, raidError("arrays need mdadm in the ramdisk: %w", err)
	}
	made, err := m.makeArrays(ctx, h, plan, targets)
	if err != nil {
		undone := undoArrays(context.WithoutCancel(ctx), h, plan, targets, made)
		if undone != nil {
			return nil, raidError("%w; and what was made could not be removed, which delete_configuration may: %w", err, undone)
		}
		return nil, raidError("%w; what was made is removed again", err)
	}
	return config, nil
}

// keepPresent takes out of the plan what is there already, if skip_block_devices
// names volumes to keep: every array must then have a name, and be in the
// configuration or among those that stay.
func (m *Manager) keepPresent(ctx context.Context, h *hwmanager.Host, node hwmanager.Node, p *raidPlan) error {
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
		switch {
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
		if isArrayMember(dir) {
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
	switch {
	case errors.Is(err, partition.ErrNoTable):
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

// makeArrays writes the partition tables, then makes one array after the other.
// made are those that exist, also after an error.
func (m *Manager) makeArrays(ctx context.Context, h *hwmanager.Host, p *raidPlan, targets map[string]disk.Target) (made []string, err error) {
	if _, err := h.Run.Run(ctx, "modprobe", "md_mod"); err != nil {
		h.Log.WithError(err).Debug("md is built in, or the kernel has none")
	}
	for _, d := range p.disks {
		if err := d.write(ctx, h, p.label, targets[d.device.Name]); err != nil {
			return nil, fmt.Errorf("partition %s: %w", d.device.Name, err)
		}
	}
	for i, a := range p.arrays {
		if err := a.wipeMembers(ctx, h, targets); err != nil {
			return made, fmt.Errorf("array %s: %w", a.volume, err)
		}
		device, err := freeArray(h, i)
		if err != nil {
			return made, err
		}
		made = append(made, device)
		args := []string{"--create", h.DevicePath(device), "--force", "--run", "--metadata=1", "--level", a.mdLevel(),
			"--name", a.volume, "--raid-devices", strconv.Itoa(len(a.disks))}
		if err := m.makeArray(ctx, h, device, args, a.members(), a.targets(targets)); err != nil {
			return made, fmt.Errorf("array %s: %w", a.volume, err)
		}
		h.Log.WithField("device", device).WithField("name", a.volume).Infof("array of level %s made of %s", a.level, strings.Join(a.members(), ", "))
		if a.root != nil {
			m.raid.remember(device, *a.root)
		}
	}
	return made, nil
}

// write gives the disk its partitions, beside those that stay, and waits for their
// nodes.
func (d *raidDisk) write(ctx context.Context, h *hwmanager.Host, label string, target disk.Target) error {
	if len(d.parts) == 0 {
		return nil
	}
	if d.last > 0 {
		for _, w := range d.parts {
			if _, err := partition.Add(target, w); err != nil {
				return err
			}
		}
		if err := partition.Update(target.Path()); err != nil {
			return err
		}
	} else {
		if err := target.Wipe(ctx); err != nil {
			return err
		}
		device, err := target.Open()
		if err != nil {
			return err
		}
		table, err := partition.Plan(device, label, d.parts, nil)
		if err == nil {
			err = table.Commit(device)
		}
		if err := errors.Join(err, device.Close()); err != nil {
			return err
		}
		if err := partition.Reread(ctx, target.Path()); err != nil {
			return err
		}
	}
	for i := range d.parts {
		if err := waitForNode(ctx, disk.Node(target.Path(), d.last+1+i)); err != nil {
			return err
		}
	}
	return nil
}

// targets are those of the array's members.
func (a raidArray) targets(disks map[string]disk.Target) []disk.Target {
	var members []disk.Target
	for i, d := range a.disks {
		members = append(members, disks[d.device.Name].Partition(a.numbers[i]))
	}
	return members
}

// wipeMembers removes what was where the partitions are now: a superblock there
// would be found again.
func (a raidArray) wipeMembers(ctx context.Context, h *hwmanager.Host, disks map[string]disk.Target) error {
	for _, t := range a.targets(disks) {
		if err := t.Wipe(ctx); err != nil {
			return err
		}
	}
	return nil
}

// How often a member that an array lacks is added to it, and the pause between.
const (
	addTries = 3
	addPause = time.Second
)

// makeArray runs mdadm with the arguments and the members, adds members that the
// array lacks, and wipes what it shows of old contents.
func (m *Manager) makeArray(ctx context.Context, h *hwmanager.Host, device string, args, members []string, targets []disk.Target) error {
	for _, t := range targets {
		if err := t.Check(); err != nil {
			return err
		}
		args = append(args, t.Path())
	}
	if _, err := h.Run.Run(ctx, "mdadm", args...); err != nil {
		return err
	}
	if err := waitForNode(ctx, h.DevicePath(device)); err != nil {
		return err
	}
	for i, member := range members {
		if err := addMember(ctx, h, device, member, targets[i]); err != nil {
			return err
		}
	}
	made, err := h.Fence(readDisk(h, filepath.Join(h.Sys, "block", sysName(device)), sysName(device)))
	if err != nil {
		return err
	}
	return made.Wipe(ctx)
}

// addMember adds a member that the array does not have.
func addMember(ctx context.Context, h *hwmanager.Host, device, member string, target disk.Target) error {
	var failed error
	for try := range addTries {
		if _, err := os.Stat(filepath.Join(h.Sys, "block", sysName(device), "slaves", sysName(member))); err == nil {
			return nil
		}
		if try > 0 {
			select {
			case <-time.After(addPause):
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		}
		h.Log.WithField("device", device).Warnf("the array lacks %s, which is added", member)
		if err := target.Check(); err != nil {
			return err
		}
		_, failed = h.Run.Run(ctx, "mdadm", "--add", h.DevicePath(device), target.Path())
	}
	if _, err := os.Stat(filepath.Join(h.Sys, "block", sysName(device), "slaves", sysName(member))); err == nil {
		return nil
	}
	return fmt.Errorf("%s lacks its member %s after adding it %d times: %w", device, member, addTries, errors.Join(failed, errNoMember))
}

var errNoMember = errors.New("not a member")

// undoArrays stops arrays that were made, and takes the partitions away again.
func undoArrays(ctx context.Context, h *hwmanager.Host, p *raidPlan, targets map[string]disk.Target, made []string) error {
	var problems []error
	for _, device := range made {
		slaves, _ := os.ReadDir(filepath.Join(h.Sys, "block", sysName(device), "slaves"))
		if len(slaves) == 0 {
			continue
		}
		if _, err := h.Run.Run(ctx, "mdadm", "--stop", h.DevicePath(device)); err != nil {
			problems = append(problems, err)
		}
	}
	for _, d := range p.disks {
		var numbers []int
		for i := range d.parts {
			numbers = append(numbers, d.last+1+i)
		}
		problems = append(problems, freePartitions(ctx, targets[d.device.Name], numbers, d.last == 0))
	}
	return errors.Join(problems...)
}

// freePartitions wipes partitions and takes them off the table, or all of the
// disk's metadata with them if it is for nothing else. Those that are not there
// are none to wipe.
func freePartitions(ctx context.Context, target disk.Target, numbers []int, whole bool) error {
	var problems []error
	for _, n := range numbers {
		member := target.Partition(n)
		if _, err := os.Stat(member.Path()); err == nil {
			problems = append(problems, member.Wipe(ctx))
		}
	}
	switch {
	case whole:
		problems = append(problems, target.Wipe(ctx))
		if errors.Join(problems...) == nil {
			problems = append(problems, partition.Reread(ctx, target.Path()))
		}
	case len(numbers) > 0:
		problems = append(problems, partition.Remove(target, numbers...))
		if errors.Join(problems...) == nil {
			problems = append(problems, partition.Update(target.Path()))
		}
	}
	return errors.Join(problems...)
}
