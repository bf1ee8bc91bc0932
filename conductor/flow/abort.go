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

// abort ends what a waiting or held node is in the middle of (state-machine
// contract, section 6).
func (f *Flow) abort(ctx context.Context, t *task.Task) error {
	n := t.Node
	switch n.ProvisionState {
	case provision.CleanWait, provision.CleanHold:
		name, _ := n.CleanStep["step"].(string)
		if name != "" && !n.CleanStep.Bool("abortable") {
			n.CleanStep[keyAbortAfter] = true
			t.Log.WithField("step", name).Info("cleaning is to stop after the step that runs")
			return t.Save(ctx)
		}
		return t.Background("abort of cleaning", func(ctx context.Context, t *task.Task) error {
			cancelStep(ctx, t)
			return f.aborted(ctx, t, steps.Clean, name)
		})
	case provision.WaitCallback, provision.DeployHold:
		name, _ := n.DeployStep["step"].(string)
		return t.Background("abort of deployment", func(ctx context.Context, t *task.Task) error {
			return f.aborted(ctx, t, steps.Deploy, name)
		})
	}
	return t.Process(ctx, provision.Abort, "")
}

// cancelPatience bounds the wait for a step to end before the machine is
// switched off anyway.
const cancelPatience = 15 * time.Second

// ownAgent is in the version of ferric's own agents.
const ownAgent = "+ferric."

// cancelStep tells an agent of ours to end the step that runs, so that a disk
// is not cut off in the middle of a write. Other agents do not know how to.
func cancelStep(ctx context.Context, t *task.Task) {
	if !strings.Contains(t.Node.DriverInternalInfo.String(driver.KeyAgentVersion), ownAgent) {
		return
	}
	agent, err := driver.Agent(t.Node)
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
	operation := map[string]string{steps.Clean.Name: "clean", steps.Deploy.Name: "deploy"}[kind.Name]
	text := fmt.Sprintf("By request, the %s operation was aborted", operation)
	if step != "" {
		text += fmt.Sprintf(" during or after the completion of step %q", step)
	}
	if kind.Name == steps.Deploy.Name {
		return f.endDeployment(ctx, t, text+".", provision.Abort)
	}
	t.SetError("%s.", text)
	return f.endCleaning(ctx, t, provision.Abort)
}
