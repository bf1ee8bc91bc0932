package flow_test

import (
	"context"
	"errors"
	"io"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/sirupsen/logrus"

	"ferric/api/ipa"
	"ferric/conductor/driver"
	"ferric/conductor/driver/agent"
	"ferric/conductor/driver/builtin"
	"ferric/conductor/driver/direct"
	"ferric/conductor/flow"
	"ferric/conductor/provision"
	"ferric/conductor/steps"
	"ferric/conductor/store"
	"ferric/conductor/task"
)

// rig is a conductor without its servers: real database, locks, flows and
// direct deployment; a machine whose power is a row; a scripted agent.
type rig struct {
	t    *testing.T
	path string
	cfg  flow.Config
	// images is the configuration of direct deployments.
	images direct.Config
	db     *store.Store
	tasks  *task.Manager
	flow   *flow.Flow
	kill   context.CancelFunc
	agent  *scriptedAgent
	node   int64
	// spoil, if set, changes the interfaces that nodes are driven with.
	spoil atomic.Pointer[func(*driver.Interfaces)]
}

// spoiled are the interfaces that there are, with what a test breaks in them.
type spoiled struct {
	driver.Resolver
	r *rig
}

func (s spoiled) Interfaces(n *store.Node) (driver.Interfaces, error) {
	ifs, err := s.Resolver.Interfaces(n)
	if spoil := s.r.spoil.Load(); spoil != nil {
		(*spoil)(&ifs)
	}
	return ifs, err
}

// with drives nodes otherwise from now on.
func (r *rig) with(spoil func(*driver.Interfaces)) { r.spoil.Store(&spoil) }

func newRig(t *testing.T, change func(*flow.Config)) *rig {
	r := &rig{t: t, path: filepath.Join(t.TempDir(), "ferric.sqlite"), cfg: flow.DefaultConfig()}
	r.cfg.Host = "test"
	r.images = direct.DefaultConfig()
	r.images.PowerStateRetries, r.images.PowerStateInterval = 1, 10*time.Millisecond
	r.cfg.Logs.LocalPath = filepath.Join(t.TempDir(), "logs")
	if change != nil {
		change(&r.cfg)
	}
	r.cfg.NodeView = func(n *store.Node, _ bool) map[string]any { return map[string]any{"uuid": n.UUID} }
	r.cfg.PortView = func(p *store.Port) map[string]any { return map[string]any{"address": p.Address} }
	r.start()
	t.Cleanup(func() { r.kill(); r.tasks.Wait(); r.db.Close() })
	n := &store.Node{UUID: uuid.NewString(), Driver: "fake-hardware", ProvisionState: provision.Enroll}
	name := "direct"
	n.DeployInterface = &name
	n.InstanceInfo = store.Object{
		"image_source": "http://images.test/os.qcow2", "image_disk_format": "qcow2",
		"image_os_hash_algo": "sha256", "image_os_hash_value": strings.Repeat("ab", 32),
		"capabilities": map[string]any{"boot_mode": "bios"},
	}
	if err := r.flow.CreateNode(t.Context(), n); err != nil {
		t.Fatal(err)
	}
	r.node = n.ID
	if err := r.flow.CreatePort(t.Context(), &store.Port{UUID: uuid.NewString(), Address: "52:54:00:77:00:01", NodeID: n.ID, PXEEnabled: true}); err != nil {
		t.Fatal(err)
	}
	r.agent = newAgent(t, func() string { return r.row().DriverInternalInfo.String(driver.KeyAgentToken) })
	r.agent.powerOff = func() {}
	return r
}

