package flow

import (
	"context"
	"slices"

	"ferric/conductor/driver"
	"ferric/conductor/provision"
	"ferric/conductor/steps"
	"ferric/conductor/store"
	"ferric/conductor/task"
)

// fastTrackStates are those besides lookupStates in which an agent may find a
// node that it is to be gone on with (REST contract, section 8.1).
var fastTrackStates = []provision.State{
	provision.Enroll, provision.Manageable, provision.Available, provision.Servicing, provision.ServiceHold,
}

// expectsAgent says whether an agent may find the node in the state it is in.
func (f *Flow) expectsAgent(n *store.Node) bool {
	return slices.Contains(lookupStates, n.ProvisionState) || f.cfg.Agents.WantsFastTrack(n) && slices.Contains(fastTrackStates, n.ProvisionState)
}

// leaveAgent forgets the agent at the end of an operation, unless the next one
// is to go on with it (deploy flow, section 3.1).
func (f *Flow) leaveAgent(n *store.Node) {
	if !f.cfg.Agents.Keeps(n) {
		driver.WipeAgent(n)
	}
}

// joinAgent follows a step that has ended: where it was the boot of the agent
// for a deployment, which had one at hand, the agent's steps are taken up now
// rather than with its first heartbeat.
func (f *Flow) joinAgent(ctx context.Context, t *task.Task, kind steps.Kind, step steps.Step) error {
	info := t.Node.DriverInternalInfo
	if kind.Name != steps.Deploy.Name || step.ID() != "deploy.deploy" || withoutAgent(t.Node, kind) || info.Bool(keyStepsValidated) {
		return nil
	}
	return f.loadDeploySteps(ctx, t)
}
