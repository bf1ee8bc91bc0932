package process_test

import (
	"fmt"
	"strings"
	"syscall"
	"testing"

	"ferric/api/ironic"
)

// TestFastTrack: a machine is inspected, cleaned and deployed by one and the
// same agent, in one boot. An agent that has fallen silent is replaced by
// another boot.
func TestFastTrack(t *testing.T) {
	t.Parallel()
	c, images := newConductor(t, "[deploy]", "fast_track = true"), newShop(t)
	m := newMachine(t, c, spec{automated: true, node: map[string]any{"inspect_interface": "agent"}})
	m.format(t)
	m.kernelParams(t, fmt.Sprintf("ipa-inspection-callback-url=%s/v1/continue_inspection ipa-inspection-dhcp-wait-timeout=0 BOOTIF=01-%s", c.url, strings.ReplaceAll(m.mac, ":", "-")))
	if n := m.provision(t, ironic.VerbInspect, ironic.StateManageable); n.LastError != nil || *n.PowerState != ironic.PowerOn {
		t.Errorf("inspected: error %v, %s; want the machine left on", n.LastError, *n.PowerState)
	}
	m.hasJoined(t)
	if n := m.provision(t, ironic.VerbProvide, ironic.StateAvailable); *n.PowerState != ironic.PowerOn {
		t.Errorf("cleaned: %s; want the machine left on", *n.PowerState)
	}
	if head, tail := m.tables(t); head || tail {
		t.Errorf("tables at the ends after cleaning: %v, %v; want none", head, tail)
	}
	m.setGood(t, images)
	m.verb(t, ironic.ProvisionRequest{Target: ironic.VerbActive})
	if n := m.wait(t, ironic.StateActive); n.LastError != nil || *n.PowerState != ironic.PowerOn {
		t.Errorf("deployed: error %v, %s", n.LastError, *n.PowerState)
	}
	m.holds(t)
	// One boot of the agent, and nothing else of the power until the agent
	// has powered the machine off for the instance.
	want := "power on requested, power on verified, power off requested, power off verified, power on requested, power on verified"
	if got := strings.Join(m.powerEvents(t), ", "); got != want || m.boots != 1 {
		t.Errorf("the agent was booted %d times, power: %s\nwant once and: %s", m.boots, got, want)
	}

	m.kernelParams(t, "")
	m.provision(t, ironic.VerbDeleted, ironic.StateAvailable)
	if m.boots != 2 {
		t.Errorf("the agent was booted %d times; want once more to clean", m.boots)
	}
	m.signal(t, syscall.SIGSTOP)
	m.setGood(t, images)
	m.verb(t, ironic.ProvisionRequest{Target: ironic.VerbActive})
	if n := m.wait(t, ironic.StateActive); n.LastError != nil {
		t.Errorf("deployed again: error %v", *n.LastError)
	}
	if m.boots != 3 {
		t.Errorf("the agent was booted %d times; want another boot instead of the silent agent", m.boots)
	}
	m.holds(t)
}

// hasJoined waits until the conductor knows the agent that runs.
func (m *machine) hasJoined(t *testing.T) {
	t.Helper()
	eventually(t, "the first heartbeat", func() bool {
		url, _ := m.node(t).DriverInternalInfo["agent_url"].(string)
		return url != ""
	})
}

// powerEvents are what the node's power was told and found to be.
func (m *machine) powerEvents(t *testing.T) (details []string) {
	t.Helper()
	events, err := m.c.api.Events(t.Context(), m.name)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range events {
		if e.Kind == "power" {
			details = append(details, e.Detail)
		}
	}
	return details
}
