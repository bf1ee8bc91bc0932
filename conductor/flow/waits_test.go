package flow_test

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"ferric/api/ipa"
	"ferric/conductor/driver"
	"ferric/conductor/flow"
	"ferric/conductor/inspection"
	"ferric/conductor/provision"
	"ferric/conductor/store"
	"ferric/conductor/task"
)

// byAgent has the agent do what the machine can have done by it.
func byAgent(n *store.Node) {
	n.DeployInterface, n.InspectInterface, n.RescueInterface = set("direct"), set("agent"), set("agent")
}

// found is what an agent sends of the machine of the rig.
func found(t *testing.T, change func(document map[string]any)) *inspection.Data {
	t.Helper()
	document := map[string]any{}
	err := json.Unmarshal([]byte(`{
		"inventory": {
			"interfaces": [
				{"name": "eth0", "mac_address": "52:54:00:77:00:01", "ipv4_address": "192.0.2.7"},
				{"name": "eth1", "mac_address": "52:54:00:77:00:02", "ipv4_address": "192.0.2.8"}
			],
			"cpu": {"architecture": "x86_64", "count": 2}, "bmc_address": "198.51.100.9"
		},
		"error": null, "extra": 1
	}`), &document)
	if err != nil {
		t.Fatal(err)
	}
	if change != nil {
		change(document)
	}
	data, err := inspection.Parse(document)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func TestInspection(t *testing.T) {
	r := newRig(t, nil)
	r.change(byAgent)
	r.must("manage", provision.Manageable)
	if _, _, err := r.flow.ContinueInspection(t.Context(), "", found(t, nil), false); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("data that nobody waits for: %v", err)
	}
	n := r.must("inspect", provision.InspectWait)
	if *n.PowerState != driver.PowerOn || n.InspectionStartedAt == nil || n.InspectionFinishedAt != nil || *n.TargetProvisionState != provision.Manageable {
		t.Errorf("waiting: %s, started %v, finished %v, target %v", *n.PowerState, n.InspectionStartedAt, n.InspectionFinishedAt, n.TargetProvisionState)
	}
	if _, _, err := r.flow.ContinueInspection(t.Context(), "00000000-0000-4000-8000-000000000000", found(t, nil), true); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("data of another node: %v", err)
	}
	others := func(document map[string]any) {
		document["inventory"].(map[string]any)["interfaces"].([]any)[0].(map[string]any)["mac_address"] = "52:54:00:77:00:99"
	}
	other := &store.Node{UUID: uuid.NewString(), Driver: "fake-hardware"}
	if err := r.flow.CreateNode(t.Context(), other); err != nil {
		t.Fatal(err)
	}
	if err := r.flow.CreatePort(t.Context(), &store.Port{UUID: uuid.NewString(), Address: "52:54:00:77:00:99", NodeID: other.ID}); err != nil {
		t.Fatal(err)
	}
	if _, _, err := r.flow.ContinueInspection(t.Context(), r.row().UUID, found(t, others), true); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("data of a machine with another node's address: %v", err)
	}
	got, token, err := r.flow.ContinueInspection(t.Context(), "", found(t, nil), true)
	if err != nil || got.ID != r.node || len(token) < 32 {
		t.Fatalf("data: node %v, token of %d characters, %v", got, len(token), err)
	}
	n = r.reach(provision.Manageable)
	if *n.PowerState != driver.PowerOff || n.InspectionStartedAt != nil || n.InspectionFinishedAt == nil || n.LastError != nil || n.Properties["cpu_arch"] != "x86_64" || n.TargetProvisionState != nil {
		t.Errorf("inspected: %s, finished %v, error %v, properties %v, target %v", *n.PowerState, n.InspectionFinishedAt, n.LastError, n.Properties, n.TargetProvisionState)
	}
	if n.DriverInternalInfo.String(driver.KeyAgentToken) != "" {
		t.Error("the token of the agent is left")
	}
	ports, err := r.db.NodePorts(t.Context(), r.node)
	if err != nil || len(ports) != 2 {
		t.Errorf("%d ports, %v; want 2", len(ports), err)
	}
	inv, err := r.flow.Inventory(t.Context(), r.node)
	if err != nil || !strings.Contains(string(inv.Inventory), "198.51.100.9") || !strings.Contains(string(inv.PluginData), "valid_interfaces") {
		t.Errorf("kept %s and %s, %v", inv.Inventory, inv.PluginData, err)
	}
}

