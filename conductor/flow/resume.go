package flow

import (
	"context"
	"fmt"

	"ferric/conductor/driver"
	"ferric/conductor/event"
	"ferric/conductor/provision"
	"ferric/conductor/steps"
	"ferric/conductor/store"
	"ferric/conductor/task"
)

// rebootInStep boots the machine of a step that asks for it in its middle. What
// it left, and that it is to be told once more, is in the row before anything is
// done. Who asked for an end after the step gets it after all of the step.
func (f *Flow) rebootInStep(ctx context.Context, t *task.Task, kind steps.Kind, current steps.Step, reboot steps.RebootRequest) error {
	info := t.Node.DriverInternalInfo
	if err := steps.KeepState(info, kind, reboot.State); err != nil {
		t.StepEvent(ctx, kind.Name, current.ID(), event.Failed)
		return f.stepsFailed(ctx, t, kind, "Node %s failed %s step %s: %v", t.Node.UUID, kind.Name, current.ID(), err)
	}
	reboots := steps.Reboots(info, kind)
	delete(info, kind.Repeated) // the step has come further
	toldNext(info, kind)
	info[driver.KeyPowerRequest] = driver.Rebooting
	if reboot.Warm {
		info[driver.KeyPowerRequest] = driver.WarmRebooting
	}
	t.Note(event.Step, store.Object{"phase": kind.Name, "step": current.ID(), "outcome": event.Rebooting, "reboots": reboots},
		"%s step %s asked for a reboot (%d of %d)", kind.Name, current.ID(), reboots, steps.MaxReboots)
	if err := t.Process(ctx, provision.Resume, ""); err != nil {
		return err
	}
	t.Log.WithField("step", current.ID()).Infof("the step asked for a reboot (%d of %d)", reboots, steps.MaxReboots)
	ifs, err := f.drivers.Interfaces(t.Node)
	if err == nil {
		err = f.bootAgentAnew(ctx, t, ifs, false)
	}
	if err != nil {
		return f.stepsFailed(ctx, t, kind, "Failed to reboot node %s, which %s step %s asked for: %v", t.Node.UUID, kind.Name, current.ID(), err)
	}
	return t.Process(ctx, provision.Wait, "")
}

// toldNext notes that the current step is told to the agent that comes next.
func toldNext(info store.Object, kind steps.Kind) {
	info[kind.Busy] = true
	delete(info, kind.Running)
	steps.ForgetCommand(info, kind)
}

// afterReboots says in the text of a failure how often the step had its machine
// rebooted; "" if it did not.
func afterReboots(info store.Object, kind steps.Kind) string {
	reboots := steps.Reboots(info, kind)
	if reboots == 0 {
		return ""
	}
	return fmt.Sprintf(", after reboot %d of at most %d that it asked for", reboots, steps.MaxReboots)
}
