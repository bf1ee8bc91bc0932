package flow_test

import (
	"bytes"
	"flag"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"ferric/api/ipa"
	"ferric/conductor/driver"
	"ferric/conductor/flow"
	"ferric/conductor/provision"
	"ferric/conductor/store"
)

var update = flag.Bool("update", false, "write the rendered page")

const restartsPage = "../../docs/restarts.md"

func TestRestartsPage(t *testing.T) {
	var got bytes.Buffer
	if err := flow.RenderRestarts(&got); err != nil {
		t.Fatal(err)
	}
	if *update {
		if err := os.WriteFile(restartsPage, got.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(restartsPage)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got.String()); diff != "" {
		t.Errorf("%s is not what the table says, run `go test ./conductor/flow -run Page -update` (-page +table):\n%s", restartsPage, diff)
	}
}

// TestRestartsCover: there is a row for whatever a node is in the middle of.
func TestRestartsCover(t *testing.T) {
	rows := map[provision.State]int{}
	for _, r := range flow.Restarts() {
		rows[r.State]++
	}
	for _, a := range provision.States {
		if (rows[a.State] > 0) != (a.Kind == provision.Transient) {
			t.Errorf("state %q has %d rows", a.State, rows[a.State])
		}
	}
}

// crash leaves the node as a process that is killed does, and starts another.
func (r *rig) crash(change func(n *store.Node)) {
	r.t.Helper()
	n, err := r.db.Reserve(r.t.Context(), "test", r.node)
	if err != nil {
		r.t.Fatal(err)
	}
	change(n)
	if err := r.db.SaveNode(r.t.Context(), n); err != nil {
		r.t.Fatal(err)
	}
	r.again()
}

// again starts another process over the database.
func (r *rig) again() {
	r.t.Helper()
	r.kill()
	r.tasks.Wait()
	r.db.Close()
	r.start()
	if err := r.flow.Recover(r.t.Context()); err != nil {
		r.t.Fatal(err)
	}
}

// list is one of steps, as a row keeps it.
func list(restartable bool, steps ...string) []any {
	var list []any
	for _, id := range steps {
		kind, name, _ := strings.Cut(id, ".")
		list = append(list, map[string]any{"interface": kind, "step": name, "restartable": restartable})
	}
	return list
}

// TestRestart leaves rows and locks as a killed conductor does and starts
// another over them: one case for each row of the table, and for what rests.
func TestRestart(t *testing.T) {
	cleaning := func(change func(n *store.Node)) func(n *store.Node) {
		return func(n *store.Node) {
			n.DriverInternalInfo = store.Object{"clean_steps": list(true, "bios.factory_reset", "vendor.log_passthrough"), "clean_step_index": 0., "cleaning_disable_ramdisk": true}
			n.CleanStep = store.Object{"interface": "bios", "step": "factory_reset"}
			change(n)
		}
	}
	agent := func(change func(n *store.Node)) func(n *store.Node) {
		return func(n *store.Node) {
			n.DriverInternalInfo = store.Object{"clean_steps": list(true, "deploy.erase_devices"), "clean_step_index": 0., driver.KeyAgentURL: "https://192.0.2.1:9999", driver.KeyAgentToken: "t"}
			n.CleanStep = store.Object{"interface": "deploy", "step": "erase_devices"}
			change(n)
		}
	}
	nothing := func(*store.Node) {}
	reason := "out of paper"
	failing := func(n *store.Node) {
		n.DriverInternalInfo["operation_ending"], n.LastError = "fail", &reason
	}
	for _, tt := range []struct {
		name    string
		state   provision.State
		target  provision.State
		change  func(n *store.Node)
		want    provision.State
		reason  string
		ramdisk bool // it was booted
	}{
		{"verifying", provision.Verifying, provision.Manageable, nothing, provision.Manageable, "", false},
		{"inspecting", provision.Inspecting, provision.Manageable, byAgent, provision.InspectWait, "", true},
		{"inspecting, kept", provision.Inspecting, provision.Manageable, func(n *store.Node) { n.DriverInternalInfo["inspection_saved"] = true }, provision.Manageable, "", false},
		{"inspecting, fails", provision.Inspecting, provision.Manageable, failing, provision.InspectFailed, reason, false},
		{"cleaning, no list", provision.Cleaning, provision.Available, nothing, provision.CleanWait, "", true},
		{"cleaning, booting", provision.Cleaning, provision.Available, agent(func(n *store.Node) { n.DriverInternalInfo["cleaning_reboot"] = true }), provision.CleanWait, "", true},
		{"cleaning, told", provision.Cleaning, provision.Available, agent(func(n *store.Node) { n.DriverInternalInfo["clean_step_running"] = true }), provision.CleanWait, "", false},
		{"cleaning, busy", provision.Cleaning, provision.Available, agent(func(n *store.Node) { n.DriverInternalInfo["clean_step_busy"] = true }), provision.CleanWait, "", false},
		{"cleaning, over", provision.Cleaning, provision.Available, cleaning(func(n *store.Node) { n.DriverInternalInfo["clean_step_done"] = true }), provision.Available, "", false},
		{"cleaning, the last over", provision.Cleaning, provision.Available, cleaning(func(n *store.Node) {
			n.DriverInternalInfo["clean_step_done"], n.DriverInternalInfo["clean_step_index"] = true, 1.
		}), provision.Available, "", false},
		{"cleaning, may be repeated", provision.Cleaning, provision.Available, cleaning(nothing), provision.Available, "", false},
		{"cleaning, must not be", provision.Cleaning, provision.Available, cleaning(func(n *store.Node) {
			n.DriverInternalInfo["clean_steps"] = list(false, "firmware.update")
		}), provision.CleanFailed, "firmware.update of node", false},
		{"cleaning, fails", provision.Cleaning, provision.Available, cleaning(failing), provision.CleanFailed, reason, false},
		{"clean wait, fails", provision.CleanWait, provision.Available, cleaning(failing), provision.CleanFailed, reason, false},
		{"clean wait, unheld", provision.CleanWait, provision.Available, cleaning(func(n *store.Node) { n.CleanStep = store.Object{"step": "hold", "interface": "deploy"} }), provision.Available, "", false},
		{"deploying", provision.Deploying, provision.Active, nothing, provision.WaitCallback, "", true},
		{"deploying, fails", provision.Deploying, provision.Active, failing, provision.DeployFailed, reason, false},
		{"servicing", provision.Servicing, provision.Active, nothing, provision.ServiceWait, "", true},
		{"deleting", provision.Deleting, provision.Available, nothing, provision.CleanWait, "", true},
		{"adopting", provision.Adopting, provision.Active, nothing, provision.Active, "", false},
		{"rescuing", provision.Rescuing, provision.Rescue, byAgent, provision.RescueWait, "", true},
		{"rescuing, nearly done", provision.Rescuing, provision.Rescue, func(n *store.Node) { byAgent(n); n.DriverInternalInfo["rescue_finalized"] = true }, provision.Rescue, "", false},
		{"rescuing, fails", provision.Rescuing, provision.Rescue, failing, provision.RescueFailed, reason, false},
		{"unrescuing", provision.Unrescuing, provision.Active, byAgent, provision.Active, "", true},
		{"service hold", provision.ServiceHold, provision.Active, nothing, provision.ServiceHold, "", false},
		{"inspect wait", provision.InspectWait, provision.Manageable, nothing, provision.InspectWait, "", false},
		{"clean wait", provision.CleanWait, provision.Available, agent(nothing), provision.CleanWait, "", false},
		{"wait call-back", provision.WaitCallback, provision.Active, nothing, provision.WaitCallback, "", false},
		{"active", provision.Active, "", nothing, provision.Active, "", false},
		{"active, background", provision.Active, "", func(n *store.Node) { n.DriverInternalInfo["background_work"] = "changing the boot mode of" }, provision.Active,
			"Failed changing the boot mode of node", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, nil)
			r.crash(func(n *store.Node) {
				n.ProvisionState = tt.state
				if tt.target != "" {
					n.TargetProvisionState = &tt.target
				}
				tt.change(n)
			})
			r.tasks.Wait()
			n := r.row()
			if n.ProvisionState != tt.want || n.Reservation != nil {
				t.Fatalf("node is %s, locked by %v, error %v; want %s", n.ProvisionState, n.Reservation, n.LastError, tt.want)
			}
			if tt.reason != "" && (n.LastError == nil || !strings.Contains(*n.LastError, tt.reason)) || tt.reason == "" && n.LastError != nil {
				t.Errorf("last_error is %v; want %q", n.LastError, tt.reason)
			}
			if booted := n.PowerState != nil && *n.PowerState == driver.PowerOn; booted != tt.ramdisk {
				t.Errorf("machine booted: %v; want %v", booted, tt.ramdisk)
			}
			if inMaintenance := tt.want == provision.CleanFailed && tt.reason != reason; n.Maintenance != inMaintenance {
				t.Errorf("maintenance is %v; want %v", n.Maintenance, inMaintenance)
			}
			if n.DriverInternalInfo["operation_ending"] != nil || n.DriverInternalInfo["background_work"] != nil {
				t.Errorf("left: %v", n.DriverInternalInfo)
			}
		})
	}
}

