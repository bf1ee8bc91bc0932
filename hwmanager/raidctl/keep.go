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

// mountedAt is where a disk, one of its partitions, or what is made of them
// (volumes of LVM, crypt, arrays) is mounted, or that it is swap; "" if neither.
func mountedAt(h *hwmanager.Host, device string) string {
	name, ok := strings.CutPrefix(device, "/dev/")
	if !ok || name == "" {
		return ""
	}
	sources := sourcesOn(h, strings.ReplaceAll(name, "/", "!"), maxHolders)
	for _, list := range []string{"self/mounts", "swaps"} {
		data, err := os.ReadFile(filepath.Join(h.Proc, list))
		if err != nil {
			continue
		}
		for line := range strings.Lines(string(data)) {
			fields := strings.Fields(line)
			if len(fields) < 2 || !slices.ContainsFunc(sources, func(s string) bool { return isPartOf(fields[0], s) }) {
				continue
			}
			if list == "swaps" {
				return "swap"
			}
			return fields[1]
		}
	}
	return ""
}

// maxHolders bounds how many layers lie on a disk.
const maxHolders = 8

// sourcesOn are the names, in tables of mounts, of a block device and of what holds
// it or one of its partitions.
func sourcesOn(h *hwmanager.Host, name string, layers int) []string {
	dir := filepath.Join(h.Sys, "block", name)
	sources := []string{"/dev/" + strings.ReplaceAll(name, "!", "/")}
	if label, err := os.ReadFile(filepath.Join(dir, "dm/name")); err == nil {
		sources = append(sources, "/dev/mapper/"+strings.TrimSpace(string(label)))
	}
	if layers == 0 {
		return sources
	}
	for _, pattern := range []string{"holders/*", name + "*/holders/*"} {
		holders, _ := filepath.Glob(filepath.Join(dir, pattern))
		for _, holder := range holders {
			sources = append(sources, sourcesOn(h, filepath.Base(holder), layers-1)...)
		}
	}
	return sources
}

// isPartOf reports whether the source of a mount is a device or a partition of it.
func isPartOf(source, device string) bool {
	rest, ok := strings.CutPrefix(source, device)
	return ok && (rest == "" || strings.Trim(strings.TrimPrefix(rest, "p"), "0123456789") == "")
}
