package conversation_test

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ferric/integration/conversation"
	"ferric/integration/lab"
	"ferric/integration/osimage"
)

// deployPartitionImage has a root file system deployed onto a UEFI machine, as the direct deploy of Ironic does it for
// local boot: partitions, config drive, and the image's own boot loader from below /boot/efi; then the disk boots.
func deployPartitionImage(t *testing.T) {
	cache := os.Getenv("FERRIC_IMAGES")
	if cache == "" {
		cache = t.TempDir()
	}
	image, err := osimage.BuildPartition(t.Context(), osimage.Options{CacheDir: cache})
	must(t, err)
	ctx, s := open(t, conversation.SiteOptions{
		Release: conversation.Ironic29(), ImageDir: filepath.Dir(image.QCOW2.Path),
		Node: lab.NodeConfig{Firmware: lab.UEFI, MemoryMiB: 512, Disks: []lab.Disk{{Kind: lab.SATA}}},
	})
	info := maps.Clone(s.Node["instance_info"].(map[string]any))
	maps.Copy(info, map[string]any{"deploy_boot_mode": "uefi", "image_type": "partition"})
	s.Node["instance_info"] = info
	boot(t, ctx, s)

	step := s.WriteImageStep(conversation.Image{
		URL: s.ImageURL(image.QCOW2.Path), SHA256: image.QCOW2.SHA256, Format: "qcow2",
		ConfigDrive: configDrive(t, map[string]string{
			"openstack/latest/meta_data.json": `{"uuid": "u", "hostname": "partitioned", "name": "other"}`,
			"openstack/latest/user_data":      osimage.UserData("n0nce-p", false),
		}),
	})
	// What Ironic adds for a partition image (deploy flow, section 4).
	maps.Copy(step["args"].(map[string]any)["image_info"].(map[string]any), map[string]any{
		"image_type": "partition", "kernel": nil, "ramdisk": nil, "root_gb": "1", "root_mb": 1024, "swap_mb": 64, "ephemeral_mb": 0,
		"ephemeral_format": "ext4", "preserve_ephemeral": false, "deploy_boot_mode": "uefi", "boot_option": "local", "disk_label": nil,
	})
	_, err = s.Steps(ctx, conversation.Deploy)
	must(t, err)
	ended, err := s.Step(ctx, conversation.Deploy, step)
	must(t, err)
	answer, err := s.Sync(ctx, "standby.get_partition_uuids", nil)
	must(t, err)
	var uuids map[string]any
	must(t, json.Unmarshal(answer, &uuids))
	esp, _ := uuids["efi system partition uuid"].(string)
	if !regexp.MustCompile(`^[0-9A-F]{4}-[0-9A-F]{4}$`).MatchString(esp) {
		t.Errorf("EFI system partition %q", esp)
	}
	want := map[string]any{
		"root uuid": osimage.PartitionRootUUID, "efi system partition uuid": esp,
		"partitions": map[string]any{"efi system partition": "/dev/sda1", "swap": "/dev/sda2", "configdrive": "/dev/sda3", "root": "/dev/sda4"},
	}
	if diff := cmp.Diff(want, uuids); diff != "" {
		t.Errorf("get_partition_uuids (-want +got):\n%s", diff)
	}
	text := fmt.Sprintf("prepare_image: image (%s) written to device /dev/sda root_uuid=%s efi_system_partition_uuid=%s", filepath.Base(image.QCOW2.Path), osimage.PartitionRootUUID, esp)
	if !strings.Contains(string(ended.Result), text) {
		t.Errorf("result %s, want %q", ended.Result, text)
	}
	// Files go to the root file system, and to the FAT of the EFI system partition.
	ended, err = s.Step(ctx, conversation.Deploy, map[string]any{"interface": "deploy", "step": "inject_files", "args": map[string]any{"files": []map[string]any{
		{"path": "/etc/motd", "content": base64.StdEncoding.EncodeToString([]byte("injected")), "mode": 0o644, "owner": 0},
		{"path": "/ferric/note.txt", "content": base64.StdEncoding.EncodeToString([]byte("note")), "partition": 1},
	}}})
	must(t, err)
	if want := "/etc/motd written to /dev/sda4; /ferric/note.txt written to /dev/sda1"; !strings.Contains(string(ended.Result), want) {
		t.Errorf("result %s, want %q", ended.Result, want)
	}
	bootloader := map[string]any{
		"root_uuid": uuids["root uuid"], "efi_system_part_uuid": esp, "prep_boot_part_uuid": nil, "target_boot_mode": "uefi",
	}
	_, err = s.Wait(ctx, "image.install_bootloader", bootloader)
	must(t, err)
	// The firmware forgets the boot entry and is told again.
	ended, err = s.Step(ctx, conversation.Deploy, map[string]any{"interface": "deploy", "step": "clean_uefi_nvram", "args": map[string]any{}})
	must(t, err)
	if !regexp.MustCompile(`boot entries deleted: .*Boot[0-9A-F]{4} \(ironic1\)`).Match(ended.Result) {
		t.Errorf("result %s, want the boot entry deleted", ended.Result)
	}
	_, err = s.Wait(ctx, "image.install_bootloader", bootloader)
	must(t, err)
	_, err = s.Command(ctx, "standby.power_off", nil, false)
	must(t, err)
	off(t, s, powerOffLimit)

	mark := s.Machine.Console.Mark()
	must(t, s.Machine.SetSelector(lab.SelectDisk))
	must(t, s.Machine.PowerOn())
	for _, want := range []string{"disk-serial=machine-disk0", "firmware=uefi", "motd=injected", "efi-mount=UUID=" + esp, "hostname=partitioned", "nonce=n0nce-p", "up"} {
		_, err := s.Machine.Console.WaitFor(ctx, mark, regexp.MustCompile("ferric-os: "+want))
		must(t, err)
	}
}
