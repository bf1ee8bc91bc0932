package command

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"
	"github.com/sirupsen/logrus"

	"ferric/api/ipa"
)

func ends(value any, err error) func(context.Context, map[string]any, func(ipa.Progress)) (any, error) {
	return func(context.Context, map[string]any, func(ipa.Progress)) (any, error) { return value, err }
}

func options(ended func()) Options {
	log := logrus.New()
	log.SetOutput(io.Discard)
	return Options{Ended: ended, Log: logrus.NewEntry(log)}
}

// table has a command for every way to end; "hold" runs until release closes.
func table(release chan struct{}) Table {
	hold := func(_ context.Context, _ map[string]any, progress func(ipa.Progress)) (any, error) {
		progress(ipa.Progress{Step: "hold", Done: 1})
		<-release
		return "done", nil
	}
	return Table{
		"test": {
			"text":     {Run: ends("hello", nil)},
			"null":     {Run: ends(nil, nil)},
			"object":   {Run: ends(map[string]any{"a": 1}, nil)},
			"failing":  {Run: ends(nil, errors.New("it broke"))},
			"known":    {Run: ends(nil, fmt.Errorf("writing: %w", ipa.ImageWrite.New("disk is full")))},
			"panicky":  {Run: func(context.Context, map[string]any, func(ipa.Progress)) (any, error) { panic("oh no") }},
			"odd":      {Run: ends(func() {}, nil)},
			"strict":   {Params: []string{"a!", "b"}, Run: ends(nil, nil)},
			"loose":    {Params: []string{"a!"}, Extra: true, Run: ends(nil, nil)},
			"checked":  {Validate: func(map[string]any) error { return errors.New("a is wrong") }, Run: ends(nil, nil)},
			"mismatch": {Async: true, Run: ends(nil, ipa.VersionMismatch.New("1.0 is not 1.1"))},
			"slow":     {Async: true, Run: ends("hello", nil)},
			"hold":     {Async: true, Run: hold},
		},
	}
}

func TestResults(t *testing.T) {
	tests := []struct {
		name   string
		params map[string]any
		want   ipa.Result // without id
		err    string     // part of details
	}{
		{"test.text", nil, ipa.Result{Name: "text", Status: "SUCCEEDED", Result: []byte(`{"result":"hello"}`)}, ""},
		{"test.null", nil, ipa.Result{Name: "null", Status: "SUCCEEDED", Result: []byte(`null`)}, ""},
		{"test.object", nil, ipa.Result{Name: "object", Status: "SUCCEEDED", Result: []byte(`{"a":1}`)}, ""},
		{"test.failing", nil, ipa.Result{Name: "failing", Status: "FAILED", Error: &ipa.Error{Type: "CommandExecutionError", Code: 500, Message: "Command execution failed"}}, "it broke"},
		{"test.known", nil, ipa.Result{Name: "known", Status: "FAILED", Error: &ipa.Error{Type: "ImageWriteError", Code: 500, Message: "Error writing image to device"}}, "disk is full"},
		{"test.panicky", nil, ipa.Result{Name: "panicky", Status: "FAILED", Error: &ipa.Error{Type: "CommandExecutionError", Code: 500, Message: "Command execution failed"}}, "oh no"},
		{"test.odd", nil, ipa.Result{Name: "odd", Status: "FAILED", Error: &ipa.Error{Type: "CommandExecutionError", Code: 500, Message: "Command execution failed"}}, "does not encode"},
		{"test.strict", map[string]any{}, ipa.Result{Name: "strict", Status: "FAILED", Error: &ipa.Error{Type: "CommandExecutionError", Code: 500, Message: "Command execution failed"}}, "required parameters: a"},
		{"test.strict", map[string]any{"a": nil, "z": 1, "y": 1}, ipa.Result{Name: "strict", Status: "FAILED", Error: &ipa.Error{Type: "CommandExecutionError", Code: 500, Message: "Command execution failed"}}, "y, z"},
		{"test.strict", map[string]any{"a": 1, "b": 2}, ipa.Result{Name: "strict", Status: "SUCCEEDED", Result: []byte(`null`)}, ""},
		{"test.loose", map[string]any{"a": 1, "z": 2}, ipa.Result{Name: "loose", Status: "SUCCEEDED", Result: []byte(`null`)}, ""},
		{"test.mismatch", nil, ipa.Result{Name: "mismatch", Status: "CLEAN_VERSION_MISMATCH", Error: &ipa.Error{Type: "VersionMismatch", Code: 409, Message: "Hardware managers version mismatch, reload agent with correct version"}}, "1.0 is not 1.1"},
		{"test.slow", nil, ipa.Result{Name: "slow", Status: "SUCCEEDED", Result: []byte(`{"result":"slow: hello"}`)}, ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			e := New(context.Background(), table(nil), options(func() {}))
			first, _, err := e.Execute(context.Background(), ipa.Request{Name: test.name, Params: test.params})
			if err != nil {
				t.Fatal(err)
			}
			got, err := e.Get(context.Background(), first.ID, true)
			if err != nil {
				t.Fatal(err)
			}
			if got.ID == "" {
				t.Error("the result has no id")
			}
			got.ID = ""
			if got.Error != nil {
				if !strings.Contains(got.Error.Details, test.err) || test.err == "" {
					t.Errorf("details %q; want %q", got.Error.Details, test.err)
				}
				bare := *got.Error
				bare.Details = ""
				got.Error = &bare
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("result (-want +got):\n%s", diff)
			}
		})
	}
}

