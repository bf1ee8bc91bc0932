package hwmtest

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sirupsen/logrus"

	"ferric/hwmanager"
)

// Machine makes the file trees that the file at path describes, below a
// directory that goes with the test, and returns the host that sees them: Sys
// is its directory "sys", Proc "proc", Dev "dev". The lines of the file are
//
//	PATH = CONTENT     a file; \n, \x00 and the like as in Go strings
//	PATH -> TARGET     a symbolic link, TARGET from the root of the tree
//	PATH : SIZE        a sparse file of so many bytes, for a disk below dev
//	# …                a comment
//
// Unless the file says otherwise, nothing is mounted. Nothing may be written to
// but what lies in dev.
func Machine(t testing.TB, path string) *hwmanager.Host {
	t.Helper()
	// A path with symbolic links in it would not match the guard's.
	root, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := grow(root, string(text)); err != nil {
		t.Fatalf("%s:%v", path, err)
	}
	log := logrus.New()
	log.SetOutput(io.Discard)
	return &hwmanager.Host{
		Sys: filepath.Join(root, "sys"), Proc: filepath.Join(root, "proc"), Dev: filepath.Join(root, "dev"),
		Etc: filepath.Join(root, "etc"),
		Run: hwmanager.Exec{}, Log: logrus.NewEntry(log),
		Guard:    hwmanager.DeviceGuard{Allowed: []string{filepath.Join(root, "dev/*")}},
		Settings: hwmanager.Settings{MD5Enabled: true, GuardSpecialFilesystems: true},
	}
}

// grow makes what a description in the notation of Machine says below root; an
// error begins with the number of the line.
func grow(root, text string) error {
	for i, line := range strings.Split(text, "\n") {
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		if err := build(root, line); err != nil {
			return fmt.Errorf("%d: %w", i+1, err)
		}
	}
	if _, err := os.Stat(filepath.Join(root, "proc/self/mountinfo")); err != nil {
		return build(root, `proc/self/mountinfo = 1 1 0:2 / / rw - rootfs none rw\n`)
	}
	return nil
}

// build makes what one line says.
func build(root, line string) error {
	path, rest, _ := strings.Cut(line, " ")
	if !filepath.IsLocal(path) {
		return fmt.Errorf("path %q leaves the tree", path)
	}
	full := filepath.Join(root, path)
	if err := os.MkdirAll(filepath.Dir(full), 0o755); err != nil {
		return err
	}
	kind, value, _ := strings.Cut(rest, " ")
	switch kind {
	case "=":
		var content string
		if _, err := fmt.Sscanf(`"`+value+`"`, "%q", &content); err != nil {
			return err
		}
		return os.WriteFile(full, []byte(content), 0o644)
	case "->":
		target, err := filepath.Rel(filepath.Dir(full), filepath.Join(root, value))
		if err != nil {
			return err
		}
		return os.Symlink(target, full)
	case ":":
		var size int64
		if _, err := fmt.Sscan(value, &size); err != nil {
			return err
		}
		f, err := os.Create(full)
		if err != nil {
			return err
		}
		defer f.Close()
		return f.Truncate(size)
	}
	return fmt.Errorf("line %q is not understood", line)
}
