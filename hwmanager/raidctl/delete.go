package raidctl

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"ferric/api/ipa"
	"ferric/hwmanager"
)

// deletion is what deleting the configuration does: everything in it may be.
type deletion struct {
	volumes []doomed
	foreign []*Controller // with configurations from elsewhere
	exposed []doomedDisk  // that the node's raid_config has as JBOD
}

type doomed struct {
	controller *Controller
	volume     *Volume
	device     string // of the operating system, "" if none is known
}

type doomedDisk struct {
	controller *Controller
	disk       *Disk
}

func (d *deletion) empty() bool { return len(d.volumes)+len(d.foreign)+len(d.exposed) == 0 }

func (d *deletion) set() map[*Volume]bool {
	set := map[*Volume]bool{}
	for _, v := range d.volumes {
		set[v.volume] = true
	}
	return set
}

// deleteConfiguration deletes all volumes of all controllers, but those that
// skip_block_devices keeps. It is passed on where the configurations of the node
// are for software RAID only, and where there is nothing to delete for a node that
// has none. Arrays of the operating system go first where there may be some: they
// may lie on volumes.
func (m *Manager) deleteConfiguration(ctx context.Context, h *hwmanager.Host, phase hwmanager.Phase, call hwmanager.StepCall) error {
	var hardware, software []any
	for _, name := range []string{"target_raid_config", "raid_config"} {
		config, err := objectOf(call.Node, name)
		if err != nil {
			return failed(phase, "%w", err)
		}
		hard, soft := split(config)
		hardware, software = append(hardware, hard...), append(software, soft...)
	}
	if len(hardware) == 0 && len(software) > 0 {
		return hwmanager.ErrNotHandled
	}
	controllers, err := m.controllers(ctx, h)
	if err != nil {
		return failed(phase, "%w", err)
	}
	d, err := m.planDeletion(ctx, h, call.Node, controllers)
	if err != nil {
		return failed(phase, "%w", err)
	}
	if d.empty() && len(hardware) == 0 {
		return hwmanager.ErrNotHandled
	}
	if err := mayChange(h); err != nil {
		return err
	}
	if err := m.runDeletion(ctx, h, phase, call, d, len(software) > 0 || len(hardware) == 0); err != nil {
		return failed(phase, "%w", err)
	}
	return nil
}

// planDeletion decides what goes, and that nothing of it is in use.
func (m *Manager) planDeletion(ctx context.Context, h *hwmanager.Host, node hwmanager.Node, controllers []*Controller) (*deletion, error) {
	keep, err := newKeeper(ctx, h, node)
	if err != nil {
		return nil, err
	}
	made, err := exposedBefore(node)
	if err != nil {
		return nil, err
	}
	d := &deletion{}
	var problems []error
	for _, c := range controllers {
		for _, v := range c.Volumes {
			device := keep.deviceOf(v.Device, v.WWN)
			if why := keep.keeps(v, device); why != "" {
				h.Log.Infof("%s on %s stays: %s", v, c, why)
				continue
			}
			name := v.Device
			if device != nil {
				name = device.Name
				if err := mayErase(h, node, *device); err != nil {
					problems = append(problems, fmt.Errorf("%s on %s: %w", v, c, err))
				}
			}
			if at := mountedAt(h, name); at != "" {
				problems = append(problems, fmt.Errorf("%s on %s is in use: %s is mounted at %s", v, c, name, at))
			}
			d.volumes = append(d.volumes, doomed{c, v, name})
		}
		foreign := slices.ContainsFunc(c.Disks, func(d *Disk) bool { return d.State == stateForeign })
		if foreign && keep.nothing() {
			d.foreign = append(d.foreign, c)
		} else if foreign {
			h.Log.Warnf("foreign configurations on %s stay, because skip_block_devices keeps something", c)
		}
		for _, disk := range c.Disks {
			if disk.State != stateJBOD || !keep.isOneOf(made, disk) || keep.kept(disk) != "" {
				continue
			}
			if err := keep.inUse(h, node, disk); err != nil {
				problems = append(problems, fmt.Errorf("disk %s of %s: %w", disk.ID, c, err))
			}
			d.exposed = append(d.exposed, doomedDisk{c, disk})
		}
	}
	err = errors.Join(problems...)
	if ipa.ProtectedDevice.Is(err) {
		err = ipa.ProtectedDevice.New("%v", err)
	}
	return d, err
}

// eraser is a manager that knows what must not be erased (agent contract, section
// "Protected contents").
type eraser interface {
	MayErase(h *hwmanager.Host, node hwmanager.Node, d ipa.BlockDevice) error
}

// mayErase asks whether a volume may go, by the disk that the operating system has
// of it.
func mayErase(h *hwmanager.Host, node hwmanager.Node, d ipa.BlockDevice) error {
	_, err := hwmanager.First(h.Set, "may_erase", func(e eraser) (struct{}, error) { return struct{}{}, e.MayErase(h, node, d) })
	if ipa.MethodNotFound.Is(err) {
		return nil
	}
	return err
}

