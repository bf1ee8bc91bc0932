package generic

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ferric/api/ipa"
	"ferric/hwmanager"
	"ferric/images/disk/disktest"
	"ferric/images/partition"
)

// grubImage is a root file system with programs that pose as GRUB's.
func grubImage(t *testing.T, links map[string]string) ipa.ImageInfo {
	t.Helper()
	program := filepath.Join(t.TempDir(), "grub")
	build := exec.Command("go", "build", "-ldflags=-s -w", "-o", program, "./testdata/grub")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	content, err := os.ReadFile(program)
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]string{"usr/sbin/grub2-install": string(content), "usr/sbin/grub2-mkconfig": "-> grub2-install", "usr/bin/env": "-> ../sbin/grub2-install", "etc/fstab": ""}
	for name, target := range links {
		files[name] = "-> " + target
	}
	return rootImage(t, files)
}

func TestRunGRUB(t *testing.T) {
	// The other way, into an EFI system partition, needs a kernel with FAT.
	bios := hwmanager.Node{"instance_info": map[string]any{"deploy_boot_mode": "bios"}}
	for _, c := range []struct {
		name  string
		links map[string]string
		wrong string
	}{
		{"a system", nil, ""},
		{"a link out of it for a mount point", map[string]string{"proc": "/tmp"}, "escapes"},
		{"a link in it for a mount point", map[string]string{"proc": "etc"}, "/proc of the image is not a directory"},
	} {
		t.Run(c.name, func(t *testing.T) {
			h, device := loopMachine(t, 128<<20)
			if err := os.RemoveAll(filepath.Join(h.Sys, "firmware")); err != nil {
				t.Fatal(err)
			}
			m := New()
			result, err := m.WriteImage(t.Context(), h, device, grubImage(t, c.links), "", bios, none)
			if err != nil {
				t.Fatal(err)
			}
			req := hwmanager.BootloaderRequest{RootUUID: result.RootUUID, ESPUUID: result.ESPUUID}
			refusal := device.Name + " holds no boot loader, and running the image's installer for one is disabled because of CVE-2026-43003 (enable_bios_bootloader_install)"
			if err := m.InstallBootloader(t.Context(), h, device, req); !ipa.InvalidImage.Is(err) || !strings.HasSuffix(err.Error(), refusal) {
				t.Fatalf("without permission: %v", err)
			}
			if code := read(t, device.Name, 0, partition.BootCode); strings.Trim(string(code), "\x00") != "" {
				t.Error("there is code in the first sector after the refusal")
			}
			h.Settings.EnableBIOSBootloaderInstall = true
			err = m.InstallBootloader(t.Context(), h, device, req)
			if c.wrong != "" {
				if err == nil || !strings.Contains(err.Error(), c.wrong) {
					t.Errorf("error %v, want %q", err, c.wrong)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			root := strings.TrimPrefix(result.Partitions["root"], device.Name)
			if got := tool(t, "debugfs", "-R", "cat /calls", device.Name+root); got != "grub2-install "+device.Name+"\ngrub2-mkconfig -o /boot/grub2/grub.cfg" {
				t.Errorf("calls:\n%s", got)
			}
			write(t, device.Name, 0, []byte("boot code"))
			if err := m.InstallBootloader(t.Context(), h, device, req); err != nil {
				t.Errorf("with a boot sector: %v", err)
			}
			if got := tool(t, "debugfs", "-R", "cat /calls", device.Name+root); strings.Count(got, "\n") != 1 {
				t.Errorf("GRUB was run again over a boot sector:\n%s", got)
			}
		})
	}
}

// recorder is a runner that runs nothing.
type recorder []string

func (r *recorder) Run(_ context.Context, name string, args ...string) ([]byte, error) {
	*r = append(*r, name+" "+strings.Join(args, " "))
	return nil, nil
}

func TestGRUBCommands(t *testing.T) {
	target := disktest.Target(t, filepath.Join(t.TempDir(), "sda"))
	if err := os.WriteFile(target.Path(), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		uefi bool
		want recorder
	}{
		{false, recorder{"grub-install " + target.Path(), "grub-mkconfig -o /boot/grub/grub.cfg"}},
		{true, recorder{"grub-install --no-nvram", "grub-install --no-nvram --removable", "grub-mkconfig -o /boot/grub/grub.cfg"}},
	} {
		var calls recorder
		if err := grubCommands(t.Context(), &hwmanager.Host{Run: &calls}, "/mnt", "grub", c.uefi, target); err != nil {
			t.Fatal(err)
		}
		for i := range c.want {
			c.want[i] = "chroot /mnt /usr/bin/env PATH=/usr/sbin:/usr/bin:/sbin:/bin " + c.want[i]
		}
		if diff := cmp.Diff(c.want, calls); diff != "" {
			t.Errorf("UEFI %v: %s", c.uefi, diff)
		}
	}
}
