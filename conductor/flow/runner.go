package flow

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"ferric/api/agentclient"
	"ferric/api/ipa"
	"ferric/conductor/driver"
	"ferric/conductor/event"
	"ferric/conductor/netboot"
	"ferric/conductor/provision"
	"ferric/conductor/steps"
	"ferric/conductor/store"
	"ferric/conductor/task"
)

// views are what the agent is shown.
func (f *Flow) views() steps.Views {
	return steps.Views{Node: f.cfg.NodeView, Port: f.cfg.PortView, Agents: f.cfg.Agents}
}

const (
	// keyAbortAfter in a step asks for an abort when it is done.
	keyAbortAfter = "abort_after"
	// keyStepsValidated says that the list has been made with the agent's steps.
	keyStepsValidated = "steps_validated"
)

// currentStep is the column that shows the step of a kind.
func currentStep(n *store.Node, kind steps.Kind) *store.Object {
	switch kind.Name {
	case steps.Clean.Name:
		return &n.CleanStep
	case steps.Service.Name:
		return &n.ServiceStep
	}
	return &n.DeployStep
}

// currentOf is the step that the node works on; ok is false before the first.
func currentOf(n *store.Node, kind steps.Kind) (step steps.Step, ok bool, err error) {
	list, index, err := stepList(n, kind)
	if err != nil || index < 0 || index >= len(list) {
		return steps.Step{}, false, err
	}
	return list[index], true, nil
}

// stepList reads the list that the node works through and the index of the
// current step, -1 before the first.
func stepList(n *store.Node, kind steps.Kind) (list []steps.Step, index int, err error) {
	if err := n.DriverInternalInfo.Decode(kind.List, &list); err != nil {
		return nil, 0, err
	}
	index = -1
	if i, ok := n.DriverInternalInfo[kind.Index].(float64); ok {
		index = int(i)
	}
	return list, index, nil
}

// setSteps stores a list, with the step at index as the current one.
func setSteps(n *store.Node, kind steps.Kind, list []steps.Step, index int) error {
	if list == nil { // null would read as "not loaded yet"
		list = []steps.Step{}
	}
	n.DriverInternalInfo[kind.Index] = float64(index)
	return n.DriverInternalInfo.Encode(kind.List, list)
}

// wipeSteps forgets all that a phase kept while it ran.
func wipeSteps(n *store.Node, kind steps.Kind) {
	for _, key := range []string{kind.List, kind.Index, kind.Running, kind.Command, kind.Busy, kind.Former, kind.Done, kind.Repeated, kind.Reboot,
		kind.State, kind.Reboots, kind.NoRamdisk, kind.Cached, kind.Versions, kind.Asked(), keyStepsValidated, keyAborting, keyEnding} {
		delete(n.DriverInternalInfo, key)
	}
	*currentStep(n, kind) = store.Object{}
}

// runSteps goes on with the step after the current one, and the next, until
// one has to be waited for or none is left.
func (f *Flow) runSteps(ctx context.Context, t *task.Task, kind steps.Kind) error {
	for {
		list, index, err := stepList(t.Node, kind)
		if err != nil {
			return f.stepsFailed(ctx, t, kind, "Failed to read the %s steps of node %s: %v", kind.Name, t.Node.UUID, err)
		}
		if index++; index >= len(list) {
			return f.stepsDone(ctx, t, kind)
		}
		t.Node.DriverInternalInfo[kind.Index] = float64(index)
		steps.ForgetState(t.Node.DriverInternalInfo, kind)
		if list[index].ID() == lastStepOfAgent {
			f.collectLogsOfSuccess(ctx, t, "deployment")
		}
		wait, err := f.runStep(ctx, t, kind, list[index])
		if err != nil {
			return f.stepFailed(ctx, t, kind, list[index], err)
		}
		if wait != "" {
			return t.Process(ctx, wait, "")
		}
		t.StepEvent(ctx, kind.Name, list[index].ID(), event.Done)
		if err := f.joinAgent(ctx, t, kind, list[index]); err != nil {
			return f.stepsFailed(ctx, t, kind, "Failed to prepare the %s steps of node %s: %v", kind.Name, t.Node.UUID, err)
		}
	}
}

