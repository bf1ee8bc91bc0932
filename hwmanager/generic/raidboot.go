package generic

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"ferric/api/ipa"
	"ferric/hwmanager"
	"ferric/images/disk"
	"ferric/images/efi"
	"ferric/images/fat"
	"ferric/images/partition"
	"ferric/images/volume"
)

// biosBootMirror is the size of GRUB's partition on a disk of an array, in MiB
// (agent contract, section "Boot on md").
const biosBootMirror = 2

// runningArray is the array that the device is, if it is one.
func runningArray(h *hwmanager.Host, device ipa.BlockDevice) (array, bool, error) {
	arrays, err := runningArrays(h)
	i := slices.IndexFunc(arrays, func(a array) bool { return a.device.Name == device.Name })
	if err != nil || i < 0 {
		return array{}, false, err
	}
	return arrays[i], true, nil
}

// noArray refuses partition images for arrays: nothing would boot them.
func noArray(h *hwmanager.Host, device ipa.BlockDevice) error {
	_, ok, err := runningArray(h, device)
	if err == nil && ok {
		err = fmt.Errorf("%s is an array, to which only whole-disk images are written", device.Name)
	}
	if err != nil {
		return ipa.InvalidImage.New("%v", err)
	}
	return nil
}

// bootArray makes an array bootable that a whole-disk image was written to. No
// firmware knows arrays: what it boots is put onto each of the disks.
func (m *Manager) bootArray(ctx context.Context, h *hwmanager.Host, a array, target disk.Target, req hwmanager.BootloaderRequest, failed error) error {
	if failed != nil {
		return ipa.CommandExecution.New("boot loader for %s: %v", target.Path(), failed)
	}
	holders, err := fenceHolders(h, a)
	if err != nil {
		return err
	}
	if bootedUEFI(h) {
		err := m.mirrorESP(ctx, h, a, target, holders, req)
		switch {
		case errors.Is(err, efi.ErrNoESP):
			return ipa.DeviceNotFound.New("%v", err)
		case err != nil:
			return ipa.CommandExecution.New("boot loader for %s: %v", a.device.Name, err)
		}
		return nil
	}
	if req.RootUUID == "" || req.RootUUID == noSignature {
		h.Log.WithField("device", a.device.Name).Warn("no boot loader on the disks of the array: the UUID of the image's root file system is not known")
		return nil
	}
	if !h.Settings.EnableBIOSBootloaderInstall {
		return ipa.InvalidImage.New("BIOS boots no array, and running the image's installer for a boot loader on its disks is disabled because of CVE-2026-43003 (enable_bios_bootloader_install)")
	}
	if err := grubOnHolders(ctx, h, a, target, holders, req); err != nil {
		return ipa.CommandExecution.New("boot loader for %s: %v", a.device.Name, err)
	}
	return nil
}

// fenceHolders makes targets of the disks of an array, all of them before any is
// touched.
func fenceHolders(h *hwmanager.Host, a array) ([]disk.Target, error) {
	var targets []disk.Target
	for _, name := range a.holders {
		if slices.Contains(a.members, name) {
			return nil, ipa.CommandExecution.New("boot loader for %s: its member %s is a whole disk, with no room for one", a.device.Name, name)
		}
		target, err := h.Fence(readDisk(h, filepath.Join(h.Sys, "block", sysName(name)), sysName(name)))
		if err != nil {
			return nil, err
		}
		targets = append(targets, target)
	}
	return targets, nil
}

// systemPartition is the content of an EFI system partition.
type systemPartition struct {
	files  map[string][]byte
	label  string
	serial uint32
}

