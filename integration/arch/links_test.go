package arch

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestLinks(t *testing.T) {
	top, pages := root(t), 0
	read := func(path string) (string, error) {
		path = filepath.Join(top, filepath.FromSlash(path))
		if info, err := os.Stat(path); err != nil || info.IsDir() {
			return "", err
		}
		text, err := os.ReadFile(path)
		return string(text), err
	}
	err := filepath.WalkDir(top, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && path != top && strings.HasPrefix(d.Name(), "."):
			return fs.SkipDir
		case d.IsDir() || !strings.HasSuffix(path, ".md"):
			return nil
		}
		pages++
		name, err := filepath.Rel(top, path)
		if err != nil {
			return err
		}
		text, err := read(name)
		report(t, LinkFaults(filepath.ToSlash(name), text, read))
		return err
	})
	if err != nil || pages < 10 {
		t.Fatalf("%d pages, %v", pages, err)
	}
}

func TestLinkRules(t *testing.T) {
	read := func(path string) (string, error) {
		if path == "docs/raid.md" {
			return "# RAID\n\n## What `--wait` does, in brief\n", nil
		}
		return "", errors.New("not there")
	}
	tests := []struct{ text, fault string }{
		{"[RAID](docs/raid.md)", ""},
		{"[RAID](docs/raid.md#what---wait-does-in-brief)", ""},
		{"[RAID](docs/raid.md#elsewhere)", "names a section"},
		{"[RAID](raid.md)", "leads nowhere"},
		{"# Here\n[there](#here), [nowhere](#nowhere)", "#nowhere names"},
		{"[elsewhere](https://example.org/x)", ""},
		{"`[a](b)`\n```sh\n[a](b)\n```\n", ""},
	}
	for _, test := range tests {
		faults := LinkFaults("README.md", test.text, read)
		if got := strings.Join(faults, "\n"); len(faults) > 1 || (got == "") != (test.fault == "") || !strings.Contains(got, test.fault) {
			t.Errorf("%s: %q; want %q", test.text, got, test.fault)
		}
	}
}
