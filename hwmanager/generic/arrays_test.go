package generic

import (
	"bytes"
	"context"
	"encoding/binary"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"ferric/hwmanager"
)

// arrayMember is the superblock of a member of an array.
func arrayMember(name string) []byte {
	block := make([]byte, 256)
	binary.LittleEndian.PutUint32(block, arrayMagic)
	binary.LittleEndian.PutUint32(block[4:], arrayMajor)
	copy(block[arrayNameAt:], name)
	return block
}

// TestVolumesAreKept: a disk with a part of an array that the node wants kept is
// neither erased nor written to, wherever the superblock is.
func TestVolumesAreKept(t *testing.T) {
	const size = 4*mib + 512
	for _, c := range []struct {
		name, array string
		at          int64
		skip        any
		kept        bool
		wrong       string
	}{
		{"1.2", "ramdisk:data", 4096, "data", true, ""},
		{"1.1", "data", 0, "data", true, ""},
		{"1.0", "ramdisk:data", 4*mib - 8192, "data", true, ""},
		{"with the name of the host", "ramdisk:data", 4096, "ramdisk:data", true, ""},
		{"another array", "ramdisk:other", 4096, "data", false, ""},
		{"an array without a name", "", 4096, "data", false, ""},
		{"a name that is none", "data", 4096, 1.0, true, "volume_name 1 is not the name of an array"},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := lab(t)
			shrink(t, h, size, "vda", "sda", "sdb", "nvme0n1")
			for _, name := range []string{"vda", "sda", "sdb", "nvme0n1"} { // as large as the kernel says
				if err := os.WriteFile(filepath.Join(h.Sys, "block", name, "size"), []byte("8193"), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			disk := filepath.Join(h.Dev, "sdb")
			write(t, disk, c.at, arrayMember(c.array))
			step := call(nil)
			step.Node["properties"] = map[string]any{"skip_block_devices": []any{map[string]any{"volume_name": c.skip}}}
			for _, run := range []func(context.Context, *hwmanager.Host, hwmanager.StepCall) (any, error){New().eraseMetadata, New().eraseDevices} {
				if _, err := run(t.Context(), h, step); (err != nil) != (c.wrong != "") || err != nil && !strings.Contains(err.Error(), c.wrong) {
					t.Fatalf("error = %v; want %q", err, c.wrong)
				}
			}
			if got := bytes.Equal(read(t, disk, c.at, 256), arrayMember(c.array)); got != c.kept {
				t.Errorf("the superblock is there: %v; want %v", got, c.kept)
			}
			if c.wrong == "" && !isZero(t, filepath.Join(h.Dev, "sda")) {
				t.Error("the disk beside it was not erased")
			}
		})
	}
}