// TestRestartAfterData: what an agent has sent is not asked for twice.
func TestRestartAfterData(t *testing.T) {
	r := newRig(t, nil)
	r.change(byAgent)
	r.must("manage", provision.Manageable)
	r.must("inspect", provision.InspectWait)
	r.kill() // what goes on in the background ends
	if _, _, err := r.flow.ContinueInspection(t.Context(), "", found(t, nil), true); err != nil {
		t.Fatal(err)
	}
	r.again()
	n := r.reach(provision.Manageable)
	if ports, err := r.db.NodePorts(t.Context(), r.node); err != nil || len(ports) != 2 || n.Properties["cpu_arch"] != "x86_64" {
		t.Errorf("%d ports, properties %v, %v", len(ports), n.Properties, err)
	}
}

// TestRestartLoop: work that ends the conductor each time is not tried for ever.
func TestRestartLoop(t *testing.T) {
	r := newRig(t, nil)
	r.change(func(n *store.Node) {
		target := provision.Active
		n.ProvisionState, n.TargetProvisionState = provision.Deploying, &target
	})
	for range 3 {
		r.again()
		r.tasks.Wait()
		r.reach(provision.WaitCallback)
		r.change(func(n *store.Node) { // as if it had never come that far
			n.ProvisionState = provision.Deploying
			for _, key := range []string{"deploy_steps", "deploy_step_index"} {
				delete(n.DriverInternalInfo, key)
			}
			n.DeployStep = store.Object{}
		})
	}
	r.again()
	if n := r.reach(provision.DeployFailed); !n.Maintenance || !strings.Contains(*n.LastError, "restarted 3 times in a row") {
		t.Errorf("maintenance %v, last_error %q", n.Maintenance, *n.LastError)
	}
}

