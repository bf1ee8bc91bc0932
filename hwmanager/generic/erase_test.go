package generic

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"ferric/api/ipa"
	"ferric/hwmanager"
)

const mib = 1 << 20

// shrink makes the disks of the lab small enough to be filled.
func shrink(t *testing.T, h *hwmanager.Host, size int64, names ...string) {
	t.Helper()
	for _, name := range names {
		if err := os.Truncate(filepath.Join(h.Dev, name), size); err != nil {
			t.Fatal(err)
		}
	}
}

func write(t *testing.T, path string, off int64, data []byte) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt(data, off); err != nil {
		t.Fatal(err)
	}
}

func isZero(t *testing.T, path string) bool {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return len(bytes.Trim(data, "\x00")) == 0
}

func call(info map[string]any) hwmanager.StepCall {
	return hwmanager.StepCall{Node: hwmanager.Node{"driver_internal_info": info}, Progress: func(ipa.Progress) {}}
}

func TestEraseDevices(t *testing.T) {
	h := lab(t)
	shrink(t, h, 9*mib+512, "vda", "sda", "sdb", "nvme0n1")
	for _, name := range []string{"vda", "sda", "sdb", "nvme0n1"} {
		write(t, filepath.Join(h.Dev, name), 5*mib, []byte("a secret"))
	}
	result, err := New().eraseDevices(context.Background(), h, call(map[string]any{"agent_erase_devices_iterations": 2.0, "disk_erasure_concurrency": 4.0}))
	if err != nil {
		t.Fatal(err)
	}
	erased, ok := result.(map[string]any)
	if !ok || len(erased) != 4 {
		t.Errorf("result = %v; want an entry for each of 4 disks", result)
	}
	for name := range erased {
		if !isZero(t, h.DevicePath(name)) {
			t.Errorf("%s is not zero after erasing", name)
		}
	}
}

func TestEraseWithoutZeros(t *testing.T) {
	h := lab(t)
	shrink(t, h, 2*mib, "vda", "sda", "sdb", "nvme0n1")
	_, err := New().eraseDevices(context.Background(), h, call(map[string]any{"agent_erase_devices_zeroize": false}))
	if err != nil {
		t.Fatal(err)
	}
	if isZero(t, filepath.Join(h.Dev, "vda")) {
		t.Error("the disk is zero; want random bytes")
	}
}

func TestEraseOptions(t *testing.T) {
	tests := []struct {
		name string
		info map[string]any
		want string
	}{
		{"nothing to do", map[string]any{"agent_erase_devices_iterations": 0.0, "agent_erase_devices_zeroize": false}, "nothing would be erased"},
		{"fraction", map[string]any{"agent_erase_devices_iterations": 1.5}, "agent_erase_devices_iterations"},
		{"too many", map[string]any{"agent_erase_devices_iterations": 1e6}, "from 0 to 100"},
		{"text", map[string]any{"agent_erase_devices_zeroize": "yes"}, "agent_erase_devices_zeroize"},
		{"no concurrency", map[string]any{"disk_erasure_concurrency": 0.0}, "disk_erasure_concurrency"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			h := lab(t)
			_, err := New().eraseDevices(context.Background(), h, call(test.info))
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error = %v; want %q", err, test.want)
			}
		})
	}
}

