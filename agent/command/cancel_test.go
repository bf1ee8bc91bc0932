package command

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"ferric/api/ipa"
)

// TestCancel ends a command that may be aborted, and none other.
func TestCancel(t *testing.T) {
	reported := make(chan struct{})
	until := func(abortable bool) Command {
		return Command{Async: true, Run: func(ctx context.Context, _ map[string]any, progress func(ipa.Progress)) (any, error) {
			progress(ipa.Progress{Step: "erase", Abortable: abortable})
			reported <- struct{}{}
			if !abortable {
				return "done", nil
			}
			<-ctx.Done()
			return nil, ipa.BlockDeviceErase.New("sda: %v", context.Cause(ctx))
		}}
	}
	commands := Table{"test": {"abortable": until(true), "firm": until(false), "silent": {Run: ends(nil, nil)}}}
	e := New(t.Context(), commands, options(func() {}))
	start := func(name string) ipa.Result {
		r, _, err := e.Execute(t.Context(), ipa.Request{Name: name})
		if err != nil {
			t.Fatal(err)
		}
		return r
	}

	running := start("test.abortable")
	<-reported
	if _, err := e.Cancel("unknown"); !ipa.ObjectNotFound.Is(err) {
		t.Errorf("Cancel of an unknown id = %v; want not found", err)
	}
	if r, err := e.Cancel(running.ID); err != nil || r.ID != running.ID {
		t.Errorf("Cancel = %+v, %v; want the running command", r, err)
	}
	got, err := e.Get(t.Context(), running.ID, true)
	if err != nil || got.Status != ipa.StatusFailed || got.Error.Type != "BlockDeviceEraseError" || !strings.HasPrefix(got.Error.Details, "cancelled by request") {
		t.Errorf("the cancelled command is %s %+v, %v; want FAILED and why", got.Status, got.Error, err)
	}
	if _, err := e.Cancel(running.ID); !errors.Is(err, ErrNotCancellable) {
		t.Errorf("Cancel of one that has ended = %v; want ErrNotCancellable", err)
	}

	firm := start("test.firm")
	if _, err := e.Cancel(firm.ID); !errors.Is(err, ErrNotCancellable) {
		t.Errorf("Cancel of one that is not abortable = %v; want ErrNotCancellable", err)
	}
	<-reported
	if got, err := e.Get(t.Context(), firm.ID, true); err != nil || got.Status != ipa.StatusSucceeded {
		t.Errorf("the other command is %s %+v, %v; want SUCCEEDED", got.Status, got.Error, err)
	}
}

// TestResultsAreBounded runs more than is kept.
func TestResultsAreBounded(t *testing.T) {
	large := strings.Repeat("x", 3<<20)
	commands := Table{"test": {
		"archive": {Run: ends(map[string]any{"system_logs": large}, nil)},
		"small":   {Run: ends(map[string]any{"a": 1}, nil)},
		"execute_clean_step": {Run: ends(map[string]any{
			"clean_result": large,
			"clean_step":   map[string]any{"step": "erase", "interface": "deploy", "args": map[string]any{"x": large}},
		}, nil)},
	}}
	e := New(t.Context(), commands, options(func() {}))
	run := func(name string) {
		if _, _, err := e.Execute(t.Context(), ipa.Request{Name: name}); err != nil {
			t.Fatal(err)
		}
	}
	run("test.small")
	run("test.execute_clean_step")
	for range 7 {
		run("test.archive")
	}
	list := e.List()
	if got, want := string(list[1].Result), `{"clean_result":null,"clean_step":{"interface":"deploy","step":"erase"}}`; got != want {
		t.Errorf("the step is kept as %.200s; want %s", got, want)
	}
	if string(list[0].Result) != `{"a":1}` || len(list[8].Result) < len(large) || list[2].Result != nil {
		t.Errorf("results have %d, %d and %d bytes; want the small and the last whole, the oldest archive dropped", len(list[0].Result), len(list[8].Result), len(list[2].Result))
	}
	for range maxRecords {
		run("test.small")
	}
	run("test.archive")
	if list = e.List(); len(list) != maxRecords || list[0].Name != "small" || len(list[maxRecords-1].Result) < len(large) {
		t.Errorf("%d commands are kept, the first is %s; want %d and the newest whole", len(list), list[0].Name, maxRecords)
	}
}

func TestLongErrors(t *testing.T) {
	got := errorObject(fmt.Errorf("disk: %w", ipa.ImageWrite.New("%s", strings.Repeat("é", maxDetails))))
	if len(got.Details) > maxDetails+8 || got.Type != "ImageWriteError" || !strings.HasPrefix(got.Details, "disk: ") || !strings.HasSuffix(got.Details, "é …") {
		t.Errorf("%d bytes of details, %.20q … ; want them cut off at %d", len(got.Details), got.Details, maxDetails)
	}
}

func FuzzHistory(f *testing.F) {
	for _, seed := range []string{
		`[{"id":"a","command_name":"sync","command_status":"RUNNING","command_error":null,"command_result":null}]`,
		`[{"id":"a","command_name":"execute_clean_step","command_status":"SUCCEEDED","command_result":{"clean_step":{"step":"erase","args":{}},"clean_result":[1]}}]`,
		`[{"command_status":"FAILED","command_error":{"code":500}}]`, `[]`, `null`, `[null]`, `{}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		earlier, err := parseHistory(data)
		if err != nil {
			return
		}
		for _, result := range earlier {
			if result.Status == ipa.StatusRunning {
				t.Errorf("%q: a command of a former life is running", data)
			}
			if small := reduced(result.Result); len(small) > maxKept+ipa.MaxResumeState {
				t.Errorf("reduced to %d bytes", len(small))
			}
		}
	})
}
