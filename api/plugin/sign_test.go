package plugin

import (
	"bytes"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestSignRefuses: what is in the directory and cannot be in a bundle.
func TestSignRefuses(t *testing.T) {
	key, _ := testKey(1)
	for name, test := range map[string]struct {
		put    func(dir string) error
		want   error
		reason string
	}{
		"link out":            {func(dir string) error { return os.Symlink("/etc/passwd", filepath.Join(dir, "x")) }, ErrPath, `"x"`},
		"link up":             {func(dir string) error { return os.Symlink("../../x", filepath.Join(dir, "lib/x")) }, ErrPath, `"lib/x"`},
		"link to a directory": {func(dir string) error { return os.Symlink("lib", filepath.Join(dir, "x")) }, ErrPath, "link to a directory"},
		"dangling link":       {func(dir string) error { return os.Symlink("nothing", filepath.Join(dir, "x")) }, ErrPath, `"x"`},
		"loop":                {func(dir string) error { return os.Symlink("x", filepath.Join(dir, "x")) }, ErrPath, `"x"`},
		"FIFO":                {func(dir string) error { return syscall.Mkfifo(filepath.Join(dir, "x"), 0o644) }, ErrPath, "not a plain file"},
		"setuid":              {func(dir string) error { return os.Chmod(filepath.Join(dir, "acme"), 0o755|fs.ModeSetuid) }, ErrPath, "setuid"},
		"blank":               {func(dir string) error { return os.WriteFile(filepath.Join(dir, "read me"), nil, 0o644) }, ErrPath, "characters"},
		"newline":             {func(dir string) error { return os.WriteFile(filepath.Join(dir, "a\nb"), nil, 0o644) }, ErrPath, "characters"},
		"backslash":           {func(dir string) error { return os.WriteFile(filepath.Join(dir, `a\b`), nil, 0o644) }, ErrPath, "characters"},
		"folded":              {func(dir string) error { return os.WriteFile(filepath.Join(dir, "ACME"), nil, 0o644) }, ErrPath, "twice"},
		"manifest":            {func(dir string) error { return os.WriteFile(filepath.Join(dir, "PLUGIN.json"), nil, 0o644) }, ErrPath, "own"},
		"not executable":      {func(dir string) error { return os.Chmod(filepath.Join(dir, "acme"), 0o644) }, ErrManifest, "executable"},
		"no executable":       {func(dir string) error { return os.Remove(filepath.Join(dir, "acme")) }, ErrManifest, "executable"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := directory(t)
			if err := test.put(dir); err != nil {
				t.Fatal(err)
			}
			var out bytes.Buffer
			if _, err := Sign(&out, dir, acme(), key); !errors.Is(err, test.want) || !strings.Contains(err.Error(), test.reason) {
				t.Errorf("%v; want %v with %q", err, test.want, test.reason)
			}
			if out.Len() > 0 {
				t.Errorf("%d bytes were written", out.Len())
			}
		})
	}
}

