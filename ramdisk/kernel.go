package ramdisk

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"unicode"
)

// ErrNoKernel is wrapped by errors about a kernel that is not installed or not usable.
var ErrNoKernel = errors.New("no kernel for the ramdisk")

const installKernel = "install the package linux-image-amd64 (Debian) or linux-image-generic (Ubuntu)"

// kernel is an installed kernel with its modules.
type kernel struct {
	release string
	image   string // path of the bzImage
	modules string // path of /lib/modules/RELEASE
}

// findKernel finds the kernel of a release, or the newest that is not a cloud kernel:
// Debian's lack IPMI, AHCI and e1000 (lab notes 4). root is "/" but in tests.
func findKernel(root, release string) (kernel, error) {
	base := filepath.Join(root, "lib/modules")
	if release != "" {
		return openKernel(root, release)
	}
	entries, err := os.ReadDir(base)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return kernel{}, fmt.Errorf("look for kernels: %w", err)
	}
	var releases []string
	for _, e := range entries {
		if !strings.Contains(e.Name(), "cloud") {
			releases = append(releases, e.Name())
		}
	}
	slices.SortFunc(releases, func(a, b string) int { return compareReleases(b, a) })
	var reasons []error
	for _, r := range releases {
		k, err := openKernel(root, r)
		if err == nil {
			return k, nil
		}
		reasons = append(reasons, err)
	}
	if len(reasons) > 0 {
		return kernel{}, reasons[0]
	}
	return kernel{}, fmt.Errorf("%w: %s has modules of none: %s", ErrNoKernel, base, installKernel)
}

func openKernel(root, release string) (kernel, error) {
	k := kernel{release: release, modules: filepath.Join(root, "lib/modules", release)}
	if _, err := os.Stat(filepath.Join(k.modules, "modules.dep")); err != nil {
		return kernel{}, fmt.Errorf("%w: %s has no modules in %s: %s", ErrNoKernel, release, k.modules, installKernel)
	}
	// Debian and Ubuntu keep the image in /boot; others beside the modules.
	for _, image := range []string{
		filepath.Join(root, "boot", "vmlinuz-"+release),
		filepath.Join(k.modules, "vmlinuz"),
	} {
		f, err := os.Open(image)
		if errors.Is(err, fs.ErrPermission) {
			return kernel{}, fmt.Errorf("%w: %s is readable for root only, as Ubuntu installs it: run \"sudo chmod a+r %s\", or build as root",
				ErrNoKernel, image, image)
		}
		if err == nil {
			f.Close()
			k.image = image
			return k, nil
		}
	}
	return kernel{}, fmt.Errorf("%w: %s has modules but no %s: %s", ErrNoKernel, release,
		filepath.Join(root, "boot", "vmlinuz-"+release), installKernel)
}

// compareReleases orders releases such as 6.1.0-56-amd64 by their numbers.
func compareReleases(a, b string) int {
	x, y := splitRelease(a), splitRelease(b)
	for i := 0; i < min(len(x), len(y)); i++ {
		m, errM := strconv.Atoi(x[i])
		n, errN := strconv.Atoi(y[i])
		c := strings.Compare(x[i], y[i])
		if errM == nil && errN == nil {
			c = m - n
		}
		if c != 0 {
			return c
		}
	}
	return len(x) - len(y)
}

// splitRelease splits into runs of digits and of letters.
func splitRelease(s string) []string {
	var parts []string
	for _, field := range strings.FieldsFunc(s, func(r rune) bool { return !unicode.IsDigit(r) && !unicode.IsLetter(r) }) {
		start := 0
		for i := 1; i < len(field); i++ {
			if unicode.IsDigit(rune(field[i])) != unicode.IsDigit(rune(field[i-1])) {
				parts = append(parts, field[start:i])
				start = i
			}
		}
		parts = append(parts, field[start:])
	}
	return parts
}
