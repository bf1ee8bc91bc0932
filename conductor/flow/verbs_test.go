package flow_test

import (
	"errors"
	"strings"
	"testing"

	"ferric/conductor/driver"
	"ferric/conductor/flow"
	"ferric/conductor/provision"
	"ferric/conductor/steps"
	"ferric/conductor/store"
	"ferric/conductor/task"
)

// change edits the node's row behind the flows' back.
func (r *rig) change(change func(n *store.Node)) {
	r.t.Helper()
	n := r.row()
	change(n)
	if err := r.db.SaveNode(r.t.Context(), n); err != nil {
		r.t.Fatal(err)
	}
}

func set(s string) *string { return &s }

// pretend gives the node hardware that does not exist.
func pretend(n *store.Node) {
	n.DeployInterface, n.InspectInterface, n.RescueInterface = set("fake"), set("fake"), set("fake")
}

// in puts the node into a state as it is when nothing goes on in it.
func in(state provision.State) func(n *store.Node) {
	return func(n *store.Node) {
		a, _ := provision.Of(state)
		n.ProvisionState, n.TargetProvisionState, n.LastError = state, nil, nil
		if a.Target != "" {
			n.TargetProvisionState = &a.Target
		}
		n.Maintenance, n.Fault = false, nil
		n.CleanStep, n.DeployStep, n.ServiceStep = store.Object{}, store.Object{}, store.Object{}
		n.DriverInternalInfo = store.Object{}
		for _, kind := range []steps.Kind{steps.Clean, steps.Deploy, steps.Service} {
			n.DriverInternalInfo[kind.NoRamdisk] = true // nobody sends heartbeats
		}
	}
}

// TestVerbs performs every verb in every state, with hardware that does what it
// is told: it is accepted where the contract says so (state machine, section
// 2.1) and ends where the table says.
func TestVerbs(t *testing.T) {
	r := newRig(t, nil)
	r.change(pretend)
	ends := map[provision.Event]provision.State{
		provision.Manage: provision.Manageable, provision.Provide: provision.Available, provision.Inspect: provision.Manageable,
		provision.Clean: provision.Manageable, provision.Deploy: provision.Active, provision.Rebuild: provision.Active,
		provision.Delete: provision.Available, provision.Adopt: provision.Active, provision.RescueIt: provision.Rescue,
		provision.Unrescue: provision.Active, provision.Service: provision.Active,
	}
	special := map[provision.Event]map[provision.State]provision.State{
		provision.Abort: {
			provision.CleanWait: provision.CleanFailed, provision.CleanHold: provision.CleanFailed, provision.InspectWait: provision.InspectFailed,
			provision.WaitCallback: provision.DeployFailed, provision.DeployHold: provision.DeployFailed, provision.RescueWait: provision.RescueFailed,
			provision.ServiceWait: provision.Active, provision.ServiceHold: provision.Active, provision.ServiceFailed: provision.Active,
		},
		provision.Unhold: {provision.CleanHold: provision.Available, provision.DeployHold: provision.Active, provision.ServiceHold: provision.Active},
	}
	accepted := map[provision.Event]int{}
	for _, a := range provision.States {
		for _, verb := range provision.Verbs {
			r.change(in(a.State))
			req := flow.ProvisionRequest{
				RescuePassword: "secret", CleanSteps: []flow.Step{{Interface: "power", Step: "power_on"}}, ServiceSteps: []flow.Step{{Interface: "power", Step: "power_on"}},
			}
			if a.Kind == provision.Transient {
				// A worker has the lock for as long as such a state lasts.
				if _, err := r.db.Reserve(t.Context(), "test", r.node); err != nil {
					t.Fatal(err)
				}
				var locked *task.LockedError
				if err := r.do(verb.Target, req); !errors.As(err, &locked) {
					t.Errorf("%s in %s: %v; want the lock's holder", verb.Target, a.State, err)
				}
				if err := r.db.Release(t.Context(), "test", r.node); err != nil {
					t.Fatal(err)
				}
				continue
			}
			err := r.do(verb.Target, req)
			if _, impossible := provision.Next(a.State, verb.Event); impossible != nil {
				if !errors.Is(err, flow.ErrInvalid) {
					t.Errorf("%s in %s: %v; want it refused", verb.Target, a.State, err)
				}
				continue
			}
			if err != nil {
				t.Errorf("%s in %s: %v", verb.Target, a.State, err)
				continue
			}
			accepted[verb.Event]++
			want, ok := ends[verb.Event]
			if !ok {
				want = special[verb.Event][a.State]
			}
			n := r.reach(want)
			if n.TargetProvisionState != nil && !n.ProvisionState.Is(provision.Failed) {
				t.Errorf("%s in %s: target %s is left", verb.Target, a.State, *n.TargetProvisionState)
			}
			if n.LastError != nil && verb.Event != provision.Abort {
				t.Errorf("%s in %s: %s", verb.Target, a.State, *n.LastError)
			}
		}
	}
	for event, want := range map[provision.Event]int{
		provision.Manage: 5, provision.Provide: 1, provision.Inspect: 2, provision.Clean: 1, provision.Rebuild: 3, provision.Adopt: 2,
		provision.Abort: 9, provision.RescueIt: 5, provision.Unrescue: 3, provision.Unhold: 3, provision.Service: 3,
		provision.Deploy: 2 * 2, provision.Delete: 2 * 10, // under two names each
	} {
		if accepted[event] != want {
			t.Errorf("%s was accepted %d times; want %d", event, accepted[event], want)
		}
	}
}

