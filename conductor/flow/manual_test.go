package flow_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"ferric/api/ipa"
	"ferric/conductor/driver"
	"ferric/conductor/flow"
	"ferric/conductor/provision"
	"ferric/conductor/store"
)

// byHand has a human switch the machine: the conductor only thinks that it does.
func byHand(power string) func(n *store.Node) {
	return func(n *store.Node) {
		byAgent(n)
		n.Driver, n.PowerInterface, n.ManagementInterface = "manual-management", set(power), set("noop")
		n.BIOSInterface, n.FirmwareInterface, n.RAIDInterface, n.VendorInterface = set("no-bios"), set("no-firmware"), set("no-raid"), set("no-vendor")
		n.ConsoleInterface, n.StorageInterface, n.NetworkInterface = set("no-console"), set("noop"), set("noop")
	}
}

// TestManualPower is the life of a machine that a human switches whenever the
// node waits for that.
func TestManualPower(t *testing.T) {
	r := newRig(t, nil)
	r.change(byHand("fake"))
	r.must("manage", provision.Manageable)
	if err := r.do("provide", flow.ProvisionRequest{}); err != nil {
		t.Fatal(err)
	}
	r.clean() // which boots it
	r.must("active", provision.WaitCallback)
	r.boot()
	r.agent.finish(ipa.StatusSucceeded, nil)
	r.beat()
	if n := r.reach(provision.Active); *n.PowerState != driver.PowerOn || n.LastError != nil {
		t.Errorf("deployed: %s, %v", *n.PowerState, n.LastError)
	}
}

// TestPowerByAgent: nothing but the agent can boot the machine, and where there
// is none the node waits for a human.
func TestPowerByAgent(t *testing.T) {
	r := newRig(t, fastTrack)
	r.change(byHand("agent"))
	if n := r.must("manage", provision.Manageable); n.PowerState != nil || n.LastError != nil {
		t.Errorf("verified: power %v, error %v; want nothing known and nothing wrong", n.PowerState, n.LastError)
	}
	var invalid *driver.InvalidParameterError
	if err := r.flow.SetPower(t.Context(), r.node, driver.PowerOff, 0); !errors.Is(err, flow.ErrInvalid) && !errors.As(err, &invalid) {
		t.Errorf("power off: %v; want it refused", err)
	}
	r.must("provide", provision.CleanWait) // a human boots the machine
	r.boot()
	for range 2 {
		r.agent.finish(ipa.StatusSucceeded, nil)
		r.beat()
	}
	if n := r.reach(provision.Available); *n.PowerState != driver.PowerOn {
		t.Errorf("cleaned: %s", *n.PowerState)
	}
	if err := r.flow.NewPowerSync(0).Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.must("active", provision.WaitCallback) // by the agent that runs
	r.tasks.Wait()
	r.agent.finish(ipa.StatusSucceeded, nil)
	r.beat()
	n := r.reach(provision.Active)
	if n.LastError != nil || *n.PowerState != driver.PowerOn || r.agent.count("sync") != 1 || r.agent.last() != "run_image" || r.agent.count("power_off") != 0 {
		t.Errorf("deployed: error %v, %s, the agent's last command is %q", n.LastError, *n.PowerState, r.agent.last())
	}
	want := []string{"rebooting requested", "rebooting requested"}
	if power := r.power(); !slices.Equal(power, want) {
		t.Errorf("power: %q; want %q", power, want)
	}

	// Without fast track nothing could be known of the machine.
	r.change(func(n *store.Node) { n.DriverInfo["fast_track"] = false })
	if results, err := r.flow.Validate(t.Context(), r.node); err != nil || results["power"].Result == nil || *results["power"].Result || !strings.Contains(results["power"].Reason, "needs fast track") {
		t.Errorf("validation: %+v, %v", results["power"], err)
	}
}

// TestNoopDeployment: somebody else writes the disk.
func TestNoopDeployment(t *testing.T) {
	r := newRig(t, nil)
	r.change(byHand("fake"))
	r.change(func(n *store.Node) { n.DeployInterface = set("noop") })
	r.must("manage", provision.Manageable)
	r.must("provide", provision.Available)
	r.must("active", provision.Active)
	r.must("rebuild", provision.Active)
	r.must("deleted", provision.Available)
	if power := r.power(); len(power) > 0 {
		t.Errorf("power: %q; want the machine left alone", power)
	}
}

