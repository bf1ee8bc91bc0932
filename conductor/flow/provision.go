package flow

import (
	"context"
	"errors"
	"fmt"

	"ferric/conductor/provision"
	"ferric/conductor/steps"
	"ferric/conductor/store"
	"ferric/conductor/task"
)

// Provision performs a verb. When it returns nil the node's new state is
// durable and the work has begun. It returns *task.LockedError,
// task.ErrNoFreeWorker, or one of the errors of this package.
func (f *Flow) Provision(ctx context.Context, id int64, req ProvisionRequest) error {
	if err := f.checkLimits(ctx, req.Verb.Event); err != nil {
		return err
	}
	return f.tasks.Do(ctx, id, "provision action "+req.Verb.Target, func(ctx context.Context, t *task.Task) error {
		n, event := t.Node, req.Verb.Event
		if _, err := provision.Next(n.ProvisionState, event); err != nil {
			return invalid("The requested action %q can not be performed on node %q while it is in state %q.", req.Verb.Target, n.UUID, n.ProvisionState)
		}
		switch event {
		case provision.Manage:
			if n.ProvisionState != provision.Enroll {
				return t.Process(ctx, event, "")
			}
			return t.Start(ctx, event, "", "verification", f.verify)
		case provision.Provide:
			return f.provide(ctx, t)
		case provision.Clean:
			return f.clean(ctx, t, req)
		case provision.Deploy, provision.Rebuild:
			return f.deploy(ctx, t, req)
		case provision.Delete:
			return f.delete(ctx, t)
		case provision.Abort:
			return f.abort(ctx, t)
		case provision.Unhold:
			return t.Process(ctx, event, "")
		}
		return invalid("Node %s cannot %s: its %s interface does not support it.", n.UUID, req.Verb.Target, interfaceOf[event])
	})
}

// interfaceOf names the interface whose ability a verb is, for the refusal of
// verbs that no enabled interface supports.
var interfaceOf = map[provision.Event]string{
	provision.Inspect: "inspect", provision.Adopt: "deploy", provision.RescueIt: "rescue",
	provision.Unrescue: "rescue", provision.Service: "deploy",
}

// checkLimits refuses what would exceed the concurrent deployments or
// cleanings of the whole database.
func (f *Flow) checkLimits(ctx context.Context, event provision.Event) error {
	var states []provision.State
	var limit int
	switch event {
	case provision.Deploy, provision.Rebuild:
		states, limit = []provision.State{provision.Deploying, provision.WaitCallback}, f.cfg.MaxConcurrentDeploy
	case provision.Clean, provision.Delete:
		states, limit = []provision.State{provision.Deleting, provision.Cleaning, provision.CleanWait}, f.cfg.MaxConcurrentClean
	default:
		return nil
	}
	count, err := f.store.CountNodes(ctx, states...)
	if err != nil {
		return err
	}
	if count >= limit {
		return fmt.Errorf("%w: %d nodes are in %v already", ErrTooMany, count, states)
	}
	return nil
}

func (f *Flow) provide(ctx context.Context, t *task.Task) error {
	if t.Node.Retired {
		return invalid("Node %s is retired and cannot be provided.", t.Node.UUID)
	}
	if t.Node.Maintenance && !f.cfg.AllowProvisioningMaintenance {
		return inMaintenance(t.Node, "provide")
	}
	return t.Start(ctx, provision.Provide, "", "automated cleaning", f.startCleaning)
}

func (f *Flow) clean(ctx context.Context, t *task.Task, req ProvisionRequest) error {
	if t.Node.Maintenance {
		return inMaintenance(t.Node, "clean")
	}
	ifs, err := f.drivers.Interfaces(t.Node)
	if err != nil {
		return err
	}
	if err := ifs.Power.Validate(ctx, t.Node); err != nil {
		return invalid("Failed to validate power info for node %s. Error: %v", t.Node.UUID, err)
	}
	if err := t.Node.DriverInternalInfo.Encode("user_clean_steps", requested(req.CleanSteps)); err != nil {
		return err
	}
	return t.Start(ctx, provision.Clean, provision.Manageable, "manual cleaning", f.startCleaning)
}

