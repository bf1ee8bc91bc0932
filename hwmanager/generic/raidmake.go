package generic

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"ferric/hwmanager"
	"ferric/images/disk"
	"ferric/images/partition"
)

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
func (m *Manager) undoArrays(ctx context.Context, h *hwmanager.Host, p *raidPlan, targets map[string]disk.Target, made []string) error {
	var problems []error
	for _, device := range made {
		slaves, _ := os.ReadDir(filepath.Join(h.Sys, "block", sysName(device), "slaves"))
		if len(slaves) == 0 {
			continue
		}
		problems = append(problems, m.stopArray(ctx, h, device))
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
