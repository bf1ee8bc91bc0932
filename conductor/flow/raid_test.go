package flow

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ferric/api/ipa"
	"ferric/conductor/steps"
	"ferric/conductor/store"
)

// TestKeepRAIDConfig: raid_config is what the agent made, and a hint for the root
// disk does not outlive its array.
func TestKeepRAIDConfig(t *testing.T) {
	const made = `{"logical_disks": [{"raid_level": "1"}]}`
	disks := map[string]any{"logical_disks": []any{map[string]any{"raid_level": "1"}}}
	hint := map[string]any{"name": "/dev/md0"}
	for _, c := range []struct {
		name   string
		kind   steps.Kind
		step   steps.Step
		result string
		config map[string]any
		hint   any
		wrong  string
	}{
		{"created", steps.Clean, steps.Step{Interface: "raid", Step: "create_configuration"}, `{"clean_result": ` + made + `}`, disks, hint, ""},
		{"applied", steps.Deploy, steps.Step{Interface: "raid", Step: "apply_configuration"}, `{"deploy_result": ` + made + `}`, disks, hint, ""},
		{"deleted", steps.Clean, steps.Step{Interface: "raid", Step: "delete_configuration"}, `{"clean_result": null}`, map[string]any{}, nil, ""},
		{"other step", steps.Clean, steps.Step{Interface: "deploy", Step: "erase_devices"}, `{"clean_result": null}`, map[string]any{"old": true}, hint, ""},
		{"nothing created", steps.Clean, steps.Step{Interface: "raid", Step: "create_configuration"}, `{"clean_result": {}}`, nil, hint, "holds no RAID configuration"},
		{"odd answer", steps.Clean, steps.Step{Interface: "raid", Step: "create_configuration"}, `{"clean_result": "made"}`, nil, hint, "holds no RAID configuration"},
	} {
		t.Run(c.name, func(t *testing.T) {
			n := &store.Node{RAIDConfig: store.Object{"old": true}, Properties: store.Object{"root_device": hint}}
			err := keepRAIDConfig(n, c.kind, c.step, &ipa.Result{Result: json.RawMessage(c.result)})
			if c.wrong != "" {
				if err == nil || !strings.Contains(err.Error(), c.wrong) {
					t.Fatalf("error = %v; want %q", err, c.wrong)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if updated := n.RAIDConfig["last_updated"]; (updated != nil) != (c.config["logical_disks"] != nil) {
				t.Errorf("last_updated is %v", updated)
			}
			delete(n.RAIDConfig, "last_updated")
			if diff := cmp.Diff(c.config, map[string]any(n.RAIDConfig)); diff != "" {
				t.Errorf("raid_config (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(c.hint, n.Properties["root_device"]); diff != "" {
				t.Errorf("root_device (-want +got):\n%s", diff)
			}
		})
	}
}

// TestKeepRootVolume: the properties tell of the root volume what it is and how it is
// found, as Ironic has them.
func TestKeepRootVolume(t *testing.T) {
	const hint = `"root_device_hint": {"wwn": "0x600605b010e943702a3372bf00000001"}`
	found := map[string]any{"wwn": "0x600605b010e943702a3372bf00000001"}
	former := map[string]any{"serial": "S1"}
	for _, c := range []struct {
		name       string
		properties store.Object
		disks      string
		want       map[string]any
		wrong      string
	}{
		{"of a controller", store.Object{"local_gb": 9.0}, `{"raid_level": "1+0", "size_gb": 100, "is_root_volume": true, ` + hint + `}, {"raid_level": "1", "size_gb": 7, "root_device_hint": {"wwn": "0x5"}}`,
			map[string]any{"local_gb": 100.0, "root_device": found, "capabilities": "raid_level:1+0"}, ""},
		{"beside capabilities", store.Object{"capabilities": "boot_mode:uefi,raid_level:5,gpu:1"}, `{"raid_level": "1", "size_gb": 1, "is_root_volume": true, ` + hint + `}`,
			map[string]any{"local_gb": 1.0, "root_device": found, "capabilities": "boot_mode:uefi,gpu:1,raid_level:1"}, ""},
		{"beside an object of them", store.Object{"capabilities": map[string]any{"a": "b"}}, `{"raid_level": "1", "size_gb": 1, "is_root_volume": true}`,
			map[string]any{"local_gb": 1.0, "capabilities": map[string]any{"a": "b", "raid_level": "1"}}, ""},
		{"of the operating system", store.Object{"local_gb": 9.0}, `{"raid_level": "1", "size_gb": "MAX", "is_root_volume": true, "controller": "software"}`,
			map[string]any{"local_gb": 9.0, "capabilities": "raid_level:1"}, ""},
		{"none", store.Object{"root_device": former}, `{"raid_level": "1", "size_gb": 5, ` + hint + `}`, map[string]any{"root_device": former}, ""},
		{"no properties", nil, `{"raid_level": "1", "size_gb": 5, "is_root_volume": true}`, map[string]any{"local_gb": 5.0, "capabilities": "raid_level:1"}, ""},
		{"two", store.Object{}, `{"raid_level": "1", "size_gb": 5, "is_root_volume": true}, {"raid_level": "1", "size_gb": 5, "is_root_volume": true}`, nil, "more than one root volume"},
	} {
		t.Run(c.name, func(t *testing.T) {
			n := &store.Node{Properties: c.properties}
			result := &ipa.Result{Result: json.RawMessage(`{"clean_result": {"logical_disks": [` + c.disks + `]}}`)}
			err := keepRAIDConfig(n, steps.Clean, steps.Step{Interface: "raid", Step: "create_configuration"}, result)
			if c.wrong != "" {
				if err == nil || !strings.Contains(err.Error(), c.wrong) {
					t.Errorf("error = %v; want %q", err, c.wrong)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want, map[string]any(n.Properties)); diff != "" {
				t.Errorf("properties (-want +got):\n%s", diff)
			}
		})
	}
}
