package flow

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"ferric/conductor/driver"
	"ferric/conductor/event"
	"ferric/conductor/provision"
	"ferric/conductor/steps"
	"ferric/conductor/store"
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
	state, known := "", n.PowerState
	if err == nil {
		state, err = ifs.Power.PowerState(ctx, n)
	}
	n.PowerState = &state
	if errors.Is(err, driver.ErrNoAgent) { // which is all that could tell
		n.PowerState, state, err = nil, "power unknown", nil
	}
	if err != nil {
		n.PowerState = known
		return f.fail(ctx, t, "Failed to get power state for node %s. Error: %v", n.UUID, err)
	}
	if err := f.verifySteps(ctx, t, ifs); err != nil {
		return f.fail(ctx, t, "Failed to verify node %s: %v", n.UUID, err)
	}
	f.refresh(ctx, t, ifs)
	t.Event(ctx, "provision", "verified, %s", state)
	return t.Process(ctx, provision.Done, "")
}

// verifySteps runs the steps of a verification that have a priority, the highest
// first. None of them can be waited for.
func (f *Flow) verifySteps(ctx context.Context, t *task.Task, ifs driver.Interfaces) error {
	own := ifs.VerifySteps()
	var list []steps.Step
	for _, s := range own {
		list = append(list, steps.Step{Interface: s.Interface, Step: s.Name, Priority: s.Priority})
	}
	steps.Override(list, priorities(f.cfg.VerifyStepPriorityOverride))
	for _, s := range steps.Automatic(list) {
		i := slices.IndexFunc(own, func(o driver.Step) bool { return o.Interface+"."+o.Name == s.ID() })
		t.StepEvent(ctx, "verify", s.ID(), event.Started)
		outcome, err := own[i].Run(ctx, t, nil)
		if err == nil && outcome == driver.Waiting {
			err = errors.New("a step of a verification cannot be waited for")
		}
		if err != nil {
			t.StepEvent(ctx, "verify", s.ID(), event.Failed)
			return fmt.Errorf("verify step %s: %w", s.ID(), err)
		}
		t.StepEvent(ctx, "verify", s.ID(), event.Done)
	}
	return nil
}

// refresh takes over vendor, boot mode, settings of the BIOS and versions of the
// firmware, from hardware that can be asked for them. What cannot be read stays
// as it was: a node is usable without.
func (f *Flow) refresh(ctx context.Context, t *task.Task, ifs driver.Interfaces) {
	n := t.Node
	read := func(what string, fn func() error) {
		if err := fn(); err != nil && !errors.Is(err, driver.ErrUnsupported) {
			t.Log.WithError(err).Warnf("cannot read the %s of the node", what)
		}
	}
	if m, ok := ifs.Management.(driver.VendorDetector); ok {
		read("vendor", func() error {
			vendor, err := m.DetectVendor(ctx, n)
			if err == nil && vendor != "" {
				n.DriverInternalInfo["vendor"] = vendor
				if n.Properties == nil {
					n.Properties = store.Object{}
				}
				if n.Properties.String("vendor") == "" { // what somebody has said counts
					n.Properties["vendor"] = vendor
				}
			}
			return err
		})
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