// TestBuiltInRules: rules of a file go along with those of the API.
func TestBuiltInRules(t *testing.T) {
	path := filepath.Join(t.TempDir(), "rules.yaml")
	rule := "[{uuid: cores, conditions: [{op: eq, args: ['{inventory[cpu][architecture]}', x86_64]}], actions: [{op: set-attribute, args: {path: extra/cores, value: two}}]}]"
	if err := os.WriteFile(path, []byte(rule), 0o600); err != nil {
		t.Fatal(err)
	}
	r := newRig(t, func(c *flow.Config) { c.BuiltInRules = path })
	if err := r.cfg.Validate(); err != nil {
		t.Fatal(err)
	}
	r.change(byAgent)
	r.must("manage", provision.Manageable)
	r.must("inspect", provision.InspectWait)
	if _, _, err := r.flow.ContinueInspection(t.Context(), "", found(t, nil), false); err != nil {
		t.Fatal(err)
	}
	if n := r.reach(provision.Manageable); n.Extra["cores"] != "two" {
		t.Errorf("extra is %v", n.Extra)
	}
}

// TestInspectionByBMC: a machine none of whose cards is known is told by its BMC.
func TestInspectionByBMC(t *testing.T) {
	r := newRig(t, nil)
	r.change(byAgent)
	r.change(func(n *store.Node) { n.DriverInfo = store.Object{"ipmi_address": "198.51.100.9"} })
	ports, err := r.db.NodePorts(t.Context(), r.node)
	if err != nil {
		t.Fatal(err)
	}
	if err := r.db.DeletePort(t.Context(), ports[0].ID); err != nil {
		t.Fatal(err)
	}
	r.must("manage", provision.Manageable)
	r.must("inspect", provision.InspectWait)
	if _, _, err := r.flow.ContinueInspection(t.Context(), "", found(t, nil), false); err != nil {
		t.Fatal(err)
	}
	r.reach(provision.Manageable)
	if ports, err = r.db.NodePorts(t.Context(), r.node); err != nil || len(ports) != 2 {
		t.Errorf("%d ports, %v; want 2", len(ports), err)
	}
}

func TestInspectionEnds(t *testing.T) {
	tests := map[string]struct {
		end  func(r *rig)
		want string
	}{
		"ramdisk's error": {func(r *rig) {
			data := found(r.t, func(document map[string]any) { document["error"] = "no disks" })
			if _, _, err := r.flow.ContinueInspection(r.t.Context(), "", data, false); err != nil {
				r.t.Fatal(err)
			}
		}, "the ramdisk reported an error: no disks"},
		"abort": {func(r *rig) {
			if err := r.do("abort", flow.ProvisionRequest{}); err != nil {
				r.t.Fatal(err)
			}
		}, "Inspection was aborted by request."},
		"timeout": {func(r *rig) {
			r.change(func(n *store.Node) {
				at := time.Now().UTC().Add(-time.Hour) // heartbeats do not prolong it
				n.InspectionStartedAt = &at
			})
			if err := r.flow.CheckTimeouts(r.t.Context()); err != nil {
				r.t.Fatal(err)
			}
		}, "Timeout reached while waiting"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, nil)
			r.change(byAgent)
			r.must("manage", provision.Manageable)
			r.must("inspect", provision.InspectWait)
			tt.end(r)
			n := r.reach(provision.InspectFailed)
			if n.LastError == nil || !strings.Contains(*n.LastError, tt.want) || *n.PowerState != driver.PowerOff || *n.TargetProvisionState != provision.Manageable {
				t.Errorf("error %v, %s, target %v", n.LastError, *n.PowerState, n.TargetProvisionState)
			}
			if n.Properties["cpu_arch"] != nil {
				t.Errorf("properties %v of an inspection that failed", n.Properties)
			}
			r.must("inspect", provision.InspectWait)
		})
	}
}

