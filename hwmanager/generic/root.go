package generic

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sort"
	"strings"

	"ferric/api/hints"
	"ferric/api/ipa"
	"ferric/hwmanager"
)

// minRoot is the smallest disk that is taken without hints, in bytes.
const minRoot = 4 << 30

// InstallDevice implements hwmanager.RootPicker (agent contract, section
// "Root device selection"). Errors are of kind ipa.DeviceNotFound.
func (m *Manager) InstallDevice(ctx context.Context, h *hwmanager.Host, node hwmanager.Node) (ipa.BlockDevice, error) {
	if node != nil { // a disk of an array may have appeared late
		if err := m.assembleArrays(ctx, h, 0); err != nil {
			return ipa.BlockDevice{}, ipa.DeviceNotFound.New("%v", err)
		}
	}
	disks, err := m.candidates(ctx, h, node)
	if err != nil {
		return ipa.BlockDevice{}, ipa.DeviceNotFound.New("%v", err)
	}
	wanted, err := rootHints(node)
	if err != nil {
		return ipa.BlockDevice{}, ipa.DeviceNotFound.New("%v", err)
	}
	root, disks, err := m.rootVolume(h, disks, len(wanted) > 0)
	if err != nil {
		return ipa.BlockDevice{}, ipa.DeviceNotFound.New("%v", err)
	}
	if root != nil {
		return *root, nil
	}
	if len(wanted) == 0 {
		return smallestDisk(h, disks)
	}
	parsed, err := hints.Parse(wanted)
	if err != nil {
		return ipa.BlockDevice{}, ipa.DeviceNotFound.New("root_device: %v", err)
	}
	var matching []ipa.BlockDevice
	for _, disk := range disks {
		if parsed.Match(disk, otherNotations(disk)) {
			matching = append(matching, disk)
		}
	}
	if len(matching) > 0 {
		return first(h, matching, fmt.Sprintf("match the root device hints %v", wanted))
	}
	return ipa.BlockDevice{}, ipa.DeviceNotFound.New("none of the %d disks (%s) matches the root device hints %v", len(disks), nameList(disks), wanted)
}

// candidates are all disks but those of skip_block_devices.
func (m *Manager) candidates(ctx context.Context, h *hwmanager.Host, node hwmanager.Node) ([]ipa.BlockDevice, error) {
	disks, err := m.BlockDevices(ctx, h, false)
	if err != nil {
		return nil, err
	}
	return withoutSkipped(h, disks, node)
}

// rootHints are those of the instance or else of the node, none if neither has
// any. Hints that cannot be read are an error: without them the image would go
// to another disk than the one that was meant.
func rootHints(node hwmanager.Node) (map[string]any, error) {
	for _, place := range []string{"instance_info", "properties"} {
		info, err := object(node, place)
		if err != nil {
			return nil, err
		}
		wanted, err := object(info, "root_device")
		if err != nil {
			return nil, fmt.Errorf("%s: %w", place, err)
		}
		if len(wanted) > 0 {
			return wanted, nil
		}
	}
	return nil, nil
}

// object is a member that is an object, nil if it is absent or null.
func object(parent map[string]any, key string) (map[string]any, error) {
	switch value := parent[key].(type) {
	case nil:
		return nil, nil
	case map[string]any:
		return value, nil
	}
	return nil, fmt.Errorf("%s must be an object", key)
}

// first is the first disk that fits, in the contract's order, with a warning if
// there are more; that is an error for who wants it to be
// (ferric-strict-root-device).
func first(h *hwmanager.Host, fitting []ipa.BlockDevice, what string) (ipa.BlockDevice, error) {
	if len(fitting) > 1 && h.Settings.StrictRootDevice {
		return ipa.BlockDevice{}, ipa.DeviceNotFound.New("%d disks (%s) %s, and ferric-strict-root-device wants one: add a hint", len(fitting), nameList(fitting), what)
	}
	if len(fitting) > 1 {
		h.Log.WithField("device", fitting[0].Name).Warnf("%d disks (%s) %s: the first one is taken", len(fitting), nameList(fitting), what)
	}
	return fitting[0], nil
}

