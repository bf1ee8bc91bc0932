package process_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"ferric/api/ironic"
	"ferric/integration/faults/proxy"
)

// waiting waits until the node waits in state, on step unless that is "", and
// nobody holds it (a heartbeat does for a moment).
func (m *machine) waiting(t *testing.T, state, step string) {
	t.Helper()
	eventually(t, fmt.Sprintf("the wait in %s at step %q without a reservation", state, step), func() bool {
		n := m.node(t)
		current := n.CleanStep
		if state == ironic.StateDeployWait {
			current = n.DeployStep
		}
		if n.LastError != nil {
			t.Fatalf("%s is %s: %s", m.name, n.ProvisionState, *n.LastError)
		}
		return n.ProvisionState == state && n.Reservation == nil && (step == "" || current["step"] == step)
	})
}

// TestCrashWhileAgentWorks kills the conductor where the node waits for its
// agent: the work goes on with the conductor's next life.
func TestCrashWhileAgentWorks(t *testing.T) {
	t.Parallel()
	c := newConductor(t, "[deploy]", "shred_random_overwrite_iterations = 10")
	images := newShop(t)
	m := newMachine(t, c, spec{automated: true, diskSize: 160 << 20})

	m.hold()
	m.verb(t, ironic.ProvisionRequest{Target: ironic.VerbClean, CleanSteps: []ironic.Step{{Interface: "deploy", Step: "erase_devices"}}})
	m.waiting(t, ironic.StateCleanWait, "")
	c.restart(t)
	m.waiting(t, ironic.StateCleanWait, "")
	m.release(t)

	eventually(t, "erase_devices", func() bool {
		n := m.node(t)
		return n.ProvisionState == ironic.StateCleanWait && n.CleanStep["step"] == "erase_devices"
	})
	m.signal(t, syscall.SIGSTOP) // the step takes as long as this test likes
	c.restart(t)
	m.waiting(t, ironic.StateCleanWait, "erase_devices")
	m.signal(t, syscall.SIGCONT)
	if n := m.wait(t, ironic.StateManageable); n.LastError != nil || n.Maintenance {
		t.Errorf("after cleaning: last_error %v, maintenance %v; want none", n.LastError, n.Maintenance)
	}

	m.provision(t, ironic.VerbProvide, ironic.StateAvailable)
	m.setImage(t, images.URL+"/slow/good.raw", "raw", digestOf(t, imageFile(t, "good.raw")))
	m.hold()
	m.verb(t, ironic.ProvisionRequest{Target: ironic.VerbActive, ConfigDrive: ironic.ConfigDrive{UserData: "kept over crashes"}})
	m.waiting(t, ironic.StateDeployWait, "deploy")
	c.restart(t)
	m.waiting(t, ironic.StateDeployWait, "deploy")
	m.release(t)

	images.waitHalf(t)
	m.waiting(t, ironic.StateDeployWait, "write_image")
	c.restart(t)
	m.waiting(t, ironic.StateDeployWait, "write_image")
	images.open()
	m.wait(t, ironic.StateActive)
	m.holds(t)
	m.hasConfigDrive(t, "kept over crashes")
}