// runStep makes step the current one, durably, and runs it: here if it is one
// of the conductor's own, else in the agent. The event is what the node waits
// by, or "" where the step is over, which is durable, too: a process that finds
// the node later does not run it again.
func (f *Flow) runStep(ctx context.Context, t *task.Task, kind steps.Kind, step steps.Step) (provision.Event, error) {
	info := t.Node.DriverInternalInfo
	shown := store.Object{}
	if err := shown.Encode("step", step); err != nil {
		return "", err
	}
	stop := info[kind.State] != nil && currentStep(t.Node, kind).Bool(keyAbortAfter)
	*currentStep(t.Node, kind) = shown["step"].(map[string]any)
	if stop { // which is not over yet
		(*currentStep(t.Node, kind))[keyAbortAfter] = true
	}
	steps.ForgetCommand(info, kind)
	for _, key := range []string{kind.Running, kind.Busy, kind.Done} {
		delete(info, key)
	}
	if f.isForAgent(t.Node, kind, step) { // who was not told yet
		info[kind.Busy] = true
	}
	if err := t.Save(ctx); err != nil {
		return "", err
	}
	t.StepEvent(ctx, kind.Name, step.ID(), event.Started)
	t.Log.WithField("step", step.ID()).Infof("%s step started", kind.Name)
	wait, err := f.perform(ctx, t, kind, step)
	if err != nil || wait != "" {
		return wait, err
	}
	info[kind.Done] = true
	return "", t.Save(ctx)
}

// isForAgent says that step is one of the agent's.
func (f *Flow) isForAgent(n *store.Node, kind steps.Kind, step steps.Step) bool {
	if step.OnChildren || step.Reserved() {
		return false
	}
	own, err := f.ownStep(n, kind, step.ID())
	return err == nil && own == nil
}

// perform does what the step is.
func (f *Flow) perform(ctx context.Context, t *task.Task, kind steps.Kind, step steps.Step) (provision.Event, error) {
	if step.OnChildren {
		return "", f.runOnChildren(ctx, t, kind, step)
	}
	own, err := f.ownStep(t.Node, kind, step.ID())
	switch {
	case err != nil:
		return "", err
	case own != nil:
		outcome, err := own.Run(ctx, t, step.Args)
		if err != nil || outcome == driver.Finished {
			return "", err
		}
		return provision.Wait, nil
	case step.Reserved():
		return f.runReserved(ctx, t, kind, step)
	}
	return provision.Wait, steps.Execute(ctx, t, kind, step, f.views())
}

// ownSteps are those of a kind that the conductor runs itself.
func ownSteps(ifs driver.Interfaces, kind steps.Kind) []driver.Step {
	switch kind.Name {
	case steps.Clean.Name:
		return ifs.CleanSteps()
	case steps.Service.Name:
		return ifs.ServiceSteps()
	}
	return ifs.Deploy.Steps()
}

// ownStep finds a step among the conductor's own; nil is none.
func (f *Flow) ownStep(n *store.Node, kind steps.Kind, id string) (*driver.Step, error) {
	ifs, err := f.drivers.Interfaces(n)
	if err != nil {
		return nil, err
	}
	for _, s := range ownSteps(ifs, kind) {
		if s.Interface+"."+s.Name == id {
			return &s, nil
		}
	}
	return nil, nil
}

// listed are the conductor's own steps of a kind as they stand in lists, in the
// order that they would run in.
func listed(ifs driver.Interfaces, kind steps.Kind) []steps.Step {
	var list []steps.Step
	for _, s := range ownSteps(ifs, kind) {
		ramdisk := s.NeedsRamdisk
		list = append(list, steps.Step{
			Interface: s.Interface, Step: s.Name, Priority: s.Priority, ArgsInfo: s.ArgsInfo, Abortable: s.Abortable, RequiresRamdisk: &ramdisk,
			Restartable: s.Restartable,
		})
	}
	steps.Sort(list)
	return list
}

