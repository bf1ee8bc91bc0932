package partition_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"ferric/images/disk/disktest"
	"ferric/images/partition"
)

// TestProtectiveMBR moves the backup of a GPT to the end of a larger disk: the
// protective MBR has to say the new size, which sfdisk knows, for sectors of
// both sizes and for one that is marked as bootable.
func TestProtectiveMBR(t *testing.T) {
	if os.Getuid() != 0 {
		if os.Getenv("CI") == "true" {
			t.Fatal("loop devices need root")
		}
		t.Skip("loop devices need root")
	}
	for _, sector := range []string{"512", "4096"} {
		for _, bootable := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, bootable %v", sector, bootable), func(t *testing.T) {
				t.Parallel()
				path := filepath.Join(t.TempDir(), "disk")
				run(t, "truncate", "-s", "32M", path)
				attach := func() string {
					return strings.TrimSpace(run(t, "losetup", "--find", "--show", "--sector-size", sector, path))
				}
				small := attach()
				run(t, "sgdisk", "-n", "1:0:+8M", small)
				if bootable {
					run(t, "sfdisk", "--label-nested", "dos", "--activate", small, "1")
				}
				run(t, "losetup", "--detach", small)
				run(t, "truncate", "-s", "64M", path)
				large := attach()
				t.Cleanup(func() { run(t, "losetup", "--detach", large) })
				if err := partition.FixBackup(disktest.Target(t, large)); err != nil {
					t.Fatal(err)
				}
				if text := run(t, "sfdisk", "--list", large); strings.Contains(text, "mismatch") {
					t.Errorf("sectors of %s bytes, bootable %v: %s", sector, bootable, text)
				}
			})
		}
	}
}
