package direct

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ferric/api/ipa"
	"ferric/conductor/driver"
	"ferric/conductor/steps"
	"ferric/conductor/store"
)

func TestImage(t *testing.T) {
	sum := strings.Repeat("ab", 32)
	good := store.Object{
		"image_source": "https://images.test/os.qcow2", "image_disk_format": "qcow2",
		"image_os_hash_algo": "sha256", "image_os_hash_value": sum,
	}
	with := func(changes ...any) store.Object {
		o := good.Clone()
		for i := 0; i < len(changes); i += 2 {
			if key := changes[i].(string); changes[i+1] == nil {
				delete(o, key)
			} else {
				o[key] = changes[i+1]
			}
		}
		return o
	}
	var missing *driver.MissingParameterError
	var invalid *driver.InvalidParameterError
	for _, tt := range []struct {
		name string
		info store.Object
		kind any    // of the error
		want string // in it
	}{
		{"good", good, nil, ""},
		{"checksum file", with("image_os_hash_algo", nil, "image_os_hash_value", nil, "image_checksum", "https://images.test/SHA256SUMS"), nil, ""},
		{"no image", store.Object{}, &missing, "Missing are: ['image_source']"},
		{"no URL", with("image_source", "os.qcow2"), &invalid, `"os.qcow2"`},
		{"other scheme", with("image_source", "ftp://images.test/os"), &invalid, "not an http or https URL"},
		{"no checksum", with("image_os_hash_algo", nil, "image_os_hash_value", nil), &missing, "no checksum"},
		{"half a checksum", with("image_os_hash_value", nil), &invalid, "only one of"},
		{"md5", with("image_os_hash_algo", nil, "image_os_hash_value", nil, "image_checksum", strings.Repeat("a", 32)), &invalid, "allow_md5_checksum"},
		{"md5 by name", with("image_os_hash_algo", "md5"), &invalid, "allow_md5_checksum"},
		{"format", with("image_disk_format", "vmdk"), &invalid, `"vmdk"`},
		{"whole disk with a kernel", with("image_type", "whole-disk", "kernel", "http://images.test/vmlinuz"), nil, ""},
		{"partition image without root_gb", with("image_type", "partition"), &missing, "no root_gb"},
		{"partition image by kernel", with("kernel", "http://images.test/vmlinuz"), &missing, "no root_gb"},
		{"partition image with root_gb of zero", with("image_type", "partition", "root_gb", float64(0)), &missing, "no root_gb"},
		{"partition image with an odd size", with("image_type", "partition", "root_gb", "10", "swap_mb", "much"), &invalid, "swap_mb much"},
		{"partition image with an odd wish", with("image_type", "partition", "root_gb", "10", "preserve_ephemeral", "perhaps"), &invalid, "preserve_ephemeral perhaps"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d := New(DefaultConfig(), nil, steps.Views{})
			image, err := d.image(&store.Node{UUID: "u", InstanceInfo: tt.info})
			if tt.kind == nil {
				if err != nil || image.ID == "" || image.ImageType != "whole-disk" {
					t.Errorf("image %+v, %v", image, err)
				}
				return
			}
			if err == nil || !errors.As(err, tt.kind) || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v; want %T with %q", err, tt.kind, tt.want)
			}
		})
	}
	d := New(DefaultConfig(), nil, steps.Views{})
	image, err := d.image(&store.Node{UUID: "u", InstanceInfo: good, Properties: store.Object{"capabilities": "boot_mode:bios"}})
	if err != nil {
		t.Fatal(err)
	}
	want := &ipa.ImageInfo{
		ID: "os.qcow2", URLs: []string{"https://images.test/os.qcow2"}, NodeUUID: "u", ImageType: "whole-disk",
		DiskFormat: "qcow2", OSHashAlgo: "sha256", OSHashValue: sum, StreamRawImages: true, DeployBootMode: "bios",
	}
	if diff := cmp.Diff(want, image); diff != "" {
		t.Errorf("image_info (-want +got):\n%s", diff)
	}
}

func TestPartitionImage(t *testing.T) {
	d := New(DefaultConfig(), nil, steps.Views{})
	image, err := d.image(&store.Node{UUID: "u", Properties: store.Object{"capabilities": "boot_mode:bios,disk_label:gpt"}, InstanceInfo: store.Object{
		"image_source": "http://images.test/root.raw", "image_type": "partition", "image_checksum": strings.Repeat("ab", 32),
		"root_gb": "10", "swap_mb": float64(512), "ephemeral_gb": float64(2), "preserve_ephemeral": "True",
	}})
	if err != nil {
		t.Fatal(err)
	}
	size := func(n ipa.MiB) *ipa.MiB { return &n }
	preserve := true
	want := &ipa.ImageInfo{
		ID: "root.raw", URLs: []string{"http://images.test/root.raw"}, NodeUUID: "u", ImageType: "partition", Checksum: strings.Repeat("ab", 32),
		StreamRawImages: true, DeployBootMode: "bios", BootOption: "local", DiskLabel: "gpt",
		RootGB: int64(10), RootMB: size(10240), SwapMB: size(512), EphemeralMB: size(2048), EphemeralFormat: "ext4", PreserveEphemeral: &preserve,
	}
	if diff := cmp.Diff(want, image); diff != "" {
		t.Errorf("image_info (-want +got):\n%s", diff)
	}
}
