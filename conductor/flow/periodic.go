package flow

import (
	"context"
	"fmt"
	"slices"
	"time"

	"ferric/conductor/event"
	"ferric/conductor/netboot"
	"ferric/conductor/provision"
	"ferric/conductor/store"
	"ferric/conductor/task"
)

// CheckTimeouts fails the nodes that have waited for their agent longer than
// the configuration allows. Reserved nodes and nodes in maintenance are left.
// It also goes on with nodes that are being worked on by nobody, and looks for
// agents that are silent.
func (f *Flow) CheckTimeouts(ctx context.Context) error {
	if err := f.resumeForgotten(ctx); err != nil {
		return err
	}
	if err := f.CheckAgents(ctx); err != nil {
		return err
	}
	set, passed := f.ages.look()
	most := time.Duration(-1)
	if set != 0 {
		f.log.Warnf("the clock of this host was set by %v; nodes that wait go on as if it had not been", set.Round(time.Second))
		most = passed
	}
	return f.eachWait(ctx, func(n *store.Node, limit time.Duration) {
		state := n.ProvisionState
		if !f.overdue(n, limit, most) || n.Reservation != nil {
			return
		}
		err := f.tasks.TryDo(ctx, n.ID, "timeout", func(ctx context.Context, t *task.Task) error {
			if t.Node.ProvisionState != state || !f.overdue(t.Node, limit, most) { // a heartbeat came in between
				return nil
			}
			return t.BackgroundLater("timeout", func(ctx context.Context, t *task.Task) error {
				return f.fail(ctx, t, "Timeout reached while waiting for callback for node %s: no agent was heard for %v in state %q. %s",
					t.Node.UUID, limit, state, f.lastSeen(ctx, t.Node))
			})
		})
		if err != nil {
			f.log.WithField("node", n.UUID).WithError(err).Warn("cannot end the wait of the node, the next check tries again")
		}
	})
}

// eachWait calls fn with every node that waits, and for how long it may.
func (f *Flow) eachWait(ctx context.Context, fn func(n *store.Node, limit time.Duration)) error {
	waiting := map[int64]bool{}
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
			waiting[n.ID] = true
			fn(n, limit)
		}
	}
	f.ages.forget(waiting)
	return nil
}

// resumeWaits makes waits that began in an earlier process last for long enough
// that agents which are alive are heard, however long nobody listened and
// whatever became of the clock meanwhile.
func (f *Flow) resumeWaits(ctx context.Context) error {
	return f.eachWait(ctx, func(n *store.Node, limit time.Duration) {
		f.overdue(n, limit, max(limit-hearing, 0))
	})
}

// lastSeen says how far the machine came: first of all what went wrong, such as
// two machines with one MAC address, else the last thing that was seen of it.
func (f *Flow) lastSeen(ctx context.Context, n *store.Node) string {
	events, err := f.store.Events(ctx, n.ID)
	if err != nil {
		return fmt.Sprintf("Its events cannot be read: %v", err)
	}
	since := time.Time{}
	if at := n.ProvisionUpdatedAt; at != nil && at.Before(time.Now()) { // else the clock was set back
		since = at.Add(-time.Minute)
	}
	var last *store.Event
	for i := range events {
		e := &events[i]
		if kind, known := event.Known(e.Kind); known && !kind.Seen {
			continue
		}
		if e.Time.Before(since) {
			continue
		}
		if last == nil || slices.Contains(troubles, e.Kind) || !slices.Contains(troubles, last.Kind) {
			last = e
		}
	}
	const check = "check that it boots from the network, not from its disk, on the port whose MAC address was enrolled."
	if last == nil {
		return "Nothing was seen of the machine in that time: " + check + f.sharedBMC(ctx, n)
	}
	text := fmt.Sprintf("Last seen of the machine: %s, %s (%s UTC).", last.Kind, last.Detail, last.Time.UTC().Format(time.TimeOnly))
	if last.Kind == event.Power { // which is the BMC's word
		text += " Nothing came from it over the network: " + check + f.sharedBMC(ctx, n)
	}
	return text
}

// sharedBMC names another node with the BMC of n, which switches one machine only.
func (f *Flow) sharedBMC(ctx context.Context, n *store.Node) string {
	address, port := n.DriverInfo["ipmi_address"], n.DriverInfo["ipmi_port"]
	if address == nil || n.DriverInfo["ipmi_bridging"] != nil {
		return ""
	}
	others, err := f.store.Nodes(ctx, store.Query{
		Where: []string{"json_extract(driver_info, '$.ipmi_address') = ?", "id <> ?"}, Args: []any{address, n.ID}, Limit: 10,
	})
	if err != nil {
		return "" // the reason is told without it
	}
	for _, other := range others {
		if fmt.Sprint(other.DriverInfo["ipmi_port"]) == fmt.Sprint(port) {
			return fmt.Sprintf(" Node %s has the same BMC address, %v: one of them switches the other's machine.", other.Label(), address)
		}
	}
	return ""
}

// troubles are the kinds of events that explain why a machine did not boot.
var troubles = []string{netboot.EventMACConflict, netboot.EventError, netboot.EventDeclined}

// overdue says whether the node has waited for longer than limit: for an
// inspection since it began, else since the last sign of the agent. For most
// see ages.
func (f *Flow) overdue(n *store.Node, limit, most time.Duration) bool {
	since := n.ProvisionUpdatedAt
	if n.ProvisionState == provision.InspectWait && n.InspectionStartedAt != nil {
		since = n.InspectionStartedAt
	}
	return since != nil && f.ages.of(n, *since, most) > limit && !n.Maintenance
}
