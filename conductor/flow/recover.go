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

// Recover takes up what an earlier process of this host was doing when it
// died: its locks are given back, and what nodes were in the middle of goes on
// as the table of restarts says (restarts.go). It is called once, before
// anything else takes a lock.
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
	return f.store.Sweep(ctx, store.Query{}, func(n *store.Node) { f.takeUp(ctx, n, "recovery") })
}

// resumeForgotten takes up what nobody works on any more: what Recover found no
// free worker for, and work whose end the database could not take. A worker
// keeps its node's lock for as long as the work lasts.
func (f *Flow) resumeForgotten(ctx context.Context) error {
	var states []provision.State
	for _, a := range provision.States {
		if a.Kind != provision.Stable { // of which an abort may have been left
			states = append(states, a.State)
		}
	}
	nodes, err := f.store.SweptIn(ctx, states...)
	if err != nil {
		return err
	}
	switched, err := f.store.Swept(ctx, store.Query{Where: []string{"target_power_state IS NOT NULL", "reservation IS NULL"}})
	if err != nil {
		return err
	}
	for _, n := range append(nodes, switched...) {
		if n.Reservation == nil && (interrupted(n) || n.TargetPowerState != nil) {
			f.takeUp(ctx, n, "forgotten work")
		}
	}
	return nil
}

// interrupted says, of a node without a lock, that somebody was in the middle of
// something with it that its row tells of.
func interrupted(n *store.Node) bool {
	return n.ProvisionState.Is(provision.Transient) || n.DriverInternalInfo.Bool(keyAborting) || isEnding(n) || unheld(n)
}

// unheld says that the node's hold was ended, and that nobody will send the
// heartbeat that would go on.
func unheld(n *store.Node) bool {
	kind := kindOf(n.ProvisionState)
	return n.ProvisionState.Is(provision.Waiting) && withoutAgent(n, kind) && currentStep(n, kind).String("step") == steps.Hold
}

// takeUp goes on with what the node was in the middle of. That talks to the BMC:
// it goes on in a worker, so that one dead BMC does not keep the conductor from
// starting. What finds no free worker is left to the next check.
func (f *Flow) takeUp(ctx context.Context, n *store.Node, purpose string) {
	if !interrupted(n) && n.TargetPowerState == nil && n.DriverInternalInfo[keyDoing] == nil {
		return
	}
	err := f.tasks.TryDo(ctx, n.ID, purpose, func(ctx context.Context, t *task.Task) error {
		n := t.Node
		if doing := n.DriverInternalInfo.String(keyDoing); doing != "" {
			delete(n.DriverInternalInfo, keyDoing)
			t.SetError("Failed %s node %s: the conductor was restarted meanwhile. Whether it was done is not known: ask for it again.", doing, n.UUID)
			if err := t.Save(ctx); err != nil {
				return err
			}
		}
		switch {
		case interrupted(n):
			return t.BackgroundLater(purpose, f.resumeWork)
		case n.TargetPowerState != nil:
			return t.BackgroundLater(purpose, f.resumePower)
		}
		return nil
	})
	if err != nil {
		f.log.WithField("node", n.UUID).WithError(err).Error("cannot go on with what the node was in the middle of, the next check tries again")
	}
}

// resumeWork goes on with a node as the table says, unless that has brought the
// conductor down again and again.
func (f *Flow) resumeWork(ctx context.Context, t *task.Task) error {
	n := t.Node
	// The change of power was part of the work, which makes it again.
	n.TargetPowerState = nil
	r, err := restartOf(n)
	if err != nil {
		return err
	}
	if times := countRestart(n); times > maxRestarts {
		return f.giveUp(ctx, t, times-1, r)
	}
	if err := t.Save(ctx); err != nil {
		return err
	}
	t.Event(ctx, event.Restart, "%s: %s", r.Found, r.Then)
	t.Log.WithField("state", n.ProvisionState).Warnf("interrupted by a restart of the conductor, %s: %s", r.Found, r.Then)
	return r.do(f, ctx, t)
}

// restartOf is RestartOf for all nodes that are interrupted.
func restartOf(n *store.Node) (Restart, error) {
	switch {
	case n.ProvisionState.Is(provision.Transient):
		return RestartOf(n)
	case isEnding(n) || n.DriverInternalInfo.Bool(keyAborting):
		return Restart{Found: "it was being stopped", Then: "that goes on", do: (*Flow).endByRequest}, nil
	}
	return Restart{Found: "a hold was ended", Then: "the next step runs", do: func(f *Flow, ctx context.Context, t *task.Task) error {
		return f.resume(ctx, t, kindOf(t.Node.ProvisionState))
	}}, nil
}

