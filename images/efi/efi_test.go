package efi_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf16"

	"github.com/google/go-cmp/cmp"

	"ferric/images/efi"
)

const guid = "-8be4df61-93ca-11d2-aa0d-00e098032b8c"

func run(t testing.TB, name string, args ...string) string {
	t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v: %s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

const espUUID = "0f6a1cb2-2e37-4e1c-8b7e-9d3a5c1b2e4f"

// makeDisk makes a disk with an ESP that holds files; label is gpt or msdos.
func makeDisk(t *testing.T, label string, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	path, esp := filepath.Join(dir, "disk.raw"), filepath.Join(dir, "esp.img")
	run(t, "truncate", "-s", "64M", path)
	// Not sgdisk, which sleeps for a second after each change.
	table := "label: gpt\nstart=2048, size=2048, type=21686148-6449-6E6F-744E-656564454649\nstart=4096, size=65536, type=uefi, uuid=" + espUUID + "\n"
	if label != "gpt" {
		table = "label: dos\nlabel-id: 0x9d3b4c1a\nstart=2048, size=2048, type=83\nstart=4096, size=65536, type=ef\n"
	}
	cmd := exec.Command("sfdisk", path)
	cmd.Stdin = strings.NewReader(table)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("sfdisk: %v: %s", err, out)
	}
	run(t, "mkfs.vfat", "-C", "-i", "ABCD1234", esp, "32768")
	made := map[string]bool{}
	for name, content := range files {
		src := filepath.Join(dir, "content")
		if err := os.WriteFile(src, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		parts := strings.Split(name, "/")
		for i := 1; i < len(parts); i++ {
			if d := strings.Join(parts[:i], "/"); !made[d] {
				run(t, "mmd", "-i", esp, "::"+d)
				made[d] = true
			}
		}
		run(t, "mcopy", "-i", esp, src, "::"+name)
	}
	run(t, "dd", "if="+esp, "of="+path, "bs=1M", "seek=2", "conv=notrunc")
	return path
}

func utf16le(s string) string {
	var b []byte
	for _, c := range utf16.Encode([]rune(s)) {
		b = binary.LittleEndian.AppendUint16(b, c)
	}
	return string(b)
}

// variables makes a directory with boot entries (label by number) and an order.
func variables(t *testing.T, labels map[uint16]string, order ...uint16) string {
	t.Helper()
	dir := t.TempDir()
	for n, label := range labels {
		data := "\x07\x00\x00\x00" + "\x01\x00\x00\x00" + "\x04\x00" + utf16le(label) + "\x00\x00" + "\x7f\xff\x04\x00" + strings.Repeat("optional data ", 40)
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("Boot%04X%s", n, guid)), []byte(data), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	b := []byte{7, 0, 0, 0}
	for _, n := range order {
		b = binary.LittleEndian.AppendUint16(b, n)
	}
	if len(order) > 0 {
		if err := os.WriteFile(filepath.Join(dir, "BootOrder"+guid), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func bootOrder(t *testing.T, dir string) []uint16 {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(dir, "BootOrder"+guid))
	if err != nil {
		t.Fatal(err)
	}
	var order []uint16
	for b = b[4:]; len(b) >= 2; b = b[2:] {
		order = append(order, binary.LittleEndian.Uint16(b))
	}
	return order
}

func TestInstall(t *testing.T) {
	for _, c := range []struct {
		name, label string
		files       map[string]string
		vars        map[uint16]string
		order       []uint16
		want        []efi.Entry
		wantOrder   []uint16
		wantGone    []uint16
	}{
		{
			name: "removable path", label: "gpt",
			files:     map[string]string{"EFI/BOOT/BOOTX64.EFI": "x", "EFI/BOOT/grubx64.efi": "x"},
			vars:      map[uint16]string{0: "UiApp", 1: "PXE"},
			order:     []uint16{0, 1},
			want:      []efi.Entry{{Number: 2, Label: "ironic1", Loader: `\EFI\BOOT\BOOTX64.EFI`}},
			wantOrder: []uint16{2, 0, 1},
		},
		{
			name: "duplicates go, their first number stays", label: "gpt",
			files:     map[string]string{"EFI/BOOT/BOOTX64.EFI": "x"},
			vars:      map[uint16]string{0: "UiApp", 3: "ironic1", 7: "ironic1", 9: "PXE"},
			order:     []uint16{0, 7, 9, 3},
			want:      []efi.Entry{{Number: 3, Label: "ironic1", Loader: `\EFI\BOOT\BOOTX64.EFI`}},
			wantOrder: []uint16{3, 0, 9},
			wantGone:  []uint16{7},
		},
		{
			name: "csv wins alone", label: "msdos",
			files: map[string]string{
				"EFI/BOOT/BOOTX64.EFI":   "x",
				"EFI/debian/shimx64.efi": "x",
				"EFI/debian/BOOTX64.CSV": "\xff\xfe" + utf16le("shimx64.efi,debian GNU,,This is the boot entry\r\n"),
			},
			want:      []efi.Entry{{Number: 0, Label: "debian GNU", Loader: `\EFI\debian\shimx64.efi`}},
			wantOrder: []uint16{0},
		},
		{
			name: "two architectures", label: "gpt",
			files: map[string]string{"EFI/BOOT/BOOTX64.EFI": "x", "EFI/BOOT/bootia32.efi": "x"},
			want: []efi.Entry{
				{Number: 0, Label: "ironic1", Loader: `\EFI\BOOT\bootia32.efi`},
				{Number: 1, Label: "ironic2", Loader: `\EFI\BOOT\BOOTX64.EFI`},
			},
			wantOrder: []uint16{0, 1},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			disk, vars := makeDisk(t, c.label, c.files), variables(t, c.vars, c.order...)
			for range 2 { // the second time changes nothing
				got, err := efi.Install(context.Background(), vars, disk, "")
				if err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(c.want, got); diff != "" {
					t.Error(diff)
				}
				if diff := cmp.Diff(c.wantOrder, bootOrder(t, vars)); diff != "" {
					t.Error(diff)
				}
			}
			for _, n := range c.wantGone {
				if _, err := os.Stat(filepath.Join(vars, fmt.Sprintf("Boot%04X%s", n, guid))); err == nil {
					t.Errorf("Boot%04X is still there", n)
				}
			}
		})
	}
}

// The bytes are what efibootmgr -c -d DISK -p 2 -L ironic1 -l '\EFI\BOOT\BOOTX64.EFI'
// writes for the disk of makeDisk, put down by the UEFI specification.
func TestLoadOptionBytes(t *testing.T) {
	disk, vars := makeDisk(t, "gpt", map[string]string{"EFI/BOOT/BOOTX64.EFI": "x"}), variables(t, nil)
	if _, err := efi.Install(context.Background(), vars, disk, ""); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(filepath.Join(vars, "Boot0000"+guid))
	if err != nil {
		t.Fatal(err)
	}
	want := "\x07\x00\x00\x00" + "\x01\x00\x00\x00" + "\x5e\x00" + utf16le("ironic1\x00") +
		"\x04\x01\x2a\x00" + "\x02\x00\x00\x00" + "\x00\x10\x00\x00\x00\x00\x00\x00" + "\x00\x00\x01\x00\x00\x00\x00\x00" +
		"\xb2\x1c\x6a\x0f\x37\x2e\x1c\x4e\x8b\x7e\x9d\x3a\x5c\x1b\x2e\x4f" + "\x02\x02" +
		"\x04\x04\x30\x00" + utf16le("\\EFI\\BOOT\\BOOTX64.EFI\x00") + "\x7f\xff\x04\x00"
	if diff := cmp.Diff([]byte(want), got); diff != "" {
		t.Error(diff)
	}
}

func TestInstallFindsNothing(t *testing.T) {
	vars := variables(t, nil)
	empty := makeDisk(t, "gpt", nil)
	if _, err := efi.Install(context.Background(), vars, empty, ""); !errors.Is(err, efi.ErrNoLoader) {
		t.Errorf("no loader: %v", err)
	}
	run(t, "sfdisk", "--part-type", empty, "2", "linux")
	if _, err := efi.Install(context.Background(), vars, empty, ""); !errors.Is(err, efi.ErrNoESP) {
		t.Errorf("no ESP: %v", err)
	}
	unmarked := makeDisk(t, "gpt", map[string]string{"EFI/BOOT/BOOTX64.EFI": "x"})
	run(t, "sfdisk", "--part-type", unmarked, "2", "linux")
	for _, id := range []string{"abcd-1234", espUUID} {
		if _, err := efi.Install(context.Background(), vars, unmarked, id); err != nil {
			t.Errorf("ESP named by %s: %v", id, err)
		}
	}
}
