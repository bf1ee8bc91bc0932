package flow

import (
	"context"
	"errors"
	"slices"
	"time"

	"ferric/api/ipa"
	"ferric/conductor/driver"
	"ferric/conductor/provision"
	"ferric/conductor/store"
	"ferric/conductor/task"
)

// SetPower switches a node on request. When it returns nil the request is
// durable (target_power_state) and a worker carries it out.
func (f *Flow) SetPower(ctx context.Context, id int64, target string, timeout time.Duration) error {
	return f.tasks.Do(ctx, id, "power "+target, func(ctx context.Context, t *task.Task) error {
		n := t.Node
		if n.ProvisionState == provision.Cleaning || n.ProvisionState == provision.CleanWait {
			return invalid("The requested action %q can not be performed on node %q while it is in state %q.", target, n.UUID, n.ProvisionState)
		}
		if n.DisablePowerOff && (target == driver.PowerOff || target == driver.SoftPowerOff) {
			return conflict("Failed to set node power state to %s: node %s must not be powered off.", target, n.UUID)
		}
		ifs, err := f.drivers.Interfaces(n)
		if err != nil {
			return err
		}
		if err := ifs.Power.Validate(ctx, n); err != nil {
			return err
		}
		if !slices.Contains(ifs.Power.SupportedPowerStates(), target) {
			return invalid("Power interface of node %s does not support %q.", n.UUID, target)
		}
		err = t.Background("power "+target, func(ctx context.Context, t *task.Task) error {
			if err := driver.SwitchPower(ctx, t, ifs.Power, target, timeout); err != nil {
				t.SetError("Failed to change power state to %q: %v", target, err)
				return t.Save(ctx)
			}
			return nil
		})
		if err != nil {
			return err
		}
		reached := driver.PowerOn
		if target == driver.PowerOff || target == driver.SoftPowerOff {
			reached = driver.PowerOff
		}
		n.TargetPowerState, n.LastError = &reached, nil
		n.DriverInternalInfo[driver.KeyPowerRequest] = target
		return t.Save(ctx)
	})
}

// BootDevice asks the node's BMC what it boots from.
func (f *Flow) BootDevice(ctx context.Context, id int64) (device string, persistent *bool, err error) {
	n, ifs, err := f.node(ctx, id)
	if err != nil {
		return "", nil, err
	}
	return ifs.Management.BootDevice(ctx, n)
}

// SetBootDevice sets what the node boots from.
func (f *Flow) SetBootDevice(ctx context.Context, id int64, device string, persistent bool) error {
	return f.tasks.Do(ctx, id, "set boot device", func(ctx context.Context, t *task.Task) error {
		ifs, err := f.drivers.Interfaces(t.Node)
		if err != nil {
			return err
		}
		if !slices.Contains(ifs.Management.SupportedBootDevices(), device) {
			return invalid("Invalid boot device %q; node %s supports %v.", device, t.Node.UUID, ifs.Management.SupportedBootDevices())
		}
		return ifs.Management.SetBootDevice(ctx, t, device, persistent)
	})
}

// SupportedBootDevices lists what the node can boot from.
func (f *Flow) SupportedBootDevices(ctx context.Context, id int64) ([]string, error) {
	_, ifs, err := f.node(ctx, id)
	if err != nil {
		return nil, err
	}
	return ifs.Management.SupportedBootDevices(), nil
}

// Progress asks the node's agent how far its transfer is.
func (f *Flow) Progress(ctx context.Context, id int64) (*ipa.Progress, error) {
	n, err := f.store.NodeByID(ctx, id)
	if err != nil {
		return nil, err
	}
	agent, err := f.cfg.Agents.Of(n)
	if err != nil {
		return nil, errors.Join(err, store.ErrNotFound)
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	p, err := agent.Progress(ctx)
	if err != nil { // also an agent of another make, or one that is gone
		return nil, errors.Join(err, store.ErrNotFound)
	}
	return p, nil
}

func (f *Flow) node(ctx context.Context, id int64) (*store.Node, driver.Interfaces, error) {
	n, err := f.store.NodeByID(ctx, id)
	if err != nil {
		return nil, driver.Interfaces{}, err
	}
	ifs, err := f.drivers.Interfaces(n)
	return n, ifs, err
}