// TestNeverOff: a machine that must not be powered off is reset.
func TestNeverOff(t *testing.T) {
	r := newRig(t, nil)
	r.change(byAgent)
	r.change(func(n *store.Node) { n.DisablePowerOff = true })
	r.must("manage", provision.Manageable)
	r.must("inspect", provision.InspectWait)
	if _, _, err := r.flow.ContinueInspection(t.Context(), "", found(t, nil), false); err != nil {
		t.Fatal(err)
	}
	r.reach(provision.Manageable)
	r.must("adopt", provision.Active)
	r.must("rescue", provision.RescueWait)
	r.must("abort", provision.RescueFailed)
	r.must("unrescue", provision.Active)
	want := []string{"rebooting requested", "rebooting requested", "rebooting requested"}
	if power := r.power(); !slices.Equal(power, want) {
		t.Errorf("power: %q; want %q", power, want)
	}
	// Neither does a deployment, and not one that fails either.
	r.must("rebuild", provision.WaitCallback)
	r.boot()
	r.agent.finish(ipa.StatusFailed, ipa.Cleaning.New("no disk"))
	r.beat()
	r.reach(provision.DeployFailed)
	r.must("undeploy", provision.CleanWait)
	if power := r.power(); slices.Contains(power, "power off requested") || slices.Contains(power, "power on requested") {
		t.Errorf("power: %q; want no power off", power)
	}
}

// power lists what the machine was told.
func (r *rig) power() []string {
	r.t.Helper()
	events, err := r.db.Events(r.t.Context(), r.node)
	if err != nil {
		r.t.Fatal(err)
	}
	var power []string
	for _, e := range events {
		if e.Kind == "power" && strings.HasSuffix(e.Detail, "requested") {
			power = append(power, e.Detail)
		}
	}
	return power
}