// TestAbortLoop: nor is an abort.
func TestAbortLoop(t *testing.T) {
	for _, tt := range []struct{ state, target, want provision.State }{
		{provision.CleanWait, provision.Available, provision.CleanFailed},
		{provision.RescueWait, provision.Rescue, provision.RescueFailed},
		{provision.ServiceFailed, provision.Active, provision.ServiceFailed},
	} {
		r := newRig(t, nil)
		r.crash(func(n *store.Node) {
			n.ProvisionState, n.TargetProvisionState = tt.state, &tt.target
			n.DriverInternalInfo = store.Object{"abort_requested": true, "restarts_without_progress": 3., "restarted_at": string(tt.state) + " false"}
			n.InstanceInfo["hashed_rescue_password"] = "$5$"
		})
		r.tasks.Wait()
		n := r.reach(tt.want)
		if !n.Maintenance || n.LastError == nil || !strings.Contains(*n.LastError, "restarted 3 times in a row") || n.InstanceInfo["hashed_rescue_password"] != nil {
			t.Errorf("%s: maintenance %v, last_error %v, instance_info %v", tt.state, n.Maintenance, n.LastError, n.InstanceInfo)
		}
		if n.DriverInternalInfo["abort_requested"] != nil {
			t.Errorf("%s: the abort would be taken up again", tt.state)
		}
	}
}

// TestForgottenPower: a change of power that nobody works on is finished, though
// the node rests.
func TestForgottenPower(t *testing.T) {
	r := newRig(t, nil)
	r.change(func(n *store.Node) {
		on := driver.PowerOn
		n.ProvisionState, n.TargetPowerState = provision.Available, &on
		n.DriverInternalInfo[driver.KeyPowerRequest] = driver.PowerOn
	})
	if err := r.flow.CheckTimeouts(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.tasks.Wait()
	if n := r.row(); n.TargetPowerState != nil || n.PowerState == nil || *n.PowerState != driver.PowerOn || n.LastError != nil {
		t.Errorf("power state %v, target %v, last_error %v", n.PowerState, n.TargetPowerState, n.LastError)
	}
}

// TestPowerAfterRestart: a change of power that a crash cut off is finished.
func TestPowerAfterRestart(t *testing.T) {
	on, off := driver.PowerOn, driver.PowerOff
	for name, tt := range map[string]struct {
		state, target, asked string
		want                 []string
	}{
		"off":                   {on, off, driver.SoftPowerOff, []string{"soft power off requested"}},
		"off already":           {off, off, driver.PowerOff, nil},
		"reboot":                {on, on, driver.Rebooting, []string{"rebooting requested"}},
		"reboot, half of it":    {off, on, driver.Rebooting, []string{"power on requested"}},
		"of an earlier version": {off, on, "", []string{"power on requested"}},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, nil)
			r.crash(func(n *store.Node) {
				n.PowerState, n.TargetPowerState = &tt.state, &tt.target
				if tt.asked != "" {
					n.DriverInternalInfo[driver.KeyPowerRequest] = tt.asked
				}
			})
			r.tasks.Wait()
			n := r.row()
			if n.PowerState == nil || *n.PowerState != tt.target || n.TargetPowerState != nil || n.LastError != nil || n.DriverInternalInfo[driver.KeyPowerRequest] != nil {
				t.Errorf("power state %v, target %v, last_error %v, info %v", n.PowerState, n.TargetPowerState, n.LastError, n.DriverInternalInfo)
			}
			if diff := cmp.Diff(tt.want, r.power()); diff != "" {
				t.Errorf("the machine was told (-want +got):\n%s", diff)
			}
		})
	}
}

