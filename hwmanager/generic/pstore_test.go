package generic

import (
	"context"
	"os"
	"path/filepath"
	"testing"
)

func TestErasePstore(t *testing.T) {
	h := lab(t)
	if err := os.WriteFile(filepath.Join(h.Proc, "mounts"), []byte("rootfs / rootfs rw 0 0\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if result, err := New().erasePstore(context.Background(), h, call(nil)); result != nil || err != nil {
		t.Errorf("without pstore: %v, %v", result, err)
	}

	outside := t.TempDir()
	dir := filepath.Join(t.TempDir(), "with blank\\")
	for _, name := range []string{filepath.Join(dir, "dmesg-efi-1"), filepath.Join(dir, "sub/console-ramoops-0"), filepath.Join(outside, "kept")} {
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte("oops"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink(outside, filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	mounts := "rootfs / rootfs rw 0 0\npstore " + filepath.Dir(dir) + `/with\040blank\134` + " pstore rw 0 0\n"
	if err := os.WriteFile(filepath.Join(h.Proc, "mounts"), []byte(mounts), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := New().erasePstore(context.Background(), h, call(nil)); err != nil {
		t.Fatal(err)
	}
	left, err := os.ReadDir(dir)
	if err != nil || len(left) > 0 {
		t.Errorf("pstore holds %v, %v; want nothing", left, err)
	}
	if _, err := os.Stat(filepath.Join(outside, "kept")); err != nil {
		t.Errorf("what a link leads to: %v", err)
	}

	if err := os.Remove(filepath.Join(h.Proc, "mounts")); err != nil {
		t.Fatal(err)
	}
	if _, err := New().erasePstore(context.Background(), h, call(nil)); err == nil {
		t.Error("mounts that cannot be read are no error")
	}
}