func TestEraseFailsClosed(t *testing.T) {
	gpfs := map[string]string{"GPFS by GPT": "37AFFC90-EF7D-4E96-91C3-2D7AE055B174"}
	for name, guid := range gpfs {
		t.Run(name, func(t *testing.T) {
			if _, err := exec.LookPath("sgdisk"); err != nil {
				if os.Getenv("CI") == "true" {
					t.Fatal("sgdisk is missing")
				}
				t.Skip("sgdisk is missing")
			}
			h := lab(t)
			if out, err := exec.Command("sgdisk", "-n", "1:0:+10M", "-t", "1:"+guid, filepath.Join(h.Dev, "sdb")).CombinedOutput(); err != nil {
				t.Fatalf("sgdisk: %v\n%s", err, out)
			}
			mustProtect(t, h)
		})
	}
	t.Run("VMFS by MBR", func(t *testing.T) {
		h := lab(t)
		record := make([]byte, 66)
		record[4], record[64], record[65] = mbrVMFS, 0x55, 0xaa
		write(t, filepath.Join(h.Dev, "sdb"), 446, record)
		mustProtect(t, h)
	})
	t.Run("VMFS by MBR, in the second logical partition", func(t *testing.T) {
		h := lab(t)
		disk := filepath.Join(h.Dev, "sdb")
		record := func(kind byte, start uint32) []byte {
			return binary.LittleEndian.AppendUint32([]byte{0, 0, 0, 0, kind, 0, 0, 0}, start)
		}
		for at, records := range map[int64][2][]byte{
			0:     {record(0x83, 64), record(0x0f, 4096)},
			4096:  {record(0x83, 64), record(0x05, 8192)},
			12288: {record(mbrVMFS, 64), record(0, 0)},
		} {
			write(t, disk, at*512+446, records[0])
			write(t, disk, at*512+462, records[1])
			write(t, disk, at*512+510, []byte{0x55, 0xaa})
		}
		mustProtect(t, h)
	})
	t.Run("GFS2", func(t *testing.T) {
		h := lab(t)
		write(t, filepath.Join(h.Dev, "sdb"), gfs2Offset, []byte{0x01, 0x16, 0x19, 0x70})
		mustProtect(t, h)
	})
	for permission, permitted := range map[any]bool{true: true, "True": true, false: false, "False": false, "sure": false, 2.0: false} {
		t.Run(fmt.Sprintf("the node says %v", permission), func(t *testing.T) {
			h := lab(t)
			shrink(t, h, 2*mib, "vda", "sda", "sdb", "nvme0n1")
			write(t, filepath.Join(h.Dev, "sdb"), gfs2Offset, []byte{0x01, 0x16, 0x19, 0x70})
			c := call(nil)
			c.Node["driver_info"] = map[string]any{"wipe_special_filesystems": permission}
			_, err := New().eraseDevices(context.Background(), h, c)
			if permitted && err != nil || !permitted && !ipa.ProtectedDevice.Is(err) {
				t.Errorf("error = %v; permitted: %v", err, permitted)
			}
		})
	}
	t.Run("a skip list of the wrong type", func(t *testing.T) {
		h := lab(t)
		shrink(t, h, 2*mib, "vda", "sda", "sdb", "nvme0n1")
		write(t, filepath.Join(h.Dev, "sda"), 0, []byte("keep me"))
		c := call(nil)
		c.Node["properties"] = map[string]any{"skip_block_devices": `[{"name": "/dev/sda"}]`}
		for _, run := range []func(context.Context, *hwmanager.Host, hwmanager.StepCall) (any, error){New().eraseDevices, New().eraseMetadata} {
			if _, err := run(context.Background(), h, c); err == nil || !strings.Contains(err.Error(), "skip_block_devices") {
				t.Errorf("error = %v; want one that names skip_block_devices", err)
			}
		}
		if !bytes.Equal(read(t, filepath.Join(h.Dev, "sda"), 0, 7), []byte("keep me")) {
			t.Error("the disk was written to")
		}
	})
	t.Run("read-only", func(t *testing.T) {
		h := lab(t)
		setReadOnly(t, h)
		_, err := New().eraseDevices(context.Background(), h, call(nil))
		if !ipa.BlockDeviceErase.Is(err) || !strings.Contains(err.Error(), "/dev/sdb is read-only") {
			t.Errorf("error = %v; want BlockDeviceEraseError naming /dev/sdb", err)
		}
	})
	t.Run("read-only, may be skipped", func(t *testing.T) {
		h := lab(t)
		shrink(t, h, 2*mib, "vda", "sda", "sdb", "nvme0n1")
		setReadOnly(t, h)
		result, err := New().eraseDevices(context.Background(), h, call(map[string]any{"agent_erase_skip_read_only": true}))
		reports, ok := result.(map[string]any)
		if err != nil || !ok || len(reports) != 4 {
			t.Fatalf("result = %v, %v; want 4 disks", result, err)
		}
		if skipped := reports["/dev/sdb"].(ipa.DeviceErase); skipped.Outcome != ipa.EraseSkipped || skipped.Reason != "read-only" {
			t.Errorf("the report of the read-only disk is %+v", skipped)
		}
	})
	t.Run("a device that is gone", func(t *testing.T) {
		h := lab(t)
		h.Guard.InRamdisk = true
		h.Settings.GuardSpecialFilesystems = false
		shrink(t, h, 2*mib, "vda", "sda", "nvme0n1")
		if err := os.Remove(filepath.Join(h.Dev, "sdb")); err != nil {
			t.Fatal(err)
		}
		_, err := New().eraseDevices(context.Background(), h, call(nil))
		if !ipa.BlockDeviceErase.Is(err) || !strings.Contains(err.Error(), "/dev/sdb") {
			t.Errorf("error = %v; want BlockDeviceEraseError naming /dev/sdb", err)
		}
	})
	t.Run("outside a ramdisk", func(t *testing.T) {
		h := lab(t)
		shrink(t, h, 2*mib, "sda")
		write(t, filepath.Join(h.Dev, "sda"), 0, []byte("keep me"))
		h.Guard = hwmanager.DeviceGuard{}
		for _, run := range []func(context.Context, *hwmanager.Host, hwmanager.StepCall) (any, error){New().eraseDevices, New().eraseMetadata} {
			if _, err := run(context.Background(), h, call(nil)); !ipa.ProtectedDevice.Is(err) {
				t.Errorf("error = %v; want ProtectedDeviceError", err)
			}
		}
		if isZero(t, filepath.Join(h.Dev, "sda")) {
			t.Error("the disk was written to")
		}
	})
}

