package flow

import (
	"context"
	"errors"
	"slices"
	"time"

	"ferric/api/agentclient"
	"ferric/conductor/driver"
	"ferric/conductor/event"
	"ferric/conductor/provision"
	"ferric/conductor/steps"
	"ferric/conductor/store"
	"ferric/conductor/task"
)

// lostStates are those in which an agent works that may be lost.
var lostStates = []provision.State{provision.CleanWait, provision.WaitCallback, provision.ServiceWait}

// noteLookup remembers that somebody has asked for a node whose agent has its
// token. That may be the agent itself, whose next heartbeat settles it; or its
// machine has booted again, and the agent of that boot cannot join.
func (f *Flow) noteLookup(ctx context.Context, n *store.Node) error {
	if onHeartbeat[n.ProvisionState] == nil || n.DriverInternalInfo[driver.KeyAgentLookup] != nil {
		return nil
	}
	err := f.tasks.TryDo(ctx, n.ID, "lookup", func(ctx context.Context, t *task.Task) error {
		if onHeartbeat[t.Node.ProvisionState] == nil {
			return nil
		}
		t.Node.DriverInternalInfo[driver.KeyAgentLookup] = time.Now().UTC().Format(store.HeartbeatLayout)
		return t.Save(ctx)
	})
	var locked *task.LockedError
	if errors.As(err, &locked) {
		return nil
	}
	return err
}

// CheckAgents finds the nodes whose agents are gone: with their machine, which
// is off or has booted again, so that they will not come back.
func (f *Flow) CheckAgents(ctx context.Context) error {
	nodes, err := f.store.SweptIn(ctx, lostStates...)
	if err != nil {
		return err
	}
	for _, n := range nodes {
		if n.Reservation != nil || !f.silent(n) {
			continue
		}
		err := f.tasks.TryDo(ctx, n.ID, "silent agent", func(ctx context.Context, t *task.Task) error {
			if !f.silent(t.Node) { // a heartbeat came in between
				return nil
			}
			return t.Background("silent agent", f.askForAgent)
		})
		if err != nil {
			f.log.WithField("node", n.UUID).WithError(err).Warn("cannot look for the node's agent, the next check tries again")
		}
	}
	return nil
}

// silent says that an agent that was there has not been heard for so long that
// it is looked for.
func (f *Flow) silent(n *store.Node) bool {
	info := n.DriverInternalInfo
	if n.Maintenance || interrupted(n) || info.String(driver.KeyAgentToken) == "" || onHeartbeat[n.ProvisionState] == nil {
		return false
	}
	return older(info.String(driver.KeyAgentLookup), f.cfg.AgentRejoinTimeout) || info.String(driver.KeyAgentURL) != "" && older(info.String(driver.KeyAgentLastHeartbeat), f.cfg.AgentSilenceTimeout)
}

// older says that a time is known and longer ago than limit; 0 is never.
func older(at string, limit time.Duration) bool {
	then, err := time.Parse(store.HeartbeatLayout, at)
	return err == nil && limit > 0 && time.Since(then) > limit
}

// answerPatience bounds the wait for the answer of an agent that may be gone.
const answerPatience = 15 * time.Second

// askForAgent finds out whether a silent agent is gone for good: it does not
// answer, and its machine has asked for its node once more, or is off. Nothing
// is done as long as that is not certain.
func (f *Flow) askForAgent(ctx context.Context, t *task.Task) error {
	n := t.Node
	// An agent that was given the token and was never heard cannot be asked.
	if agent, err := f.cfg.Agents.Of(n); err == nil {
		asking, cancel := context.WithTimeout(ctx, answerPatience)
		defer cancel()
		if _, err := agent.Commands(asking); err == nil {
			delete(n.DriverInternalInfo, driver.KeyAgentLookup)
			return t.Save(ctx)
		}
	}
	ifs, err := f.drivers.Interfaces(n)
	if err != nil {
		return err
	}
	what := "its machine booted again"
	if n.DriverInternalInfo[driver.KeyAgentLookup] == nil {
		state, err := ifs.Power.PowerState(ctx, n)
		if err != nil || state != driver.PowerOff {
			t.Log.WithError(err).Info("the agent is silent, its machine is not known to be off")
			return nil
		}
		what = "its machine is off"
	}
	kind := kindOf(n.ProvisionState)
	return f.beginAgain(ctx, t, kind, what, func(ctx context.Context, t *task.Task, _ steps.Step) error {
		if err := t.Process(ctx, provision.Resume, ""); err != nil {
			return err
		}
		return f.bootForStep(ctx, t, kind)
	})
}

// bootForStep boots another agent in place of one that is lost. Until the agent
// is waited for, the row tells whoever goes on that the machine is to be booted.
func (f *Flow) bootForStep(ctx context.Context, t *task.Task, kind steps.Kind) error {
	info := t.Node.DriverInternalInfo
	switch {
	case info[kind.List] == nil: // the steps are asked for by the next agent
	case info.Bool(kind.Running) || info.Bool(kind.Busy): // the step is told to it
		toldNext(info, kind)
	default: // the next step is
		info[kind.Reboot] = true
	}
	info[driver.KeyPowerRequest] = driver.Rebooting
	return f.resumeBoot(ctx, t, kind)
}

