package hwmanager

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/sirupsen/logrus"

	"ferric/api/ipa"
)

// broken is a manager that breaks where it is told to.
type broken struct {
	tool
	at       string // the method
	how      func(ctx context.Context) error
	required bool
}

func (m *broken) breaks(ctx context.Context, at string) error {
	if m.at != at {
		return nil
	}
	return m.how(ctx)
}

func (m *broken) Required() bool { return m.required }

func (m *broken) Name() string {
	_ = m.breaks(context.Background(), "name")
	return m.name
}

func (m *broken) Evaluate(ctx context.Context, _ *Host) (Support, error) {
	return m.level, m.breaks(ctx, "evaluate")
}

func (m *broken) Initialize(ctx context.Context, _ *Host) error { return m.breaks(ctx, "initialize") }

func (m *broken) CleanSteps(ctx context.Context, _ *Host, _ Node) ([]Step, error) {
	run := func(ctx context.Context, _ *Host, _ StepCall) (any, error) { return "vendor", m.breaks(ctx, "run") }
	steps := []Step{{Declaration: ipa.Step{Step: "vendor_step", Interface: "raid"}, Run: run}, {Declaration: ipa.Step{Step: "erase"}, Run: run}}
	if m.at == "declaration" {
		steps[1].Run = nil
	}
	return steps, m.breaks(ctx, "list")
}

func (m *broken) Collect(ctx context.Context, _ *Host) (map[string]any, error) {
	return map[string]any{"x": 1}, m.breaks(ctx, "collect")
}

func (m *broken) FullSync(ctx context.Context, _ *Host) error { return m.breaks(ctx, "sync") }

func fails(context.Context) error  { return errors.New("controller is on fire") }
func panics(context.Context) error { var table map[string]int; table["x"] = 1; return nil }

// waits returns when its context ends, as a good manager does that waits.
func waits(ctx context.Context) error {
	<-ctx.Done()
	return context.Cause(ctx)
}

// TestBrokenManagers: a broken manager is set aside with a reason, the others go
// on; one that is required ends what was asked.
func TestBrokenManagers(t *testing.T) {
	generic := tool{name: "generic", level: Generic, steps: []Step{step("erase", 10, "generic", nil)}}
	for _, at := range []string{"name", "evaluate", "initialize", "list", "declaration"} {
		for kind, how := range map[string]func(context.Context) error{"fails": fails, "panics": panics} {
			if at == "name" && kind == "fails" || at == "declaration" && kind == "panics" {
				continue
			}
			t.Run(at+" "+kind, func(t *testing.T) {
				vendor := &broken{tool: tool{name: "acme", level: ServiceProvider}, at: at, how: how}
				var logged bytes.Buffer
				h := host()
				h.Log.Logger.SetOutput(&logged)
				s, err := Load(t.Context(), h, []Manager{vendor, generic})
				if err != nil {
					t.Fatal(err)
				}
				steps, err := s.Steps(t.Context(), h, Clean, Node{})
				if err != nil || len(steps) != 1 || steps["GENERIC"][0].Step != "erase" {
					t.Errorf("steps %v, %v; want those of the generic manager alone", steps, err)
				}
				name := "acme"
				if at == "name" {
					name = "hwmanager.broken"
				}
				reason := s.SetAside()[name]
				want := map[string]string{"fails": "controller is on fire", "panics": "assignment to entry in nil map"}[kind]
				if at == "declaration" {
					want = "step erase: it has no function"
				}
				if !strings.Contains(reason, want) || strings.Count(reason, "hardware manager "+name) != 1 {
					t.Errorf("set aside %v; want %s, with %q", s.SetAside(), name, want)
				}
				if diff := cmp.Diff(map[string]string{"generic": "1.0"}, s.Versions()); diff != "" {
					t.Errorf("versions (-want +got):\n%s", diff)
				}
				if got, err := s.RunStep(t.Context(), h, Clean, "erase", StepCall{}); err != nil || got != "generic" {
					t.Errorf("erase = %v, %v; want that of the generic manager", got, err)
				}
				_, err = s.RunStep(t.Context(), h, Clean, "vendor_step", StepCall{})
				if !ipa.MethodNotFound.Is(err) || !strings.Contains(err.Error(), name) || !strings.Contains(err.Error(), want) {
					t.Errorf("a step that nobody has any more: %v; want who was set aside and why", err)
				}
				if !strings.Contains(logged.String(), want) || kind == "panics" && at != "name" && !strings.Contains(logged.String(), "broken_test.go") {
					t.Errorf("the log lacks the reason or the stack:\n%s", &logged)
				}
				if at == "name" || at == "declaration" {
					return
				}
				vendor.required = true
				s, err = Load(t.Context(), h, []Manager{vendor, generic})
				if err == nil {
					_, err = s.Steps(t.Context(), h, Clean, Node{})
				}
				if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "acme") {
					t.Errorf("required and broken: %v; want an error with the reason", err)
				}
			})
		}
	}
}

