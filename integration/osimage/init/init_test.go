package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestFSLabel(t *testing.T) {
	iso := make([]byte, 17*2048)
	copy(iso[16*2048:], "\x01CD001\x01\x00")
	copy(iso[16*2048+40:], "config-2"+strings.Repeat(" ", 24))
	fat := func(at int, kind string) []byte {
		b := make([]byte, 512)
		copy(b[at:], "CONFIG-2   "+kind)
		b[510], b[511] = 0x55, 0xaa
		return b
	}
	for _, tc := range []struct {
		name        string
		data        []byte
		label, kind string
	}{
		{"iso9660", iso, "config-2", "iso9660"},
		{"fat16", fat(43, "FAT16   "), "CONFIG-2", "vfat"},
		{"fat32", fat(71, "FAT32   "), "CONFIG-2", "vfat"},
		{"boot sector", fat(43, "GRUB    "), "", ""},
		{"short", []byte("x"), "", ""},
		{"empty", make([]byte, 1<<16), "", ""},
	} {
		if label, kind := fsLabel(bytes.NewReader(tc.data)); label != tc.label || kind != tc.kind {
			t.Errorf("%s: label %q of %q, want %q of %q", tc.name, label, kind, tc.label, tc.kind)
		}
	}
}

func TestReadConfig(t *testing.T) {
	for _, tc := range []struct {
		name  string
		files map[string]string
		want  config
		fails string
	}{
		{"all", map[string]string{
			"meta_data.json":    `{"hostname":"h.example","name":"n"}`,
			"user_data":         "#cloud-config\nnonce=abc-1\r\n",
			"network_data.json": `{"links":[{},{}]}`,
		}, config{"h.example", "abc-1", 2}, ""},
		{"name only", map[string]string{"meta_data.json": `{"name":"n"}`}, config{hostname: "n"}, ""},
		{"forged line", map[string]string{"meta_data.json": "{\"name\":\"n\\nferric-os: up\"}"}, config{hostname: "nferric-os:up"}, ""},
		{"broken", map[string]string{"meta_data.json": `{`}, config{}, "meta_data.json"},
		{"none", nil, config{}, "meta_data.json"},
		{"broken network", map[string]string{"meta_data.json": `{}`, "network_data.json": `[]`}, config{}, "network_data.json"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			dir := t.TempDir()
			latest := filepath.Join(dir, "openstack", "latest")
			if err := os.MkdirAll(latest, 0o755); err != nil {
				t.Fatal(err)
			}
			for name, content := range tc.files {
				if err := os.WriteFile(filepath.Join(latest, name), []byte(content), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			got, err := readConfig(dir)
			if tc.fails != "" {
				if err == nil || !strings.Contains(err.Error(), tc.fails) {
					t.Errorf("error %v, want one that names %s", err, tc.fails)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tc.want, got, cmp.AllowUnexported(config{})); diff != "" {
				t.Errorf("config (-want +got):\n%s", diff)
			}
		})
	}
}

// TestFindPartition has sysfs as the kernel lays it out: links to directories
// of partitions inside those of their disks.
func TestFindPartition(t *testing.T) {
	root := t.TempDir()
	sys := filepath.Join(root, "class")
	for path, uevent := range map[string]string{
		"devices/a/vda":      "DEVNAME=vda\nDEVTYPE=disk\n",
		"devices/a/vda/vda1": "DEVNAME=vda1\nPARTN=1\nPARTNAME=ferric-esp\n",
		"devices/a/vda/vda3": "DEVNAME=vda3\nPARTN=3\nPARTNAME=ferric-root\n",
	} {
		dir := filepath.Join(root, path)
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "uevent"), []byte(uevent), 0o644); err != nil {
			t.Fatal(err)
		}
		if strings.Contains(uevent, "PARTN=") {
			if err := os.WriteFile(filepath.Join(dir, "partition"), nil, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.MkdirAll(sys, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(dir, filepath.Join(sys, filepath.Base(path))); err != nil {
			t.Fatal(err)
		}
	}
	named := func(name string) func(string) bool {
		return func(block string) bool { return hasName(block, name) }
	}
	got, ok := findPartition(sys, named("ferric-root"))
	if want := (partition{"/dev/vda3", "/dev/vda"}); !ok || got != want {
		t.Errorf("partition %v, %v, want %v", got, ok, want)
	}
	if got, ok := findPartition(sys, named("ferric")); ok {
		t.Errorf("found %v by half its name", got)
	}
}

func TestHasUUID(t *testing.T) {
	super := make([]byte, 2048)
	copy(super[1024+56:], "\x53\xef")
	copy(super[1024+104:], "\x6f\x0f\x4c\x3c\x4c\x0d\x4d\x0e\x9b\x57\x66\xe2\x0a\x6b\x2f\x04")
	path := filepath.Join(t.TempDir(), "fs")
	if err := os.WriteFile(path, super, 0o600); err != nil {
		t.Fatal(err)
	}
	for uuid, want := range map[string]bool{
		"6f0f4c3c-4c0d-4d0e-9b57-66e20a6b2f04": true,
		"6F0F4C3C-4C0D-4D0E-9B57-66E20A6B2F04": true,
		"6f0f4c3c-4c0d-4d0e-9b57-66e20a6b2f03": false,
		"":                                     false,
	} {
		if got := hasUUID(path, uuid); got != want {
			t.Errorf("UUID %q: %v", uuid, got)
		}
	}
}

func TestMountedAt(t *testing.T) {
	path := filepath.Join(t.TempDir(), "fstab")
	text := "# UUID=old /boot/efi vfat\nUUID=a / ext4 defaults 0 1\nUUID=1234-ABCD /boot/efi vfat umask=0077 0 1\n"
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	for dir, want := range map[string]string{"/boot/efi": "UUID=1234-ABCD", "/": "UUID=a", "/home": ""} {
		if got := mountedAt(path, dir); got != want {
			t.Errorf("%s: %q, want %q", dir, got, want)
		}
	}
	if got := mountedAt(path+".none", "/"); got != "" {
		t.Errorf("no table: %q", got)
	}
}