func (f *Flow) deploy(ctx context.Context, t *task.Task, req ProvisionRequest) error {
	n := t.Node
	if n.Maintenance {
		return inMaintenance(n, req.Verb.Target)
	}
	if req.Verb.Event == provision.Rebuild && n.Protected {
		return fmt.Errorf("%w: node %s cannot be rebuilt", ErrProtected, n.UUID)
	}
	ifs, err := f.drivers.Interfaces(n)
	if err != nil {
		return err
	}
	if err := errors.Join(ifs.Power.Validate(ctx, n), ifs.Deploy.Validate(ctx, n)); err != nil {
		return invalid("Failed to validate deploy or power info for node %s. Error: %v", n.UUID, err)
	}
	if err := steps.Check(coreSteps(ifs), requested(req.DeploySteps), ifs.Deploy.UsesAgent()); err != nil {
		return invalid("Failed to validate the deploy steps of node %s. Error: %v", n.UUID, err)
	}
	if req.ConfigDrive != nil {
		n.InstanceInfo["configdrive"] = req.ConfigDrive
	}
	if err := n.DriverInternalInfo.Encode("user_deploy_steps", requested(req.DeploySteps)); err != nil {
		return err
	}
	return t.Start(ctx, req.Verb.Event, "", "deployment", f.startDeploy)
}

func (f *Flow) delete(ctx context.Context, t *task.Task) error {
	n := t.Node
	if n.Protected {
		return fmt.Errorf("%w: node %s cannot be deleted", ErrProtected, n.UUID)
	}
	ifs, err := f.drivers.Interfaces(n)
	if err != nil {
		return err
	}
	if err := ifs.Power.Validate(ctx, n); err != nil {
		return fmt.Errorf("failed to validate power info of node %s: %w", n.UUID, err)
	}
	return t.Start(ctx, provision.Delete, "", "tear down", f.tearDown)
}

// requested turns a user's steps into what the package steps works with. A
// step without a priority of its own runs.
func requested(list []Step) []steps.Requested {
	asked := []steps.Requested{}
	for _, s := range list {
		r := steps.Requested{Interface: s.Interface, Step: s.Step, Args: s.Args}
		if s.Priority != nil {
			r.Priority = *s.Priority
		}
		asked = append(asked, r)
	}
	return asked
}

func inMaintenance(n *store.Node, verb string) error {
	return fmt.Errorf("%w: the %s operation can't be performed on node %s because it's in maintenance mode", ErrInMaintenance, verb, n.UUID)
}

// verify reads the power state with the node's credentials. The node is
// verifying.
func (f *Flow) verify(ctx context.Context, t *task.Task) error {
	n := t.Node
	ifs, err := f.drivers.Interfaces(n)
	if err == nil {
		err = ifs.Power.Validate(ctx, n)
	}
	var state string
	if err == nil {
		state, err = ifs.Power.PowerState(ctx, n)
	}
	if err != nil {
		return f.fail(ctx, t, "Failed to get power state for node %s. Error: %v", n.UUID, err)
	}
	n.PowerState = &state
	t.Event(ctx, "provision", "verified, %s", state)
	return t.Process(ctx, provision.Done, "")
}

// fail records why and moves the node to the failed state of where it stands.
// A node that works on nothing only gets the reason.
func (f *Flow) fail(ctx context.Context, t *task.Task, format string, args ...any) error {
	text := fmt.Sprintf(format, args...)
	switch t.Node.ProvisionState {
	case provision.Cleaning, provision.CleanWait:
		return f.cleanFailed(ctx, t, text)
	case provision.Deploying, provision.WaitCallback:
		return f.deployFailed(ctx, t, text)
	}
	t.SetError("%s", text)
	if t.Node.ProvisionState.Is(provision.Transient, provision.Waiting) {
		return t.Process(ctx, provision.Fail, "")
	}
	return t.Save(ctx)
}
