package execplugin

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// scratch is the directory of one call. Where the agent may mount, it is a
// file system in memory of its own, which the kernel limits.
type scratch struct {
	path    string
	mounted bool
}

// scratchInodes bounds the files in a scratch directory; each takes memory.
const scratchInodes = 32 << 10

func newScratch(dir, mark string, l limits) (scratch, error) {
	if dir == "" {
		dir = os.TempDir()
	}
	// What is mounted below is found by its real path.
	dir, err := filepath.EvalSymlinks(dir)
	if err == nil {
		dir, err = filepath.Abs(dir)
	}
	if err != nil {
		return scratch{}, fmt.Errorf("make scratch directory: %w", err)
	}
	s := scratch{path: filepath.Join(dir, markPrefix+mark)}
	if err := os.Mkdir(s.path, 0o700); err != nil {
		return scratch{}, fmt.Errorf("make scratch directory: %w", err)
	}
	options := fmt.Sprintf("mode=0700,size=%d,nr_inodes=%d", l.scratch, scratchInodes)
	s.mounted = unix.Mount("tmpfs", s.path, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, options) == nil
	return s, nil
}

// size is how much lies in the directory, in bytes, and whether that is memory
// that nobody else counts.
func (s scratch) size() (bytes int64, memory bool) {
	if s.mounted {
		var st unix.Statfs_t
		if err := unix.Statfs(s.path, &st); err != nil {
			return 0, true
		}
		return int64(st.Blocks-st.Bfree) * st.Bsize, true
	}
	files := 0
	_ = filepath.WalkDir(s.path, func(_ string, entry fs.DirEntry, err error) error {
		if err != nil {
			return nil
		}
		if files++; files > scratchInodes {
			return fs.SkipAll
		}
		if info, err := entry.Info(); err == nil {
			if st, ok := info.Sys().(*syscall.Stat_t); ok {
				bytes += st.Blocks * 512
			}
		}
		return nil
	})
	return bytes, false
}

// remove removes the directory. What a plugin has mounted in it is unmounted,
// never emptied: it may be a partition of the machine.
func (s scratch) remove() error {
	mounts, err := mountsBelow(s.path)
	if err != nil {
		return fmt.Errorf("remove scratch directory: %w", err)
	}
	for i := len(mounts) - 1; i >= 0; i-- {
		if unix.Unmount(mounts[i], unix.UMOUNT_NOFOLLOW) == nil {
			continue
		}
		if err := unix.Unmount(mounts[i], unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW); err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOENT) {
			return fmt.Errorf("unmount %s: %w", mounts[i], err)
		}
	}
	if mounts, err = mountsBelow(s.path); err != nil || len(mounts) > 0 {
		return fmt.Errorf("remove scratch directory: %v is still mounted (%v)", mounts, err)
	}
	if err := os.RemoveAll(s.path); err != nil {
		return fmt.Errorf("remove scratch directory: %w", err)
	}
	return nil
}

// mountsBelow are the mounts at path and below, in the order in which they were
// mounted.
func mountsBelow(path string) ([]string, error) {
	text, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil, err
	}
	var mounts []string
	for line := range strings.Lines(string(text)) {
		fields := strings.Fields(line)
		if len(fields) < 5 {
			continue
		}
		if at := unescape(fields[4]); at == path || strings.HasPrefix(at, path+"/") {
			mounts = append(mounts, at)
		}
	}
	return mounts, nil
}
