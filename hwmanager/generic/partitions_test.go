package generic

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sirupsen/logrus"

	"ferric/api/ipa"
	"ferric/hwmanager"
	"ferric/images/disk"
)

// tool runs a program that has to succeed.
func tool(t *testing.T, name string, args ...string) string {
	t.Helper()
	var complaints strings.Builder
	cmd := exec.Command(name, args...)
	cmd.Stderr = &complaints
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s %s: %v: %s%s", name, strings.Join(args, " "), err, out, complaints.String())
	}
	return strings.TrimSpace(string(out))
}

// loopMachine is a host whose only disk, a loop device of size bytes, may be
// written to, with firmware that keeps its variables in a directory.
func loopMachine(t *testing.T, size int64) (*hwmanager.Host, ipa.BlockDevice) {
	t.Helper()
	if os.Getuid() != 0 {
		if os.Getenv("CI") == "true" {
			t.Fatal("needs root")
		}
		t.Skip("needs root")
	}
	root := t.TempDir()
	backing := filepath.Join(root, "backing")
	f, err := os.Create(backing)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Truncate(size); err != nil {
		t.Fatal(err)
	}
	loop := tool(t, "losetup", "-f", "--show", backing)
	t.Cleanup(func() {
		_ = exec.Command("partx", "-d", loop).Run() // there may be none
		tool(t, "losetup", "-d", loop)
	})
	sys := filepath.Join(root, "sys")
	if err := os.MkdirAll(filepath.Join(sys, "firmware/efi/efivars"), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{"class", "block", "dev"} {
		if err := os.Symlink("/sys/"+dir, filepath.Join(sys, dir)); err != nil {
			t.Fatal(err)
		}
	}
	log := logrus.New()
	log.SetOutput(io.Discard)
	h := &hwmanager.Host{Sys: sys, Proc: "/proc", Dev: "/dev", Run: hwmanager.Exec{}, Log: logrus.NewEntry(log), Guard: hwmanager.DeviceGuard{Allowed: []string{loop}}}
	return h, ipa.BlockDevice{Name: loop, Size: size}
}

const partitionRootUUID = "6f0f4c3c-4c0d-4d0e-9b57-66e20a6b2f04"

// rootImage makes a root file system of 16 MiB and serves it.
func rootImage(t *testing.T, files map[string]string) ipa.ImageInfo {
	t.Helper()
	dir := t.TempDir()
	tree, image := filepath.Join(dir, "tree"), filepath.Join(dir, "root.raw")
	if err := os.MkdirAll(tree, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, content := range files {
		path := filepath.Join(tree, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if target, ok := strings.CutPrefix(content, "-> "); ok {
			if err := os.Symlink(target, path); err != nil {
				t.Fatal(err)
			}
		} else if err := os.WriteFile(path, []byte(content), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	tool(t, "truncate", "-s", "16M", image)
	tool(t, "mke2fs", "-q", "-F", "-t", "ext4", "-U", partitionRootUUID, "-d", tree, image)
	return serveImage(t, image)
}

// serveImage is what a conductor tells of the raw image in the file.
func serveImage(t *testing.T, image string) ipa.ImageInfo {
	t.Helper()
	content, err := os.ReadFile(image)
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(http.FileServer(http.Dir(filepath.Dir(image))))
	t.Cleanup(server.Close)
	sum := sha256.Sum256(content)
	size := func(n ipa.MiB) *ipa.MiB { return &n }
	preserve := false
	return ipa.ImageInfo{
		ID: "root", URLs: []string{server.URL + "/" + filepath.Base(image)}, DiskFormat: "raw", OSHashAlgo: "sha256", OSHashValue: hex.EncodeToString(sum[:]),
		ImageType: ipa.PartitionImage, RootMB: size(24), SwapMB: size(4), EphemeralMB: size(16), EphemeralFormat: "ext4", PreserveEphemeral: &preserve,
		DeployBootMode: "uefi",
	}
}

var uefiNode = hwmanager.Node{"properties": map[string]any{"capabilities": "cpu_vt:true,boot_mode:uefi"}}

func none(ipa.Progress) {}

// TestPartitionImage deploys one for UEFI and makes it bootable with what it
// brings below /boot/efi.
func TestPartitionImage(t *testing.T) {
	const loader = "the loader"
	info := rootImage(t, map[string]string{
		"boot/efi/EFI/BOOT/BOOTX64.EFI":    loader,
		"boot/efi/EFI/debian/grub.cfg":     "search",
		"boot/efi/EFI/BOOT/ENTRIES.CONF.D": "of the image",
		"boot/efi/EFI/debian/outside":      "-> /etc/passwd",
		"boot/efi/EFI/debian/fbx64.efi":    strings.Repeat("fallback", 5000),
		"etc/fstab":                        "UUID=x / ext4 defaults 0 1",
		"boot/efi/not below the EFI tree":  "x",
	})
	h, device := loopMachine(t, 700<<20)
	m := New()
	result, err := m.WriteImage(t.Context(), h, device, info, "", uefiNode, none)
	if err != nil {
		t.Fatal(err)
	}
	name := func(n int) string { return disk.Node(device.Name, n) }
	want := fmt.Sprintf("image (root) written to device %s root_uuid=%s efi_system_partition_uuid=%s", device.Name, partitionRootUUID, result.ESPUUID)
	if result.Text != want || result.Partitions["root"] != name(4) || result.Partitions["ephemeral"] != name(2) || len(result.Partitions) != 4 {
		t.Errorf("%+v, want text %q", result, want)
	}
	for path, tags := range map[string]string{name(1): "efi-part vfat", name(2): "ephemeral0 ext4", name(3): "swap1 swap"} {
		if got := tool(t, "blkid", "-p", "-o", "value", "-s", "LABEL", path) + " " + tool(t, "blkid", "-p", "-o", "value", "-s", "TYPE", path); got != tags {
			t.Errorf("%s is %s, want %s", path, got, tags)
		}
	}
	tool(t, "e2fsck", "-fn", name(2))

	again, err := m.WriteImage(t.Context(), h, device, info, "", uefiNode, func(ipa.Progress) { t.Error("it is written again") })
	if err != nil || again != result {
		t.Errorf("the same again: %+v, %v", again, err)
	}

	esp := name(1)
	stale := filepath.Join(t.TempDir(), "stale")
	if err := os.WriteFile(stale, []byte("stale"), 0o600); err != nil {
		t.Fatal(err)
	}
	tool(t, "mmd", "-i", esp, "::EFI", "::EFI/BOOT")
	tool(t, "mcopy", "-i", esp, stale, "::EFI/BOOT/entries.conf.d") // the same name to FAT
	tool(t, "blockdev", "--flushbufs", esp)

	req := hwmanager.BootloaderRequest{RootUUID: result.RootUUID, ESPUUID: result.ESPUUID, TargetBootMode: "uefi"}
	if err := m.InstallBootloader(t.Context(), h, device, req); err != nil {
		t.Fatal(err)
	}
	tool(t, "fsck.vfat", "-n", esp)
	if got := tool(t, "blkid", "-p", "-o", "value", "-s", "UUID", esp); got != result.ESPUUID {
		t.Errorf("EFI system partition became %s", got)
	}
	if got := tool(t, "mtype", "-i", esp, "::EFI/BOOT/BOOTX64.EFI"); got != loader {
		t.Errorf("loader %q", got)
	}
	if got := tool(t, "mtype", "-i", esp, "::EFI/BOOT/ENTRIES.CONF.D"); got != "of the image" {
		t.Errorf("what the partition held before wins: %q", got)
	}
	if got := tool(t, "mdir", "-b", "-/", "-i", esp, "::"); !strings.Contains(got, "/EFI/debian/grub.cfg") || strings.Contains(got, "outside") || strings.Contains(got, "not below") {
		t.Errorf("files: %s", got)
	}
	if entries, _ := filepath.Glob(filepath.Join(h.Sys, "firmware/efi/efivars/Boot0*")); len(entries) != 1 {
		t.Errorf("boot entries %v", entries)
	}
	tool(t, "e2fsck", "-fn", name(4))
	line := "UUID=x / ext4 defaults 0 1\nUUID=" + result.ESPUUID + "\t/boot/efi\tvfat\tumask=0077\t0\t1"
	if got := tool(t, "debugfs", "-R", "cat /etc/fstab", name(4)); got != line {
		t.Errorf("fstab %q, want %q", got, line)
	}
	// A second time there is nothing to do; and the disk has changed since.
	if err := m.InstallBootloader(t.Context(), h, device, req); err != nil {
		t.Error(err)
	}
	if m.already(h, device, info, "", uefiNode) != nil {
		t.Error("the image counts as written though the boot loader changed the disk")
	}
}

// TestPartitionImageForUEFIUnderBIOS: the agent was booted by the other kind of
// firmware, which keeps no boot entries.
func TestPartitionImageForUEFIUnderBIOS(t *testing.T) {
	h, device := loopMachine(t, 700<<20)
	if err := os.RemoveAll(filepath.Join(h.Sys, "firmware")); err != nil {
		t.Fatal(err)
	}
	m := New()
	result, err := m.WriteImage(t.Context(), h, device, rootImage(t, map[string]string{"boot/efi/EFI/BOOT/BOOTX64.EFI": "loader"}), "", uefiNode, none)
	if err != nil {
		t.Fatal(err)
	}
	if err := m.InstallBootloader(t.Context(), h, device, hwmanager.BootloaderRequest{RootUUID: result.RootUUID, ESPUUID: result.ESPUUID}); err != nil {
		t.Fatal(err)
	}
	if got := tool(t, "mtype", "-i", disk.Node(device.Name, 1), "::EFI/BOOT/BOOTX64.EFI"); got != "loader" {
		t.Errorf("loader %q", got)
	}
}

func TestPartitionImageWithoutLoader(t *testing.T) {
	h, device := loopMachine(t, 700<<20)
	m := New()
	info := rootImage(t, map[string]string{"boot/efi": "-> /etc"})
	result, err := m.WriteImage(t.Context(), h, device, info, "", uefiNode, none)
	if err != nil {
		t.Fatal(err)
	}
	req := hwmanager.BootloaderRequest{RootUUID: result.RootUUID}
	err = m.InstallBootloader(t.Context(), h, device, req)
	if err == nil {
		t.Error("a boot loader out of nothing")
	}
	req.RootUUID = "00000000-0000-4000-8000-000000000000"
	if err := m.InstallBootloader(t.Context(), h, device, req); !ipa.InvalidImage.Is(err) || !strings.Contains(err.Error(), "CVE-2026-43003") {
		t.Errorf("another root: %v", err)
	}
	ignore := true
	req.IgnoreFailure = &ignore
	if err := m.InstallBootloader(t.Context(), h, device, req); err != nil {
		t.Errorf("ignored: %v", err)
	}
	req.RootUUID = ""
	if err := m.InstallBootloader(t.Context(), h, device, hwmanager.BootloaderRequest{}); err != nil {
		t.Errorf("nothing known of the root: %v", err)
	}
}

func TestPartitionImageIsRefused(t *testing.T) {
	h, device := loopMachine(t, 64<<20)
	bios := hwmanager.Node{"instance_info": map[string]any{"deploy_boot_mode": "bios"}}
	for _, c := range []struct {
		name   string
		change func(*ipa.ImageInfo)
		node   hwmanager.Node
		kind   ipa.Kind
		text   string
	}{
		{"no program", func(i *ipa.ImageInfo) { i.EphemeralFormat = "zonefs" }, bios, ipa.FileSystemUnsupported, "there is no program mkfs.zonefs"},
		{"no name", func(i *ipa.ImageInfo) { i.EphemeralFormat = "../sh" }, bios, ipa.InvalidCommandParams, "is not the name of a file system"},
		{"image larger than root", func(i *ipa.ImageInfo) { *i.RootMB = 8 }, bios, ipa.InvalidCommandParams, "larger than root_mb of 8"},
		{"disk too small", func(*ipa.ImageInfo) {}, uefiNode, ipa.Deployment, "no room"},
	} {
		t.Run(c.name, func(t *testing.T) {
			info := rootImage(t, nil)
			c.change(&info)
			_, err := New().WriteImage(t.Context(), h, device, info, "", c.node, none)
			if !c.kind.Is(err) || !strings.Contains(err.Error(), c.text) {
				t.Errorf("got %v, want %s with %q", err, c.kind.Type, c.text)
			}
			if !isZero(t, device.Name) {
				t.Error("the disk was written to")
			}
		})
	}
}

func TestNodeBootMode(t *testing.T) {
	type m = map[string]any
	for _, c := range []struct {
		name  string
		node  hwmanager.Node
		uefi  bool // what the machine was booted by
		mode  string
		label string
	}{
		{"nothing, booted by BIOS", nil, false, "bios", "msdos"},
		{"nothing, booted by UEFI", nil, true, "uefi", "gpt"},
		{"instance first", hwmanager.Node{"instance_info": m{"deploy_boot_mode": "bios"}, "properties": m{"capabilities": "boot_mode:uefi"}}, true, "bios", "msdos"},
		{"then properties", hwmanager.Node{"properties": m{"capabilities": "boot_mode:uefi"}, "driver_internal_info": m{"deploy_boot_mode": "bios"}}, false, "uefi", "gpt"},
		{"then the conductor's choice", hwmanager.Node{"driver_internal_info": m{"deploy_boot_mode": "uefi"}}, false, "uefi", "gpt"},
		{"secure boot", hwmanager.Node{"instance_info": m{"deploy_boot_mode": "bios", "capabilities": `{"secure_boot": "True"}`}}, false, "uefi", "gpt"},
		{"secure boot of the node", hwmanager.Node{"instance_info": m{"deploy_boot_mode": "bios"}, "properties": m{"capabilities": "secure_boot:true"}}, false, "uefi", "gpt"},
		{"nonsense", hwmanager.Node{"instance_info": m{"deploy_boot_mode": "openfirmware"}}, true, "bios", "msdos"},
		{"label of the instance", hwmanager.Node{"instance_info": m{"deploy_boot_mode": "bios", "capabilities": m{"disk_label": "gpt"}}, "properties": m{"capabilities": "disk_label:msdos"}}, false, "bios", "gpt"},
		{"label of the node", hwmanager.Node{"properties": m{"capabilities": " boot_mode : BIOS , disk_label:gpt"}}, true, "bios", "gpt"},
		{"odd capabilities", hwmanager.Node{"instance_info": m{"capabilities": []any{"x"}}, "properties": m{"capabilities": "boot_mode,:,x:y:z"}}, true, "uefi", "gpt"},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := &hwmanager.Host{Sys: t.TempDir()}
			if c.uefi {
				if err := os.MkdirAll(filepath.Join(h.Sys, "firmware/efi"), 0o755); err != nil {
					t.Fatal(err)
				}
			}
			mode := nodeBootMode(h, c.node)
			if label := nodeDiskLabel(c.node, mode); mode != c.mode || label != c.label {
				t.Errorf("%s with %s, want %s with %s", mode, label, c.mode, c.label)
			}
		})
	}
}

func TestESPLine(t *testing.T) {
	const line = "UUID=ABCD-1234\t/boot/efi\tvfat\tumask=0077\t0\t1\n"
	for fstab, want := range map[string]string{
		"":                                   line,
		"LABEL=root / ext4 defaults 0 1\n":   line,
		"LABEL=root / ext4 defaults 0 1":     "\n" + line,
		"# /boot/efi was here\n":             line,
		"#LABEL=x /boot/efi vfat a 0 1\n":    line,
		"LABEL=UEFI /boot/efi vfat a 0 1\n":  "",
		"LABEL=UEFI /boot/efi/ vfat a 0 1\n": "",
	} {
		if got, has := espLine(fstab, "ABCD-1234"); got != want || has != (want == "") {
			t.Errorf("%q: %q, %v", fstab, got, has)
		}
	}
}
