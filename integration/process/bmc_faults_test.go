package process_test

import (
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"ferric/api/ironic"
	"ferric/integration/faults/proxy"
)

// behind puts a proxy in front of the BMC.
func behind(t *testing.T, b *bmc, rule proxy.Rule) (access map[string]any, p *proxy.UDP) {
	t.Helper()
	p = proxy.StartUDP(t, &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: b.port}, rule)
	access = b.access()
	access["ipmi_port"] = p.Port()
	return access, p
}

func (m *machine) power(t *testing.T, target string) {
	t.Helper()
	if err := m.c.api.SetPower(t.Context(), m.name, target, 0); err != nil {
		t.Fatal(err)
	}
}

// powered waits until the change of power has ended, well or not.
func (m *machine) powered(t *testing.T) *ironic.Node {
	t.Helper()
	var n *ironic.Node
	eventually(t, "the end of the change of power", func() bool {
		n = m.node(t)
		return n.TargetPowerState == nil && n.Reservation == nil
	})
	return n
}

func (m *machine) patch(t *testing.T, p ...ironic.PatchOperation) {
	t.Helper()
	if _, err := m.c.api.UpdateNode(t.Context(), m.name, p); err != nil {
		t.Fatal(err)
	}
}

// TestBadRoadToTheBMC switches a machine through networks that lose most of
// what passes, or are slow, or repeat and reorder it.
func TestBadRoadToTheBMC(t *testing.T) {
	t.Parallel()
	c := newConductor(t, "[ipmi]", "command_retry_timeout = 60")
	percent, late := 60, 600*time.Millisecond
	if os.Getenv("FERRIC_FAULTS") != "" { // which takes a minute
		percent, late = 30, 1500*time.Millisecond
	}
	roads := map[string]func() proxy.Rule{
		"few answers": func() proxy.Rule {
			random := rand.New(rand.NewPCG(1, 4))
			return func(back bool, _ int, _ []byte) (int, time.Duration) {
				if back && random.IntN(100) >= percent {
					return 0, 0
				}
				return 1, 0
			}
		},
		"late answers": func() proxy.Rule {
			return func(back bool, _ int, _ []byte) (int, time.Duration) {
				if back {
					return 1, late
				}
				return 1, 0
			}
		},
		"doubled and reordered": func() proxy.Rule {
			return func(_ bool, n int, _ []byte) (int, time.Duration) {
				return 1 + n%2, time.Duration(n%3) * 40 * time.Millisecond
			}
		},
	}
	for name, rule := range roads {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBMC(t)
			access, p := behind(t, b, rule())
			m := newNode(t, c, map[string]any{"driver": "ipmi", "driver_info": access})
			began := time.Now()
			m.provision(t, ironic.VerbManage, ironic.StateManageable)
			for _, target := range []string{ironic.PowerOn, ironic.PowerOff} {
				m.power(t, target)
				if n := m.powered(t); n.PowerState == nil || *n.PowerState != target || n.LastError != nil {
					t.Fatalf("%s: power %v, last_error %v", target, n.PowerState, n.LastError)
				}
				if want := map[string]string{ironic.PowerOn: "1", ironic.PowerOff: "0"}[target]; b.read(t, "power") != want {
					t.Errorf("the chassis has power %q; want %s", b.read(t, "power"), want)
				}
			}
			t.Logf("verified, on and off within %v, %d requests", time.Since(began).Round(time.Millisecond), p.Requests())
		})
	}
}

// TestBMCRestarts resets the BMC, whose sessions are lost, in the middle of a
// change of power, which goes on when it is back.
func TestBMCRestarts(t *testing.T) {
	t.Parallel()
	c, b := newConductor(t, "[ipmi]", "command_retry_timeout = 60"), newBMC(t)
	access, p := behind(t, b, nil)
	m := newNode(t, c, map[string]any{"driver": "ipmi", "driver_info": access})
	m.provision(t, ironic.VerbManage, ironic.StateManageable)
	p.SetRule(func(bool, int, []byte) (int, time.Duration) { return 0, 0 })
	asked := p.Requests()
	m.power(t, ironic.PowerOn)
	eventually(t, "a request that gets lost", func() bool { return p.Requests() > asked })
	b.restart(t)
	p.SetRule(nil)
	if n := m.powered(t); n.PowerState == nil || *n.PowerState != ironic.PowerOn || n.LastError != nil || b.read(t, "power") != "1" {
		t.Errorf("power %v, last_error %v, chassis %q; want it on", n.PowerState, n.LastError, b.read(t, "power"))
	}
}

// TestLyingBMC deploys machines whose BMCs do not tell the truth.
func TestLyingBMC(t *testing.T) {
	t.Parallel()
	c, images := newConductor(t, "[conductor]", "deploy_callback_timeout = 3", "power_state_change_timeout = 2", "[ipmi]", "command_retry_timeout = 3"), newShop(t)
	lies := map[string]struct {
		tell    func(b *bmc)
		reasons []string
	}{
		"always on":                  {func(b *bmc) { b.lie(t, "1") }, []string{"power off", "power on", "BMC"}},
		"always off":                 {func(b *bmc) { b.lie(t, "0") }, []string{"power on", "power off", "BMC"}},
		"acknowledges, does nothing": {func(b *bmc) { b.stick(t) }, []string{"power on", "power off", "BMC"}},
		// The machine never runs: nothing but the wait's end can show it.
		"on, but nothing boots": {func(*bmc) {}, []string{"Timeout", "no agent was heard for 3s", "Nothing came from it over the network"}},
	}
	for name, lie := range lies {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBMC(t)
			m := newNode(t, c, map[string]any{
				"driver": "fake-hardware", "power_interface": "ipmitool", "deploy_interface": "direct", "driver_info": b.access(),
			})
			m.provision(t, ironic.VerbManage, ironic.StateManageable)
			m.provision(t, ironic.VerbProvide, ironic.StateAvailable)
			m.setGood(t, images)
			lie.tell(b)
			m.verb(t, ironic.ProvisionRequest{Target: ironic.VerbActive})
			n := m.fails(t, ironic.StateDeployFailed, lie.reasons...)
			if n.Reservation != nil || n.Maintenance {
				t.Errorf("reservation %v, maintenance %v; want none", n.Reservation, n.Maintenance)
			}
		})
	}
}

