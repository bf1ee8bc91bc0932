package hwmanager

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/sirupsen/logrus"

	"ferric/api/ipa"
)

// tool is a manager whose answers are set by the test.
type tool struct {
	name    string
	level   Support
	steps   []Step
	syncErr error
	synced  *[]string
}

func (m tool) Name() string      { return m.name }
func (m tool) ClassName() string { return strings.ToUpper(m.name) }
func (m tool) Version() string   { return "1.0" }
func (m tool) Evaluate(context.Context, *Host) (Support, error) {
	return m.level, nil
}
func (m tool) CleanSteps(context.Context, *Host, Node) ([]Step, error) { return m.steps, nil }
func (m tool) FullSync(context.Context, *Host) error {
	if m.synced != nil {
		*m.synced = append(*m.synced, m.name)
	}
	return m.syncErr
}

func host() *Host {
	log := logrus.New()
	log.SetOutput(io.Discard)
	return &Host{Log: logrus.NewEntry(log)}
}

func step(name string, priority int, answer any, err error) Step {
	return Step{
		Declaration: ipa.Step{Step: name, Interface: "deploy", Priority: priority},
		Run:         func(context.Context, *Host, StepCall) (any, error) { return answer, err },
	}
}

func load(t *testing.T, managers ...Manager) *Set {
	t.Helper()
	s, err := Load(context.Background(), host(), managers)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestLoad(t *testing.T) {
	s := load(t, tool{name: "b", level: Generic}, tool{name: "none", level: None}, tool{name: "vendor", level: 7}, tool{name: "a", level: Generic})
	var order []string
	for _, m := range s.all() {
		order = append(order, m.name)
	}
	if diff := cmp.Diff([]string{"vendor", "b", "a"}, order); diff != "" {
		t.Errorf("order (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(map[string]string{"vendor": "1.0", "b": "1.0", "a": "1.0"}, s.Versions()); diff != "" {
		t.Errorf("versions (-want +got):\n%s", diff)
	}
	if _, err := Load(context.Background(), host(), []Manager{tool{name: "none"}}); !ipa.ManagerNotFound.Is(err) {
		t.Errorf("Load of nothing that fits = %v; want HardwareManagerNotFound", err)
	}
	s = load(t, tool{name: "x", level: 1}, tool{name: "x", level: 9}, &broken{tool: tool{name: "y", level: 1}})
	if members := s.all(); len(members) != 2 || members[0].level != 1 || !strings.Contains(s.SetAside()["x (the second)"], "named x before it") {
		t.Errorf("of two with one name are there %d, set aside %v", len(members), s.SetAside())
	}
	if _, err := Load(context.Background(), host(), []Manager{tool{name: "x", level: 1}, &broken{tool: tool{name: "x", level: 1}, required: true}}); err == nil {
		t.Error("a required manager was dropped for its name")
	}
}

func TestDispatch(t *testing.T) {
	failure := errors.New("broken")
	tests := []struct {
		name   string
		errs   [3]error
		asked  []string
		first  error
		allErr error
		all    int
	}{
		{"everybody answers", [3]error{}, []string{"c"}, nil, nil, 3},
		{"the best passes", [3]error{ErrNotHandled, nil, nil}, []string{"c", "b"}, nil, nil, 2},
		{"the best passes in IPA's words", [3]error{ipa.IncompatibleMethod.New("x"), nil, nil}, []string{"c", "b"}, nil, nil, 2},
		{"an error ends it", [3]error{ErrNotHandled, failure, nil}, []string{"c", "b"}, failure, failure, 0},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			var asked []string
			s := load(t, tool{"c", 3, nil, test.errs[0], &asked}, tool{"b", 2, nil, test.errs[1], &asked}, tool{"a", 1, nil, test.errs[2], &asked})
			sync := func(y Syncer) (any, error) { return nil, y.FullSync(context.Background(), nil) }
			_, err := First(s, "full_sync", sync)
			if !errors.Is(err, test.first) {
				t.Errorf("First = %v; want %v", err, test.first)
			}
			if diff := cmp.Diff(test.asked, asked); diff != "" {
				t.Errorf("asked (-want +got):\n%s", diff)
			}
			answers, err := All(s, "full_sync", sync)
			if !errors.Is(err, test.allErr) || len(answers) != test.all {
				t.Errorf("All = %v, %v; want %d answers, %v", answers, err, test.all, test.allErr)
			}
		})
	}
	s := load(t, tool{name: "a", level: 1, syncErr: ErrNotHandled})
	_, err := First(s, "full_sync", func(y Syncer) (any, error) { return nil, y.FullSync(context.Background(), nil) })
	if !ipa.MethodNotFound.Is(err) || !strings.Contains(err.Error(), "Could not find method: full_sync") {
		t.Errorf("First = %v; want MethodNotFound", err)
	}
	_, err = All(s, "write_image", func(ImageWriter) (any, error) { return nil, nil })
	if !ipa.MethodNotFound.Is(err) {
		t.Errorf("All = %v; want MethodNotFound", err)
	}
}

