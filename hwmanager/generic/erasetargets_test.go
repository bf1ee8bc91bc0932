package generic

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"ferric/api/ipa"
	"ferric/hwmanager"
)

// TestNothingIsTouchedBeforeAllAreChecked: where one disk may not be erased, or
// not now, none is.
func TestNothingIsTouchedBeforeAllAreChecked(t *testing.T) {
	number := func(h *hwmanager.Host, name string) string { return readText(h.Sys, "block", name, "dev") }
	tests := []struct {
		name  string
		setUp func(t *testing.T, h *hwmanager.Host)
		want  string
	}{
		{"mounted", func(t *testing.T, h *hwmanager.Host) {
			put(t, filepath.Join(h.Proc, "self/mountinfo"), "30 1 "+number(h, "sdb")+` / /run/live\040medium ro - iso9660 /dev/sdb ro`+"\n")
		}, "protected disk /dev/sdb of the ramdisk itself: mounted at /run/live medium"},
		{"a partition of it is mounted, by a file system of several disks", func(t *testing.T, h *hwmanager.Host) {
			put(t, filepath.Join(h.Sys, "block/sdb/sdb2/partition"), "2\n")
			put(t, filepath.Join(h.Sys, "block/sdb/sdb2/dev"), "8:18\n")
			link(t, filepath.Join(h.Sys, "block/sdb/sdb2"), filepath.Join(h.Sys, "class/block/sdb2"))
			link(t, filepath.Join(h.Sys, "block/sdb/sdb2"), filepath.Join(h.Sys, "dev/block/8:18"))
			put(t, filepath.Join(h.Proc, "self/mountinfo"), "30 1 0:42 / / rw - btrfs /dev/sdb2 rw\n")
		}, "/dev/sdb of the ramdisk itself: sdb2, mounted at /"},
		{"under what is mounted", func(t *testing.T, h *hwmanager.Host) {
			put(t, filepath.Join(h.Sys, "block/dm-0/dev"), "254:0\n")
			link(t, filepath.Join(h.Sys, "block/dm-0"), filepath.Join(h.Sys, "dev/block/254:0"))
			link(t, filepath.Join(h.Sys, "block/sdb"), filepath.Join(h.Sys, "block/dm-0/slaves/sdb"))
			put(t, filepath.Join(h.Proc, "self/mountinfo"), "30 1 254:0 / /data rw - ext4 /dev/mapper/data rw\n")
		}, "/dev/sdb of the ramdisk itself: dm-0, mounted at /data"},
		{"swapped to", func(t *testing.T, h *hwmanager.Host) {
			put(t, filepath.Join(h.Proc, "swaps"), "Filename Type Size Used Priority\n/dev/sdb partition 1 0 -2\n")
		}, "/dev/sdb of the ramdisk itself: swapped to"},
		{"behind a loop", func(t *testing.T, h *hwmanager.Host) {
			put(t, filepath.Join(h.Sys, "block/loop5/loop/backing_file"), "/dev/sdb\n")
		}, "/dev/sdb of the ramdisk itself: behind loop5"},
		{"procfs is missing", func(t *testing.T, h *hwmanager.Host) {
			if err := os.RemoveAll(h.Proc); err != nil {
				t.Fatal(err)
			}
		}, "what is mounted"},
		{"held by a volume group", func(t *testing.T, h *hwmanager.Host) {
			put(t, filepath.Join(h.Sys, "block/sdb/holders/dm-3"), "")
		}, "/dev/sdb is in use: dm-3"},
		{"held by nobody knows whom", func(t *testing.T, h *hwmanager.Host) {
			f, err := os.OpenFile(filepath.Join(h.Dev, "sdb"), os.O_RDWR|unix.O_EXCL, 0)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { f.Close() })
		}, "/dev/sdb: nothing was erased: "},
		{"another disk by now", func(t *testing.T, h *hwmanager.Host) {
			link(t, filepath.Join(h.Sys, "block/sdc"), filepath.Join(h.Sys, "dev/block", number(h, "sdb")))
		}, "nothing was erased: "},
		{"unreadable where a cluster's superblock would be", func(t *testing.T, h *hwmanager.Host) {
			must(t, os.Truncate(filepath.Join(filepath.Dir(h.Dev), "sdb.backing"), gfs2Offset))
			tool(t, "blockdev", "--flushbufs", filepath.Join(h.Dev, "sdb"))
		}, "look for protected contents on /dev/sdb: "},
		{"a cluster's, in an array that nobody assembled", func(t *testing.T, h *hwmanager.Host) {
			writeArray(t, filepath.Join(h.Dev, "sdb"), 2048)
			write(t, filepath.Join(h.Dev, "sdb"), 2048*512+gfs2Offset, []byte{0x01, 0x16, 0x19, 0x70})
		}, "protected Red Hat Global File System 2 on /dev/sdb"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			h := loops(t, 3*mib, "", "", "")
			test.setUp(t, h)
			for _, run := range []func(context.Context, *hwmanager.Host, hwmanager.StepCall) (any, error){New().eraseDevices, New().eraseMetadata, New().eraseExpress} {
				before, err := os.ReadFile(filepath.Join(h.Dev, "sda"))
				if err != nil {
					t.Fatal(err)
				}
				if _, err := run(t.Context(), h, call(nil)); err == nil || !strings.Contains(err.Error(), test.want) {
					t.Errorf("error = %v; want %q", err, test.want)
				}
				after, err := os.ReadFile(filepath.Join(h.Dev, "sda"))
				if err != nil || !bytes.Equal(before, after) {
					t.Errorf("the first disk was touched (%v)", err)
				}
				if report, ok := h.Erased.Last(); !ok || report.Error == "" || report.End.IsZero() {
					t.Errorf("report is %+v", report)
				}
			}
		})
	}
}

