package flow

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"ferric/conductor/driver"
	"ferric/conductor/provision"
	"ferric/conductor/steps"
	"ferric/conductor/store"
	"ferric/conductor/task"
)

// Provision performs a verb. When it returns nil the node's new state is
// durable and the work has begun. It returns *task.LockedError,
// task.ErrNoFreeWorker, or one of the errors of this package.
func (f *Flow) Provision(ctx context.Context, id int64, req ProvisionRequest) error {
	leave, err := f.admit(ctx, id, req.Verb.Event)
	if err != nil {
		return err
	}
	defer leave()
	return f.tasks.Do(ctx, id, "provision action "+req.Verb.Target, func(ctx context.Context, t *task.Task) error {
		n, event := t.Node, req.Verb.Event
		if _, err := provision.Next(n.ProvisionState, event); err != nil {
			return invalid("The requested action %q can not be performed on node %q while it is in state %q.", req.Verb.Target, n.UUID, n.ProvisionState)
		}
		t.Note("verb", store.Object{"verb": req.Verb.Target}, "%s, in state %s", req.Verb.Target, n.ProvisionState)
		forgetRestarts(n)
		switch event {
		case provision.Manage:
			if n.ProvisionState != provision.Enroll {
				return t.Process(ctx, event, "")
			}
			return t.Start(ctx, event, "", "verification", f.verify)
		case provision.Provide:
			return f.provide(ctx, t)
		case provision.Inspect:
			return f.inspect(ctx, t)
		case provision.Clean:
			return f.clean(ctx, t, req)
		case provision.Adopt:
			return t.Start(ctx, event, "", "adoption", f.adopt)
		case provision.Deploy, provision.Rebuild:
			return f.deploy(ctx, t, req)
		case provision.Delete:
			return f.delete(ctx, t)
		case provision.RescueIt:
			return f.rescue(ctx, t, req)
		case provision.Unrescue:
			return f.unrescue(ctx, t)
		case provision.Service:
			return f.service(ctx, t, req)
		case provision.Abort:
			return f.abort(ctx, t)
		case provision.Unhold:
			return f.unhold(ctx, t)
		}
		return invalid("The requested action %q could not be understood.", req.Verb.Target)
	})
}

// validate asks interfaces of the node whether they have what an operation
// needs. What they say against it is a fault of the request.
func (f *Flow) validate(ctx context.Context, n *store.Node, operation string, interfaces ...string) error {
	ifs, err := f.drivers.Interfaces(n)
	if err != nil {
		return err
	}
	for _, name := range interfaces {
		var v driver.Validator
		switch name {
		case "power":
			v = ifs.Power
		case "network":
			if v = ifs.Network; ifs.Network == nil { // noop
				continue
			}
		case "inspect":
			if v = ifs.Inspect; ifs.Inspect == nil {
				return fmt.Errorf("%s of node %s is %w", operation, n.UUID, driver.ErrUnsupported)
			}
		}
		if err := v.Validate(ctx, n); errors.Is(err, driver.ErrUnsupported) {
			return err
		} else if err != nil {
			return invalid("Failed to validate %s or %s info for node %s. Error: %v", operation, name, n.UUID, err)
		}
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
	if err := f.validate(ctx, t.Node, "clean", "power", "network"); err != nil {
		return err
	}
	t.Node.DriverInternalInfo[steps.Clean.NoRamdisk] = req.DisableRamdisk
	if err := t.Node.DriverInternalInfo.Encode(steps.Clean.Asked(), requested(req.CleanSteps)); err != nil {
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
	if mode := driver.Capabilities(n.Properties["capabilities"])["boot_mode"]; slices.Contains(f.cfg.DisallowedDeploymentBootModes, mode) {
		return invalid("Node %s has the boot mode %q, which is disallowed by [conductor]disallowed_deployment_boot_modes.", n.UUID, mode)
	}
	if missing := missingTraits(n); len(missing) > 0 {
		return invalid("Failed to validate deploy or power info for node %s. Error: Cannot specify instance traits that are not also set on the node: %s.", n.UUID, strings.Join(missing, ", "))
	}
	ifs, err := f.drivers.Interfaces(n)
	if err != nil {
		return err
	}
	if err := errors.Join(ifs.Power.Validate(ctx, n), ifs.Deploy.Validate(ctx, n)); err != nil {
		return invalid("Failed to validate deploy or power info for node %s. Error: %v", n.UUID, err)
	}
	asked, err := f.deploySteps(ctx, n, req.DeploySteps)
	if err != nil {
		return err
	}
	if err := steps.Check(listed(ifs, steps.Deploy), asked, ifs.Deploy.UsesAgent()); err != nil {
		return invalid("Failed to validate the deploy steps of node %s. Error: %v", n.UUID, err)
	}
	if req.ConfigDrive != nil {
		n.InstanceInfo["configdrive"] = req.ConfigDrive
	}
	if err := n.DriverInternalInfo.Encode(steps.Deploy.Asked(), asked); err != nil {
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
	if err := ifs.Power.Validate(ctx, n); err != nil { // which the API answers with 500 (REST contract, section 1.2)
		return &textError{text: fmt.Sprintf("Failed to delete instance: Failed to validate power info. Error: %v", err)}
	}
	if slices.Contains(rescueStates, n.ProvisionState) {
		n.DriverInternalInfo[keyRescueLeft] = true
	}
	return t.Start(ctx, provision.Delete, "", "tear down", f.tearDown)
}

// missingTraits are those of the instance that the node does not have.
func missingTraits(n *store.Node) []string {
	var missing []string
	list, _ := n.InstanceInfo["traits"].([]any)
	for _, item := range list {
		if trait := fmt.Sprint(item); !slices.Contains(n.Traits, trait) {
			missing = append(missing, trait)
		}
	}
	return missing
}

func inMaintenance(n *store.Node, verb string) error {
	return fmt.Errorf("%w: the %s operation can't be performed on node %s because it's in maintenance mode", ErrInMaintenance, verb, n.UUID)
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
	case provision.Inspecting, provision.InspectWait:
		return f.inspectionFailed(ctx, t, text)
	case provision.Rescuing, provision.RescueWait:
		return f.rescueFailed(ctx, t, text)
	case provision.Servicing, provision.ServiceWait:
		return f.serviceFailed(ctx, t, text)
	case provision.Adopting: // what the machine is doing is not known
		t.Node.PowerState = nil
	}
	t.SetError("%s", text)
	if t.Node.ProvisionState.Is(provision.Transient, provision.Waiting) {
		return t.Process(ctx, provision.Fail, "")
	}
	return t.Save(ctx)
}
