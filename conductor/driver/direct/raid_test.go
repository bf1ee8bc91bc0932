package direct

import (
	"testing"

	"ferric/conductor/store"
)

// TestRootUUID: on arrays of the operating system the image says what its root file
// system is, elsewhere the disk's signature is what is known.
func TestRootUUID(t *testing.T) {
	raid := func(controller any) store.Object {
		return store.Object{"logical_disks": []any{map[string]any{"raid_level": "1", "controller": controller}}}
	}
	for _, c := range []struct {
		name     string
		config   store.Object
		rootfs   any
		software bool
		want     string
	}{
		{"no RAID", nil, "fs", false, "0x1234abcd"},
		{"RAID of a card", raid(nil), "fs", false, "0x1234abcd"},
		{"software RAID", raid("software"), "fs", true, "fs"},
		{"software RAID, unknown image", raid("software"), nil, true, "0x1234abcd"},
	} {
		for place, n := range map[string]*store.Node{"target_raid_config": {TargetRAIDConfig: c.config}, "raid_config": {RAIDConfig: c.config}} {
			n.InstanceInfo = store.Object{"image_rootfs_uuid": c.rootfs}
			n.DriverInternalInfo = store.Object{"root_uuid_or_disk_id": "0x1234abcd"}
			if onSoftwareRAID(n) != c.software || rootUUID(n) != c.want {
				t.Errorf("%s in %s: software RAID %v, root %q; want %v, %q", c.name, place, onSoftwareRAID(n), rootUUID(n), c.software, c.want)
			}
		}
	}
}
