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
