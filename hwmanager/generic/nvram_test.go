package generic

import (
	"context"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf16"

	"github.com/google/go-cmp/cmp"

	"ferric/api/ipa"
	"ferric/hwmanager"
)

const globalVariable = "-8be4df61-93ca-11d2-aa0d-00e098032b8c"

// bootVariable writes a boot entry for a file, on a partition if disk is set,
// else in a vendor's path.
func bootVariable(t *testing.T, dir string, number int, file string, disk bool) {
	t.Helper()
	wide := func(s string) []byte {
		var b []byte
		for _, c := range utf16.Encode([]rune(s + "\x00")) {
			b = binary.LittleEndian.AppendUint16(b, c)
		}
		return b
	}
	var path []byte
	if disk {
		path = append([]byte{4, 1, 42, 0}, make([]byte, 38)...)
		path[40], path[41] = 2, 2
	} else {
		path = append([]byte{1, 4, 20, 0}, make([]byte, 16)...)
	}
	name := wide(file)
	path = append(path, 4, 4, byte(4+len(name)), 0)
	path = append(append(path, name...), 0x7f, 0xff, 4, 0)
	data := binary.LittleEndian.AppendUint16([]byte{7, 0, 0, 0, 1, 0, 0, 0}, uint16(len(path)))
	data = append(append(data, wide(fmt.Sprint("entry ", number))...), path...)
	if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("Boot%04X%s", number, globalVariable)), data, 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestCleanNVRAM(t *testing.T) {
	for _, c := range []struct {
		name     string
		args     map[string]any
		bios     bool
		left     []string
		result   any
		mistaken string
	}{
		{name: "by default", left: []string{"Boot0003"}, result: map[string]string{"result": "boot entries deleted: Boot0000 (entry 0), Boot0001 (entry 1), Boot0002 (entry 2)"}},
		{name: "null is the default", args: map[string]any{"match_patterns": nil}, left: []string{"Boot0003"}, result: map[string]string{"result": "boot entries deleted: Boot0000 (entry 0), Boot0001 (entry 1), Boot0002 (entry 2)"}},
		{name: "by pattern, in whatever case", args: map[string]any{"match_patterns": []any{`VENDOR\.efi\)$`}}, left: []string{"Boot0000", "Boot0001", "Boot0002"}, result: map[string]string{"result": "boot entries deleted: Boot0003 (entry 3)"}},
		{name: "no pattern matches nothing", args: map[string]any{"match_patterns": []any{}}, left: []string{"Boot0000", "Boot0001", "Boot0002", "Boot0003"}},
		{name: "BIOS", bios: true, left: []string{"Boot0000", "Boot0001", "Boot0002", "Boot0003"}},
		{name: "text", args: map[string]any{"match_patterns": "HD"}, mistaken: "must be a list of strings"},
		{name: "number", args: map[string]any{"match_patterns": []any{"HD", 7.0}}, mistaken: "7 is not a string"},
		{name: "expression", args: map[string]any{"match_patterns": []any{"("}}, mistaken: `"(" is not a regular expression`},
		{name: "expression of Python", args: map[string]any{"match_patterns": []any{"(?!HD)"}}, mistaken: "without look-around"},
		{name: "expression, under BIOS", bios: true, args: map[string]any{"match_patterns": []any{"("}}, mistaken: "is not a regular expression"},
		{name: "argument", args: map[string]any{"patterns": []any{"HD"}}, mistaken: "unexpected argument patterns"},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := lab(t)
			firmware := filepath.Join(h.Sys, "firmware/efi")
			vars := filepath.Join(firmware, "efivars")
			if err := os.RemoveAll(firmware); err != nil {
				t.Fatal(err)
			}
			if err := os.MkdirAll(vars, 0o755); err != nil {
				t.Fatal(err)
			}
			bootVariable(t, vars, 0, `\EFI\BOOT\BOOTX64.EFI`, true)
			bootVariable(t, vars, 1, `\EFI\debian\SHIMX64.EFI`, false)
			bootVariable(t, vars, 2, `\EFI\debian\grubx64.efi`, false)
			bootVariable(t, vars, 3, `\vendor.efi`, false)
			if c.bios {
				moved := filepath.Join(t.TempDir(), "efi")
				if err := os.Rename(firmware, moved); err != nil {
					t.Fatal(err)
				}
				vars = filepath.Join(moved, "efivars")
			}
			result, err := New().cleanNVRAM(context.Background(), h, hwmanager.StepCall{Args: c.args})
			if c.mistaken != "" {
				if !ipa.InvalidCommandParams.Is(err) || !strings.Contains(err.Error(), c.mistaken) {
					t.Fatalf("error = %v; want %q", err, c.mistaken)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.result, result); diff != "" {
				t.Error(diff)
			}
			var left []string
			files, err := os.ReadDir(vars)
			if err != nil {
				t.Fatal(err)
			}
			for _, f := range files {
				left = append(left, strings.TrimSuffix(f.Name(), globalVariable))
			}
			if diff := cmp.Diff(c.left, left); diff != "" {
				t.Error(diff)
			}
		})
	}
}
