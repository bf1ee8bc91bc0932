package flow

import (
	"context"
	"errors"
	"fmt"

	"ferric/api/agentclient"
	"ferric/conductor/driver"
	"ferric/conductor/provision"
	"ferric/conductor/steps"
	"ferric/conductor/store"
	"ferric/conductor/task"
)

// keyInterrupted in driver_internal_info says that the instance has been stopped
// for a service and is to be booted again. It outlives a service that fails.
const keyInterrupted = "service_interrupted_instance"

// service changes a machine that runs an instance, by steps that a user asks
// for (deploy flow, section 9).
func (f *Flow) service(ctx context.Context, t *task.Task, req ProvisionRequest) error {
	n := t.Node
	if n.Maintenance {
		return inMaintenance(n, "service")
	}
	if err := f.validate(ctx, t.Node, "service", "power", "network"); err != nil {
		return err
	}
	wipeSteps(n, steps.Service) // of a service that is held or failed
	if n.ProvisionState == provision.Active {
		delete(n.DriverInternalInfo, keyInterrupted)
	}
	n.DriverInternalInfo[steps.Service.NoRamdisk] = req.DisableRamdisk
	if err := n.DriverInternalInfo.Encode(steps.Service.Asked(), requested(req.ServiceSteps)); err != nil {
		return err
	}
	return t.Start(ctx, provision.Service, "", "service", f.startService)
}

// startService boots the agent where a step needs it, or begins at once. The
// node is servicing.
func (f *Flow) startService(ctx context.Context, t *task.Task) error {
	n := t.Node
	info := n.DriverInternalInfo
	ifs, err := f.drivers.Interfaces(n)
	var asked []steps.Requested
	if err == nil {
		asked, err = askedSteps(n, steps.Service)
	}
	agent := err == nil && !info.Bool(steps.Service.NoRamdisk) && ifs.Deploy.UsesAgent() && needsAgent(ifs, steps.Service, asked)
	if agent {
		err = ifs.Boot.Validate(ctx, n)
	}
	if err != nil {
		return f.serviceFailed(ctx, t, fmt.Sprintf("Failed to prepare node %s for service: %v", n.UUID, err))
	}
	if !agent {
		info[steps.Service.NoRamdisk] = true
		return f.loadServiceSteps(ctx, t)
	}
	info[keyInterrupted] = true
	if err := f.bootAgent(ctx, t, ifs, nil); err != nil {
		return f.serviceFailed(ctx, t, fmt.Sprintf("Failed to prepare node %s for service: %v", n.UUID, err))
	}
	return t.Process(ctx, provision.Wait, "")
}

// bootAgent makes the machine boot the agent, with further kernel parameters.
func (f *Flow) bootAgent(ctx context.Context, t *task.Task, ifs driver.Interfaces, params map[string]string) error {
	if err := ifs.Boot.PrepareRamdisk(ctx, t, params); err != nil {
		return err
	}
	return driver.SwitchPower(ctx, t, ifs.Power, driver.Rebooting, 0)
}

// loadServiceSteps compares what was asked for with what is offered and begins.
// The node is servicing.
func (f *Flow) loadServiceSteps(ctx context.Context, t *task.Task) error {
	n := t.Node
	offered, err := f.offeredSteps(ctx, t, steps.Service)
	if errors.Is(err, agentclient.ErrUnreachable) {
		f.notAsked(ctx, t, err)
		return t.Process(ctx, provision.Wait, "")
	}
	var list []steps.Step
	if err == nil {
		list, err = manualSteps(n, steps.Service, offered)
		err = f.namePlugins(ctx, n, err)
	}
	if err != nil {
		return f.serviceFailed(ctx, t, fmt.Sprintf("Cannot service node %s: %v", n.UUID, err))
	}
	if err := setSteps(n, steps.Service, list, -1); err != nil {
		return err
	}
	return f.runSteps(ctx, t, steps.Service)
}

