package generic

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"ferric/api/ipa"
	"ferric/hwmanager"
	"ferric/images/disk"
)

// rootOf makes the image of a root file system by a program of its kind, of 320
// MiB, the least that XFS is made of, and serves it.
func rootOf(t *testing.T, files map[string]string, mkfs ...string) ipa.ImageInfo {
	t.Helper()
	dir := t.TempDir()
	image := filepath.Join(dir, "root.raw")
	tool(t, "truncate", "-s", "320M", image)
	tool(t, mkfs[0], append(mkfs[1:], image)...)
	mounted := filepath.Join(dir, "mounted")
	if err := os.Mkdir(mounted, 0o755); err != nil {
		t.Fatal(err)
	}
	tool(t, "mount", "-o", "loop", image, mounted)
	for name, content := range files {
		path := filepath.Join(mounted, name)
		err := os.MkdirAll(filepath.Dir(path), 0o755)
		if err == nil {
			err = os.WriteFile(path, []byte(content), 0o644)
		}
		if err != nil {
			tool(t, "umount", mounted)
			t.Fatal(err)
		}
	}
	tool(t, "umount", mounted)
	tool(t, "qemu-img", "convert", "-f", "raw", "-O", "qcow2", "-c", image, image+".qcow2")
	info := serveImage(t, image+".qcow2")
	info.DiskFormat = "qcow2"
	*info.RootMB = 330
	return info
}

// TestRootFileSystems deploys each kind of root file system that is known, on
// disks with both sizes of sectors, and takes the boot loader from it.
func TestRootFileSystems(t *testing.T) {
	for _, c := range []struct {
		name   string
		sector string
		mkfs   []string
		check  []string
	}{
		{"ext4", "512", []string{"mke2fs", "-q", "-F", "-t", "ext4"}, []string{"e2fsck", "-fn"}},
		{"ext2", "512", []string{"mke2fs", "-q", "-F", "-t", "ext2"}, []string{"e2fsck", "-fn"}},
		{"ext4", "4096", []string{"mke2fs", "-q", "-F", "-t", "ext4", "-b", "4096"}, []string{"e2fsck", "-fn"}},
		{"xfs", "512", []string{"mkfs.xfs", "-q"}, []string{"xfs_repair", "-n"}},
		{"xfs", "4096", []string{"mkfs.xfs", "-q", "-s", "size=4096"}, []string{"xfs_repair", "-n"}},
		{"btrfs", "512", []string{"mkfs.btrfs", "-q"}, []string{"btrfs", "check", "--readonly"}},
		{"btrfs", "4096", []string{"mkfs.btrfs", "-q"}, []string{"btrfs", "check", "--readonly"}},
	} {
		t.Run(c.name+" "+c.sector, func(t *testing.T) {
			h, device := loopMachine(t, 1<<30)
			tool(t, "losetup", "--sector-size", c.sector, device.Name)
			info := rootOf(t, map[string]string{"boot/efi/EFI/BOOT/BOOTX64.EFI": "loader", "etc/fstab": "# nothing yet\n"}, c.mkfs...)
			m := New()
			result, err := m.WriteImage(t.Context(), h, device, info, "", uefiNode, none)
			if err != nil {
				t.Fatal(err)
			}
			root, esp := result.Partitions["root"], disk.Node(device.Name, 1)
			if id := tool(t, "blkid", "-p", "-o", "value", "-s", "UUID", root); id != result.RootUUID {
				t.Errorf("root UUID %s, blkid finds %s", result.RootUUID, id)
			}
			req := hwmanager.BootloaderRequest{RootUUID: result.RootUUID, ESPUUID: result.ESPUUID, TargetBootMode: "uefi"}
			if err := m.InstallBootloader(t.Context(), h, device, req); err != nil {
				t.Fatal(err)
			}
			tool(t, "fsck.vfat", "-n", esp)
			tool(t, c.check[0], append(c.check[1:], root)...)
			dir := t.TempDir()
			tool(t, "mount", "-o", "ro", root, dir)
			fstab, err := os.ReadFile(filepath.Join(dir, "etc/fstab"))
			tool(t, "umount", dir)
			if want := "# nothing yet\nUUID=" + result.ESPUUID + "\t/boot/efi\tvfat\tumask=0077\t0\t1\n"; err != nil || string(fstab) != want {
				t.Errorf("fstab %q (%v), want %q", fstab, err, want)
			}
			if id := tool(t, "blkid", "-p", "-o", "value", "-s", "UUID", esp); id != result.ESPUUID {
				t.Errorf("EFI system partition is %s, not %s", id, result.ESPUUID)
			}
			if c.sector == "512" { // mtools asks nobody for the sector
				if files := tool(t, "mdir", "-b", "-/", "-i", esp, "::"); !strings.Contains(files, "/EFI/BOOT/BOOTX64.EFI") {
					t.Errorf("files: %s", files)
				}
			}
		})
	}
}

// TestEphemeral makes ephemeral partitions of all kinds, and keeps what is on
// them when the machine is deployed again.
func TestEphemeral(t *testing.T) {
	all := []string{"ext4", "xfs", "btrfs", "vfat"}
	kinds := map[string][]string{"512": all[:2], "4096": all[2:]}
	if os.Getenv("FERRIC_FULL") != "" {
		kinds = map[string][]string{"512": all, "4096": all}
	}
	for sector, kinds := range kinds {
		for _, kind := range kinds {
			t.Run(kind+" "+sector, func(t *testing.T) {
				h, device := loopMachine(t, 1<<30)
				tool(t, "losetup", "--sector-size", sector, device.Name)
				info := rootImage(t, nil)
				h.Settings.EFISystemPartitionSize = 64
				info.EphemeralFormat, *info.EphemeralMB = kind, 128
				if kind == "xfs" { // which makes none of less than 300 MB
					*info.EphemeralMB = 320
				}
				m := New()
				first, err := m.WriteImage(t.Context(), h, device, info, "", uefiNode, none)
				if err != nil {
					t.Fatal(err)
				}
				ephemeral := first.Partitions["ephemeral"]
				if got := tool(t, "blkid", "-p", "-o", "value", "-s", "TYPE", ephemeral) + " " + tool(t, "blkid", "-p", "-o", "value", "-s", "LABEL", ephemeral); got != kind+" ephemeral0" {
					t.Errorf("%s is %s, want %s labelled ephemeral0", ephemeral, got, kind)
				}
				before := tool(t, "sha256sum", ephemeral)
				*info.PreserveEphemeral = true
				second, err := m.WriteImage(t.Context(), h, device, info, "", uefiNode, none)
				if err != nil {
					t.Fatal(err)
				}
				if second == first || second.ESPUUID == first.ESPUUID || second.Partitions["ephemeral"] != ephemeral {
					t.Errorf("deployed again: %+v, was %+v", second, first)
				}
				if after := tool(t, "sha256sum", ephemeral); after != before {
					t.Errorf("the ephemeral partition has changed from %s to %s", before, after)
				}
			})
		}
	}
}