// TestSignTakes: hidden files and what Python keeps are left out, links within
// are what they lead to, modes are reduced to executable or not, and neither
// times nor what an earlier manifest lists change the bytes.
func TestSignTakes(t *testing.T) {
	key, keys := testKey(1)
	before := signed(t, key)
	dir := directory(t)
	for name, text := range map[string]string{
		".git/config": "x", ".hidden": "x", "lib/__pycache__/x.pyc": "x", "lib/.x": "x", ManifestFile: "{}", SignatureFile: "x",
	} {
		write(t, filepath.Join(dir, name), text, 0o644)
	}
	if err := os.MkdirAll(filepath.Join(dir, "void/void"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(filepath.Join(dir, "acme"), 0o710); err != nil {
		t.Fatal(err)
	}
	m := acme()
	m.Files = []File{{Path: "old"}}
	var out bytes.Buffer
	if _, err := Sign(&out, dir, m, key); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(before, out.Bytes()) {
		t.Error("the bytes differ")
	}
	if err := os.Symlink("table.txt", filepath.Join(dir, "lib/again")); err != nil {
		t.Fatal(err)
	}
	out.Reset()
	got, err := Sign(&out, dir, m, key)
	if err != nil {
		t.Fatal(err)
	}
	again, table := got.Files[2], got.Files[3]
	again.Path = table.Path
	if diff := cmp.Diff(table, again); diff != "" {
		t.Errorf("a link (-file +link):\n%s", diff)
	}
	if _, err := Read(&out, keys, Options{}); err != nil {
		t.Error(err)
	}
}

// TestOutsideTools: GNU tar lists a bundle as it is meant, and openssl makes
// keys that sign, and verifies a signature as the documentation says.
func TestOutsideTools(t *testing.T) {
	dir := t.TempDir()
	private, public := filepath.Join(dir, "key.pem"), filepath.Join(dir, "key.pub")
	program(t, "openssl", "genpkey", "-algorithm", "ed25519", "-out", private)
	program(t, "openssl", "pkey", "-in", private, "-pubout", "-out", public)
	key, err := LoadPrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	keys, err := LoadKeys(dir)
	if err != nil {
		t.Fatal(err)
	}
	bundle := signed(t, key)
	b, err := Read(bytes.NewReader(bundle), keys, Options{})
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "acme.bundle")
	if err := os.WriteFile(file, bundle, 0o644); err != nil {
		t.Fatal(err)
	}
	var names []string
	for line := range strings.Lines(program(t, "tar", "--numeric-owner", "-tvf", file)) {
		fields := strings.Fields(line)
		names = append(names, strings.Join(append([]string{fields[0], fields[1]}, fields[3:]...), " "))
	}
	want := []string{
		"-rw-r--r-- 0/0 1970-01-01 00:00 plugin.json", "-rw-r--r-- 0/0 1970-01-01 00:00 plugin.sig",
		"-rwxr-xr-x 0/0 1970-01-01 00:00 acme", "-rw-r--r-- 0/0 1970-01-01 00:00 empty", "-rw-r--r-- 0/0 1970-01-01 00:00 lib/table.txt",
	}
	if diff := cmp.Diff(want, names); diff != "" {
		t.Errorf("tar -tv (-want +got):\n%s", diff)
	}
	program(t, "tar", "-xf", file, "-C", dir)
	sum, _, _ := strings.Cut(program(t, "sha256sum", filepath.Join(dir, ManifestFile)), " ")
	text, err := os.ReadFile(filepath.Join(dir, SignatureFile))
	if err != nil {
		t.Fatal(err)
	}
	var sig signature
	if err := json.Unmarshal(text, &sig); err != nil || sig.Key != b.Key {
		t.Fatal(err, sig)
	}
	if err := os.WriteFile(filepath.Join(dir, "text"), []byte("ferric plugin bundle 1\n"+sum+"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "raw"), sig.Ed25519, 0o644); err != nil {
		t.Fatal(err)
	}
	if out := program(t, "openssl", "pkeyutl", "-verify", "-pubin", "-inkey", public, "-rawin", "-in", filepath.Join(dir, "text"), "-sigfile", filepath.Join(dir, "raw")); !strings.Contains(out, "Verified Successfully") {
		t.Error(out)
	}
	der := program(t, "sh", "-c", "openssl pkey -pubin -in "+public+" -outform DER | sha256sum | cut -c1-32")
	if strings.TrimSpace(der) != b.Key {
		t.Errorf("id %s; the documentation says %s", b.Key, der)
	}
}

// TestLongPaths: paths that need both fields of a header are read again.
func TestLongPaths(t *testing.T) {
	key, keys := testKey(1)
	dir := directory(t)
	deep := strings.Repeat("directory/", 14) + strings.Repeat("n", 90)
	write(t, filepath.Join(dir, deep), "x", 0o644)
	var out bytes.Buffer
	if _, err := Sign(&out, dir, acme(), key); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "b")
	if err := os.WriteFile(file, out.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
	if list := program(t, "tar", "-tf", file); !strings.Contains(list, deep) {
		t.Errorf("tar -t: %s", list)
	}
	to := filepath.Join(t.TempDir(), "p")
	if _, err := Unpack(&out, to, keys, Options{}); err != nil {
		t.Fatal(err)
	}
	if text, err := os.ReadFile(filepath.Join(to, deep)); err != nil || string(text) != "x" {
		t.Errorf("%q, %v", text, err)
	}
}

// TestVerifyDir: whatever was changed in the directory of an unpacked bundle is
// found.
func TestVerifyDir(t *testing.T) {
	key, keys := testKey(1)
	_, others := testKey(2)
	bundle := signed(t, key)
	for name, test := range map[string]struct {
		change func(dir string) error
		keys   Keys
		want   error
	}{
		"nothing":    {func(string) error { return nil }, keys, nil},
		"other keys": {func(string) error { return nil }, others, ErrUnknownKey},
		"content": {func(dir string) error {
			return os.WriteFile(filepath.Join(dir, "acme"), []byte("#!/bin/sh\nexit 4\n"), 0o755)
		}, keys, ErrDigest},
		"size":         {func(dir string) error { return os.Truncate(filepath.Join(dir, "acme"), 3) }, keys, ErrSize},
		"mode":         {func(dir string) error { return os.Chmod(filepath.Join(dir, "empty"), 0o755) }, keys, ErrFormat},
		"setuid":       {func(dir string) error { return os.Chmod(filepath.Join(dir, "acme"), 0o755|fs.ModeSetuid) }, keys, ErrFormat},
		"gone":         {func(dir string) error { return os.Remove(filepath.Join(dir, "empty")) }, keys, ErrMissing},
		"surplus":      {func(dir string) error { return os.WriteFile(filepath.Join(dir, "lib/more"), nil, 0o644) }, keys, ErrSurplus},
		"hidden":       {func(dir string) error { return os.WriteFile(filepath.Join(dir, ".more"), nil, 0o644) }, keys, ErrSurplus},
		"manifest":     {func(dir string) error { return os.WriteFile(filepath.Join(dir, ManifestFile), []byte("{}"), 0o644) }, keys, ErrSignature},
		"no signature": {func(dir string) error { return os.Remove(filepath.Join(dir, SignatureFile)) }, keys, ErrMissing},
		"a link": {func(dir string) error {
			return errors.Join(os.Rename(filepath.Join(dir, "acme"), filepath.Join(dir, "../acme")), os.Symlink("../acme", filepath.Join(dir, "acme")))
		}, keys, ErrFormat},
		"a link to a directory": {func(dir string) error {
			return errors.Join(os.Rename(filepath.Join(dir, "lib"), filepath.Join(dir, "../lib")), os.Symlink("../lib", filepath.Join(dir, "lib")))
		}, keys, errAny},
		"all gone": {os.RemoveAll, keys, fs.ErrNotExist},
	} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "p")
			if _, err := Unpack(bytes.NewReader(bundle), dir, keys, Options{}); err != nil {
				t.Fatal(err)
			}
			if err := test.change(dir); err != nil {
				t.Fatal(err)
			}
			_, err := VerifyDir(dir, test.keys, Options{})
			if test.want == errAny && err == nil || test.want != errAny && !errors.Is(err, test.want) {
				t.Errorf("%v; want %v", err, test.want)
			}
		})
	}
}

