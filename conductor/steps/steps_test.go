package steps_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ferric/api/ipa"
	"ferric/conductor/steps"
)

func ids(list []steps.Step) string {
	var names []string
	for _, s := range list {
		names = append(names, s.ID())
	}
	return strings.Join(names, " ")
}

func TestAutomatic(t *testing.T) {
	offered := steps.Offered(map[string][]ipa.Step{
		"GenericHardwareManager": {
			{Step: "erase_devices", Interface: "deploy", Priority: 10},
			{Step: "burnin_cpu", Interface: "deploy"},
			{Step: "erase_devices_metadata", Interface: "deploy", Priority: 99},
		},
		"AcmeManager": {
			{Step: "reset", Interface: "raid", Priority: 10},
			{Step: "update", Interface: "management", Priority: 10},
		},
	})
	// Ties go by interface: management before deploy before raid.
	if got, want := ids(steps.Automatic(offered)), "deploy.erase_devices_metadata management.update deploy.erase_devices raid.reset"; got != want {
		t.Errorf("steps run as %s; want %s", got, want)
	}
	steps.Override(offered, map[string]int{"deploy.erase_devices": 0, "deploy.burnin_cpu": 100})
	if got, want := ids(steps.Automatic(offered)), "deploy.burnin_cpu deploy.erase_devices_metadata management.update raid.reset"; got != want {
		t.Errorf("with overrides they run as %s; want %s", got, want)
	}
}

func TestMerge(t *testing.T) {
	core := []steps.Step{{Interface: "deploy", Step: "deploy", Priority: 100}, {Interface: "deploy", Step: "write_image", Priority: 80}}
	offered := []steps.Step{
		{Interface: "deploy", Step: "write_image", Priority: 0},
		{Interface: "raid", Step: "apply_configuration", ArgsInfo: map[string]ipa.Arg{"raid_config": {Required: true}, "delete_existing": {}}},
		{Interface: "deploy", Step: "erase_devices_metadata", Priority: 0},
	}
	for _, tt := range []struct {
		name    string
		asked   []steps.Requested
		want    string
		wantErr string
	}{
		{"the agent's write_image does not shadow ours", nil, "deploy.deploy deploy.write_image", ""},
		{"asked with a priority", []steps.Requested{{Interface: "raid", Step: "apply_configuration", Priority: 90, Args: map[string]any{"raid_config": map[string]any{}}}},
			"deploy.deploy raid.apply_configuration deploy.write_image", ""},
		{"switched off", []steps.Requested{{Interface: "deploy", Step: "write_image"}}, "deploy.deploy", ""},
		{"the boot of the agent cannot be changed", []steps.Requested{{Interface: "deploy", Step: "deploy"}}, "", "deploy.deploy cannot be changed"},
		{"unknown", []steps.Requested{{Interface: "bios", Step: "polish", Priority: 5}}, "",
			"does not support the step bios.polish; it offers deploy.deploy, deploy.erase_devices_metadata, deploy.write_image, raid.apply_configuration"},
		{"argument missing", []steps.Requested{{Interface: "raid", Step: "apply_configuration", Priority: 90}}, "", `raid.apply_configuration lacks the argument "raid_config"`},
		{"argument too many", []steps.Requested{{Interface: "deploy", Step: "erase_devices_metadata", Priority: 85, Args: map[string]any{"hard": true}}}, "", `has no argument "hard"`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := steps.Merge(core, offered, tt.asked)
			if (err == nil) != (tt.wantErr == "") || err != nil && !strings.Contains(err.Error(), tt.wantErr) {
				t.Fatalf("error %v; want %q", err, tt.wantErr)
			}
			if diff := cmp.Diff(tt.want, ids(got)); diff != "" {
				t.Errorf("steps (-want +got):\n%s", diff)
			}
		})
	}
}

func TestManualKeepsTheOrder(t *testing.T) {
	offered := []steps.Step{{Interface: "deploy", Step: "a", Priority: 5}, {Interface: "deploy", Step: "b", Priority: 50}}
	got, err := steps.Manual(offered, []steps.Requested{{Interface: "deploy", Step: "a"}, {Interface: "deploy", Step: "b"}, {Interface: "deploy", Step: "a"}})
	if err != nil || ids(got) != "deploy.a deploy.b deploy.a" {
		t.Errorf("Manual gives %s, %v; want a, b, a", ids(got), err)
	}
}

// TestFailure: what the agent says is in the error once.
func TestFailure(t *testing.T) {
	for _, c := range []struct{ message, details, want string }{
		{"Clean step failed", "no disk", "agent command c failed: Clean step failed: no disk"},
		{"protected", "protected", "agent command c failed: protected"},
		{"gone", "", "agent command c failed: gone"},
	} {
		err := steps.Failure(&ipa.Result{Name: "c", Error: &ipa.Error{Message: c.message, Details: c.details}})
		if err == nil || err.Error() != c.want {
			t.Errorf("%q and %q are %v; want %q", c.message, c.details, err, c.want)
		}
	}
}
