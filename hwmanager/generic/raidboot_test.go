package generic

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"ferric/api/ipa"
	"ferric/hwmanager"
	"ferric/images/disk/disktest"
	"ferric/images/partition"
)

// command runs a program of this machine and returns what it says.
func command(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %v: %v: %s", name, args, err, out)
	}
	return string(out)
}

// arrayWithImage is a machine booted by UEFI with an array of sda and sdb that a
// whole-disk image was written to: an EFI system partition at 1 MiB with loader,
// label and UUID.
func arrayWithImage(t *testing.T) (*hwmanager.Host, *faultyArrays) {
	t.Helper()
	h := lab(t)
	faults := &faultyArrays{t: t, h: h}
	h.Run = faults
	must := faults.must
	must(os.MkdirAll(filepath.Join(h.Sys, "firmware/efi/efivars"), 0o755))
	for _, name := range []string{"sda", "sdb"} {
		target := disktest.Target(t, filepath.Join(h.Dev, name))
		d, err := target.Open()
		must(err)
		table, err := partition.Plan(d, partition.GPT, []partition.Wanted{{Start: raidStartUEFI * mebibyte, Size: 64 * mib, Type: typeLinuxRAID, Name: "root"}}, nil)
		must(err)
		must(errors.Join(table.Commit(d), d.Close()))
		for _, part := range []string{"1", "2"} {
			path := filepath.Join(h.Dev, name+part)
			must(errors.Join(os.WriteFile(path, nil, 0o644), os.Truncate(path, 64*mib)))
		}
	}
	_, err := faults.Run(t.Context(), "mdadm", "--create", filepath.Join(h.Dev, "md0"), "--raid-devices", "2", filepath.Join(h.Dev, "sda1"), filepath.Join(h.Dev, "sdb1"))
	must(err)
	faults.ran = nil
	image, esp := filepath.Join(h.Dev, "md0"), filepath.Join(t.TempDir(), "esp")
	sfdisk := exec.CommandContext(t.Context(), "sfdisk", "-q", "--no-reread", "--no-tell-kernel", image)
	sfdisk.Stdin = strings.NewReader("label: gpt\nstart=1MiB, size=8MiB, type=U\nsize=8MiB\n")
	must(sfdisk.Run())
	must(errors.Join(os.WriteFile(esp, nil, 0o644), os.Truncate(esp, 8*mib)))
	command(t, "mkfs.vfat", "-i", "1234ABCD", "-n", "EFI-SYSTEM", esp)
	command(t, "mmd", "-i", esp, "::/EFI", "::/EFI/BOOT")
	loader := filepath.Join(t.TempDir(), "loader")
	must(os.WriteFile(loader, []byte("boots"), 0o644))
	command(t, "mcopy", "-i", esp, loader, "::/EFI/BOOT/BOOTX64.EFI")
	content, err := os.ReadFile(esp)
	must(err)
	f, err := os.OpenFile(image, os.O_WRONLY, 0)
	must(err)
	_, err = f.WriteAt(content, mib)
	must(errors.Join(err, f.Close()))
	// The node of the image's partition is a part of the disk in the ramdisk.
	must(os.WriteFile(filepath.Join(h.Dev, "md0p1"), content, 0o644))
	return h, faults
}

// TestBootFromArray: the image's EFI system partition moves to a mirror on the
// disks of the array, and each of them has a boot entry.
func TestBootFromArray(t *testing.T) {
	h, faults := arrayWithImage(t)
	m := New()
	request := hwmanager.BootloaderRequest{}
	device := ipa.BlockDevice{Name: "/dev/md0", Size: 64 * mib}
	if err := m.InstallBootloader(t.Context(), h, device, request); err != nil {
		t.Fatal(err)
	}
	want := []string{"mdadm --create /dev/md1 --force --run --metadata=1.0 --level 1 --name esp --raid-devices 2 /dev/sda2 /dev/sdb2"}
	if !slices.Equal(faults.ran, want) {
		t.Errorf("commands %q, want %q", faults.ran, want)
	}
	for i, name := range []string{"sda", "sdb"} {
		path := filepath.Join(h.Dev, name)
		out := command(t, "sgdisk", "--verify", "--info=2", path)
		for _, text := range []string{"No problems found", strings.ToUpper(partition.TypeESP), "First sector: 2048 ", "Last sector: 1128447 ", "uefi-holder-" + string(rune('0'+i))} {
			if !strings.Contains(out, text) {
				t.Errorf("%s: sgdisk does not say %q:\n%s", name, text, out)
			}
		}
	}
	mirror := filepath.Join(h.Dev, "md1")
	out := command(t, "blkid", "-p", "-o", "export", mirror)
	if !strings.Contains(out, "UUID=1234-ABCD") || !strings.Contains(out, "LABEL=EFI-SYSTEM") || !strings.Contains(out, "TYPE=vfat") {
		t.Errorf("blkid finds on the mirror:\n%s", out)
	}
	command(t, "fsck.vfat", "-n", mirror)
	if got := command(t, "mtype", "-i", mirror, "::/EFI/BOOT/BOOTX64.EFI"); got != "boots" {
		t.Errorf("the loader on the mirror is %q", got)
	}
	if !isZero(t, filepath.Join(h.Dev, "md0p1")) {
		t.Error("the EFI system partition of the image is still there")
	}
	var labels []string
	order, err := os.ReadFile(filepath.Join(h.Sys, "firmware/efi/efivars/BootOrder-8be4df61-93ca-11d2-aa0d-00e098032b8c"))
	faults.must(err)
	for number := order[4:]; len(number) >= 2; number = number[2:] { // behind the attributes
		path := fmt.Sprintf("firmware/efi/efivars/Boot%04X-8be4df61-93ca-11d2-aa0d-00e098032b8c", binary.LittleEndian.Uint16(number))
		text, err := os.ReadFile(filepath.Join(h.Sys, path))
		faults.must(err)
		label, _, _ := bytes.Cut(text[10:], []byte{0, 0, 0}) // attributes, and those of the option with the length of its path
		labels = append(labels, string(bytes.ReplaceAll(label, []byte{0}, nil)))
	}
	if want := []string{"ironic1 (RAID, part0)", "ironic1 (RAID, part1)"}; !slices.Equal(labels, want) {
		t.Errorf("the boot order is %q, want %q", labels, want)
	}
}

