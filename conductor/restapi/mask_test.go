package restapi

import (
	"testing"

	"ferric/api"
	"ferric/api/ironic"
	phases "ferric/conductor/steps"
	"ferric/conductor/store"
)

// TestStateOfStepsIsMasked: what steps leave for their next run is their own, in
// the views of clients and in those of agents.
func TestStateOfStepsIsMasked(t *testing.T) {
	for _, kind := range []phases.Kind{phases.Clean, phases.Deploy, phases.Service} {
		n := &store.Node{UUID: "u", DriverInternalInfo: store.Object{kind.State: `{"licence":"hunter2"}`, kind.Reboots: 1.}}
		for name, view := range map[string]map[string]any{
			"client": NodeView(n, api.MaxVersion, ViewOptions{Fields: []string{"driver_internal_info"}}), "agent": AgentNode(n, true),
		} {
			info, _ := view["driver_internal_info"].(map[string]any)
			if info[kind.State] != ironic.Masked || info[kind.Reboots] != 1. {
				t.Errorf("%s, view of a %s: %v", kind.Name, name, info)
			}
		}
	}
}
