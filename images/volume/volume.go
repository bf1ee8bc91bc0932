// Package volume knows file systems and swap space by their superblocks: it
// reads which one a partition holds and its UUID, and makes swap space.
package volume

import (
	"encoding/hex"
	"fmt"
	"io"
	"strings"

	"ferric/images/fat"
)

// Kinds of volumes, by the names that mount(2) and mkfs have for them.
const (
	Ext4  = "ext4" // ext2 and ext3, too
	XFS   = "xfs"
	Btrfs = "btrfs"
	FAT   = "vfat"
	Swap  = "swap"
)

// Info is what a superblock tells.
type Info struct {
	Kind string // one of the kinds above
	UUID string // lower case; of FAT "ABCD-1234"; "" if there is none
}

// superblock says where a kind has its mark and its UUID (linux: fs/ext4/ext4.h,
// fs/xfs/libxfs/xfs_format.h, include/uapi/linux/btrfs_tree.h).
type superblock struct {
	kind   string
	at     int64 // of the mark
	mark   string
	uuidAt int64
}

func superblocks() []superblock {
	return []superblock{
		{Ext4, 1024 + 56, "\x53\xef", 1024 + 104},
		{XFS, 0, "XFSB", 32},
		{Btrfs, 64<<10 + 64, "_BHRfS_M", 64<<10 + 32},
		{Swap, 4096 - 10, "SWAPSPACE2", 1024 + 12},
	}
}

// Identify finds out what the volume of size bytes holds; ok is false if it is
// nothing known.
func Identify(r io.ReaderAt, size int64) (info Info, ok bool) {
	for _, s := range superblocks() {
		mark, id := make([]byte, len(s.mark)), make([]byte, 16)
		if _, err := r.ReadAt(mark, s.at); err != nil || string(mark) != s.mark {
			continue
		}
		if _, err := r.ReadAt(id, s.uuidAt); err != nil {
			continue
		}
		return Info{Kind: s.kind, UUID: uuidText(id)}, true
	}
	if fs, err := fat.Open(r, size); err == nil {
		return Info{Kind: FAT, UUID: fs.ID}, true
	}
	return Info{}, false
}

func uuidText(b []byte) string {
	text := hex.EncodeToString(b)
	if strings.Trim(text, "0") == "" {
		return ""
	}
	return fmt.Sprintf("%s-%s-%s-%s-%s", text[:8], text[8:12], text[12:16], text[16:20], text[20:])
}
