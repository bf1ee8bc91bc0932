package partition

import (
	"encoding/binary"
	"fmt"
	"math"
	"slices"

	"github.com/diskfs/go-diskfs/partition/mbr"
	"github.com/google/uuid"

	"ferric/images/disk"
)

// alignment of a new partition, parted's "optimal".
const alignment = 1 << 20

// FixBackup moves the GPT's backup header of the disk to the end of the disk,
// where an image that is smaller than the disk does not have it. A table that
// is right, or no GPT, stays as it is.
func FixBackup(target disk.Target) error {
	d, err := target.Open()
	if err != nil {
		return err
	}
	defer d.Close()
	t, err := Read(d)
	if err != nil {
		return err
	}
	if t.Label != GPT || t.backupAtEnd(d) {
		return nil
	}
	return t.writeGPT(d)
}

// backupAtEnd tells whether the last sector holds the backup header that the
// primary one points to.
func (t *Table) backupAtEnd(d *disk.Device) bool {
	last := d.Size/t.sector - 1
	primary, backup := make([]byte, 92), make([]byte, 92)
	if _, err := d.ReadAt(primary, t.sector); err != nil {
		return false
	}
	if _, err := d.ReadAt(backup, last*t.sector); err != nil {
		return false
	}
	return !t.gpt.RecoveredFromBackup && string(backup[:8]) == "EFI PART" &&
		int64(binary.LittleEndian.Uint64(primary[32:])) == last
}

// writeGPT writes both copies of the table, the backup at the end of the disk.
func (t *Table) writeGPT(d *disk.Device) error {
	header := make([]byte, 92)
	if _, err := d.ReadAt(header, t.sector); err != nil {
		return fmt.Errorf("read GPT of %s: %w", d.Path, err)
	}
	if first := binary.LittleEndian.Uint64(header[72:]); string(header[:8]) == "EFI PART" && first != 2 {
		return fmt.Errorf("%w on %s: its entries are at sector %d instead of 2, where they are not changed", ErrBadTable, d.Path, first)
	}
	if err := t.gpt.Repair(uint64(d.Size)); err != nil {
		return fmt.Errorf("repair GPT of %s: %w", d.Path, err)
	}
	last := t.gpt.LastDataSector()
	for _, p := range t.gpt.Partitions {
		if p.End > last {
			return fmt.Errorf("%w on %s: partition %d ends where the backup table has to be", ErrBadTable, d.Path, p.Index)
		}
	}
	if err := t.gpt.Write(d.File(), d.Size); err != nil {
		return fmt.Errorf("write GPT of %s: %w", d.Path, err)
	}
	return t.sealMBR(d)
}

// sealMBR corrects the protective MBR beside a GPT that was just written and
// waits until both are on the medium.
func (t *Table) sealMBR(d *disk.Device) error {
	protective, err := protectiveMBR(d)
	if err != nil {
		return err
	}
	if protective {
		// The library wraps the size of disks over 2^32 sectors; the
		// standard wants all ones (UEFI 2.10, table 5.4).
		size := make([]byte, 4)
		binary.LittleEndian.PutUint32(size, uint32(min(d.Size/t.sector-1, math.MaxUint32)))
		if _, err := d.File().WriteAt(size, 446+12); err != nil {
			return fmt.Errorf("write protective MBR of %s: %w", d.Path, err)
		}
	}
	return d.Sync()
}

// protectiveMBR tells whether the disk's MBR is nothing but the one that protects
// a GPT, whatever size it says the disk has, and however large the sectors are
// (UEFI 2.10, section 5.2.3): a hybrid one stays as it is.
func protectiveMBR(d *disk.Device) (bool, error) {
	sector := make([]byte, 512)
	if _, err := d.ReadAt(sector, 0); err != nil {
		return false, fmt.Errorf("read MBR of %s: %w", d.Path, err)
	}
	const first, second, end = 446, 446 + 16, 510
	others := slices.ContainsFunc(sector[second:end], func(b byte) bool { return b != 0 })
	return sector[end] == 0x55 && sector[end+1] == 0xaa && sector[first+4] == mbrProtective &&
		binary.LittleEndian.Uint32(sector[first+8:]) == 1 && !others, nil
}

// Append adds a partition of size bytes at the end of the disk and
// returns it. The GPT's backup header moves to the end of the disk with it.
func Append(target disk.Target, size int64, name string) (Partition, error) {
	d, err := target.Open()
	if err != nil {
		return Partition{}, err
	}
	defer d.Close()
	t, err := Read(d)
	if err != nil {
		return Partition{}, err
	}
	if t.Label == GPT {
		return t.appendGPT(d, size, name)
	}
	return t.appendMBR(d, size)
}

// place finds the aligned start of size bytes that end before limit.
func (t *Table) place(size, limit int64) (int64, error) {
	start := (limit - size) / alignment * alignment
	for _, p := range t.Partitions {
		if start < p.Start+p.Size {
			return 0, fmt.Errorf("%w: partition %d reaches to byte %d, %d bytes are wanted before %d", ErrNoRoom, p.Number, p.Start+p.Size, size, limit)
		}
	}
	if start < alignment {
		return 0, fmt.Errorf("%w: the disk is too small", ErrNoRoom)
	}
	return start, nil
}

// freeNumber is the lowest number without a partition.
func (t *Table) freeNumber() int {
	for n := 1; ; n++ {
		if !slices.ContainsFunc(t.Partitions, func(p Partition) bool { return p.Number == n }) {
			return n
		}
	}
}

func (t *Table) appendGPT(d *disk.Device, size int64, name string) (Partition, error) {
	if err := t.gpt.Repair(uint64(d.Size)); err != nil {
		return Partition{}, fmt.Errorf("repair GPT of %s: %w", d.Path, err)
	}
	start, err := t.place(size, int64(t.gpt.LastDataSector()+1)*t.sector)
	if err != nil {
		return Partition{}, fmt.Errorf("%s: %w", d.Path, err)
	}
	p := Partition{Number: t.freeNumber(), Start: start, Size: size, Type: typeLinux, UUID: uuid.NewString(), Name: name}
	t.gpt.Partitions = append(t.gpt.Partitions, p.entry(t.sector))
	return p, t.writeGPT(d)
}

func (t *Table) appendMBR(d *disk.Device, size int64) (Partition, error) {
	n := t.freeNumber()
	if n > 4 {
		return Partition{}, fmt.Errorf("%s: %w: the MBR has four partitions", d.Path, ErrNoRoom)
	}
	// An MBR entry counts 32 bits of sectors.
	start, err := t.place(size, min(d.Size, math.MaxUint32*t.sector))
	if err != nil {
		return Partition{}, fmt.Errorf("%s: %w", d.Path, err)
	}
	for len(t.mbr.Partitions) < n {
		t.mbr.Partitions = append(t.mbr.Partitions, &mbr.Partition{})
	}
	t.mbr.Partitions[n-1] = &mbr.Partition{Index: n, Type: mbrLinux, Start: uint32(start / t.sector), Size: uint32(size / t.sector)}
	if err := t.mbr.Write(d.File(), d.Size); err != nil {
		return Partition{}, fmt.Errorf("write MBR of %s: %w", d.Path, err)
	}
	p := Partition{Number: n, Start: start, Size: size, Type: fmt.Sprintf("0x%02x", mbrLinux), UUID: fmt.Sprintf("%08x-%02x", t.Signature, n)}
	return p, d.Sync()
}
