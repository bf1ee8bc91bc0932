package hwmanager

import (
	"encoding/json"
	"maps"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ferric/api/ipa"
)

func TestParseImageInfo(t *testing.T) {
	sha, md5 := strings.Repeat("a", 64), strings.Repeat("b", 32)
	base := map[string]any{"id": "i", "urls": []any{"http://x/i"}, "checksum": sha}
	partition := map[string]any{"image_type": "partition", "root_mb": 10240.0, "swap_mb": "0", "ephemeral_mb": 0.0, "preserve_ephemeral": false}
	with := func(parts ...map[string]any) map[string]any {
		all := maps.Clone(base)
		for _, p := range parts {
			maps.Copy(all, p)
		}
		for key, value := range all {
			if value == "absent" {
				delete(all, key)
			}
		}
		return all
	}
	type m = map[string]any
	for _, c := range []struct {
		name  string
		value any
		md5   bool
		wrong string // "" for right
	}{
		{"least", base, false, ""},
		{"no object", "x", false, "image_info must be an object"},
		{"no id", with(m{"id": "absent"}), false, "id is missing"},
		{"no urls", with(m{"urls": []any{}}), false, "urls is missing or empty"},
		{"urls is text", with(m{"urls": "http://x"}), false, "urls must not be a string"},
		{"url of another kind", with(m{"urls": []any{"file:///etc/passwd"}}), false, "not an http or https URL"},
		{"empty checksum", with(m{"checksum": ""}), false, "checksum is empty"},
		{"checksum is a number", with(m{"checksum": 1.0}), false, "checksum must not be a number"},
		{"half a pair", with(m{"os_hash_algo": "sha256"}), false, "must be given together"},
		{"other half", with(m{"os_hash_value": sha}), false, "must be given together"},
		{"pair without checksum", with(m{"checksum": "absent", "os_hash_algo": "sha256", "os_hash_value": sha}), false, ""},
		{"nothing", with(m{"checksum": nil}), false, "neither checksum nor os_hash_value"},
		{"md5", with(m{"checksum": md5}), false, "MD5"},
		{"md5 allowed", with(m{"checksum": md5}), true, ""},
		{"md5 as a pair", with(m{"os_hash_algo": "MD5", "os_hash_value": md5}), false, "os_hash_algo is md5"},
		{"md5 as a pair, allowed", with(m{"os_hash_algo": "md5", "os_hash_value": md5}), true, ""},
		{"checksum URL", with(m{"checksum": "https://x/s"}), false, ""},
		{"unknown keys", with(m{"container_format": "bare", "root_gb": "", "stages": []any{1.0}}), false, ""},
		{"partition", with(partition), false, ""},
		{"partition without root_mb", with(partition, m{"root_mb": nil}), false, "root_mb is missing"},
		{"partition without swap_mb", with(partition, m{"swap_mb": "absent"}), false, "swap_mb is missing"},
		{"partition without ephemeral_mb", with(partition, m{"ephemeral_mb": "absent"}), false, "ephemeral_mb is missing"},
		{"partition without preserve_ephemeral", with(partition, m{"preserve_ephemeral": "absent"}), false, "preserve_ephemeral is missing"},
		{"root_mb of zero", with(partition, m{"root_mb": 0.0}), false, "root_mb must not be 0"},
		{"swap_mb below zero", with(partition, m{"swap_mb": -1.0}), false, "swap_mb must not be -1"},
		{"root_mb is no number", with(partition, m{"root_mb": "10G"}), false, `root_mb must not be a value like "10G"`},
		{"root_mb is a fraction", with(partition, m{"root_mb": 1.5}), false, "root_mb must not be a value like 1.5"},
		{"whole disk needs no sizes", with(m{"image_type": "whole-disk"}), false, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := ParseImageInfo(c.value, c.md5)
			if c.wrong == "" && err != nil || c.wrong != "" && (!ipa.InvalidCommandParams.Is(err) || !strings.Contains(err.Error(), c.wrong)) {
				t.Errorf("got %v, want %q", err, c.wrong)
			}
		})
	}
	info, err := ParseImageInfo(with(partition, m{"root_mb": "20480", "swap_mb": 1e7}), false)
	if err != nil || *info.RootMB != 20480 || *info.SwapMB != 10000000 {
		t.Errorf("%v, %+v", err, info)
	}
}

func TestPartitionUUIDs(t *testing.T) {
	for _, c := range []struct {
		name   string
		result ImageResult
		want   string
	}{
		{"whole disk", ImageResult{RootUUID: "0x9d3b4c1a"}, `{"root uuid":"0x9d3b4c1a"}`},
		{"partitions", ImageResult{RootUUID: "8d3", ESPUUID: "ABCD-1234", Partitions: map[string]string{"efi system partition": "/dev/sda1", "swap": "/dev/sda2", "root": "/dev/sda3"}},
			`{"efi system partition uuid":"ABCD-1234","partitions":{"efi system partition":"/dev/sda1","root":"/dev/sda3","swap":"/dev/sda2"},"root uuid":"8d3"}`},
		{"partitions for BIOS", ImageResult{RootUUID: "8d3", Partitions: map[string]string{"root": "/dev/sda1"}},
			`{"efi system partition uuid":null,"partitions":{"root":"/dev/sda1"},"root uuid":"8d3"}`},
		{"ppc", ImageResult{RootUUID: "8d3", PRePUUID: "9", Partitions: map[string]string{"PReP Boot partition": "/dev/sda1", "root": "/dev/sda2"}},
			`{"PReP Boot partition uuid":"9","efi system partition uuid":null,"partitions":{"PReP Boot partition":"/dev/sda1","root":"/dev/sda2"},"root uuid":"8d3"}`},
	} {
		got, err := json.Marshal(c.result.PartitionUUIDs())
		if diff := cmp.Diff(c.want, string(got)); err != nil || diff != "" {
			t.Errorf("%s: %v %s", c.name, err, diff)
		}
	}
}
