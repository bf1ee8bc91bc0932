package partition_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"os"
	"testing"

	"golang.org/x/sys/unix"

	"ferric/images/disk/disktest"
	"ferric/images/partition"
)

// Places in a disk of the fuzz target. A GPT has 16 KiB of entries and a header
// at each end; between them all is zero.
const (
	fuzzSize = 4 << 20
	fuzzHead = 34 * 512
	fuzzTail = 33 * 512
)

// FuzzRead reads tables that are good but for patches, each of three bytes: a
// place of two and what stands there. Sealed, the checksums of a GPT are right
// nevertheless. The disk is in memory.
func FuzzRead(f *testing.F) {
	var bases [][]byte
	for _, args := range [][]string{{"-n", "1:2048:+1M", "-n", "2:4096:+1M"}, {"-g"}, {"-n", "1:2048:+1M", "-m", "1"}} {
		disk, err := os.ReadFile(makeGPT(f, fuzzSize>>20, args...))
		if err != nil {
			f.Fatal(err)
		}
		bases = append(bases, append(disk[:fuzzHead:fuzzHead], disk[fuzzSize-fuzzTail:]...))
	}
	fd, err := unix.MemfdCreate("disk", unix.MFD_CLOEXEC)
	if err != nil {
		f.Fatal(err)
	}
	memory := os.NewFile(uintptr(fd), "disk")
	f.Cleanup(func() { memory.Close() })
	path := fmt.Sprintf("/proc/self/fd/%d", fd)

	for i := range bases {
		f.Add(byte(i), true, []byte{})
	}
	f.Add(byte(0), true, []byte{2, 80, 0xff, 2, 81, 0xff})     // entries
	f.Add(byte(0), true, []byte{2, 72, 0xff, 4, 32, 0})        // their place; start of the first
	f.Add(byte(2), false, []byte{1, 0xc2, 5, 1, 0xc6, 0xf})    // an extended partition
	f.Add(byte(0), true, []byte{2, 5, 0x30, 0x84, 0x27, 0x30}) // no primary, and a backup that has it elsewhere
	f.Fuzz(func(t *testing.T, base byte, sealed bool, patches []byte) {
		disk := bytes.Clone(bases[int(base)%len(bases)])
		for ; len(patches) >= 3; patches = patches[3:] {
			disk[(int(patches[0])<<8|int(patches[1]))%len(disk)] = patches[2]
		}
		if sealed {
			seal(disk, 512, 1024)
			seal(disk, len(disk)-512, fuzzHead)
		}
		for _, err := range []error{
			memory.Truncate(0), memory.Truncate(fuzzSize),
			writeAt(memory, disk[:fuzzHead], 0), writeAt(memory, disk[fuzzHead:], fuzzSize-fuzzTail),
		} {
			if err != nil {
				t.Fatal(err)
			}
		}
		table, err := partition.List(path)
		if err != nil {
			return
		}
		for _, p := range table.Partitions {
			if p.Start <= 0 || p.Size <= 0 || p.Start+p.Size > fuzzSize {
				t.Fatalf("partition outside of the disk: %+v", p)
			}
		}
		if table.Validate() == nil && partition.FixBackup(disktest.Target(t, path)) == nil {
			if err := partition.Validate(path); err != nil {
				t.Fatalf("valid before it was fixed: %v", err)
			}
		}
	})
}

func writeAt(f *os.File, b []byte, off int64) error {
	_, err := f.WriteAt(b, off)
	return err
}

// seal puts the checksums into the GPT header at that place of disk, whose
// entries are where the standard has them (UEFI 2.10, 5.3.2).
func seal(disk []byte, header, entries int) {
	le := binary.LittleEndian
	h := disk[header:]
	length := int64(le.Uint32(h[80:])) * int64(le.Uint32(h[84:]))
	le.PutUint32(h[88:], crc32.ChecksumIEEE(disk[entries:int64(entries)+min(length, 128*128)]))
	le.PutUint32(h[16:], 0)
	le.PutUint32(h[16:], crc32.ChecksumIEEE(h[:min(max(le.Uint32(h[12:]), 92), 512)]))
}
