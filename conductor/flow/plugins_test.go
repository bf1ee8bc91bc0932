package flow_test

import (
	"errors"
	"strings"
	"testing"

	"ferric/api/ipa"
	"ferric/conductor/driver"
	"ferric/conductor/flow"
	"ferric/conductor/provision"
)

// TestMissedPlugin: a step that nobody offers fails with the plugin that would
// have, for each kind of steps; an earlier agent's troubles are not told.
func TestMissedPlugin(t *testing.T) {
	r := newRig(t, nil)
	r.must("manage", provision.Manageable)
	clean := func(report bool) string {
		t.Helper()
		if err := r.do("clean", flow.ProvisionRequest{CleanSteps: []flow.Step{{Interface: "raid", Step: "acme_create"}}}); err != nil {
			t.Fatal(err)
		}
		r.reach(provision.CleanWait)
		uuid := r.row().UUID
		if _, _, err := r.flow.Lookup(t.Context(), nil, uuid, true); err != nil {
			t.Fatal(err)
		}
		if report {
			token := r.row().DriverInternalInfo.String(driver.KeyAgentToken)
			bad := ipa.PluginReport{NodeUUID: uuid, AgentToken: token, Refused: map[string]string{"acme-raid": "wrong signature"}, SetAside: map[string]string{"acme-nic": "it crashed"}}
			if err := r.flow.ReportPlugins(t.Context(), bad); err != nil {
				t.Fatal(err)
			}
			bad.AgentToken += "x"
			if err := r.flow.ReportPlugins(t.Context(), bad); !errors.Is(err, flow.ErrAgentToken) {
				t.Errorf("a report with another token: %v", err)
			}
		}
		r.beat()
		return *r.reach(provision.CleanFailed).LastError
	}
	const words = "plugin acme-raid was refused: wrong signature; plugin acme-nic was set aside: it crashed"
	if text := clean(true); !strings.Contains(text, "does not support the step raid.acme_create") || !strings.Contains(text, words) {
		t.Errorf("last_error is %q", text)
	}
	r.must("manage", provision.Manageable)
	if text := clean(false); !strings.Contains(text, "does not support") || strings.Contains(text, "acme-nic") {
		t.Errorf("with an agent that reports nothing last_error is %q", text)
	}
}