// TestMirrorWithoutFileSystem: a mirror to which nothing was written before the power
// went is used, for there is no room for another one.
func TestMirrorWithoutFileSystem(t *testing.T) {
	h, faults := arrayWithImage(t)
	m := New()
	device := ipa.BlockDevice{Name: "/dev/md0", Size: 64 * mib}
	image := read(t, filepath.Join(h.Dev, "md0"), 0, 16*mib)
	if err := m.InstallBootloader(t.Context(), h, device, hwmanager.BootloaderRequest{}); err != nil {
		t.Fatal(err)
	}
	mirror := filepath.Join(h.Dev, "md1")
	write(t, mirror, 0, make([]byte, mib))
	write(t, filepath.Join(h.Dev, "md0"), 0, image) // the image is deployed anew
	faults.must(os.MkdirAll(filepath.Join(h.Sys, "block/md1/md"), 0o755))
	faults.must(os.WriteFile(filepath.Join(h.Sys, "block/md1/md/level"), []byte("raid1\n"), 0o644))
	for _, name := range []string{"sda2", "sdb2"} { // what mdadm would have written
		faults.must(os.WriteFile(filepath.Join(h.Sys, "block", name[:3], name, "size"), []byte(fmt.Sprint(64*mib/512)), 0o644))
		link := filepath.Join(h.Sys, "class/block", name)
		faults.must(errors.Join(os.MkdirAll(filepath.Dir(link), 0o755), os.Symlink(filepath.Join(h.Sys, "block", name[:3], name), link)))
		write(t, filepath.Join(h.Dev, name), 64*mib-8<<10, arrayMember("host:esp"))
	}
	faults.ran = nil
	if err := m.InstallBootloader(t.Context(), h, device, hwmanager.BootloaderRequest{}); err != nil || len(faults.ran) > 0 {
		t.Fatalf("error %v, ran %q", err, faults.ran)
	}
	if got := command(t, "mtype", "-i", mirror, "::/EFI/BOOT/BOOTX64.EFI"); got != "boots" {
		t.Errorf("the loader on the mirror is %q", got)
	}
}

// TestNoMirror: if the EFI system partitions cannot be mirrored, the disks are as
// they were, and so is the image.
func TestNoMirror(t *testing.T) {
	h, faults := arrayWithImage(t)
	faults.fails = "--name esp"
	err := New().InstallBootloader(t.Context(), h, ipa.BlockDevice{Name: "/dev/md0", Size: 64 * mib}, hwmanager.BootloaderRequest{})
	if err == nil || !strings.Contains(err.Error(), "it is on fire") {
		t.Fatalf("error = %v", err)
	}
	for _, name := range []string{"sda", "sdb"} {
		table, err := partition.List(filepath.Join(h.Dev, name))
		if err != nil || len(table.Partitions) != 1 || table.Partitions[0].Number != 1 {
			t.Errorf("%s has %+v, error %v; want the member only", name, table, err)
		}
	}
	if isZero(t, filepath.Join(h.Dev, "md0p1")) {
		t.Error("the EFI system partition of the image is gone")
	}
}

// TestBIOSBootsNoArray: without permission to run code of the image nothing is
// changed; without a root UUID the image is trusted.
func TestBIOSBootsNoArray(t *testing.T) {
	h, faults := arrayWithImage(t)
	faults.must(os.RemoveAll(filepath.Join(h.Sys, "firmware")))
	device := ipa.BlockDevice{Name: "/dev/md0", Size: 64 * mib}
	err := New().InstallBootloader(t.Context(), h, device, hwmanager.BootloaderRequest{RootUUID: "6f0f4c3c-4c0d-4d0e-9b57-66e20a6b2f04"})
	if !ipa.InvalidImage.Is(err) || !strings.Contains(err.Error(), "enable_bios_bootloader_install") {
		t.Errorf("error = %v", err)
	}
	if err := New().InstallBootloader(t.Context(), h, device, hwmanager.BootloaderRequest{RootUUID: noSignature}); err != nil {
		t.Error(err)
	}
	if err := noArray(h, device); !ipa.InvalidImage.Is(err) {
		t.Errorf("partition image for an array: %v; want it refused", err)
	}
	if err := noArray(h, ipa.BlockDevice{Name: "/dev/vda"}); err != nil {
		t.Errorf("partition image for a disk: %v", err)
	}
	if len(faults.ran) > 0 {
		t.Errorf("commands were run: %q", faults.ran)
	}
}