// TestChecks are the refusals before anything happens (state machine, section 3).
func TestChecks(t *testing.T) {
	step := []flow.Step{{Interface: "power", Step: "power_on"}}
	tests := []struct {
		name, verb string
		state      provision.State
		change     func(n *store.Node)
		want       error // nil: accepted
	}{
		{"retired", "provide", provision.Manageable, func(n *store.Node) { n.Retired = true }, flow.ErrInvalid},
		{"maintenance", "provide", provision.Manageable, maintenance, nil},
		{"maintenance", "inspect", provision.Manageable, maintenance, nil},
		{"maintenance", "adopt", provision.Manageable, maintenance, nil},
		{"maintenance", "manage", provision.Enroll, maintenance, nil},
		{"maintenance", "deleted", provision.Active, maintenance, nil},
		{"maintenance", "clean", provision.Manageable, maintenance, flow.ErrInMaintenance},
		{"maintenance", "deploy", provision.Available, maintenance, flow.ErrInMaintenance},
		{"maintenance", "rebuild", provision.Active, maintenance, flow.ErrInMaintenance},
		{"maintenance", "rescue", provision.Active, maintenance, flow.ErrInMaintenance},
		{"maintenance", "unrescue", provision.Rescue, maintenance, flow.ErrInMaintenance},
		{"maintenance", "service", provision.Active, maintenance, flow.ErrInMaintenance},
		{"maintenance", "abort", provision.ServiceFailed, maintenance, flow.ErrConflict},
		{"maintenance while it waits", "abort", provision.CleanWait, maintenance, nil},
		{"protected", "rebuild", provision.Active, func(n *store.Node) { n.Protected = true }, flow.ErrProtected},
		{"protected", "deleted", provision.Active, func(n *store.Node) { n.Protected = true }, flow.ErrProtected},
		{"retired", "deploy", provision.Available, func(n *store.Node) { n.Retired = true }, nil},
		{"traits of the instance", "deploy", provision.Available, func(n *store.Node) { n.InstanceInfo["traits"] = []any{"CUSTOM_A"} }, flow.ErrInvalid},
		{"boot mode", "deploy", provision.Available, func(n *store.Node) { n.Properties["capabilities"] = "boot_mode:bios" }, flow.ErrInvalid},
		{"no inspection", "inspect", provision.Manageable, func(n *store.Node) { n.InspectInterface = set("no-inspect") }, driver.ErrUnsupported},
		{"no rescue", "rescue", provision.Active, func(n *store.Node) { n.RescueInterface = set("no-rescue") }, driver.ErrUnsupported},
	}
	for _, tt := range tests {
		t.Run(tt.verb+" "+tt.name, func(t *testing.T) {
			r := newRig(t, func(c *flow.Config) { c.DisallowedDeploymentBootModes = []string{"bios"} })
			r.change(pretend)
			r.change(in(tt.state))
			r.change(tt.change)
			err := r.do(tt.verb, flow.ProvisionRequest{CleanSteps: step, ServiceSteps: step, RescuePassword: "x"})
			if !errors.Is(err, tt.want) {
				t.Errorf("error %v; want %v", err, tt.want)
			}
			if tt.want != nil {
				if n := r.row(); n.ProvisionState != tt.state || n.Reservation != nil {
					t.Errorf("state %s, locked %v; want nothing to have happened", n.ProvisionState, n.Reservation != nil)
				}
			}
		})
	}
}

func maintenance(n *store.Node) { n.Maintenance = true }

func TestConfig(t *testing.T) {
	for want, change := range map[string]func(*flow.Config){
		"[conductor]rescue_password_hash_algorithm": func(c *flow.Config) { c.RescuePasswordHash = "rot13" },
		"[auto_discovery]driver":                    func(c *flow.Config) { c.AutoDiscovery = true },
		"[conductor]verify_step_priority_override":  func(c *flow.Config) { c.VerifyStepPriorityOverride = map[string]string{"management.clock": "-1"} },
		"[conductor]automated_cleaning_step_source": func(c *flow.Config) { c.CleaningStepSource = "guess" },
		"[agent]deploy_logs_collect":                func(c *flow.Config) { c.Logs.Collect = "sometimes" },
		"[agent]deploy_logs_storage_backend":        func(c *flow.Config) { c.Logs.StorageBackend = "swift" },
		"[agent]verify_ca":                          func(c *flow.Config) { c.Agents.VerifyCA = "/nonexistent/ca.pem" },
		"[inspection_rules]built_in_rules":          func(c *flow.Config) { c.BuiltInRules = "/nonexistent/rules.yaml" },
		"[conductor]clean_step_priority_override":   func(c *flow.Config) { c.CleanStepPriorityOverride = map[string]string{"deploy.erase_devices": "first"} },
		"[inspector]hooks":                          func(c *flow.Config) { c.Inspection.Hooks = []string{"fly"} },
	} {
		c := flow.DefaultConfig()
		if err := c.Validate(); err != nil {
			t.Fatal(err)
		}
		change(&c)
		if err := c.Validate(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v; want one about %s", err, want)
		}
	}
}

// TestPriorityOverride: a priority of the configuration goes before the agent's.
func TestPriorityOverride(t *testing.T) {
	r := newRig(t, func(c *flow.Config) {
		c.CleanStepPriorityOverride = map[string]string{"deploy.erase_devices": "0", "deploy.erase_devices_metadata": "0", "deploy.burnin_cpu": "7"}
	})
	r.must("manage", provision.Manageable)
	r.must("provide", provision.CleanWait)
	r.boot()
	if got := r.agent.last(); got != "execute_clean_step deploy.burnin_cpu" {
		t.Fatalf("agent was told %q", got)
	}
	r.agent.finish("SUCCEEDED", nil)
	r.beat()
	r.reach(provision.Available)
}
