package generic

import (
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestHostileSuperblocks: whatever superblocks say, looking for arrays ends, starts
// nothing that writes to members, and keeps nobody from deploying.
func TestHostileSuperblocks(t *testing.T) {
	member := func(uuid byte, disks uint32, features uint16) []byte {
		block := arrayMember("host:data")
		block[arrayUUIDAt] = uuid
		binary.LittleEndian.PutUint32(block[arrayDisksAt:], disks)
		binary.LittleEndian.PutUint16(block[arrayFeaturesAt:], features)
		return block
	}
	assemble := func(device, word, members string) string {
		return "mdadm --assemble " + device + " --config=none --uuid=" + word + "000000:00000000:00000000:00000000 " + members
	}
	const version, load = "mdadm --version", "modprobe md_mod"
	for _, c := range []struct {
		name  string
		disks map[string][]byte
		bare  bool // the kernel has no arrays
		fails string
		want  []string
	}{
		{"more disks than there can be", map[string][]byte{"sda": member(1, 0xffffffff, 0)}, false, "--assemble",
			[]string{version, load, assemble("/dev/md0", "01", "/dev/sda"), "mdadm --stop /dev/md0"}},
		{"no disks", map[string][]byte{"sda": member(1, 0, 0)}, false, "--assemble",
			[]string{version, load, assemble("/dev/md0", "01", "/dev/sda"), "mdadm --stop /dev/md0"}},
		{"a UUID too often, beside another", map[string][]byte{"sda": member(1, 1, 0), "sdb": member(1, 1, 0), "vda": member(2, 1, 0)}, false, "--assemble",
			[]string{version, load, assemble("/dev/md0", "01", "/dev/sda /dev/sdb"), "mdadm --stop /dev/md0", assemble("/dev/md1", "02", "/dev/vda"), "mdadm --stop /dev/md1"}},
		{"a reshape, on one of two", map[string][]byte{"sda": member(1, 2, 0), "sdb": member(1, 2, 0x4)}, false, "", []string{version, load}},
		{"a cluster", map[string][]byte{"sda": member(1, 1, 0x100)}, false, "", []string{version, load}},
		{"a kernel without arrays", map[string][]byte{"sda": member(1, 1, 0)}, true, "", []string{version, load}},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := lab(t)
			h.Guard.InRamdisk = true
			for name, block := range c.disks {
				write(t, filepath.Join(h.Dev, name), 4096, block)
			}
			switchFile := filepath.Join(h.Sys, "module/md_mod/parameters/start_ro")
			if !c.bare {
				must(t, errors.Join(os.MkdirAll(filepath.Dir(switchFile), 0o755), os.WriteFile(switchFile, []byte("0"), 0o644)))
			}
			programs := &faultyArrays{t: t, h: h, fails: c.fails}
			h.Run = programs
			if err := New().assembleArrays(t.Context(), h, 0); err != nil {
				t.Errorf("error = %v", err)
			}
			if diff := cmp.Diff(c.want, programs.ran); diff != "" {
				t.Errorf("commands (-want +got):\n%s", diff)
			}
			for name, block := range c.disks {
				if string(read(t, filepath.Join(h.Dev, name), 4096, len(block))) != string(block) {
					t.Errorf("%s was written to", name)
				}
			}
			if left, err := os.ReadFile(switchFile); !c.bare && (err != nil || strings.TrimSpace(string(left)) != "0") {
				t.Errorf("start_ro is left at %q, %v", left, err)
			}
		})
	}
}