// TestMMC: an eMMC is erased, and its general purpose areas. Its boot areas, which
// are read-only, are told of and keep nothing from being erased; one that somebody
// has made writable is to be erased.
func TestMMC(t *testing.T) {
	h := lab(t)
	for _, name := range []string{"vda", "sda", "sdb", "nvme0n1"} {
		must(t, os.RemoveAll(filepath.Join(h.Sys, "block", name)))
	}
	for name, ro := range map[string]string{"mmcblk0": "0", "mmcblk0boot0": "1", "mmcblk0boot1": "0", "mmcblk0gp0": "0", "mmcblk0rpmb": "0"} {
		dir := filepath.Join(h.Sys, "block", name)
		put(t, filepath.Join(dir, "size"), fmt.Sprintln(mib/512))
		put(t, filepath.Join(dir, "ro"), ro+"\n")
		put(t, filepath.Join(dir, "queue/logical_block_size"), "512\n")
		put(t, filepath.Join(h.Dev, name), strings.Repeat("a secret", mib/8))
	}
	for method, step := range map[string]func(context.Context, *hwmanager.Host, hwmanager.StepCall) (any, error){
		"metadata": New().eraseMetadata, "overwrite": New().eraseDevices,
	} {
		if _, err := step(context.Background(), h, call(nil)); err != nil {
			t.Fatal(err)
		}
		for name, want := range map[string]string{
			"mmcblk0": "erased, " + method, "mmcblk0boot0": ipa.EraseSkipped, "mmcblk0boot1": "erased, " + method, "mmcblk0gp0": "erased, " + method, "mmcblk0rpmb": ipa.EraseSkipped,
		} {
			if got := outcomes(h)["/dev/"+name]; !strings.HasPrefix(got, want) {
				t.Errorf("%s: %s %q; want %q", method, name, got, want)
			}
			data := read(t, filepath.Join(h.Dev, name), 0, 8)
			if kept := string(data) == "a secret"; kept != (want == ipa.EraseSkipped) {
				t.Errorf("%s: %s begins with %q", method, name, data)
			}
		}
	}
	setRO := filepath.Join(h.Sys, "block/mmcblk0/ro")
	put(t, setRO, "1\n")
	if _, err := New().eraseDevices(context.Background(), h, call(nil)); err == nil || !strings.Contains(err.Error(), "/dev/mmcblk0 is read-only") {
		t.Errorf("a read-only eMMC: %v", err)
	}
}

// TestDisksWithoutASize are told of by all steps; a drive without a medium is not.
func TestDisksWithoutASize(t *testing.T) {
	h := lab(t)
	shrink(t, h, 2*mib, "vda", "sda", "sdb", "nvme0n1")
	for _, name := range []string{"sda", "sdb"} {
		put(t, filepath.Join(h.Sys, "block", name, "size"), "0\n")
	}
	put(t, filepath.Join(h.Sys, "block/sdb/removable"), "1\n")
	for _, step := range []func(context.Context, *hwmanager.Host, hwmanager.StepCall) (any, error){New().eraseMetadata, New().eraseDevices} {
		_, err := step(context.Background(), h, call(nil))
		must(t, err)
		got := outcomes(h)
		if _, told := got["/dev/sdb"]; told || got["/dev/sda"] != ipa.EraseSkipped || !strings.HasPrefix(got["/dev/vda"], ipa.EraseDone) || len(got) != 3 {
			t.Errorf("reports are %v", got)
		}
	}
}

// TestPartitionTableInACircle: tables of logical partitions may name each other.
func TestPartitionTableInACircle(t *testing.T) {
	disk := make([]byte, 64<<10)
	for _, at := range []int{0, 32 << 9} {
		disk[at+446+4], disk[at+510], disk[at+511] = 0x05, 0x55, 0xaa
		disk[at+462+4], disk[at+462+8] = 0x83, 1
	}
	disk[446+8] = 32 // the second names itself
	entries, err := partitionTable(bytes.NewReader(disk), 512)
	if err != nil || len(entries) != maxTables {
		t.Errorf("%d partitions, %v", len(entries), err)
	}
}

