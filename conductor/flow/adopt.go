package flow

import (
	"context"
	"errors"

	"ferric/conductor/driver"
	"ferric/conductor/provision"
	"ferric/conductor/task"
)

// adopt takes over a machine that runs an instance already, without touching
// its disk or its power. The node is adopting.
func (f *Flow) adopt(ctx context.Context, t *task.Task) error {
	n := t.Node
	ifs, err := f.drivers.Interfaces(n)
	if err == nil {
		err = errors.Join(ifs.Power.Validate(ctx, n), ifs.Boot.Validate(ctx, n))
	}
	var state string
	if err == nil {
		state, err = ifs.Power.PowerState(ctx, n)
	}
	if err != nil {
		return f.fail(ctx, t, "Error while attempting to adopt node %s: %v", n.UUID, err)
	}
	n.PowerState = &state
	if d, ok := ifs.Deploy.(driver.TakingOver); ok {
		if err := d.TakeOver(ctx, t); err != nil {
			return f.fail(ctx, t, "Error while attempting to adopt node %s: %v", n.UUID, err)
		}
	}
	t.Event(ctx, "provision", "adopted, %s", state)
	return t.Process(ctx, provision.Done, "")
}
