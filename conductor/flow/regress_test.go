package flow_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"ferric/api/ipa"
	"ferric/conductor/driver"
	"ferric/conductor/flow"
	"ferric/conductor/provision"
)

// TestRebootInDeployment: a deploy step that asks for a reboot runs once, and
// the steps after it go on in the next boot.
func TestRebootInDeployment(t *testing.T) {
	r := newRig(t, nil)
	r.agent.offers["deploy"] = []ipa.Step{{Step: "flash", Interface: "firmware", Priority: 90, RebootRequested: true}}
	r.must("manage", provision.Manageable)
	r.must("provide", provision.CleanWait)
	r.clean()
	r.must("active", provision.WaitCallback)
	r.boot()
	if got, want := r.agent.last(), "execute_deploy_step firmware.flash"; got != want {
		t.Fatalf("agent was told %q; want %q", got, want)
	}
	r.agent.finish(ipa.StatusSucceeded, nil)
	r.beat()
	if n := r.reach(provision.WaitCallback); n.DriverInternalInfo.String(driver.KeyAgentURL) != "" {
		t.Fatal("the machine was not rebooted after the step")
	}
	r.boot()
	if got, want := r.agent.last(), "execute_deploy_step deploy.write_image"; got != want {
		t.Errorf("after the reboot the agent was told %q; want %q", got, want)
	}
}

// TestSameStepTwice: the end of the first run is not taken for the second's.
func TestSameStepTwice(t *testing.T) {
	r := newRig(t, nil)
	r.must("manage", provision.Manageable)
	step := flow.Step{Interface: "deploy", Step: "burnin_cpu"}
	if err := r.do("clean", flow.ProvisionRequest{CleanSteps: []flow.Step{step, step}}); err != nil {
		t.Fatal(err)
	}
	r.reach(provision.CleanWait)
	r.boot()
	for range 2 {
		r.beat() // changes nothing while the step runs
		if got, want := r.agent.last(), "execute_clean_step deploy.burnin_cpu"; got != want {
			t.Fatalf("agent was told %q; want %q", got, want)
		}
		r.reach(provision.CleanWait)
		r.agent.finish(ipa.StatusSucceeded, nil)
		r.beat()
	}
	r.reach(provision.Manageable)
	if n := r.agent.count("execute_clean_step"); n != 2 {
		t.Errorf("the step ran %d times; want 2", n)
	}
}

// TestBusyAgent is told its step again when it is free.
func TestBusyAgent(t *testing.T) {
	r := newRig(t, nil)
	r.must("manage", provision.Manageable)
	r.must("provide", provision.CleanWait)
	r.agent.refuse(1)
	r.boot()
	r.reach(provision.CleanWait)
	if n := r.agent.count("execute_clean_step"); n != 0 {
		t.Fatalf("a busy agent took %d steps", n)
	}
	r.beat()
	if got, want := r.agent.last(), "execute_clean_step deploy.erase_devices_metadata"; got != want {
		t.Errorf("agent was told %q; want %q", got, want)
	}
}

