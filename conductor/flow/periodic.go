package flow

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"ferric/conductor/driver"
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
		nodes, err := f.store.NodesIn(ctx, state)
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

// noPowerSync are the states in which the machine's power is not ours to
// compare (state-machine contract, section 8).
var noPowerSync = []provision.State{provision.WaitCallback, provision.CleanWait, provision.Enroll, provision.AdoptFailed}

// powerSyncWorkers bounds the BMCs that are asked at the same time.
const powerSyncWorkers = 8

// PowerSync compares the power state of nodes with their hardware. It counts
// failures between its runs; the count is lost with the process, harmlessly.
type PowerSync struct {
	flow     *Flow
	mu       sync.Mutex
	failures map[string]int // by node UUID
}

// NewPowerSync makes the periodic job's state.
func (f *Flow) NewPowerSync() *PowerSync { return &PowerSync{flow: f, failures: map[string]int{}} }

// Run does one pass over all nodes.
func (p *PowerSync) Run(ctx context.Context) error {
	nodes, err := p.flow.store.Nodes(ctx, store.Query{})
	if err != nil {
		return err
	}
	work := make(chan *store.Node)
	var wg sync.WaitGroup
	for range powerSyncWorkers {
		wg.Go(func() {
			for n := range work {
				if err := p.sync(ctx, n); err != nil {
					p.flow.log.WithField("node", n.UUID).WithError(err).Warn("power state sync")
				}
			}
		})
	}
	for _, n := range nodes {
		if syncable(n) {
			work <- n
		}
	}
	close(work)
	wg.Wait()
	return nil
}

func syncable(n *store.Node) bool {
	return !slices.Contains(noPowerSync, n.ProvisionState) && !n.Maintenance && n.TargetPowerState == nil && n.Reservation == nil
}

// sync asks the hardware without the lock and takes it only for a change.
func (p *PowerSync) sync(ctx context.Context, n *store.Node) error {
	ifs, err := p.flow.drivers.Interfaces(n)
	if err != nil {
		return err
	}
	actual, err := ifs.Power.PowerState(ctx, n)
	if err == nil && n.PowerState != nil && *n.PowerState == actual {
		p.count(n, 0)
		return nil
	}
	failure := err
	err = p.flow.tasks.TryDo(ctx, n.ID, "power state sync", func(ctx context.Context, t *task.Task) error {
		if !syncableLocked(t.Node) {
			return nil
		}
		return p.reconcile(ctx, t, ifs.Power, actual, failure)
	})
	var locked *task.LockedError
	if errors.As(err, &locked) {
		return nil
	}
	return err
}

func syncableLocked(n *store.Node) bool {
	unlocked := *n
	unlocked.Reservation = nil
	return syncable(&unlocked)
}

// reconcile settles a difference: the first known state is taken over, a
// later difference is pushed to the hardware or taken over as configured, and
// a BMC that keeps failing puts the node into maintenance.
func (p *PowerSync) reconcile(ctx context.Context, t *task.Task, power driver.Power, actual string, failure error) error {
	n := t.Node
	wanted := n.PowerState
	if failure == nil && (wanted == nil || *wanted == driver.PowerError || !p.flow.cfg.ForcePowerStateDuringSync || n.DisablePowerOff) {
		p.count(n, 0)
		if wanted != nil && *wanted != actual {
			t.Log.Warnf("power state is %s, not %s as recorded; recorded state corrected", actual, *wanted)
		}
		n.PowerState = &actual
		return t.Save(ctx)
	}
	if failure == nil && *wanted == actual {
		p.count(n, 0)
		return nil
	}
	if failure == nil {
		t.Log.Warnf("power state is %s, not %s as recorded; switching the machine", actual, *wanted)
		if failure = driver.SwitchPower(ctx, t, power, *wanted, 0); failure == nil {
			p.count(n, 0)
			return nil
		}
	}
	if p.count(n, 1) <= p.flow.cfg.PowerStateSyncMaxRetries {
		return failure
	}
	state, fault := driver.PowerError, "power failure"
	n.PowerState, n.Maintenance, n.Fault = &state, true, &fault
	t.SetError("During sync_power_state, max retries exceeded for node %s: %v. The node was put into maintenance until its BMC answers.", n.UUID, failure)
	n.MaintenanceReason = n.LastError
	return t.Save(ctx)
}

// count adds a failure to the node's, or with 0 forgets them.
func (p *PowerSync) count(n *store.Node, add int) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	if add == 0 {
		delete(p.failures, n.UUID)
		return 0
	}
	p.failures[n.UUID] += add
	return p.failures[n.UUID]
}

// RecoverPowerFailures ends the maintenance of nodes whose BMC answers again.
func (f *Flow) RecoverPowerFailures(ctx context.Context) error {
	nodes, err := f.store.Nodes(ctx, store.Query{Where: []string{"fault = ?"}, Args: []any{"power failure"}})
	if err != nil {
		return err
	}
	var failed []error
	for _, n := range nodes {
		ifs, err := f.drivers.Interfaces(n)
		if err != nil {
			failed = append(failed, err)
			continue
		}
		state, err := ifs.Power.PowerState(ctx, n)
		if err != nil {
			continue // still dead; last_error says so
		}
		err = f.tasks.TryDo(ctx, n.ID, "power failure recovery", func(ctx context.Context, t *task.Task) error {
			n := t.Node
			if n.Fault == nil || *n.Fault != "power failure" { // a user took over
				return nil
			}
			n.PowerState, n.Maintenance, n.MaintenanceReason, n.Fault = &state, false, nil, nil
			return t.Save(ctx)
		})
		if err != nil {
			failed = append(failed, fmt.Errorf("node %s: %w", n.UUID, err))
		}
	}
	return errors.Join(failed...)
}
