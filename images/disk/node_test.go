package disk_test

import (
	"testing"

	"ferric/images/disk"
)

// TestNode has the names that the kernel makes (block/partitions/core.c,
// add_partition) of its disks, and udev of arrays with names.
func TestNode(t *testing.T) {
	for device, want := range map[string]string{
		"/dev/vda":       "/dev/vda3",
		"/dev/sda":       "/dev/sda3",
		"/dev/sdaa":      "/dev/sdaa3",
		"/dev/xvdb":      "/dev/xvdb3",
		"/dev/nvme0n1":   "/dev/nvme0n1p3",
		"/dev/nvme10n12": "/dev/nvme10n12p3",
		"/dev/mmcblk0":   "/dev/mmcblk0p3",
		"/dev/md127":     "/dev/md127p3",
		"/dev/md/root":   "/dev/md/root3",
		"/dev/md/root0":  "/dev/md/root0p3",
		"/dev/loop7":     "/dev/loop7p3",
		"/dev/pmem0":     "/dev/pmem0p3",
	} {
		if got := disk.Node(device, 3); got != want {
			t.Errorf("partition 3 of %s is %s, want %s", device, got, want)
		}
	}
}