// TestTokenNeverArrived: the agent whose token died with the conductor gets
// another, until a heartbeat has shown one.
func TestTokenNeverArrived(t *testing.T) {
	r := newRig(t, nil)
	r.must("manage", provision.Manageable)
	r.must("provide", provision.CleanWait)
	lookup := func() string {
		t.Helper()
		_, token, err := r.flow.Lookup(t.Context(), []string{"52:54:00:77:00:01"}, "", true)
		if err != nil {
			t.Fatal(err)
		}
		return token
	}
	first := lookup()
	if token := lookup(); token != ipa.MaskedToken {
		t.Errorf("the second lookup in the same life is given %q", token)
	}
	r.again()
	second := lookup()
	if len(second) < 32 || second == first {
		t.Errorf("after a crash the agent is given %q", second)
	}
	r.beat()
	r.again()
	if token := lookup(); token != ipa.MaskedToken {
		t.Errorf("after a heartbeat another agent is given %q", token)
	}
}

// TestStepNeverArrived: a step that the agent was about to be told when the
// conductor died is told, also where the same step has just been over.
func TestStepNeverArrived(t *testing.T) {
	r := newRig(t, nil)
	r.must("manage", provision.Manageable)
	step := flow.Step{Interface: "deploy", Step: "burnin_cpu"}
	if err := r.do("clean", flow.ProvisionRequest{CleanSteps: []flow.Step{step, step}}); err != nil {
		t.Fatal(err)
	}
	r.reach(provision.CleanWait)
	r.boot()
	r.agent.finish(ipa.StatusSucceeded, nil)
	r.crash(func(n *store.Node) { // in the middle of telling the second
		n.ProvisionState = provision.Cleaning
		n.DriverInternalInfo["clean_step_index"] = 1.
		n.DriverInternalInfo["clean_step_former_command"] = n.DriverInternalInfo["clean_step_command"]
		delete(n.DriverInternalInfo, "clean_step_command")
	})
	r.reach(provision.CleanWait)
	r.beat()
	if n := r.agent.count("execute_clean_step"); n != 2 {
		t.Fatalf("the agent was told %d steps; want 2", n)
	}
	r.agent.finish(ipa.StatusSucceeded, nil)
	r.beat()
	r.reach(provision.Manageable)
}

// TestMachineLost cuts the power of a machine whose agent works.
func TestMachineLost(t *testing.T) {
	quick := func(c *flow.Config) {
		c.AgentSilenceTimeout, c.AgentRejoinTimeout = 50*time.Millisecond, 50*time.Millisecond
	}
	off := func(r *rig) {
		r.change(func(n *store.Node) { state := driver.PowerOff; n.PowerState = &state })
	}
	reboot := func(r *rig) {
		if _, token, err := r.flow.Lookup(r.t.Context(), []string{"52:54:00:77:00:01"}, "", true); err != nil || token != ipa.MaskedToken {
			r.t.Fatalf("lookup of another boot gives %q, %v", token, err)
		}
	}
	for name, lose := range map[string]func(r *rig){"off": off, "booted again": reboot} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, quick)
			r.must("manage", provision.Manageable)
			r.must("provide", provision.CleanWait)
			r.boot()
			url := r.agent.URL
			for i, want := range []provision.State{provision.CleanWait, provision.CleanFailed} {
				lose(r)
				r.check() // the agent answers: all is well
				if n := r.row(); n.DriverInternalInfo.String(driver.KeyAgentURL) != url {
					t.Fatal("an agent that answers was taken for lost")
				}
				lose(r)
				r.change(func(n *store.Node) { n.DriverInternalInfo[driver.KeyAgentURL] = "https://127.0.0.1:1" })
				r.check()
				n := r.reach(want)
				if i == 0 {
					if *n.PowerState != driver.PowerOn || n.DriverInternalInfo.String(driver.KeyAgentURL) != "" {
						t.Fatalf("machine %s, agent at %q; want it booted", *n.PowerState, n.DriverInternalInfo[driver.KeyAgentURL])
					}
					r.boot()
					if got, want := r.agent.last(), "execute_clean_step deploy.erase_devices_metadata"; got != want {
						t.Fatalf("after the loss the agent was told %q; want %q", got, want)
					}
				} else if !strings.Contains(*n.LastError, "for the second time") {
					t.Errorf("last_error is %q", *n.LastError)
				}
			}
		})
	}
}

