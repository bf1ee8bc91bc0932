package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestPluginSign: a key, a bundle, and what verifies it.
func TestPluginSign(t *testing.T) {
	t.Chdir(t.TempDir())
	ferric := func(args ...string) (string, string, int) {
		t.Helper()
		var out, fault strings.Builder
		code := run(t.Context(), append([]string{"plugin"}, args...), strings.NewReader(""), &out, &fault)
		return out.String(), fault.String(), code
	}
	must := func(args ...string) string {
		t.Helper()
		out, fault, code := ferric(args...)
		if code != 0 {
			t.Fatalf("%v: %d %s", args, code, fault)
		}
		return out
	}
	put := func(path, text string, mode os.FileMode) {
		t.Helper()
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
	}
	must("keygen", "site")
	must("keygen", "other")
	if info, err := os.Stat("site.key"); err != nil || info.Mode() != 0o600 {
		t.Errorf("the key is %v, %v", info, err)
	}
	before, err := os.ReadFile("site.key")
	if err != nil {
		t.Fatal(err)
	}
	if _, fault, code := ferric("keygen", "site"); code != 1 || !strings.Contains(fault, "exists") {
		t.Errorf("a key is made again: %d %s", code, fault)
	}
	if after, err := os.ReadFile("site.key"); err != nil || string(after) != string(before) {
		t.Error("the key was overwritten", err)
	}
	put("acme/plugin.json", `{"name":"acme","version":"1.0.0","sdk":"1.0","executable":"run"}`, 0o644)
	put("acme/run", "#!/bin/sh\n", 0o755)
	put("acme/.git/config", "", 0o644)
	_, fault, code := ferric("sign", "acme", "--key", "site.key")
	if code != 0 || fault != "left out: acme/.git/\n" {
		t.Fatalf("%d %s", code, fault)
	}
	must("sign", "acme", "--key", "site.key", "--output", "again")
	one, err := os.ReadFile("acme-1.0.0.bundle")
	if err != nil {
		t.Fatal(err)
	}
	if two, err := os.ReadFile("again"); err != nil || string(one) != string(two) {
		t.Error("two bundles differ", err)
	}
	if out := must("verify", "acme-1.0.0.bundle", "--key", "other.pub", "--key", "site.pub", "--files"); !strings.Contains(out, "acme 1.0.0, 1 files") || !strings.Contains(out, "0755         10 ") {
		t.Error(out)
	}
	must("verify", "acme-1.0.0.bundle", "--key", ".")
	if _, fault, code := ferric("verify", "acme-1.0.0.bundle", "--key", "other.pub"); code != 1 || !strings.Contains(fault, "not trusted") {
		t.Errorf("%d %s", code, fault)
	}
	if _, fault, code := ferric("verify", "acme-1.0.0.bundle"); code != 2 || !strings.Contains(fault, "key") {
		t.Errorf("%d %s", code, fault)
	}
	if _, fault, code := ferric("sign", "acme", "--key", "site.key", "--output", "acme/out"); code != 1 || !strings.Contains(fault, "--output") {
		t.Errorf("%d %s", code, fault)
	}
	// What cannot be signed leaves the former bundle.
	if err := os.Symlink("/etc/passwd", "acme/link"); err != nil {
		t.Fatal(err)
	}
	if _, fault, code := ferric("sign", "acme", "--key", "site.key"); code != 1 || !strings.Contains(fault, `"link"`) {
		t.Errorf("%d %s", code, fault)
	}
	if after, err := os.ReadFile("acme-1.0.0.bundle"); err != nil || string(after) != string(one) {
		t.Error("the former bundle is gone", err)
	}
	if left, err := filepath.Glob(".*"); err != nil || len(left) > 0 {
		t.Errorf("%v is left, %v", left, err)
	}
	if err := os.Chmod("site.key", 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove("acme/link"); err != nil {
		t.Fatal(err)
	}
	if _, fault, _ := ferric("sign", "acme", "--key", "site.key"); !strings.Contains(fault, "read by others") {
		t.Errorf("no warning: %s", fault)
	}
}
