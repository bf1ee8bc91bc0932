// Package partition reads, checks and repairs the partition table of a written
// disk (GPT or MBR), adds a partition at its end and tells the kernel.
package partition

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/diskfs/go-diskfs/partition/gpt"
	"github.com/diskfs/go-diskfs/partition/mbr"

	"ferric/images/disk"
)

var (
	// ErrNoTable: the disk has no readable partition table.
	ErrNoTable = errors.New("no readable partition table")
	// ErrBadTable: there is a table that contradicts itself or the disk.
	ErrBadTable = errors.New("invalid partition table")
	// ErrNoRoom: there is no place for another partition.
	ErrNoRoom = errors.New("no room for another partition")
)

// Labels of partition tables, in parted's words.
const (
	GPT = "gpt"
	MBR = "msdos"
)

// Types of partitions that are looked for or made.
const (
	TypeESP   = "C12A7328-F81F-11D2-BA4B-00A0C93EC93B"
	typeLinux = "0FC63DAF-8483-4772-8E79-3D69D8477DE4"

	mbrProtective = 0xee
	mbrESP        = 0xef
	mbrLinux      = 0x83
)

// BootCode is how many bytes of a disk are the code that a BIOS starts; disk
// signature and partition table follow.
const BootCode = 440

// Partition is one entry of a table; Start and Size are bytes.
type Partition struct {
	Number int
	Start  int64
	Size   int64
	Type   string // GUID in upper case, or "0x83"
	UUID   string // GUID in lower case; MBR: "9d3b4c1a-01"
	Name   string // GPT only
	Boot   bool   // MBR: active flag
}

// IsESP reports whether this is an EFI system partition.
func (p Partition) IsESP() bool {
	return p.Type == TypeESP || p.Type == fmt.Sprintf("0x%02x", mbrESP)
}

// Table is the partition table of a disk.
type Table struct {
	Label      string // GPT or MBR
	Signature  uint32 // of the MBR, at byte 440; also behind a GPT's protective MBR
	Partitions []Partition

	sector int64
	gpt    *gpt.Table
	mbr    *mbr.Table
}

// maxEntries bounds the partition array; the standard has at least 128.
const maxEntries = 4096

// List reads the table of the disk at device. It fails with ErrNoTable or
// ErrBadTable.
func List(device string) (*Table, error) {
	d, err := disk.OpenReadOnly(device)
	if err != nil {
		return nil, err
	}
	defer d.Close()
	return Read(d)
}

// Read reads the table of d.
func Read(d *disk.Device) (*Table, error) {
	sector := make([]byte, 512)
	if d.Size < int64(d.Sector)*4 {
		return nil, fmt.Errorf("%w on %s: only %d bytes", ErrNoTable, d.Path, d.Size)
	}
	if _, err := d.ReadAt(sector, 0); err != nil {
		return nil, fmt.Errorf("read partition table of %s: %w", d.Path, err)
	}
	if sector[510] != 0x55 || sector[511] != 0xaa {
		return nil, fmt.Errorf("%w on %s", ErrNoTable, d.Path)
	}
	t := &Table{Label: MBR, Signature: binary.LittleEndian.Uint32(sector[440:]), sector: int64(d.Sector)}
	for i := range 4 {
		if sector[446+16*i+4] == mbrProtective {
			t.Label = GPT
		}
	}
	var err error
	if t.Label == GPT {
		err = t.readGPT(d)
	} else {
		err = t.readMBR(d)
	}
	if err != nil {
		return nil, err
	}
	return t, nil
}

func (t *Table) readGPT(d *disk.Device) error {
	for _, at := range []int64{t.sector, (d.Size/t.sector - 1) * t.sector} {
		if err := checkHeader(d, at); err != nil {
			return err
		}
	}
	g, err := gpt.Read(d.File(), d.Sector, d.Sector)
	if err != nil {
		return fmt.Errorf("%w on %s: %w", ErrNoTable, d.Path, err)
	}
	if g.RecoveredFromBackup {
		if err := t.checkBackup(d); err != nil {
			return err
		}
	}
	t.gpt = g
	for _, p := range g.Partitions {
		if p.Start == 0 || p.End < p.Start || p.End >= uint64(d.Size/t.sector) {
			return fmt.Errorf("%w on %s: partition %d from sector %d to %d of %d", ErrBadTable, d.Path, p.Index, p.Start, p.End, d.Size/t.sector)
		}
		t.Partitions = append(t.Partitions, Partition{
			Number: p.Index,
			Start:  int64(p.Start) * t.sector,
			Size:   int64(p.End-p.Start+1) * t.sector,
			Type:   strings.ToUpper(string(p.Type)),
			UUID:   strings.ToLower(p.GUID),
			Name:   p.Name,
		})
	}
	return nil
}