// continueSteps is what a heartbeat of a waiting node leads to: it looks at
// what became of the current step and goes on accordingly (deploy flow,
// section 3). An agent that cannot be asked counts as silent.
func (f *Flow) continueSteps(ctx context.Context, t *task.Task, kind steps.Kind) error {
	info := t.Node.DriverInternalInfo
	agent, err := f.cfg.Agents.Of(t.Node)
	if err != nil {
		return err
	}
	commands, err := agent.Commands(ctx)
	if err != nil {
		f.notAsked(ctx, t, err)
		return nil
	}
	now := time.Now().UTC().Truncate(time.Microsecond)
	t.Node.ProvisionUpdatedAt = &now // the clock of the timeouts
	if err := t.Save(ctx); err != nil {
		return err
	}
	list, index, err := stepList(t.Node, kind)
	if err != nil {
		return f.stepsFailed(ctx, t, kind, "Failed to read the %s steps of node %s: %v", kind.Name, t.Node.UUID, err)
	}
	var current steps.Step
	if index >= 0 && index < len(list) {
		current = list[index]
	}
	switch {
	case slices.ContainsFunc(commands, func(c ipa.Result) bool { return c.Status == ipa.StatusRunning }):
		return nil
	case info.Bool(kind.Busy):
		return f.tellAgain(ctx, t, kind, current)
	case info.Bool(kind.Reboot) || !info.Bool(kind.Running):
		// Freshly booted: the step that booted the machine is done.
		return f.refreshed(ctx, t, kind, func() error {
			delete(info, kind.Reboot)
			return f.resume(ctx, t, kind)
		})
	}
	result := resultOf(commands, kind, info)
	switch {
	case result == nil && info.String(kind.Command) == "": // the agent has never heard of it
		return f.tellAgain(ctx, t, kind, current)
	case result == nil:
		return f.beginAgain(ctx, t, kind, "the agent restarted", func(ctx context.Context, t *task.Task, first steps.Step) error {
			return f.tellAgain(ctx, t, kind, first)
		})
	case result.Status == ipa.StatusFailed:
		t.StepEvent(ctx, kind.Name, current.ID(), event.Failed)
		return f.stepsFailed(ctx, t, kind, "Node %s failed %s step %s%s: %v", t.Node.UUID, kind.Name, current.ID(), afterReboots(info, kind), steps.Failure(result))
	case result.Status == ipa.StatusVersionMismatch || result.Status == "VERSION_MISMATCH":
		return f.restartSteps(ctx, t, kind, current)
	case result.Status != ipa.StatusSucceeded:
		return f.stepsFailed(ctx, t, kind, "Agent of node %s reports the unknown status %q for %s step %s", t.Node.UUID, result.Status, kind.Name, current.ID())
	case !echoes(result, kind, current):
		return nil // the agent is at an older step
	}
	if reboot, asked := steps.AskedReboot(result, info); asked {
		return f.rebootInStep(ctx, t, kind, current, reboot)
	}
	if err := keepRAIDConfig(t.Node, kind, current, result); err != nil {
		return f.stepsFailed(ctx, t, kind, "Node %s failed %s step %s: %v", t.Node.UUID, kind.Name, current.ID(), err)
	}
	t.StepEvent(ctx, kind.Name, current.ID(), event.Done)
	if kind.Name == steps.Clean.Name {
		f.keepEraseReport(ctx, t, result, "")
	}
	if current.RebootRequested && steps.NeedsReboot(result, info, kind) {
		return f.rebootForStep(ctx, t, kind)
	}
	return f.resume(ctx, t, kind)
}

// notAsked records that an agent could not be asked. Its machine may just boot
// once more: the next heartbeat tries again, and the timeout goes on.
func (f *Flow) notAsked(ctx context.Context, t *task.Task, err error) {
	t.Event(ctx, netboot.EventError, "the agent sends heartbeats but cannot be asked: %v", err)
	t.Log.WithError(err).Warn("cannot ask the agent, the next heartbeat tries again")
}

// resultOf finds the command of the current step: by its id, or, where the
// answer with the id was lost, as the last step command of this kind that is not
// of an earlier step. nil: the agent does not know it.
func resultOf(commands []ipa.Result, kind steps.Kind, info store.Object) *ipa.Result {
	id, former := info.String(kind.Command), info.String(kind.Former)
	for i := len(commands) - 1; i >= 0; i-- {
		if id == "" && former != "" && commands[i].ID == former {
			return nil
		}
		if commands[i].Name == kind.Executed && (id == "" || commands[i].ID == id) {
			return &commands[i]
		}
	}
	return nil
}

// echoes reports whether a result is that of step: the agent sends back what
// it was told to run, and interface and name are compared.
func echoes(r *ipa.Result, kind steps.Kind, step steps.Step) bool {
	var answer map[string]json.RawMessage
	var echoed ipa.Step
	if json.Unmarshal(r.Result, &answer) != nil || json.Unmarshal(answer[kind.Name+"_step"], &echoed) != nil {
		return false
	}
	return echoed.Interface == step.Interface && echoed.Step == step.Step
}

// resume goes back to the working state and runs the next step. A request to
// stop after the current step is honoured here.
func (f *Flow) resume(ctx context.Context, t *task.Task, kind steps.Kind) error {
	if step := *currentStep(t.Node, kind); step.Bool(keyAbortAfter) {
		return f.aborted(ctx, t, kind, step.String("step"))
	}
	if err := t.Process(ctx, provision.Resume, ""); err != nil {
		return err
	}
	return f.runSteps(ctx, t, kind)
}