// start makes a conductor process over the database.
func (r *rig) start() {
	r.t.Helper()
	var err error
	if r.db, err = store.Open(r.t.Context(), r.path); err != nil {
		r.t.Fatal(err)
	}
	registry, err := builtin.New(builtin.Config{EnabledHardwareTypes: []string{"fake-hardware", "manual-management"}})
	if err != nil {
		r.t.Fatal(err)
	}
	images := direct.New(r.images, registry, steps.Views{Node: r.cfg.NodeView, Port: r.cfg.PortView, Agents: r.cfg.Agents})
	registry.Add(builtin.Implementations{
		Power:   map[string]driver.Power{"agent": agent.NewPower(r.cfg.Agents)},
		Deploy:  map[string]driver.Deploy{"direct": images, "custom-agent": direct.NewCustomAgent(images), "ramdisk": direct.NewRamdisk(images)},
		Inspect: map[string]driver.Inspect{"agent": agent.NewInspect(agent.DefaultConfig(), r.cfg.Agents, registry)},
		Rescue:  map[string]driver.Rescue{"agent": agent.NewRescue(registry)},
	})
	log := logrus.New()
	log.SetOutput(io.Discard)
	base, kill := context.WithCancel(context.Background())
	r.kill = kill
	r.tasks = task.NewManager(base, task.Config{Host: r.cfg.Host, WorkersPoolSize: 4, LockRetryAttempts: 2, LockRetryInterval: 20 * time.Millisecond}, r.db, logrus.NewEntry(log))
	r.flow = flow.New(r.cfg, r.db, r.tasks, spoiled{registry, r}, logrus.NewEntry(log))
}

// row reads the node.
func (r *rig) row() *store.Node {
	n, err := r.db.NodeByID(context.Background(), r.node)
	if err != nil {
		r.t.Fatal(err)
	}
	return n
}

// do performs a verb.
func (r *rig) do(target string, req flow.ProvisionRequest) error {
	r.t.Helper()
	verb, ok := provision.VerbFor(target)
	if !ok {
		r.t.Fatalf("no verb %q", target)
	}
	req.Verb = verb
	return r.flow.Provision(r.t.Context(), r.node, req)
}

// reach waits until the node rests, unlocked, in a state.
func (r *rig) reach(want provision.State) *store.Node {
	r.t.Helper()
	deadline := time.Now().Add(10 * time.Second)
	for {
		n := r.row()
		if n.ProvisionState == want && n.Reservation == nil {
			return n
		}
		if time.Now().After(deadline) {
			text := ""
			if n.LastError != nil {
				text = *n.LastError
			}
			r.t.Fatalf("state is %q (locked: %v, error: %s); want %q", n.ProvisionState, n.Reservation != nil, text, want)
		}
		time.Sleep(2 * time.Millisecond)
	}
}

// must performs a verb and waits for a state.
func (r *rig) must(target string, want provision.State) *store.Node {
	r.t.Helper()
	if err := r.do(target, flow.ProvisionRequest{}); err != nil {
		r.t.Fatalf("%s: %v", target, err)
	}
	return r.reach(want)
}

// boot is what an agent does when its machine has come up, which takes longer
// than what the conductor still has to do with the node.
func (r *rig) boot() {
	r.t.Helper()
	r.tasks.Wait()
	r.agent.reboot()
	n, token, err := r.flow.Lookup(r.t.Context(), []string{"52:54:00:77:00:01", "02:00:00:00:00:01"}, "", true)
	if err != nil || n.ID != r.node || len(token) < 32 {
		r.t.Fatalf("lookup: node %v, token of %d characters, %v", n, len(token), err)
	}
	r.beat()
}

// beat sends a heartbeat and lets what follows from it end.
func (r *rig) beat() {
	r.t.Helper()
	if err := r.flow.Heartbeat(r.t.Context(), r.row().UUID, r.heartbeat()); err != nil {
		r.t.Fatalf("heartbeat: %v", err)
	}
	r.tasks.Wait()
}

func (r *rig) heartbeat() ipa.Heartbeat {
	return ipa.Heartbeat{CallbackURL: r.agent.URL, AgentVersion: r.agent.version, AgentToken: r.agent.token(), AgentVerifyCA: r.agent.certificate()}
}

// clean brings the node to available through two clean steps.
func (r *rig) clean() {
	r.t.Helper()
	r.reach(provision.CleanWait)
	r.boot()
	for _, step := range []string{"erase_devices_metadata", "erase_devices"} {
		if got, want := r.agent.last(), "execute_clean_step deploy."+step; got != want {
			r.t.Fatalf("agent was told %q; want %q", got, want)
		}
		r.agent.finish(ipa.StatusSucceeded, nil)
		r.beat()
	}
	r.reach(provision.Available)
}

