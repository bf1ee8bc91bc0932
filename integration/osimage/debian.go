package osimage

import (
	"context"
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

const (
	debianSuite = "bookworm"
	// debianRootBytes leaves as much again as the packages need.
	debianRootBytes = 1536 * mib
)

// debianSources are where the packages come from.
var debianSources = []string{
	"deb http://deb.debian.org/debian bookworm main",
	"deb http://deb.debian.org/debian bookworm-updates main",
	"deb http://deb.debian.org/debian-security bookworm-security main",
}

// debianPackages are the packages of the full system beside the essential
// ones. The cloud kernel has no AHCI: it boots from virtio and NVMe disks.
var debianPackages = []string{
	"cloud-init", "ifupdown", "initramfs-tools", "isc-dhcp-client", "linux-image-cloud-amd64",
	"openssh-server", "sudo", "systemd-sysv",
}

// debianGrub is the full system's /boot/grub/grub.cfg; the names of kernel and
// initrd are links that the kernel's package keeps.
const debianGrub = `serial --unit=0 --speed=115200
terminal_output serial
linux /vmlinuz root=PARTUUID=` + rootGUID + ` ro console=ttyS0,115200n8 no_timer_check quiet panic=5
initrd /initrd.img
boot
`

// debianCustomize runs as root of the new system: it adds our files and makes
// the file system, as long as the owners of all files are at hand.
//
//go:embed debian.sh
var debianCustomize string

// BuildDebian makes a Debian 12 with cloud-init that reads config drives, or
// finds it in the cache: some minutes, network access, and root or the right
// to user namespaces of one's own. The cache does not see new versions of
// packages; delete the entry to have them.
func BuildDebian(ctx context.Context, cacheDir string) (*Image, error) {
	image, err := buildDebian(ctx, cacheDir)
	if err != nil {
		return nil, fmt.Errorf("debian image: %w", err)
	}
	return image, nil
}

func buildDebian(ctx context.Context, cacheDir string) (*Image, error) {
	work, err := workDir(cacheDir)
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(work)
	loaders, err := makeLoaders(ctx, work, false)
	if err != nil {
		return nil, err
	}
	return cached(cacheDir, "debian-"+debianKey(), func(dir string) (*Image, error) {
		raw := filepath.Join(dir, "disk.raw")
		d := diskLayout{rootBytes: debianRootBytes}
		if err := d.create(raw, loaders); err != nil {
			return nil, err
		}
		if err := d.makeESP(ctx, raw, work, loaders); err != nil {
			return nil, err
		}
		if err := debianRoot(ctx, raw, work, d.mke2fs(raw)); err != nil {
			return nil, err
		}
		return convert(ctx, raw)
	})
}

func debianKey() string {
	h := sha256.Sum256([]byte(strings.Join(append(debianPackages, append(debianSources, debianCustomize, debianGrub, strconv.Itoa(debianRootBytes))...), "\n")))
	return hex.EncodeToString(h[:])[:16]
}

// debianRoot installs the packages in a directory and makes the root partition
// of it.
func debianRoot(ctx context.Context, raw, work string, mke2fs []string) error {
	script, grub := filepath.Join(work, "debian.sh"), filepath.Join(work, "grub.cfg")
	for path, content := range map[string]string{script: debianCustomize, grub: debianGrub} {
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			return err
		}
	}
	// In a namespace of its own, root is another user than ours.
	for path, mode := range map[string]os.FileMode{work: 0o755, filepath.Dir(raw): 0o755, raw: 0o666} {
		if err := os.Chmod(path, mode); err != nil {
			return err
		}
	}
	defer os.Chmod(raw, 0o644)

	tool, err := program("mke2fs")
	if err != nil {
		return err
	}
	hook := []string{"sh", "-e", script, `"$1"`, grub, rootGUID, tool}
	for _, arg := range mke2fs {
		hook = append(hook, "'"+arg+"'") // none has a quote: paths of ours and numbers
	}
	args := []string{"--variant=minbase", "--format=null", "--include=" + strings.Join(debianPackages, ","),
		"--dpkgopt=path-exclude=/usr/share/man/*", "--dpkgopt=path-exclude=/usr/share/locale/*",
		"--dpkgopt=path-exclude=/usr/share/doc/*", "--dpkgopt=path-include=/usr/share/doc/*/copyright",
		"--customize-hook=" + strings.Join(hook, " "), debianSuite, "/dev/null"}
	_, err = run(ctx, nil, "mmdebstrap", append(args, debianSources...)...)
	return err
}