// restartSteps follows a change of hardware managers: automated cleaning
// starts over with what the agent offers now, anything else repeats the step,
// as does one in whose middle the machine was rebooted.
// A request to stop is honoured first.
func (f *Flow) restartSteps(ctx context.Context, t *task.Task, kind steps.Kind, current steps.Step) error {
	if currentStep(t.Node, kind).Bool(keyAbortAfter) {
		return f.aborted(ctx, t, kind, current.Step)
	}
	t.Log.Warn("the agent's hardware managers have changed, its steps are read again")
	if kind.Name == steps.Clean.Name && !isManualClean(t.Node) && t.Node.DriverInternalInfo[kind.State] == nil {
		if err := t.Process(ctx, provision.Resume, ""); err != nil {
			return err
		}
		return f.loadCleanSteps(ctx, t)
	}
	if _, err := steps.Fetch(ctx, t, kind, f.views()); err != nil {
		return f.stepsFailed(ctx, t, kind, "Failed to refresh the %s steps of node %s: %v", kind.Name, t.Node.UUID, err)
	}
	return f.repeatStep(ctx, t, kind, current)
}

// tellAgain has the agent run the current step, which it does not do yet. An
// agent that has only just booted is asked first what it offers.
func (f *Flow) tellAgain(ctx context.Context, t *task.Task, kind steps.Kind, current steps.Step) error {
	return f.refreshed(ctx, t, kind, func() error { return f.repeatStep(ctx, t, kind, current) })
}

// refreshed goes on by then when the agent of this boot has told what it offers.
// One that goes away meanwhile is asked again at its next heartbeat.
func (f *Flow) refreshed(ctx context.Context, t *task.Task, kind steps.Kind, then func() error) error {
	if t.Node.DriverInternalInfo[kind.Cached] == nil {
		_, err := steps.Fetch(ctx, t, kind, f.views())
		if errors.Is(err, agentclient.ErrUnreachable) {
			f.notAsked(ctx, t, err)
			return nil
		}
		if err != nil {
			return f.stepsFailed(ctx, t, kind, "Failed to refresh the %s steps of node %s: %v", kind.Name, t.Node.UUID, err)
		}
	}
	return then()
}

// repeatStep runs the current step again.
func (f *Flow) repeatStep(ctx context.Context, t *task.Task, kind steps.Kind, current steps.Step) error {
	if err := t.Process(ctx, provision.Resume, ""); err != nil {
		return err
	}
	return f.runAgain(ctx, t, kind, current)
}

// runAgain runs the current step and what comes after it. The node is in the
// working state.
func (f *Flow) runAgain(ctx context.Context, t *task.Task, kind steps.Kind, current steps.Step) error {
	wait, err := f.runStep(ctx, t, kind, current)
	if err != nil {
		return f.stepFailed(ctx, t, kind, current, err)
	}
	if wait != "" {
		return t.Process(ctx, wait, "")
	}
	t.StepEvent(ctx, kind.Name, current.ID(), event.Done)
	if err := f.joinAgent(ctx, t, kind, current); err != nil {
		return f.stepsFailed(ctx, t, kind, "Failed to prepare the %s steps of node %s: %v", kind.Name, t.Node.UUID, err)
	}
	return f.runSteps(ctx, t, kind)
}

// rebootForStep reboots a machine whose step asked for it; the heartbeat of
// the next boot goes on with the next step.
func (f *Flow) rebootForStep(ctx context.Context, t *task.Task, kind steps.Kind) error {
	if err := t.Process(ctx, provision.Resume, ""); err != nil {
		return err
	}
	if err := f.bootAgain(ctx, t, kind, driver.Rebooting); err != nil {
		return f.stepsFailed(ctx, t, kind, "Failed to reboot node %s after a %s step: %v", t.Node.UUID, kind.Name, err)
	}
	return t.Process(ctx, provision.Wait, "")
}

func (f *Flow) stepsDone(ctx context.Context, t *task.Task, kind steps.Kind) error {
	// With the agent goes what would tell that its last step is over.
	info := t.Node.DriverInternalInfo
	delete(info, kind.Running)
	info[kind.Done] = true
	switch kind.Name {
	case steps.Clean.Name:
		return f.cleaned(ctx, t)
	case steps.Service.Name:
		return f.serviced(ctx, t)
	}
	return f.deployed(ctx, t)
}

func (f *Flow) stepsFailed(ctx context.Context, t *task.Task, kind steps.Kind, format string, args ...any) error {
	text := fmt.Sprintf(format, args...)
	switch kind.Name {
	case steps.Clean.Name:
		return f.cleanFailed(ctx, t, text)
	case steps.Service.Name:
		return f.serviceFailed(ctx, t, text)
	}
	return f.deployFailed(ctx, t, text)
}
