package flow

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"ferric/conductor/driver"
	"ferric/conductor/event"
	"ferric/conductor/provision"
	"ferric/conductor/store"
	"ferric/conductor/task"
)

// CreateNode checks the driver, fills in the interfaces and inserts the node.
func (f *Flow) CreateNode(ctx context.Context, n *store.Node) error {
	if err := f.drivers.SetDefaults(n); err != nil {
		return err
	}
	return f.store.CreateNode(ctx, n, task.MakeEvent(task.ActorOf(ctx), event.Created, store.Object{"driver": n.Driver}, "driver %s", n.Driver))
}

// UpdateNode applies change to the node under its lock and saves it. An error
// of change passes through.
func (f *Flow) UpdateNode(ctx context.Context, id int64, change func(n *store.Node) error) (*store.Node, error) {
	var updated *store.Node
	err := f.tasks.Update(ctx, id, "update", func(ctx context.Context, t *task.Task) error {
		if err := change(t.Node); err != nil {
			return err
		}
		if err := f.drivers.SetDefaults(t.Node); err != nil {
			return err
		}
		updated = t.Node
		return t.Save(ctx)
	})
	return updated, err
}

// deletable are the states in which a node may be deleted outside maintenance.
var deletable = []provision.State{provision.Enroll, provision.Manageable, provision.AdoptFailed, provision.Available}

// DeleteNode removes the node and all that hangs on it.
func (f *Flow) DeleteNode(ctx context.Context, id int64) error {
	return f.tasks.Do(ctx, id, "delete", func(ctx context.Context, t *task.Task) error {
		n := t.Node
		if n.Protected {
			return fmt.Errorf("%w: node %s cannot be deleted", ErrProtected, n.UUID)
		}
		if !n.Maintenance {
			if n.InstanceUUID != nil {
				return conflict("Node %s is associated with instance %s.", n.UUID, *n.InstanceUUID)
			}
			if !slices.Contains(deletable, n.ProvisionState) || n.ProvisionState == provision.Available && !f.cfg.AllowDeletingAvailableNodes {
				return conflict("Can not delete node %q while it is in provision state %q. Valid provision states to perform deletion are: %v", n.UUID, n.ProvisionState, deletable)
			}
		}
		if ifs, err := f.drivers.Interfaces(n); err == nil {
			if err := stopConsole(ctx, t, ifs); err != nil {
				return err
			}
		}
		return f.store.DeleteNode(ctx, n.ID)
	})
}

// SetMaintenance sets or ends maintenance by request.
func (f *Flow) SetMaintenance(ctx context.Context, id int64, on bool, reason *string) error {
	return f.tasks.Update(ctx, id, "maintenance", func(ctx context.Context, t *task.Task) error {
		n := t.Node
		// A fault is the conductor's; maintenance that a user has set only
		// a user ends.
		n.Maintenance, n.MaintenanceReason, n.Fault = on, reason, nil
		if !on {
			n.MaintenanceReason = nil
			if n.ProvisionState.Is(provision.Waiting) { // the wait goes on from here
				now := time.Now().UTC().Truncate(time.Microsecond)
				n.ProvisionUpdatedAt = &now
			}
		}
		return t.Save(ctx)
	})
}

// CreatePort inserts a port of a node.
func (f *Flow) CreatePort(ctx context.Context, p *store.Port) error {
	return f.store.CreatePort(ctx, p)
}

// WithNode calls fn with the fresh node while nobody else changes it or what
// belongs to it. fn is quick and only changes rows.
func (f *Flow) WithNode(ctx context.Context, id int64, purpose string, fn func(ctx context.Context, n *store.Node) error) error {
	return f.tasks.Update(ctx, id, purpose, func(ctx context.Context, t *task.Task) error { return fn(ctx, t.Node) })
}

// ValidateResult is what validation says of one interface: nil Result means
// that the driver does not support it.
type ValidateResult struct {
	Result *bool
	Reason string
}

// Validate asks every interface whether the node has what it needs.
func (f *Flow) Validate(ctx context.Context, id int64) (map[string]ValidateResult, error) {
	n, ifs, err := f.node(ctx, id)
	if err != nil {
		return nil, err
	}
	results := map[string]ValidateResult{}
	yes, no := true, false
	for name, v := range map[string]driver.Validator{
		"bios": ifs.BIOS, "boot": ifs.Boot, "console": ifs.Console, "deploy": ifs.Deploy, "firmware": ifs.Firmware, "inspect": ifs.Inspect,
		"management": ifs.Management, "network": ifs.Network, "power": ifs.Power, "raid": ifs.RAID, "rescue": ifs.Rescue, "storage": ifs.Storage,
	} {
		err := v.Validate(ctx, n)
		switch {
		case err == nil:
			results[name] = ValidateResult{Result: &yes}
		case errors.Is(err, driver.ErrUnsupported):
			results[name] = ValidateResult{Reason: "not supported"}
		default:
			results[name] = ValidateResult{Result: &no, Reason: err.Error()}
		}
	}
	return results, nil
}

// Drivers lists the hardware types that are enabled.
func (f *Flow) Drivers() []driver.Info { return f.drivers.Types() }