func TestLife(t *testing.T) {
	r := newRig(t, nil)
	r.must("manage", provision.Manageable)
	if err := r.do("provide", flow.ProvisionRequest{}); err != nil {
		t.Fatal(err)
	}
	r.clean()
	if n := r.row(); *n.PowerState != driver.PowerOff || n.TargetProvisionState != nil || n.DriverInternalInfo.String(driver.KeyAgentToken) != "" {
		t.Errorf("after cleaning: power %s, target %v, info %v", *n.PowerState, n.TargetProvisionState, n.DriverInternalInfo)
	}

	drive := map[string]any{"meta_data": map[string]any{"hostname": "one"}, "user_data": "nonce=1"}
	if err := r.do("active", flow.ProvisionRequest{ConfigDrive: drive}); err != nil {
		t.Fatal(err)
	}
	r.reach(provision.WaitCallback)
	r.boot()
	if got, want := r.agent.last(), "execute_deploy_step deploy.write_image"; got != want {
		t.Fatalf("agent was told %q; want %q", got, want)
	}
	args := r.agent.params[len(r.agent.params)-1]["step"].(map[string]any)["args"].(map[string]any)
	if s, _ := args["configdrive"].(string); len(s) < 100 || args["image_info"].(map[string]any)["os_hash_algo"] != "sha256" {
		t.Errorf("write_image has the arguments %v", args)
	}
	r.beat() // the step still runs
	if n := r.reach(provision.WaitCallback); n.DeployStep["step"] != "write_image" {
		t.Errorf("deploy_step is %v", n.DeployStep)
	}
	r.agent.finish(ipa.StatusSucceeded, nil)
	r.beat()
	n := r.reach(provision.Active)
	if *n.PowerState != driver.PowerOn || len(n.DeployStep) != 0 || n.DriverInternalInfo[steps.Deploy.List] != nil {
		t.Errorf("after deployment: power %s, step %v, info %v", *n.PowerState, n.DeployStep, n.DriverInternalInfo)
	}

	if err := r.do("deleted", flow.ProvisionRequest{}); err != nil {
		t.Fatal(err)
	}
	r.clean()
	if n := r.row(); len(n.InstanceInfo) != 0 {
		t.Errorf("instance_info is %v after tear down", n.InstanceInfo)
	}
}

func TestCleanStepFails(t *testing.T) {
	r := newRig(t, nil)
	r.must("manage", provision.Manageable)
	r.must("provide", provision.CleanWait)
	r.boot()
	r.agent.finish(ipa.StatusFailed, ipa.BlockDeviceErase.New("/dev/sda: input/output error"))
	r.beat()
	n := r.reach(provision.CleanFailed)
	if n.LastError == nil || !strings.Contains(*n.LastError, "/dev/sda: input/output error") || !strings.Contains(*n.LastError, "deploy.erase_devices_metadata") {
		t.Errorf("last_error is %v", n.LastError)
	}
	if !n.Maintenance || n.Fault == nil || *n.Fault != "clean failure" || *n.TargetProvisionState != provision.Available {
		t.Errorf("maintenance %v, fault %v, target %v", n.Maintenance, n.Fault, n.TargetProvisionState)
	}
	// The documented way out.
	if err := r.flow.SetMaintenance(t.Context(), r.node, false, nil); err != nil {
		t.Fatal(err)
	}
	if n := r.must("manage", provision.Manageable); n.Fault != nil {
		t.Errorf("fault is %v", *n.Fault)
	}
}

func TestManualClean(t *testing.T) {
	r := newRig(t, nil)
	r.must("manage", provision.Manageable)
	if err := r.do("clean", flow.ProvisionRequest{CleanSteps: []flow.Step{{Interface: "deploy", Step: "burnin_cpu"}}}); err != nil {
		t.Fatal(err)
	}
	r.reach(provision.CleanWait)
	r.boot()
	if got, want := r.agent.last(), "execute_clean_step deploy.burnin_cpu"; got != want {
		t.Fatalf("agent was told %q; want %q", got, want)
	}
	r.agent.finish(ipa.StatusSucceeded, nil)
	r.beat()
	r.reach(provision.Manageable)

	if err := r.do("clean", flow.ProvisionRequest{CleanSteps: []flow.Step{{Interface: "deploy", Step: "polish"}}}); err != nil {
		t.Fatal(err)
	}
	r.reach(provision.CleanWait)
	r.boot()
	n := r.reach(provision.CleanFailed)
	if !strings.Contains(*n.LastError, "does not support the step deploy.polish") || n.Maintenance {
		t.Errorf("last_error %q, maintenance %v", *n.LastError, n.Maintenance)
	}
}

