package flow

import (
	"context"
	"fmt"
	"slices"
	"time"

	"ferric/conductor/netboot"
	"ferric/conductor/provision"
	"ferric/conductor/store"
	"ferric/conductor/task"
)

// CheckTimeouts fails the nodes that have waited for their agent longer than
// the configuration allows. Reserved nodes and nodes in maintenance are left.
// It also fails nodes that are being worked on by nobody: what recovery had no
// worker for, and work whose end the database could not take.
func (f *Flow) CheckTimeouts(ctx context.Context) error {
	if err := f.failForgotten(ctx); err != nil {
		return err
	}
	for state, limit := range map[provision.State]time.Duration{
		provision.CleanWait:    f.cfg.CleanCallbackTimeout,
		provision.WaitCallback: f.cfg.DeployCallbackTimeout,
		provision.InspectWait:  f.cfg.InspectWaitTimeout,
		provision.RescueWait:   f.cfg.RescueCallbackTimeout,
		provision.ServiceWait:  f.cfg.ServiceCallbackTimeout,
	} {
		if limit <= 0 {
			continue
		}
		nodes, err := f.store.SweptIn(ctx, state)
		if err != nil {
			return err
		}
		for _, n := range nodes {
			if !overdue(n, state, limit) || n.Reservation != nil {
				continue
			}
			err := f.tasks.TryDo(ctx, n.ID, "timeout", func(ctx context.Context, t *task.Task) error {
				if !overdue(t.Node, state, limit) { // a heartbeat came in between
					return nil
				}
				return t.Background("timeout", func(ctx context.Context, t *task.Task) error {
					return f.fail(ctx, t, "Timeout reached while waiting for callback for node %s: no agent was heard for %v in state %q. %s",
						t.Node.UUID, limit, state, f.lastSeen(ctx, t.Node))
				})
			})
			if err != nil {
				f.log.WithField("node", n.UUID).WithError(err).Warn("cannot end the wait of the node, the next check tries again")
			}
		}
	}
	return nil
}

// lastSeen says how far the machine came: first of all what went wrong, such as
// two machines with one MAC address, else the last thing that was seen of it.
func (f *Flow) lastSeen(ctx context.Context, n *store.Node) string {
	events, err := f.store.Events(ctx, n.ID)
	if err != nil {
		return fmt.Sprintf("Its events cannot be read: %v", err)
	}
	var last *store.Event
	for i := range events {
		e := &events[i]
		if n.ProvisionUpdatedAt != nil && e.Time.Before(n.ProvisionUpdatedAt.Add(-time.Minute)) {
			continue
		}
		if last == nil || slices.Contains(troubles, e.Kind) || !slices.Contains(troubles, last.Kind) {
			last = e
		}
	}
	if last == nil {
		return "Nothing was seen of the machine in that time: check that it boots from the network, on the port whose MAC address was enrolled."
	}
	return fmt.Sprintf("Last seen of the machine: %s, %s (%s UTC).", last.Kind, last.Detail, last.Time.UTC().Format(time.TimeOnly))
}

// troubles are the kinds of events that explain why a machine did not boot.
var troubles = []string{netboot.EventMACConflict, netboot.EventError, netboot.EventDeclined}

// overdue says whether the node has waited for longer than limit: for an
// inspection since it began, else since the last sign of the agent.
func overdue(n *store.Node, state provision.State, limit time.Duration) bool {
	since := n.ProvisionUpdatedAt
	if state == provision.InspectWait && n.InspectionStartedAt != nil {
		since = n.InspectionStartedAt
	}
	return n.ProvisionState == state && !n.Maintenance && since != nil && time.Since(*since) > limit
}
