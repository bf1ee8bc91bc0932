package osimage

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"

	"github.com/diskfs/go-diskfs/backend/file"
	"github.com/diskfs/go-diskfs/partition/gpt"
)

const (
	sector = 512 // of what BIOSes boot from
	mib    = 1 << 20
	// sector4Kn is that of disks of the kind that is called 4K native.
	sector4Kn = 4096

	// rootName is how the small system's init finds its root partition.
	rootName = "ferric-root"

	// RootUUID is that of the root file system of the whole-disk image.
	RootUUID = rootGUID

	// Identities of the image, in the case that udev's links have.
	diskGUID = "6f0f4c3c-4c0d-4d0e-9b57-66e20a6b2f00"
	biosGUID = "6f0f4c3c-4c0d-4d0e-9b57-66e20a6b2f01"
	espGUID  = "6f0f4c3c-4c0d-4d0e-9b57-66e20a6b2f02"
	rootGUID = "6f0f4c3c-4c0d-4d0e-9b57-66e20a6b2f03"
	espID    = "FE221C05" // FAT volume id

	biosStart, biosSize = 1 * mib, 1 * mib
	espStart, espSize   = 2 * mib, 16 * mib
	rootStart           = 18 * mib
	smallRootBytes      = 31 * mib
)

// diskLayout is the whole-disk image's partitions: BIOS boot, ESP, root.
type diskLayout struct {
	rootBytes int64
	sector    int64 // bytes; 0 is 512
}

// create writes the sparse image with its partition table and BIOS loader.
func (d *diskLayout) create(path string, l loaders) (err error) {
	d.rootBytes = (d.rootBytes + mib - 1) / mib * mib
	switch d.sector {
	case 0:
		d.sector = sector
	case sector, sector4Kn:
	default:
		return fmt.Errorf("no disk has sectors of %d bytes", d.sector)
	}
	size := rootStart + d.rootBytes + mib // the last one for the backup table

	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if err := f.Truncate(size); err != nil {
		return err
	}
	storage := file.New(f, false)
	disk, err := storage.Writable()
	if err != nil {
		return err
	}
	part := func(index int, start, size int64, kind gpt.Type, guid, name string) *gpt.Partition {
		return &gpt.Partition{Index: index, Start: uint64(start / d.sector), End: uint64((start+size)/d.sector - 1),
			Size: uint64(size), Type: kind, GUID: guid, Name: name}
	}
	table := gpt.Table{LogicalSectorSize: int(d.sector), PhysicalSectorSize: int(d.sector), ProtectiveMBR: true, GUID: diskGUID,
		Partitions: []*gpt.Partition{
			part(1, biosStart, biosSize, gpt.BIOSBoot, biosGUID, "ferric-bios"),
			part(2, espStart, espSize, gpt.EFISystemPartition, espGUID, "ferric-esp"),
			part(3, rootStart, d.rootBytes, gpt.LinuxFilesystem, rootGUID, rootName),
		}}
	if err := table.Write(disk, size); err != nil {
		return fmt.Errorf("partition table: %w", err)
	}
	if d.sector != sector {
		return nil // no BIOS boots from it
	}
	boot, core, err := l.biosImages(biosStart/sector, biosSize)
	if err != nil {
		return err
	}
	if _, err := f.WriteAt(boot, 0); err != nil {
		return err
	}
	_, err = f.WriteAt(core, biosStart)
	return err
}

// makeESP writes the EFI system partition with the loader at the path that
// firmware without a boot entry takes.
func (d *diskLayout) makeESP(ctx context.Context, disk, work string, l loaders) error {
	esp := filepath.Join(work, "esp.img")
	f, err := os.Create(esp)
	if err != nil {
		return err
	}
	if err := errors.Join(f.Truncate(espSize), f.Close()); err != nil {
		return err
	}
	if _, err := run(ctx, nil, "mkfs.vfat", "-S", strconv.FormatInt(d.sector, 10), "-i", espID, "-n", "FERRIC-ESP", esp); err != nil {
		return err
	}
	if _, err := run(ctx, nil, "mmd", "-i", esp, "::/EFI", "::/EFI/BOOT"); err != nil {
		return err
	}
	if _, err := run(ctx, nil, "mcopy", "-i", esp, l.efi, "::/EFI/BOOT/BOOTX64.EFI"); err != nil {
		return err
	}
	return copyInto(disk, espStart, esp)
}

// makeRoot writes the ext4 root partition from a directory.
func (d *diskLayout) makeRoot(ctx context.Context, disk, root string) error {
	_, err := run(ctx, nil, "mke2fs", append(d.mke2fs(disk), "-d", root)...)
	return err
}

func (d *diskLayout) mke2fs(disk string) []string {
	return mke2fs(disk, rootStart, d.rootBytes, rootGUID)
}

// mke2fs are the arguments for a root file system of size bytes at offset start
// of a file. Of file systems' features only those are on that GRUB 2.06 reads.
func mke2fs(file string, start, size int64, uuid string) []string {
	journal := "4"
	if size >= 1<<30 {
		journal = "32"
	}
	return []string{"-q", "-F", "-b", "4096", "-m", "0", "-L", rootName, "-U", uuid,
		"-O", "none,has_journal,filetype,extent,sparse_super,large_file,dir_index,resize_inode,metadata_csum", "-J", "size=" + journal,
		"-E", "root_owner=0:0,offset=" + strconv.FormatInt(start, 10), file, strconv.FormatInt(size/1024, 10) + "k"}
}

// copyInto copies a file to an offset of another, leaving holes for zeros.
func copyInto(target string, offset int64, source string) (err error) {
	in, err := os.Open(source)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(target, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	var zeros [64 << 10]byte
	for buf := make([]byte, len(zeros)); ; {
		n, err := io.ReadFull(in, buf)
		if string(buf[:n]) != string(zeros[:n]) {
			if _, err := out.WriteAt(buf[:n], offset); err != nil {
				return err
			}
		}
		offset += int64(n)
		if err == io.EOF || err == io.ErrUnexpectedEOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// layRoot lays out the files of the small system's root; more are files by
// their names.
func layRoot(root, kernel, initrd string, ballast int64, more map[string]string) error {
	files := map[string]string{
		"etc/os-release": "ID=ferric-os\nNAME=\"ferric small system\"\n",
	}
	maps.Copy(files, more)
	for name, content := range files {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			return err
		}
	}
	for name, source := range map[string]string{"vmlinuz": kernel, "initrd.img": initrd} {
		content, err := os.ReadFile(source)
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(root, "boot", name), content, 0o644); err != nil {
			return err
		}
	}
	if ballast > 0 {
		if err := writeBallast(filepath.Join(root, "ballast"), ballast); err != nil {
			return err
		}
	}
	return nil
}

// writeBallast writes bytes that look random and are the same every time.
func writeBallast(path string, size int64) (err error) {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	_, err = io.CopyN(f, rand.NewChaCha8(sha256.Sum256([]byte("ballast"))), size)
	return err
}
