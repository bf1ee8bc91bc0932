package generic

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"ferric/hwmanager/hwmtest"
)

// FuzzSysfs puts any text where sysfs has numbers, names and links: the
// inventory must come nevertheless.
func FuzzSysfs(f *testing.F) {
	f.Add("8388608\n", "0x5000c500a1b2c3d0", "\x00\x80\x00\x08LUN-0001", "3c:ec:ef:12:34:56\n", "0000:3d:00.0", "uevent")
	f.Add("-1", "naa.", "\x00\x80\xff\xff", "fa:", "virtio0", "../../..")
	f.Add("18446744073709551616", "t10.ATA", "", "80:00:02:08:fe:80:00:00:00:00:00:00:7c:fe:90:03:00:29:26:52", "0:0:0:0", "")
	f.Add("0x7fffffffffffffff", "eui.00", "\x00", "::", "usb1", ".")
	// One machine for all runs, of which each writes the same files anew; in
	// memory, for a disk has to be waited for.
	if _, err := os.Stat("/dev/shm"); err == nil {
		f.Setenv("TMPDIR", "/dev/shm")
	}
	h := hwmtest.Machine(f, "testdata/lab.machine")
	f.Fuzz(func(t *testing.T, number, wwid, page, mac, device, target string) {
		disk := filepath.Join(h.Sys, "devices/pci0000:00/0000:00:1f.2/ata3/host5/target5:0:0/5:0:0:0")
		nic := filepath.Join(h.Sys, "devices/pci0000:00/0000:00:03.0/net/eth1")
		for path, text := range map[string]string{
			filepath.Join(disk, "block/sdb/size"):                     number,
			filepath.Join(disk, "block/sdb/queue/logical_block_size"): number,
			filepath.Join(disk, "wwid"):                               wwid,
			filepath.Join(disk, "vpd_pg80"):                           page,
			filepath.Join(disk, "model"):                              wwid,
			filepath.Join(nic, "address"):                             mac,
			filepath.Join(nic, "speed"):                               number,
			filepath.Join(nic, "type"):                                "32\n",
			filepath.Join(h.Proc, "cpuinfo"):                          wwid,
			filepath.Join(h.Proc, "meminfo"):                          "MemTotal: " + number,
			filepath.Join(h.Sys, "firmware/dmi/tables/DMI"):           page,
		} {
			if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		// A device of any name, and a link that leads anywhere.
		odd := filepath.Join(h.Sys, "class/net", filepath.Base(filepath.Clean("/"+device)))
		if os.Symlink(target, odd) == nil {
			defer os.Remove(odd)
		}
		inventory, err := New().Inventory(context.Background(), h)
		if err != nil {
			return // a link in a circle, say
		}
		if _, err := json.Marshal(inventory); err != nil {
			t.Error(err)
		}
		for _, disk := range inventory.Disks {
			if disk.Size <= 0 {
				t.Errorf("disk %s has %d bytes", disk.Name, disk.Size)
			}
		}
	})
}

// BenchmarkInventory is of the machine that runs it: what the second and all
// further inventories take.
func BenchmarkInventory(b *testing.B) {
	h := hwmtest.Machine(b, "testdata/lab.machine")
	h.Sys, h.Proc, h.Dev = "/sys", "/proc", "/dev"
	m := New()
	for b.Loop() {
		if _, err := m.Inventory(b.Context(), h); err != nil {
			b.Fatal(err)
		}
	}
}
