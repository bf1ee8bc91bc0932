package client

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"time"

	"ferric/api"
	"ferric/api/ironic"
)

// outage is for how long a conductor may be away while a node is waited for:
// enough for it to be restarted.
const outage = 60 * time.Second

// StateError is a node that came to rest in a state that was not waited for.
type StateError struct {
	Node      string
	State     string
	Want      []string
	LastError string
}

func (e *StateError) Error() string {
	text := fmt.Sprintf("node %s is %s, not %s", e.Node, e.State, oneOf(e.Want))
	if e.LastError != "" {
		text += ": " + e.LastError
	}
	return text
}

func oneOf(states []string) string {
	if len(states) == 1 {
		return states[0]
	}
	return fmt.Sprintf("one of %q", states)
}

// WaitProvision polls a node until its provision state is one of want, or one
// out of which the node does not come by itself: that is a *StateError. The
// limit is ctx's. onChange, unless nil, is called with what the node was at
// first and whenever something of its state, power or step has changed.
func (c *Client) WaitProvision(ctx context.Context, node string, want []string, onChange func(*ironic.Node)) (*ironic.Node, error) {
	var last view
	reached := time.Now()
	for {
		n, err := c.Node(ctx, node)
		var refusal *api.Error
		switch {
		case ctx.Err() != nil:
			return nil, fmt.Errorf("node %s is %s, waited for %s: %w", node, orUnknown(last.state), oneOf(want), ctx.Err())
		case err != nil && (errors.As(err, &refusal) || time.Since(reached) > outage):
			return nil, err
		case err == nil:
			reached = time.Now()
			if now := viewOf(n); !reflect.DeepEqual(now, last) {
				last = now
				if onChange != nil {
					onChange(n)
				}
			}
			if slices.Contains(want, n.ProvisionState) {
				return n, nil
			}
			if resting(n) {
				return n, &StateError{Node: node, State: n.ProvisionState, Want: want, LastError: text(n.LastError)}
			}
		}
		select {
		case <-ctx.Done():
		case <-time.After(c.pollInterval):
		}
	}
}

// resting tells a state that only a request ends: stable ones have no target
// (state machine contract, section 1), failed and held ones keep theirs.
func resting(n *ironic.Node) bool {
	switch n.ProvisionState {
	case ironic.StateInspectFailed, ironic.StateCleanFailed, ironic.StateDeployFailed, ironic.StateAdoptFailed,
		ironic.StateRescueFailed, ironic.StateUnrescueFailed, ironic.StateServiceFailed, ironic.StateError,
		ironic.StateCleanHold, ironic.StateDeployHold, ironic.StateServiceHold:
		return true
	}
	return n.TargetProvisionState == nil && n.Reservation == nil
}

// view is what onChange is about.
type view struct {
	state, target, power, targetPower, lastError string
	clean, deploy, service                       map[string]any
	maintenance                                  bool
}

func viewOf(n *ironic.Node) view {
	return view{
		state: n.ProvisionState, target: text(n.TargetProvisionState),
		power: text(n.PowerState), targetPower: text(n.TargetPowerState), lastError: text(n.LastError),
		clean: n.CleanStep, deploy: n.DeployStep, service: n.ServiceStep,
		maintenance: n.Maintenance,
	}
}

func text(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

func orUnknown(state string) string {
	if state == "" {
		return "in an unknown state"
	}
	return state
}
