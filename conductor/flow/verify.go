package flow

import (
	"context"
	"errors"

	"ferric/conductor/driver"
	"ferric/conductor/provision"
	"ferric/conductor/task"
)

// verify reads the power state with the node's credentials, and what else the
// hardware tells of itself. The node is verifying.
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
	f.refresh(ctx, t, ifs)
	t.Event(ctx, "provision", "verified, %s", state)
	return t.Process(ctx, provision.Done, "")
}

// refresh takes over boot mode, settings of the BIOS and versions of the
// firmware, from hardware that can be asked for them. What cannot be read stays
// as it was: a node is usable without.
func (f *Flow) refresh(ctx context.Context, t *task.Task, ifs driver.Interfaces) {
	n := t.Node
	read := func(what string, fn func() error) {
		if err := fn(); err != nil && !errors.Is(err, driver.ErrUnsupported) {
			t.Log.WithError(err).Warnf("cannot read the %s of the node", what)
		}
	}
	if m, ok := ifs.Management.(driver.BootModes); ok {
		read("boot mode", func() error {
			mode, err := m.GetBootMode(ctx, n)
			if err == nil {
				n.BootMode = &mode
			}
			return err
		})
	}
	if m, ok := ifs.Management.(driver.SecureBoot); ok {
		read("state of secure boot", func() error {
			on, err := m.GetSecureBoot(ctx, n)
			if err == nil {
				n.SecureBoot = &on
			}
			return err
		})
	}
	if ifs.BIOS != nil {
		read("BIOS settings", func() error { return ifs.BIOS.CacheBIOSSettings(ctx, t) })
	}
	if ifs.Firmware != nil {
		read("firmware components", func() error { return ifs.Firmware.CacheFirmwareComponents(ctx, t) })
	}
}
