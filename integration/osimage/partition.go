package osimage

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

const (
	// PartitionRootUUID is the UUID of the root file system of the partition
	// image: what a deployment reports as its root UUID.
	PartitionRootUUID = "6f0f4c3c-4c0d-4d0e-9b57-66e20a6b2f04"
	// PartitionRootMiB is enough for root_mb with the partition image without
	// ballast and installer.
	PartitionRootMiB = 64

	partitionRootBytes = 34 * mib
	// installerBytes are for GRUB's installer, its libraries and its modules,
	// of which it makes a second copy.
	installerBytes = 40 * mib
	// espDir is where the image keeps what belongs on the EFI system partition
	// of the machine (agent contract, section "install_bootloader").
	espDir = "boot/efi/EFI/BOOT"
)

// BuildPartition makes the small system as a partition image, or finds it in
// the cache: an ext4 file system with kernel, initrd, /etc/fstab, and GRUB for
// UEFI below /boot/efi/EFI, which finds its root by the file system's UUID. A
// deployment has to copy that onto an EFI system partition. There is nothing
// that a BIOS could boot: with Options.Installer there is what makes it.
func BuildPartition(ctx context.Context, o Options) (*Image, error) {
	kernel, err := findKernel(o.Kernel, o.Modules)
	if err != nil {
		return nil, fmt.Errorf("partition image: %w", err)
	}
	image, err := buildPartition(ctx, o, kernel)
	if err != nil {
		return nil, fmt.Errorf("partition image with kernel %s: %w", kernel.path, err)
	}
	return image, nil
}

func buildPartition(ctx context.Context, o Options, kernel kernel) (*Image, error) {
	work, err := workDir(o.CacheDir)
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(work)
	initrd := filepath.Join(work, "initrd.img")
	if err := writeInitrd(ctx, initrd, o, kernel); err != nil {
		return nil, err
	}
	loader, err := makePartitionLoader(ctx, work)
	if err != nil {
		return nil, err
	}
	inputs := []string{kernel.path, initrd, loader}
	var grub *installer
	if o.Installer {
		if grub, err = findInstaller(ctx, false); err != nil {
			return nil, err
		}
		inputs = append(inputs, grub.files...)
	}
	key, err := hashInputs(o.Ballast, inputs...)
	if err != nil {
		return nil, err
	}
	return cached(o.CacheDir, "partition-"+key, func(dir string) (*Image, error) {
		efi, err := os.ReadFile(loader)
		if err != nil {
			return nil, err
		}
		root := filepath.Join(work, "root")
		if err := layRoot(root, kernel.path, initrd, o.Ballast, map[string]string{
			grubConfigPath:          grubBefore + " root=UUID=" + PartitionRootUUID + grubAfter,
			espDir + "/BOOTX64.EFI": string(efi),
			"etc/fstab":             "UUID=" + PartitionRootUUID + " / ext4 defaults 0 1\n",
		}); err != nil {
			return nil, err
		}
		if grub != nil {
			if err := grub.layOut(root); err != nil {
				return nil, err
			}
		}
		raw := filepath.Join(dir, "root.raw")
		size := (partitionRootBytes + o.room() + mib - 1) / mib * mib
		if err := sparseFile(raw, size); err != nil {
			return nil, err
		}
		if _, err := run(ctx, nil, "mke2fs", append(mke2fs(raw, 0, size, PartitionRootUUID), "-d", root)...); err != nil {
			return nil, err
		}
		return convert(ctx, raw)
	})
}

func sparseFile(path string, size int64) error {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	return errors.Join(f.Truncate(size), f.Close())
}

func makePartitionLoader(ctx context.Context, dir string) (string, error) {
	const modules = "/usr/lib/grub/x86_64-efi"
	if err := needFile(filepath.Join(modules, "normal.mod"), "grub-efi-amd64-bin"); err != nil {
		return "", err
	}
	early, loader := filepath.Join(dir, "early.cfg"), filepath.Join(dir, "grubx64.efi")
	if err := os.WriteFile(early, []byte(grubSearch(PartitionRootUUID)), 0o644); err != nil {
		return "", err
	}
	args := append([]string{"-O", "x86_64-efi", "-d", modules, "-c", early, "-p", "/boot/grub", "-o", loader, "fat", "part_msdos", "search_fs_uuid"}, grubModules...)
	if _, err := run(ctx, nil, "grub-mkimage", args...); err != nil {
		return "", err
	}
	return loader, nil
}
