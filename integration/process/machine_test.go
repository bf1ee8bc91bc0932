package process_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"ferric/api/client"
	"ferric/api/ironic"
	"ferric/hwmanager"
	"ferric/hwmanager/hwmtest"
)

// machine is a machine with one card and one disk, a sparse file, and its
// node. Its power is what the events of the node say: switched on, it runs the
// agent, as one that boots the ramdisk would, or nothing, where it is to boot
// its disk; switched off, it kills the agent.
type machine struct {
	c    *conductor
	host *hwmanager.Host
	name string
	mac  string
	disk string
	port int // of the agent, the same in each boot
	dir  string

	mu    sync.Mutex
	agent *process // nil while the power is off or the boot hangs
	on    bool
	boots int
	held  bool   // switched on, it does not get as far as the agent
	seen  int    // events of the node
	state string // directory of the agent's that lives as long as a boot
	args  []string

	command func(t *testing.T, m *machine) *exec.Cmd // runs instead of ferric-agent
}

// serial of the one disk of every machine.
const serial = "PROCESS-DISK"

// spec is what a machine may have otherwise than others.
type spec struct {
	diskSize  int64          // bytes, default 4 GiB; smaller ones need a hint
	automated bool           // clean automatically
	node      map[string]any // further attributes
	// advertise is the port that the agent names instead of its own.
	advertise int
	// agent gives what a boot runs instead of ferric-agent.
	agent func(t *testing.T, m *machine) *exec.Cmd
}

// newMachine enrols a machine and brings it to manageable.
func newMachine(t *testing.T, c *conductor, s spec) *machine {
	t.Helper()
	if s.diskSize == 0 {
		s.diskSize = 4 << 30
	}
	port := newPort()
	m := &machine{
		c: c, port: port, command: s.agent, dir: t.TempDir(), name: fmt.Sprintf("machine-%d", port),
		mac: fmt.Sprintf("52:54:00:99:%02x:%02x", port>>8, port&0xff),
	}
	const block, nic = "sys/devices/pci0000:00/0000:00:04.0/virtio1/block/vda", "sys/devices/pci0000:00/0000:00:02.0/virtio0/net/eth0"
	text := strings.Join([]string{
		"sys/block/vda -> " + block,
		fmt.Sprintf(`%s/size = %d\n`, block, s.diskSize/512),
		block + `/ro = 0\n`,
		block + `/queue/logical_block_size = 512\n`,
		block + `/queue/physical_block_size = 512\n`,
		block + "/serial = " + serial,
		fmt.Sprintf("dev/vda : %d", s.diskSize),
		"sys/class/net/eth0 -> " + nic,
		nic + "/address = " + m.mac + `\n`,
		nic + `/carrier = 1\n`,
		nic + "/device -> sys/devices/pci0000:00/0000:00:02.0/virtio0",
		"proc/cmdline = quiet",
		"proc/meminfo = MemTotal: 1048576 kB",
		"proc/cpuinfo = processor : 0",
	}, "\n")
	description := filepath.Join(m.dir, "machine")
	if err := os.WriteFile(description, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	m.host = hwmtest.Machine(t, description)
	m.disk = filepath.Join(m.host.Dev, "vda")
	m.args = []string{
		"--api-url", c.url, "--listen-host", "127.0.0.1", "--listen-port", strconv.Itoa(port), "--advertise-host", "127.0.0.1",
		"--advertise-port", strconv.Itoa(s.advertise), "--cmdline", filepath.Join(m.host.Proc, "cmdline"),
		"--sys", m.host.Sys, "--proc", m.host.Proc, "--dev", m.host.Dev, "--allow-devices", strings.Join(m.host.Guard.Allowed, ","),
		"--forced-heartbeat-gap", "0", "--lookup-interval", "0.2", "--disk-wait-attempts", "0",
		"--image-download-connection-retries", "1", "--image-download-connection-retry-interval", "0.1",
	}
	m.enrol(t, s)
	watching, stop := context.WithCancel(context.Background())
	var watcher sync.WaitGroup
	watcher.Go(func() { m.watch(t, watching) })
	t.Cleanup(func() {
		stop()
		watcher.Wait()
		m.off(t)
		if t.Failed() {
			tail(t, m.agentLog())
		}
	})
	m.provision(t, ironic.VerbManage, ironic.StateManageable)
	return m
}

func (m *machine) agentLog() string { return filepath.Join(m.dir, "agent.log") }

func (m *machine) enrol(t *testing.T, s spec) {
	t.Helper()
	attributes := map[string]any{
		"name": m.name, "driver": "fake-hardware", "deploy_interface": "direct", "automated_clean": s.automated,
		"properties": map[string]any{"capabilities": "boot_mode:bios", "root_device": map[string]any{"serial": serial}},
	}
	for key, value := range s.node {
		attributes[key] = value
	}
	n, err := m.c.api.CreateNode(t.Context(), attributes)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := m.c.api.CreatePort(t.Context(), map[string]any{"node_uuid": n.UUID, "address": m.mac}); err != nil {
		t.Fatal(err)
	}
}

// watch plays the machine's power until ctx ends. The conductor may be away
// for a while.
func (m *machine) watch(t *testing.T, ctx context.Context) {
	seen, fromDisk := 0, false
	for ctx.Err() == nil {
		events, err := m.c.api.Events(ctx, m.name)
		if err == nil {
			for ; seen < len(events); seen++ {
				switch e := events[seen]; {
				case e.Kind == "step" && (strings.Contains(e.Detail, "deploy.boot_instance") || strings.HasPrefix(e.Detail, "service step") && strings.HasSuffix(e.Detail, " done")):
					fromDisk = true
				case e.Kind == "step" && strings.Contains(e.Detail, "deploy.deploy"), e.Kind == "verb" && e.Data["verb"] == "service", e.Kind == "provision" && e.Detail == "instance torn down":
					fromDisk = false
				case e.Kind == "power":
					m.switched(t, e.Detail, fromDisk)
				}
			}
			m.mu.Lock()
			m.seen = seen
			m.mu.Unlock()
		}
		select {
		case <-ctx.Done():
		case <-time.After(30 * time.Millisecond):
		}
	}
}

func (m *machine) switched(t *testing.T, what string, fromDisk bool) {
	switch {
	case what == "power on verified":
		m.off(t) // the reboot is one off and one on
		if !fromDisk {
			m.boot(t)
		}
	case strings.HasSuffix(what, "requested") && what != "power on requested":
		m.off(t)
	}
}

// caughtUp reports whether the machine has done all that the conductor has
// switched: real hardware has by the time that its BMC says so.
func (m *machine) caughtUp(t *testing.T) bool {
	t.Helper()
	if m.host == nil {
		return true // nothing boots there
	}
	events, err := m.c.api.Events(t.Context(), m.name)
	if err != nil {
		t.Fatal(err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.seen == len(events)
}

func (m *machine) off(t *testing.T) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.on = false
	if m.agent != nil {
		m.agent.kill(t)
		m.agent = nil
	}
}

func (m *machine) boot(t *testing.T) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.boots++
	m.on = true
	if m.held {
		return
	}
	m.state = filepath.Join(m.dir, fmt.Sprintf("boot-%d", m.boots))
	m.runAgent(t)
}

// hold makes the boots from now on hang; release ends that, also for the one
// that hangs.
func (m *machine) hold() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.held = true
}

