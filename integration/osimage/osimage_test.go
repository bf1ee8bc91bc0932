package osimage

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestBuild(t *testing.T) {
	cache := t.TempDir()
	image, err := Build(t.Context(), Options{CacheDir: cache})
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("raw %d, qcow2 %d, zstd %d bytes", image.Raw.Size, image.QCOW2.Size, image.Zstd.Size)
	oracle := func(name string, args ...string) { t.Helper(); oracle(t, name, args...) }
	oracle("qemu-img", "compare", "-f", "raw", "-F", "qcow2", image.Raw.Path, image.QCOW2.Path)
	oracle("sh", "-c", `sgdisk -v "$0" | grep "No problems found"`, image.Raw.Path)
	oracle("sh", "-c", `zstd -dc "$0" | cmp - "$1"`, image.Zstd.Path, image.Raw.Path)
	oracle("e2fsck", "-fn", image.Raw.Path+"?offset=18874368")
	oracle("mdir", "-i", image.Raw.Path+"@@2M", "::/EFI/BOOT/BOOTX64.EFI")

	again, err := Build(t.Context(), Options{CacheDir: cache})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(image, again); diff != "" {
		t.Errorf("second build is another image (-first +second):\n%s", diff)
	}
	if left, _ := filepath.Glob(filepath.Join(cache, "*-*")); len(left) != 1 {
		t.Errorf("cache holds %v, want one image and nothing else", left)
	}
}

func TestBuildPartition(t *testing.T) {
	image, err := BuildPartition(t.Context(), Options{CacheDir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	if image.Raw.Size > PartitionRootMiB*mib {
		t.Errorf("%d bytes do not fit into %d MiB", image.Raw.Size, PartitionRootMiB)
	}
	oracle(t, "qemu-img", "compare", "-f", "raw", "-F", "qcow2", image.Raw.Path, image.QCOW2.Path)
	oracle(t, "e2fsck", "-fn", image.Raw.Path)
	oracle(t, "sh", "-c", `test "$(blkid -p -o value -s UUID "$0")" = `+PartitionRootUUID, image.Raw.Path)
	oracle(t, "sh", "-c", `debugfs -R "stat /boot/efi/EFI/BOOT/BOOTX64.EFI" "$0" | grep "Type: regular"`, image.Raw.Path)
}

// TestBuildInstaller runs the programs of the images in them: a system that lacks
// a library of theirs, or a program of its shell, shows here.
func TestBuildInstaller(t *testing.T) {
	image, err := BuildPartition(t.Context(), Options{CacheDir: t.TempDir(), Installer: true})
	if err != nil {
		t.Fatal(err)
	}
	if image.Raw.Size > InstallerRootMiB*mib {
		t.Errorf("%d bytes do not fit into %d MiB", image.Raw.Size, InstallerRootMiB)
	}
	runInside(t, image.Raw.Path, "grub-install --version", "grub-probe --version", "grub-mkconfig --version", "sh -c true", "env true")
	disk, err := Build(t.Context(), Options{CacheDir: t.TempDir(), Installer: true, Array: true})
	if err != nil {
		t.Fatal(err)
	}
	runInside(t, disk.Raw.Path+"?offset=18874368", "grub-install --version", "mdadm --version")
}

// runInside runs commands in a root file system.
func runInside(t *testing.T, system string, commands ...string) {
	t.Helper()
	oracle(t, "e2fsck", "-fn", system)
	tree := t.TempDir()
	oracle(t, "debugfs", "-R", "rdump / "+tree, system)
	if os.Getuid() != 0 {
		return // nothing can be run in it
	}
	for _, command := range commands {
		oracle(t, "chroot", append([]string{tree, "/usr/bin/env", "PATH=/usr/sbin:/usr/bin"}, strings.Fields(command)...)...)
	}
}

// oracle fails the test if the program finds something wrong.
func oracle(t *testing.T, name string, args ...string) {
	t.Helper()
	path, err := program(name)
	if err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(path, args...).CombinedOutput(); err != nil {
		t.Errorf("%s: %v\n%s", name, err, out)
	}
}

// TestBuild4Kn has tools that know the sector size look at the image for disks
// with sectors of 4096 bytes.
func TestBuild4Kn(t *testing.T) {
	if _, err := Build(t.Context(), Options{CacheDir: t.TempDir(), Sector: 520}); err == nil || !strings.Contains(err.Error(), "520") {
		t.Errorf("sectors of 520 bytes: %v", err)
	}
	image, err := Build(t.Context(), Options{CacheDir: t.TempDir(), Sector: 4096, Array: true, Show: []string{"true"}})
	if err != nil {
		t.Fatal(err)
	}
	oracle(t, "e2fsck", "-fn", image.Raw.Path+"?offset=18874368")
	esp := filepath.Join(t.TempDir(), "esp")
	command(t, "dd", "if="+image.Raw.Path, "of="+esp, "bs=1M", "skip=2", "count=16")
	oracle(t, "fsck.vfat", "-n", esp)
	oracle(t, "sh", "-c", `blkid -p "$0" | grep 'BLOCK_SIZE="4096"'`, esp)
	if os.Getuid() != 0 {
		return // sgdisk takes a file's sectors for 512 bytes, and there is no loop device
	}
	device := strings.TrimSpace(command(t, "losetup", "--find", "--show", "--read-only", "--sector-size", "4096", image.Raw.Path))
	t.Cleanup(func() { oracle(t, "losetup", "--detach", device) })
	oracle(t, "sh", "-c", `sgdisk -v "$0" | grep "No problems found"`, device)
}
