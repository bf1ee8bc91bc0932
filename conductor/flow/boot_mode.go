package flow

import (
	"context"
	"fmt"

	"ferric/conductor/driver"
	"ferric/conductor/provision"
	"ferric/conductor/task"
)

// SetBootMode switches a node between "uefi" and "bios". When it returns nil a
// worker carries the request out.
func (f *Flow) SetBootMode(ctx context.Context, id int64, mode string) error {
	return f.reconfigure(ctx, id, "boot mode", func(m driver.Management) (func(context.Context, *task.Task) error, bool) {
		modes, ok := m.(driver.BootModes)
		return func(ctx context.Context, t *task.Task) error {
			if err := modes.SetBootMode(ctx, t, mode); err != nil {
				return err
			}
			t.Node.BootMode = &mode
			return nil
		}, ok
	})
}

// SetSecureBoot switches secure boot of a node on or off. When it returns nil a
// worker carries the request out.
func (f *Flow) SetSecureBoot(ctx context.Context, id int64, on bool) error {
	return f.reconfigure(ctx, id, "state of secure boot", func(m driver.Management) (func(context.Context, *task.Task) error, bool) {
		secure, ok := m.(driver.SecureBoot)
		return func(ctx context.Context, t *task.Task) error {
			if err := secure.SetSecureBoot(ctx, t, on); err != nil {
				return err
			}
			t.Node.SecureBoot = &on
			return nil
		}, ok
	})
}

// reconfigure changes in the background what the firmware of a node does. change
// says how the management interface does that, and whether it can.
func (f *Flow) reconfigure(ctx context.Context, id int64, what string, change func(m driver.Management) (func(context.Context, *task.Task) error, bool)) error {
	return f.tasks.Do(ctx, id, "change of the "+what, func(ctx context.Context, t *task.Task) error {
		n := t.Node
		if n.ProvisionState.Is(provision.Transient, provision.Waiting) {
			return conflict("Node %s is in state %q: its %s is not changed while that goes on.", n.UUID, n.ProvisionState, what)
		}
		ifs, err := f.drivers.Interfaces(n)
		if err != nil {
			return err
		}
		do, able := change(ifs.Management)
		if !able {
			return fmt.Errorf("change the %s of node %s: %w", what, n.UUID, driver.ErrUnsupported)
		}
		if err := ifs.Management.Validate(ctx, n); err != nil {
			return err
		}
		return f.inBackground(ctx, t, "changing the "+what+" of", func(ctx context.Context, t *task.Task) error {
			if err := do(ctx, t); err != nil {
				return err
			}
			return t.Save(ctx)
		})
	})
}
