package crash_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"ferric/api/client"
	"ferric/api/ironic"
	"ferric/conductor/flow"
	"ferric/conductor/provision"
	"ferric/conductor/store"
)

const (
	name = "one"
	mac  = "52:54:00:c0:ff:ee"
)

// phase is a part of a node's life: requests, and where they lead.
type phase struct {
	name string
	// ask makes the requests. It is called again where the answer was lost, and
	// finds what it has asked for done or not.
	ask func(ctx context.Context, api *client.Client) error
	// asked says, of a node at rest, that the request is not to be made again.
	asked func(n *ironic.Node) bool
	goal  string
	// further is a verb that is to work afterwards.
	further string
}

// verb is a phase of one request for another provision state.
func verb(title string, r ironic.ProvisionRequest, goal string, asked func(n *ironic.Node) bool) phase {
	return phase{name: title, goal: goal, asked: asked, ask: func(ctx context.Context, api *client.Client) error {
		return api.SetProvisionState(ctx, name, r)
	}}
}

func in(states ...string) func(n *ironic.Node) bool {
	return func(n *ironic.Node) bool { return slices.Contains(states, n.ProvisionState) }
}

var yes = true

// life is that of a node of fake hardware, every step of whose work is the
// conductor's own. firmware.update may not be repeated.
func life() []phase {
	update := ironic.Step{Interface: "firmware", Step: "update", Args: map[string]any{"settings": []any{map[string]any{"component": "bmc", "url": "http://images.test/2.bin"}}}}
	bios := ironic.Step{Interface: "bios", Step: "apply_configuration", Args: map[string]any{"settings": []any{map[string]any{"name": "a", "value": "b"}}}}
	return []phase{
		{name: "enrol", goal: ironic.StateEnroll, ask: enrol, asked: func(*ironic.Node) bool { return false }},
		verb("verify", ironic.ProvisionRequest{Target: ironic.VerbManage}, ironic.StateManageable, in(ironic.StateManageable)),
		verb("inspect", ironic.ProvisionRequest{Target: ironic.VerbInspect}, ironic.StateManageable, nil),
		verb("clean by hand", ironic.ProvisionRequest{Target: ironic.VerbClean, CleanSteps: []ironic.Step{{Interface: "bios", Step: "factory_reset"}, update, bios}, DisableRamdisk: &yes},
			ironic.StateManageable, nil),
		verb("clean", ironic.ProvisionRequest{Target: ironic.VerbProvide}, ironic.StateAvailable, in(ironic.StateAvailable)),
		verb("deploy", ironic.ProvisionRequest{Target: ironic.VerbActive, ConfigDrive: ironic.ConfigDrive{UserData: "kept"}}, ironic.StateActive, in(ironic.StateActive)),
		{name: "reboot", goal: ironic.StateActive, asked: func(*ironic.Node) bool { return false }, ask: func(ctx context.Context, api *client.Client) error {
			return api.SetPower(ctx, name, "rebooting", 0)
		}},
		verb("rebuild", ironic.ProvisionRequest{Target: ironic.VerbRebuild}, ironic.StateActive, nil),
		verb("rescue", ironic.ProvisionRequest{Target: ironic.VerbRescue, RescuePassword: "correct horse"}, ironic.StateRescue, in(ironic.StateRescue)),
		verb("unrescue", ironic.ProvisionRequest{Target: ironic.VerbUnrescue}, ironic.StateActive, in(ironic.StateActive)),
		verb("service", ironic.ProvisionRequest{Target: ironic.VerbService, ServiceSteps: []ironic.Step{{Interface: "vendor", Step: "log_passthrough"}, update}, DisableRamdisk: &yes},
			ironic.StateActive, nil),
		verb("undeploy", ironic.ProvisionRequest{Target: ironic.VerbDeleted}, ironic.StateAvailable, in(ironic.StateAvailable)),
	}
}

// enrol makes the node and its port, where they are not there yet.
func enrol(ctx context.Context, api *client.Client) error {
	_, err := api.CreateNode(ctx, map[string]any{"name": name, "driver": "fake-hardware", "automated_clean": true,
		"instance_info": map[string]any{"image_source": "http://images.test/os.qcow2", "capabilities": map[string]any{"boot_mode": "bios"}}})
	if err != nil && !client.IsStatus(err, 409) {
		return err
	}
	n, err := api.Node(ctx, name)
	if err != nil {
		return err
	}
	if _, err := api.CreatePort(ctx, map[string]any{"node_uuid": n.UUID, "address": mac}); err != nil && !client.IsStatus(err, 409) {
		return err
	}
	return nil
}

