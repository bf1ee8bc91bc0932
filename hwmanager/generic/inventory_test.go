package generic

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ferric/api/ipa"
	"ferric/hwmanager"
	"ferric/hwmanager/hwmtest"
)

var update = flag.Bool("update", false, "write the golden files")

func lab(t *testing.T) *hwmanager.Host { return hwmtest.Machine(t, "testdata/lab.machine") }

func TestInventory(t *testing.T) {
	h := lab(t)
	h.Settings.BootIF = "01-52-54-00-12-34-01"
	inv, err := New().Inventory(context.Background(), h)
	if err != nil {
		t.Fatal(err)
	}
	inv.Hostname = "" // of the machine that runs the test
	golden(t, "lab.inventory.json", inv)
}

// TestLiveInventory compares with what lsblk says of the machine that runs
// the test.
func TestLiveInventory(t *testing.T) {
	h := lab(t)
	h.Sys, h.Proc, h.Dev = "/sys", "/proc", "/dev"
	disks, err := New().BlockDevices(context.Background(), h, false)
	if err != nil {
		t.Fatal(err)
	}
	output, err := hwmanager.Exec{}.Run(context.Background(), "lsblk", "-bdnJ", "-o", "NAME,SIZE,TYPE")
	if hwmanager.NoProgram(err) {
		if os.Getenv("CI") == "true" {
			t.Fatal("lsblk is missing")
		}
		t.Skip("lsblk is missing")
	}
	if err != nil {
		t.Fatal(err)
	}
	var listing struct {
		Blockdevices []struct {
			Name, Type string
			Size       int64
		}
	}
	if err := json.Unmarshal(output, &listing); err != nil {
		t.Fatal(err)
	}
	want := map[string]int64{}
	for _, d := range listing.Blockdevices {
		if d.Type == "disk" && d.Size > 0 && !strings.HasPrefix(d.Name, "zram") && !strings.HasPrefix(d.Name, "nbd") {
			want["/dev/"+d.Name] = d.Size
		}
	}
	got := map[string]int64{}
	for _, d := range disks {
		got[d.Name] = d.Size
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("disks differ from lsblk's (-lsblk +ours):\n%s", diff)
	}
}

func TestWWNs(t *testing.T) {
	tests := []struct{ id, wwn, with, extension string }{
		{"", "<nil>", "<nil>", "<nil>"},
		{"naa.5000c50015ea71aa", "0x5000c50015ea71aa", "0x5000c50015ea71aa", "<nil>"},
		{"naa.600508b1001c4d3f0a1b2c3d4e5f6071", "0x600508b1001c4d3f", "0x600508b1001c4d3f0a1b2c3d4e5f6071", "0x0a1b2c3d4e5f6071"},
		{"eui.0025385b71b00a1e", "eui.0025385b71b00a1e", "eui.0025385b71b00a1e", "<nil>"},
		{"t10.ATA     QEMU HARDDISK", "<nil>", "<nil>", "<nil>"},
	}
	show := func(s *string) string {
		if s == nil {
			return "<nil>"
		}
		return *s
	}
	for _, test := range tests {
		wwn, with, extension := wwns(test.id)
		got := []string{show(wwn), show(with), show(extension)}
		if diff := cmp.Diff([]string{test.wwn, test.with, test.extension}, got); diff != "" {
			t.Errorf("wwns(%q) (-want +got):\n%s", test.id, diff)
		}
	}
}