// TestCrashDuringAgentCall kills the conductor while the agent does not
// answer it. Whatever the agent has not heard, it is told again.
func TestCrashDuringAgentCall(t *testing.T) {
	t.Parallel()
	c, images := newConductor(t), newShop(t)
	p, port := newProxy(t)
	m := newMachine(t, c, spec{automated: true, advertise: port})
	p.To(m.agentAddress())
	crash := func(state string) {
		t.Helper()
		select {
		case <-p.Held:
		case <-time.After(patience):
			t.Fatal("the conductor does not call the agent")
		}
		if n := m.node(t); n.ProvisionState != state || n.Reservation == nil {
			t.Fatalf("during the call the node is %s, reservation %v; want %s and one", n.ProvisionState, n.Reservation, state)
		}
		c.kill(t)
		p.All(proxy.Pass)
		c.start(t)
	}
	ends := func(state string) {
		t.Helper()
		if n := m.wait(t, state); n.LastError != nil || n.Maintenance {
			t.Errorf("%s with last_error %v, maintenance %v; want none", state, n.LastError, n.Maintenance)
		}
	}

	// The first call of cleaning: nothing has begun on the machine.
	holdAfter(p, 0)
	m.verb(t, ironic.ProvisionRequest{Target: ironic.VerbProvide})
	crash(ironic.StateCleaning)
	ends(ironic.StateAvailable)
	m.provision(t, ironic.VerbManage, ironic.StateManageable)

	// The second starts a step: whether it did is for the agent to say.
	holdAfter(p, 1)
	m.verb(t, ironic.ProvisionRequest{Target: ironic.VerbProvide})
	crash(ironic.StateCleaning)
	ends(ironic.StateAvailable)

	// The first call of a deployment is made in the waiting state: it is
	// repeated at the next heartbeat.
	m.setGood(t, images)
	holdAfter(p, 0)
	m.verb(t, ironic.ProvisionRequest{Target: ironic.VerbActive})
	crash(ironic.StateDeployWait)
	ends(ironic.StateActive)
	m.holds(t)

	// The third starts write_image.
	holdAfter(p, 2)
	m.verb(t, ironic.ProvisionRequest{Target: ironic.VerbRebuild})
	crash(ironic.StateDeploying)
	ends(ironic.StateActive)
	m.holds(t)
}

// TestCrashDuringBMCCall kills the conductor while it waits for a BMC, in each
// state in which it does: the next one goes on.
func TestCrashDuringBMCCall(t *testing.T) {
	t.Parallel()
	c, b, images := newConductor(t, "[ipmi]", "command_retry_timeout = 5"), newBMC(t), newShop(t)
	info := b.access()
	info["ipmi_port"] = silence(t)
	m := newNode(t, c, map[string]any{
		"driver": "fake-hardware", "power_interface": "ipmitool", "deploy_interface": "direct", "driver_info": info,
	})
	crash := func(state string) {
		t.Helper()
		eventually(t, state, func() bool {
			n := m.node(t)
			return n.ProvisionState == state && n.Reservation != nil && (state == ironic.StateVerifying || n.TargetPowerState != nil)
		})
		c.kill(t)
		if state != ironic.StateVerifying {
			b.loosen(t)
		}
		c.start(t)
	}
	update := func(p ironic.Patch) {
		t.Helper()
		if _, err := c.api.UpdateNode(t.Context(), m.name, p); err != nil {
			t.Fatal(err)
		}
	}

	m.verb(t, ironic.ProvisionRequest{Target: ironic.VerbManage})
	crash(ironic.StateVerifying)
	m.fails(t, ironic.StateEnroll, "ipmi_address") // as without the crash
	update(ironic.Patch{{Op: "replace", Path: "/driver_info/ipmi_port", Value: b.port}})
	m.provision(t, ironic.VerbManage, ironic.StateManageable)

	b.stick(t)
	update(ironic.Patch{{Op: "replace", Path: "/automated_clean", Value: true}})
	m.verb(t, ironic.ProvisionRequest{Target: ironic.VerbProvide})
	crash(ironic.StateCleaning)
	m.waiting(t, ironic.StateCleanWait, "")
	m.verb(t, ironic.ProvisionRequest{Target: ironic.VerbAbort}) // nothing boots there
	m.fails(t, ironic.StateCleanFailed, "By request")
	m.provision(t, ironic.VerbManage, ironic.StateManageable)

	update(ironic.Patch{{Op: "replace", Path: "/automated_clean", Value: false}})
	m.provision(t, ironic.VerbProvide, ironic.StateAvailable)
	m.setGood(t, images)
	b.stick(t)
	m.verb(t, ironic.ProvisionRequest{Target: ironic.VerbActive})
	crash(ironic.StateDeploying)
	m.waiting(t, ironic.StateDeployWait, "deploy")

	b.stick(t)
	m.verb(t, ironic.ProvisionRequest{Target: ironic.VerbDeleted})
	crash(ironic.StateDeleting)
	if n := m.wait(t, ironic.StateAvailable); n.LastError != nil || *n.PowerState != ironic.PowerOff {
		t.Errorf("available with last_error %v, %s; want none and off", n.LastError, *n.PowerState)
	}

	// A change of power by request is finished.
	b.stick(t)
	if err := c.api.SetPower(t.Context(), m.name, ironic.PowerOn, 0); err != nil {
		t.Fatal(err)
	}
	crash(ironic.StateAvailable)
	eventually(t, "the end of the change of power", func() bool { return m.node(t).TargetPowerState == nil })
	if n := m.wait(t, ironic.StateAvailable); *n.PowerState != ironic.PowerOn || n.LastError != nil || b.power(t) != "1" {
		t.Errorf("%s, chassis %s, last_error %v; want on and none", *n.PowerState, b.power(t), n.LastError)
	}
}