var errAny = errors.New("any error")

// TestKeys: what is a key, and what is not.
func TestKeys(t *testing.T) {
	dir := t.TempDir()
	private, public, id, err := GenerateKey()
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "a.pub"), string(public), 0o644)
	write(t, filepath.Join(dir, "not-a-key.txt"), "x", 0o644)
	keys, err := LoadKeys(dir)
	if err != nil || len(keys) != 1 || keys.IDs()[0] != id {
		t.Fatal(keys, err)
	}
	write(t, filepath.Join(dir, "a.key"), string(private), 0o600)
	key, err := LoadPrivateKey(filepath.Join(dir, "a.key"))
	if err != nil || !keys[id].Equal(key.Public().(ed25519.PublicKey)) {
		t.Error(err)
	}
	other, _, _, err := GenerateKey()
	if err != nil || bytes.Equal(other, private) {
		t.Error("two keys are the same", err)
	}
	program(t, "openssl", "genrsa", "-out", filepath.Join(dir, "rsa.key"), "2048")
	program(t, "openssl", "rsa", "-in", filepath.Join(dir, "rsa.key"), "-pubout", "-out", filepath.Join(dir, "rsa.pub"))
	write(t, filepath.Join(dir, "empty.pub"), "", 0o644)
	write(t, filepath.Join(dir, "huge.pub"), strings.Repeat("x", maxKeyFile+1), 0o644)
	write(t, filepath.Join(dir, "private.pub"), string(private), 0o644)
	keys, err = LoadKeys(dir)
	if len(keys) != 1 || err == nil {
		t.Errorf("%d keys, %v; want one, and what is wrong with the others", len(keys), err)
	}
	for _, name := range []string{"rsa.pub", "empty.pub", "huge.pub", "private.pub"} {
		if !strings.Contains(err.Error(), name) {
			t.Errorf("%s is not named: %v", name, err)
		}
	}
	if _, err := LoadPrivateKey(filepath.Join(dir, "rsa.key")); err == nil {
		t.Error("an RSA key signs")
	}
	if keys, err := LoadKeys(filepath.Join(dir, "absent")); err != nil || len(keys) != 0 {
		t.Error(keys, err)
	}
}

// TestMinimumsFile: a file that cannot be understood is an error, for it would
// be no protection.
func TestMinimumsFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "minimums.json")
	if m, err := LoadMinimums(file); err != nil || len(m) != 0 {
		t.Error(m, err)
	}
	for text, ok := range map[string]bool{`{"acme":"1.2.0"}`: true, `{"acme":"1.2"}`: false, `["acme"]`: false, ``: false, `{"acme":2}`: false} {
		write(t, file, text, 0o644)
		m, err := LoadMinimums(file)
		if (err == nil) != ok || ok && m["acme"] != "1.2.0" {
			t.Errorf("%s: %v, %v", text, m, err)
		}
	}
}