// outcomes count what became of the node.
type outcomes struct{ writes, kills, unasked, resumed, failed int }

// TestCrashMatrix lives the life once and keeps the database before each phase.
// Then each phase is lived again and again, each time with a conductor that is
// killed around another of its writes: all of them with FERRIC_FAULTS=1, else as
// many as fit into a while.
func TestCrashMatrix(t *testing.T) {
	all := os.Getenv("FERRIC_FAULTS") != ""
	seed := uint64(time.Now().UnixNano())
	if text := os.Getenv("FERRIC_CRASH_SEED"); text != "" {
		var err error
		if seed, err = strconv.ParseUint(text, 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("FERRIC_CRASH_SEED=%d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	phases := life()
	kept, writes := live(t, phases)
	deadline := time.Now().Add(15 * time.Second)
	var sum outcomes
	for i, ph := range phases {
		t.Run(ph.name, func(t *testing.T) {
			o := outcomes{writes: writes[i]}
			var kills []string
			for n := 1; n <= writes[i]; n++ {
				kills = append(kills, fmt.Sprintf("%d after", n), fmt.Sprintf("%d before", n))
			}
			random.Shuffle(len(kills), func(a, b int) { kills[a], kills[b] = kills[b], kills[a] })
			share := time.Until(deadline) / time.Duration(len(phases)-i)
			for began := time.Now(); len(kills) > 0 && (all || o.kills == 0 || time.Since(began) < share); kills = kills[1:] {
				kill(t, ph, kept[i], kills[0], &o)
			}
			t.Logf("%d writes, killed around %d: %d times before the request was taken, %d came to its goal, %d failed as the table says", o.writes, o.kills, o.unasked, o.resumed, o.failed)
			sum.writes, sum.kills, sum.unasked, sum.resumed, sum.failed = sum.writes+o.writes, sum.kills+o.kills, sum.unasked+o.unasked, sum.resumed+o.resumed, sum.failed+o.failed
		})
	}
	t.Logf("crash matrix: %d writes in a life, %d kills (of %d): %d before the request was taken, %d came to the goal, %d failed as the table says",
		sum.writes, sum.kills, 2*sum.writes, sum.unasked, sum.resumed, sum.failed)
	if all && (sum.resumed == 0 || sum.failed == 0) {
		t.Error("the matrix does not show both, resumption and failure")
	}
}

// live goes through the phases without a crash. kept are copies of the database
// before each, writes how many commits each took.
func live(t *testing.T, phases []phase) (kept []string, writes []int) {
	t.Helper()
	dir := t.TempDir()
	for _, ph := range phases {
		at := t.TempDir()
		if len(kept) > 0 {
			copyDatabase(t, dir, at)
		}
		kept = append(kept, at)
		p := start(t, dir)
		p.arm(t, 0, "never")
		if err := ph.ask(t.Context(), p.api); err != nil {
			t.Fatalf("%s: %v", ph.name, err)
		}
		n := p.rest(t)
		if n.ProvisionState != ph.goal || n.LastError != nil {
			t.Fatalf("%s leads to %s, last_error %v; want %s", ph.name, n.ProvisionState, n.LastError, ph.goal)
		}
		writes = append(writes, disarm(t, dir))
		p.stop(t)
	}
	return kept, writes
}

// kill lives a phase from the database in from with a conductor that is killed,
// and with another, and checks where that leads.
func kill(t *testing.T, ph phase, from, when string, o *outcomes) {
	t.Helper()
	dir, err := os.MkdirTemp(t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	copyDatabase(t, from, dir)
	p := start(t, dir)
	n, at, _ := strings.Cut(when, " ")
	number, err := strconv.Atoi(n)
	if err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	p.arm(t, number, at)
	asked := ph.ask(t.Context(), p.api)
	eventually(t, "the death, or the rest, of the conductor", func() bool {
		if p.dead() {
			return true
		}
		node, err := p.api.Node(t.Context(), name)
		return err == nil && atRest(node) && node.ProvisionState == ph.goal && asked == nil && time.Since(began) > time.Second
	})
	disarm(t, dir)
	if !p.dead() { // commits are gathered: there were fewer this time
		p.stop(t)
		return
	}
	o.kills++
	end, taken := predict(t, dir, ph), true
	p = start(t, dir)
	var node *ironic.Node
	if ph.name != "enrol" {
		node = p.rest(t)
	}
	if asked != nil && (node == nil || !ph.taken(node, began)) {
		o.unasked++
		taken = false
		if err := ph.ask(t.Context(), p.api); err != nil {
			t.Fatalf("killed %s: asked again: %v", when, err)
		}
		end = ph.goal
	}
	node = p.rest(t)
	label := fmt.Sprintf("killed %s commit %d", at, number)
	switch {
	case node.ProvisionState != end:
		t.Errorf("%s: the node is %s, last_error %v; want %s", label, node.ProvisionState, text(node.LastError), end)
	case end == ph.goal && (node.LastError != nil || node.Maintenance):
		t.Errorf("%s: %s with last_error %q, maintenance %v", label, end, text(node.LastError), node.Maintenance)
	case end == ph.goal && taken:
		o.resumed++
	case end == ph.goal: // by the second request
	case node.LastError == nil || !strings.Contains(*node.LastError, "interrupted by a restart of the conductor"):
		t.Errorf("%s: %s with last_error %q", label, end, text(node.LastError))
	default:
		o.failed++
	}
	p.further(t, label, node)
	if t.Failed() {
		log, _ := os.ReadFile(filepath.Join(dir, "log"))
		t.Fatalf("%s:\n%s", label, log)
	}
	p.stop(t)
	os.RemoveAll(dir)
}

// taken says that the request reached the database, though its answer was lost.
func (ph phase) taken(n *ironic.Node, began time.Time) bool {
	if ph.asked != nil {
		return ph.asked(n)
	}
	return n.ProvisionState != ph.goal || n.ProvisionUpdatedAt != nil && n.ProvisionUpdatedAt.After(began.Add(-time.Millisecond))
}

// predict reads what the conductor has left and tells where the table says that
// it leads.
func predict(t *testing.T, dir string, ph phase) string {
	t.Helper()
	db, err := store.Open(t.Context(), filepath.Join(dir, "ferric.sqlite"))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	n, err := db.Node(t.Context(), name)
	if err != nil || !n.ProvisionState.Is(provision.Transient) {
		return ph.goal
	}
	row, err := flow.RestartOf(n)
	if err != nil {
		t.Fatal(err)
	}
	if !row.Ends {
		return ph.goal
	}
	failed, err := provision.Next(n.ProvisionState, provision.Fail)
	if err != nil {
		t.Fatal(err)
	}
	return string(failed)
}

// further makes sure that the node can be used: it is switched on, and brought
// back from where it failed.
func (p *process) further(t *testing.T, label string, n *ironic.Node) {
	t.Helper()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatalf("%s: the node, which is %s, cannot be used: %v", label, n.ProvisionState, err)
		}
	}
	if n.Maintenance {
		must(p.api.UnsetMaintenance(t.Context(), name))
	}
	must(p.api.SetPower(t.Context(), name, ironic.PowerOn, 0))
	if n = p.rest(t); n.PowerState == nil || *n.PowerState != ironic.PowerOn {
		t.Errorf("%s: the machine is not switched on", label)
	}
	ways := map[string][2]string{
		ironic.StateEnroll: {ironic.VerbManage, ironic.StateManageable}, ironic.StateManageable: {ironic.VerbInspect, ironic.StateManageable},
		ironic.StateCleanFailed: {ironic.VerbManage, ironic.StateManageable}, ironic.StateAvailable: {ironic.VerbManage, ironic.StateManageable},
		ironic.StateActive: {ironic.VerbRebuild, ironic.StateActive}, ironic.StateRescue: {ironic.VerbUnrescue, ironic.StateActive},
		ironic.StateServiceFailed: {ironic.VerbAbort, ironic.StateActive},
	}
	way, known := ways[n.ProvisionState]
	if !known {
		t.Fatalf("%s: nobody knows the way out of %s", label, n.ProvisionState)
	}
	must(p.api.SetProvisionState(t.Context(), name, ironic.ProvisionRequest{Target: way[0]}))
	if n = p.rest(t); n.ProvisionState != way[1] {
		t.Errorf("%s: then %s leads to %s, last_error %q", label, way[0], n.ProvisionState, text(n.LastError))
	}
}

// rest waits until nobody is doing anything with the node.
func (p *process) rest(t *testing.T) *ironic.Node {
	t.Helper()
	var n *ironic.Node
	eventually(t, "rest", func() bool {
		var err error
		n, err = p.api.Node(t.Context(), name)
		return err == nil && atRest(n)
	})
	return n
}

func atRest(n *ironic.Node) bool {
	return n.Reservation == nil && n.TargetPowerState == nil && provision.State(n.ProvisionState).Is(provision.Stable, provision.Failed)
}

func text(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

// copyDatabase copies the database, which nobody uses, into another directory.
func copyDatabase(t *testing.T, from, to string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(from, "ferric.sqlite*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err == nil {
			err = os.WriteFile(filepath.Join(to, filepath.Base(file)), data, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}
