package plugin

import (
	"bytes"
	"crypto/ed25519"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// testKey is a key pair that is the same each time.
func testKey(seed byte) (ed25519.PrivateKey, Keys) {
	key := ed25519.NewKeyFromSeed(bytes.Repeat([]byte{seed}, ed25519.SeedSize))
	keys, err := NewKeys(key.Public().(ed25519.PublicKey))
	if err != nil {
		panic(err)
	}
	return key, keys
}

func write(t *testing.T, path, text string, mode fs.FileMode) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
}

func acme() Manifest {
	return Manifest{Name: "acme", Version: "1.2.0", SDK: "1.0", Executable: "acme"}
}

// directory is that of a plugin.
func directory(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "acme")
	write(t, filepath.Join(dir, "acme"), "#!/bin/sh\nexit 3\n", 0o755)
	write(t, filepath.Join(dir, "lib/table.txt"), strings.Repeat("row\n", 500), 0o600)
	write(t, filepath.Join(dir, "empty"), "", 0o644)
	return dir
}

// signed is that directory as a bundle.
func signed(t *testing.T, key ed25519.PrivateKey) []byte {
	t.Helper()
	var bundle bytes.Buffer
	if _, err := Sign(&bundle, directory(t), acme(), key); err != nil {
		t.Fatal(err)
	}
	return bundle.Bytes()
}

// TestRoundTrip: what was signed is read, and unpacked as it was.
func TestRoundTrip(t *testing.T) {
	key, keys := testKey(1)
	bundle := signed(t, key)
	if again := signed(t, key); !bytes.Equal(bundle, again) {
		t.Error("the same directory and key give other bytes")
	}
	read, err := Read(bytes.NewReader(bundle), keys, Options{})
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "acme-1.2.0")
	unpacked, err := Unpack(bytes.NewReader(bundle), dir, keys, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(read, unpacked); diff != "" || read.Size != int64(len(bundle)) || read.Key != keys.IDs()[0] {
		t.Errorf("read %+v; unpacked (-read +unpacked):\n%s", read, diff)
	}
	var paths []string
	for _, f := range unpacked.Files {
		info, err := os.Stat(filepath.Join(dir, f.Path))
		if err != nil || info.Size() != f.Size || info.Mode() != fs.FileMode(f.Mode) {
			t.Errorf("%s: %v, %v", f.Path, info, err)
		}
		paths = append(paths, f.Path)
	}
	if diff := cmp.Diff([]string{"acme", "empty", "lib/table.txt"}, paths); diff != "" {
		t.Error(diff)
	}
	again, err := VerifyDir(dir, keys, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(read.Manifest, again.Manifest); diff != "" {
		t.Error(diff)
	}
	if _, err := Unpack(bytes.NewReader(bundle), dir, keys, Options{}); !errors.Is(err, fs.ErrExist) {
		t.Errorf("unpacked over what was there: %v", err)
	}
	if _, err := os.Stat(filepath.Join(dir, "acme")); err != nil {
		t.Errorf("what was there is gone: %v", err)
	}
}

// program runs a tool that judges the format independently.
func program(t *testing.T, name string, args ...string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	cmd := exec.Command(path, args...)
	cmd.Env = append(os.Environ(), "LC_ALL=C", "TZ=UTC")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s %v: %v\n%s", name, args, err, out)
	}
	return string(out)
}
