package generic

import (
	"bytes"
	"encoding/binary"
	"testing"
)

// FuzzProtected reads tables and superblocks that a former owner has written:
// whatever they say, they can be read.
func FuzzProtected(f *testing.F) {
	gpt := make([]byte, 8<<10)
	copy(gpt[512:], "EFI PART")
	binary.LittleEndian.PutUint64(gpt[512+72:], 2)
	binary.LittleEndian.PutUint32(gpt[512+80:], 4)
	binary.LittleEndian.PutUint32(gpt[512+84:], 128)
	gpt[1024], gpt[1024+32], gpt[510], gpt[511] = 1, 8, 0x55, 0xaa
	f.Add(gpt, uint16(512))
	array := bytes.Clone(gpt)
	binary.LittleEndian.PutUint32(array[4096:], arrayMagic)
	binary.LittleEndian.PutUint32(array[4100:], arrayMajor)
	binary.LittleEndian.PutUint64(array[4096+arrayDataAt:], 1<<40)
	f.Add(array, uint16(4096))
	f.Fuzz(func(t *testing.T, disk []byte, sector uint16) {
		r := bytes.NewReader(disk)
		parts, err := partitionTable(r, max(int(sector), 512))
		if err != nil {
			t.Fatalf("the table: %v", err)
		}
		if most := maxEntries + 4*maxTables; len(parts) > most {
			t.Fatalf("%d partitions; at most %d", len(parts), most)
		}
		if _, err := findProtected(r, max(int(sector), 512)); err != nil {
			t.Fatal(err)
		}
	})
}