func TestRescue(t *testing.T) {
	r := newRig(t, nil)
	r.change(byAgent)
	r.change(in(provision.Active))
	r.change(func(n *store.Node) { n.DriverInternalInfo = store.Object{} })
	const password = "correct horse"
	if err := r.do("rescue", flow.ProvisionRequest{RescuePassword: strings.Repeat("x", 513)}); !errors.Is(err, flow.ErrInvalid) {
		t.Errorf("a password that is too long: %v", err)
	}
	if err := r.do("rescue", flow.ProvisionRequest{RescuePassword: password}); err != nil {
		t.Fatal(err)
	}
	n := r.reach(provision.RescueWait)
	if value, _ := n.InstanceInfo.Value(); strings.Contains(value.(string), password) {
		t.Errorf("the password is in the row: %s", value)
	}
	r.boot()
	n = r.reach(provision.Rescue)
	if hash, _ := r.agent.params[0]["rescue_password"].(string); r.agent.last() != "finalize_rescue" || !strings.HasPrefix(hash, "$5$") || r.agent.params[0]["hashed"] != true {
		t.Errorf("agent was told %q with %v", r.agent.last(), r.agent.params)
	}
	if n.InstanceInfo["hashed_rescue_password"] != nil || n.InstanceInfo["image_source"] == nil || n.TargetProvisionState != nil || *n.PowerState != driver.PowerOn {
		t.Errorf("rescued: instance_info %v, target %v, %s", n.InstanceInfo, n.TargetProvisionState, *n.PowerState)
	}
	r.must("unrescue", provision.Active)
	r.must("rescue", provision.RescueWait)
	r.must("abort", provision.RescueFailed)
	if n = r.row(); !strings.Contains(*n.LastError, "aborted") || n.Maintenance {
		t.Errorf("aborted: %q, maintenance %v", *n.LastError, n.Maintenance)
	}
	r.must("rescue", provision.RescueWait)
	r.change(func(n *store.Node) { at := time.Now().UTC().Add(-time.Hour); n.ProvisionUpdatedAt = &at })
	if err := r.flow.CheckTimeouts(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.reach(provision.RescueFailed)
	r.must("deleted", provision.CleanWait)
}

// work is what the tests have a machine in service do.
var work = flow.ProvisionRequest{ServiceSteps: []flow.Step{{Interface: "deploy", Step: "burnin_cpu"}, {Interface: "deploy", Step: "hold"}, {Interface: "raid", Step: "reboot"}}}

// serve brings an active node to where its agent runs the first step.
func serve(t *testing.T, abortable bool) *rig {
	t.Helper()
	r := newRig(t, nil)
	r.agent.offers["service"] = []ipa.Step{{Step: "burnin_cpu", Interface: "deploy", Abortable: abortable}}
	r.change(byAgent)
	r.change(in(provision.Active))
	r.change(func(n *store.Node) { n.DriverInternalInfo = store.Object{}; n.PowerState = set(driver.PowerOn) })
	if err := r.do("service", work); err != nil {
		t.Fatal(err)
	}
	r.reach(provision.ServiceWait)
	r.boot()
	if got := r.agent.last(); got != "execute_service_step deploy.burnin_cpu" {
		t.Fatalf("agent was told %q", got)
	}
	if n := r.reach(provision.ServiceWait); n.ServiceStep["step"] != "burnin_cpu" || *n.TargetProvisionState != provision.Active {
		t.Errorf("step %v, target %v", n.ServiceStep, n.TargetProvisionState)
	}
	return r
}

func TestService(t *testing.T) {
	r := serve(t, false)
	r.agent.finish(ipa.StatusSucceeded, nil)
	r.beat()
	r.reach(provision.ServiceHold)
	r.beat() // changes nothing
	r.reach(provision.ServiceHold)
	r.must("unhold", provision.ServiceWait) // by way of the reboot
	if n := r.row(); n.ServiceStep["step"] != "reboot" {
		t.Errorf("step after the hold is %v", n.ServiceStep)
	}
	r.boot()
	n := r.reach(provision.Active)
	if *n.PowerState != driver.PowerOn || len(n.ServiceStep) > 0 || n.DriverInternalInfo["service_steps"] != nil || n.LastError != nil || n.TargetProvisionState != nil {
		t.Errorf("after service: %s, step %v, info %v, error %v", *n.PowerState, n.ServiceStep, n.DriverInternalInfo, n.LastError)
	}
	// What the conductor does itself needs no agent, and leaves the machine running.
	if err := r.do("service", flow.ProvisionRequest{ServiceSteps: []flow.Step{{Interface: "deploy", Step: "fly"}}, DisableRamdisk: true}); err != nil {
		t.Fatal(err)
	}
	if n = r.reach(provision.ServiceFailed); *n.PowerState != driver.PowerOn || n.Maintenance || !strings.Contains(*n.LastError, "deploy.fly") {
		t.Errorf("unknown step: %s, maintenance %v, %q", *n.PowerState, n.Maintenance, *n.LastError)
	}
	r.must("abort", provision.Active)
}

func TestServiceFails(t *testing.T) {
	r := serve(t, true)
	r.agent.finish(ipa.StatusFailed, ipa.Cleaning.New("too hot"))
	r.beat()
	n := r.reach(provision.ServiceFailed)
	if !n.Maintenance || n.Fault == nil || *n.Fault != "service failure" || !strings.Contains(*n.LastError, "too hot") {
		t.Errorf("maintenance %v, fault %v, error %q", n.Maintenance, n.Fault, *n.LastError)
	}
	if err := r.do("abort", flow.ProvisionRequest{}); !errors.Is(err, flow.ErrConflict) {
		t.Errorf("abort in maintenance: %v", err)
	}
	if err := r.flow.SetMaintenance(t.Context(), r.node, false, nil); err != nil {
		t.Fatal(err)
	}
	if n = r.must("abort", provision.Active); *n.PowerState != driver.PowerOn {
		t.Errorf("after the abort the machine is %s", *n.PowerState)
	}
}

// TestServiceAgain: a service without an agent that follows one with an agent,
// which was held or has failed, boots the instance all the same.
func TestServiceAgain(t *testing.T) {
	own := flow.ProvisionRequest{ServiceSteps: []flow.Step{{Interface: "power", Step: "power_on"}}, DisableRamdisk: true}
	for name, end := range map[string]func(r *rig){
		"held": func(r *rig) {
			r.agent.finish(ipa.StatusSucceeded, nil)
			r.beat()
			r.reach(provision.ServiceHold)
		},
		"failed": func(r *rig) {
			r.agent.finish(ipa.StatusFailed, ipa.Cleaning.New("too hot"))
			r.beat()
			r.reach(provision.ServiceFailed)
			if err := r.flow.SetMaintenance(t.Context(), r.node, false, nil); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := serve(t, false)
			end(r)
			if err := r.do("service", own); err != nil {
				t.Fatal(err)
			}
			n := r.reach(provision.Active)
			power := r.power()
			if power[len(power)-1] != "power on requested" || *n.PowerState != driver.PowerOn || n.DriverInternalInfo["service_interrupted_instance"] != nil {
				t.Errorf("power %q, %s, %v; want the instance booted", power, *n.PowerState, n.DriverInternalInfo)
			}
			if err := r.do("service", own); err != nil {
				t.Fatal(err)
			}
			r.reach(provision.Active)
			if again := r.power(); len(again) != len(power) {
				t.Errorf("power %q; want the instance left alone", again)
			}
		})
	}
}

