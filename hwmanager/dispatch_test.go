package hwmanager

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ferric/api/ipa"
)

// vendor is a manager of which everything can be set; it writes down what it
// is asked.
type vendor struct {
	tool
	evaluateErr, initErr, stepsErr error
	log                            *[]string
	required                       bool
}

func (m vendor) Required() bool { return m.required }

func (m vendor) note(what string) { *m.log = append(*m.log, m.name+" "+what) }

func (m vendor) Evaluate(context.Context, *Host) (Support, error) {
	m.note("evaluate")
	return m.level, m.evaluateErr
}

func (m vendor) Initialize(context.Context, *Host) error {
	m.note("initialize")
	return m.initErr
}

func (m vendor) CleanSteps(context.Context, *Host, Node) ([]Step, error) {
	return m.steps, m.stepsErr
}

func (m vendor) DeploySteps(context.Context, *Host, Node) ([]Step, error) {
	return m.steps, m.stepsErr
}

// bare is a manager without any ability.
type bare struct{ tool }

func (bare) CleanSteps() {} // another signature: not a CleanStepper
func (bare) FullSync()   {}

// TestLoadOrder: all are evaluated before one is initialised, in the order of
// their levels, and those that do not fit are not (agent contract, "Model").
func TestLoadOrder(t *testing.T) {
	var log []string
	s := load(t,
		vendor{tool: tool{name: "generic", level: Generic}, log: &log},
		vendor{tool: tool{name: "absent", level: None}, log: &log},
		vendor{tool: tool{name: "negative", level: -1}, log: &log},
		vendor{tool: tool{name: "site", level: 100}, log: &log},
		vendor{tool: tool{name: "main", level: Mainline}, log: &log, initErr: ErrNotHandled},
	)
	want := []string{
		"generic evaluate", "absent evaluate", "negative evaluate", "site evaluate", "main evaluate",
		"site initialize", "main initialize", "generic initialize",
	}
	if diff := cmp.Diff(want, log); diff != "" {
		t.Errorf("asked (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(map[string]string{"generic": "1.0", "main": "1.0", "site": "1.0"}, s.Versions()); diff != "" {
		t.Errorf("versions by name (-want +got):\n%s", diff)
	}
}

func TestLoadFails(t *testing.T) {
	configuration := ipa.ManagerConfiguration.New("steps file is malformed")
	for name, m := range map[string]vendor{
		"evaluate":   {evaluateErr: configuration},
		"initialize": {initErr: configuration},
	} {
		m.tool, m.log, m.required = tool{name: "x", level: 2}, new([]string), true
		_, err := Load(t.Context(), host(), []Manager{m})
		if !ipa.ManagerConfiguration.Is(err) || !strings.Contains(err.Error(), name+" hardware manager x") {
			t.Errorf("%s fails: %v; want HardwareManagerConfigurationError and which manager", name, err)
		}
	}
}

// TestManagersWithoutAbility are asked by nobody.
func TestManagersWithoutAbility(t *testing.T) {
	s := load(t, bare{tool{name: "bare", level: 9}}, tool{name: "low", level: 1, steps: []Step{step("a", 1, "low", nil)}})
	answers, err := All(s, "full_sync", func(y Syncer) (string, error) { return "done", y.FullSync(t.Context(), nil) })
	if diff := cmp.Diff(map[string]string{"LOW": "done"}, answers); err != nil || diff != "" {
		t.Errorf("%v, answers by class (-want +got):\n%s", err, diff)
	}
	steps, err := s.Steps(t.Context(), host(), Clean, nil)
	if err != nil || len(steps) != 1 || steps["BARE"] != nil {
		t.Errorf("steps %v, %v; want those of LOW alone", steps, err)
	}
	// Nobody at all offers service steps: that is an empty answer, no error.
	if steps, err = s.Steps(t.Context(), host(), Service, nil); err != nil || steps == nil || len(steps) != 0 {
		t.Errorf("service steps %v, %v; want an empty object", steps, err)
	}
	if got, err := First(s, "x", func(y Syncer) (any, error) { return nil, nil }); err != nil || got != nil {
		t.Errorf("an answer of null = %v, %v; want it to be final", got, err)
	}
}

// TestStepErrors: a manager that is required and cannot tell its steps stops the
// collection, any other is set aside, one that passes is left out; all of this
// holds for running a step, too.
func TestStepErrors(t *testing.T) {
	low := tool{name: "low", level: 1, steps: []Step{step("a", 1, "low", nil)}}
	for _, test := range []struct {
		name string
		err  error
		fail bool
	}{
		{"configuration", ipa.ManagerConfiguration.New("steps file is malformed"), true},
		{"other", errors.New("broken"), true},
		{"passes", ErrNotHandled, false},
		{"passes in IPA's words, wrapped", fmt.Errorf("nic: %w", ipa.IncompatibleMethod.New("x")), false},
	} {
		t.Run(test.name, func(t *testing.T) {
			high := vendor{tool: tool{name: "high", level: 2}, stepsErr: test.err, log: new([]string), required: true}
			s := load(t, high, low)
			steps, err := s.Steps(t.Context(), host(), Clean, nil)
			if (err != nil) != test.fail || test.fail && !errors.Is(err, test.err) || !test.fail && len(steps["LOW"]) != 1 {
				t.Errorf("Steps = %v, %v; want an error %v", steps, err, test.fail)
			}
			got, err := s.RunStep(t.Context(), host(), Clean, "a", StepCall{})
			if (err != nil) != test.fail || !test.fail && got != "low" {
				t.Errorf("RunStep = %v, %v; want an error %v", got, err, test.fail)
			}
		})
	}
}

// TestStepOrder: of one name survives the step of the highest level, then
// priority, then the first class; within a class they stand as offered.
func TestStepOrder(t *testing.T) {
	s := load(t,
		tool{name: "zeta", level: 2, steps: []Step{step("z", 1, nil, nil), step("tie", 5, nil, nil), step("m", 0, nil, nil), step("z", 9, nil, nil)}},
		tool{name: "alpha", level: 2, steps: []Step{step("tie", 5, nil, nil), step("m", 1, nil, nil), step("b", 1, nil, nil)}},
		tool{name: "low", level: 1, steps: []Step{step("z", 99, nil, nil), step("y", 0, nil, nil), step("c", 0, nil, nil)}},
	)
	got := map[string][]string{}
	steps, err := s.Steps(t.Context(), host(), Clean, nil)
	if err != nil {
		t.Fatal(err)
	}
	for class, list := range steps {
		for _, s := range list {
			got[class] = append(got[class], fmt.Sprint(s.Step, " ", s.Priority))
		}
	}
	want := map[string][]string{"ZETA": {"z 9"}, "ALPHA": {"tie 5", "m 1", "b 1"}, "LOW": {"y 0", "c 0"}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("steps (-want +got):\n%s", diff)
	}
}

// TestRunStepPasses: the step of the winner may be run by another manager.
func TestRunStepPasses(t *testing.T) {
	nested := func(context.Context, *Host, StepCall) (any, error) {
		return nil, fmt.Errorf("disk sda: %w", fmt.Errorf("secure erase: %w", ErrNotHandled))
	}
	passes := Step{Declaration: ipa.Step{Step: "erase", Priority: 9, Abortable: true}, Run: nested}
	var reports []ipa.Progress
	works := Step{Declaration: ipa.Step{Step: "erase"}, Run: func(_ context.Context, _ *Host, call StepCall) (any, error) {
		call.Progress(ipa.Progress{Done: 7})
		return "low", nil
	}}
	s := load(t, tool{name: "high", level: 3, steps: []Step{passes}}, tool{name: "other", level: 2}, tool{name: "low", level: 1, steps: []Step{works}})
	call := StepCall{Progress: func(p ipa.Progress) { reports = append(reports, p) }}
	if got, err := s.RunStep(t.Context(), host(), Clean, "erase", call); err != nil || got != "low" {
		t.Errorf("RunStep = %v, %v; want the answer of low", got, err)
	}
	// Whether it may be aborted is what the manager says that runs it.
	want := []ipa.Progress{{Step: "erase", Abortable: true, SecondsLeft: -1}, {Step: "erase", SecondsLeft: -1}, {Step: "erase", Done: 7}}
	if diff := cmp.Diff(want, reports); diff != "" {
		t.Errorf("progress (-want +got):\n%s", diff)
	}
	s = load(t, tool{name: "high", level: 3, steps: []Step{passes}})
	if _, err := s.RunStep(t.Context(), host(), Clean, "erase", StepCall{}); !ipa.MethodNotFound.Is(err) || err.Error() != "No HardwareManager found to handle method: Could not find method: erase" {
		t.Errorf("RunStep = %v; want that nobody has it", err)
	}
}
