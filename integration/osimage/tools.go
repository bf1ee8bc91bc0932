package osimage

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// packages names Debian's package of each program that is run here.
var packages = map[string]string{
	"grub-mkimage": "grub-common",
	"mke2fs":       "e2fsprogs",
	"mkfs.vfat":    "dosfstools",
	"mcopy":        "mtools",
	"mmd":          "mtools",
	"qemu-img":     "qemu-utils",
	"mmdebstrap":   "mmdebstrap",
	"go":           "golang",
	"ldd":          "libc-bin",
	"mdadm":        "mdadm",
}

// run runs a program with environment in addition to ours.
func run(ctx context.Context, env []string, name string, args ...string) ([]byte, error) {
	return runIn(ctx, "", env, name, args...)
}

func runIn(ctx context.Context, dir string, env []string, name string, args ...string) ([]byte, error) {
	path, err := program(name)
	if err != nil {
		return nil, err
	}
	var stdout, stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, &stdout, &stderr
	cmd.Env = append(os.Environ(), env...)
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("%s: %w: %s", name, err, lastLines(stderr.String()))
	}
	return stdout.Bytes(), nil
}

// program finds a program also where an ordinary user's PATH does not lead.
func program(name string) (string, error) {
	if path, err := exec.LookPath(name); err == nil {
		return path, nil
	}
	for _, dir := range []string{"/usr/sbin", "/sbin"} {
		if path, err := exec.LookPath(filepath.Join(dir, name)); err == nil {
			return path, nil
		}
	}
	return "", fmt.Errorf("program %s is missing: install %s", name, packages[name])
}

// lastLines is the end of a program's complaint, in one line.
func lastLines(text string) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	if len(lines) > 5 {
		lines = lines[len(lines)-5:]
	}
	return strings.Join(lines, "; ")
}

// needFile says which package has a file that is missing.
func needFile(path, pkg string) error {
	if _, err := os.Stat(path); errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("%s is missing: install %s", path, pkg)
	} else if err != nil {
		return err
	}
	return nil
}
