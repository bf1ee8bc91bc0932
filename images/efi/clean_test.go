package efi_test

import (
	"context"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ferric/images/efi"
)

func disk(file string) string {
	return node(4, 1, le(uint32(1), uint64(0x800), uint64(0x100000))+guidOf+"\x02\x02") + node(4, 4, wide(file)) + endOfPath
}

func setVariable(t *testing.T, dir, name, data string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, name+guid), []byte(le(uint32(7))+data), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestClean(t *testing.T) {
	dir := t.TempDir()
	addEntry(t, dir, 1, "debian", disk(`\EFI\debian\shimx64.efi`), "")
	addEntry(t, dir, 2, "setup", node(4, 7, guidOf)+node(4, 6, guidOf)+endOfPath, "HD(")
	addEntry(t, dir, 0xa, "windows", disk(`\EFI\Microsoft\Boot\bootmgfw.efi`), "WINDOWS")
	setVariable(t, dir, "Boot0003", "\x01")                                                // no label
	setVariable(t, dir, "Boot0004", le(uint32(1), uint16(0xffff))+wide("x")+"\x7f")        // path longer than all
	setVariable(t, dir, "Boot0005", le(uint32(1), uint16(4))+wide("x")+"\x04\x01\x00\x00") // node of no length
	setVariable(t, dir, "BootOrder", le(uint16(2), uint16(0xa), uint16(1), uint16(7)))
	setVariable(t, dir, "BootNext", le(uint16(0xa)))
	setVariable(t, dir, "BootCurrent", le(uint16(2)))

	deleted, unread, err := efi.Clean(context.Background(), dir, regexp.MustCompile(`^HD\(`).MatchString)
	if err != nil {
		t.Fatal(err)
	}
	want := []efi.Entry{
		{Number: 1, Label: "debian", Loader: `HD(1,GPT,` + theID + `,0x800,0x100000)/File(\EFI\debian\shimx64.efi)`},
		{Number: 0xa, Label: "windows", Loader: `HD(1,GPT,` + theID + `,0x800,0x100000)/File(\EFI\Microsoft\Boot\bootmgfw.efi)`},
	}
	if diff := cmp.Diff(want, deleted); diff != "" {
		t.Error(diff)
	}
	if len(unread) != 3 {
		t.Errorf("unread: %v; want Boot0003 to Boot0005", unread)
	}
	if diff := cmp.Diff([]uint16{2, 7}, bootOrder(t, dir)); diff != "" {
		t.Error(diff)
	}
	var left []string
	for _, f := range must(os.ReadDir(dir)) {
		left = append(left, strings.TrimSuffix(f.Name(), guid))
	}
	if diff := cmp.Diff([]string{"Boot0002", "Boot0003", "Boot0004", "Boot0005", "BootCurrent", "BootOrder"}, left); diff != "" {
		t.Error(diff)
	}
}

// TestCleanAll: a variable without data is none.
func TestCleanAll(t *testing.T) {
	dir := t.TempDir()
	addEntry(t, dir, 0, "only", disk(`\a.efi`), "")
	setVariable(t, dir, "BootOrder", le(uint16(0)))
	if _, _, err := efi.Clean(context.Background(), dir, func(string) bool { return true }); err != nil {
		t.Fatal(err)
	}
	if files := must(os.ReadDir(dir)); len(files) != 0 {
		t.Errorf("%d variables are left", len(files))
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func FuzzPathText(f *testing.F) {
	for _, c := range devicePaths {
		f.Add([]byte(c.path + endOfPath))
	}
	f.Add([]byte("\x7f\x01\x04\x00\x01\x01\x06\x00\x00\x00\x7f\xff\x04\x00"))
	f.Fuzz(func(t *testing.T, path []byte) {
		text, err := efi.PathText(path)
		if err == nil && strings.ContainsAny(text, "\x00\n\x1b") {
			t.Errorf("%q", text)
		}
	})
}
