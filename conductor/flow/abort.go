package flow

import (
	"context"
	"fmt"
	"strings"
	"time"

	"ferric/conductor/driver"
	"ferric/conductor/provision"
	"ferric/conductor/steps"
	"ferric/conductor/task"
)

// keyAborting in driver_internal_info says that an abort was acknowledged that
// has not come to its end: it is gone on with after a restart.
const keyAborting = "abort_requested"

// abort ends what a waiting or held node is in the middle of (state-machine
// contract, section 6). The node keeps its state until its machine has been
// stopped, so that nothing says before that nothing is going on any more.
func (f *Flow) abort(ctx context.Context, t *task.Task) error {
	n := t.Node
	switch n.ProvisionState {
	case provision.CleanWait, provision.CleanHold, provision.ServiceWait, provision.ServiceHold:
		kind := kindOf(n.ProvisionState)
		step := *currentStep(n, kind)
		if name := step.String("step"); name != "" && !step.Bool("abortable") {
			step[keyAbortAfter] = true
			t.Log.WithField("step", name).Infof("%s is to stop after the step that runs", kind.Name)
			return t.Save(ctx)
		}
	case provision.ServiceFailed:
		if n.Maintenance {
			return conflict("Node %s is in maintenance: the failed service cannot be aborted before an operator has ended it.", n.UUID)
		}
	}
	if err := t.Background("abort", f.endByRequest); err != nil {
		return err
	}
	n.DriverInternalInfo[keyAborting] = true
	return t.Save(ctx)
}

// endByRequest carries an abort out.
func (f *Flow) endByRequest(ctx context.Context, t *task.Task) error {
	n := t.Node
	if isEnding(n) {
		return f.goOnEnding(ctx, t)
	}
	switch n.ProvisionState {
	case provision.CleanWait, provision.CleanHold, provision.ServiceWait, provision.ServiceHold:
		f.cancelStep(ctx, t)
		fallthrough
	case provision.WaitCallback, provision.DeployHold:
		kind := kindOf(n.ProvisionState)
		return f.aborted(ctx, t, kind, currentStep(n, kind).String("step"))
	case provision.InspectWait:
		return f.endInspection(ctx, t, "Inspection was aborted by request.", provision.Abort)
	case provision.RescueWait:
		return f.endRescue(ctx, t, "By request, the rescue operation was aborted.", provision.Abort)
	}
	return f.abortService(ctx, t, "")
}

// cancelPatience bounds the wait for a step to end before the machine is
// switched off anyway.
const cancelPatience = 15 * time.Second

// ownAgent is in the version of ferric's own agents.
const ownAgent = "+ferric."

// cancelStep tells an agent of ours to end the step that runs, so that a disk
// is not cut off in the middle of a write. Other agents do not know how to.
func (f *Flow) cancelStep(ctx context.Context, t *task.Task) {
	if !strings.Contains(t.Node.DriverInternalInfo.String(driver.KeyAgentVersion), ownAgent) {
		return
	}
	agent, err := f.cfg.Agents.Of(t.Node)
	if err == nil {
		ctx, cancel := context.WithTimeout(ctx, cancelPatience)
		defer cancel()
		err = agent.Cancel(ctx)
	}
	if err != nil {
		t.Log.WithError(err).Info("the agent did not end its step before the machine is switched off")
	}
}

// aborted ends a phase by request, during the step of the given name or after
// it. The node is left in the phase's failed state.
func (f *Flow) aborted(ctx context.Context, t *task.Task, kind steps.Kind, step string) error {
	text := fmt.Sprintf("By request, the %s operation was aborted", kind.Name)
	if step != "" {
		text += fmt.Sprintf(" during or after the completion of step %q", step)
	}
	text += "."
	t.Node.DriverInternalInfo[keyAborting] = true // also of what was to end after its step
	switch kind.Name {
	case steps.Deploy.Name:
		return f.endDeployment(ctx, t, text, provision.Abort)
	case steps.Service.Name:
		return f.abortService(ctx, t, text)
	}
	t.SetError("%s", text)
	return f.endCleaning(ctx, t, provision.Abort)
}