// TestUnreachableAgent: heartbeats of an agent that cannot be asked do not
// keep the node waiting for ever.
func TestUnreachableAgent(t *testing.T) {
	r := newRig(t, func(c *flow.Config) { c.CleanCallbackTimeout = 500 * time.Millisecond })
	r.must("manage", provision.Manageable)
	r.must("provide", provision.CleanWait)
	r.boot()
	begin := *r.row().ProvisionUpdatedAt
	r.agent.token = func() string { return "another" } // it answers 401 from now on
	h := r.heartbeat()
	h.AgentToken = r.row().DriverInternalInfo.String(driver.KeyAgentToken)
	for range 3 {
		if err := r.flow.Heartbeat(t.Context(), r.row().UUID, h); err != nil {
			t.Fatal(err)
		}
		r.tasks.Wait()
	}
	if n := r.row(); !n.ProvisionUpdatedAt.Equal(begin) {
		t.Fatal("an agent that cannot be asked moved the clock of the timeout")
	}
	time.Sleep(time.Until(begin.Add(600 * time.Millisecond)))
	if err := r.flow.CheckTimeouts(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := r.reach(provision.CleanFailed); !strings.Contains(*n.LastError, "the agent sends heartbeats but cannot be asked") {
		t.Errorf("last_error is %q", *n.LastError)
	}
}

func TestNoCleanSteps(t *testing.T) {
	r := newRig(t, nil)
	r.agent.offers["clean"] = nil
	r.must("manage", provision.Manageable)
	r.must("provide", provision.CleanWait)
	r.boot()
	if n := r.reach(provision.Available); *n.PowerState != driver.PowerOff {
		t.Errorf("the machine is left %s, in the ramdisk", *n.PowerState)
	}
}

// TestAbortAfterStep: a step that cannot be cut short is finished first, even
// if the agent's managers have changed meanwhile.
func TestAbortAfterStep(t *testing.T) {
	for _, status := range []string{ipa.StatusSucceeded, ipa.StatusVersionMismatch} {
		t.Run(status, func(t *testing.T) {
			r := newRig(t, nil)
			r.agent.offers["clean"][0].Abortable = false
			r.must("manage", provision.Manageable)
			r.must("provide", provision.CleanWait)
			r.boot()
			r.must("abort", provision.CleanWait)
			var failure *ipa.Error
			if status != ipa.StatusSucceeded {
				failure = ipa.VersionMismatch.New("changed")
			}
			r.agent.finish(status, failure)
			r.beat()
			if n := r.reach(provision.CleanFailed); !strings.HasPrefix(*n.LastError, "By request, the clean operation was aborted") {
				t.Errorf("last_error is %q", *n.LastError)
			}
		})
	}
}

// TestForgottenWork: a working state that no worker stands behind goes on.
func TestForgottenWork(t *testing.T) {
	r := newRig(t, nil)
	n := r.row()
	target := provision.Active
	n.ProvisionState, n.TargetProvisionState = provision.Deploying, &target
	if err := r.db.SaveNode(t.Context(), n); err != nil {
		t.Fatal(err)
	}
	if err := r.flow.CheckTimeouts(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.reach(provision.WaitCallback)
}

// TestClientGoesAway ends requests at random moments: no lock stays behind and
// no state is torn.
func TestClientGoesAway(t *testing.T) {
	r := newRig(t, nil)
	for range 300 {
		ctx, cancel := context.WithCancel(t.Context())
		timer := time.AfterFunc(time.Duration(rand.IntN(3000))*time.Microsecond, cancel)
		verb, _ := provision.VerbFor("manage")
		err := r.flow.Provision(ctx, r.node, flow.ProvisionRequest{Verb: verb})
		timer.Stop()
		cancel()
		r.tasks.Wait()
		n := r.row()
		if n.Reservation != nil {
			t.Fatalf("the lock of %s stayed after a request that gave %v", *n.Reservation, err)
		}
		if n.ProvisionState.Is(provision.Transient) {
			t.Fatalf("the node is left %s", n.ProvisionState)
		}
		if n.ProvisionState == provision.Manageable { // begin again
			n.ProvisionState = provision.Enroll
			if err := r.db.SaveNode(t.Context(), n); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func TestDeployStepsAreChecked(t *testing.T) {
	r := newRig(t, nil)
	r.must("manage", provision.Manageable)
	r.must("provide", provision.CleanWait)
	r.clean()
	priority := 50
	for name, tt := range map[string]struct {
		list []flow.Step
		want string
	}{
		"the first":        {[]flow.Step{{Interface: "deploy", Step: "deploy"}}, "deploy.deploy cannot be changed"},
		"twice":            {[]flow.Step{{Interface: "raid", Step: "x", Priority: &priority}, {Interface: "raid", Step: "x", Priority: &priority}}, "raid.x is asked for twice"},
		"unknown argument": {[]flow.Step{{Interface: "deploy", Step: "write_image", Args: map[string]any{"fast": true}}}, `write_image has no argument "fast"`},
	} {
		if err := r.do("active", flow.ProvisionRequest{DeploySteps: tt.list}); !errors.Is(err, flow.ErrInvalid) || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v; want %q", name, err, tt.want)
		}
	}
	if n := r.row(); n.ProvisionState != provision.Available {
		t.Errorf("a refused deployment left the node %s", n.ProvisionState)
	}
}

// TestMaintenanceOfUser is not ended by the recovery of power failures.
func TestMaintenanceOfUser(t *testing.T) {
	r := newRig(t, nil)
	n := r.row()
	fault := "power failure"
	n.Maintenance, n.Fault = true, &fault
	if err := r.db.SaveNode(t.Context(), n); err != nil {
		t.Fatal(err)
	}
	if err := r.flow.SetMaintenance(t.Context(), r.node, true, nil); err != nil {
		t.Fatal(err)
	}
	if err := r.flow.RecoverPowerFailures(t.Context()); err != nil {
		t.Fatal(err)
	}
	if !r.row().Maintenance {
		t.Error("the conductor ended the user's maintenance")
	}
}

// TestHeartbeatWithoutURL, as of an installer's ramdisk, does not make the node
// forget its agent.
func TestHeartbeatWithoutURL(t *testing.T) {
	r := newRig(t, nil)
	r.must("manage", provision.Manageable)
	r.must("provide", provision.CleanWait)
	r.boot()
	h := r.heartbeat()
	h.CallbackURL = ""
	if err := r.flow.Heartbeat(t.Context(), r.row().UUID, h); err != nil {
		t.Fatal(err)
	}
	r.tasks.Wait()
	if n := r.reach(provision.CleanWait); n.DriverInternalInfo.String(driver.KeyAgentURL) != r.agent.URL {
		t.Errorf("agent_url is %q", n.DriverInternalInfo.String(driver.KeyAgentURL))
	}
}

// TestMaintenanceEnds: the wait of a node goes on when its maintenance ends.
func TestMaintenanceEnds(t *testing.T) {
	r := newRig(t, func(c *flow.Config) { c.CleanCallbackTimeout = time.Minute })
	r.must("manage", provision.Manageable)
	r.must("provide", provision.CleanWait)
	n := r.row()
	long := time.Now().Add(-time.Hour).UTC()
	n.Maintenance, n.ProvisionUpdatedAt = true, &long
	if err := r.db.SaveNode(t.Context(), n); err != nil {
		t.Fatal(err)
	}
	if err := r.flow.SetMaintenance(t.Context(), r.node, false, nil); err != nil {
		t.Fatal(err)
	}
	if err := r.flow.CheckTimeouts(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.tasks.Wait()
	if n := r.row(); n.ProvisionState != provision.CleanWait {
		t.Errorf("the node is %s right after its maintenance", n.ProvisionState)
	}
}

// TestAgentGoesWhileItLists: an agent that goes away while it lists its steps is
// waited for, as its machine may just boot once more.
func TestAgentGoesWhileItLists(t *testing.T) {
	r := newRig(t, nil)
	r.must("manage", provision.Manageable)
	for _, phase := range []struct {
		verb, list, first string
		waiting           provision.State
	}{
		{"provide", "clean.get_clean_steps", "execute_clean_step deploy.erase_devices_metadata", provision.CleanWait},
		{"active", "deploy.get_deploy_steps", "execute_deploy_step deploy.write_image", provision.WaitCallback},
	} {
		r.must(phase.verb, phase.waiting)
		r.agent.cut = phase.list
		r.boot()
		if n := r.row(); n.ProvisionState != phase.waiting || n.LastError != nil {
			t.Fatalf("%s was cut off: %s, %v; want %s", phase.list, n.ProvisionState, n.LastError, phase.waiting)
		}
		r.agent.cut = ""
		r.beat()
		if got := r.agent.last(); got != phase.first {
			t.Fatalf("after %s was cut off the agent was told %q; want %q", phase.list, got, phase.first)
		}
		for r.row().ProvisionState == phase.waiting {
			r.agent.finish(ipa.StatusSucceeded, nil)
			r.beat()
		}
	}
	r.reach(provision.Active)
}
