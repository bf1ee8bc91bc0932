package efi_test

import (
	"encoding/binary"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"ferric/images/efi"
)

// node encodes a node of a device path.
func node(kind, sub byte, body string) string {
	return string(binary.LittleEndian.AppendUint16([]byte{kind, sub}, uint16(4+len(body)))) + body
}

const endOfPath = "\x7f\xff\x04\x00"

// wide is s in UTF-16 with a NUL at its end.
func wide(s string) string { return utf16le(s) + "\x00\x00" }

// le are integers of as many bytes as their types have.
func le(values ...any) string {
	var b []byte
	for _, v := range values {
		b, _ = binary.Append(b, binary.LittleEndian, v)
	}
	return string(b)
}

const (
	guidOf = "\x00\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c\x0d\x0e\x0f"
	theID  = "03020100-0504-0706-0809-0a0b0c0d0e0f"
)

// devicePaths are encoded paths and their texts. other is what efibootmgr 17
// makes of it where that is not the text of the specification.
var devicePaths = []struct{ name, path, want, other string }{
	{"partition of a GPT", node(4, 1, le(uint32(1), uint64(0x800), uint64(0x100000))+guidOf+"\x02\x02") + node(4, 4, wide(`\EFI\debian\shimx64.efi`)),
		`HD(1,GPT,` + theID + `,0x800,0x100000)/File(\EFI\debian\shimx64.efi)`, ""},
	{"partition of an MBR", node(4, 1, le(uint32(2), uint64(63), uint64(0x4000), uint32(0x9d3b4c1a))+strings.Repeat("\x00", 12)+"\x01\x01") + node(4, 4, wide(`\EFI\BOOT\BOOTX64.EFI`)),
		`HD(2,MBR,0x9d3b4c1a,0x3f,0x4000)/File(\EFI\BOOT\BOOTX64.EFI)`, ""},
	{"application of the firmware", node(4, 7, guidOf) + node(4, 6, guidOf), "FvVol(" + theID + ")/FvFile(" + theID + ")", ""},
	{"SATA disk", node(2, 1, le(uint32(0x0a0341d0), uint32(0))) + node(1, 1, "\x02\x1f") + node(3, 18, le(uint16(2), uint16(0xffff), uint16(0))), "PciRoot(0x0)/Pci(0x1f,0x2)/Sata(2,65535,0)", ""},
	{"network card", node(2, 1, le(uint32(0x0a0341d0), uint32(0))) + node(1, 1, "\x00\x03") + node(3, 11, "\x52\x54\x00\x12\x34\x56"+strings.Repeat("\x00", 26)+"\x01"), "PciRoot(0x0)/Pci(0x3,0x0)/MAC(525400123456,1)", ""},
	{"NVMe", node(2, 1, le(uint32(0x0a0841d0), uint32(1))) + node(1, 1, "\x00\x04") + node(3, 23, le(uint32(1))+"\x00\x01\x02\x03\x04\x05\x06\x07"), "PcieRoot(0x1)/Pci(0x4,0x0)/NVMe(0x1,00-01-02-03-04-05-06-07)", ""},
	{"SCSI", node(1, 1, "\x01\x05") + node(3, 2, le(uint16(3), uint16(1))), "Pci(0x5,0x1)/SCSI(3,1)", ""},
	{"USB", node(1, 1, "\x00\x14") + node(3, 5, "\x02\x00"), "Pci(0x14,0x0)/USB(2,0)", ""},
	{"HTTP boot", node(3, 24, "http://192.0.2.1/boot.efi"), "Uri(http://192.0.2.1/boot.efi)", ""},
	{"vendors", node(1, 4, guidOf) + node(3, 10, guidOf) + node(4, 3, guidOf), "VenHw(" + theID + ")/VenMsg(" + theID + ")/VenMedia(" + theID + ")", ""},
	{"optical drive", node(4, 2, le(uint32(1), uint64(0x30), uint64(0x1000))), "CDROM(1,0x30,0x1000)", ""},
	{"ATA", node(3, 1, "\x00\x01\x00\x00"), "Ata(0,1,0)", ""},
	{"VLAN", node(3, 20, le(uint16(12))), "Vlan(12)", ""},
	{"protocol", node(4, 5, guidOf), "Media(" + theID + ")", ""},
	{"BIOS", node(5, 1, le(uint16(2), uint16(0))+"Disk\x00"), "BBS(HD,Disk,0x0)", ""},
	{"eMMC", node(3, 29, "\x00"), "eMMC(0)", ""},
	{"IPv4", node(3, 12, "\x7f\x00\x00\x01\xc0\x00\x02\x01"+le(uint16(1), uint16(80), uint16(6))+"\x01"), "IPv4(127.0.0.1:1,192.0.2.1:80,6,1)", "IPv4(127.0.0.1:1192.0.2.1:80,6,1)"},
	{"unknown", node(3, 99, "\xab\xcd"), "Msg(99,abcd)", ""},
	{"controller", node(1, 5, le(uint32(3))), "Ctrl(0x3)", ""},
	{"ACPI", node(2, 1, le(uint32(0x050141d0), uint32(2))), "Serial(0x2)", ""},
}

func TestPathText(t *testing.T) {
	for _, c := range devicePaths {
		got, err := efi.PathText([]byte(c.path + endOfPath))
		if err != nil || got != c.want {
			t.Errorf("%s: %q, %v; want %q", c.name, got, err, c.want)
		}
	}
}

// TestPathTextIsThatOfEfibootmgr shows the same paths to efibootmgr.
func TestPathTextIsThatOfEfibootmgr(t *testing.T) {
	if _, err := exec.LookPath("efibootmgr"); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal("needs efibootmgr")
		}
		t.Skip("needs efibootmgr")
	}
	dir := t.TempDir()
	for i, c := range devicePaths {
		addEntry(t, dir, uint16(i), "an entry", c.path+endOfPath, "")
	}
	shown := efibootmgr(t, dir)
	for i, c := range devicePaths {
		want := c.want
		if c.other != "" {
			want = c.other
		}
		if got := shown[fmt.Sprintf("Boot%04X", i)]; got != want {
			t.Errorf("%s: efibootmgr has %q; want %q", c.name, got, want)
		}
	}
}

// efibootmgr is what it shows of the entries below dir: device paths, with the
// optional data behind them, by the names of the variables.
func efibootmgr(t *testing.T, dir string) map[string]string {
	t.Helper()
	cmd := exec.Command("efibootmgr", "-v")
	cmd.Env = append(os.Environ(), "LIBEFIVAR_OPS=efivarfs", "EFIVARFS_PATH="+dir+"/", "LC_ALL=C")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("efibootmgr: %v: %s", err, out)
	}
	shown := map[string]string{}
	for line := range strings.Lines(string(out)) {
		name, rest, _ := strings.Cut(line, "*")
		if _, path, ok := strings.Cut(rest, "\t"); ok {
			shown[name] = strings.TrimSuffix(path, "\n")
		}
	}
	return shown
}

// addEntry writes a boot entry as a file of efivarfs.
func addEntry(t *testing.T, dir string, number uint16, label, path, data string) {
	t.Helper()
	option := le(uint32(7), uint32(1), uint16(len(path))) + wide(label) + path + data
	if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("Boot%04X%s", number, guid)), []byte(option), 0o600); err != nil {
		t.Fatal(err)
	}
}