func TestRefusals(t *testing.T) {
	tests := []struct {
		name, want string
		code       int
	}{
		{"nodot", "Invalid command: Command name must be of the form <extension>.<name>", http.StatusBadRequest},
		{"other.text", "Not found: Extension with id other not found.", http.StatusNotFound},
		{"test.other", "Invalid command: Unknown command: other", http.StatusBadRequest},
		{"test.text.more", "Invalid command: Unknown command: text.more", http.StatusBadRequest},
		{"test.checked", "Invalid command parameters: a is wrong", http.StatusBadRequest},
	}
	for _, test := range tests {
		e := New(context.Background(), table(nil), options(func() {}))
		_, _, err := e.Execute(context.Background(), ipa.Request{Name: test.name})
		var known *ipa.Error
		if !errors.As(err, &known) || known.Error() != test.want || known.Code != test.code {
			t.Errorf("%s: error %v; want %d %q", test.name, err, test.code, test.want)
		}
		if len(e.List()) != 0 {
			t.Errorf("%s was recorded", test.name)
		}
	}
}

// TestPanic wants the stack in the log and nowhere else.
func TestPanic(t *testing.T) {
	opts := options(func() {})
	var log bytes.Buffer
	opts.Log.Logger.SetOutput(&log)
	got, _, err := New(t.Context(), table(nil), opts).Execute(t.Context(), ipa.Request{Name: "test.panicky"})
	if err != nil || got.Error == nil || got.Error.Details != "panicky panicked: oh no" {
		t.Errorf("result = %+v, %v; want the panic in one line", got.Error, err)
	}
	if !strings.Contains(log.String(), "goroutine") {
		t.Errorf("the log says %q; want the stack", log.String())
	}
}

func TestBusy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		ended := 0
		e := New(context.Background(), table(release), options(func() { ended++ }))
		first, _, err := e.Execute(context.Background(), ipa.Request{Name: "test.hold"})
		if err != nil || first.Status != ipa.StatusRunning || first.Result != nil || first.Error != nil {
			t.Fatalf("async command answered %+v, %v; want RUNNING", first, err)
		}
		synctest.Wait()
		if p, running := e.Progress(); !running || p.Step != "hold" {
			t.Errorf("progress = %+v, %v; want that of the running command", p, running)
		}
		// A bad name is told before the agent is busy, a bad extension after.
		for name, want := range map[string]string{
			"test.text": "Agent is busy: executing command hold", "other.text": "Agent is busy: executing command hold",
			"nodot": "Invalid command: Command name must be of the form <extension>.<name>",
		} {
			if _, _, err := e.Execute(context.Background(), ipa.Request{Name: name}); err == nil || err.Error() != want {
				t.Errorf("%s while busy: %v; want %q", name, err, want)
			}
		}
		if n := len(e.List()); n != 1 {
			t.Errorf("%d commands are recorded; want 1", n)
		}
		if ended != 0 {
			t.Error("a heartbeat was forced before the command ended")
		}
		close(release)
		synctest.Wait()
		if ended != 1 {
			t.Errorf("forced %d heartbeats after the command; want 1", ended)
		}
		if _, running := e.Progress(); running {
			t.Error("there is progress after the command ended")
		}
		if _, _, err := e.Execute(context.Background(), ipa.Request{Name: "test.text"}); err != nil {
			t.Errorf("after the command ended: %v", err)
		}
		var names []string
		for _, r := range e.List() {
			names = append(names, r.Name+" "+r.Status)
		}
		if diff := cmp.Diff([]string{"hold SUCCEEDED", "text SUCCEEDED"}, names); diff != "" {
			t.Errorf("commands (-want +got):\n%s", diff)
		}
	})
}

