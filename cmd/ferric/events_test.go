package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"strings"
	"testing"
	"time"
)

// TestEvents follows a node from its enrolment to manageable by the command
// line, and looks at how long that took.
func TestEvents(t *testing.T) {
	address := startConductor(t)
	do := func(args ...string) string {
		t.Helper()
		var out, faults bytes.Buffer
		if code := run(t.Context(), append(args, "--api", address), strings.NewReader(""), &out, &faults); code != 0 {
			t.Fatalf("%v: %d %s", args, code, faults.String())
		}
		return out.String()
	}
	do("node", "create", "--driver", "fake-hardware", "--name", "n1")
	ctx, stop := context.WithTimeout(t.Context(), 30*time.Second)
	r, w := io.Pipe()
	ended := make(chan int, 1)
	go func() {
		ended <- run(ctx, []string{"events", "n1", "--follow", "--json", "--api", address}, strings.NewReader(""), w, io.Discard)
		w.Close()
	}()
	do("node", "manage", "n1")
	seen := ""
	for lines := json.NewDecoder(r); !strings.Contains(seen, "state manageable, was verifying"); {
		var e struct{ Kind, Detail string }
		if err := lines.Decode(&e); err != nil {
			t.Fatalf("%v after %q", err, seen)
		}
		seen += e.Kind + " " + e.Detail + "\n"
	}
	stop()
	go io.Copy(io.Discard, r)
	if code := <-ended; code != 0 {
		t.Errorf("to stop to look is status %d", code)
	}
	if want := "created driver fake-hardware\nverb manage, in state enroll\nstate verifying, was enroll\n"; !strings.HasPrefix(seen, want) {
		t.Errorf("events are %q, want first %q", seen, want)
	}
	if out := do("events", "--kind", "verb"); !strings.Contains(out, "  n1  ") || strings.Count(out, "\n") != 1 {
		t.Errorf("events: %s", out)
	}
	if out := do("node", "timeline", "n1"); !strings.Contains(out, "verify at ") || !strings.Contains(out, "done after") || !strings.Contains(out, "█  verifying\n") {
		t.Errorf("the timeline is %s", out)
	}
	if out := do("node", "explain", "n1"); !strings.Contains(out, "n1: The node can be managed") || !strings.Contains(out, "Next:  ferric node inspect n1") || !strings.Contains(out, "manage by ") {
		t.Errorf("the explanation is %s", out)
	}
	if out := do("node", "explain", "n1", "-f", "yaml"); !strings.Contains(out, "name: manageable\n") {
		t.Errorf("the explanation is %s", out)
	}
	if out := do("node", "timeline", "n1", "--json"); !strings.Contains(out, `"outcome": "done"`) {
		t.Errorf("the timeline is %s", out)
	}
}