// TestTablesThatMakeNoSense keep no disk from being erased.
func TestTablesThatMakeNoSense(t *testing.T) {
	for _, start := range []uint64{1 << 63, 1<<63 - 1, 1 << 54, 1<<54 - 1, 1 << 40} {
		h := lab(t)
		shrink(t, h, 2*mib, "vda", "sda", "sdb", "nvme0n1")
		path := filepath.Join(h.Dev, "sda")
		header := make([]byte, 128)
		copy(header, "EFI PART")
		binary.LittleEndian.PutUint64(header[72:], 2)
		binary.LittleEndian.PutUint32(header[80:], 128)
		binary.LittleEndian.PutUint32(header[84:], 128)
		write(t, path, 512, header)
		partition := make([]byte, 128)
		partition[0] = 1
		binary.LittleEndian.PutUint64(partition[32:], start)
		write(t, path, 1024, partition)
		if _, err := New().eraseDevices(t.Context(), h, call(nil)); err != nil {
			t.Errorf("a partition at sector %d: %v", start, err)
		}
	}
}

// mustProtect checks that nothing is erased because of /dev/sdb, not even the
// disks before it.
func mustProtect(t *testing.T, h *hwmanager.Host) {
	t.Helper()
	write(t, filepath.Join(h.Dev, "sda"), 4096*16, []byte("keep me"))
	_, err := New().eraseDevices(context.Background(), h, call(nil))
	if !ipa.ProtectedDevice.Is(err) || !strings.Contains(err.Error(), "/dev/sdb") {
		t.Errorf("error = %v; want ProtectedDeviceError naming /dev/sdb", err)
	}
	f, err := os.Open(filepath.Join(h.Dev, "sda"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	kept := make([]byte, 7)
	if _, err := f.ReadAt(kept, 4096*16); err != nil || string(kept) != "keep me" {
		t.Errorf("sda holds %q, %v; want it untouched", kept, err)
	}
}

func setReadOnly(t *testing.T, h *hwmanager.Host) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(h.Sys, "block/sdb/ro"), []byte("1\n"), 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestEraseMetadata(t *testing.T) {
	h := lab(t)
	disk := filepath.Join(h.Dev, "nvme0n1")
	if out, err := exec.Command("sgdisk", "-n", "1:0:+10M", disk).CombinedOutput(); err != nil {
		t.Fatalf("sgdisk: %v\n%s", err, out)
	}
	if _, err := New().eraseMetadata(context.Background(), h, call(nil)); err != nil {
		t.Fatal(err)
	}
	out, _ := exec.Command("sgdisk", "-p", disk).CombinedOutput()
	if !strings.Contains(string(out), "Creating new GPT entries") {
		t.Errorf("sgdisk still finds a table after the metadata erase:\n%s", out)
	}
}

func TestArrayMembers(t *testing.T) {
	const size, off = int64(7 << 30), 4096
	magic := binary.LittleEndian.AppendUint32(nil, 0xa92b4efc) // md.4
	places := map[string]int64{"1.2": off, "1.1": 0, "1.0": size - 8192, "0.90": size - 65536}
	for version, off := range places {
		t.Run("superblock "+version, func(t *testing.T) {
			h := lab(t)
			path := filepath.Join(h.Dev, "nvme0n1")
			write(t, path, off, magic)
			if _, err := New().eraseMetadata(context.Background(), h, call(nil)); err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(read(t, path, off, 4), make([]byte, 4)) {
				t.Error("the superblock is still there")
			}
		})
	}
	t.Run("superblock alone does not evade erase_devices", func(t *testing.T) {
		h := lab(t)
		shrink(t, h, 2*mib, "vda", "sda", "sdb", "nvme0n1")
		write(t, filepath.Join(h.Dev, "nvme0n1"), off, magic)
		write(t, filepath.Join(h.Dev, "nvme0n1"), mib, []byte("a secret"))
		if _, err := New().eraseDevices(context.Background(), h, call(nil)); err != nil {
			t.Fatal(err)
		}
		if !isZero(t, filepath.Join(h.Dev, "nvme0n1")) {
			t.Error("the disk is not zero after erasing")
		}
	})
	t.Run("assembled", func(t *testing.T) {
		h := lab(t)
		path := filepath.Join(h.Dev, "nvme0n1")
		write(t, path, off, magic)
		if err := os.MkdirAll(filepath.Join(h.Sys, "block/nvme0n1/holders/md0"), 0o755); err != nil {
			t.Fatal(err)
		}
		if _, err := New().eraseMetadata(context.Background(), h, call(nil)); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(read(t, path, off, 4), magic) {
			t.Error("the superblock of the running array is gone")
		}
	})
}

func read(t *testing.T, path string, off int64, n int) []byte {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	data := make([]byte, n)
	if _, err := f.ReadAt(data, off); err != nil {
		t.Fatal(err)
	}
	return data
}