// TestPanicsInQuestions: in a question and in a step a panic is the answer, and
// the next question is asked as before.
func TestPanicsInQuestions(t *testing.T) {
	vendor := &broken{tool: tool{name: "acme", level: 5}, how: panics}
	s := load(t, vendor, tool{name: "generic", level: 1, steps: []Step{step("erase", 0, "generic", nil)}})
	sync := func(y Syncer) (string, error) { return "synced", y.FullSync(t.Context(), nil) }
	vendor.at = "sync"
	_, first := First(s, "full_sync", sync)
	_, all := All(s, "full_sync", sync)
	vendor.at = "run"
	_, run := s.RunStep(t.Context(), host(), Clean, "erase", StepCall{})
	for what, err := range map[string]error{"First full_sync": first, "All full_sync": all, "RunStep erase": run} {
		_, method, _ := strings.Cut(what, " ")
		if err == nil || !strings.Contains(err.Error(), "acme") || !strings.Contains(err.Error(), "panic: assignment to entry in nil map") || !strings.Contains(err.Error(), method) {
			t.Errorf("%s: %v; want the manager, the method and the panic", what, err)
		}
	}
	if len(s.SetAside()) != 0 {
		t.Errorf("set aside for a step: %v", s.SetAside())
	}
	vendor.at = "collect"
	collected := s.Collect(t.Context(), host())
	if len(collected) != 1 || collected[0].Manager != "acme" || collected[0].Err == nil || !strings.Contains(collected[0].Err.Error(), "panic: assignment") {
		t.Errorf("Collect = %+v; want the panic of acme", collected)
	}
	vendor.at = ""
	if got, err := First(s, "full_sync", sync); err != nil || got != "synced" {
		t.Errorf("after a panic: %v, %v", got, err)
	}
}

// spiteful breaks while it is encoded.
type spiteful struct{}

func (spiteful) MarshalJSON() ([]byte, error) { panic("not me") }

// TestSpitefulResults fail their steps, before the agent keeps them.
func TestSpitefulResults(t *testing.T) {
	s := load(t, tool{name: "acme", level: 5, steps: []Step{step("spiteful", 0, []any{spiteful{}}, nil), step("good", 0, map[string]int{"a": 1}, nil)}})
	for name, want := range map[string]string{"spiteful": "panic: not me", "good": ""} {
		_, err := s.RunStep(t.Context(), host(), Clean, name, StepCall{})
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v; want %q", name, err, want)
		}
	}
}

// TestHangingManagers: one that does not come back is left alone.
func TestHangingManagers(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	defer close(release)
	hangs := func(context.Context) error { <-release; return nil }
	for name, how := range map[string]func(context.Context) error{"deaf": hangs, "patient": waits} {
		s := load(t, tool{name: "generic", level: 1})
		_, err := within(t.Context(), s, member{name: name}, "evaluate", 10*time.Millisecond, func(ctx context.Context) (any, error) { return nil, how(ctx) })
		if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "it took more than 10ms") {
			t.Errorf("%s: %v; want its limit", name, err)
		}
	}
}

// TestHangingLists: however many managers hang, their time is taken once, and
// the conductor, which waits for a minute, is told the steps of the others.
func TestHangingLists(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		defer close(release)
		managers := []Manager{tool{name: "generic", level: 1, steps: []Step{step("erase", 0, "generic", nil)}}}
		for i := range 5 {
			how := waits
			if i%2 == 0 {
				how = func(context.Context) error { <-release; return nil }
			}
			managers = append(managers, &broken{tool: tool{name: fmt.Sprint("vendor", i), level: 5}, at: "list", how: how})
		}
		s := load(t, managers...)
		began := time.Now()
		steps, err := s.Steps(t.Context(), host(), Clean, nil)
		if took := time.Since(began); err != nil || len(steps) != 1 || len(s.SetAside()) != 5 || took > 55*time.Second {
			t.Errorf("Steps = %v, %v after %s, set aside %v; want those of one manager", steps, err, took, s.SetAside())
		}
	})
}

// TestEndedContext is no fault of a manager.
func TestEndedContext(t *testing.T) {
	vendor := &broken{tool: tool{name: "acme", level: 5}, how: waits}
	s := load(t, vendor)
	vendor.at = "list"
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.Steps(ctx, host(), Clean, nil); !errors.Is(err, context.Canceled) || len(s.SetAside()) != 0 {
		t.Errorf("Steps = %v, set aside %v; want that it was cancelled", err, s.SetAside())
	}
}