func (f *Flow) heartbeatServicing(ctx context.Context, t *task.Task) error {
	if t.Node.DriverInternalInfo[steps.Service.List] != nil {
		return f.continueSteps(ctx, t, steps.Service)
	}
	if err := t.Process(ctx, provision.Resume, ""); err != nil {
		return err
	}
	return f.loadServiceSteps(ctx, t)
}

// serviced ends a service: the machine runs its instance again.
func (f *Flow) serviced(ctx context.Context, t *task.Task) error {
	n := t.Node
	f.collectLogsOfSuccess(ctx, t, "service")
	if err := f.bootInstanceAgain(ctx, t); err != nil {
		return f.serviceFailed(ctx, t, fmt.Sprintf("Failed to tear down node %s after service: %v", n.UUID, err))
	}
	forgetService(n)
	t.Event(ctx, "provision", "serviced")
	return t.Process(ctx, provision.Done, "")
}

// bootInstanceAgain takes the agent of a service away and boots the instance.
func (f *Flow) bootInstanceAgain(ctx context.Context, t *task.Task) error {
	if !t.Node.DriverInternalInfo.Bool(keyInterrupted) {
		return nil
	}
	ifs, err := f.drivers.Interfaces(t.Node)
	if err != nil {
		return err
	}
	err = driver.Restart(ctx, t, ifs.Power, func() error {
		return errors.Join(ifs.Boot.CleanUpRamdisk(ctx, t), ifs.Boot.PrepareInstance(ctx, t))
	})
	if err == nil {
		delete(t.Node.DriverInternalInfo, keyInterrupted)
	}
	return err
}

func forgetService(n *store.Node) {
	wipeSteps(n, steps.Service)
	driver.WipeAgent(n)
}

// serviceFailed ends a service with a reason. Whether the instance can be
// booted is not known then, so that it is not; if a step was running, the node
// goes into maintenance until an operator has looked.
func (f *Flow) serviceFailed(ctx context.Context, t *task.Task, text string) error {
	n := t.Node
	t.SetError("%s", text)
	if len(n.ServiceStep) > 0 {
		fault := "service failure"
		n.Maintenance, n.Fault, n.MaintenanceReason = true, &fault, n.LastError
	}
	return f.leaveService(ctx, t, provision.Fail)
}

// leaveService is serviceFailed whose reason is known.
func (f *Flow) leaveService(ctx context.Context, t *task.Task, event provision.Event) error {
	n := t.Node
	if err := ending(ctx, t, event); err != nil {
		return err
	}
	f.collectLogs(ctx, t, "service")
	if n.DriverInternalInfo.Bool(keyInterrupted) {
		ifs, err := f.drivers.Interfaces(n)
		if err == nil {
			err = errors.Join(ifs.Boot.CleanUpRamdisk(ctx, t), driver.SwitchOff(ctx, t, ifs.Power))
		}
		if err != nil {
			t.SetError("%s Tearing down the service failed too: %v", *n.LastError, err)
		}
	}
	forgetService(n)
	return t.Process(ctx, event, "")
}

// abortService leaves a service that waits, is held or has failed for the
// instance, which is booted again (state-machine contract, section 6).
func (f *Flow) abortService(ctx context.Context, t *task.Task, text string) error {
	n := t.Node
	if text != "" {
		t.SetError("%s", text)
	}
	if n.ProvisionState != provision.ServiceFailed {
		if err := t.Process(ctx, provision.Abort, ""); err != nil {
			return err
		}
	}
	if err := f.bootInstanceAgain(ctx, t); err != nil {
		t.SetError("Failed to boot the instance of node %s after the service was aborted: %v", n.UUID, err)
		delete(n.DriverInternalInfo, keyAborting) // until it is asked for again
		return t.Save(ctx)
	}
	forgetService(n)
	t.Event(ctx, "provision", "service aborted")
	return t.Process(ctx, provision.Abort, "")
}