// checkHeader keeps the library from taking memory as a hostile GPT header
// likes. A sector that is no header is not judged.
func checkHeader(d *disk.Device, at int64) error {
	h := make([]byte, 92)
	if _, err := d.ReadAt(h, at); err != nil {
		return fmt.Errorf("read partition table of %s: %w", d.Path, err)
	}
	if string(h[:8]) != "EFI PART" {
		return nil
	}
	entries, size := binary.LittleEndian.Uint32(h[80:]), binary.LittleEndian.Uint32(h[84:])
	first := binary.LittleEndian.Uint64(h[72:])
	switch {
	case size != gpt.PartitionEntrySize, entries == 0, entries > maxEntries:
		return fmt.Errorf("%w on %s: %d entries of %d bytes", ErrBadTable, d.Path, entries, size)
	case first < 2, first > uint64(d.Size/int64(d.Sector)):
		return fmt.Errorf("%w on %s: partition entries at sector %d", ErrBadTable, d.Path, first)
	}
	return nil
}

// checkBackup keeps the library from writing a primary table to where a backup
// header says that it is: it belongs into sector 1 (UEFI 2.10, 5.3.2).
func (t *Table) checkBackup(d *disk.Device) error {
	h := make([]byte, 92)
	if _, err := d.ReadAt(h, (d.Size/t.sector-1)*t.sector); err != nil {
		return fmt.Errorf("read partition table of %s: %w", d.Path, err)
	}
	if primary := binary.LittleEndian.Uint64(h[32:]); primary != 1 {
		return fmt.Errorf("%w on %s: its backup has the primary table at sector %d", ErrBadTable, d.Path, primary)
	}
	return nil
}

func (t *Table) readMBR(d *disk.Device) error {
	m, err := mbr.Read(d.File(), d.Sector, d.Sector)
	if err != nil {
		return fmt.Errorf("%w on %s: %w", ErrNoTable, d.Path, err)
	}
	t.mbr = m
	for _, p := range m.Partitions {
		if p.Type == mbr.Empty || p.Size == 0 {
			continue
		}
		part := Partition{
			Number: p.Index,
			Start:  int64(p.Start) * t.sector,
			Size:   int64(p.Size) * t.sector,
			Type:   fmt.Sprintf("0x%02x", byte(p.Type)),
			UUID:   fmt.Sprintf("%08x-%02x", t.Signature, p.Index),
			Boot:   p.Bootable,
		}
		if part.Start == 0 || part.Start+part.Size > d.Size {
			return fmt.Errorf("%w on %s: partition %d reaches to byte %d of %d", ErrBadTable, d.Path, p.Index, part.Start+part.Size, d.Size)
		}
		t.Partitions = append(t.Partitions, part)
	}
	return nil
}

// Validate checks that the table has at least one partition and that no two
// overlap.
func (t *Table) Validate() error {
	if len(t.Partitions) == 0 {
		return fmt.Errorf("%w: it has no partition", ErrBadTable)
	}
	sorted := slices.SortedFunc(slices.Values(t.Partitions), func(a, b Partition) int { return cmp.Compare(a.Start, b.Start) })
	for i := 1; i < len(sorted); i++ {
		if a, b := sorted[i-1], sorted[i]; b.Start < a.Start+a.Size {
			return fmt.Errorf("%w: partitions %d and %d overlap", ErrBadTable, a.Number, b.Number)
		}
	}
	return nil
}

// Validate reads the table of device and checks it.
func Validate(device string) error {
	t, err := List(device)
	if err != nil {
		return err
	}
	if err := t.Validate(); err != nil {
		return fmt.Errorf("%s: %w", device, err)
	}
	return nil
}

// Signature is the MBR disk signature of device as the agent contract wants it
// ("root uuid" of a whole-disk image): "0x%08x", "0x00000000" for most GPTs.
func Signature(device string) (string, error) {
	d, err := disk.OpenReadOnly(device)
	if err != nil {
		return "", err
	}
	defer d.Close()
	b := make([]byte, 4)
	if _, err := d.ReadAt(b, 440); err != nil {
		return "", fmt.Errorf("read MBR of %s: %w", device, err)
	}
	return fmt.Sprintf("0x%08x", binary.LittleEndian.Uint32(b)), nil
}
