package dmi

import (
	"encoding/binary"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the golden files")

// structure is one of a table: type, formatted area after the header, strings.
func structure(kind byte, handle uint16, formatted []byte, texts ...string) []byte {
	data := []byte{kind, byte(4 + len(formatted)), 0, 0}
	binary.LittleEndian.PutUint16(data[2:], handle)
	data = append(data, formatted...)
	for _, text := range texts {
		data = append(append(data, text...), 0)
	}
	if len(texts) == 0 {
		data = append(data, 0)
	}
	return append(data, 0)
}

// server is the table of a server with one processor, two arrays of memory,
// and a network interface on the mainboard.
func server() []byte {
	bios := []byte{1, 2, 0x00, 0xe8, 3, 0xff, 0x80, 0x98, 0x8b, 0x3f, 0x01, 0, 0, 0, 0x03, 0x0d, 3, 4, 0xff, 0xff, 0x20, 0}
	cpu := make([]byte, 0x30-4)
	copy(cpu, []byte{1, 3, 0xb3, 2, 0x57, 0x06, 0x05, 0, 0xff, 0xfb, 0xeb, 0xbf, 3, 0x90, 100, 0, 0x3c, 0x0f, 0x34, 0x08, 0x41, 0x36})
	copy(cpu[0x1a-4:], []byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 4, 0, 0, 20, 20, 40, 0xfc, 0})
	array := []byte{3, 3, 6, 0, 0, 0, 0x80, 0xfe, 0xff, 12, 0, 0, 0, 0, 0, 0, 1, 0, 0}
	small := []byte{3, 3, 5, 0, 0, 0, 1, 0xfe, 0xff, 4, 0}
	module := func(size uint16, extended uint32) []byte {
		data := make([]byte, 0x22-4)
		copy(data, []byte{0x10, 0, 0xfe, 0xff, 72, 0, 64, 0})
		binary.LittleEndian.PutUint16(data[0x0c-4:], size)
		copy(data[0x0e-4:], []byte{9, 0, 1, 2, 0x1a, 0x80, 0x20, 0x75, 0x0b, 3, 4, 0, 5, 2})
		binary.LittleEndian.PutUint32(data[0x1c-4:], extended)
		return data
	}
	names := []string{"DIMM_A1", "NODE 1", "Samsung", "SN-1", "M393A4"}
	var table []byte
	for _, s := range [][]byte{
		structure(0, 0x0000, bios, "American Megatrends Inc.", "3.4", "11/03/2020"),
		structure(4, 0x0004, cpu, "CPU1", "Intel(R) Corporation", "Intel(R) Xeon(R) Gold 6230", "0123"),
		structure(16, 0x0010, array),
		structure(16, 0x0011, small),
		structure(17, 0x0012, module(sizeExtended, 32768), names...),
		structure(17, 0x0013, module(16384, 0), names...),
		structure(17, 0x0014, module(0x8000|512, 0), names...), // 512 KiB
		structure(17, 0x0015, module(sizeUnknown, 0), names...),
		structure(17, 0x0016, module(0, 0), names...), // an empty slot
		structure(41, 0x0017, []byte{1, 0x85, 2, 0, 0, 0x3d, 0x01}, "LAN2"),
		structure(41, 0x0018, []byte{1, 0x05, 1, 0, 0, 0x3d, 0x00}, "disabled"),
		structure(41, 0x0019, []byte{1, 0x83, 1, 0, 0, 0x02, 0x00}, "video"),
		structure(127, 0x00ff, nil),
	} {
		table = append(table, s...)
	}
	return append(table, "rubbish after the end"...)
}

func TestBlocks(t *testing.T) {
	got, err := json.MarshalIndent(Parse(server()).Blocks(), "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	golden := filepath.Join("testdata", "server.json")
	if *update {
		if err := os.WriteFile(golden, append(got, '\n'), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(strings.TrimSpace(string(want)), string(got)); diff != "" {
		t.Errorf("blocks differ (-want +got; -update writes them):\n%s", diff)
	}
}

func TestMemory(t *testing.T) {
	const want = 32768<<20 + 16384<<20 + 512<<10
	if got := Parse(server()).MemoryBytes(); got != want {
		t.Errorf("memory = %d bytes; want %d", got, want)
	}
}

func TestOnboardNICs(t *testing.T) {
	want := []Onboard{{PCIAddress: "0000:3d:00.1", Instance: 2}}
	if diff := cmp.Diff(want, Parse(server()).OnboardNICs()); diff != "" {
		t.Errorf("network interfaces of the mainboard (-want +got):\n%s", diff)
	}
}

func TestBrokenTables(t *testing.T) {
	whole := server()
	short := append(structure(16, 1, []byte{3, 3}), structure(0, 2, []byte{1}, "x")...)
	tests := []struct {
		name       string
		data       []byte
		structures int
	}{
		{"empty", nil, 0},
		{"cut off in the second structure", whole[:70], 1},
		{"structures too short for their types", short, 2},
		{"no end of strings", []byte{0, 5, 0, 0, 1, 'a', 'b'}, 0},
		{"a length shorter than the header", append([]byte{1, 0, 0, 0, 0, 0}, whole...), 0},
	}
	for _, test := range tests {
		table := Parse(test.data)
		if test.structures > 0 && len(table) != test.structures {
			t.Errorf("%s: %d structures; want %d", test.name, len(table), test.structures)
		}
		blocks := table.Blocks()
		if _, err := json.Marshal(blocks); err != nil {
			t.Errorf("%s: %v", test.name, err)
		}
	}
}

func TestRead(t *testing.T) {
	sys := t.TempDir()
	table, err := Read(sys)
	if err != nil || len(table) != 0 {
		t.Errorf("without a table: %d structures, error %v; want none of either", len(table), err)
	}
	dir := filepath.Join(sys, "firmware/dmi/tables")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "DMI"), server(), 0o400); err != nil {
		t.Fatal(err)
	}
	if table, err = Read(sys); err != nil || len(table) != 12 {
		t.Errorf("read %d structures, error %v; want 12", len(table), err)
	}
}

func FuzzTable(f *testing.F) {
	f.Add(server())
	f.Add(structure(17, 1, make([]byte, 0x54), "a", "b"))
	f.Add(structure(16, 1, []byte{0xff, 0xff, 0xff, 0, 0, 0, 0x80, 1, 2, 3, 4}))
	f.Add(structure(4, 1, make([]byte, 0x2c)))
	f.Fuzz(func(t *testing.T, data []byte) {
		table := Parse(data)
		if len(table) > len(data)/4 {
			t.Errorf("%d structures in %d bytes", len(table), len(data))
		}
		if table.MemoryBytes() < 0 {
			t.Errorf("memory of %d bytes", table.MemoryBytes())
		}
		if _, err := json.Marshal(table.Blocks()); err != nil {
			t.Error(err)
		}
		table.OnboardNICs()
		if _, err := json.Marshal(table.Modules()); err != nil {
			t.Error(err)
		}
	})
}
