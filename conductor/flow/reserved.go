package flow

import (
	"context"
	"fmt"
	"time"

	"ferric/conductor/driver"
	"ferric/conductor/provision"
	"ferric/conductor/steps"
	"ferric/conductor/store"
	"ferric/conductor/task"
)

// withoutAgent says that no agent takes part in what the node is doing: nobody
// will send the heartbeat that others wait for.
func withoutAgent(n *store.Node, kind steps.Kind) bool {
	return n.DriverInternalInfo.Bool(kind.NoRamdisk)
}

// runReserved runs a step that belongs to no interface (deploy flow, section 4).
func (f *Flow) runReserved(ctx context.Context, t *task.Task, kind steps.Kind, step steps.Step) (provision.Event, error) {
	ifs, err := f.drivers.Interfaces(t.Node)
	if err != nil {
		return "", err
	}
	switch step.Step {
	case steps.Hold:
		return provision.HoldEvent, nil
	case steps.Wait:
		if step.Seconds() == 0 {
			return provision.Wait, nil
		}
		select {
		case <-time.After(time.Duration(step.Seconds() * float64(time.Second))):
			return "", nil
		case <-ctx.Done():
			return "", ctx.Err()
		}
	case steps.PowerOff:
		return "", driver.SwitchPower(ctx, t, ifs.Power, driver.PowerOff, 0)
	case steps.PowerOn:
		if state, err := ifs.Power.PowerState(ctx, t.Node); err == nil && state == driver.PowerOn {
			return "", nil
		}
		return f.powerUp(ctx, t, kind, driver.PowerOn)
	case steps.Reboot:
		return f.powerUp(ctx, t, kind, driver.Rebooting)
	}
	return "", fmt.Errorf("there is no step %s", step.ID())
}

// powerUp switches the machine on, by way of target; where an agent takes part,
// its next heartbeat goes on.
func (f *Flow) powerUp(ctx context.Context, t *task.Task, kind steps.Kind, target string) (provision.Event, error) {
	if !withoutAgent(t.Node, kind) {
		return provision.Wait, f.bootAgain(ctx, t, kind, target)
	}
	ifs, err := f.drivers.Interfaces(t.Node)
	if err != nil {
		return "", err
	}
	return "", driver.SwitchPower(ctx, t, ifs.Power, target, 0)
}

// bootAgain boots the agent once more between two steps.
func (f *Flow) bootAgain(ctx context.Context, t *task.Task, kind steps.Kind, target string) error {
	ifs, err := f.drivers.Interfaces(t.Node)
	if err != nil {
		return err
	}
	t.Node.DriverInternalInfo[kind.Reboot] = true
	if err := ifs.Boot.PrepareRamdisk(ctx, t, nil); err != nil {
		return err
	}
	return driver.SwitchPower(ctx, t, ifs.Power, target, 0)
}

// kindOf is the kind of steps that a waiting or held node works through.
func kindOf(state provision.State) steps.Kind {
	switch state {
	case provision.CleanWait, provision.CleanHold:
		return steps.Clean
	case provision.ServiceWait, provision.ServiceHold:
		return steps.Service
	}
	return steps.Deploy
}

// unhold goes on after a hold: with the next heartbeat of the agent, or at once
// where none is awaited. A service goes on at once anyway (state-machine
// contract, section 3).
func (f *Flow) unhold(ctx context.Context, t *task.Task) error {
	kind := kindOf(t.Node.ProvisionState)
	if kind.Name != steps.Service.Name && !withoutAgent(t.Node, kind) {
		return t.Process(ctx, provision.Unhold, "")
	}
	return t.Start(ctx, provision.Unhold, "", "continuation", func(ctx context.Context, t *task.Task) error {
		return f.resume(ctx, t, kind)
	})
}
