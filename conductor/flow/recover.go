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
// power changes in flight are forgotten. Waiting and held nodes stay as they
// are; the next heartbeat goes on with them (state-machine contract, section
// 11). It is called once, before anything else takes a lock.
func (f *Flow) Recover(ctx context.Context) error {
	if err := f.store.ReleaseAll(ctx); err != nil {
		return fmt.Errorf("release the locks of an earlier run: %w", err)
	}
	if err := f.ResumeAllocations(ctx); err != nil {
		return err
	}
	nodes, err := f.store.Nodes(ctx, store.Query{})
	if err != nil {
		return err
	}
	for _, n := range nodes {
		working := n.ProvisionState.Is(provision.Transient)
		if !working && n.TargetPowerState == nil {
			continue
		}
		err := f.tasks.Do(ctx, n.ID, "recovery", func(ctx context.Context, t *task.Task) error {
			if t.Node.TargetPowerState != nil {
				t.SetError("The change of power state to %q was interrupted by a restart of the conductor.", *t.Node.TargetPowerState)
				// Which state it reached is for the power sync to find out.
				t.Node.TargetPowerState, t.Node.PowerState = nil, nil
			}
			if !working {
				return t.Save(ctx)
			}
			// Failing talks to the BMC: in a worker, so that one dead BMC
			// does not keep the conductor from starting. What finds no free
			// worker is left to CheckTimeouts.
			return t.Background("recovery", func(ctx context.Context, t *task.Task) error {
				return f.fail(ctx, t, "Operation in state %q was interrupted by a restart of the conductor.", t.Node.ProvisionState)
			})
		})
		if err != nil {
			f.log.WithField("node", n.UUID).WithError(err).Error("cannot recover the node")
		}
	}
	return nil
}