func smallestDisk(h *hwmanager.Host, disks []ipa.BlockDevice) (ipa.BlockDevice, error) {
	sorted := append([]ipa.BlockDevice(nil), disks...)
	sort.SliceStable(sorted, func(i, j int) bool {
		if sorted[i].Size != sorted[j].Size {
			return sorted[i].Size < sorted[j].Size
		}
		return sorted[i].Name < sorted[j].Name
	})
	large := slices.DeleteFunc(sorted, func(disk ipa.BlockDevice) bool { return disk.Size < minRoot })
	if len(large) > 0 {
		return first(h, large, "have at least 4 GiB, and there are no root device hints")
	}
	return ipa.BlockDevice{}, ipa.DeviceNotFound.New("none of the %d disks (%s) has at least 4 GiB", len(disks), nameList(disks))
}

func nameList(disks []ipa.BlockDevice) string {
	names := make([]string, len(disks))
	for i, disk := range disks {
		names[i] = disk.Name
	}
	return strings.Join(names, ", ")
}

// otherNotations are further values of hints, as udev and lsblk have them (agent
// contract, section "Root device selection"): the serial number of a SCSI disk
// is its world-wide name to udev, ID_SERIAL has the model or a type before the
// number, and lsblk takes the longer world-wide name.
func otherNotations(disk ipa.BlockDevice) map[string][]string {
	var serials, wwns []string
	if disk.Model != nil && disk.Serial != nil {
		long := strings.Join(strings.Fields(*disk.Model), "_") + "_" + strings.Join(strings.Fields(*disk.Serial), "_")
		serials = append(serials, long)
	}
	for _, wwn := range []*string{disk.WWN, disk.WWNWithExtension} {
		if wwn == nil {
			continue
		}
		plain := strings.TrimPrefix(*wwn, "0x")
		serials, wwns = append(serials, plain), append(wwns, *wwn, plain)
		if plain != *wwn { // an NAA name, type 3 of scsi_id
			serials = append(serials, "3"+plain)
		}
	}
	return map[string][]string{"serial": serials, "wwn": wwns}
}

// withoutSkipped drops the disks that properties.skip_block_devices names by
// hints, and those with a part of an array that it names by volume_name.
func withoutSkipped(h *hwmanager.Host, disks []ipa.BlockDevice, node hwmanager.Node) ([]ipa.BlockDevice, error) {
	listed, volumes, err := skipList(node)
	if err != nil {
		return nil, err
	}
	var kept []ipa.BlockDevice
	for _, disk := range disks {
		if slices.ContainsFunc(listed, func(item hints.Hints) bool { return item.Match(disk, otherNotations(disk)) }) {
			continue
		}
		holds, err := holdsVolume(h, disk, volumes)
		if err != nil {
			return nil, fmt.Errorf("skip_block_devices: %w", err)
		}
		if !holds {
			kept = append(kept, disk)
		}
	}
	return kept, nil
}

// skipList is properties.skip_block_devices: hints, of which each names disks,
// and the names of arrays.
func skipList(node hwmanager.Node) (listed []hints.Hints, volumes []string, err error) {
	properties, err := object(node, "properties")
	if err != nil {
		return nil, nil, err
	}
	items, ok := properties["skip_block_devices"].([]any)
	if !ok && properties["skip_block_devices"] != nil {
		return nil, nil, errors.New("properties: skip_block_devices must be a list of objects")
	}
	for _, item := range items {
		object, ok := item.(map[string]any)
		if !ok {
			return nil, nil, fmt.Errorf("skip_block_devices: %v is not an object of hints", item)
		}
		if volume, raid := object["volume_name"]; raid {
			name := text(volume)
			if name == "" {
				return nil, nil, fmt.Errorf("skip_block_devices: volume_name %v is not the name of an array", volume)
			}
			volumes = append(volumes, name)
			continue
		}
		parsed, err := hints.Parse(object)
		if err != nil {
			return nil, nil, fmt.Errorf("skip_block_devices: %w", err)
		}
		if len(parsed) == 0 {
			return nil, nil, fmt.Errorf("skip_block_devices: an empty object would name every disk")
		}
		listed = append(listed, parsed)
	}
	return listed, volumes, nil
}
