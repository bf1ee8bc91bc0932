package compat_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"ferric/api/client"
	"ferric/api/ironic"
	"ferric/integration/compat/ironicd"
	"ferric/integration/lab"
	"ferric/integration/osimage"
)

// actLimit is for one change of state: two boots, each of less than a minute
// on a quiet host (lab notes, section 3).
const actLimit = 8 * time.Minute

// patient is a node of a real Ironic with its machine.
type patient struct {
	*ironicd.Ironic
	machine          *lab.Node
	whole, partition *osimage.Image
	fastTrack        bool
	name             string
	hostname, nonce  string // of the last deployment
	logs             int    // of ramdisks, seen by now
	took             []string
	offers           any // of the agent, as Ironic keeps them while it cleans
}

// verb asks for a change of state and waits until the node rests in want. It
// returns the node, and the states that it went through.
func (p *patient) verb(t *testing.T, request ironic.ProvisionRequest, want string) *ironic.Node {
	t.Helper()
	n, err := p.try(t, request, want)
	if err != nil {
		t.Fatal(err)
	}
	if n.LastError != nil {
		t.Fatalf("%s: last_error is %q", want, *n.LastError)
	}
	return n
}

func (p *patient) try(t *testing.T, request ironic.ProvisionRequest, want string) (*ironic.Node, error) {
	t.Helper()
	begin, last := time.Now(), ""
	ctx, cancel := context.WithTimeout(t.Context(), actLimit)
	defer cancel()
	if err := p.API.SetProvisionState(ctx, p.name, request); err != nil {
		return nil, err
	}
	return p.API.WaitProvision(ctx, p.name, []string{want}, func(n *ironic.Node) {
		if steps, ok := n.DriverInternalInfo["agent_cached_clean_steps"]; ok {
			p.offers = steps
		}
		step := n.CleanStep
		for _, other := range []map[string]any{n.DeployStep, n.ServiceStep} {
			if len(other) > 0 {
				step = other
			}
		}
		now := n.ProvisionState
		if name, ok := step["step"]; ok {
			now += fmt.Sprintf(" %v.%v", step["interface"], name)
		}
		if now != last {
			t.Logf("%6.1f s  %s", time.Since(begin).Seconds(), now)
			last = now
		}
	})
}

// fails asks for a change of state that is to end in a failure, told in the
// words given.
func (p *patient) fails(t *testing.T, request ironic.ProvisionRequest, state string, words ...string) {
	t.Helper()
	_, err := p.try(t, request, "no state")
	var failure *client.StateError
	if !errors.As(err, &failure) || failure.State != state {
		t.Fatalf("%s ended with %v; want state %q", request.Target, err, state)
	}
	t.Logf("last_error: %s", failure.LastError)
	for _, word := range words {
		if !strings.Contains(failure.LastError, word) {
			t.Errorf("last_error lacks %q", word)
		}
	}
}

// setImage replaces the instance's information.
func (p *patient) setImage(t *testing.T, info map[string]any) {
	t.Helper()
	p.patch(t, ironic.PatchOperation{Op: "add", Path: "/instance_info", Value: info})
}

func (p *patient) patch(t *testing.T, operation ironic.PatchOperation) {
	t.Helper()
	if _, err := p.API.UpdateNode(t.Context(), p.name, ironic.Patch{operation}); err != nil {
		t.Fatal(err)
	}
}

// get asks for what the client does not know.
func (p *patient) get(t *testing.T, path string, into any) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, p.URL()+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set(ironic.HeaderVersion, p.Version.String())
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		t.Fatalf("GET %s: %s", path, resp.Status)
	}
	if err := json.NewDecoder(resp.Body).Decode(into); err != nil {
		t.Fatalf("GET %s: %v", path, err)
	}
}

// waitConsole waits for a line of the machine's console.
func (p *patient) waitConsole(t *testing.T, since int, pattern string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), bootedLimit)
	defer cancel()
	if _, err := p.machine.Console.WaitFor(ctx, since, regexp.MustCompile(pattern)); err != nil {
		t.Fatal(err)
	}
}

// said looks for words in the lines of the machine's console from since on.
func (p *patient) said(since int, words string) bool {
	return slices.ContainsFunc(p.machine.Console.Lines(since), func(l lab.Line) bool { return strings.Contains(l.Text, words) })
}
