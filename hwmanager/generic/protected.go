package generic

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"strings"

	"ferric/api/ipa"
	"ferric/hwmanager"
)

// Partition types and file systems that several machines share: erasing one
// takes it from all of them (agent contract, section "Protected contents").
var protectedTypes = map[string]string{
	"37affc90-ef7d-4e96-91c3-2d7ae055b174": "IBM General Parallel File System partition",
	"aa31e02a-400f-11db-9590-000c2911d1b8": "VMware VMFS partition",
}

const (
	mbrVMFS    = 0xfb
	gfs2Offset = 64 << 10   // of the superblock
	gfs2Magic  = 0x01161970 // big endian
)

// protects reports whether protected contents are looked for: they are by
// default, unless the configuration or the node permits wiping them. Operators
// write the permission on a command line, which makes text of it.
func protects(s hwmanager.Settings, node hwmanager.Node) bool {
	info, _ := node["driver_info"].(map[string]any)
	return s.GuardSpecialFilesystems && !isTrue(info["wipe_special_filesystems"])
}

// checkProtected looks at the partition table of the disk and at the
// superblocks of the disk and its partitions. The error is of kind
// ipa.ProtectedDevice.
func checkProtected(path string, d ipa.BlockDevice) error {
	f, err := os.Open(path)
	if err != nil {
		return ipa.BlockDeviceErase.New("%v", err)
	}
	defer f.Close()
	what, err := findProtected(f, max(d.LogicalSectors, 512))
	if err != nil {
		return ipa.BlockDeviceErase.New("look for protected contents on %s: %v", d.Name, err)
	}
	if what != "" {
		return ipa.ProtectedDevice.New("protected %s on %s", what, d.Name)
	}
	return nil
}

// findProtected is what must not be erased of a disk, "" for nothing.
func findProtected(f io.ReaderAt, sector int) (string, error) {
	parts, err := partitionTable(f, sector)
	if err != nil {
		return "", fmt.Errorf("partition table: %w", err)
	}
	// Tables may name the same member of an array again and again.
	members := map[int64]bool{}
	for _, p := range append(parts, entry{}) {
		var inside []entry
		if !members[p.start] {
			members[p.start] = true
			if inside, err = arrayEntries(f, p.start, sector); err != nil {
				return "", fmt.Errorf("member of an array at %d: %w", p.start, err)
			}
		}
		for _, e := range append(inside, p) {
			if what, err := protectedContent(f, e); what != "" || err != nil {
				return what, err
			}
		}
	}
	return "", nil
}

// protectedContent is what must not be erased of an entry, "" for nothing. The
// error is that it cannot be told.
func protectedContent(f io.ReaderAt, e entry) (string, error) {
	switch {
	case protectedTypes[e.guid] != "":
		return protectedTypes[e.guid], nil
	case e.mbr == mbrVMFS:
		return "VMware VMFS partition", nil
	case e.start < 0 || e.start > maxStart:
		return "", nil // of a table that makes no sense
	}
	var magic [4]byte
	if _, err := f.ReadAt(magic[:], e.start+gfs2Offset); err != nil && !errors.Is(err, io.EOF) {
		return "", err
	}
	if binary.BigEndian.Uint32(magic[:]) == gfs2Magic {
		return "Red Hat Global File System 2", nil
	}
	return "", nil
}

// arrayDataAt is where the superblock of a Linux array, version 1, tells its
// data_offset in units of 512 bytes (linux, include/uapi/linux/raid/md_p.h).
const arrayDataAt = 128

// maxStart is beyond every disk, in bytes.
const maxStart = 1 << 60

