package generic

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"

	"ferric/api/ipa"
	"ferric/hwmanager"
)

// espVolume is the name of the array that mirrors the EFI system partition.
const espVolume = "esp"

// raidSteps are the steps for software RAID (agent contract, section "Built-in
// steps").
func (m *Manager) raidSteps(phase hwmanager.Phase) []hwmanager.Step {
	declare := func(name string) ipa.Step {
		return ipa.Step{Step: name, Interface: "raid", Abortable: phase != hwmanager.Deploy}
	}
	create := declare("create_configuration")
	create.ArgsInfo = map[string]ipa.Arg{
		"create_root_volume":     {Description: "Whether to create the root volume, true by default."},
		"create_nonroot_volumes": {Description: "Whether to create the other volumes, true by default."},
		"delete_existing":        {Description: "Whether to delete the existing RAID configuration first, false by default."},
	}
	apply := declare("apply_configuration")
	apply.Abortable = false
	apply.ArgsInfo = map[string]ipa.Arg{
		"raid_config":     {Description: "The RAID configuration to apply.", Required: true},
		"delete_existing": {Description: "Whether to delete the existing RAID configuration first, true by default."},
	}
	both := []hwmanager.Step{
		{Declaration: declare("delete_configuration"), Run: m.deleteConfiguration},
		{Declaration: create, Run: m.createConfiguration},
	}
	switch phase {
	case hwmanager.Clean:
		return both
	case hwmanager.Deploy:
		return []hwmanager.Step{{Declaration: apply, Run: m.applyConfiguration}}
	}
	return append(both, hwmanager.Step{Declaration: apply, Run: m.applyConfiguration})
}

// raidMemory is what this boot knows of the arrays that it made.
type raidMemory struct {
	mu   sync.Mutex
	root map[string]bool // by device: whether it is the root volume
}

func (r *raidMemory) remember(device string, root bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.root == nil {
		r.root = map[string]bool{}
	}
	r.root[device] = root
}

// stopArray stops an array, and forgets what was said of it.
func (m *Manager) stopArray(ctx context.Context, h *hwmanager.Host, device string) error {
	if _, err := h.Run.Run(ctx, "mdadm", "--stop", h.DevicePath(device)); err != nil {
		return fmt.Errorf("stop %s: %w", device, err)
	}
	m.raid.mu.Lock()
	defer m.raid.mu.Unlock()
	delete(m.raid.root, device)
	return nil
}

// releaseDisk stops the arrays that have a member on the disk, for an image to be
// written there. They were assembled because they were found: a former system may
// have left them, and who chose the disk did not choose them. One that is to be
// skipped is an error.
func (m *Manager) releaseDisk(ctx context.Context, h *hwmanager.Host, device ipa.BlockDevice, node hwmanager.Node) error {
	arrays, err := runningArrays(h)
	if err != nil {
		return ipa.ImageWrite.New("%v", err)
	}
	arrays = slices.DeleteFunc(arrays, func(a array) bool { return !slices.Contains(a.holders, device.Name) })
	for _, a := range arrays {
		kept, err := withoutSkipped(h, []ipa.BlockDevice{a.device}, node)
		if err != nil {
			return ipa.ImageWrite.New("%v", err)
		}
		if len(kept) == 0 {
			return ipa.ProtectedDevice.New("%s holds a member of %s, which is one of the skip_block_devices of the node", device.Name, a.device.Name)
		}
	}
	return m.release(ctx, h, arrays, node, ipa.ImageWrite)
}

// releaseFormer stops the arrays that nobody has configured for the node, for their
// disks to be erased as a whole: a former user has left them. Those with a member
// on a disk that is to be skipped stay.
func (m *Manager) releaseFormer(ctx context.Context, h *hwmanager.Host, node hwmanager.Node) error {
	arrays, err := runningArrays(h)
	if err != nil {
		return ipa.BlockDeviceErase.New("%v", err)
	}
	if len(arrays) == 0 {
		return nil
	}
	disks, err := m.candidates(ctx, h, node)
	if err != nil {
		return ipa.BlockDeviceErase.New("%v", err)
	}
	skipped := func(name string) bool {
		return !slices.ContainsFunc(disks, func(d ipa.BlockDevice) bool { return d.Name == name })
	}
	arrays = slices.DeleteFunc(arrays, func(a array) bool {
		return configures(node, a.volume()) || a.device.Size > 0 && skipped(a.device.Name) || slices.ContainsFunc(a.holders, skipped)
	})
	return m.release(ctx, h, arrays, node, ipa.BlockDeviceErase)
}

// configures reports whether an array with the name is, or is to be, configured
// for the node. A configuration that cannot be read counts as one of all arrays.
func configures(node hwmanager.Node, volume string) bool {
	for _, key := range []string{"raid_config", "target_raid_config"} {
		config, err := object(node, key)
		if err != nil {
			return true
		}
		if len(config) == 0 {
			continue
		}
		disks, ok := config["logical_disks"].([]any)
		if !ok || len(disks) > 0 && volume == espVolume {
			return true
		}
		for i, d := range disks {
			disk, ok := d.(map[string]any)
			// The order in which arrays without a name are counted is another one.
			if !ok || disk["volume_name"] == volume || volume == fmt.Sprintf("md%d", i) {
				return true
			}
		}
	}
	return false
}

// release stops arrays, none if one of them holds something protected. The other
// errors are of the kind.
func (m *Manager) release(ctx context.Context, h *hwmanager.Host, arrays []array, node hwmanager.Node, kind ipa.Kind) error {
	for _, a := range arrays {
		if a.device.Size == 0 {
			continue // it does not run
		}
		if err := mayErase(h, a.device, protects(h.Settings, node)); err != nil {
			return err
		}
	}
	for _, a := range arrays {
		if err := m.stopArray(ctx, h, a.device.Name); err != nil {
			return kind.New("free the members of array %q: %v", a.volume(), err)
		}
		h.Log.WithField("device", a.device.Name).Warnf("array %q stopped, for its disks %s to be written", a.volume(), strings.Join(a.holders, ", "))
	}
	return nil
}

// rootVolume applies what was said of arrays that were made in this boot to the
// choice of the root disk (agent contract, section "Root device selection"): the
// root volume wins over all hints; one that is not to be it is left out of the
// disks, and so are its members and their disks. It also leaves out what belongs
// to an array and cannot be written to, if there are no hints that name it.
func (m *Manager) rootVolume(h *hwmanager.Host, disks []ipa.BlockDevice, hinted bool) (root *ipa.BlockDevice, rest []ipa.BlockDevice, err error) {
	arrays, err := runningArrays(h)
	if err != nil || len(arrays) == 0 {
		return nil, disks, err
	}
	m.raid.mu.Lock()
	defer m.raid.mu.Unlock()
	var excluded []string
	for _, a := range arrays {
		isRoot, said := m.raid.root[a.device.Name]
		at := slices.IndexFunc(disks, func(d ipa.BlockDevice) bool { return d.Name == a.device.Name })
		switch {
		case isRoot && at >= 0:
			return &disks[at], nil, nil
		case isRoot:
			return nil, nil, fmt.Errorf("the root volume %s is among the devices to skip", a.device.Name)
		case said:
			excluded = append(append(append(excluded, a.device.Name), a.members...), a.holders...)
		case !hinted:
			excluded = append(append(excluded, a.members...), a.holders...)
		}
	}
	for _, d := range disks {
		if !slices.Contains(excluded, d.Name) {
			rest = append(rest, d)
		}
	}
	return nil, rest, nil
}