// stepFailed ends the phase with what went wrong in a step of the conductor, or
// in telling the agent one. If that was the agent's loss, the step begins again.
// One that must not, and that the agent has not heard of, waits for whoever is
// heard next.
func (f *Flow) stepFailed(ctx context.Context, t *task.Task, kind steps.Kind, step steps.Step, err error) error {
	if t.Node.DriverInternalInfo.Bool(kind.Running) && agentclient.NotSent(err) && !step.Restartable && ctx.Err() == nil {
		f.notAsked(ctx, t, err)
		toldNext(t.Node.DriverInternalInfo, kind)
		return t.Process(ctx, provision.Wait, "")
	}
	t.StepEvent(ctx, kind.Name, step.ID(), event.Failed)
	lost := errors.Is(err, agentclient.ErrUnreachable) || errors.Is(err, driver.ErrAgentLost)
	if !lost || !step.Restartable || withoutAgent(t.Node, kind) || ctx.Err() != nil {
		return f.stepsFailed(ctx, t, kind, "Node %s failed %s step %s: %v", t.Node.UUID, kind.Name, step.ID(), err)
	}
	t.Node.DriverInternalInfo[kind.Busy] = true
	return f.beginAgain(ctx, t, kind, err.Error(), func(ctx context.Context, t *task.Task, _ steps.Step) error { return f.bootForStep(ctx, t, kind) })
}

// beginAgain goes on, by how, with the current step, whose agent is lost, if the
// step may be repeated and has not been in this phase. first is the step that is
// begun with: an earlier one, where a step that is to come asks the agent for
// what it knows from there.
func (f *Flow) beginAgain(ctx context.Context, t *task.Task, kind steps.Kind, what string, how func(ctx context.Context, t *task.Task, first steps.Step) error) error {
	n, info := t.Node, t.Node.DriverInternalInfo
	list, index, err := stepList(n, kind)
	if err != nil {
		return f.stepsFailed(ctx, t, kind, "Failed to read the %s steps of node %s: %v", kind.Name, n.UUID, err)
	}
	var current steps.Step
	if index >= 0 && index < len(list) {
		current = list[index]
	}
	if currentStep(n, kind).Bool(keyAbortAfter) {
		return f.aborted(ctx, t, kind, current.Step)
	}
	// Between two steps the next one is to be run, unless an earlier one is.
	told := info.Bool(kind.Running)
	running := told || info.Bool(kind.Busy)
	first, earlier, err := f.firstAgain(n, kind, list, index)
	if err != nil {
		return f.stepsFailed(ctx, t, kind, "Failed to find the %s steps of node %s: %v", kind.Name, n.UUID, err)
	}
	again := true
	if told || earlier { // one that no agent was told yet does no harm
		again = !slices.ContainsFunc(list[max(first, 0):index+1], func(s steps.Step) bool { return !s.Restartable })
	}
	repeated, before := info[kind.Repeated].(float64)
	before = before && repeated == float64(first)
	const lost = "The agent of node %s was lost while %s step %s ran (%s), "
	const between = "The agent of node %s was lost between two %s steps (%s), "
	switch {
	case running && !again:
		return f.stepsFailed(ctx, t, kind, lost+"which must not be repeated: what it did is not known. Check the machine for a crash or power loss.",
			n.UUID, kind.Name, current.ID(), what)
	case !again:
		return f.stepsFailed(ctx, t, kind, between+"after steps which must not be repeated and would have to be. Check the machine for a crash or power loss.",
			n.UUID, kind.Name, what)
	case running && before:
		return f.stepsFailed(ctx, t, kind, lost+"for the second time. Check the machine for a crash or power loss.", n.UUID, kind.Name, current.ID(), what)
	case before:
		return f.stepsFailed(ctx, t, kind, between+"for the second time. Check the machine for a crash or power loss.", n.UUID, kind.Name, what)
	}
	info[kind.Repeated] = float64(first)
	if earlier {
		current = list[first]
		info[kind.Index], info[kind.Busy] = float64(first), true
		steps.ForgetState(info, kind)
	}
	if running || earlier {
		t.Event(ctx, event.Restart, "%s step %s begins again: %s", kind.Name, current.ID(), what)
	}
	t.Log.WithField("step", current.ID()).Warnf("the agent was lost, %s: its step begins again", what)
	return how(ctx, t, current)
}

// firstAgain is the step that is begun with when the agent of the one at index
// was lost: an earlier one, if a step from there on asks the agent for what it
// knows since.
func (f *Flow) firstAgain(n *store.Node, kind steps.Kind, list []steps.Step, index int) (first int, earlier bool, err error) {
	for i := max(index, 0); i < len(list); i++ {
		own, err := f.ownStep(n, kind, list[i].ID())
		if err != nil {
			return 0, false, err
		}
		if own == nil || own.AgentOf == "" {
			continue
		}
		of := slices.IndexFunc(list, func(s steps.Step) bool { return s.ID() == own.AgentOf })
		running := n.DriverInternalInfo.Bool(kind.Running) || n.DriverInternalInfo.Bool(kind.Busy)
		if of >= 0 && (of < index || of == index && !running) {
			return of, true, nil
		}
	}
	return index, false, nil
}