func TestServiceAborted(t *testing.T) {
	r := serve(t, true)
	n := r.must("abort", provision.Active)
	if !strings.Contains(*n.LastError, `the service operation was aborted during or after the completion of step "burnin_cpu"`) || *n.PowerState != driver.PowerOn {
		t.Errorf("%q, %s", *n.LastError, *n.PowerState)
	}
	r = serve(t, false)
	if n = r.must("abort", provision.ServiceWait); !n.ServiceStep.Bool("abort_after") {
		t.Errorf("step %v is not marked", n.ServiceStep)
	}
	r.agent.finish(ipa.StatusSucceeded, nil)
	r.beat()
	r.reach(provision.Active)
}

// TestReservedSteps: steps of no interface go among those of the agent.
func TestReservedSteps(t *testing.T) {
	r := newRig(t, nil)
	r.must("manage", provision.Manageable)
	steps := []flow.Step{
		{Interface: "deploy", Step: "hold"}, {Interface: "power", Step: "power_off"}, {Interface: "power", Step: "power_on"},
		{Interface: "deploy", Step: "wait"}, {Interface: "deploy", Step: "wait", Args: map[string]any{"seconds": 0.01}}, {Interface: "deploy", Step: "erase_devices"},
	}
	if err := r.do("clean", flow.ProvisionRequest{CleanSteps: steps}); err != nil {
		t.Fatal(err)
	}
	r.reach(provision.CleanWait)
	r.boot()
	r.reach(provision.CleanHold)
	r.must("unhold", provision.CleanWait)
	r.beat() // power_off, power_on
	if n := r.reach(provision.CleanWait); n.CleanStep["step"] != "power_on" || *n.PowerState != driver.PowerOn || n.DriverInternalInfo.String(driver.KeyAgentURL) != "" {
		t.Errorf("step %v, %s, info %v", n.CleanStep, *n.PowerState, n.DriverInternalInfo)
	}
	r.boot() // wait
	if n := r.reach(provision.CleanWait); n.CleanStep["step"] != "wait" {
		t.Errorf("step %v", n.CleanStep)
	}
	r.beat()
	if got := r.agent.last(); got != "execute_clean_step deploy.erase_devices" {
		t.Fatalf("agent was told %q", got)
	}
	r.agent.finish(ipa.StatusSucceeded, nil)
	r.beat()
	r.reach(provision.Manageable)

	for want, step := range map[string]flow.Step{
		"0 to 30 seconds":           {Interface: "deploy", Step: "wait", Args: map[string]any{"seconds": float64(31)}},
		`has no argument "seconds"`: {Interface: "deploy", Step: "hold", Args: map[string]any{"seconds": float64(1)}},
	} {
		if err := r.do("clean", flow.ProvisionRequest{CleanSteps: []flow.Step{step}, DisableRamdisk: true}); err != nil {
			t.Fatal(err)
		}
		if n := r.reach(provision.CleanFailed); !strings.Contains(*n.LastError, want) || n.Maintenance {
			t.Errorf("error %q, maintenance %v; want %q", *n.LastError, n.Maintenance, want)
		}
		r.must("manage", provision.Manageable)
	}
}

