package flow

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"ferric/conductor/driver"
	"ferric/conductor/provision"
	"ferric/conductor/steps"
	"ferric/conductor/store"
	"ferric/conductor/task"
)

// startDeploy prepares the node and runs the first steps. The node is
// deploying.
func (f *Flow) startDeploy(ctx context.Context, t *task.Task) error {
	n := t.Node
	ifs, err := f.drivers.Interfaces(n)
	if err == nil {
		err = f.renderConfigDrive(t)
	}
	if err == nil {
		err = ifs.Deploy.Prepare(ctx, t)
	}
	if err != nil {
		return f.deployFailed(ctx, t, fmt.Sprintf("Failed to prepare node %s to deploy: %v", n.UUID, err))
	}
	list := listed(ifs, steps.Deploy)
	if !ifs.Deploy.UsesAgent() { // which would be asked for the rest of the steps
		n.DriverInternalInfo[steps.Deploy.NoRamdisk] = true
		asked, err := f.wantedDeploySteps(ctx, n)
		if err == nil {
			list, err = steps.Merge(list, nil, asked)
		}
		if err != nil {
			return f.deployFailed(ctx, t, fmt.Sprintf("Failed to prepare the deploy steps of node %s: %v", n.UUID, err))
		}
	}
	if err := setSteps(n, steps.Deploy, list, -1); err != nil {
		return err
	}
	return f.runSteps(ctx, t, steps.Deploy)
}

// wantedDeploySteps are the steps that are laid over those of a deployment, the
// later before the earlier.
func (f *Flow) wantedDeploySteps(_ context.Context, n *store.Node) ([]steps.Requested, error) {
	return askedSteps(n, steps.Deploy)
}

// loadDeploySteps merges the agent's steps, once the agent is there, with the
// rest of the conductor's own and with those that the user asked for.
func (f *Flow) loadDeploySteps(ctx context.Context, t *task.Task) error {
	n := t.Node
	ifs, err := f.drivers.Interfaces(n)
	if err != nil {
		return err
	}
	offered, err := steps.Fetch(ctx, t, steps.Deploy, f.views())
	if err != nil {
		return err
	}
	asked, err := f.wantedDeploySteps(ctx, n)
	if err != nil {
		return err
	}
	merged, err := steps.Merge(listed(ifs, steps.Deploy), offered, asked)
	if err != nil {
		return f.namePlugins(ctx, n, err)
	}
	// The first step, deploy.deploy, booted the agent: all others follow it.
	i := slices.IndexFunc(merged, func(s steps.Step) bool { return s.ID() == "deploy.deploy" })
	if i < 0 {
		return errors.New("no step deploy.deploy")
	}
	list := append([]steps.Step{merged[i]}, slices.Delete(slices.Clone(merged), i, i+1)...)
	if err := setSteps(n, steps.Deploy, list, 0); err != nil {
		return err
	}
	n.DriverInternalInfo[keyStepsValidated] = true
	return t.Save(ctx)
}

// deployed ends a deployment: the machine runs the instance.
func (f *Flow) deployed(ctx context.Context, t *task.Task) error {
	n := t.Node
	wipeSteps(n, steps.Deploy)
	driver.WipeAgent(n)
	t.Event(ctx, "provision", "deployed")
	return t.Process(ctx, provision.Done, "")
}

// deployFailed ends a deployment with a reason.
func (f *Flow) deployFailed(ctx context.Context, t *task.Task, text string) error {
	return f.endDeployment(ctx, t, text, provision.Fail)
}

// endDeployment leaves a deployment by event, with a reason. The machine is
// switched off before the state says that nothing is going on any more, so that
// a crash in between does not leave an agent writing. What was prepared is
// cleaned up; instance_info stays, so that the deployment can be repeated.
func (f *Flow) endDeployment(ctx context.Context, t *task.Task, text string, event provision.Event) error {
	t.SetError("%s", text)
	return f.leaveDeployment(ctx, t, event)
}

// leaveDeployment is endDeployment whose reason is known.
func (f *Flow) leaveDeployment(ctx context.Context, t *task.Task, event provision.Event) error {
	n := t.Node
	if err := ending(ctx, t, event); err != nil {
		return err
	}
	if event == provision.Fail {
		f.collectLogs(ctx, t, "deployment")
	}
	ifs, err := f.drivers.Interfaces(n)
	if err == nil {
		err = ifs.Deploy.CleanUp(ctx, t)
	}
	if err != nil {
		t.SetError("%s Cleaning up failed too: %v", *n.LastError, err)
	}
	if f.cfg.PowerOffAfterDeployFailure && ifs.Power != nil {
		if err := driver.SwitchOff(ctx, t, ifs.Power); err != nil {
			t.SetError("%s Powering off failed too: %v", *n.LastError, err)
		}
	}
	wipeSteps(n, steps.Deploy)
	driver.WipeAgent(n)
	return t.Process(ctx, event, "")
}

// instanceKeys of driver_internal_info go with the instance.
var instanceKeys = []string{"is_whole_disk_image", "deploy_boot_mode", "root_uuid_or_disk_id", "automatic_lessee", keyInterrupted, keyRescueLeft}

// keyRescueLeft in driver_internal_info says of a node that is deleted that the
// ramdisk of a rescue may still be set up for it.
const keyRescueLeft = "delete_from_rescue"

// tearDown removes the instance and cleans the node. The node is deleting.
func (f *Flow) tearDown(ctx context.Context, t *task.Task) error {
	n := t.Node
	ifs, err := f.drivers.Interfaces(n)
	if err == nil && n.DriverInternalInfo.Bool(keyRescueLeft) && ifs.Rescue != nil {
		err = ifs.Rescue.CleanUp(ctx, t)
	}
	if err == nil {
		err = stopConsole(ctx, t, ifs)
	}
	if err == nil {
		err = ifs.Deploy.CleanUp(ctx, t)
	}
	if err == nil {
		err = ifs.Deploy.TearDown(ctx, t)
	}
	if err != nil {
		t.SetError("Failed to tear down node %s: %v", n.UUID, err)
		return t.Process(ctx, provision.Fail, "")
	}
	if n.DriverInternalInfo["automatic_lessee"] != nil {
		n.Lessee = nil
	}
	n.InstanceInfo, n.InstanceUUID, n.InstanceName = store.Object{}, nil, nil
	wipeSteps(n, steps.Deploy)
	wipeSteps(n, steps.Service)
	driver.WipeAgent(n)
	for _, key := range instanceKeys {
		delete(n.DriverInternalInfo, key)
	}
	t.Event(ctx, "provision", "instance torn down")
	if err := t.Process(ctx, provision.Clean, ""); err != nil {
		return err
	}
	return f.startCleaning(ctx, t)
}