func TestByPath(t *testing.T) {
	root := t.TempDir()
	files := map[string]string{
		"devices/pci0000:00/0000:3b:00.0/host0/port-0:0/end_device-0:0/sas_device/end_device-0:0/phy_identifier":                             "4",
		"devices/pci0000:00/0000:3c:00.0/host1/port-1:0/expander-1:0/sas_device/expander-1:0/sas_address":                                    "0x500304801f1e003f",
		"devices/pci0000:00/0000:3c:00.0/host1/port-1:0/expander-1:0/port-1:0:7/end_device-1:0:7/sas_device/end_device-1:0:7/phy_identifier": "7",
		"devices/pci0000:00/0000:3d:00.0/host7/target7:2:1/7:2:1:0/block/sdh/size":                                                           "1",
		"devices/pci0000:00/0000:3d:00.0/host6/uevent":                                                                                       "",
		"devices/pci0000:00/0000:00:14.0/usb1/1-2/1-2.3:1.0/host9/target9:0:0/9:0:0:0/block/sdu/size":                                        "1",
		"devices/pci0000:00/0000:3b:00.0/host0/port-0:0/end_device-0:0/target0:0:4/0:0:4:0/block/sda/size":                                   "1",
		"devices/pci0000:00/0000:3c:00.0/host1/port-1:0/expander-1:0/port-1:0:7/end_device-1:0:7/target1:0:7/1:0:7:0/block/sdb/size":         "1",
		"devices/platform/soc/mmc_host/mmc0/mmc0:0001/block/mmcblk0/size":                                                                    "1",
	}
	for name, content := range files {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	tests := []struct{ dir, byPath, tran string }{
		{"devices/pci0000:00/0000:3b:00.0/host0/port-0:0/end_device-0:0/target0:0:4/0:0:4:0/block/sda", "pci-0000:3b:00.0-sas-phy4-lun-0", "sas"},
		{"devices/pci0000:00/0000:3c:00.0/host1/port-1:0/expander-1:0/port-1:0:7/end_device-1:0:7/target1:0:7/1:0:7:0/block/sdb", "pci-0000:3c:00.0-sas-exp0x500304801f1e003f-phy7-lun-0", "sas"},
		{"devices/pci0000:00/0000:3d:00.0/host7/target7:2:1/7:2:1:0/block/sdh", "pci-0000:3d:00.0-scsi-1:2:1:0", ""},
		{"devices/pci0000:00/0000:00:14.0/usb1/1-2/1-2.3:1.0/host9/target9:0:0/9:0:0:0/block/sdu", "pci-0000:00:14.0-usb-0:2.3:1.0-scsi-0:0:0:0", "usb"},
		{"devices/platform/soc/mmc_host/mmc0/mmc0:0001/block/mmcblk0", "", "mmc"},
	}
	for _, test := range tests {
		path, err := topology(root, filepath.Join(root, test.dir))
		if err != nil {
			t.Fatal(err)
		}
		if got := path.byPath(); got != test.byPath {
			t.Errorf("by-path of %s = %q; want %q", test.dir, got, test.byPath)
		}
		if got := transport(path); got != test.tran {
			t.Errorf("transport of %s = %q; want %q", test.dir, got, test.tran)
		}
	}
}

func TestInstallDevice(t *testing.T) {
	object := func(kv ...any) map[string]any {
		m := map[string]any{}
		for i := 0; i < len(kv); i += 2 {
			m[kv[i].(string)] = kv[i+1]
		}
		return m
	}
	tests := []struct {
		name string
		node hwmanager.Node
		want string // name, or part of the error
	}{
		{"no hints: the smallest of at least 4 GiB", nil, "/dev/vda"},
		{"by serial number of virtio", hwmanager.Node(object("properties", object("root_device", object("serial", "lab-virtio-1")))), "/dev/vda"},
		{"by serial number of SCSI", hwmanager.Node(object("properties", object("root_device", object("serial", "LAB-SCSI-1")))), "/dev/sda"},
		{"by serial number as udev writes it", hwmanager.Node(object("properties", object("root_device", object("serial", "5000c50015ea71bb")))), "/dev/sdb"},
		{"any but one, which has other notations, too", hwmanager.Node(object("properties", object("root_device", object("serial", "s!= LAB-SCSI-1")))), "/dev/sdb"},
		{"by transport", hwmanager.Node(object("properties", object("root_device", object("tran", "nvme")))), "/dev/nvme0n1"},
		{"by size and rotation", hwmanager.Node(object("properties", object("root_device", object("size", ">= 5", "rotational", false)))), "/dev/sdb"},
		{"instance_info wins", hwmanager.Node(object("instance_info", object("root_device", object("hctl", "5:0:0:0")), "properties", object("root_device", object("tran", "nvme")))), "/dev/sdb"},
		{"nothing matches", hwmanager.Node(object("properties", object("root_device", object("serial", "other")))), "none of the 4 disks"},
		{"unknown hint", hwmanager.Node(object("properties", object("root_device", object("colour", "red")))), "no such hint"},
		{"skipped disks", hwmanager.Node(object("properties", object("skip_block_devices", []any{object("name", "/dev/vda"), object("volume_name", "v")}))), "/dev/sda"},
		{"a skip list that makes no sense", hwmanager.Node(object("properties", object("skip_block_devices", []any{object()}))), "every disk"},
		{"a skip list that is an object", hwmanager.Node(object("properties", object("skip_block_devices", object("name", "/dev/vda")))), "skip_block_devices must be a list"},
		{"a skip list in a string", hwmanager.Node(object("properties", object("skip_block_devices", `[{"name":"/dev/vda"}]`))), "skip_block_devices must be a list"},
		{"no skip list", hwmanager.Node(object("properties", object("skip_block_devices", nil))), "/dev/vda"},
		{"hints in a string", hwmanager.Node(object("properties", object("root_device", `{"tran":"nvme"}`))), "properties: root_device must be an object"},
		{"hints in a list", hwmanager.Node(object("instance_info", object("root_device", []any{object("tran", "nvme")}))), "instance_info: root_device must be an object"},
		{"an empty string of hints", hwmanager.Node(object("properties", object("root_device", ""))), "root_device must be an object"},
		{"no hints given", hwmanager.Node(object("instance_info", object("root_device", nil), "properties", object("root_device", object()))), "/dev/vda"},
		{"properties that are none", hwmanager.Node(object("properties", "root_device")), "properties must be an object"},
	}
	h := lab(t)
	for _, strict := range []bool{false, true} {
		ambiguous := []string{"no hints: the smallest of at least 4 GiB", "any but one, which has other notations, too", "by size and rotation", "skipped disks", "no skip list", "no hints given"}
		for _, test := range tests {
			if strict && slices.Contains(ambiguous, test.name) {
				test.want = "ferric-strict-root-device wants one"
			}
			t.Run(fmt.Sprintf("%s, strict %v", test.name, strict), func(t *testing.T) {
				h.Settings.StrictRootDevice = strict
				disk, err := New().InstallDevice(context.Background(), h, test.node)
				switch {
				case err != nil && !ipa.DeviceNotFound.Is(err):
					t.Errorf("error %v is not DeviceNotFound", err)
				case err != nil && !strings.Contains(err.Error(), test.want):
					t.Errorf("error %v; want %q", err, test.want)
				case err == nil && disk.Name != test.want:
					t.Errorf("install device = %s; want %s", disk.Name, test.want)
				}
			})
		}
	}
}