// TestForcedPowerOff: with deploy_forces_oob_reboot the agent only writes out
// what it holds, and the BMC switches off.
func TestForcedPowerOff(t *testing.T) {
	r := newRig(t, nil)
	r.change(in(provision.Available))
	r.change(func(n *store.Node) {
		n.DriverInfo["deploy_forces_oob_reboot"], n.DriverInternalInfo = "true", store.Object{}
	})
	r.must("active", provision.WaitCallback)
	r.boot()
	r.agent.finish(ipa.StatusSucceeded, nil)
	r.beat()
	r.reach(provision.Active)
	if r.agent.last() != "sync" || r.agent.count("power_off") != 0 {
		t.Errorf("the agent's last command is %q; want sync and no power_off", r.agent.last())
	}
}

// TestDefaultBootMode: a node that nothing is said of is deployed in the mode of
// the configuration.
func TestDefaultBootMode(t *testing.T) {
	for _, mode := range []string{"bios", "uefi"} {
		r := newRig(t, nil)
		r.images.DefaultBootMode = mode
		r.kill()
		r.db.Close()
		r.start()
		r.change(in(provision.Available))
		r.change(func(n *store.Node) {
			delete(n.InstanceInfo, "capabilities")
			n.DriverInternalInfo = store.Object{}
		})
		if n := r.must("active", provision.WaitCallback); n.DriverInternalInfo["deploy_boot_mode"] != mode {
			t.Errorf("default_boot_mode %s: deployed in %v", mode, n.DriverInternalInfo["deploy_boot_mode"])
		}
	}
}

// TestAbortAfterTheStep: a step that must not be cut off is waited for.
func TestAbortAfterTheStep(t *testing.T) {
	r := newRig(t, nil)
	r.must("manage", provision.Manageable)
	if err := r.do("clean", flow.ProvisionRequest{CleanSteps: []flow.Step{{Interface: "deploy", Step: "burnin_cpu"}, {Interface: "deploy", Step: "erase_devices"}}}); err != nil {
		t.Fatal(err)
	}
	r.reach(provision.CleanWait)
	r.boot()
	if n := r.must("abort", provision.CleanWait); !n.CleanStep.Bool("abort_after") || n.LastError != nil {
		t.Errorf("step %v, error %v", n.CleanStep, n.LastError)
	}
	r.beat() // the step still runs
	r.reach(provision.CleanWait)
	r.agent.finish(ipa.StatusSucceeded, nil)
	r.beat()
	n := r.reach(provision.CleanFailed)
	if want := `aborted during or after the completion of step "burnin_cpu"`; !strings.Contains(*n.LastError, want) || n.Maintenance || *n.TargetProvisionState != provision.Manageable || r.agent.count("execute_clean_step") != 1 {
		t.Errorf("last_error %q, maintenance %v, target %s, %d steps", *n.LastError, n.Maintenance, *n.TargetProvisionState, r.agent.count("execute_clean_step"))
	}
}

// TestMaintenanceMeanwhile: a heartbeat of a node that was put into maintenance
// waits, or ends what goes on, as the configuration says.
func TestMaintenanceMeanwhile(t *testing.T) {
	for _, allowed := range []bool{true, false} {
		r := newRig(t, func(c *flow.Config) { c.AllowProvisioningMaintenance = allowed })
		r.must("manage", provision.Manageable)
		r.must("provide", provision.CleanWait)
		if err := r.flow.SetMaintenance(t.Context(), r.node, true, nil); err != nil {
			t.Fatal(err)
		}
		r.boot()
		if !allowed {
			n := r.reach(provision.CleanFailed)
			if !strings.Contains(*n.LastError, "allow_provisioning_in_maintenance") || n.Fault != nil || *n.PowerState != driver.PowerOff {
				t.Errorf("last_error %q, fault %v, %s", *n.LastError, n.Fault, *n.PowerState)
			}
			continue
		}
		if n := r.reach(provision.CleanWait); len(n.CleanStep) > 0 || n.DriverInternalInfo.String(driver.KeyAgentURL) == "" {
			t.Errorf("step %v, agent %q; want the agent known and no step", n.CleanStep, n.DriverInternalInfo.String(driver.KeyAgentURL))
		}
		if err := r.flow.SetMaintenance(t.Context(), r.node, false, nil); err != nil {
			t.Fatal(err)
		}
		r.beat()
		if got := r.agent.last(); got != "execute_clean_step deploy.erase_devices_metadata" {
			t.Errorf("after maintenance the agent was told %q", got)
		}
	}
}
