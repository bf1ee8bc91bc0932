package process_test

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"ferric/agent"
	"ferric/api/ipa"
	"ferric/api/ironic"
	"ferric/hwmanager"
	"ferric/hwmanager/builtin"
	"ferric/integration/crash"
)

// flasherVar has a test program be an agent with one more manager, that of the
// card whose firmware is in the directory that it names.
const flasherVar = "FERRIC_FLASHER"

// serveFlasherIfAsked is what TestMain begins with, too.
func serveFlasherIfAsked() {
	if dir := os.Getenv(flasherVar); dir != "" {
		os.Exit(agent.Main(append(builtin.Managers(), flasher{card{dir}})))
	}
}

// card is a network card whose firmware goes from one version to the next by a
// reboot: the version that runs, the one that the next boot has, and what was
// done are files.
type card struct{ dir string }

const runs = "runs"

func (c card) read(file string) string {
	text, _ := os.ReadFile(filepath.Join(c.dir, file))
	return string(text)
}

func (c card) write(file, text string) error {
	return os.WriteFile(filepath.Join(c.dir, file), []byte(text), 0o600)
}

// booted is what a boot does.
func (c card) booted() error {
	if next := c.read("next"); next != "" {
		return c.write("version", next)
	}
	return nil
}

// flasher is the card's manager. The one step brings it to another version, by one reboot for each.
type flasher struct{ card card }

func (flasher) Name() string      { return "flasher" }
func (flasher) ClassName() string { return "FlasherHardwareManager" }
func (flasher) Version() string   { return "1" }
func (flasher) Evaluate(context.Context, *hwmanager.Host) (hwmanager.Support, error) {
	return hwmanager.ServiceProvider, nil
}

func (f flasher) steps() []hwmanager.Step {
	never := false
	return []hwmanager.Step{{
		Declaration: ipa.Step{Step: "flash_card", Interface: "firmware", Restartable: &never, RebootRequested: true,
			ArgsInfo: map[string]ipa.Arg{"to": {Description: "The version to reach, a digit."}}},
		Run: f.flash,
	}}
}

func (f flasher) CleanSteps(context.Context, *hwmanager.Host, hwmanager.Node) ([]hwmanager.Step, error) {
	return f.steps(), nil
}

func (f flasher) DeploySteps(context.Context, *hwmanager.Host, hwmanager.Node) ([]hwmanager.Step, error) {
	return f.steps(), nil
}

func (f flasher) ServiceSteps(context.Context, *hwmanager.Host, hwmanager.Node) ([]hwmanager.Step, error) {
	return f.steps(), nil
}

func (f flasher) flash(_ context.Context, _ *hwmanager.Host, call hwmanager.StepCall) (any, error) {
	var was struct {
		Before string `json:"before"`
	}
	version, how := f.card.read("version"), "first run"
	if call.Resume != nil {
		how = "resumed"
		if err := json.Unmarshal(call.Resume, &was); err != nil {
			return nil, err
		}
	} else {
		was.Before = version
	}
	if err := f.card.write(runs, f.card.read(runs)+fmt.Sprintf("%s at %s, from %s\n", how, version, was.Before)); err != nil {
		return nil, err
	}
	if version == call.Args["to"] {
		return map[string]string{"before": was.Before, "after": version}, nil
	}
	if err := f.card.write("next", string(version[0]+1)); err != nil {
		return nil, err
	}
	return nil, &hwmanager.Reboot{State: was, Warm: version == "1"}
}

// withCard has the agents of a machine be such with the card in dir.
func withCard(dir string) func(t *testing.T, m *machine) *exec.Cmd {
	boot := ""
	return func(t *testing.T, m *machine) *exec.Cmd {
		if boot != m.state {
			if err := (card{dir}).booted(); err != nil {
				t.Error(err)
			}
			boot = m.state
		}
		cmd := exec.Command(os.Args[0], append([]string{"--state-dir", m.state}, m.args...)...)
		cmd.Env = append(os.Environ(), flasherVar+"="+dir)
		return cmd
	}
}

// factory has the card as it was bought.
func (c card) factory(t *testing.T) {
	t.Helper()
	for file, text := range map[string]string{"version": "1", "next": "", runs: ""} {
		if err := c.write(file, text); err != nil {
			t.Fatal(err)
		}
	}
}

// flashed wants the card to have been flashed from version 1 to 3, once.
func (c card) flashed(t *testing.T, label string) {
	t.Helper()
	want := "first run at 1, from 1\nresumed at 2, from 1\nresumed at 3, from 1\n"
	if got := c.read(runs); got != want || c.read("version") != "3" {
		t.Errorf("%s: version %s after\n%s; want 3 after\n%s", label, c.read("version"), got, want)
	}
}

var flashCard = []ironic.Step{{Interface: "firmware", Step: "flash_card", Args: map[string]any{"to": "3"}}}

