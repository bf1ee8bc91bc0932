package flow

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sirupsen/logrus"
	"golang.org/x/sync/errgroup"

	"ferric/conductor/driver"
	"ferric/conductor/provision"
	"ferric/conductor/store"
	"ferric/conductor/task"
)

// noPowerSync are the states in which the machine's power is not ours to
// compare (state-machine contract, section 8).
var noPowerSync = []provision.State{provision.WaitCallback, provision.CleanWait, provision.Enroll, provision.AdoptFailed}

// powerSyncPage is how many nodes are read, and set out with, at a time.
const powerSyncPage = 50

// PowerSync compares the power state of nodes with their hardware. It counts
// failures between its runs; the count is lost with the process, harmlessly.
type PowerSync struct {
	flow     *Flow
	spread   time.Duration
	mu       sync.Mutex
	failures map[string]int // by node UUID
}

// NewPowerSync makes the periodic job's state. A pass spreads what it asks over
// three quarters of the interval between two of them, so that neither the BMCs'
// network nor the database has a rush, and the rest is there to catch up in.
func (f *Flow) NewPowerSync(interval time.Duration) *PowerSync {
	return &PowerSync{flow: f, spread: interval / 4 * 3, failures: map[string]int{}}
}

// Run does one pass over all nodes. Those that are locked when their turn comes
// have a second one at its end.
func (p *PowerSync) Run(ctx context.Context) error {
	began := time.Now()
	powered := store.Powered(noPowerSync...)
	total, err := p.flow.store.CountSelected(ctx, powered)
	if err != nil {
		return err
	}
	var pass errgroup.Group
	pass.SetLimit(p.flow.cfg.SyncPowerStateWorkers)
	var compared, failed atomic.Int64
	start := func(n *store.Node) {
		pass.Go(func() error {
			if err := p.sync(ctx, n); err != nil {
				failed.Add(1)
				p.flow.log.WithField("node", n.UUID).WithError(err).Warn("power state sync")
			}
			compared.Add(1)
			return nil
		})
	}
	var locked []int64
	for seen := 0; ; {
		powered.Limit = powerSyncPage
		page, err := p.flow.store.Swept(ctx, powered)
		if err != nil {
			_ = pass.Wait() // whose errors have been logged
			return err
		}
		if len(page) == 0 {
			break
		}
		for _, n := range page {
			if syncable(n) {
				start(n)
			} else {
				locked = append(locked, n.ID)
			}
		}
		powered.After = page[len(page)-1].ID
		if seen += len(page); seen < total {
			until(ctx, began.Add(p.spread*time.Duration(seen)/time.Duration(total)))
		}
	}
	left := 0
	for ids := range slices.Chunk(locked, powerSyncPage) {
		page, err := p.flow.store.NodesByID(ctx, ids)
		if err != nil {
			_ = pass.Wait()
			return err
		}
		for _, n := range page {
			if syncable(n) {
				start(n)
			} else {
				left++
			}
		}
	}
	_ = pass.Wait()
	if observer := p.flow.cfg.Observer; observer != nil {
		observer.PowerSync(time.Since(began), int(compared.Load()), int(failed.Load()), left)
	}
	p.flow.log.WithFields(logrus.Fields{"compared": compared.Load(), "locked": left, "failed": failed.Load(),
		"seconds": time.Since(began).Round(time.Millisecond).Seconds()}).Info("power state sync: pass done")
	return nil
}

// until waits for a time, or for the end of ctx.
func until(ctx context.Context, at time.Time) {
	timer := time.NewTimer(time.Until(at))
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
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
	if _, byAgent := ifs.Power.(driver.ByAgent); byAgent { // which is no BMC to compare with
		return nil
	}
	actual, err := ifs.Power.PowerState(ctx, n)
	p.flow.log.WithFields(logrus.Fields{"node": n.UUID, "actual": actual}).Debug("power state compared")
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
// BMCs are asked side by side: each that does not answer takes its time.
func (f *Flow) RecoverPowerFailures(ctx context.Context) error {
	nodes, err := f.store.Swept(ctx, store.Query{Where: []string{"fault = ?"}, Args: []any{"power failure"}})
	if err != nil {
		return err
	}
	var group errgroup.Group
	group.SetLimit(f.cfg.SyncPowerStateWorkers)
	failed := make([]error, len(nodes))
	for i, n := range nodes {
		group.Go(func() error {
			if err := f.recoverPower(ctx, n); err != nil {
				failed[i] = fmt.Errorf("node %s: %w", n.UUID, err)
			}
			return nil
		})
	}
	_ = group.Wait() // whose errors are in failed
	return errors.Join(failed...)
}

func (f *Flow) recoverPower(ctx context.Context, n *store.Node) error {
	ifs, err := f.drivers.Interfaces(n)
	if err != nil {
		return err
	}
	state, err := ifs.Power.PowerState(ctx, n)
	if err != nil {
		return nil // still dead; last_error says so
	}
	return f.tasks.TryDo(ctx, n.ID, "power failure recovery", func(ctx context.Context, t *task.Task) error {
		n := t.Node
		if n.Fault == nil || *n.Fault != "power failure" { // a user took over
			return nil
		}
		if n.LastError != nil && n.MaintenanceReason != nil && *n.LastError == *n.MaintenanceReason {
			n.LastError = nil // it was that the BMC does not answer
		}
		n.PowerState, n.Maintenance, n.MaintenanceReason, n.Fault = &state, false, nil, nil
		return t.Save(ctx)
	})
}