// arrayEntries are what begins on the member of a Linux array at start, which
// need not be assembled: the array itself and, of a mirror, its partitions. In
// versions 0.90 and 1.0 it begins where the member does.
func arrayEntries(f io.ReaderAt, start int64, sector int) ([]entry, error) {
	if start < 0 || start > maxStart {
		return nil, nil // of a table that makes no sense
	}
	for _, at := range []int64{0, 4 << 10} { // versions 1.1 and 1.2
		block := make([]byte, arrayDataAt+8)
		if _, err := f.ReadAt(block, start+at); errors.Is(err, io.EOF) {
			return nil, nil
		} else if err != nil {
			return nil, err
		}
		offset := binary.LittleEndian.Uint64(block[arrayDataAt:])
		if binary.LittleEndian.Uint32(block) != arrayMagic || binary.LittleEndian.Uint32(block[4:]) != arrayMajor || offset > 1<<40 {
			continue
		}
		begin := start + int64(offset)*sectorUnit
		entries, err := partitionTable(io.NewSectionReader(f, begin, math.MaxInt64-begin), sector)
		for i := range entries {
			entries[i].start += begin
		}
		return append(entries, entry{start: begin}), err
	}
	return nil, nil
}

// entry is one partition of a table; the zero entry is the whole disk.
type entry struct {
	start int64  // bytes
	guid  string // type, of a GPT
	mbr   byte   // type, of an MBR
}

// Bounds of a GPT that is believed (UEFI 2.10, section 5.3).
const (
	maxEntries   = 1024
	maxEntrySize = 4096
)

// partitionTable reads the entries of an MBR, the logical partitions included,
// and those of a GPT. A disk without a table has none; a GPT that makes no sense
// has none either, for what is not there cannot be protected.
func partitionTable(f io.ReaderAt, sector int) ([]entry, error) {
	entries, err := mbrEntries(f, int64(sector))
	if errors.Is(err, io.EOF) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	header := make([]byte, 512)
	if _, err := f.ReadAt(header, int64(sector)); err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	if string(header[:8]) != "EFI PART" {
		return entries, nil
	}
	first := int64(binary.LittleEndian.Uint64(header[72:]))
	count := binary.LittleEndian.Uint32(header[80:])
	size := binary.LittleEndian.Uint32(header[84:])
	if count > maxEntries || size < 128 || size > maxEntrySize || first <= 0 || first > 1<<40 {
		return entries, nil
	}
	table := make([]byte, int(count)*int(size))
	n, err := f.ReadAt(table, first*int64(sector))
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	table = table[:n]
	for ; len(table) >= int(size); table = table[size:] {
		if guid := guidText(table); guid != "00000000-0000-0000-0000-000000000000" {
			entries = append(entries, entry{guid: guid, start: int64(binary.LittleEndian.Uint64(table[32:])) * int64(sector)})
		}
	}
	return entries, nil
}

// maxTables bounds the chain of tables of logical partitions; Linux follows 100.
const maxTables = 256

// mbrEntries are the partitions of an MBR. Those in an extended partition are in
// a chain of tables, each with the place of the next from the first one on.
func mbrEntries(f io.ReaderAt, sector int64) ([]entry, error) {
	var entries []entry
	var extended int64 // sector of the first table of logical partitions
	table := make([]byte, 512)
	for at, n := int64(0), 0; n < maxTables; n++ {
		clear(table)
		if _, err := f.ReadAt(table, at*sector); err != nil && (n == 0 || !errors.Is(err, io.EOF)) {
			return nil, err
		}
		if table[510] != 0x55 || table[511] != 0xaa {
			break
		}
		next := int64(0)
		for i := range 4 {
			record := table[446+16*i:]
			kind, start := record[4], int64(binary.LittleEndian.Uint32(record[8:]))
			switch kind {
			case 0:
			case 0x05, 0x0f, 0x85: // extended
				next = extended + start
			default:
				entries = append(entries, entry{mbr: kind, start: (at + start) * sector})
			}
		}
		if next == 0 {
			break
		}
		if extended == 0 {
			extended = next
		}
		at = next
	}
	return entries, nil
}

// guidText writes a GUID of a GPT in lower case; the first three fields are
// little endian.
func guidText(b []byte) string {
	return strings.ToLower(fmt.Sprintf("%08x-%04x-%04x-%x-%x",
		binary.LittleEndian.Uint32(b), binary.LittleEndian.Uint16(b[4:]), binary.LittleEndian.Uint16(b[6:]), b[8:10], b[10:16]))
}
