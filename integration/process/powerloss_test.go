package process_test

import (
	"strings"
	"testing"
	"time"

	"ferric/api/ironic"
	"ferric/integration/faults/proxy"
)

// lossy is a conductor that soon looks for silent agents.
var lossy = []string{"[deploy]", "shred_random_overwrite_iterations = 10", "[ferric]", "agent_silence_timeout = 4", "agent_rejoin_timeout = 3"}

// cycle cuts the machine's power and gives it back: it boots the ramdisk again,
// and the agent of that boot has no token.
func (m *machine) cycle(t *testing.T) {
	t.Helper()
	m.off(t)
	m.boot(t)
}

// begun counts how often a step has been begun again.
func (m *machine) begun(t *testing.T, step string) int {
	t.Helper()
	events, err := m.c.api.Events(t.Context(), m.name)
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, e := range events {
		if e.Kind == "restart" && strings.Contains(e.Detail, step+" begins again") {
			n++
		}
	}
	return n
}

// TestPowerCycle cuts the power of machines in the middle of each step of their
// agents: it is noticed, and the step begun again, once.
func TestPowerCycle(t *testing.T) {
	t.Parallel()
	c := newConductor(t, lossy...)
	t.Run("clean", func(t *testing.T) {
		t.Parallel()
		m := newMachine(t, c, spec{diskSize: 160 << 20})
		for _, step := range []string{"erase_devices", "burnin_cpu"} {
			steps := []ironic.Step{{Interface: "deploy", Step: step}}
			m.verb(t, ironic.ProvisionRequest{Target: ironic.VerbClean, CleanSteps: steps})
			m.waiting(t, ironic.StateCleanWait, step)
			m.cycle(t)
			if step == "burnin_cpu" { // it takes a day
				eventually(t, "the next beginning", func() bool { return m.begun(t, step) == 1 })
				m.waiting(t, ironic.StateCleanWait, step)
				m.verb(t, ironic.ProvisionRequest{Target: ironic.VerbAbort})
				m.fails(t, ironic.StateCleanFailed, "By request")
				m.provision(t, ironic.VerbManage, ironic.StateManageable)
				break
			}
			if n := m.wait(t, ironic.StateManageable); n.LastError != nil || n.Maintenance {
				t.Errorf("after cleaning: last_error %v, maintenance %v", n.LastError, n.Maintenance)
			}
			if n := m.begun(t, step); n != 1 {
				t.Errorf("%s was begun again %d times; want once", step, n)
			}
		}
		// The second time in one step is too much.
		m.verb(t, ironic.ProvisionRequest{Target: ironic.VerbClean, CleanSteps: []ironic.Step{{Interface: "deploy", Step: "erase_devices"}}})
		m.waiting(t, ironic.StateCleanWait, "erase_devices")
		m.cycle(t)
		eventually(t, "the next beginning", func() bool { return m.begun(t, "erase_devices") == 2 })
		m.waiting(t, ironic.StateCleanWait, "erase_devices")
		eventually(t, "the step in the agent", func() bool { return m.node(t).DriverInternalInfo["clean_step_command"] != nil })
		m.cycle(t)
		if n := m.fails(t, ironic.StateCleanFailed, "deploy.erase_devices", "for the second time"); !n.Maintenance || *n.PowerState != ironic.PowerOff {
			t.Errorf("maintenance %v, %s; want that of a failed step, and off", n.Maintenance, *n.PowerState)
		}
	})
	t.Run("deploy", func(t *testing.T) {
		t.Parallel()
		images := newShop(t)
		m := newMachine(t, c, spec{})
		m.provision(t, ironic.VerbProvide, ironic.StateAvailable)
		m.setImage(t, images.URL+"/slow/good.raw", "raw", digestOf(t, imageFile(t, "good.raw")))
		m.verb(t, ironic.ProvisionRequest{Target: ironic.VerbActive})
		images.waitHalf(t)
		m.cycle(t)
		images.waitHalf(t) // the second time
		images.open()
		if n := m.wait(t, ironic.StateActive); n.LastError != nil {
			t.Errorf("last_error %q", *n.LastError)
		}
		m.holds(t)
		if n := m.begun(t, "write_image"); n != 1 {
			t.Errorf("write_image was begun again %d times; want once", n)
		}
	})
}

// TestPowerCutAfterImage cuts the power of a machine whose image is written, when
// its agent is asked about that: it is booted, and the image written again.
func TestPowerCutAfterImage(t *testing.T) {
	t.Parallel()
	c, images := newConductor(t), newShop(t)
	p, port := newProxy(t)
	m := newMachine(t, c, spec{advertise: port})
	p.To(m.agentAddress())
	m.provision(t, ironic.VerbProvide, ironic.StateAvailable)
	m.setImage(t, images.URL+"/slow/good.raw", "raw", digestOf(t, imageFile(t, "good.raw")))
	m.verb(t, ironic.ProvisionRequest{Target: ironic.VerbActive})
	images.waitHalf(t)
	m.waiting(t, ironic.StateDeployWait, "write_image")
	p.Each(func(int) proxy.Fate {
		if n, err := c.api.Node(t.Context(), m.name); err == nil && n.DeployStep["step"] == "prepare_instance_boot" {
			return proxy.Hold
		}
		return proxy.Pass
	})
	images.open()
	select {
	case <-p.Held:
	case <-time.After(patience):
		t.Fatal("the agent is not asked about its image")
	}
	m.off(t)
	p.All(proxy.Pass)
	p.Cut()
	if n := m.wait(t, ironic.StateActive); n.LastError != nil {
		t.Errorf("last_error %q", *n.LastError)
	}
	m.holds(t)
	if n := m.begun(t, "write_image"); n != 1 {
		t.Errorf("write_image was begun again %d times; want once", n)
	}
}

// TestPowerLost switches a machine off for good in the middle of a step: its BMC
// tells, and it is switched on again.
func TestPowerLost(t *testing.T) {
	t.Parallel()
	c, b, images := newConductor(t, lossy...), newBMC(t), newShop(t)
	m := newMachine(t, c, spec{node: map[string]any{"power_interface": "ipmitool", "driver_info": b.access()}})
	m.provision(t, ironic.VerbProvide, ironic.StateAvailable)
	m.setImage(t, images.URL+"/slow/good.raw", "raw", digestOf(t, imageFile(t, "good.raw")))
	m.verb(t, ironic.ProvisionRequest{Target: ironic.VerbActive})
	images.waitHalf(t)
	m.off(t)
	b.write(t, "power", "0\n")
	images.waitHalf(t)
	images.open()
	m.wait(t, ironic.StateActive)
	m.holds(t)
	if n := m.begun(t, "write_image"); n != 1 || b.power(t) != "1" {
		t.Errorf("write_image was begun again %d times, the chassis is %s; want once and on", n, b.power(t))
	}
}
