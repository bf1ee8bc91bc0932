package osimage

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sirupsen/logrus"

	"ferric/api/ipa"
	"ferric/hwmanager"
	"ferric/hwmanager/generic"
)

// TestBootInstalled deploys the partition image for BIOS onto a loop device,
// where its own GRUB installs itself, and boots it from a disk that has another
// name then.
func TestBootInstalled(t *testing.T) {
	needQEMU(t)
	if os.Getuid() != 0 {
		if os.Getenv("CI") == "true" {
			t.Fatal("needs root")
		}
		t.Skip("needs root")
	}
	image, err := BuildPartition(t.Context(), Options{CacheDir: t.TempDir(), Installer: true})
	if err != nil {
		t.Fatal(err)
	}
	labels := map[string]string{"msdos": "virtio"}
	if os.Getenv("FERRIC_FULL") != "" {
		labels["gpt"] = "sata"
	}
	for label, bus := range labels {
		t.Run(label, func(t *testing.T) {
			disk := filepath.Join(t.TempDir(), "disk.raw")
			if err := sparseFile(disk, 256*mib); err != nil {
				t.Fatal(err)
			}
			deployPartition(t, disk, image, label)
			command(t, "sfdisk", "--verify", disk)
			if label == "gpt" {
				oracle(t, "sh", "-c", `sgdisk -v "$0" | grep "No problems found"`, disk)
			}
			console, powerDown := boot(t, "bios", "256", buses[bus], disk)
			text := waitFor(t, console, "ferric-os: up\n", bootLimit)
			for _, want := range []string{"disk-serial=SERIAL-" + bus, "firmware=bios", "menu=generated"} {
				if !strings.Contains(text, "ferric-os: "+want+"\n") {
					t.Errorf("console has no line %q:\n%s", want, text)
				}
			}
			powerDown()
		})
	}
}

// deployPartition does to the disk what an agent does that was booted by a BIOS.
func deployPartition(t *testing.T, disk string, image *Image, label string) {
	t.Helper()
	loop := strings.TrimSpace(command(t, "losetup", "-f", "--show", disk))
	defer func() {
		command(t, "partx", "-d", loop)
		command(t, "losetup", "-d", loop)
	}()
	server := httptest.NewServer(http.FileServer(http.Dir(filepath.Dir(image.Raw.Path))))
	defer server.Close()
	log := logrus.New()
	log.SetOutput(io.Discard)
	host := &hwmanager.Host{
		Sys: "/sys", Proc: "/proc", Dev: "/dev", Run: hwmanager.Exec{}, Log: logrus.NewEntry(log), Guard: hwmanager.DeviceGuard{Allowed: []string{loop}},
		Settings: hwmanager.Settings{EnableBIOSBootloaderInstall: true},
	}
	size := func(n ipa.MiB) *ipa.MiB { return &n }
	preserve := false
	info := ipa.ImageInfo{
		ID: "root", URLs: []string{server.URL + "/" + filepath.Base(image.QCOW2.Path)}, DiskFormat: "qcow2", OSHashAlgo: "sha256", OSHashValue: image.QCOW2.SHA256,
		ImageType: ipa.PartitionImage, RootMB: size(InstallerRootMiB), SwapMB: size(4), EphemeralMB: size(16), PreserveEphemeral: &preserve,
	}
	node := hwmanager.Node{"instance_info": map[string]any{"deploy_boot_mode": "bios", "capabilities": map[string]any{"disk_label": label}}}
	device := ipa.BlockDevice{Name: loop, Size: 256 * mib}
	m := generic.New()
	result, err := m.WriteImage(t.Context(), host, device, info, "", node, func(ipa.Progress) {})
	if err != nil {
		t.Fatal(err)
	}
	if result.RootUUID != PartitionRootUUID {
		t.Errorf("root UUID %s", result.RootUUID)
	}
	if err := m.InstallBootloader(t.Context(), host, device, hwmanager.BootloaderRequest{RootUUID: result.RootUUID, TargetBootMode: "bios"}); err != nil {
		t.Fatal(fmt.Errorf("%s: %w", label, err))
	}
}