// TestAbortEndsTheStep wants a step of our own agent ended, before the machine
// is switched off; an agent of another make has no such request.
func TestAbortEndsTheStep(t *testing.T) {
	r := newRig(t, nil)
	r.agent.version = "12.0.0+ferric.0.1.0"
	r.must("manage", provision.Manageable)
	r.must("provide", provision.CleanWait)
	r.boot()
	r.must("abort", provision.CleanFailed)
	if r.agent.canceled != 1 {
		t.Errorf("the agent was asked %d times to end its step; want once", r.agent.canceled)
	}
}

func TestAbortCleaning(t *testing.T) {
	r := newRig(t, nil)
	r.must("manage", provision.Manageable)
	r.must("provide", provision.CleanWait)
	r.boot()
	n := r.must("abort", provision.CleanFailed)
	if want := `By request, the clean operation was aborted during or after the completion of step "erase_devices_metadata".`; n.LastError == nil || *n.LastError != want {
		t.Errorf("last_error is %v; want %s", n.LastError, want)
	}
	if n.Maintenance || r.agent.canceled != 0 {
		t.Errorf("an abort put the node into maintenance (%v), or another agent was asked to cancel (%d)", n.Maintenance, r.agent.canceled)
	}
}

// TestAgentRestartsInStep: an agent that knows nothing of its step any more is
// told it again, once, if the step may be repeated.
func TestAgentRestartsInStep(t *testing.T) {
	r := newRig(t, nil)
	r.must("manage", provision.Manageable)
	r.must("provide", provision.CleanWait)
	r.boot()
	r.agent.reboot()
	r.beat()
	if got, want := r.agent.last(), "execute_clean_step deploy.erase_devices_metadata"; got != want {
		t.Fatalf("agent was told %q; want %q", got, want)
	}
	r.reach(provision.CleanWait)
	r.agent.reboot()
	r.beat()
	n := r.reach(provision.CleanFailed)
	if !strings.Contains(*n.LastError, "while clean step deploy.erase_devices_metadata ran (the agent restarted), for the second time") {
		t.Errorf("last_error is %q", *n.LastError)
	}

	r = newRig(t, nil)
	never := false
	r.agent.offers["clean"][0].Restartable = &never
	r.must("manage", provision.Manageable)
	r.must("provide", provision.CleanWait)
	r.boot()
	r.agent.reboot()
	r.beat()
	if n := r.reach(provision.CleanFailed); !strings.Contains(*n.LastError, "must not be repeated") || !n.Maintenance {
		t.Errorf("last_error is %q, maintenance %v", *n.LastError, n.Maintenance)
	}
}

func TestVersionMismatchRestartsCleaning(t *testing.T) {
	r := newRig(t, nil)
	r.must("manage", provision.Manageable)
	r.must("provide", provision.CleanWait)
	r.boot()
	r.agent.finish(ipa.StatusSucceeded, nil)
	r.beat() // second step
	r.agent.finish(ipa.StatusVersionMismatch, ipa.VersionMismatch.New("1.2 is not 1.3"))
	r.beat()
	if got, want := r.agent.last(), "execute_clean_step deploy.erase_devices_metadata"; got != want {
		t.Errorf("agent was told %q; want %q", got, want)
	}
}