// TestOwnSteps are steps of fake hardware, which the conductor runs without an agent.
func TestOwnSteps(t *testing.T) {
	r := newRig(t, nil)
	r.change(pretend)
	r.must("manage", provision.Manageable)
	hold := flow.Step{Interface: "deploy", Step: "hold"}
	if err := r.do("clean", flow.ProvisionRequest{CleanSteps: []flow.Step{hold, {Interface: "bios", Step: "factory_reset"}}}); err != nil {
		t.Fatal(err)
	}
	r.reach(provision.CleanHold)
	n := r.must("unhold", provision.Manageable) // no heartbeat is waited for
	if len(n.CleanStep) > 0 || n.LastError != nil {
		t.Errorf("after cleaning: step %v, error %v", n.CleanStep, n.LastError)
	}
	r.must("provide", provision.Available)
	priority := 50
	hold.Priority = &priority
	if err := r.do("deploy", flow.ProvisionRequest{DeploySteps: []flow.Step{hold}}); err != nil {
		t.Fatal(err)
	}
	r.reach(provision.DeployHold)
	r.must("unhold", provision.Active)
}

// TestChildren: a step of the parent runs on its children.
func TestChildren(t *testing.T) {
	r := newRig(t, nil)
	r.change(pretend)
	r.must("manage", provision.Manageable)
	children := map[string]*store.Node{}
	for _, name := range []string{"one", "two"} {
		n := &store.Node{UUID: uuid.NewString(), Name: &name, Driver: "fake-hardware", ProvisionState: provision.Active, ParentNode: set(r.row().UUID)}
		if err := r.flow.CreateNode(t.Context(), n); err != nil {
			t.Fatal(err)
		}
		children[name] = n
	}
	power := func(name string) string {
		n, err := r.db.NodeByID(t.Context(), children[name].ID)
		if err != nil {
			t.Fatal(err)
		}
		if n.PowerState == nil {
			return ""
		}
		return *n.PowerState
	}
	step := flow.Step{Interface: "power", Step: "power_on", ExecuteOnChildNodes: true, LimitChildNodeExecution: []string{children["one"].UUID}}
	if err := r.do("clean", flow.ProvisionRequest{CleanSteps: []flow.Step{step}}); err != nil {
		t.Fatal(err)
	}
	r.reach(provision.Manageable)
	if power("one") != driver.PowerOn || power("two") != "" || *r.row().PowerState != driver.PowerOff {
		t.Errorf("one is %q, two %q, the parent %s; want on, unknown, off", power("one"), power("two"), *r.row().PowerState)
	}
	// A child that somebody is busy with is waited for.
	busy, free := make(chan struct{}), make(chan struct{})
	go func() {
		_ = r.tasks.Do(context.WithoutCancel(t.Context()), children["one"].ID, "test", func(context.Context, *task.Task) error {
			close(busy)
			<-free
			return nil
		})
	}()
	<-busy
	step.Step = "power_off"
	if err := r.do("clean", flow.ProvisionRequest{CleanSteps: []flow.Step{step}}); err != nil {
		t.Fatal(err)
	}
	time.Sleep(200 * time.Millisecond) // longer than others wait for a lock
	close(free)
	if n := r.reach(provision.Manageable); n.LastError != nil || power("one") != driver.PowerOff {
		t.Errorf("after a wait for the child: last_error %v, child %s", n.LastError, power("one"))
	}
	step.LimitChildNodeExecution, step.Step = nil, "fly"
	if err := r.do("clean", flow.ProvisionRequest{CleanSteps: []flow.Step{step}}); err != nil {
		t.Fatal(err)
	}
	if n := r.reach(provision.CleanFailed); !strings.Contains(*n.LastError, "on the child node "+children["one"].UUID) {
		t.Errorf("error %q", *n.LastError)
	}
}