func (m *machine) release(t *testing.T) {
	m.mu.Lock()
	hangs := m.on && m.agent == nil
	m.held = false
	m.mu.Unlock()
	if hangs {
		m.boot(t)
	}
}

// signal sends s to the agent.
func (m *machine) signal(t *testing.T, s syscall.Signal) {
	t.Helper()
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.agent == nil {
		t.Fatal("no agent runs")
	}
	m.agent.signal(t, s)
}

func (m *machine) runAgent(t *testing.T) {
	if m.command != nil {
		m.agent = launchCommand(t, m.agentLog(), m.command(t, m))
		return
	}
	m.agent = launch(t, m.agentLog(), program(t, "ferric-agent"), append([]string{"--state-dir", m.state}, m.args...)...)
}

// crashAgent kills the agent and starts it again in the same boot, as the
// ramdisk's supervisor does.
func (m *machine) crashAgent(t *testing.T) {
	t.Helper()
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.agent == nil {
		t.Fatal("no agent runs")
	}
	m.agent.kill(t)
	m.runAgent(t)
}

// node is what the API shows.
func (m *machine) node(t *testing.T) *ironic.Node {
	t.Helper()
	n, err := m.c.api.Node(t.Context(), m.name)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// verb starts a verb.
func (m *machine) verb(t *testing.T, r ironic.ProvisionRequest) {
	t.Helper()
	if err := m.c.api.SetProvisionState(t.Context(), m.name, r); err != nil {
		t.Fatal(err)
	}
}

// wait waits until the node is in state, nobody holds it and the machine
// follows.
func (m *machine) wait(t *testing.T, state string) *ironic.Node {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if _, err := m.c.api.WaitProvision(ctx, m.name, []string{state}, nil); err != nil {
		t.Fatal(err)
	}
	var n *ironic.Node
	eventually(t, "the end of the reservation", func() bool {
		n = m.node(t)
		return n.Reservation == nil && m.caughtUp(t)
	})
	if n.ProvisionState != state || n.TargetPowerState != nil {
		t.Fatalf("%s is %s, target power %v; want %s and none", m.name, n.ProvisionState, n.TargetPowerState, state)
	}
	return n
}

// provision performs a verb to its end.
func (m *machine) provision(t *testing.T, verb, state string) *ironic.Node {
	t.Helper()
	m.verb(t, ironic.ProvisionRequest{Target: verb})
	return m.wait(t, state)
}

// fails waits until the node is in the failed state and checks the reason.
func (m *machine) fails(t *testing.T, state string, reasons ...string) *ironic.Node {
	t.Helper()
	n := m.wait(t, state)
	checkError(t, n, reasons...)
	return n
}

// checkError checks that last_error is one line, not too long to be read, and
// says each of the reasons.
func checkError(t *testing.T, n *ironic.Node, reasons ...string) {
	t.Helper()
	if n.LastError == nil {
		t.Fatalf("node %s in state %s has no last_error", *n.Name, n.ProvisionState)
	}
	t.Logf("last_error: %s", *n.LastError)
	if strings.Contains(*n.LastError, "\n") || len(*n.LastError) > 600 {
		t.Errorf("last_error is not one sentence: %q", *n.LastError)
	}
	for _, reason := range reasons {
		if !strings.Contains(*n.LastError, reason) {
			t.Errorf("last_error %q does not say %q", *n.LastError, reason)
		}
	}
}

// refused checks that the API refuses with that status and says why.
func refused(t *testing.T, err error, status int, reasons ...string) {
	t.Helper()
	if !client.IsStatus(err, status) {
		t.Fatalf("got %v; want status %d", err, status)
	}
	t.Logf("refusal: %v", errors.Unwrap(err))
	for _, reason := range reasons {
		if !strings.Contains(err.Error(), reason) {
			t.Errorf("refusal %q does not say %q", err, reason)
		}
	}
}
