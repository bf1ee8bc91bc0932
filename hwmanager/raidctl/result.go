package raidctl

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
)

// entry is a logical disk of raid_config: what was asked for with what has become
// of it.
func (w *work) entry(ctx context.Context, v *plannedVolume, m *made) (map[string]any, error) {
	c, err := again(w.now, v.controller)
	if err != nil {
		return nil, err
	}
	entry := maps.Clone(v.logical.source)
	maps.DeleteFunc(entry, func(_ string, value any) bool { return value == nil })
	size, disks, wwn := int64(0), v.disks, m.wwn
	if v.level == "JBOD" {
		d := c.disk(m.id)
		if d == nil {
			return nil, fmt.Errorf("disk %s is not shown any more", m.id)
		}
		size, wwn = d.Size, w.nameOfKernel(ctx, d)
	} else {
		at := slices.IndexFunc(c.Volumes, func(x *Volume) bool { return x.ID == m.id && x.WWN == m.wwn })
		if at < 0 {
			return nil, fmt.Errorf("volume %s is not shown any more", m.id)
		}
		volume := c.Volumes[at]
		size = volume.Size
		if len(volume.Disks) > 0 {
			disks = volume.Disks
		}
		entry["volume_name"] = cmp.Or(volume.Name, v.name)
	}
	entry["controller"], entry["raid_level"] = c.Name, v.level
	entry["physical_disks"] = anyList(disks)
	entry["number_of_physical_disks"] = len(disks)
	entry["is_root_volume"] = v.logical.root
	entry["size_gb"] = wholeGB(size, v.size)
	if d := c.disk(disks[0]); d != nil {
		entry["disk_type"], entry["interface_type"] = d.Media, d.Interface
	}
	if wwn == "" {
		if v.logical.root {
			return nil, fmt.Errorf("%s does not tell the world-wide name of the root volume, by which it would be found", c)
		}
		return entry, nil
	}
	entry["root_device_hint"] = map[string]any{"wwn": wwn}
	return entry, w.m.awaitDevice(ctx, w.h, wwn)
}

// wholeGB is the size of a volume in GiB: the one that was asked for, if strips took
// no more than a fraction of it.
func wholeGB(size, asked int64) int64 {
	if asked > 0 && size < asked && size >= asked-asked/sizeTolerance-64<<20 {
		return asked >> 30
	}
	return size >> 30
}

func anyList(ids []string) []any {
	list := make([]any, 0, len(ids))
	for _, id := range ids {
		list = append(list, id)
	}
	return list
}

// physicalDisks are all disks of the controllers, as raid_config lists them.
func physicalDisks(all []*Controller) []any {
	list := []any{}
	for _, c := range all {
		for _, d := range c.Disks {
			list = append(list, map[string]any{
				"id": d.ID, "controller": c.Name, "disk_type": d.Media, "interface_type": d.Interface, "size_gb": d.Size >> 30,
				"model": d.Model, "firmware": d.Firmware, "status": string(d.State),
			})
		}
	}
	return list
}