// TestCrashAnywhere kills the conductor at moments of a deployment that nobody
// has chosen. The deployment goes on.
func TestCrashAnywhere(t *testing.T) {
	t.Parallel()
	c, images := newConductor(t), newShop(t)
	m := newMachine(t, c, spec{})
	m.provision(t, ironic.VerbProvide, ironic.StateAvailable)
	for _, after := range []time.Duration{0, 50, 150, 300, 450} {
		m.setGood(t, images)
		m.verb(t, ironic.ProvisionRequest{Target: ironic.VerbActive})
		<-time.After(after * time.Millisecond) // a moment like any other
		c.restart(t)
		if n := m.wait(t, ironic.StateActive); n.LastError != nil {
			t.Errorf("killed after %d ms: last_error %q", after, *n.LastError)
		}
		m.holds(t)
		m.provision(t, ironic.VerbDeleted, ironic.StateAvailable)
	}
}

// TestSecondConductor starts another conductor on the database of one that
// runs.
func TestSecondConductor(t *testing.T) {
	t.Parallel()
	c := newConductor(t)
	second := launch(t, filepath.Join(c.dir, "second.log"), program(t, "ferric"), "conductor", "--config", c.config)
	select {
	case <-second.ended:
	case <-time.After(patience):
		second.kill(t)
		t.Fatal("the second conductor runs")
	}
	text, err := os.ReadFile(second.log)
	if err != nil {
		t.Fatal(err)
	}
	want := fmt.Sprintf("database %s/ferric.sqlite is in use by another conductor", c.dir)
	if second.cmd.ProcessState.ExitCode() != 1 || !strings.Contains(string(text), want) {
		t.Errorf("the second conductor ended with %v: %q; want status 1 and %q", second.err, text, want)
	}
	if _, err := c.api.CreateNode(t.Context(), map[string]any{"driver": "fake-hardware"}); err != nil {
		t.Errorf("the first conductor is disturbed: %v", err)
	}
	if list, err := c.api.Conductors(t.Context()); err != nil || len(list) != 1 || !list[0].Alive {
		t.Errorf("conductors %+v, %v; want the first, alive", list, err)
	}
}

// TestAgentKilled kills the agent in the middle of a step. It comes back in
// the same boot, and reports the step as failed. That is what becomes of it: what
// killed the agent once, such as a lack of memory, would do so again, and the
// machine stands ready to be looked at.
func TestAgentKilled(t *testing.T) {
	t.Parallel()
	c, images := newConductor(t, "[deploy]", "shred_random_overwrite_iterations = 10"), newShop(t)
	m := newMachine(t, c, spec{diskSize: 160 << 20})
	m.verb(t, ironic.ProvisionRequest{Target: ironic.VerbClean, CleanSteps: []ironic.Step{{Interface: "deploy", Step: "erase_devices"}}})
	m.waiting(t, ironic.StateCleanWait, "erase_devices")
	m.crashAgent(t)
	n := m.fails(t, ironic.StateCleanFailed, "the agent restarted while it ran", "erase_devices")
	if !n.Maintenance || n.Fault == nil || *n.Fault != ironic.FaultClean || *n.PowerState != ironic.PowerOff {
		t.Errorf("maintenance %v, fault %v, %s; want that of a failed clean step, and off", n.Maintenance, n.Fault, *n.PowerState)
	}
	if err := c.api.UnsetMaintenance(t.Context(), m.name); err != nil {
		t.Fatal(err)
	}
	m.provision(t, ironic.VerbManage, ironic.StateManageable)

	m.provision(t, ironic.VerbProvide, ironic.StateAvailable)
	m.setImage(t, images.URL+"/slow/good.raw", "raw", digestOf(t, imageFile(t, "good.raw")))
	m.verb(t, ironic.ProvisionRequest{Target: ironic.VerbActive})
	images.waitHalf(t)
	m.crashAgent(t)
	n = m.fails(t, ironic.StateDeployFailed, "the agent restarted while it ran", "write_image")
	if *n.PowerState != ironic.PowerOff {
		t.Errorf("%s; want off: half an image is on the disk", *n.PowerState)
	}
	m.setGood(t, images)
	m.provision(t, ironic.VerbActive, ironic.StateActive)
	m.holds(t)
}

