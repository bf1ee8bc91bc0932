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

// askedSteps are the steps that a user asked for with the verb.
func askedSteps(n *store.Node, kind steps.Kind) ([]steps.Requested, error) {
	var asked []steps.Requested
	return asked, n.DriverInternalInfo.Decode(kind.Asked(), &asked)
}

// needsAgent says whether an agent is to be booted for the steps that were
// asked for: not if the conductor runs all of them itself and none needs the
// ramdisk (deploy flow, section 7).
func needsAgent(ifs driver.Interfaces, kind steps.Kind, asked []steps.Requested) bool {
	own, some := ownSteps(ifs, kind), false
	for _, a := range asked {
		i := slices.IndexFunc(own, func(s driver.Step) bool { return s.Interface == a.Interface && s.Name == a.Step })
		switch {
		case a.OnChildren: // no agent runs there
			some = true
		case i >= 0 && own[i].NeedsRamdisk:
			return true
		case i >= 0:
			some = true
		case !(steps.Step{Step: a.Step}).Reserved():
			return true
		}
	}
	return !some
}

// offeredSteps are the conductor's own steps of a kind and, where an agent takes
// part, the agent's.
func (f *Flow) offeredSteps(ctx context.Context, t *task.Task, kind steps.Kind) ([]steps.Step, error) {
	ifs, err := f.drivers.Interfaces(t.Node)
	if err != nil {
		return nil, err
	}
	own := listed(ifs, kind)
	if withoutAgent(t.Node, kind) {
		return own, nil
	}
	offered, err := steps.Fetch(ctx, t, kind, f.views())
	if err != nil {
		return nil, err
	}
	return steps.Shadow(own, offered), nil
}

// manualSteps are the steps that were asked for, in that order, out of those
// that are offered.
func manualSteps(n *store.Node, kind steps.Kind, offered []steps.Step) ([]steps.Step, error) {
	asked, err := askedSteps(n, kind)
	if err != nil {
		return nil, err
	}
	list, err := steps.Manual(offered, asked)
	if err != nil {
		return nil, err
	}
	for _, s := range list {
		if withoutAgent(n, kind) && s.RequiresRamdisk != nil && *s.RequiresRamdisk {
			return nil, fmt.Errorf("step %s needs the ramdisk, which is not booted", s.ID())
		}
	}
	return list, nil
}

// requested turns a user's steps into what the package steps works with. A
// step without a priority of its own runs; a step with an order runs in that.
func requested(list []Step) []steps.Requested {
	list = slices.Clone(list)
	slices.SortStableFunc(list, func(a, b Step) int { return order(a) - order(b) })
	asked := []steps.Requested{}
	for _, s := range list {
		r := steps.Requested{Interface: s.Interface, Step: s.Step, Args: s.Args, OnChildren: s.ExecuteOnChildNodes, Children: s.LimitChildNodeExecution}
		if s.Priority != nil {
			r.Priority = *s.Priority
		}
		asked = append(asked, r)
	}
	return asked
}

func order(s Step) int {
	if s.Order == nil {
		return 0
	}
	return *s.Order
}
