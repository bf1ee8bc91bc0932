package efi_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ferric/images/disk/disktest"
	"ferric/images/efi"
	"ferric/images/fat"
	"ferric/images/partition"
)

// needRoot skips where nobody may make loop devices.
func needRoot(t *testing.T) {
	t.Helper()
	if os.Getuid() != 0 {
		if os.Getenv("CI") == "true" {
			t.Fatal("needs root")
		}
		t.Skip("needs root")
	}
}

// espDisk is a loop device whose second partition is an EFI system partition.
func espDisk(t *testing.T, label string, sector int) string {
	t.Helper()
	needRoot(t)
	backing := filepath.Join(t.TempDir(), "disk")
	run(t, "truncate", "-s", "128M", backing)
	loop := strings.TrimSpace(run(t, "losetup", "-f", "--show", "-b", fmt.Sprint(sector), backing))
	t.Cleanup(func() { run(t, "losetup", "-d", loop) })
	d, err := disktest.Target(t, loop).Open()
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	first, second := partition.TypeLinux, partition.TypeESP
	if label == partition.MBR {
		first, second = partition.MBRLinux, partition.MBRESP
	}
	table, err := partition.Plan(d, label, []partition.Wanted{{Size: 1 << 20, Type: first}, {Size: 64 << 20, Type: second}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	esp := table.Partitions[1]
	s, err := d.Section(esp.Start, esp.Size)
	if err != nil {
		t.Fatal(err)
	}
	if err := fat.Build(s, s.Size, sector, "ESP", 0xabcd1234, map[string][]byte{"EFI/BOOT/BOOTX64.EFI": []byte("x")}); err != nil {
		t.Fatal(err)
	}
	if err := table.Commit(d); err != nil {
		t.Fatal(err)
	}
	return loop
}

// bootmgr runs efibootmgr on the variables in dir.
func bootmgr(t *testing.T, dir string, args ...string) string {
	t.Helper()
	cmd := exec.Command("efibootmgr", args...)
	cmd.Env = append(os.Environ(), "EFIVARFS_PATH="+dir+"/", "LIBEFIVAR_OPS=efivarfs")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("efibootmgr %s: %v: %s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

// TestLikeEfibootmgr wants the very bytes that efibootmgr writes for the same
// disk, and what it reads of ours.
func TestLikeEfibootmgr(t *testing.T) {
	for _, label := range []string{partition.GPT, partition.MBR} {
		for _, sector := range []int{512, 4096} {
			t.Run(fmt.Sprint(label, sector), func(t *testing.T) {
				device := espDisk(t, label, sector)
				before := map[uint16]string{0: "UiApp", 2: "PXE"}
				ours, theirs := variables(t, before, 0, 2), variables(t, before, 0, 2)
				if _, err := efi.Install(t.Context(), ours, device, ""); err != nil {
					t.Fatal(err)
				}
				bootmgr(t, theirs, "-c", "-d", device, "-p", "2", "-L", "ironic1", "-l", `\EFI\BOOT\BOOTX64.EFI`)
				for _, name := range []string{"BootOrder", "Boot0000", "Boot0001", "Boot0002"} {
					got, err := os.ReadFile(filepath.Join(ours, name+guid))
					want, werr := os.ReadFile(filepath.Join(theirs, name+guid))
					if err := errors.Join(err, werr); err != nil {
						t.Fatal(err)
					}
					if diff := cmp.Diff(want, got); diff != "" {
						t.Errorf("%s (-efibootmgr +we): %s", name, diff)
					}
				}
				kind := map[string]string{partition.GPT: "GPT", partition.MBR: "MBR"}[label]
				place := fmt.Sprintf("0x%x,0x%x", 2<<20/sector, 64<<20/sector)
				out := bootmgr(t, ours, "-v")
				if !strings.Contains(out, "BootOrder: 0001,0000,0002\n") || !strings.Contains(out, "Boot0001* ironic1\tHD(2,"+kind+",") ||
					!strings.Contains(out, place+`)/File(\EFI\BOOT\BOOTX64.EFI)`) {
					t.Errorf("efibootmgr -v does not show %s at %s:\n%s", kind, place, out)
				}
			})
		}
	}
}

// TestFullMemory has no room for another variable: a file system of two pages.
func TestFullMemory(t *testing.T) {
	needRoot(t)
	device := makeDisk(t, "gpt", map[string]string{"EFI/BOOT/BOOTX64.EFI": "x"})
	full := t.TempDir()
	run(t, "mount", "-t", "tmpfs", "-o", fmt.Sprintf("size=%d", 2*os.Getpagesize()), "variables", full)
	t.Cleanup(func() { run(t, "umount", full) })
	run(t, "sh", "-c", `cp "$0"/* "$1"`, variables(t, map[uint16]string{0: "UiApp"}, 0), full)
	_, err := efi.Install(t.Context(), full, device, "")
	if !errors.Is(err, efi.ErrFull) || !strings.Contains(err.Error(), "Boot0001") {
		t.Errorf("error %v, want %v for Boot0001", err, efi.ErrFull)
	}
	if names, _ := filepath.Glob(full + "/*"); len(names) != 2 {
		t.Errorf("variables %q, want the two that were there", names)
	}
	if order := bootOrder(t, full); !cmp.Equal(order, []uint16{0}) {
		t.Errorf("BootOrder %d", order)
	}
}

// TestForgetfulFirmware says yes and keeps something else: BootOrder is a file of
// the kernel that takes anything, but keeps only text up to a zero.
func TestForgetfulFirmware(t *testing.T) {
	device := makeDisk(t, "gpt", map[string]string{"EFI/BOOT/BOOTX64.EFI": "x"})
	vars := variables(t, map[uint16]string{0: "UiApp"})
	if err := os.Symlink("/proc/self/comm", filepath.Join(vars, "BootOrder"+guid)); err != nil {
		t.Fatal(err)
	}
	if _, err := efi.Install(t.Context(), vars, device, ""); !errors.Is(err, efi.ErrFirmware) {
		t.Errorf("error %v, want %v", err, efi.ErrFirmware)
	}
}

// TestImmutable: the kernel protects variables by the flag that chattr sets.
func TestImmutable(t *testing.T) {
	needRoot(t)
	device := makeDisk(t, "gpt", map[string]string{"EFI/BOOT/BOOTX64.EFI": "x"})
	vars := variables(t, map[uint16]string{0: "UiApp", 4: "ironic1", 5: "ironic1"}, 0, 5, 4)
	names, err := filepath.Glob(vars + "/*")
	if err != nil || len(names) != 4 {
		t.Fatalf("%q: %v", names, err)
	}
	for _, name := range names {
		run(t, "chattr", "+i", name)
		t.Cleanup(func() { _ = exec.Command("chattr", "-i", name).Run() })
	}
	entries, err := efi.Install(t.Context(), vars, device, "")
	if err != nil || len(entries) != 1 || entries[0].Number != 4 {
		t.Fatalf("%v, %v", entries, err)
	}
	if out := bootmgr(t, vars, "-v"); !strings.Contains(out, "BootOrder: 0004,0000\n") || strings.Contains(out, "Boot0005") || !strings.Contains(out, `BOOTX64.EFI`) {
		t.Errorf("efibootmgr -v:\n%s", out)
	}
}

// TestTables are shim's tables of loaders as they are found in the wild, with and
// without sense.
func TestTables(t *testing.T) {
	be := func(s string) string {
		b := []byte(utf16le(s))
		for i := 0; i+1 < len(b); i += 2 {
			b[i], b[i+1] = b[i+1], b[i]
		}
		return "\xfe\xff" + string(b)
	}
	removable := efi.Entry{Label: "ironic1", Loader: `\EFI\BOOT\BOOTX64.EFI`}
	listed := efi.Entry{Label: "système", Loader: `\EFI\os\shimx64.efi`}
	for name, c := range map[string]struct {
		file, content string
		want          efi.Entry
	}{
		"little endian":         {"BOOTX64.CSV", utf16le("shimx64.efi,système,,\n"), listed},
		"with its mark":         {"bootx64.csv", "\xff\xfe" + utf16le("shimx64.efi,système,,\r\n"), listed},
		"big endian":            {"BOOT.CSV", be("shimx64.efi,système,,"), listed},
		"without further":       {"bootaa64.csv", utf16le("shimx64.efi,système"), listed},
		"with a second line":    {"BOOTX64.CSV", utf16le("shimx64.efi,système,,\r\nother.efi,other,,\r\n"), listed},
		"with a NUL":            {"BOOTX64.CSV", utf16le("shimx64.efi,système,,\x00"), listed},
		"in another case":       {"BOOTX64.CSV", utf16le("SHIMX64.EFI,système,,"), efi.Entry{Label: "système", Loader: `\EFI\os\SHIMX64.EFI`}},
		"of nothing":            {"BOOTX64.CSV", "", removable},
		"in ASCII":              {"BOOTX64.CSV", "shimx64.efi,system,,\n", removable},
		"of an odd length":      {"BOOTX64.CSV", utf16le("shimx64.efi,système,,") + "x", listed},
		"of one field":          {"BOOTX64.CSV", utf16le("shimx64.efi"), removable},
		"of a file elsewhere":   {"BOOTX64.CSV", utf16le(`..\BOOT\BOOTX64.EFI,x`), removable},
		"of a file not there":   {"BOOTX64.CSV", utf16le("grubx64.efi,x"), removable},
		"of another name":       {"bootx64.csv.old", utf16le("shimx64.efi,système"), removable},
		"with half a character": {"BOOTX64.CSV", "\x00\xd8,\x00x\x00", removable},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			device := makeDisk(t, "gpt", map[string]string{"EFI/BOOT/BOOTX64.EFI": "x", "EFI/os/shimx64.efi": "x", "EFI/os/" + c.file: c.content})
			got, err := efi.Install(t.Context(), variables(t, nil), device, "")
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff([]efi.Entry{c.want}, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// FuzzInstall has other boot entries and an order as firmware may have them. Whatever
// they are, afterwards there is our entry, and first; those of other labels stay.
func FuzzInstall(f *testing.F) {
	device := filepath.Join(f.TempDir(), "disk")
	run(f, "truncate", "-s", "16M", device)
	d, err := disktest.Target(f, device).Open()
	if err != nil {
		f.Fatal(err)
	}
	defer d.Close()
	table, err := partition.Plan(d, partition.GPT, []partition.Wanted{{Size: 8 << 20, Type: partition.TypeESP}}, nil)
	if err != nil {
		f.Fatal(err)
	}
	s, err := d.Section(1<<20, 8<<20)
	if err != nil {
		f.Fatal(err)
	}
	if err := errors.Join(fat.Build(s, s.Size, 512, "ESP", 1, map[string][]byte{"BOOTX64.EFI": []byte("x")}), table.Commit(d)); err != nil {
		f.Fatal(err)
	}
	f.Add([]byte("\x07\x00\x00\x00\x01\x00\x00\x00\x04\x00i\x00r\x00o\x00n\x00i\x00c\x001\x00\x00\x00\x7f\xff\x04\x00"), []byte("\x07\x00\x00\x00\x00\x00\x00\x00\x05\x00"))
	f.Add([]byte("\x07"), []byte(""))
	f.Add([]byte("\x07\x00\x00\x00\x01\x00\x00\x00\xff\xffi\x00"), []byte("\x07\x00\x00\x00\x01"))
	f.Fuzz(func(t *testing.T, entry, order []byte) {
		vars := t.TempDir()
		for name, content := range map[string][]byte{"Boot0000": entry, "Boot00ZZ": entry, "Boot000": entry, "BootOrder": order} {
			if err := os.WriteFile(filepath.Join(vars, name+guid), content, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		entries, err := efi.Install(t.Context(), vars, device, "")
		if len(order) < 4 { // no attributes: no variable that a kernel shows
			return
		}
		if err != nil || len(entries) != 1 {
			t.Fatalf("%v, %v", entries, err)
		}
		if got := bootOrder(t, vars); len(got) == 0 || got[0] != entries[0].Number {
			t.Fatalf("BootOrder %d, the entry is %d", got, entries[0].Number)
		}
		kept, err := os.ReadFile(filepath.Join(vars, "Boot0000"+guid))
		if entries[0].Number != 0 && (err != nil || !bytes.Equal(kept, entry)) {
			t.Fatalf("an entry of another label is %q now (%v)", kept, err)
		}
	})
}
