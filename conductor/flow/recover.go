package flow

import (
	"context"
	"fmt"

	"ferric/conductor/provision"
	"ferric/conductor/store"
	"ferric/conductor/task"
)

// Recover ends what an earlier process of this host was doing when it died:
// its locks are given back, nodes in a working state fail with that reason,
// aborts go on, power changes in flight are forgotten. Waiting and held nodes stay as they
// are; the next heartbeat goes on with them (state-machine contract, section
// 11). It is called once, before anything else takes a lock.
func (f *Flow) Recover(ctx context.Context) error {
	if err := f.store.ReleaseAll(ctx); err != nil {
		return fmt.Errorf("release the locks of an earlier run: %w", err)
	}
	if err := f.ResumeAllocations(ctx); err != nil {
		return err
	}
	if err := f.resumeWaits(ctx); err != nil {
		return err
	}
	nodes, err := f.store.Nodes(ctx, store.Query{})
	if err != nil {
		return err
	}
	for _, n := range nodes {
		if !interrupted(n) && n.TargetPowerState == nil {
			continue
		}
		err := f.tasks.Do(ctx, n.ID, "recovery", func(ctx context.Context, t *task.Task) error {
			if t.Node.TargetPowerState != nil {
				t.SetError("The change of power state to %q was interrupted by a restart of the conductor.", *t.Node.TargetPowerState)
				// Which state it reached is for the power sync to find out.
				t.Node.TargetPowerState, t.Node.PowerState = nil, nil
				if err := t.Save(ctx); err != nil {
					return err
				}
			}
			if !interrupted(t.Node) {
				return nil
			}
			return f.settle(t, "by a restart of the conductor.")
		})
		if err != nil {
			f.log.WithField("node", n.UUID).WithError(err).Error("cannot recover the node")
		}
	}
	return nil
}

// interrupted says, of a node without a lock, that somebody was in the middle of
// something with it.
func interrupted(n *store.Node) bool {
	return n.ProvisionState.Is(provision.Transient) || n.DriverInternalInfo.Bool(keyAborting)
}

// settle ends what was interrupted: an abort goes on, all else fails because of
// why. That talks to the BMC: it goes on in a worker, so that one dead BMC does
// not keep the conductor from starting. What finds no free worker is left to
// CheckTimeouts.
func (f *Flow) settle(t *task.Task, why string) error {
	return t.BackgroundLater("recovery", func(ctx context.Context, t *task.Task) error {
		if !t.Node.ProvisionState.Is(provision.Transient) {
			return f.endByRequest(ctx, t)
		}
		return f.fail(ctx, t, "Operation in state %q was interrupted %s", t.Node.ProvisionState, why)
	})
}

// failForgotten ends what nobody works on any more: a worker keeps its node's
// lock for as long as a working state lasts.
func (f *Flow) failForgotten(ctx context.Context) error {
	var states []provision.State
	for _, a := range provision.States {
		if a.Kind != provision.Stable { // of which an abort may have been left
			states = append(states, a.State)
		}
	}
	nodes, err := f.store.NodesIn(ctx, states...)
	if err != nil {
		return err
	}
	for _, n := range nodes {
		if n.Reservation != nil || !interrupted(n) {
			continue
		}
		err := f.tasks.TryDo(ctx, n.ID, "forgotten work", func(ctx context.Context, t *task.Task) error {
			if !interrupted(t.Node) {
				return nil
			}
			return f.settle(t, "and nothing in the conductor works on it any more.")
		})
		if err != nil {
			f.log.WithField("node", n.UUID).WithError(err).Warn("cannot end forgotten work, the next check tries again")
		}
	}
	return nil
}
