package raidctl

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ferric/hwmanager"
)

// TestDelete: what goes, what stays, and what is said of it.
func TestDelete(t *testing.T) {
	t.Parallel()
	hard := map[string]any{"logical_disks": []any{map[string]any{"raid_level": "1", "size_gb": 1.0}}}
	soft := map[string]any{"logical_disks": []any{map[string]any{"raid_level": "1", "size_gb": 1.0, "controller": "software"}}}
	two := func() *modelController {
		c, s := megaCard(0), &modelState{}
		for i, name := range []string{"root", "data"} {
			if wrong := c.add(s, "1", name, []string{fmt.Sprintf("252:%d", 2*i), fmt.Sprintf("252:%d", 2*i+1)}, 1, 1<<21); wrong != "" {
				t.Fatal(wrong)
			}
		}
		c.Disks[7].State = "Foreign"
		c.Disks[6].State = "JBOD"
		return c
	}
	all := []string{"c0 root raid 1 of 252:0,252:1", "c0 data raid 1 of 252:2,252:3", "c0 disk 252:6 JBOD", "c0 disk 252:7 Foreign"}
	skip := func(hint map[string]any) map[string]any {
		return map[string]any{"skip_block_devices": []any{hint}}
	}
	for _, c := range []struct {
		name  string
		node  hwmanager.Node
		state modelState
		left  []string
		wrong string
	}{
		{"all of it", hwmanager.Node{"target_raid_config": hard}, modelState{}, []string{"c0 disk 252:6 JBOD"}, ""},
		{"for a node without configuration", hwmanager.Node{}, modelState{}, []string{"c0 disk 252:6 JBOD"}, ""},
		{"not for software", hwmanager.Node{"target_raid_config": soft}, modelState{}, all, "not handled"},
		{"what was hardware and will be software", hwmanager.Node{"target_raid_config": soft, "raid_config": hard}, modelState{}, []string{"c0 disk 252:6 JBOD"}, ""},
		{"kept by name", hwmanager.Node{"target_raid_config": hard, "properties": skip(map[string]any{"volume_name": "data"})}, modelState{}, slices.Concat(all[1:]), ""},
		{"kept by name of the world", hwmanager.Node{"target_raid_config": hard, "properties": skip(map[string]any{"wwn": "0x600605b010e943702a3372bf00000002"})}, modelState{}, slices.Concat(all[1:]), ""},
		{"hints that make no sense", hwmanager.Node{"target_raid_config": hard, "properties": skip(map[string]any{})}, modelState{}, all, "skip_block_devices"},
		{"it takes a while", hwmanager.Node{"target_raid_config": hard}, modelState{Linger: 4}, []string{"c0 disk 252:6 JBOD"}, ""},
		{"it never goes", hwmanager.Node{"target_raid_config": hard}, modelState{Linger: 1 << 20}, []string{"c0 disk 252:6 JBOD"}, "not gone"},
		{"busy", hwmanager.Node{"target_raid_config": hard}, modelState{Busy: 5}, []string{"c0 disk 252:6 JBOD"}, ""},
		{"busy for ever", hwmanager.Node{"target_raid_config": hard}, modelState{Busy: 1 << 20}, all, "busy"},
		{"the second fails", hwmanager.Node{"target_raid_config": hard}, modelState{FailAt: 2, FailHow: "exit"}, slices.Concat(all[1:]), "delete volume 1 (data, RAID 1, 1 GiB) on AVAGO MegaRAID SAS 9361-8i c0 (1 of 2 are deleted): storcli64 /c0/v1 delete force: Operation failed: Configuration failed"},
		{"its disk that was shown", hwmanager.Node{"raid_config": map[string]any{"logical_disks": []any{map[string]any{"raid_level": "JBOD", "size_gb": 1.0, "root_device_hint": map[string]any{"wwn": "0x5000c50000000006"}}}}},
			modelState{}, nil, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			state := c.state
			state.Controllers = []*modelController{two()}
			h, m, dir := modelHost(t, map[string]*modelState{"storcli64": &state})
			if c.state.Linger > 0 {
				m.patience *= 10
			}
			if c.state.Linger > 100 {
				m.patience = 1
			}
			_, err := m.runClean(t, h, "delete_configuration", c.node, nil)
			if c.wrong == "" && err != nil || c.wrong != "" && (err == nil || !strings.Contains(err.Error(), c.wrong)) {
				t.Errorf("error = %v; want %q", err, c.wrong)
			}
			if diff := cmp.Diff(c.left, loadModel(t, dir, "storcli64").summary()); diff != "" {
				t.Errorf("left (-want +got):\n%s", diff)
			}
		})
	}
}

