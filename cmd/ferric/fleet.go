package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"time"

	"ferric/api/client"
	"ferric/api/ironic"
)

// fleet works on many machines at once, with one view of all.
type fleet struct {
	api    *client.Client
	board  *board
	count  int
	places chan struct{} // for the machines that are worked on
	limit  time.Duration // for one machine; 0 is for ever
}

func newFleet(api *client.Client, out io.Writer, names []string, parallel, seconds int) *fleet {
	// The conductor's limits on concurrent work pass by themselves.
	return &fleet{api.Patient(time.Hour), newBoard(out, names), len(names), make(chan struct{}, parallel), time.Duration(seconds) * time.Second}
}

// run does the same for every machine, as many at once as there are places,
// waits for all, and gives the failures in their order. An end of ctx begins no
// further one.
func (f *fleet) run(ctx context.Context, do func(ctx context.Context, i int) error) []error {
	failures := make([]error, f.count)
	var wg sync.WaitGroup
	for i := range f.count {
		select {
		case f.places <- struct{}{}:
		case <-ctx.Done():
		}
		if ctx.Err() != nil {
			failures[i] = errors.New("not begun: interrupted")
			continue
		}
		wg.Go(func() {
			defer func() { <-f.places }()
			limited := ctx
			if f.limit > 0 {
				var cancel context.CancelFunc
				limited, cancel = context.WithTimeout(ctx, f.limit)
				defer cancel()
			}
			failures[i] = do(limited, i)
			if failures[i] != nil {
				f.board.state(i, "failed: "+firstLine(failures[i].Error()))
			}
		})
	}
	wg.Wait()
	return failures
}

func firstLine(text string) string {
	line, _, _ := strings.Cut(text, "\n")
	return line
}

// roads are the verbs by which a node that is new comes to where it is to be.
// Nodes in other states are there already, or further.
var roads = map[string][]struct{ from, verb string }{
	ironic.StateManageable: {{ironic.StateEnroll, ironic.VerbManage}},
	ironic.StateAvailable:  {{ironic.StateEnroll, ironic.VerbManage}, {ironic.StateManageable, ironic.VerbProvide}},
}

// stations are the states that a road leads through, or that are beyond its end.
var stations = []string{ironic.StateEnroll, ironic.StateManageable, ironic.StateAvailable, ironic.StateActive, ironic.StateDeployFailed}

// bring takes a node along the road to a state and gives it as it is then; one
// that is further already is left where it is.
func (f *fleet) bring(ctx context.Context, i int, ident, to string) (*ironic.Node, error) {
	var sent []string
	for {
		state, err := waitOne(ctx, f.api, ident, stations, i, f.board)
		if err != nil {
			return nil, f.advise(ctx, ident, state, err)
		}
		n, err := f.api.Node(ctx, ident)
		if err != nil {
			return nil, err
		}
		step := slices.IndexFunc(roads[to], func(s struct{ from, verb string }) bool { return s.from == n.ProvisionState })
		if step < 0 {
			return n, nil
		}
		verb := roads[to][step].verb
		if slices.Contains(sent, verb) { // and it has come back
			return n, f.advise(ctx, ident, n.ProvisionState, &client.StateError{Node: ident, State: n.ProvisionState, Want: []string{to}, LastError: deref(n.LastError)})
		}
		sent = append(sent, verb)
		if err := f.api.SetProvisionState(ctx, ident, ironic.ProvisionRequest{Target: verb}); err != nil {
			return n, err
		}
	}
}

// advise adds to a failed wait what can be done.
func (f *fleet) advise(ctx context.Context, ident, state string, err error) error {
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return fmt.Errorf("node %s is still %s after %s, and the conductor goes on; see it by: ferric node show %s", ident, orUnknown(state), f.limit, ident)
	}
	return advise(ctx, ctx, f.limit, ident, orUnknown(state), err)
}

func deref(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}