// TestStepReboots has a step reboot its machine twice in each phase. The
// conductor sees each reboot, and no more of them than the step asked for.
func TestStepReboots(t *testing.T) {
	t.Parallel()
	c, images := newConductor(t), newShop(t)
	k := card{t.TempDir()}
	m := newMachine(t, c, spec{agent: withCard(k.dir)})
	for _, tt := range []struct {
		request ironic.ProvisionRequest
		goal    string
	}{
		{ironic.ProvisionRequest{Target: ironic.VerbClean, CleanSteps: flashCard}, ironic.StateManageable},
		{ironic.ProvisionRequest{Target: ironic.VerbActive, DeploySteps: []ironic.Step{{Interface: "firmware", Step: "flash_card", Args: flashCard[0].Args, Priority: &ninety}}}, ironic.StateActive},
		{ironic.ProvisionRequest{Target: ironic.VerbService, ServiceSteps: flashCard}, ironic.StateActive},
	} {
		if tt.request.Target == ironic.VerbActive {
			m.provision(t, ironic.VerbProvide, ironic.StateAvailable)
			m.setGood(t, images)
		}
		k.factory(t)
		before := m.agentBoots()
		m.verb(t, tt.request)
		if n := m.wait(t, tt.goal); n.LastError != nil {
			t.Fatalf("%s: last_error %q", tt.request.Target, *n.LastError)
		}
		k.flashed(t, tt.request.Target)
		if boots := m.agentBoots() - before; boots != 3 {
			t.Errorf("%s: the machine booted an agent %d times; want 3", tt.request.Target, boots)
		}
	}
	events, err := c.api.Events(t.Context(), m.name)
	if err != nil {
		t.Fatal(err)
	}
	for _, phase := range []string{"clean", "deploy", "service"} {
		for _, n := range []string{"1", "2"} {
			want := fmt.Sprintf("%s step firmware.flash_card asked for a reboot (%s of 5)", phase, n)
			if !slices.ContainsFunc(events, func(e ironic.Event) bool { return e.Detail == want }) {
				t.Errorf("no event %q", want)
			}
		}
	}
}

var ninety = 90

// agentBoots counts the boots.
func (m *machine) agentBoots() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.boots
}

// TestCrashAroundRebootInStep kills the conductor around its writes while a step
// reboots its machine twice. The step loses nothing, and no run of it is repeated.
// With FERRIC_FAULTS=1 there is no write that it survives; else it is killed
// around some.
func TestCrashAroundRebootInStep(t *testing.T) {
	t.Parallel()
	all := os.Getenv("FERRIC_FAULTS") != ""
	lanes, random := 1, rand.New(rand.NewPCG(1, 0))
	if all {
		lanes = 4
	}
	for lane := range lanes {
		t.Run(fmt.Sprintf("lane %d of %d", lane+1, lanes), func(t *testing.T) {
			t.Parallel()
			c := newConductor(t, "[ferric]", "agent_rejoin_timeout = 3")
			c.stop(t)
			c.mortal = true
			c.start(t)
			k := card{t.TempDir()}
			kills := 0
			for round, began := lane, time.Now(); round == lane || all || time.Since(began) < 8*time.Second; round += lanes {
				n, when := 1+round/2, []string{"after", "before"}[round%2]
				if !all {
					n = 8 + random.IntN(20) // from the first run on
				}
				died := false
				t.Run(fmt.Sprintf("killed %s write %d", when, n), func(t *testing.T) {
					k.factory(t)
					died = crashInFlash(t, c, k, n, when)
				})
				if t.Failed() {
					return
				}
				if died {
					kills++
				} else if all {
					break
				}
			}
			t.Logf("killed %d times; each time the step came to its end", kills)
		})
	}
}

// crashInFlash has a conductor end around its write number n of the flashing of a
// new machine, and says whether there was one.
func crashInFlash(t *testing.T, c *conductor, k card, n int, when string) (died bool) {
	m := newMachine(t, c, spec{agent: withCard(k.dir)})
	if err := crash.Arm(c.dir, n, when); err != nil {
		t.Fatal(err)
	}
	asked := time.Now()
	request := ironic.ProvisionRequest{Target: ironic.VerbClean, CleanSteps: flashCard}
	err := c.api.SetProvisionState(t.Context(), m.name, request)
	died = m.restOrDeath(t, ironic.StateManageable, asked)
	writes, disarmed := crash.Disarm(c.dir)
	if disarmed != nil {
		t.Fatal(disarmed)
	}
	t.Logf("%d writes", writes)
	if died {
		c.start(t)
		if n := m.node(t); err != nil && n.Reservation == nil && !n.ProvisionUpdatedAt.After(asked) { // it was not taken
			m.verb(t, request)
		}
	}
	if node := m.wait(t, ironic.StateManageable); node.LastError != nil || node.Maintenance {
		t.Fatalf("%s with last_error %q, maintenance %v", node.ProvisionState, *node.LastError, node.Maintenance)
	}
	k.flashed(t, "clean")
	return died
}
