package provision_test

import (
	"bytes"
	"errors"
	"flag"
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ferric/conductor/provision"
)

var update = flag.Bool("update", false, "write the rendered page")

const page = "../../docs/state-machine.md"

func TestPage(t *testing.T) {
	var got bytes.Buffer
	if err := provision.Render(&got); err != nil {
		t.Fatal(err)
	}
	if *update {
		if err := os.WriteFile(page, got.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got.String()); diff != "" {
		t.Errorf("%s is not what the tables say, run `make generate` (-page +tables):\n%s", page, diff)
	}
}

func TestTables(t *testing.T) {
	seen := map[provision.Transition]bool{}
	for _, tr := range provision.Transitions {
		for _, s := range []provision.State{tr.From, tr.To} {
			if _, ok := provision.Of(s); !ok {
				t.Errorf("transition %v names the unknown state %q", tr, s)
			}
		}
		key := provision.Transition{From: tr.From, On: tr.On}
		if seen[key] {
			t.Errorf("two transitions from %q on %q", tr.From, tr.On)
		}
		seen[key] = true
	}
	// Whatever a worker is doing, it can fail.
	for _, a := range provision.States {
		if a.Kind != provision.Transient {
			continue
		}
		if _, err := provision.Next(a.State, provision.Fail); err != nil {
			t.Errorf("a node in %q cannot fail: %v", a.State, err)
		}
	}
}

func TestNext(t *testing.T) {
	if got, err := provision.Next(provision.Available, provision.Deploy); err != nil || got != provision.Deploying {
		t.Errorf("Next(available, deploy) = %q, %v; want deploying", got, err)
	}
	var invalid *provision.InvalidEventError
	if _, err := provision.Next(provision.Enroll, provision.Deploy); !errors.As(err, &invalid) {
		t.Errorf("Next(enroll, deploy) gives %v; want an InvalidEventError", err)
	}
}
