package flow

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"ferric/conductor/driver"
	"ferric/conductor/steps"
	"ferric/conductor/store"
	"ferric/conductor/task"
)

// runOnChildren runs a step on the nodes whose parent the node is, one after
// the other, under the lock of each. The children stay in the states they are
// in, so that nothing can be waited for in them (deploy flow, section 4).
func (f *Flow) runOnChildren(ctx context.Context, t *task.Task, kind steps.Kind, step steps.Step) error {
	children, err := f.store.Nodes(ctx, store.Query{Where: []string{"parent_node = ?"}, Args: []any{t.Node.UUID}})
	if err != nil {
		return err
	}
	for _, uuid := range step.Children {
		if !slices.ContainsFunc(children, func(n *store.Node) bool { return n.UUID == uuid }) {
			return fmt.Errorf("node %s is no child of node %s", uuid, t.Node.UUID)
		}
	}
	for _, child := range children {
		if len(step.Children) > 0 && !slices.Contains(step.Children, child.UUID) {
			continue
		}
		if err := f.withChild(ctx, child.ID, func(ctx context.Context, t *task.Task) error { return f.runOnChild(ctx, t, kind, step) }); err != nil {
			return fmt.Errorf("on the child node %s: %w", child.UUID, err)
		}
	}
	return nil
}

// childPatience is how long somebody else may be busy with a child: a change of
// its power, for one, that a restart of the conductor has cut off and that is
// being finished.
const childPatience = 2 * time.Minute

// withChild runs fn under the lock of a child, for which it waits.
func (f *Flow) withChild(ctx context.Context, id int64, fn func(ctx context.Context, t *task.Task) error) error {
	for deadline := time.Now().Add(childPatience); ; {
		err := f.tasks.Do(ctx, id, "step of the parent", fn)
		var locked *task.LockedError
		if !errors.As(err, &locked) || time.Now().After(deadline) {
			return err
		}
		_, pause := f.tasks.LockRetries()
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(pause):
		}
	}
}

func (f *Flow) runOnChild(ctx context.Context, t *task.Task, kind steps.Kind, step steps.Step) error {
	t.Event(ctx, "step", "%s step %s of the parent node", kind.Name, step.ID())
	ifs, err := f.drivers.Interfaces(t.Node)
	if err != nil {
		return err
	}
	targets := map[string]string{steps.PowerOn: driver.PowerOn, steps.PowerOff: driver.PowerOff, steps.Reboot: driver.Rebooting}
	if target := targets[step.Step]; target != "" {
		return driver.SwitchPower(ctx, t, ifs.Power, target, 0)
	}
	own, err := f.ownStep(t.Node, kind, step.ID())
	if err != nil {
		return err
	}
	if own == nil {
		return fmt.Errorf("its interfaces have no %s step %s", kind.Name, step.ID())
	}
	outcome, err := own.Run(ctx, t, step.Args)
	if err == nil && outcome == driver.Waiting {
		err = fmt.Errorf("step %s does not end at once", step.ID())
	}
	if err != nil {
		return err
	}
	return t.Save(ctx)
}