// TestPartitionsBesideMembers: what is no member of an array is not spared
// because something beside it is.
func TestPartitionsBesideMembers(t *testing.T) {
	steps := map[string]func(*Manager) func(context.Context, *hwmanager.Host, hwmanager.StepCall) (any, error){
		"overwrite": func(m *Manager) func(context.Context, *hwmanager.Host, hwmanager.StepCall) (any, error) {
			return m.eraseDevices
		},
		"metadata": func(m *Manager) func(context.Context, *hwmanager.Host, hwmanager.StepCall) (any, error) {
			return m.eraseMetadata
		},
	}
	for method, step := range steps {
		t.Run(method, func(t *testing.T) {
			h := lab(t)
			shrink(t, h, mib, "vda", "sda", "sdb", "nvme0n1")
			write(t, filepath.Join(h.Dev, "sdb"), 0, []byte("a table"))
			for i, name := range []string{"sdb1", "sdb2"} {
				put(t, filepath.Join(h.Sys, "block/sdb", name, "partition"), fmt.Sprintln(i+1))
				put(t, filepath.Join(h.Dev, name), strings.Repeat("a secret", 1<<13))
			}
			put(t, filepath.Join(h.Sys, "block/sdb/sdb1/holders/md127"), "")
			if _, err := step(managerWith())(t.Context(), h, call(nil)); err != nil {
				t.Fatal(err)
			}
			got := outcomes(h)
			if got["/dev/sdb"] != ipa.EraseSkipped || !strings.HasPrefix(got["/dev/sdb2"], "erased, "+method) || strings.HasPrefix(got["/dev/sdb1"], "erased") {
				t.Errorf("reports are %v", got)
			}
			if isZero(t, filepath.Join(h.Dev, "sdb1")) || isZero(t, filepath.Join(h.Dev, "sdb")) || !isZero(t, filepath.Join(h.Dev, "sdb2")) {
				t.Error("the member or its disk was touched, or the partition beside it was not")
			}
		})
	}
}

// writeArray makes the disk at path a member of an array (version 1.2) whose
// data begin at a sector of 512 bytes.
func writeArray(t *testing.T, path string, sector uint64) {
	t.Helper()
	block := make([]byte, 256)
	binary.LittleEndian.PutUint32(block, arrayMagic)
	binary.LittleEndian.PutUint32(block[4:], arrayMajor)
	binary.LittleEndian.PutUint64(block[arrayDataAt:], sector)
	write(t, path, 4<<10, block)
}

func link(t *testing.T, target, name string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	_ = os.Remove(name)
	if err := os.Symlink(target, name); err != nil {
		t.Fatal(err)
	}
}
