package generic

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ferric/api/ipa"
	"ferric/hwmanager"
)

// TestReleaseDisk: an image may go to a disk that a former system's array has a
// member on; an array that is to be kept is not stopped for it.
func TestReleaseDisk(t *testing.T) {
	skip := func(what string) hwmanager.Node {
		return hwmanager.Node{"properties": map[string]any{"skip_block_devices": []any{map[string]any{"name": what}}}}
	}
	for _, c := range []struct {
		name, disk string
		node       hwmanager.Node
		fails      string
		spoil      func(h *hwmanager.Host)
		stopped    bool
		kind       *ipa.Kind
		wrong      string
	}{
		{name: "a member is on it", disk: "/dev/sda", stopped: true},
		{name: "another disk", disk: "/dev/vda"},
		{name: "the array itself", disk: "/dev/md0"},
		{name: "the array is to be skipped", disk: "/dev/sda", node: skip("/dev/md0"), kind: &ipa.ProtectedDevice, wrong: "skip_block_devices"},
		{name: "something else is to be skipped", disk: "/dev/sda", node: skip("/dev/vda"), stopped: true},
		{name: "the array holds a shared file system", disk: "/dev/sdb", kind: &ipa.ProtectedDevice, wrong: "Global File System", spoil: func(h *hwmanager.Host) {
			write(t, filepath.Join(h.Dev, "md0"), gfs2Offset, []byte{0x01, 0x16, 0x19, 0x70})
		}},
		{name: "the array is in use", disk: "/dev/sda", fails: "--stop", kind: &ipa.ImageWrite, wrong: "on fire", stopped: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			h, programs := arrayWithImage(t)
			programs.fails = c.fails
			if c.spoil != nil {
				c.spoil(h)
			}
			err := New().releaseDisk(t.Context(), h, ipa.BlockDevice{Name: c.disk}, c.node)
			if c.kind == nil && err != nil || c.kind != nil && (!c.kind.Is(err) || !strings.Contains(err.Error(), c.wrong)) {
				t.Errorf("error = %v; want one of %v with %q", err, c.kind, c.wrong)
			}
			onlyStops(t, programs, c.stopped)
		})
	}
}

// onlyStops checks that the array was stopped, or that no program ran.
func onlyStops(t *testing.T, programs *faultyArrays, stopped bool) {
	t.Helper()
	var want []string
	if stopped {
		want = []string{"mdadm --stop /dev/md0"}
	}
	if diff := cmp.Diff(want, programs.ran); diff != "" {
		t.Errorf("programs (-want +got):\n%s", diff)
	}
}

// TestReleaseFormer: arrays that nobody has configured for the node are a former
// user's, whose disks are erased as a whole.
func TestReleaseFormer(t *testing.T) {
	config := func(name string) map[string]any {
		return map[string]any{"logical_disks": []any{map[string]any{"controller": "software", "raid_level": "1", "size_gb": "MAX", "volume_name": name}}}
	}
	skip := func(what string) map[string]any {
		return map[string]any{"skip_block_devices": []any{map[string]any{"name": what}}}
	}
	for _, c := range []struct {
		name   string
		node   hwmanager.Node
		shared bool // a file system on the array
		erased bool
		kind   *ipa.Kind
	}{
		{name: "a former user's", node: hwmanager.Node{"raid_config": map[string]any{}, "target_raid_config": nil}, erased: true},
		{name: "of a node that says nothing", node: hwmanager.Node{}, erased: true},
		{name: "configured", node: hwmanager.Node{"raid_config": config("root")}},
		{name: "to be configured", node: hwmanager.Node{"target_raid_config": config("root")}},
		{name: "other than the configured", node: hwmanager.Node{"raid_config": config("a"), "target_raid_config": config("b")}, erased: true},
		{name: "a configuration that cannot be read", node: hwmanager.Node{"raid_config": "x"}},
		{name: "on a disk to skip", node: hwmanager.Node{"properties": skip("/dev/sdb")}},
		{name: "to be skipped", node: hwmanager.Node{"properties": skip("/dev/md0")}},
		{name: "another disk is to be skipped", node: hwmanager.Node{"properties": skip("/dev/vda")}, erased: true},
		{name: "with a shared file system", node: hwmanager.Node{}, shared: true, kind: &ipa.ProtectedDevice},
	} {
		t.Run(c.name, func(t *testing.T) {
			h, programs := arrayWithImage(t)
			for _, member := range []string{"sda1", "sdb1"} {
				write(t, filepath.Join(h.Dev, member), 4096, bytes.Repeat(arrayMember("host:root"), 2))
				sys := filepath.Join(h.Sys, "class/block", member)
				programs.must(errors.Join(os.MkdirAll(sys, 0o755), os.WriteFile(filepath.Join(sys, "size"), []byte("131072\n"), 0o644)))
			}
			if c.shared {
				write(t, filepath.Join(h.Dev, "md0"), gfs2Offset, []byte{0x01, 0x16, 0x19, 0x70})
			}
			const skipReadOnly = false
			targets, err := New().eraseTargets(t.Context(), h, c.node, skipReadOnly)
			if c.kind == nil && err != nil || c.kind != nil && !c.kind.Is(err) {
				t.Fatalf("error = %v; want one of %v", err, c.kind)
			}
			onlyStops(t, programs, c.erased)
			for _, target := range targets {
				if name := target.device.Name; (name == "/dev/sda") && (target.skip == "") != c.erased {
					t.Errorf("%s is skipped for %q; want it erased: %v", name, target.skip, c.erased)
				}
			}
		})
	}
}