func TestGetWaitsOnlyAsLongAsTheCaller(t *testing.T) {
	release := make(chan struct{})
	defer close(release)
	e := New(context.Background(), table(release), options(func() {}))
	first, _, err := e.Execute(context.Background(), ipa.Request{Name: "test.hold"})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := e.Get(ctx, first.ID, true); !errors.Is(err, context.Canceled) {
		t.Errorf("Get = %v; want that the caller has gone", err)
	}
	if _, err := e.Get(ctx, "unknown", false); !ipa.ObjectNotFound.Is(err) {
		t.Errorf("Get of an unknown id = %v; want RequestedObjectNotFoundError", err)
	}
}

// TestNextLife starts a second executor while the first is at work, as if the
// agent had been killed.
func TestNextLife(t *testing.T) {
	release := make(chan struct{})
	opts := options(func() {})
	opts.Dir = filepath.Join(t.TempDir(), "state")
	commands := table(release)
	commands["test"]["archive"] = Command{Run: ends(strings.Repeat("x", maxKept), nil)}
	first := New(t.Context(), commands, opts)
	var before []ipa.Result
	for _, name := range []string{"test.object", "test.known", "test.archive", "test.hold"} {
		result, _, err := first.Execute(t.Context(), ipa.Request{Name: name})
		if err != nil {
			t.Fatal(err)
		}
		before = append(before, result)
	}
	defer func() {
		close(release)
		first.Get(t.Context(), before[3].ID, true)
	}()
	want := before
	want[2].Result = nil // too large
	want[3].Status = ipa.StatusFailed
	want[3].Error = &ipa.Error{Type: "CommandExecutionError", Code: 500, Message: "Command execution failed", Details: "the agent restarted while it ran"}

	second := New(t.Context(), commands, opts)
	asOnTheWire := cmp.Transformer("JSON", func(raw json.RawMessage) string {
		text, _ := json.Marshal(raw)
		return string(text)
	})
	if diff := cmp.Diff(want, second.List(), asOnTheWire); diff != "" {
		t.Errorf("commands of the next life (-want +got):\n%s", diff)
	}
	if got, err := second.Get(t.Context(), want[3].ID, true); err != nil || got.Status != ipa.StatusFailed {
		t.Errorf("waiting for the one that ran = %+v, %v; want FAILED at once", got, err)
	}
	if _, _, err := second.Execute(t.Context(), ipa.Request{Name: "test.text"}); err != nil {
		t.Errorf("the next life refuses a command: %v", err)
	}
	if third := New(t.Context(), commands, opts).List(); len(third) != 5 || third[3].Status != ipa.StatusFailed || third[4].Name != "text" {
		t.Errorf("the third life lists %+v; want the four and text", third)
	}
}

func TestHistoryIsDamaged(t *testing.T) {
	opts := options(func() {})
	opts.Dir = t.TempDir()
	if err := os.WriteFile(historyIn(opts.Dir).path, []byte("[{"), 0o600); err != nil {
		t.Fatal(err)
	}
	e := New(t.Context(), table(nil), opts)
	if _, _, err := e.Execute(t.Context(), ipa.Request{Name: "test.text"}); err != nil || len(e.List()) != 1 {
		t.Errorf("%v, list %v; want the new command alone", err, e.List())
	}
}