func TestStepsWithoutDuplicates(t *testing.T) {
	s := load(t,
		tool{name: "low", level: 1, steps: []Step{step("erase", 99, nil, nil), step("only_low", 5, nil, nil)}},
		tool{name: "b", level: 2, steps: []Step{step("erase", 1, nil, nil), step("tie", 7, nil, nil), step("prio", 3, nil, nil)}},
		tool{name: "a", level: 2, steps: []Step{step("tie", 7, nil, nil), step("prio", 2, nil, nil)}},
		tool{name: "empty", level: 2},
	)
	steps, err := s.Steps(context.Background(), host(), Clean, nil)
	if err != nil {
		t.Fatal(err)
	}
	got := map[string][]string{}
	for class, list := range steps {
		for _, s := range list {
			got[class] = append(got[class], s.Step)
		}
	}
	want := map[string][]string{"LOW": {"only_low"}, "B": {"erase", "prio"}, "A": {"tie"}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("steps (-want +got):\n%s", diff)
	}
}

func TestRunStep(t *testing.T) {
	failure := errors.New("broken")
	s := load(t,
		tool{name: "high", level: 2, steps: []Step{step("pass", 0, nil, ErrNotHandled), step("fail", 0, nil, failure)}},
		tool{name: "low", level: 1, steps: []Step{step("pass", 0, "low", nil), step("fail", 0, "low", nil)}},
	)
	got, err := s.RunStep(context.Background(), host(), Clean, "pass", StepCall{})
	if err != nil || got != "low" {
		t.Errorf("step that the best manager passes on = %v, %v; want low", got, err)
	}
	if _, err := s.RunStep(context.Background(), host(), Clean, "fail", StepCall{}); !errors.Is(err, failure) {
		t.Errorf("failing step = %v; want %v", err, failure)
	}
	for _, c := range []struct {
		phase Phase
		name  string
	}{{Clean, "other"}, {Deploy, "pass"}} {
		if _, err := s.RunStep(context.Background(), host(), c.phase, c.name, StepCall{}); !ipa.MethodNotFound.Is(err) {
			t.Errorf("%s step %s = %v; want MethodNotFound", c.phase, c.name, err)
		}
	}
}

func TestExec(t *testing.T) {
	out, err := Exec{}.Run(context.Background(), "sh", "-c", "echo out; echo noise >&2")
	if err != nil || string(out) != "out\n" {
		t.Errorf("Run = %q, %v; want standard output only", out, err)
	}
	_, err = Exec{}.Run(context.Background(), "sh", "-c", "echo no such disk >&2; exit 3")
	if err == nil || !strings.Contains(err.Error(), "no such disk") || !strings.Contains(err.Error(), "exit status 3") {
		t.Errorf("Run = %v; want status and standard error", err)
	}
	if _, err = (Exec{}).Run(context.Background(), "no-such-program-here"); !NoProgram(err) {
		t.Errorf("Run = %v; want NoProgram", err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	// The child of the shell holds the pipe open: the whole group must go.
	if _, err = (Exec{}).Run(ctx, "sh", "-c", "sleep 60 & wait"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Run = %v; want the deadline", err)
	}
	_, err = Exec{Limit: 50 * time.Millisecond}.Run(context.Background(), "sleep", "60")
	if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "run sleep: it ran for more than 50ms") {
		t.Errorf("Run = %v; want a limit without a deadline", err)
	}
}

func FuzzParseImageInfo(f *testing.F) {
	for _, seed := range []string{
		`{"id":"img","urls":["http://s/i"],"os_hash_algo":"sha256","os_hash_value":"00","disk_format":null,"checksum":null}`,
		`{"id":"img","urls":["https://s/i"],"checksum":"http://s/SUMS","image_type":"partition","root_mb":1000,"swap_mb":0,"ephemeral_mb":null}`,
		`{"id":"","urls":[]}`, `{"urls":"x"}`, `{"id":1}`, `[]`, `null`, `{"proxies":{"http":1}}`, `{"id":"a","urls":[null],"checksum":""}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var value any
		if json.Unmarshal(data, &value) != nil {
			return
		}
		info, err := ParseImageInfo(value, false)
		if err != nil {
			if !ipa.InvalidCommandParams.Is(err) {
				t.Errorf("%s: %v; want InvalidCommandParamsError", data, err)
			}
			return
		}
		if info.ID == "" || len(info.URLs) == 0 || info.Checksum == "" && (info.OSHashAlgo == "" || info.OSHashValue == "") {
			t.Errorf("%s: accepted as %+v", data, info)
		}
	})
}
