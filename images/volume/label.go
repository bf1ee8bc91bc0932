package volume

import (
	"io"
	"strings"

	"ferric/images/fat"
)

// Label is the label of the file system in a volume of size bytes, "" if it has
// none. (linux: fs/ext4/ext4.h, s_volume_name; fs/xfs/libxfs/xfs_format.h,
// sb_fname; include/uapi/linux/btrfs_tree.h, label)
func Label(r io.ReaderAt, size int64) string {
	info, ok := Identify(r, size)
	if !ok {
		return ""
	}
	if info.Kind == FAT {
		if fs, err := fat.Open(r, size); err == nil {
			return fs.Label
		}
		return ""
	}
	for _, field := range []struct {
		kind   string
		at     int64
		length int
	}{{Ext4, 1024 + 120, 16}, {XFS, 108, 12}, {Btrfs, 64<<10 + 299, 256}, {Swap, 1024 + 28, 16}} {
		label := make([]byte, field.length)
		if field.kind != info.Kind {
			continue
		}
		if _, err := r.ReadAt(label, field.at); err != nil {
			return ""
		}
		text, _, _ := strings.Cut(string(label), "\x00")
		return text
	}
	return ""
}