// TestTokenOfLostBoot: a machine that boots again between the lookup of its agent
// and the first heartbeat is booted once more.
func TestTokenOfLostBoot(t *testing.T) {
	r := newRig(t, func(c *flow.Config) { c.AgentRejoinTimeout = 50 * time.Millisecond })
	r.must("manage", provision.Manageable)
	r.must("provide", provision.CleanWait)
	for range 2 {
		if _, _, err := r.flow.Lookup(t.Context(), []string{"52:54:00:77:00:01"}, "", true); err != nil {
			t.Fatal(err)
		}
	}
	r.check()
	if n := r.reach(provision.CleanWait); n.DriverInternalInfo.String(driver.KeyAgentToken) != "" {
		t.Fatal("the token of the boot that was lost is left")
	}
	r.clean()
}

// TestMachineLostAfterImage cuts the power of a machine whose image is written
// and whose agent is asked about it, or is told the next step. The agent of the
// next boot knows nothing of an image: it is written again, once.
func TestMachineLostAfterImage(t *testing.T) {
	for name, at := range map[string]string{"asked": "get_partition_uuids", "told": "execute_deploy_step"} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, nil)
			r.must("manage", provision.Manageable)
			r.must("provide", provision.CleanWait)
			r.clean()
			if err := r.do("active", flow.ProvisionRequest{}); err != nil {
				t.Fatal(err)
			}
			r.reach(provision.WaitCallback)
			for i := range 2 {
				if at == "execute_deploy_step" {
					r.agent.vanishAt(at)
					r.boot()
				} else {
					r.boot()
					r.agent.finish(ipa.StatusSucceeded, nil)
					r.agent.vanishAt(at)
					r.beat()
				}
				r.agent.vanishAt("")
				if i == 1 {
					break
				}
				n := r.reach(provision.WaitCallback)
				if n.DriverInternalInfo.String(driver.KeyAgentURL) != "" || *n.PowerState != driver.PowerOn || n.LastError != nil {
					t.Fatalf("machine %s, agent at %q, last_error %v; want it booted", *n.PowerState, n.DriverInternalInfo[driver.KeyAgentURL], n.LastError)
				}
				r.agent.reboot()
			}
			if n := r.reach(provision.DeployFailed); !strings.Contains(*n.LastError, "for the second time") || *n.PowerState != driver.PowerOff {
				t.Errorf("machine %s, last_error %q", *n.PowerState, *n.LastError)
			}
			// Once is survived.
			if err := r.do("active", flow.ProvisionRequest{}); err != nil {
				t.Fatal(err)
			}
			r.reach(provision.WaitCallback)
			r.agent.reboot()
			r.boot()
			r.agent.finish(ipa.StatusSucceeded, nil)
			r.agent.vanishAt("get_partition_uuids")
			r.beat()
			r.agent.vanishAt("")
			r.again() // and a crash besides
			r.reach(provision.WaitCallback)
			r.agent.reboot()
			r.boot()
			if got, want := r.agent.last(), "execute_deploy_step deploy.write_image"; got != want {
				t.Fatalf("after the loss the agent was told %q; want %q", got, want)
			}
			r.agent.finish(ipa.StatusSucceeded, nil)
			r.beat()
			if n := r.reach(provision.Active); n.LastError != nil {
				t.Errorf("last_error %q", *n.LastError)
			}
		})
	}
}

// check waits until an agent counts as silent and has the conductor look.
func (r *rig) check() {
	r.t.Helper()
	time.Sleep(60 * time.Millisecond) // more than the patience with silence
	if err := r.flow.CheckAgents(r.t.Context()); err != nil {
		r.t.Fatal(err)
	}
	r.tasks.Wait()
}