func TestHeartbeatRefused(t *testing.T) {
	r := newRig(t, nil)
	r.must("manage", provision.Manageable)
	r.must("provide", provision.CleanWait)
	if err := r.flow.Heartbeat(t.Context(), r.row().UUID, ipa.Heartbeat{CallbackURL: "https://192.0.2.1:9999", AgentVersion: "1"}); !errors.Is(err, flow.ErrAgentToken) {
		t.Errorf("heartbeat before any lookup: %v; want %v", err, flow.ErrAgentToken)
	}
	r.boot()
	for _, tt := range []struct {
		name   string
		change func(*ipa.Heartbeat)
		want   error
		text   string
	}{
		{"token", func(h *ipa.Heartbeat) { h.AgentToken = "guessed" }, flow.ErrAgentToken, "invalid agent token"},
		{"no token", func(h *ipa.Heartbeat) { h.AgentToken = "" }, flow.ErrAgentToken, "invalid agent token"},
		{"version", func(h *ipa.Heartbeat) { h.AgentVersion = "" }, flow.ErrInvalid, "did not provide a version"},
		{"plain http", func(h *ipa.Heartbeat) { h.CallbackURL = "http://192.0.2.1:9999" }, flow.ErrInvalid, "TLS is required by configuration"},
		{"not a URL", func(h *ipa.Heartbeat) { h.CallbackURL = "ftp://x" }, flow.ErrInvalid, "is not an http or https URL"},
		{"other URL", func(h *ipa.Heartbeat) { h.CallbackURL = "https://192.0.2.1:9999" }, flow.ErrInvalid, "Detected change in callback_url"},
		{"other certificate", func(h *ipa.Heartbeat) { h.AgentVerifyCA = "another" }, flow.ErrInvalid, "Detected change in agent_verify_ca"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h := r.heartbeat()
			tt.change(&h)
			err := r.flow.Heartbeat(t.Context(), r.row().UUID, h)
			if !errors.Is(err, tt.want) || !strings.Contains(err.Error(), tt.text) {
				t.Errorf("error %v; want %q", err, tt.text)
			}
		})
	}
	if _, token, err := r.flow.Lookup(t.Context(), []string{"52:54:00:77:00:01"}, "", true); err != nil || token != ipa.MaskedToken {
		t.Errorf("second lookup gives token %q, %v; want %q", token, err, ipa.MaskedToken)
	}
}

func TestLookupTellsNothing(t *testing.T) {
	r := newRig(t, nil)
	for name, addresses := range map[string][]string{"state": {"52:54:00:77:00:01"}, "stranger": {"52:54:00:00:00:99"}} {
		if n, _, err := r.flow.Lookup(t.Context(), addresses, "", true); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("%s: lookup found %v, %v; want %v", name, n, err, store.ErrNotFound)
		}
	}
}

func TestTimeout(t *testing.T) {
	for _, tt := range []struct {
		name   string
		events [][2]string
		want   string
	}{
		{"nothing was seen but power", nil, "Last seen of the machine: power, power on verified"},
		{"how far it came", [][2]string{{"dhcp", "192.0.2.5"}, {"kernel", "deploy_kernel"}}, "Last seen of the machine: kernel, deploy_kernel"},
		{"two machines, one MAC", [][2]string{{"mac-conflict", "machines a and b both use 52:54:00:77:00:01"}, {"dhcp", "192.0.2.5"}},
			"Last seen of the machine: mac-conflict, machines a and b both use 52:54:00:77:00:01"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := newRig(t, func(c *flow.Config) { c.CleanCallbackTimeout = time.Nanosecond })
			r.must("manage", provision.Manageable)
			r.must("provide", provision.CleanWait)
			for _, e := range tt.events {
				if err := r.db.AddEvent(t.Context(), r.node, time.Now(), e[0], e[1]); err != nil {
					t.Fatal(err)
				}
			}
			if err := r.flow.CheckTimeouts(t.Context()); err != nil {
				t.Fatal(err)
			}
			n := r.reach(provision.CleanFailed)
			if !strings.HasPrefix(*n.LastError, "Timeout reached while waiting for callback for node "+n.UUID) || !strings.Contains(*n.LastError, tt.want) || n.Maintenance {
				t.Errorf("last_error %q, maintenance %v; want %q", *n.LastError, n.Maintenance, tt.want)
			}
		})
	}
}

// TestRestartInAbort: an abort that was acknowledged goes on, whether the next
// process finds it when it starts or, without a free worker then, later.
func TestRestartInAbort(t *testing.T) {
	finders := map[string]func(r *rig) error{
		"recovery":  func(r *rig) error { return r.flow.Recover(t.Context()) },
		"later":     func(r *rig) error { return r.flow.CheckTimeouts(t.Context()) },
		"heartbeat": func(r *rig) error { return r.flow.Heartbeat(t.Context(), r.row().UUID, r.heartbeat()) },
	}
	for state, want := range map[provision.State]provision.State{
		provision.CleanWait: provision.CleanFailed, provision.CleanHold: provision.CleanFailed, provision.WaitCallback: provision.DeployFailed,
		provision.DeployHold: provision.DeployFailed, provision.InspectWait: provision.InspectFailed, provision.RescueWait: provision.RescueFailed,
		provision.ServiceWait: provision.Active, provision.ServiceHold: provision.Active, provision.ServiceFailed: provision.Active,
	} {
		for how, find := range finders {
			if how == "heartbeat" && state != provision.CleanWait && state != provision.WaitCallback {
				continue
			}
			t.Run(string(state)+" "+how, func(t *testing.T) {
				r := newRig(t, nil)
				r.change(byAgent)
				r.change(in(state))
				r.change(func(n *store.Node) {
					n.DriverInternalInfo = store.Object{"abort_requested": true, driver.KeyAgentToken: "t", "service_interrupted_instance": true}
				})
				if err := find(r); err != nil {
					t.Fatal(err)
				}
				n := r.reach(want)
				if n.DriverInternalInfo["abort_requested"] != nil || n.DriverInternalInfo.String(driver.KeyAgentToken) != "" {
					t.Errorf("left: %v", n.DriverInternalInfo)
				}
			})
		}
	}
}