// resumePower finishes a change of power in flight: the hardware is asked, and
// told if it is not there yet. A reboot whose end is not in the row is made
// again, unless the machine is off: then its second half is left. The node is in
// a state of rest.
func (f *Flow) resumePower(ctx context.Context, t *task.Task) error {
	n := t.Node
	target := *n.TargetPowerState
	if asked := n.DriverInternalInfo.String(driver.KeyPowerRequest); asked != "" {
		target = asked
	}
	ifs, err := f.drivers.Interfaces(n)
	if err == nil {
		if target == driver.Rebooting || target == driver.SoftRebooting {
			if state, err := ifs.Power.PowerState(ctx, n); err == nil && state == driver.PowerOff {
				target = driver.PowerOn
			}
		}
		t.Event(ctx, event.Restart, "the change of power to %q was cut off by a restart of the conductor: it is finished", target)
		err = driver.SwitchPower(ctx, t, ifs.Power, target, 0)
	}
	if err != nil {
		t.SetError("Failed to change power state to %q after a restart of the conductor: %v", target, err)
		n.TargetPowerState = nil
		return t.Save(ctx)
	}
	return nil
}

// maxRestarts is how often in a row work is taken up that has not come any
// further meanwhile.
const maxRestarts = 3

const (
	// keyRestarts in driver_internal_info counts how often the work was taken up
	// where keyRestartedAt says.
	keyRestarts    = "restarts_without_progress"
	keyRestartedAt = "restarted_at"
)

// countRestart notes that the work is taken up, and tells how often it was in
// the place where it is. The caller saves.
func countRestart(n *store.Node) int {
	info := n.DriverInternalInfo
	at := fmt.Sprintf("%s %v", n.ProvisionState, isEnding(n))
	for _, kind := range []steps.Kind{steps.Clean, steps.Deploy, steps.Service} {
		if index, ok := info[kind.Index].(float64); ok {
			at += fmt.Sprintf(" %s step %d %v", kind.Name, int(index), info.Bool(kind.Done))
			if reboots := steps.Reboots(info, kind); reboots > 0 {
				at += fmt.Sprintf(" reboot %d", reboots)
			}
		}
	}
	times := 1
	if before, _ := info[keyRestarts].(float64); info.String(keyRestartedAt) == at {
		times += int(before)
	}
	info[keyRestarts], info[keyRestartedAt] = float64(times), at
	return times
}

// forgetRestarts goes with each new request.
func forgetRestarts(n *store.Node) {
	delete(n.DriverInternalInfo, keyRestarts)
	delete(n.DriverInternalInfo, keyRestartedAt)
}

// giveUp fails a node whose work ended the conductor each time. The hardware is
// not touched any more, for that may be what did it.
func (f *Flow) giveUp(ctx context.Context, t *task.Task, times int, r Restart) error {
	n := t.Node
	t.SetError("The conductor was restarted %d times in a row while the node was %s (%s), and the work came no further: it is not tried again. "+
		"The machine was left as it is. Look for the reason in the conductor's log.", times, n.ProvisionState, r.Found)
	n.Maintenance, n.MaintenanceReason = true, n.LastError
	faults := map[provision.State]string{
		provision.Cleaning: "clean failure", provision.CleanWait: "clean failure", provision.CleanHold: "clean failure",
		provision.Servicing: "service failure", provision.ServiceWait: "service failure", provision.ServiceHold: "service failure",
	}
	if fault := faults[n.ProvisionState]; fault != "" {
		n.Fault = &fault
	}
	for _, kind := range []steps.Kind{steps.Clean, steps.Deploy, steps.Service} {
		wipeSteps(n, kind)
	}
	f.forgetInspection(n)
	forgetRestarts(n)
	delete(n.InstanceInfo, keyRescueHash)
	if _, err := provision.Next(n.ProvisionState, provision.Fail); err != nil { // it is where it would end
		return t.Save(ctx)
	}
	return t.Process(ctx, provision.Fail, "")
}

// keyEnding in driver_internal_info is the event that the node is about to leave
// its work by, for the reason in last_error: from here on it ends, whoever goes
// on with it.
const keyEnding = "operation_ending"

// ending makes durable that the work ends by event, before anything is torn down.
func ending(ctx context.Context, t *task.Task, event provision.Event) error {
	t.Node.DriverInternalInfo[keyEnding] = string(event)
	return t.Save(ctx)
}

func isEnding(n *store.Node) bool { return n.DriverInternalInfo.String(keyEnding) != "" }

// goOnEnding ends the work for the reason that is in last_error.
func (f *Flow) goOnEnding(ctx context.Context, t *task.Task) error {
	n := t.Node
	event := provision.Event(n.DriverInternalInfo.String(keyEnding))
	if _, err := provision.Next(n.ProvisionState, event); err != nil {
		event = provision.Fail // as from working states, which nobody aborts
	}
	if n.LastError == nil { // which a user cannot take away
		t.SetError("The operation in state %q ended, and its reason is lost.", n.ProvisionState)
	}
	switch n.ProvisionState {
	case provision.Cleaning, provision.CleanWait, provision.CleanHold:
		return f.endCleaning(ctx, t, event)
	case provision.Deploying, provision.WaitCallback, provision.DeployHold:
		return f.leaveDeployment(ctx, t, event)
	case provision.Inspecting, provision.InspectWait:
		return f.leaveInspection(ctx, t, event)
	case provision.Rescuing, provision.RescueWait:
		return f.leaveRescue(ctx, t, event)
	case provision.Servicing, provision.ServiceWait, provision.ServiceHold:
		return f.leaveService(ctx, t, event)
	}
	delete(n.DriverInternalInfo, keyEnding) // it has ended
	return t.Save(ctx)
}
