package explain

import (
	"slices"
	"strings"
	"testing"
	"time"

	"ferric/api/ipa"
	"ferric/conductor/provision"
)

// TestCauses has facts for the causes that take long to come about; the others
// are tried with set-ups that are broken (integration/process).
func TestCauses(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	ago := func(d time.Duration) *time.Time { at := now.Add(-d); return &at }
	for want, f := range map[string]Facts{
		"agent-silent":        {State: provision.CleanWait, AgentURL: "https://a", LastHeartbeat: ago(time.Hour), Site: Site{HeartbeatTimeout: 5 * time.Minute}},
		"step-runs":           {State: provision.CleanWait, AgentURL: "https://a", LastHeartbeat: ago(time.Minute), Step: "deploy.erase", Site: Site{HeartbeatTimeout: 5 * time.Minute}},
		"transfer":            {State: provision.WaitCallback, AgentURL: "https://a", Step: "deploy.write_image", Progress: &ipa.Progress{Done: 1 << 20, Total: 1 << 30, SecondsLeft: 9}},
		"work-long":           {State: provision.Cleaning, Reservation: "h", Work: "clean", WorkSince: ago(time.Hour)},
		"works":               {State: provision.Cleaning, Reservation: "h", Work: "clean", WorkSince: ago(time.Minute)},
		"locked":              {State: provision.Available, Reservation: "h"},
		"forgotten":           {State: provision.Deploying},
		"workers-full":        {State: provision.WaitCallback, Site: Site{Workers: 3, WorkersBusy: 3}},
		"power-change":        {State: provision.Available, TargetPower: "power on"},
		"bmc-fault":           {State: provision.Available, Maintenance: true, Fault: "power failure", Reason: "odd"},
		"clean-fault":         {State: provision.CleanFailed, Maintenance: true, Fault: "clean failure", LastError: "the disk is gone"},
		"agent-restarted":     {State: provision.DeployFailed, LastError: "The agent of node n restarted while deploy step x ran"},
		"conductor-restarted": {State: provision.DeployFailed, LastError: "Operation was interrupted by a restart of the conductor."},
		"timeout":             {State: provision.CleanFailed, LastError: "Timeout reached while waiting for callback for node n", Since: ago(0), Ports: []Port{{Address: "a", PXEEnabled: true}}},
		"mac-conflict":        {State: provision.WaitCallback, Since: ago(time.Minute), Events: []Event{{now, "mac-conflict", "two"}}, Ports: []Port{{Address: "a", PXEEnabled: true}}},
		"no-dhcp-here":        {State: provision.WaitCallback, Since: ago(time.Minute), Site: Site{DHCP: "off"}, Ports: []Port{{Address: "a", PXEEnabled: true}}},
		"bmc-lies": {State: provision.WaitCallback, Since: ago(time.Minute), Probe: "power off",
			Ports: []Port{{Address: "a", PXEEnabled: true, Sightings: []Sighting{{Time: *ago(time.Second), Protocol: "dhcp", Answer: "OFFER"}}}}},
		"bmc-unreachable": {State: provision.Available, Maintenance: true, Fault: "power failure", BMC: &Contact{Error: "IPMI power status: BMC unreachable"}},
		"failed":          {State: provision.RescueFailed, LastError: "odd"},
		"step-failed":     {State: provision.CleanFailed, LastError: "Node n failed clean step x: odd"},
		"plugin-missed": {State: provision.CleanFailed, LastError: "Cannot clean node n: node does not support the step raid.x; it offers none",
			Plugins: &Plugins{Time: now, Refused: map[string]string{"acme-raid": "wrong signature"}}},
		"plugin-refused": {State: provision.CleanWait, AgentURL: "https://a", LastHeartbeat: ago(time.Second), Site: Site{HeartbeatTimeout: 5 * time.Minute}, Plugins: &Plugins{Time: now, SetAside: map[string]string{"acme-raid": "it crashed"}}},
		"active":         {State: provision.Active, LastError: "an old story"},
		"rescue":         {State: provision.Rescue},
	} {
		f.Now = now
		e := Explain(&f)
		if e.Cause.Name != want {
			t.Errorf("%s: the cause is %s (%s)", want, e.Cause.Name, e.Cause.Text)
		}
		if e.Cause.Text == "" || strings.Contains(e.Cause.Text, "%!") || len(e.Cause.Actions) == 0 {
			t.Errorf("%s says %q and advises %q", want, e.Cause.Text, e.Cause.Actions)
		}
	}
	var names []string
	for _, c := range Causes {
		if slices.Contains(names, c.Name) || c.Doc == "" {
			t.Errorf("cause %s stands twice or has no sentence", c.Name)
		}
		names = append(names, c.Name)
		// No cause may fall over facts that are missing.
		if empty := (Facts{Now: now}); c.When(&empty) {
			_, _ = c.Text(&empty), c.Actions(&empty)
		}
	}
}
