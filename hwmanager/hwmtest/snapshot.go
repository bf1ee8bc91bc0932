package hwmtest

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sort"
	"syscall"
)

// tree is what a machine's directory holds: a line for each path.
type tree map[string]string

// maxHashed is up to which size files are compared by what they hold; larger ones
// by their times and the room that they take.
const maxHashed = 4 << 20

// snapshot reads the directory at root.
func snapshot(root string) (tree, error) {
	t := tree{}
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		what := info.Mode().String()
		switch {
		case info.Mode()&fs.ModeSymlink != 0:
			link, err := os.Readlink(path)
			if err != nil {
				return err
			}
			what += " " + link
		case info.Mode().IsRegular() && info.Size() <= maxHashed:
			content, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			what += fmt.Sprintf(" %x", sha256.Sum256(content))
		case info.Mode().IsRegular():
			what += fmt.Sprintf(" %d %d", info.Size(), info.ModTime().UnixNano())
			if stat, isUnix := info.Sys().(*syscall.Stat_t); isUnix {
				what += fmt.Sprintf(" %d %d", stat.Blocks, stat.Ctim.Nano())
			}
		}
		t[rel] = what
		return nil
	})
	return t, err
}

// changes are the paths that differ between two trees.
func (t tree) changes(after tree) []string {
	var paths []string
	for path, what := range t {
		if now, there := after[path]; !there {
			paths = append(paths, path+" (gone)")
		} else if now != what {
			paths = append(paths, path)
		}
	}
	for path := range after {
		if _, there := t[path]; !there {
			paths = append(paths, path+" (new)")
		}
	}
	sort.Strings(paths)
	return paths
}

// watch begins to watch what a machine shows; what it returns tells what has
// changed since. What programs keep elsewhere in their FAKE_HOST does not count.
func watch(f *Fake) func() []string {
	read := func() (tree, error) {
		all := tree{}
		for _, dir := range []string{f.Sys, f.Proc, f.Dev, f.Etc} {
			part, err := snapshot(dir)
			if err != nil {
				return nil, err
			}
			for path, what := range part {
				all[filepath.Join(filepath.Base(dir), path)] = what
			}
		}
		return all, nil
	}
	before, failure := read()
	return func() []string {
		after, err := read()
		if err := errors.Join(failure, err); err != nil {
			return []string{err.Error()}
		}
		return before.changes(after)
	}
}