// mirrorESP moves the image's EFI system partition to a mirror on the disks, and
// writes a boot entry for each of them. A mirror that is there already is used.
func (m *Manager) mirrorESP(ctx context.Context, h *hwmanager.Host, a array, target disk.Target, holders []disk.Target, req hwmanager.BootloaderRequest) error {
	table, err := partition.List(target.Path())
	if err != nil {
		return err
	}
	number, content, err := readESP(target, table, req.ESPUUID)
	if err != nil {
		return err
	}
	mirror, has, err := existingMirror(h, a)
	if err != nil {
		return err
	}
	switch {
	case number == 0 && !has:
		return fmt.Errorf("%w on %s", efi.ErrNoESP, a.device.Name)
	case number > 0:
		if !has {
			if mirror, err = m.makeMirror(ctx, h, holders); err != nil {
				return err
			}
		}
		if err := content.write(h, mirror); err != nil {
			return fmt.Errorf("EFI system partition on %s: %w", mirror, err)
		}
		// Another file system with the same UUID must not be found in its place.
		if err := wipePartition(ctx, target, number); err != nil {
			return fmt.Errorf("EFI system partition %d of %s, which was moved: %w", number, a.device.Name, err)
		}
	}
	var disks []string
	for _, holder := range holders {
		disks = append(disks, holder.Path())
	}
	entries, err := efi.InstallMirror(ctx, filepath.Join(h.Sys, "firmware/efi/efivars"), h.DevicePath(mirror), disks)
	if err != nil {
		return err
	}
	h.Log.WithField("device", a.device.Name).WithField("entries", len(entries)).Info("boot entries written")
	return nil
}

// readESP reads the EFI system partition of the image: its number, 0 for none
// with a file system.
func readESP(target disk.Target, table *partition.Table, uuid string) (int, systemPartition, error) {
	d, err := disk.OpenReadOnly(target.Path())
	if err != nil {
		return 0, systemPartition{}, err
	}
	defer d.Close()
	for _, p := range table.Partitions {
		fs, err := fat.Open(io.NewSectionReader(d, p.Start, p.Size), p.Size)
		if err != nil || !p.IsESP() && (uuid == "" || !strings.EqualFold(fs.ID, uuid) && !strings.EqualFold(p.UUID, uuid)) {
			continue
		}
		content := systemPartition{files: map[string][]byte{}, label: fs.Label}
		room := int64(maxLoaderBytes)
		err = fs.Walk(func(path string, e fat.Entry) error {
			if e.Dir {
				return nil
			}
			text, err := fs.ReadFile(path, room)
			content.files[strings.Trim(path, "/")], room = text, room-int64(len(text))
			return err
		})
		if err != nil {
			return 0, content, fmt.Errorf("EFI system partition %d of %s: %w", p.Number, target.Path(), err)
		}
		if fs.ID != "" {
			serial, err := strconv.ParseUint(strings.ReplaceAll(fs.ID, "-", ""), 16, 32)
			if err != nil {
				return 0, content, fmt.Errorf("EFI system partition %d of %s: UUID %q: %w", p.Number, target.Path(), fs.ID, err)
			}
			content.serial = uint32(serial)
		}
		return p.Number, content, nil
	}
	return 0, systemPartition{}, nil
}

// write makes the file system on the mirror.
func (s systemPartition) write(h *hwmanager.Host, mirror string) error {
	target, err := h.Fence(readDisk(h, filepath.Join(h.Sys, "block", sysName(mirror)), sysName(mirror)))
	if err != nil {
		return err
	}
	d, err := target.Open()
	if err != nil {
		return err
	}
	err = fat.Build(d, d.Size, d.Sector, s.label, s.serial, s.files)
	if err == nil {
		err = d.Sync()
	}
	return errors.Join(err, d.Close())
}

// wipePartition wipes one partition through the disk, so that its node is not
// needed.
func wipePartition(ctx context.Context, target disk.Target, number int) error {
	if err := partition.Reread(ctx, target.Path()); err != nil {
		return err
	}
	part := target.Partition(number)
	if err := waitForNode(ctx, part.Path()); err != nil {
		return err
	}
	return part.Wipe(ctx)
}

// existingMirror is an array of level 1 with the name or the file system of one for
// EFI system partitions that has the disks of a.
func existingMirror(h *hwmanager.Host, a array) (device string, ok bool, err error) {
	arrays, err := runningArrays(h)
	if err != nil {
		return "", false, err
	}
	for _, other := range arrays {
		if other.device.Name == a.device.Name || readText(h.Sys, "block", sysName(other.device.Name), "md/level") != "raid1" || !sameDisks(other.holders, a.holders) {
			continue
		}
		if other.volume() == espVolume {
			return other.device.Name, true, nil // also if writing to it was cut short
		}
		d, err := disk.OpenReadOnly(h.DevicePath(other.device.Name))
		if err != nil {
			return "", false, err
		}
		info, _ := volume.Identify(d, d.Size)
		if err := d.Close(); err != nil {
			return "", false, err
		}
		if info.Kind == volume.FAT {
			return other.device.Name, true, nil
		}
	}
	return "", false, nil
}

