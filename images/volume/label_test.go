package volume_test

import (
	"bytes"
	"strings"
	"testing"

	"ferric/images/volume"
)

// TestLabel compares with blkid on what mkfs made.
func TestLabel(t *testing.T) {
	for _, c := range []struct {
		size int64
		mkfs []string
	}{
		{16 << 20, []string{"mke2fs", "-q", "-F", "-t", "ext4", "-L", "cloudimg-rootfs"}},
		{16 << 20, []string{"mke2fs", "-q", "-F", "-t", "ext4", "-L", "exactly16letters"}},
		{16 << 20, []string{"mke2fs", "-q", "-F", "-t", "ext4"}},
		{320 << 20, []string{"mkfs.xfs", "-q", "-f", "-L", "twelveletter"}},
		{128 << 20, []string{"mkfs.btrfs", "-q", "-f", "-L", strings.Repeat("long ", 40) + "end"}},
		{16 << 20, []string{"mkfs.vfat", "-n", "UEFI"}},
		{16 << 20, []string{"mkfs.vfat"}},
		{16 << 20, []string{"mkswap", "-L", "swapspace"}},
	} {
		path, f := sparse(t, c.size)
		run(t, c.mkfs[0], append(c.mkfs[1:], path)...)
		want := run(t, "sh", "-c", `blkid -p -o value -s LABEL "$0" || test $? = 2`, path) // 2: it has none
		if got := volume.Label(f, c.size); got != want {
			t.Errorf("%v: %q; want %q", c.mkfs, got, want)
		}
	}
	if got := volume.Label(bytes.NewReader(make([]byte, 1<<20)), 1<<20); got != "" {
		t.Errorf("zeros are called %q", got)
	}
}