// TestStoppedByRequest ends cleaning and deployment while the agent works.
func TestStoppedByRequest(t *testing.T) {
	t.Parallel()
	c, images := newConductor(t, "[deploy]", "shred_random_overwrite_iterations = 10"), newShop(t)
	m := newMachine(t, c, spec{diskSize: 160 << 20})
	m.verb(t, ironic.ProvisionRequest{Target: ironic.VerbClean, CleanSteps: []ironic.Step{{Interface: "deploy", Step: "erase_devices"}}})
	m.waiting(t, ironic.StateCleanWait, "erase_devices")
	m.verb(t, ironic.ProvisionRequest{Target: ironic.VerbAbort})
	if n := m.fails(t, ironic.StateCleanFailed, "By request", "erase_devices"); n.Maintenance || *n.PowerState != ironic.PowerOff {
		t.Errorf("maintenance %v, %s; want none and off", n.Maintenance, *n.PowerState)
	}
	m.provision(t, ironic.VerbManage, ironic.StateManageable)
	m.provision(t, ironic.VerbProvide, ironic.StateAvailable)

	m.setImage(t, images.URL+"/slow/good.raw", "raw", digestOf(t, imageFile(t, "good.raw")))
	m.verb(t, ironic.ProvisionRequest{Target: ironic.VerbActive})
	images.waitHalf(t)
	if n := m.provision(t, ironic.VerbDeleted, ironic.StateAvailable); *n.PowerState != ironic.PowerOff || n.LastError != nil {
		t.Errorf("%s, last_error %v after deletion; want off and none", *n.PowerState, n.LastError)
	}
	m.setGood(t, images)
	m.provision(t, ironic.VerbActive, ironic.StateActive)
	m.holds(t)
}

// TestAgentLost waits for agents that never come, or not again.
func TestAgentLost(t *testing.T) {
	t.Parallel()
	const limit = 3 // seconds, more than between two heartbeats
	c := newConductor(t, "[conductor]", fmt.Sprintf("clean_callback_timeout = %d\ndeploy_callback_timeout = %d", limit, limit))
	images := newShop(t)
	m := newMachine(t, c, spec{automated: true})
	m.hold()
	m.verb(t, ironic.ProvisionRequest{Target: ironic.VerbProvide})
	n := m.fails(t, ironic.StateCleanFailed, "Timeout", fmt.Sprintf("%ds", limit), ironic.StateCleanWait)
	if n.Maintenance || *n.PowerState != ironic.PowerOff {
		t.Errorf("maintenance %v, %s; want none and off: no step ran", n.Maintenance, *n.PowerState)
	}
	m.release(t)
	m.provision(t, ironic.VerbManage, ironic.StateManageable)
	m.provision(t, ironic.VerbProvide, ironic.StateAvailable)

	m.setImage(t, images.URL+"/slow/good.raw", "raw", digestOf(t, imageFile(t, "good.raw")))
	m.verb(t, ironic.ProvisionRequest{Target: ironic.VerbActive})
	images.waitHalf(t)
	m.off(t) // a power failure that no BMC tells of
	m.fails(t, ironic.StateDeployFailed, "Timeout", ironic.StateDeployWait)
	m.setGood(t, images)
	m.provision(t, ironic.VerbActive, ironic.StateActive)
	m.holds(t)
}
