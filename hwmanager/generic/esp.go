package generic

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"ferric/hwmanager"
	"ferric/images/disk"
	"ferric/images/fat"
	"ferric/images/partition"
	"ferric/images/volume"
)

// installed is a disk with a root file system and an EFI system partition.
type installed struct {
	path   string
	target disk.Target
	root   partition.Partition
	kind   string // of the root file system
	rootID string // its UUID
	esp    partition.Partition
	id     string // of the EFI system partition's file system, "ABCD-1234"
}

// findRoot finds the partition whose file system, or which itself, has the
// root UUID, and the EFI system partition beside it.
func findRoot(target disk.Target, req hwmanager.BootloaderRequest) (*installed, error) {
	path := target.Path()
	d, err := disk.OpenReadOnly(path)
	if err != nil {
		return nil, err
	}
	defer d.Close()
	table, err := partition.Read(d)
	if err != nil {
		return nil, err
	}
	on := &installed{path: path, target: target}
	for _, p := range table.Partitions {
		info, _ := volume.Identify(io.NewSectionReader(d, p.Start, p.Size), p.Size)
		switch {
		case strings.EqualFold(req.RootUUID, info.UUID) || strings.EqualFold(req.RootUUID, p.UUID):
			on.root, on.kind, on.rootID = p, info.Kind, info.UUID
		case info.Kind == volume.FAT && on.esp.Number == 0 && (p.IsESP() || strings.EqualFold(req.ESPUUID, info.UUID)):
			on.esp, on.id = p, info.UUID
		}
	}
	switch {
	case on.root.Number == 0:
		return nil, fmt.Errorf("no partition of %s has the root UUID %.64q", path, req.RootUUID)
	case on.kind != volume.Ext4 && on.kind != volume.XFS && on.kind != volume.Btrfs:
		return nil, fmt.Errorf("partition %d of %s holds no root file system that is known", on.root.Number, path)
	}
	return on, nil
}

// Where a system keeps what belongs on the EFI system partition.
const (
	espMount   = "boot/efi"
	espLoaders = espMount + "/EFI"
)

const maxFstab = 1 << 20

// quiet are the flags of a mount that nothing of is executed from.
const quiet = unix.MS_NODEV | unix.MS_NOEXEC | unix.MS_NOSUID

// readLoaders reads the files below /boot/efi/EFI, by their paths from
// /boot/efi on. Links are left out: FAT has none.
func (on *installed) readLoaders(ctx context.Context) (map[string][]byte, error) {
	var files map[string][]byte
	err := on.mounted(ctx, quiet|unix.MS_RDONLY, func(_ string, root *os.Root) error {
		tree := loaderTree{root: root, files: map[string][]byte{}, room: maxLoaderBytes}
		if err := tree.walk(ctx, espLoaders, 0); err != nil {
			return err
		}
		files = tree.files
		return nil
	})
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read boot loaders of partition %d of %s: %w", on.root.Number, on.path, err)
	}
	return files, nil
}

// fillESP makes the file system of the EFI system partition anew, with what it
// held and the files.
func (on *installed) fillESP(files map[string][]byte) (err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("fill EFI system partition %d of %s: %w", on.esp.Number, on.path, err)
		}
	}()
	d, err := on.target.Open()
	if err != nil {
		return err
	}
	defer d.Close()
	s, err := d.Section(on.esp.Start, on.esp.Size)
	if err != nil {
		return err
	}
	old, err := fat.Open(s, s.Size)
	if err != nil {
		return err
	}
	all, room := map[string][]byte{}, int64(maxLoaderBytes)
	err = old.Walk(func(path string, e fat.Entry) error {
		if e.Dir {
			return nil
		}
		content, err := old.ReadFile(path, room)
		all[strings.Trim(path, "/")], room = content, room-int64(len(content))
		return err
	})
	if err != nil {
		return err
	}
	held := map[string]string{} // to FAT names are the same in any case
	for path := range all {
		held[strings.ToLower(path)] = path
	}
	for path, content := range files {
		delete(all, held[strings.ToLower(path)])
		all[path] = content
	}
	serial, err := strconv.ParseUint(strings.ReplaceAll(old.ID, "-", ""), 16, 32)
	if err != nil {
		return err
	}
	if err := fat.Build(s, s.Size, d.Sector, old.Label, uint32(serial), all); err != nil {
		return err
	}
	return d.Sync()
}

// mountESP has the system mount its EFI system partition, unless it has a line
// for that, or no table of file systems, already.
func (on *installed) mountESP(ctx context.Context) error {
	err := on.mounted(ctx, quiet, func(_ string, root *os.Root) error {
		info, err := root.Lstat("etc/fstab")
		if errors.Is(err, fs.ErrNotExist) || err == nil && (!info.Mode().IsRegular() || info.Size() > maxFstab) {
			return nil
		}
		if err != nil {
			return err
		}
		f, err := root.OpenFile("etc/fstab", os.O_RDWR|os.O_APPEND, 0)
		if err != nil {
			return err
		}
		defer f.Close()
		text, err := io.ReadAll(io.LimitReader(f, maxFstab))
		if err != nil {
			return err
		}
		line, has := espLine(string(text), on.id)
		if has {
			return nil
		}
		if _, err := f.WriteString(line); err != nil {
			return err
		}
		return f.Sync()
	})
	if err != nil {
		return fmt.Errorf("add /%s to the fstab of partition %d of %s: %w", espMount, on.root.Number, on.path, err)
	}
	return nil
}

// espLine is what a fstab lacks to mount the EFI system partition.
func espLine(fstab, id string) (line string, has bool) {
	for l := range strings.Lines(fstab) {
		fields := strings.Fields(l)
		if len(fields) > 1 && !strings.HasPrefix(fields[0], "#") && strings.TrimSuffix(fields[1], "/") == "/"+espMount {
			return "", true
		}
	}
	line = fmt.Sprintf("UUID=%s\t/%s\tvfat\tumask=0077\t0\t1\n", id, espMount)
	if fstab != "" && !strings.HasSuffix(fstab, "\n") {
		line = "\n" + line
	}
	return line, false
}

// mounted calls use with the root file system: where it is mounted, and a root
// in which no link leads outside.
func (on *installed) mounted(ctx context.Context, flags uintptr, use func(dir string, root *os.Root) error) (err error) {
	node := on.target.Partition(on.root.Number)
	if err := partition.Reread(ctx, on.path); err != nil {
		return err
	}
	if err := errors.Join(waitForNode(ctx, node.Path()), node.Check()); err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "root-*")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.Remove(dir)) }()
	options := ""
	switch on.kind {
	case volume.XFS:
		options = "nouuid" // another disk may hold another copy
	case volume.Ext4:
		options = "errors=remount-ro" // the image may want a panic
	}
	if err := unix.Mount(node.Path(), dir, on.kind, flags, options); err != nil {
		return fmt.Errorf("mount %s as %s: %w", node.Path(), on.kind, err)
	}
	defer func() { err = errors.Join(err, unmount(dir)) }()
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	return errors.Join(use(dir, root), root.Close())
}

// unmount takes a file system away. One that something still uses goes when
// that ends, and is an error until then: the disk stays in use.
func unmount(dir string) error {
	err := unix.Unmount(dir, 0)
	if err == nil {
		return nil
	}
	return errors.Join(fmt.Errorf("unmount %s: %w", dir, err), unix.Unmount(dir, unix.MNT_DETACH))
}