// TestRotatedCredentials changes the password of a BMC behind the conductor's
// back: the BMC is not stormed, the node says what is wrong, and is back when
// it has the new password.
func TestRotatedCredentials(t *testing.T) {
	t.Parallel()
	c := newConductor(t, "[conductor]", "sync_power_state_interval = 1", "power_state_sync_max_retries = 2", "power_failure_recovery_interval = 1")
	b := newBMC(t)
	access, p := behind(t, b, nil)
	m := newNode(t, c, map[string]any{"driver": "ipmi", "driver_info": access})
	m.provision(t, ironic.VerbManage, ironic.StateManageable)
	m.provision(t, ironic.VerbProvide, ironic.StateAvailable)
	b.password(t, "rotated-password")
	b.restart(t)
	before := p.Requests()
	began := time.Now()
	eventually(t, "the maintenance", func() bool { return m.node(t).Maintenance })
	n := m.node(t)
	checkError(t, n, "password", "ipmi_password")
	if n.Fault == nil || *n.Fault != ironic.FaultPower || n.ProvisionState != ironic.StateAvailable {
		t.Errorf("fault %v, state %s; want %s and %s", n.Fault, n.ProvisionState, ironic.FaultPower, ironic.StateAvailable)
	}
	if strings.Contains(*n.LastError, bmcPassword) {
		t.Errorf("last_error shows the password: %q", *n.LastError)
	}
	// Each pass may try two suites, two datagrams each; the session that was open is tried first.
	passes := int(time.Since(began)/time.Second) + 2
	t.Logf("%d datagrams in %v", p.Requests()-before, time.Since(began).Round(time.Millisecond))
	if sent := p.Requests() - before; sent > 8*passes {
		t.Errorf("%d datagrams in %d passes", sent, passes)
	}
	m.patch(t, ironic.PatchOperation{Op: "replace", Path: "/driver_info/ipmi_password", Value: "rotated-password"})
	eventually(t, "the end of the maintenance", func() bool { return !m.node(t).Maintenance })
	if n = m.node(t); n.LastError != nil || n.Fault != nil || n.MaintenanceReason != nil || *n.PowerState != ironic.PowerOff {
		t.Errorf("after the patch: last_error %v, fault %v, power %v; want none, none, off", n.LastError, n.Fault, *n.PowerState)
	}
}

// TestSilentBMCRecovers loses the BMC for longer than the power sync is patient.
func TestSilentBMCRecovers(t *testing.T) {
	t.Parallel()
	c := newConductor(t, "[conductor]", "sync_power_state_interval = 1", "power_state_sync_max_retries = 1", "power_failure_recovery_interval = 1", "[ipmi]", "command_retry_timeout = 1")
	b := newBMC(t)
	access, p := behind(t, b, nil)
	m := newNode(t, c, map[string]any{"driver": "ipmi", "driver_info": access})
	m.provision(t, ironic.VerbManage, ironic.StateManageable)
	p.SetRule(func(bool, int, []byte) (int, time.Duration) { return 0, 0 })
	eventually(t, "the maintenance", func() bool { return m.node(t).Maintenance })
	checkError(t, m.node(t), "BMC unreachable", fmt.Sprint(p.Port()))
	m.power(t, ironic.PowerOn)
	if n := m.powered(t); n.LastError == nil || *n.PowerState == ironic.PowerOn {
		t.Errorf("power %v, last_error %v; want an error", *n.PowerState, n.LastError)
	}
	p.SetRule(nil)
	eventually(t, "the end of the maintenance", func() bool { return !m.node(t).Maintenance })
	if n := m.node(t); n.Fault != nil || *n.PowerState != ironic.PowerOff {
		t.Errorf("fault %v, power %v; want none and off", n.Fault, *n.PowerState)
	}
}

// restart ends ipmi_sim as a cold reset ends a BMC's firmware, and starts it.
func (b *bmc) restart(t *testing.T) {
	t.Helper()
	b.sim.kill(t)
	b.start(t)
}

func (b *bmc) start(t *testing.T) {
	t.Helper()
	sim := launch(t, filepath.Join(b.dir, "log"), "ipmi_sim", "-n", "-c", b.dir+"/sim.conf", "-f", b.dir+"/sim.emu", "-s", b.dir)
	b.sim = sim
	t.Cleanup(func() { sim.kill(t) })
	eventually(t, "the answer of ipmi_sim", func() bool {
		out, err := exec.Command("ipmitool", "-I", "lanplus", "-C", "3", "-H", "127.0.0.1", "-p", fmt.Sprint(b.port), "-U", "admin", "-P", b.secret,
			"-N", "1", "-R", "1", "chassis", "power", "status").Output()
		return err == nil && strings.Contains(string(out), "Chassis Power is ")
	})
}
