package ramdisk

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestOwnLibraries: the libraries that a plugin brings lie with it alone, not where they were.
func TestOwnLibraries(t *testing.T) {
	source := filepath.Join(t.TempDir(), "acme")
	write(t, source, map[string]string{"plugin.json": `{"name": "acme", "version": "1.0.0", "sdk": "1.0", "executable": "bin/acme"}`, "bin/acme": "#!", "lib/libc.so.6": ""})
	for from, to := range map[string]string{"/bin/true": "bin/acme", "/lib/x86_64-linux-gnu/libc.so.6": "lib/libc.so.6"} {
		content, err := os.ReadFile(from)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(source, to), content, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("LD_LIBRARY_PATH", filepath.Join(source, "lib")) // as its run path would have it
	b := &builder{options: Options{Plugins: []string{source}}, archive: newArchive(), manifest: newManifest(Virtual)}
	if err := b.plugins(); err != nil {
		t.Fatal(err)
	}
	if !b.archive.has("/usr/lib/ferric/plugins/acme/lib/libc.so.6") {
		t.Error("its library is not in the ramdisk")
	}
	for name := range b.archive.content {
		if strings.HasPrefix("/"+name, source) {
			t.Errorf("%s is where it was on this machine", name)
		}
	}
}