func sameDisks(a, b []string) bool {
	return slices.Equal(slices.Sorted(slices.Values(a)), slices.Sorted(slices.Values(b)))
}

// makeMirror adds a partition to each disk, where room was left for it, and
// mirrors them, with the superblock at the end: firmware sees a file system
// at the beginning. After a failure the partitions are taken away again.
func (m *Manager) makeMirror(ctx context.Context, h *hwmanager.Host, holders []disk.Target) (device string, err error) {
	var members []string
	var targets []disk.Target
	var numbers []int
	device, err = freeArray(h, 0)
	if err != nil {
		return "", err
	}
	defer func() {
		if err == nil {
			return
		}
		ctx := context.WithoutCancel(ctx)
		if slaves, _ := os.ReadDir(filepath.Join(h.Sys, "block", sysName(device), "slaves")); len(slaves) > 0 {
			err = errors.Join(err, m.stopArray(ctx, h, device))
		}
		for i, n := range numbers {
			err = errors.Join(err, freePartitions(ctx, holders[i], []int{n}, false))
		}
	}()
	for i, holder := range holders {
		p, err := addHolder(ctx, holder, partition.Wanted{Start: mebibyte, Size: espSize * mebibyte, Type: partition.TypeESP, Name: fmt.Sprintf("uefi-holder-%d", i)})
		if err != nil {
			return "", err
		}
		numbers = append(numbers, p.Number)
		part := holder.Partition(p.Number)
		if err := part.Wipe(ctx); err != nil {
			return "", err
		}
		targets = append(targets, part)
		members = append(members, "/dev/"+filepath.Base(part.Path()))
	}
	args := []string{"--create", h.DevicePath(device), "--force", "--run", "--metadata=1.0", "--level", "1", "--name", espVolume,
		"--raid-devices", strconv.Itoa(len(targets))}
	return device, m.makeArray(ctx, h, device, args, members, targets)
}

// addHolder adds a partition to a disk of an array, and waits for its node.
func addHolder(ctx context.Context, holder disk.Target, w partition.Wanted) (partition.Partition, error) {
	p, err := partition.Add(holder, w)
	if err != nil {
		return p, err
	}
	if err := partition.Update(holder.Path()); err != nil {
		return p, err
	}
	return p, waitForNode(ctx, disk.Node(holder.Path(), p.Number))
}

// grubOnHolders has the image's GRUB install itself on each disk of the array. A
// disk with a GPT gets a partition for it.
func grubOnHolders(ctx context.Context, h *hwmanager.Host, a array, target disk.Target, holders []disk.Target, req hwmanager.BootloaderRequest) error {
	on, err := findRoot(target, req)
	if err != nil {
		return err
	}
	for i, holder := range holders {
		table, err := partition.List(holder.Path())
		if err != nil {
			return err
		}
		has := slices.ContainsFunc(table.Partitions, func(p partition.Partition) bool { return p.Type == partition.TypeBIOSBoot })
		if table.Label != partition.GPT || has {
			continue
		}
		_, err = addHolder(ctx, holder, partition.Wanted{Start: mebibyte, Size: biosBootMirror * mebibyte, Type: partition.TypeBIOSBoot, Name: fmt.Sprintf("bios-boot-part-%d", i)})
		if err != nil {
			return err
		}
	}
	return on.installGRUB(ctx, h, false, func(root *os.Root) error { return assembleByDracut(h, a, root) }, holders...)
}

// Where GRUB's menu takes the kernel's parameters from.
const grubDefaults = "etc/default/grub"

// assembleByDracut has an initial file system of dracut assemble the array.
func assembleByDracut(h *hwmanager.Host, a array, root *os.Root) error {
	if _, err := root.Stat("usr/bin/dracut"); err != nil {
		return nil
	}
	uuid := strings.ReplaceAll(readText(h.Sys, "block", sysName(a.device.Name), "md/uuid"), "-", "")
	if len(uuid) != 2*arrayUUIDSize {
		return fmt.Errorf("the kernel tells no UUID of %s", a.device.Name)
	}
	f, err := root.OpenFile(grubDefaults, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o644)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(f, "\nGRUB_CMDLINE_LINUX=\"$GRUB_CMDLINE_LINUX rd.md.uuid=%s\"\n", mdadmUUID(uuid))
	return errors.Join(err, f.Close())
}