// TestApply: a new configuration in place of another, on its disks; the former one
// stays if the new one cannot be made.
func TestApply(t *testing.T) {
	t.Parallel()
	for tool, card := range map[string]*modelController{"storcli64": megaCard(0), "ssacli": smartCard()} {
		t.Run(tool, func(t *testing.T) {
			t.Parallel()
			h, m, dir := modelHost(t, map[string]*modelState{tool: {Controllers: []*modelController{card}}})
			apply := func(config string, more map[string]any) (any, error) {
				args := map[string]any{"raid_config": configOf(t, config)}
				for k, v := range more {
					args[k] = v
				}
				return m.runPhase(t, h, hwmanager.Deploy, "apply_configuration", hwmanager.Node{}, args)
			}
			if _, err := apply(`{"raid_level": "5", "size_gb": "MAX", "disk_type": "hdd", "number_of_physical_disks": 4, "volume_name": "old"}`, nil); err != nil {
				t.Fatal(err)
			}
			before := loadModel(t, dir, tool).summary()
			if _, err := apply(`{"raid_level": "1", "size_gb": 5000, "volume_name": "new"}`, nil); err == nil || !strings.Contains(err.Error(), "do not fit") {
				t.Errorf("too large: %v", err)
			}
			if _, err := apply(`{"raid_level": "1", "size_gb": 100, "disk_type": "hdd", "volume_name": "new"}`, map[string]any{"delete_existing": false}); err == nil || !strings.Contains(err.Error(), "is part of volume") {
				t.Errorf("disks in use: %v", err)
			}
			if diff := cmp.Diff(before, loadModel(t, dir, tool).summary()); diff != "" {
				t.Errorf("after errors (-want +got):\n%s", diff)
			}
			result, err := apply(`{"raid_level": "1+0", "size_gb": 100, "disk_type": "hdd", "volume_name": "new"}`, nil)
			if err != nil {
				t.Fatal(err)
			}
			if got := brief(t, result); len(got) != 1 || !strings.HasPrefix(got[0], "new raid 1+0 100 GiB") {
				t.Errorf("result: %v", got)
			}
			// A failure after that: the former is gone, and the error says so.
			state := loadModel(t, dir, tool)
			state.FailAt, state.FailHow = state.Changes+2, "exit"
			saveModel(t, dir, tool, state)
			if _, err := apply(`{"raid_level": "1", "size_gb": 50, "volume_name": "newer"}`, nil); err == nil || !strings.Contains(err.Error(), "the 1 volumes of the former configuration are deleted") {
				t.Errorf("failure in the middle: %v", err)
			}
			if left := loadModel(t, dir, tool).summary(); len(left) > 0 {
				t.Errorf("left: %v", left)
			}
		})
	}
}

// TestKept: what skip_block_devices keeps is not made again, and counts.
func TestKept(t *testing.T) {
	t.Parallel()
	h, m, dir := modelHost(t, map[string]*modelState{"storcli64": {Controllers: []*modelController{megaCard(0)}}})
	const data = `{"raid_level": "5", "size_gb": "MAX", "disk_type": "hdd", "volume_name": "data"}`
	node := hwmanager.Node{"target_raid_config": configOf(t, data), "properties": map[string]any{"skip_block_devices": []any{map[string]any{"volume_name": "data"}}}}
	first, err := m.runClean(t, h, "create_configuration", node, nil)
	if err != nil {
		t.Fatal(err)
	}
	node["target_raid_config"] = configOf(t, data+`, {"raid_level": "1", "size_gb": 80, "disk_type": "ssd", "volume_name": "root", "is_root_volume": true}`)
	second, err := m.runClean(t, h, "create_configuration", node, map[string]any{"delete_existing": true})
	if err != nil {
		t.Fatal(err)
	}
	if got := brief(t, second); len(got) != 2 || got[0] != brief(t, first)[0] {
		t.Errorf("result: %v", got)
	}
	if n := loadModel(t, dir, "storcli64").Changes; n != 2 {
		t.Errorf("%d changes", n)
	}
	delete(node, "properties")
	if _, err := m.runClean(t, h, "create_configuration", node, nil); err == nil || !strings.Contains(err.Error(), "there is a volume of this name") {
		t.Errorf("made again: %v", err)
	}
}
