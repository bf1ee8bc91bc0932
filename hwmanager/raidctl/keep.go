package raidctl

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"ferric/api/hints"
	"ferric/api/ipa"
	"ferric/hwmanager"
)

// keeper knows what skip_block_devices keeps: volumes by their names, and disks of
// the operating system by hints (agent contract, section "skip_block_devices").
type keeper struct {
	names   []string
	hints   []hints.Hints
	devices []ipa.BlockDevice
}

func newKeeper(ctx context.Context, h *hwmanager.Host, node hwmanager.Node) (*keeper, error) {
	k := &keeper{}
	properties, err := objectOf(node, "properties")
	if err != nil {
		return nil, err
	}
	items, ok := properties["skip_block_devices"].([]any)
	if !ok && properties["skip_block_devices"] != nil {
		return nil, errors.New("properties: skip_block_devices must be a list of objects")
	}
	for _, item := range items {
		object, ok := item.(map[string]any)
		if !ok {
			return nil, fmt.Errorf("skip_block_devices: %.80q is not an object of hints", fmt.Sprint(item))
		}
		if value, volume := object["volume_name"]; volume {
			name, _ := value.(string)
			if name == "" {
				return nil, errors.New("skip_block_devices: volume_name is not the name of a volume")
			}
			k.names = append(k.names, name)
			continue
		}
		parsed, err := hints.Parse(object)
		if err != nil || len(parsed) == 0 {
			return nil, fmt.Errorf("skip_block_devices: %w", cmp.Or(err, errors.New("an empty object would name every disk")))
		}
		k.hints = append(k.hints, parsed)
	}
	if h.Set == nil {
		return k, nil
	}
	k.devices, err = hwmanager.First(h.Set, "list_block_devices", func(l hwmanager.DiskLister) ([]ipa.BlockDevice, error) {
		return l.BlockDevices(ctx, h, false)
	})
	// Hints cannot be compared without the disks; without hints they are of use only.
	if err != nil && len(k.hints) > 0 {
		return nil, fmt.Errorf("disks that skip_block_devices may name: %w", err)
	}
	return k, nil
}

func (k *keeper) nothing() bool { return len(k.names)+len(k.hints) == 0 }

// deviceOf is the disk of the operating system that a volume is, nil if none is
// known. The world-wide name tells it better than the name that the tool believes.
func (k *keeper) deviceOf(name, wwn string) *ipa.BlockDevice {
	for i, d := range k.devices {
		if wwn != "" && d.WWNWithExtension != nil && strings.EqualFold(*d.WWNWithExtension, wwn) {
			return &k.devices[i]
		}
	}
	for i, d := range k.devices {
		if name != "" && d.Name == name && (wwn == "" || d.WWNWithExtension == nil) {
			return &k.devices[i]
		}
	}
	return nil
}

// keeps is why a volume stays; "" if it does not.
func (k *keeper) keeps(v *Volume, device *ipa.BlockDevice) string {
	if v.Name != "" && slices.Contains(k.names, v.Name) {
		return "skip_block_devices has its name"
	}
	if device == nil && (v.WWN != "" || v.Device != "") {
		// The kernel may not show it; hints that name it as well as the tool does
		// still hold.
		device = &ipa.BlockDevice{Name: v.Device, Size: v.Size}
		if v.WWN != "" {
			wwn := v.WWN
			device.WWN, device.WWNWithExtension = &wwn, &wwn
		}
	}
	return k.keepsDevice(device)
}

func (k *keeper) keepsDevice(device *ipa.BlockDevice) string {
	if device == nil {
		return ""
	}
	more := map[string][]string{}
	for _, wwn := range []*string{device.WWN, device.WWNWithExtension} {
		if wwn != nil {
			plain := strings.TrimPrefix(*wwn, "0x")
			more["wwn"] = append(more["wwn"], *wwn, plain)
			more["serial"] = append(more["serial"], plain, "3"+plain)
		}
	}
	for _, hint := range k.hints {
		if hint.Match(*device, more) {
			return "skip_block_devices matches " + device.Name
		}
	}
	return ""
}

// mountedAt is where a disk or one of its partitions is mounted, "" if nowhere.
func mountedAt(h *hwmanager.Host, device string) string {
	if device == "" {
		return ""
	}
	data, err := os.ReadFile(filepath.Join(h.Proc, "self/mounts"))
	if err != nil {
		return ""
	}
	for line := range strings.Lines(string(data)) {
		fields := strings.Fields(line)
		if len(fields) < 2 {
			continue
		}
		rest, ok := strings.CutPrefix(fields[0], device)
		if ok && (rest == "" || strings.Trim(strings.TrimPrefix(rest, "p"), "0123456789") == "") {
			return fields[1]
		}
	}
	return ""
}
