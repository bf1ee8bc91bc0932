package osimage

import (
	"context"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
)

// grubPrefix is relative to the disk that GRUB was started from, so that a
// second disk with another copy of the image is no danger. The root partition
// is the third.
const grubPrefix = "(,gpt3)/boot/grub"

// grubConfig is /boot/grub/grub.cfg of the small system. Kernel messages below
// errors are left out: a serial console is slow.
const (
	grubConfig     = grubBefore + grubAfter
	grubConfigPath = "boot/grub/grub.cfg"

	grubBefore = `serial --unit=0 --speed=115200
terminal_output serial
linux /boot/vmlinuz console=ttyS0,115200n8 no_timer_check quiet loglevel=4 panic=5`
	grubAfter = `
initrd /boot/initrd.img
boot
`
)

// grubModules are built into GRUB, so that the root file system needs none.
var grubModules = []string{"normal", "part_gpt", "ext2", "linux", "boot", "serial", "terminal", "configfile", "echo", "test", "search", "search_label"}

// grubSearch is GRUB's configuration for a root that is found by the UUID of its
// file system, wherever it is.
func grubSearch(uuid string) string {
	return "search --no-floppy --fs-uuid --set=root " + uuid + "\nset prefix=($root)/boot/grub\n"
}

// loaders are GRUB's images for both kinds of firmware.
type loaders struct {
	biosBoot string // 512 bytes for the first sector
	biosCore string // for the BIOS boot partition
	efi      string // EFI/BOOT/BOOTX64.EFI
}

// makeLoaders makes both. On an array, of which firmware knows nothing, the root
// is on another disk than the loader for UEFI: it is looked for.
func makeLoaders(ctx context.Context, dir string, array bool) (loaders, error) {
	const bios, efi = "/usr/lib/grub/i386-pc", "/usr/lib/grub/x86_64-efi"
	l := loaders{filepath.Join(bios, "boot.img"), filepath.Join(dir, "core.img"), filepath.Join(dir, "bootx64.efi")}
	if err := needFile(l.biosBoot, "grub-pc-bin"); err != nil {
		return loaders{}, err
	}
	if err := needFile(filepath.Join(efi, "normal.mod"), "grub-efi-amd64-bin"); err != nil {
		return loaders{}, err
	}
	for _, image := range []struct{ format, dir, disk, target string }{
		{"i386-pc", bios, "biosdisk", l.biosCore},
		{"x86_64-efi", efi, "fat", l.efi},
	} {
		args := append([]string{"-O", image.format, "-d", image.dir, "-p", grubPrefix, "-o", image.target, image.disk}, grubModules...)
		if array {
			early := filepath.Join(dir, "array.cfg")
			if err := os.WriteFile(early, []byte(grubSearch(rootGUID)), 0o644); err != nil {
				return loaders{}, err
			}
			args = append(args, "-c", early, "search_fs_uuid", "mdraid1x")
		}
		if _, err := run(ctx, nil, "grub-mkimage", args...); err != nil {
			return loaders{}, err
		}
	}
	return l, nil
}

// Places in GRUB's images that its installer patches (grub 2.06, include/grub/
// i386/pc/boot.h and kernel.h; lab notes, section 6).
const (
	bootCodeSize = 440   // of the first sector; the rest belongs to the MBR
	bootCoreAt   = 0x5c  // u64: sector of the core image
	bootDriveAt  = 0x66  // a jump that two NOPs switch off: trust the BIOS's drive number
	coreNextAt   = 0x1f4 // u64: sector of the rest of the core image
)

// biosImages reads both images, patched for a core image at sector start that
// may have size bytes.
func (l loaders) biosImages(start uint64, size int) (boot, core []byte, err error) {
	if boot, err = os.ReadFile(l.biosBoot); err != nil {
		return nil, nil, err
	}
	if core, err = os.ReadFile(l.biosCore); err != nil {
		return nil, nil, err
	}
	if len(boot) != sector || len(core) < 2*sector || len(core) > size {
		return nil, nil, fmt.Errorf("grub images have unusable sizes of %d and %d bytes", len(boot), len(core))
	}
	binary.LittleEndian.PutUint64(boot[bootCoreAt:], start)
	copy(boot[bootDriveAt:], []byte{0x90, 0x90})
	binary.LittleEndian.PutUint64(core[coreNextAt:], start+1)
	return boot[:bootCodeSize], core, nil
}
