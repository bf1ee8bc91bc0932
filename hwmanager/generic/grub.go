package generic

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"ferric/hwmanager"
	"ferric/images/disk"
	"ferric/images/partition"
)

// runGRUB has the GRUB of the system on the disk install itself, in a chroot:
// the agent contract's section "install_bootloader", step 3. It runs code of
// the image with all rights, so it has to be allowed by configuration.
func (m *Manager) runGRUB(ctx context.Context, h *hwmanager.Host, target disk.Target, req hwmanager.BootloaderRequest) error {
	path, uefi := target.Path(), bootedUEFI(h)
	if !uefi && req.ESPUUID == "" && req.PRePUUID == "" {
		has, err := hasBootCode(path)
		if err != nil {
			return err
		}
		if has {
			h.Log.WithField("device", path).Info("the disk has a boot sector already")
			return nil
		}
	}
	on, err := findRoot(target, req)
	if err != nil {
		return err
	}
	if uefi && on.esp.Number == 0 {
		return fmt.Errorf("%s has no EFI system partition to install to", path)
	}
	return on.installGRUB(ctx, h, uefi, nothingFirst, target)
}

// nothingFirst prepares nothing in a system before its GRUB is run.
func nothingFirst(*os.Root) error { return nil }

// installGRUB has the system's GRUB install itself on the disks, after what is
// to be prepared in its files.
func (on *installed) installGRUB(ctx context.Context, h *hwmanager.Host, uefi bool, prepare func(root *os.Root) error, disks ...disk.Target) error {
	return on.mounted(ctx, 0, func(dir string, root *os.Root) error {
		grub, err := grubName(root)
		if err != nil {
			return err
		}
		if err := prepare(root); err != nil {
			return err
		}
		unname, err := on.nameRoot(h)
		if err != nil {
			return err
		}
		unmount, err := on.mountKernel(h, dir, root, uefi)
		if err == nil {
			err = grubCommands(ctx, h, dir, grub, uefi, disks...)
		}
		return errors.Join(err, unmount(), unname())
	})
}

func hasBootCode(path string) (bool, error) {
	d, err := disk.OpenReadOnly(path)
	if err != nil {
		return false, err
	}
	defer d.Close()
	code := make([]byte, partition.BootCode)
	if _, err := d.ReadAt(code, 0); err != nil {
		return false, fmt.Errorf("read boot sector of %s: %w", path, err)
	}
	return strings.Trim(string(code), "\x00") != "", nil
}

// grubName is how the distribution calls GRUB: "grub2" or "grub".
func grubName(root *os.Root) (string, error) {
	for _, name := range []string{"grub2", "grub"} {
		for _, dir := range []string{"usr/sbin", "sbin", "usr/bin"} {
			if _, err := root.Stat(filepath.Join(dir, name+"-install")); err == nil {
				return name, nil
			}
		}
	}
	return "", errors.New("the image has neither grub2-install nor grub-install")
}

// nameRoot makes the link by which GRUB's menu names the root file system. Its
// generator (grub 2.06, util/grub.d/10_linux.in) takes root=UUID= only if
// /dev/disk/by-uuid has it, and where udev is absent, as in the ramdisk, it would
// take the name that the disk has now: another system calls it otherwise. The
// function takes away what was made.
func (on *installed) nameRoot(h *hwmanager.Host) (unname func() error, err error) {
	nothing := func() error { return nil }
	if on.rootID == "" {
		return nothing, nil
	}
	dir := filepath.Join(h.Dev, "disk/by-uuid")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nothing, err
	}
	link := filepath.Join(dir, on.rootID)
	err = os.Symlink("../../"+filepath.Base(disk.Node(on.path, on.root.Number)), link)
	if errors.Is(err, fs.ErrExist) {
		return nothing, nil // udev was here
	}
	if err != nil {
		return nothing, err
	}
	return func() error { return os.Remove(link) }, nil
}

// mountKernel mounts below dir what GRUB's installer looks at. The function
// takes it away again, also what there is of it after an error.
func (on *installed) mountKernel(h *hwmanager.Host, dir string, root *os.Root, uefi bool) (unmount func() error, err error) {
	var mounted []string
	unmount = func() error {
		var problems []error
		for i := len(mounted) - 1; i >= 0; i-- {
			problems = append(problems, unix.Unmount(mounted[i], unix.MNT_DETACH))
		}
		return errors.Join(problems...)
	}
	mounts := []struct {
		source, target, kind string
		flags                uintptr
	}{
		{h.Dev, "dev", "", unix.MS_BIND},
		{h.Proc, "proc", "", unix.MS_BIND},
		{"/run", "run", "", unix.MS_BIND},
		{"sysfs", "sys", "sysfs", 0},
	}
	if uefi {
		esp := on.target.Partition(on.esp.Number)
		if err := esp.Check(); err != nil {
			return unmount, err
		}
		mounts = append(mounts, struct {
			source, target, kind string
			flags                uintptr
		}{esp.Path(), espMount, "vfat", 0})
	}
	for _, m := range mounts {
		// Inside the root: a link that leads out of it is an error, and a
		// directory that is a link would be mounted on where it leads to.
		if err := root.MkdirAll(m.target, 0o755); err != nil {
			return unmount, err
		}
		if info, err := root.Lstat(m.target); err != nil || !info.IsDir() {
			return unmount, fmt.Errorf("/%s of the image is not a directory (%v)", m.target, err)
		}
		target, err := filepath.EvalSymlinks(filepath.Join(dir, m.target))
		if err != nil || target != filepath.Join(dir, m.target) {
			return unmount, fmt.Errorf("/%s of the image is behind a link (%v)", m.target, err)
		}
		if err := unix.Mount(m.source, target, m.kind, m.flags, ""); err != nil {
			return unmount, fmt.Errorf("mount %s at /%s of the image: %w", m.source, m.target, err)
		}
		mounted = append(mounted, target)
		// What happens below it is nobody else's affair, and the reverse.
		if err := unix.Mount("", target, "", unix.MS_PRIVATE, ""); err != nil {
			return unmount, fmt.Errorf("make /%s of the image private: %w", m.target, err)
		}
	}
	return unmount, nil
}

// grubCommands runs the installer, on UEFI also for firmware that loses its
// boot entries, and writes GRUB's menu. The entries themselves are ours.
func grubCommands(ctx context.Context, h *hwmanager.Host, dir, grub string, uefi bool, disks ...disk.Target) error {
	var commands [][]string
	for _, d := range disks {
		commands = append(commands, []string{grub + "-install", d.Path()})
	}
	if uefi {
		install := []string{grub + "-install", "--no-nvram"}
		commands = [][]string{install, append(install, "--removable")}
	}
	commands = append(commands, []string{grub + "-mkconfig", "-o", "/boot/" + grub + "/grub.cfg"})
	for _, c := range commands {
		for _, d := range disks { // each time: an installer takes a while
			if err := d.Check(); err != nil {
				return err
			}
		}
		// The search path of the ramdisk need not be that of the image.
		args := append([]string{dir, "/usr/bin/env", "PATH=/usr/sbin:/usr/bin:/sbin:/bin"}, c...)
		if _, err := h.Run.Run(ctx, "chroot", args...); err != nil {
			return fmt.Errorf("%s of the image: %w", c[0], err)
		}
	}
	return nil
}