// TestCustomAgent: between booting the agent and taking it down the steps that
// are asked for run, and no image is needed.
func TestCustomAgent(t *testing.T) {
	r := newRig(t, nil)
	r.agent.offers["deploy"] = []ipa.Step{{Step: "write_image", Interface: "deploy"}, {Step: "install_coreos", Interface: "deploy", Priority: 0}}
	r.change(in(provision.Available))
	r.change(func(n *store.Node) {
		n.DeployInterface, n.InstanceInfo, n.DriverInternalInfo = set("custom-agent"), store.Object{}, store.Object{}
	})
	r.agent.powerOff = func() { r.change(func(n *store.Node) { n.PowerState = set(driver.PowerOff) }) }
	priority := 80
	req := flow.ProvisionRequest{DeploySteps: []flow.Step{{Interface: "deploy", Step: "install_coreos", Args: map[string]any{}, Priority: &priority}}}
	if err := r.do("deploy", req); err != nil {
		t.Fatal(err)
	}
	r.reach(provision.WaitCallback)
	r.boot()
	if got := r.agent.last(); got != "execute_deploy_step deploy.install_coreos" {
		t.Fatalf("agent was told %q", got)
	}
	r.agent.finish(ipa.StatusSucceeded, nil)
	r.beat()
	n := r.reach(provision.Active)
	device := n.DriverInternalInfo.String("fake_boot_device")
	if *n.PowerState != driver.PowerOn || n.LastError != nil || r.agent.count("install_bootloader") != 0 || r.agent.last() != "power_off" {
		t.Errorf("deployed: %s, error %v, boot device %s, last command %s", *n.PowerState, n.LastError, device, r.agent.last())
	}
}

// TestRamdiskDeployment: a machine that boots its instance each time needs no
// agent for it, but is cleaned by one.
func TestRamdiskDeployment(t *testing.T) {
	r := newRig(t, nil)
	r.change(in(provision.Available))
	r.change(func(n *store.Node) {
		n.DeployInterface, n.InstanceInfo, n.DriverInternalInfo = set("ramdisk"), store.Object{}, store.Object{}
	})
	if err := r.do("deploy", flow.ProvisionRequest{}); !errors.Is(err, flow.ErrInvalid) || !strings.Contains(err.Error(), "boot_iso") {
		t.Errorf("nothing to boot: %v", err)
	}
	r.change(func(n *store.Node) { n.InstanceInfo["boot_iso"] = "http://images.test/live.iso" })
	if n := r.must("deploy", provision.Active); *n.PowerState != driver.PowerOn {
		t.Errorf("deployed: %s", *n.PowerState)
	}
	if n := r.must("deleted", provision.CleanWait); len(n.InstanceInfo) != 0 {
		t.Errorf("instance_info %v", n.InstanceInfo)
	}
	// An instance that is adopted has to be there to be booted, too.
	r.change(in(provision.Manageable))
	if n := r.must("adopt", provision.AdoptFailed); !strings.Contains(*n.LastError, "boot_iso") || n.PowerState != nil {
		t.Errorf("adopted without anything to boot: %q, power %v", *n.LastError, n.PowerState)
	}
	r.change(func(n *store.Node) { n.InstanceInfo["boot_iso"] = "http://images.test/live.iso" })
	r.must("adopt", provision.Active)
}
