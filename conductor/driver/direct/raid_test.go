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
		n := &store.Node{
			TargetRAIDConfig: c.config, InstanceInfo: store.Object{"image_rootfs_uuid": c.rootfs},
			DriverInternalInfo: store.Object{"root_uuid_or_disk_id": "0x1234abcd"},
		}
		if onSoftwareRAID(n) != c.software || rootUUID(n) != c.want {
			t.Errorf("%s: software RAID %v, root %q; want %v, %q", c.name, onSoftwareRAID(n), rootUUID(n), c.software, c.want)
		}
	}
}
