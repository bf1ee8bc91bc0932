package osimage

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// kernel is a kernel of the distribution and its modules.
type kernel struct {
	path    string // /boot/vmlinuz-6.1.0-56-amd64
	modules string // /lib/modules/6.1.0-56-amd64
}

// findKernel takes what is given, or the newest kernel of /boot that has
// modules and is not a cloud kernel, which lacks AHCI.
func findKernel(path, modules string) (kernel, error) {
	if path != "" && modules != "" {
		return kernel{path, modules}, nil
	}
	if path != "" || modules != "" {
		return kernel{}, errors.New("a kernel and its modules must be given together")
	}
	paths, _ := filepath.Glob("/boot/vmlinuz-*") // the pattern is well-formed
	slices.SortFunc(paths, compareVersions)
	for _, path := range slices.Backward(paths) {
		version := strings.TrimPrefix(filepath.Base(path), "vmlinuz-")
		modules := filepath.Join("/lib/modules", version)
		if _, err := os.Stat(filepath.Join(modules, "modules.dep")); err != nil || strings.Contains(version, "cloud") {
			continue
		}
		f, err := os.Open(path)
		if err != nil {
			return kernel{}, fmt.Errorf("kernel cannot be read (Ubuntu keeps it for root): %w", err)
		}
		f.Close()
		return kernel{path, modules}, nil
	}
	return kernel{}, errors.New("no full kernel in /boot with modules in /lib/modules: install linux-image-amd64 (Debian) or linux-image-generic (Ubuntu)")
}

// compareVersions compares runs of digits as numbers: 6.1.0-9 is before
// 6.1.0-56.
func compareVersions(a, b string) int {
	for a != "" && b != "" {
		i, j := digits(a), digits(b)
		if i > 0 && j > 0 {
			x, y := strings.TrimLeft(a[:i], "0"), strings.TrimLeft(b[:j], "0")
			if len(x) != len(y) {
				return len(x) - len(y)
			}
			if x != y {
				return strings.Compare(x, y)
			}
			a, b = a[i:], b[j:]
			continue
		}
		if a[0] != b[0] {
			return int(a[0]) - int(b[0])
		}
		a, b = a[1:], b[1:]
	}
	return len(a) - len(b)
}

func digits(s string) int {
	n := 0
	for n < len(s) && s[n] >= '0' && s[n] <= '9' {
		n++
	}
	return n
}
