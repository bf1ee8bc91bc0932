package flow

import (
	"context"
	"fmt"
	"slices"

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
		err := f.tasks.Do(ctx, child.ID, "step of the parent", func(ctx context.Context, t *task.Task) error {
			return f.runOnChild(ctx, t, kind, step)
		})
		if err != nil {
			return fmt.Errorf("on the child node %s: %w", child.UUID, err)
		}
	}
	return nil
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