// TestAdd: the one that comes later stands at its place, and only it is
// evaluated and initialised.
func TestAdd(t *testing.T) {
	var log []string
	s := load(t, vendor{tool: tool{name: "high", level: 5}, log: &log}, vendor{tool: tool{name: "low", level: 1}, log: &log})
	h := host()
	h.Set = s
	log = nil
	for _, m := range []Manager{
		vendor{tool: tool{name: "middle", level: 3}, log: &log},
		vendor{tool: tool{name: "late", level: 5}, log: &log},
		vendor{tool: tool{name: "other machine", level: None}, log: &log},
	} {
		if err := s.Add(t.Context(), h, m); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff([]string{"middle evaluate", "middle initialize", "late evaluate", "late initialize", "other machine evaluate"}, log); diff != "" {
		t.Errorf("asked (-want +got):\n%s", diff)
	}
	order := func() (names []string) {
		for _, m := range s.all() {
			names = append(names, m.name+" "+m.version)
		}
		return names
	}
	want := []string{"high 1.0", "late 1.0", "middle 1.0", "low 1.0"}
	if diff := cmp.Diff(want, order()); diff != "" {
		t.Errorf("order (-want +got):\n%s", diff)
	}
	if err := s.Add(t.Context(), h, vendor{tool: tool{name: "middle", level: 9}, log: &log}); err == nil || !strings.Contains(err.Error(), "there is one of this name") {
		t.Errorf("a name twice: %v", err)
	}
	// Broken ones leave everything as it was.
	bad := &broken{tool: tool{name: "middle", level: 9}, at: "initialize", how: fails}
	if err := s.Replace(t.Context(), h, bad); err == nil || s.SetAside()["middle"] != "" {
		t.Errorf("replaced by a broken one: %v, set aside %v", err, s.SetAside())
	}
	bad.name = "bad"
	if err := s.Add(t.Context(), h, bad); err == nil || !strings.Contains(s.SetAside()["bad"], "on fire") {
		t.Errorf("a broken one: %v, set aside %v", err, s.SetAside())
	}
	if diff := cmp.Diff(want, order()); diff != "" {
		t.Errorf("order (-want +got):\n%s", diff)
	}
	bad.at = ""
	if err := s.Replace(t.Context(), h, bad); err != nil || len(s.SetAside()) != 0 || order()[0] != "bad 1.0" {
		t.Errorf("repaired: %v, set aside %v, order %q", err, s.SetAside(), order())
	}
}

// TestMissing: what is required and cannot be had keeps steps from being listed
// and run, until it is there.
func TestMissing(t *testing.T) {
	s := load(t, tool{name: "generic", level: 1, steps: []Step{step("erase", 0, "generic", nil)}})
	s.Miss("optional", errors.New("wrong signature"), false)
	if _, err := s.Steps(t.Context(), host(), Clean, nil); err != nil || s.SetAside()["optional"] != "wrong signature" {
		t.Errorf("Steps = %v, set aside %v", err, s.SetAside())
	}
	guard := &broken{tool: tool{name: "guard", level: 5}, at: "evaluate", how: fails, required: true}
	if err := s.Add(t.Context(), host(), guard); err == nil {
		t.Fatal("a broken manager was added")
	}
	_, list := s.Steps(t.Context(), host(), Clean, nil)
	_, run := s.RunStep(t.Context(), host(), Clean, "erase", StepCall{})
	for _, err := range []error{list, run} {
		if err == nil || !strings.Contains(err.Error(), "guard is required and not there") || !strings.Contains(err.Error(), "on fire") {
			t.Errorf("without the required manager: %v", err)
		}
	}
	guard.at = ""
	if err := s.Add(t.Context(), host(), guard); err != nil {
		t.Fatal(err)
	}
	if got, err := s.RunStep(t.Context(), host(), Clean, "erase", StepCall{}); err != nil || got != "vendor" {
		t.Errorf("with it: %v, %v", got, err)
	}
}

// TestAddWhileAsked runs questions beside additions, for the race detector and
// for managers that are asked before they are initialised.
func TestAddWhileAsked(t *testing.T) {
	t.Parallel()
	s := load(t, tool{name: "generic", level: 1, steps: []Step{step("erase", 0, "generic", nil)}})
	h := host()
	h.Log.Logger.SetLevel(logrus.PanicLevel)
	h.Set = s
	var group sync.WaitGroup
	for i := range 4 {
		group.Go(func() {
			for n := range 25 {
				m := &slowStart{tool: tool{name: fmt.Sprint("m", i, "-", n), level: Support(n%3 + 1)}}
				if err := s.Add(context.Background(), h, m); err != nil {
					t.Error(err)
				}
			}
		})
		group.Go(func() {
			for range 50 {
				if _, err := All(s, "full_sync", func(y Syncer) (any, error) { return nil, y.FullSync(context.Background(), h) }); err != nil {
					t.Error(err)
				}
				s.Versions()
				s.SetAside()
				if _, err := s.Steps(context.Background(), h, Clean, nil); err != nil {
					t.Error(err)
				}
			}
		})
	}
	group.Wait()
	if len(s.Versions()) != 101 {
		t.Errorf("%d managers; want 101", len(s.Versions()))
	}
}

type slowStart struct {
	tool
	ready bool
}

func (m *slowStart) Initialize(context.Context, *Host) error { m.ready = true; return nil }

func (m *slowStart) FullSync(context.Context, *Host) error {
	if !m.ready {
		return errors.New("asked before it was initialised")
	}
	return nil
}
