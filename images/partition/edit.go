package partition

import (
	"fmt"
	"slices"

	"github.com/diskfs/go-diskfs/partition/gpt"
	"github.com/diskfs/go-diskfs/partition/mbr"
	"github.com/google/uuid"

	"ferric/images/disk"
)

// mbrEntries are the partitions in an MBR; those with higher numbers are logical ones, in
// a chain of tables.
const mbrEntries = 4

// Add puts a partition where wanted says, under the lowest free number, beside
// those that the disk has, which may be in use. It fails with ErrNoRoom if the
// place is taken. The kernel does not know of it yet: see Update.
func Add(target disk.Target, w Wanted) (Partition, error) {
	d, err := target.OpenShared()
	if err != nil {
		return Partition{}, err
	}
	defer d.Close()
	t, err := Read(d)
	if err != nil {
		return Partition{}, err
	}
	p := Partition{Number: t.freeNumber(), Start: w.Start, Size: w.Size, Type: w.Type, Name: w.Name, UUID: uuid.NewString()}
	limit := Room(d, t.Label)
	if w.Start < alignment || w.Size <= 0 || w.Size > limit-w.Start || w.Start%alignment != 0 {
		return Partition{}, fmt.Errorf("%s: %w: %d MiB from %d MiB do not fit on the disk of %d MiB", d.Path, ErrNoRoom, w.Size>>20, w.Start>>20, d.Size>>20)
	}
	for _, q := range t.Partitions {
		if w.Start < q.Start+q.Size && q.Start < w.Start+w.Size {
			return Partition{}, fmt.Errorf("%s: %w: partition %d is where %d MiB from %d MiB are wanted", d.Path, ErrNoRoom, q.Number, w.Size>>20, w.Start>>20)
		}
	}
	if t.Label == MBR {
		if p.Number > mbrEntries {
			return Partition{}, fmt.Errorf("%s: %w: the MBR has %d partitions", d.Path, ErrNoRoom, mbrEntries)
		}
		p.Name, p.UUID = "", fmt.Sprintf("%08x-%02x", t.Signature, p.Number)
		return p, t.changeMBR(d, p)
	}
	t.gpt.Partitions = append(t.gpt.Partitions, p.entry(t.sector))
	return p, t.writeGPT(d)
}

// Remove takes the numbered partitions off the table; their content stays.
// The others keep their numbers and may be in use. A number that is not there is no
// error; a logical partition is one, and nothing is changed. The kernel does not know of it yet: see Update.
func Remove(target disk.Target, numbers ...int) error {
	d, err := target.OpenShared()
	if err != nil {
		return err
	}
	defer d.Close()
	t, err := Read(d)
	if err != nil {
		return err
	}
	if t.Label == GPT {
		t.gpt.Partitions = slices.DeleteFunc(t.gpt.Partitions, func(p *gpt.Partition) bool { return slices.Contains(numbers, p.Index) })
		return t.writeGPT(d)
	}
	if n := slices.Max(append(numbers, 0)); n > mbrEntries {
		return fmt.Errorf("%s: partition %d is a logical one, which is not taken off the table by itself", d.Path, n)
	}
	for _, p := range t.Partitions {
		if !slices.Contains(numbers, p.Number) {
			continue
		}
		if err := t.changeMBR(d, Partition{Number: p.Number, Type: "0x00"}); err != nil {
			return err
		}
	}
	return nil
}

// changeMBR writes the entry of one primary partition.
func (t *Table) changeMBR(d *disk.Device, p Partition) error {
	var kind byte
	if _, err := fmt.Sscanf(p.Type, "0x%02x", &kind); err != nil {
		return fmt.Errorf("write MBR of %s: type %q of partition %d: %w", d.Path, p.Type, p.Number, err)
	}
	for len(t.mbr.Partitions) < p.Number {
		t.mbr.Partitions = append(t.mbr.Partitions, &mbr.Partition{})
	}
	t.mbr.Partitions[p.Number-1] = &mbr.Partition{Index: p.Number, Type: mbr.Type(kind), Start: uint32(p.Start / t.sector), Size: uint32(p.Size / t.sector)}
	if err := t.mbr.Write(d.File(), d.Size); err != nil {
		return fmt.Errorf("write MBR of %s: %w", d.Path, err)
	}
	return d.Sync()
}

// Update makes the kernel's partitions of device those of the table on it, one by
// one. Unlike Reread it leaves alone what has not changed, which may be in use.
func Update(device string) error {
	d, err := disk.OpenReadOnly(device)
	if err != nil {
		return err
	}
	defer d.Close()
	if !d.IsBlock() {
		return nil
	}
	t, err := Read(d)
	if err != nil {
		return err
	}
	known, err := kernelPartitions(d)
	if err != nil {
		return err
	}
	return reconcile(d, t, known)
}
