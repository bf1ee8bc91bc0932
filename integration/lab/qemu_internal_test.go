package lab

import (
	"context"
	"encoding/hex"
	"flag"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "rewrite the golden files")

func TestArgs(t *testing.T) {
	for name, test := range map[string]struct {
		node     NodeConfig
		accel    string
		selector Selector
	}{
		"bios-all-disks": {NodeConfig{Name: "n1", Disks: []Disk{{}, {Kind: NVMe, Serial: "NV 1"}, {Kind: SATA, WWN: 0x5000c50015ea71ac, Model: "FERRIC DISK", SSD: true}, {Kind: SCSI, SizeMiB: 100}}}, "tcg", SelectPXE},
		"uefi-4096":      {NodeConfig{Name: "n1", Firmware: UEFI, Disks: []Disk{{Sector: 4096, Data: true}, {Kind: NVMe, Sector: 4096}, {Kind: SCSI, Sector: 4096, RPM: 7200}}}, "tcg", SelectDisk},
		"bios-disk":      {NodeConfig{Name: "n1", NIC: "e1000"}, "kvm", SelectDisk},
		"uefi-pxe":       {NodeConfig{Name: "n2", Firmware: UEFI, NetBoot: FirmwarePXE}, "tcg", SelectNone},
		"uefi-http":      {NodeConfig{Name: "n3", Firmware: UEFI, NetBoot: FirmwareHTTP, MemoryMiB: 512}, "tcg", SelectPXE},
		"direct":         {NodeConfig{Name: "n1", Direct: &Direct{"/vmlinuz", "/initramfs", "console=ttyS0"}, Clock: "2020-01-01", Arguments: []string{"-device", "qemu-xhci"}}, "tcg", SelectNone},
		"direct-disk":    {NodeConfig{Name: "n1", Direct: &Direct{"/vmlinuz", "/initramfs", "console=ttyS0"}}, "tcg", SelectDisk},
	} {
		t.Run(name, func(t *testing.T) {
			node, err := test.node.complete("/rack", 0)
			if err != nil {
				t.Fatal(err)
			}
			m := machine{NodeConfig: node, dir: "/rack/nodes/" + node.Name, tap: "tap0", kcsPort: firstKCS, accel: test.accel, code: "/code.fd"}
			var got strings.Builder
			for _, a := range m.args(test.selector) {
				if strings.HasPrefix(a, "-") && got.Len() > 0 {
					got.WriteByte('\n')
				} else if got.Len() > 0 {
					got.WriteByte(' ')
				}
				got.WriteString(a)
			}
			got.WriteByte('\n')
			golden := filepath.Join("testdata", "args", name+".txt")
			if *update {
				if err := os.WriteFile(golden, []byte(got.String()), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), got.String()); diff != "" {
				t.Errorf("command line (-want +got):\n%s", diff)
			}
		})
	}
}

// TestRouterAdvertisement holds the message against RFC 4861, sections 4.2, 4.6.1 and 4.6.2, byte by byte.
func TestRouterAdvertisement(t *testing.T) {
	want := "86000000" + // type, code, checksum (by the kernel)
		"40000000" + // hop limit 64, no flags, lifetime 0
		"0000000000000000" + // reachable time, retransmission timer: unspecified
		"0101" + "52540077ff01" + // source link-layer address
		"030440c0" + "00278d00" + "00093a80" + "00000000" + // prefix length 64, on-link and autonomous, lifetimes
		"fd000077000000000000000000000000"
	got := routerAdvertisement(net.HardwareAddr{0x52, 0x54, 0, 0x77, 0xff, 1})
	if diff := cmp.Diff(want, hex.EncodeToString(got)); diff != "" {
		t.Errorf("message (-want +got):\n%s", diff)
	}
}

func TestParseNode(t *testing.T) {
	got, err := ParseNode("n2,firmware=uefi,netboot=http,nic=e1000,memory=512,disk=nvme,disk=sata:100")
	if err != nil {
		t.Fatal(err)
	}
	want := NodeConfig{Name: "n2", Firmware: UEFI, NetBoot: FirmwareHTTP, NIC: "e1000", MemoryMiB: 512, Disks: []Disk{{Kind: NVMe}, {Kind: SATA, SizeMiB: 100}}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("machine (-want +got):\n%s", diff)
	}
	for text, want := range map[string]string{
		"n1,color=red":   `unknown key "color"`,
		"n1,memory=much": "no number of MiB",
		"n1,disk=nvme:x": "no number of MiB",
	} {
		if _, err := ParseNode(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: error %v, want one that says %q", text, err, want)
		}
	}
}

func TestChassisRequests(t *testing.T) {
	off := &Node{Config: NodeConfig{Name: "n1"}, selector: SelectNone}
	c := &chassis{nodes: map[string]*Node{"n1": off}}
	for _, test := range []struct{ request, want, problem string }{
		{"n1 get power boot", "power:0\nboot:none\n", ""},
		{"n1 set boot pxe", "", ""},
		{"n1 get boot", "boot:pxe\n", ""},
		{"n1 set boot default", "", ""},
		{"n1 get boot", "boot:default\n", ""},
		{"n1 set power 0", "", ""},
		{"n1 set shutdown 1", "", ""},
		{"n1 set identify 15 0", "", ""},
		{"n1 set reset 1", "", "is off"},
		{"n1 set boot tape", "", `cannot be set to "tape"`},
		{"n1 get colour", "", `unknown chassis parameter "colour"`},
		{"n2 get power", "", `unknown machine "n2"`},
		{"n1 get", "", "too short"},
		{"n1 eat power", "", "neither get nor set"},
	} {
		got, err := c.answer(context.Background(), strings.Fields(test.request))
		if got != test.want || (err != nil) != (test.problem != "") || err != nil && !strings.Contains(err.Error(), test.problem) {
			t.Errorf("%s: %q, %v; want %q, %q", test.request, got, err, test.want, test.problem)
		}
	}
}
