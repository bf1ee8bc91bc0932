// Package disktest lets tests write to disks of their own, and to nothing else.
package disktest

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"ferric/images/disk"
)

// Target is the file or loop device at path, or a partition of the latter, as
// a disk to write to. Any other block device is refused.
func Target(_ testing.TB, path string) disk.Target {
	return disk.Fence(path, func(f *os.File) error {
		info, err := f.Stat()
		if err != nil {
			return err
		}
		if !info.Mode().IsRegular() && !strings.HasPrefix(f.Name(), "/dev/loop") {
			return fmt.Errorf("tests write to files and loop devices, not to %s", f.Name())
		}
		return nil
	})
}