// exposedBefore are the world-wide names of the disks that the node's raid_config
// has as JBOD.
func exposedBefore(node hwmanager.Node) (map[string]bool, error) {
	config, err := objectOf(node, "raid_config")
	if err != nil {
		return nil, err
	}
	list, _ := config["logical_disks"].([]any)
	made := map[string]bool{}
	for _, item := range list {
		l, _ := item.(map[string]any)
		hint, _ := l["root_device_hint"].(map[string]any)
		if wwn, _ := hint["wwn"].(string); l["raid_level"] == "JBOD" && wwn != "" {
			made[strings.ToLower(wwn)] = true
		}
	}
	return made, nil
}

// runDeletion deletes what was planned, and waits until it is gone.
func (m *Manager) runDeletion(ctx context.Context, h *hwmanager.Host, phase hwmanager.Phase, call hwmanager.StepCall, d *deletion, software bool) error {
	if held := m.held(h, d); software || held {
		_, err := passOn(ctx, h, phase, "delete_configuration", call, nil)
		if err != nil && !(ipa.MethodNotFound.Is(err) && !held) && h.Set != nil {
			return fmt.Errorf("software RAID, which goes before volumes that it may lie on: %w", err)
		}
	}
	for i, v := range d.volumes {
		if err := m.change(ctx, func() error { return v.controller.backend.remove(ctx, v.controller, v.volume) }); err != nil {
			return fmt.Errorf("delete %s on %s (%d of %d are deleted): %w", v.volume, v.controller, i, len(d.volumes), err)
		}
	}
	for _, c := range d.foreign {
		if err := m.change(ctx, func() error { return c.backend.clearForeign(ctx, c) }); err != nil {
			return fmt.Errorf("delete foreign configurations on %s: %w", c, err)
		}
	}
	for _, x := range d.exposed {
		if err := m.change(ctx, func() error { return x.controller.backend.reclaim(ctx, x.controller, x.disk) }); err != nil {
			return fmt.Errorf("take disk %s of %s back from the operating system: %w", x.disk.ID, x.controller, err)
		}
	}
	if d.empty() {
		return nil
	}
	return m.awaitGone(ctx, h, d)
}

// held reports whether one of the volumes has arrays on it that run.
func (m *Manager) held(h *hwmanager.Host, d *deletion) bool {
	return slices.ContainsFunc(d.volumes, func(v doomed) bool {
		name := strings.TrimPrefix(v.device, "/dev/")
		if name == "" || strings.Contains(name, "/") {
			return false
		}
		dir := filepath.Join(h.Sys, "block", name)
		own, _ := filepath.Glob(filepath.Join(dir, "holders/md*"))
		parts, _ := filepath.Glob(filepath.Join(dir, name+"*", "holders/md*"))
		return len(own)+len(parts) > 0
	})
}

// awaitGone waits until the controllers do not show any more what was deleted.
func (m *Manager) awaitGone(ctx context.Context, h *hwmanager.Host, d *deletion) error {
	deadline := time.Now().Add(m.patience)
	for {
		left, err := m.left(ctx, h, d)
		if err == nil && len(left) == 0 {
			return nil
		}
		if time.Now().After(deadline) {
			if err != nil {
				return fmt.Errorf("see whether everything is deleted: %w", err)
			}
			return fmt.Errorf("not gone %s after it was deleted: %s", m.patience, strings.Join(left, ", "))
		}
		select {
		case <-time.After(m.poll):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

func (m *Manager) left(ctx context.Context, h *hwmanager.Host, d *deletion) (left []string, err error) {
	now, err := m.controllers(ctx, h)
	if err != nil {
		return nil, err
	}
	for _, v := range d.volumes {
		c, err := again(now, v.controller)
		if err != nil {
			return nil, err
		}
		if slices.ContainsFunc(c.Volumes, v.volume.same) {
			left = append(left, fmt.Sprintf("%s on %s", v.volume, c))
		}
	}
	for _, former := range d.foreign {
		c, err := again(now, former)
		if err != nil {
			return nil, err
		}
		if slices.ContainsFunc(c.Disks, func(d *Disk) bool { return d.State == stateForeign }) {
			left = append(left, "foreign configurations on "+c.Name)
		}
	}
	return left, nil
}

// awaitDevice waits until the kernel shows the disk that a volume is. One that does
// not appear in time is worth a warning: the controller has it.
func (m *Manager) awaitDevice(ctx context.Context, h *hwmanager.Host, wwn string) error {
	if _, err := os.Stat(filepath.Join(h.Sys, "block")); err != nil {
		return nil
	}
	wanted := "naa." + strings.TrimPrefix(wwn, "0x")
	deadline := time.Now().Add(m.patience)
	for {
		for _, pattern := range []string{"block/*/device/wwid", "block/*/wwid"} {
			files, _ := filepath.Glob(filepath.Join(h.Sys, pattern))
			for _, file := range files {
				if data, err := os.ReadFile(file); err == nil && strings.EqualFold(strings.TrimSpace(string(data)), wanted) {
					return nil
				}
			}
		}
		if time.Now().After(deadline) {
			h.Log.Warnf("the kernel does not show the disk with the world-wide name %s within %s", wwn, m.patience)
			return nil
		}
		select {
		case <-time.After(m.poll):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}
