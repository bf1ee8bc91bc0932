package partition

import (
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"math"
	"strings"

	"github.com/diskfs/go-diskfs/partition/gpt"
	"github.com/google/uuid"

	"ferric/images/disk"
)

// Types of partitions that a new table may have: GUIDs for a GPT, "0x…" for an
// MBR.
const (
	TypeLinux    = typeLinux
	TypeSwap     = "0657FD6D-A4AB-43C4-84E5-0933C84B4F4F"
	TypeBIOSBoot = "21686148-6449-6E6F-744E-656564454649"
	TypePReP     = "9E1A2D38-C612-4316-AA26-8B49521E5A8B"

	MBRLinux = "0x83"
	MBRSwap  = "0x82"
	MBRPReP  = "0x41"
	MBRESP   = "0xef"
)

// Wanted is a partition of a table to be made.
type Wanted struct {
	Start int64 // bytes, a multiple of 1 MiB; 0 is behind the one before
	Size  int64 // bytes, a multiple of 1 MiB
	Type  string
	Name  string // on a GPT
	Boot  bool   // on an MBR: the active flag
}

// Plan lays the wanted partitions out one behind the other, numbered from 1 and
// beginning at 1 MiB. It fails with ErrNoRoom if the disk is too small or an
// MBR would need more than four. A partition that old (may be nil) has at the
// same place under the same number keeps its identity. Nothing is written: see
// Commit.
func Plan(d *disk.Device, label string, wanted []Wanted, old *Table) (*Table, error) {
	t := &Table{Label: label, sector: int64(d.Sector)}
	limit := Room(d, label)
	if label == MBR {
		if len(wanted) > 4 {
			return nil, fmt.Errorf("%s: %w: an MBR has four partitions, %d are wanted", d.Path, ErrNoRoom, len(wanted))
		}
		var signature [4]byte
		if _, err := rand.Read(signature[:]); err != nil {
			return nil, fmt.Errorf("MBR signature: %w", err)
		}
		t.Signature = binary.LittleEndian.Uint32(signature[:]) | 1 // not zero, which is none
		if old != nil && old.Label == MBR && old.Signature != 0 {
			t.Signature = old.Signature
		}
	}
	start := int64(alignment)
	for i, w := range wanted {
		if w.Start != 0 && w.Start < start {
			return nil, fmt.Errorf("%s: %w: partition %d (%s) would begin at %d MiB, within the one before", d.Path, ErrNoRoom, i+1, w.Name, w.Start>>20)
		}
		start = max(start, w.Start)
		p := Partition{Number: i + 1, Start: start, Size: w.Size, Type: w.Type, Name: w.Name, Boot: w.Boot, UUID: uuid.NewString()}
		if label == MBR {
			p.Name, p.UUID = "", fmt.Sprintf("%08x-%02x", t.Signature, p.Number)
		} else if same, ok := old.at(p); ok {
			p.UUID = same.UUID
		}
		if w.Size <= 0 || w.Size > limit-start {
			return nil, fmt.Errorf("%s: %w: partition %d (%s) of %d MiB from %d MiB does not fit on the disk of %d MiB",
				d.Path, ErrNoRoom, p.Number, w.Name, w.Size>>20, start>>20, d.Size>>20)
		}
		start += w.Size
		t.Partitions = append(t.Partitions, p)
	}
	return t, nil
}

// Room is where partitions of a new table have to end, in bytes.
func Room(d *disk.Device, label string) int64 {
	sector := int64(d.Sector)
	if label == MBR { // whose entries count 32 bits of sectors
		return min(d.Size, math.MaxUint32*sector)
	}
	return d.Size - gptReserve(sector)
}

// at is the partition of t with the number and the place of p.
func (t *Table) at(p Partition) (Partition, bool) {
	if t == nil {
		return Partition{}, false
	}
	for _, q := range t.Partitions {
		if q.Number == p.Number && q.Start == p.Start && q.Size == p.Size {
			return q, true
		}
	}
	return Partition{}, false
}

// gptReserve is what the backup table takes at the end of the disk: the header
// and 128 entries.
func gptReserve(sector int64) int64 {
	return sector + (128*gpt.PartitionEntrySize+sector-1)/sector*sector
}

// Commit writes a planned table. The kernel does not know of it yet: see
// Reread.
func (t *Table) Commit(d *disk.Device) error {
	if t.Label == MBR {
		return t.commitMBR(d)
	}
	t.gpt = &gpt.Table{LogicalSectorSize: d.Sector, PhysicalSectorSize: d.Sector, ProtectiveMBR: true, GUID: strings.ToUpper(uuid.NewString())}
	if old, err := Read(d); err == nil && old.Label == GPT {
		t.gpt.GUID = old.gpt.GUID
	}
	for _, p := range t.Partitions {
		t.gpt.Partitions = append(t.gpt.Partitions, p.entry(t.sector))
	}
	if err := t.gpt.Write(d.File(), d.Size); err != nil {
		return fmt.Errorf("write GPT of %s: %w", d.Path, err)
	}
	return t.sealMBR(d)
}

// entry is the partition as a GPT with sectors of sector bytes has it.
func (p Partition) entry(sector int64) *gpt.Partition {
	return &gpt.Partition{
		Index: p.Number,
		Start: uint64(p.Start / sector),
		End:   uint64((p.Start+p.Size)/sector) - 1,
		Size:  uint64(p.Size),
		Type:  gpt.Type(p.Type),
		GUID:  strings.ToUpper(p.UUID),
		Name:  p.Name,
	}
}

// commitMBR writes the entries and the signature; boot code stays.
func (t *Table) commitMBR(d *disk.Device) error {
	s := make([]byte, 512)
	if _, err := d.ReadAt(s, 0); err != nil {
		return fmt.Errorf("read MBR of %s: %w", d.Path, err)
	}
	binary.LittleEndian.PutUint32(s[440:], t.Signature)
	clear(s[444:])
	for i, p := range t.Partitions {
		e := s[446+16*i:]
		if p.Boot {
			e[0] = 0x80
		}
		var kind byte
		if _, err := fmt.Sscanf(p.Type, "0x%02x", &kind); err != nil {
			return fmt.Errorf("write MBR of %s: type %q of partition %d: %w", d.Path, p.Type, p.Number, err)
		}
		e[4] = kind
		// Cylinders, heads and sectors out of range: the numbers below count.
		copy(e[1:], "\xfe\xff\xff")
		copy(e[5:], "\xfe\xff\xff")
		binary.LittleEndian.PutUint32(e[8:], uint32(p.Start/t.sector))
		binary.LittleEndian.PutUint32(e[12:], uint32(p.Size/t.sector))
	}
	s[510], s[511] = 0x55, 0xaa
	if _, err := d.File().WriteAt(s, 0); err != nil {
		return fmt.Errorf("write MBR of %s: %w", d.Path, err)
	}
	return d.Sync()
}
