package osimage

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// InstallerRootMiB is enough for root_mb with the partition image that has
// GRUB's installer, without ballast.
const InstallerRootMiB = 80

// installerPrograms are what GRUB's installer consists of, in Debian's places:
// the installer, what makes its menu, and what both ask: udevadm where
// a partition of a loop device begins.
var installerPrograms = []string{
	"/usr/bin/udevadm",
	"/usr/sbin/grub-install", "/usr/sbin/grub-mkconfig", "/usr/sbin/grub-probe", "/usr/bin/grub-editenv",
	"/usr/bin/grub-file", "/usr/bin/grub-mkrelpath", "/usr/bin/grub-script-check", "/usr/share/grub/grub-mkconfig_lib",
	"/etc/grub.d/00_header", "/etc/grub.d/10_linux",
}

const (
	biosModules = "/usr/lib/grub/i386-pc"
	busybox     = "/usr/bin/busybox"
	mdadm       = "/usr/sbin/mdadm"
)

// busyboxNames are the programs that the scripts among them run.
var busyboxNames = []string{
	"awk", "basename", "cat", "chmod", "cut", "dirname", "echo", "env", "expr", "false", "find", "grep", "head", "id", "ls", "mkdir",
	"mktemp", "mv", "od", "printf", "readlink", "rm", "sed", "sh", "sort", "stat", "tail", "test", "tr", "true", "uname", "uniq", "wc",
}

// installerDefaults is /etc/default/grub: the menu says on the serial line what
// the image's own grub.cfg says, and that it was generated.
const installerDefaults = `GRUB_DEFAULT=0
GRUB_TIMEOUT=0
GRUB_DISTRIBUTOR=ferric
GRUB_DISABLE_RECOVERY=true
GRUB_TERMINAL=serial
GRUB_SERIAL_COMMAND="serial --unit=0 --speed=115200"
GRUB_CMDLINE_LINUX="console=ttyS0,115200n8 no_timer_check quiet loglevel=4 panic=5 ferric.menu=generated"
`

// installer is GRUB's installer as the distribution has it, with what it needs
// to run in a system that has nothing else.
type installer struct {
	files []string          // copied to the same place
	links map[string]string // to the place of another
}

// findInstaller fails if a part of it is not installed here. For a root on an
// array it has mdadm, which GRUB's programs ask for the array's UUID (grub 2.06,
// grub-core/osdep/linux/getroot.c).
func findInstaller(ctx context.Context, array bool) (*installer, error) {
	for path, pkg := range map[string]string{
		"/usr/sbin/grub-install": "grub2-common", "/usr/sbin/grub-probe": "grub-common", "/usr/bin/udevadm": "udev", busybox: "busybox-static", filepath.Join(biosModules, "normal.mod"): "grub-pc-bin",
	} {
		if err := needFile(path, pkg); err != nil {
			return nil, err
		}
	}
	in := &installer{files: []string{busybox}, links: map[string]string{
		"/bin": "usr/bin",
		// Where the menu's script looks for kernels with their initrds.
		"/boot/vmlinuz-1": "vmlinuz", "/boot/initrd.img-1": "initrd.img",
	}}
	for _, name := range busyboxNames {
		in.links["/usr/bin/"+name] = "busybox"
	}
	programs := installerPrograms
	if array {
		if err := needFile(mdadm, "mdadm"); err != nil {
			return nil, err
		}
		programs = append(slices.Clone(programs), mdadm)
	}
	libraries := map[string]bool{}
	for _, path := range programs {
		in.files = append(in.files, path)
		if strings.HasPrefix(path, "/etc/") || strings.HasSuffix(path, "mkconfig") || strings.HasSuffix(path, "_lib") {
			continue // a script
		}
		out, err := run(ctx, nil, "ldd", path)
		if err != nil {
			return nil, err
		}
		for word := range strings.FieldsSeq(string(out)) {
			if strings.HasPrefix(word, "/") && !libraries[word] {
				libraries[word] = true
				in.files = append(in.files, word)
			}
		}
	}
	modules, err := filepath.Glob(filepath.Join(biosModules, "*"))
	if err != nil {
		return nil, err
	}
	in.files = append(in.files, modules...)
	return in, nil
}

// layOut puts it below root.
func (in *installer) layOut(root string) error {
	for _, path := range in.files {
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		info, err := os.Stat(path)
		if err != nil {
			return err
		}
		if err := layFile(filepath.Join(root, path), content, info.Mode().Perm()); err != nil {
			return err
		}
	}
	for path, target := range in.links {
		path = filepath.Join(root, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := os.Symlink(target, path); err != nil {
			return err
		}
	}
	for _, dir := range []string{"dev", "proc", "run", "sys", "tmp"} {
		if err := os.MkdirAll(filepath.Join(root, dir), 0o755); err != nil {
			return err
		}
	}
	return layFile(filepath.Join(root, "etc/default/grub"), []byte(installerDefaults), 0o644)
}

func layFile(path string, content []byte, mode fs.FileMode) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return fmt.Errorf("lay out GRUB's installer: %w", err)
	}
	_, err = f.Write(content)
	return errors.Join(err, f.Close())
}
