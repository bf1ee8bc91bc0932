package flow

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"ferric/conductor/driver"
	"ferric/conductor/provision"
	"ferric/conductor/store"
	"ferric/conductor/task"
)

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
