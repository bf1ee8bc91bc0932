package efi

import (
	"os"
	"path/filepath"
	"testing"
)

// TestIndications: what is asked for already stays.
func TestIndications(t *testing.T) {
	dir := t.TempDir()
	if bits, err := Indications(dir); bits != 0 || err != nil {
		t.Errorf("none: %#x, %v", bits, err)
	}
	variable := func(name string) string { return filepath.Join(dir, name+"-"+globalGUID) }
	for name, content := range map[string]string{
		"OsIndicationsSupported": "\x06\x00\x00\x00\x0d\x00\x00\x00\x00\x00\x00\x00",
		"OsIndications":          "\x07\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00",
	} {
		if err := os.WriteFile(variable(name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if bits, err := Indications(dir); bits != 0xd || err != nil {
		t.Errorf("supported: %#x, %v", bits, err)
	}
	for range 2 {
		if err := Indicate(dir, FileCapsules); err != nil {
			t.Fatal(err)
		}
	}
	if got, _ := os.ReadFile(variable("OsIndications")); string(got) != "\x07\x00\x00\x00\x05\x00\x00\x00\x00\x00\x00\x00" {
		t.Errorf("%x", got)
	}
	if err := os.WriteFile(variable("OsIndications"), []byte("\x07\x00\x00\x00\x05"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := Indicate(dir, FileCapsules); err == nil {
		t.Error("a damaged variable is taken")
	}
}
