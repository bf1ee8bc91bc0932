package firmware

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"ferric/api/ipa"
	"ferric/hwmanager"
	"ferric/hwmanager/erasure"
	"ferric/images/disk"
	"ferric/images/efi"
	"ferric/images/partition"
)

// esp is an EFI system partition on which the firmware looks for capsules.
type esp struct {
	disk      ipa.BlockDevice
	partition partition.Partition
}

// findESP is an EFI system partition that a boot entry leads to: the firmware
// looks for capsules on that of the entry that it boots, which is one with a disk
// whether or not the network comes before it (section 8.5.5).
func findESP(ctx context.Context, h *hwmanager.Host) (*esp, error) {
	if err := fileCapsules(h); err != nil {
		return nil, err
	}
	paths, err := efi.Paths(efivars(h))
	if err != nil {
		return nil, err
	}
	if h.Set == nil {
		return nil, errors.New("nobody lists the disks")
	}
	disks, err := hwmanager.First(h.Set, "list_block_devices", func(l hwmanager.DiskLister) ([]ipa.BlockDevice, error) {
		return l.BlockDevices(ctx, h, false)
	})
	if err != nil {
		return nil, err
	}
	for _, d := range disks {
		for _, p := range systemPartitions(h.DevicePath(d.Name)) {
			for _, path := range paths {
				if p.UUID != "" && strings.Contains(strings.ToLower(path), strings.ToLower(p.UUID)) {
					return &esp{disk: d, partition: p}, nil
				}
			}
		}
	}
	return nil, fmt.Errorf("none of %d boot entries leads to an EFI system partition of %d disks", len(paths), len(disks))
}

// systemPartitions are those of a disk; none of one that cannot be read.
func systemPartitions(path string) []partition.Partition {
	d, err := disk.OpenReadOnly(path)
	if err != nil {
		return nil
	}
	defer d.Close()
	table, err := partition.Read(d)
	if err != nil {
		return nil
	}
	var found []partition.Partition
	for _, p := range table.Partitions {
		if p.IsESP() {
			found = append(found, p)
		}
	}
	return found
}

// Where the firmware looks, and how our files there are called.
const (
	capsuleDir    = "EFI/UpdateCapsule"
	capsulePrefix = "ferric-"
	nodeWait      = 10 * time.Second
)

// place puts the capsule onto the partition and tells the firmware to look there.
func (e *esp) place(ctx context.Context, h *hwmanager.Host, t *capsuleTask) error {
	target, err := h.Fence(e.disk)
	if err != nil {
		return err
	}
	node := target.Partition(e.partition.Number)
	if err := partition.Reread(ctx, target.Path()); err != nil {
		return err
	}
	if err := errors.Join(appears(ctx, node.Path()), node.Check()); err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "esp-*")
	if err != nil {
		return err
	}
	defer os.Remove(dir)
	if err := unix.Mount(node.Path(), dir, "vfat", unix.MS_NODEV|unix.MS_NOEXEC|unix.MS_NOSUID, ""); err != nil {
		return fmt.Errorf("mount the EFI system partition %s: %w", node.Path(), err)
	}
	err = deposit(dir, capsulePrefix+t.String()+".cap", t.open())
	if unmount := unix.Unmount(dir, 0); unmount != nil {
		err = errors.Join(err, fmt.Errorf("unmount the EFI system partition %s: %w", node.Path(), unmount), unix.Unmount(dir, unix.MNT_DETACH))
	}
	if err != nil {
		return err
	}
	return efi.Indicate(efivars(h), efi.FileCapsules)
}

// appears waits for a file.
func appears(ctx context.Context, path string) error {
	for deadline := time.Now().Add(nodeWait); ; {
		if _, err := os.Stat(path); err == nil {
			return nil
		} else if time.Now().After(deadline) {
			return err
		}
		if err := erasure.Sleep(ctx, nodeWait/100); err != nil {
			return err
		}
	}
}

// deposit writes a capsule into the directory of the file system at root. The
// firmware takes all that lie there: capsules of somebody else are not to be
// flashed along; those that an attempt of ours left are replaced.
func deposit(root, name string, r io.Reader) (err error) {
	tree, err := os.OpenRoot(root)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, tree.Close()) }()
	if err := tree.MkdirAll(capsuleDir, 0o755); err != nil {
		return fmt.Errorf("make %s on the EFI system partition: %w", capsuleDir, err)
	}
	there, err := os.ReadDir(filepath.Join(root, capsuleDir))
	if err != nil {
		return err
	}
	for _, e := range there {
		if !strings.HasPrefix(strings.ToLower(e.Name()), capsulePrefix) {
			return fmt.Errorf("somebody else's capsule %s lies in %s on the EFI system partition: it would be flashed along", e.Name(), capsuleDir)
		}
	}
	path := filepath.Join(capsuleDir, name)
	f, err := tree.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o644)
	if err != nil {
		return fmt.Errorf("write %s on the EFI system partition: %w", path, err)
	}
	_, err = io.Copy(f, r)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return errors.Join(fmt.Errorf("write %s on the EFI system partition: %w", path, err), tree.Remove(path))
	}
	return nil
}