// TestAbortIsDurable: an abort is in the row before its machine is stopped.
func TestAbortIsDurable(t *testing.T) {
	r := newRig(t, nil)
	r.change(byAgent)
	r.must("manage", provision.Manageable)
	r.must("provide", provision.CleanWait)
	r.kill() // what goes on in the background ends
	if err := r.do("abort", flow.ProvisionRequest{}); err != nil {
		t.Fatal(err)
	}
	r.tasks.Wait()
	if n := r.row(); n.ProvisionState != provision.CleanWait || !n.DriverInternalInfo.Bool("abort_requested") {
		t.Fatalf("state %s, %v; want the abort to be known", n.ProvisionState, n.DriverInternalInfo)
	}
	r.db.Close()
	r.start()
	if err := r.flow.Recover(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.reach(provision.CleanFailed)
}

func TestVerbsRefused(t *testing.T) {
	r := newRig(t, func(c *flow.Config) { c.MaxConcurrentClean = 1 })
	if err := r.do("active", flow.ProvisionRequest{}); !errors.Is(err, flow.ErrInvalid) || !strings.Contains(err.Error(), `while it is in state "enroll"`) {
		t.Errorf("active in enroll: %v", err)
	}
	r.must("manage", provision.Manageable)
	n, without := r.row(), "no-inspect"
	n.InspectInterface = &without
	if err := r.db.SaveNode(t.Context(), n); err != nil {
		t.Fatal(err)
	}
	if err := r.do("inspect", flow.ProvisionRequest{}); !errors.Is(err, driver.ErrUnsupported) {
		t.Errorf("inspect: %v", err)
	}
	if err := r.flow.SetMaintenance(t.Context(), r.node, true, nil); err != nil {
		t.Fatal(err)
	}
	if err := r.do("clean", flow.ProvisionRequest{}); !errors.Is(err, flow.ErrInMaintenance) {
		t.Errorf("clean in maintenance: %v", err)
	}
	if err := r.flow.SetMaintenance(t.Context(), r.node, false, nil); err != nil {
		t.Fatal(err)
	}
	r.must("provide", provision.CleanWait)
	if err := r.do("clean", flow.ProvisionRequest{}); !errors.Is(err, flow.ErrInvalid) {
		t.Errorf("cleaning of a node that is cleaned, over the limit: %v", err)
	}
	other := &store.Node{UUID: uuid.NewString(), Driver: "fake-hardware", ProvisionState: provision.Manageable}
	if err := r.flow.CreateNode(t.Context(), other); err != nil {
		t.Fatal(err)
	}
	verb, _ := provision.VerbFor("clean")
	if err := r.flow.Provision(t.Context(), other.ID, flow.ProvisionRequest{Verb: verb}); !errors.Is(err, flow.ErrTooMany) {
		t.Errorf("cleaning over the limit: %v", err)
	}
	if err := r.flow.DeleteNode(t.Context(), r.node); !errors.Is(err, flow.ErrConflict) {
		t.Errorf("delete in clean wait: %v", err)
	}
}

func TestLocked(t *testing.T) {
	r := newRig(t, nil)
	if _, err := r.db.Reserve(t.Context(), "other", r.node); err != nil {
		t.Fatal(err)
	}
	err := r.do("manage", flow.ProvisionRequest{})
	var locked *task.LockedError
	if !errors.As(err, &locked) || locked.Host != "other" {
		t.Errorf("manage of a locked node: %v", err)
	}
	if n := r.row(); n.ProvisionState != provision.Enroll {
		t.Errorf("state is %q", n.ProvisionState)
	}
}
