package disk

import (
	"bytes"
	"context"
)

// What is zeroed at the ends. The head holds MBR and GPT, LVM, md 1.1 and 1.2,
// LUKS2 with its second header (at most 4 MiB in), VMFS (1 and 2 MiB), both
// first labels of ZFS and all file-system superblocks but btrfs's copies. The
// tail holds the backup GPT, md 0.90 (64 to 128 KiB before the end) and 1.0
// (8 to 12 KiB), Intel IMSM (the last two sectors), DDF (the last sector) and
// the other firmware RAIDs, DRBD, NTFS's copy, both last labels of ZFS (512 KiB).
const (
	head = 8 << 20
	tail = 2 << 20
)

// copies are superblocks far from both ends, by which a former content would
// be recognised again. They are zeroed if their magic is there, or if they
// cannot be read: a disk may want to be written first after a sanitize.
var copies = []struct {
	at, magicAt int64
	magic       string
	size        int64
}{
	{64 << 20, 64, "_BHRfS_M", 4096},  // btrfs, first copy
	{256 << 30, 64, "_BHRfS_M", 4096}, // btrfs, second copy
}

// WipeEnds is Target.Wipe for a device that is open already; it does not sync.
// The beginning goes first: from then on nothing of the disk boots.
func (d *Device) WipeEnds(ctx context.Context) error {
	if d.Size <= head+tail {
		return d.Zero(0, d.Size)
	}
	if err := d.Zero(0, head); err != nil {
		return err
	}
	if err := d.Zero(d.Size-tail, tail); err != nil {
		return err
	}
	for _, c := range copies {
		if c.at+c.size > d.Size {
			break
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		magic := make([]byte, len(c.magic))
		if _, err := d.ReadAt(magic, c.at+c.magicAt); err == nil && !bytes.Equal(magic, []byte(c.magic)) {
			continue
		}
		if err := d.Zero(c.at, c.size); err != nil {
			return err
		}
	}
	return ctx.Err()
}
