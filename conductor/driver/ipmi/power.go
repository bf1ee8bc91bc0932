package ipmi

import (
	"context"
	"errors"
	"time"

	"ferric/conductor/driver"
	"ferric/conductor/store"
	"ferric/conductor/task"
)

// Power is Ironic's power interface "ipmitool".
type Power struct{ bmcs *BMCs }

// NewPower returns the power interface over bmcs.
func NewPower(bmcs *BMCs) *Power { return &Power{bmcs} }

// Validate checks driver_info.
func (p *Power) Validate(_ context.Context, n *store.Node) error {
	_, err := nodeInfo(n)
	return err
}

// Properties describes the driver_info keys.
func (p *Power) Properties() map[string]string { return Properties() }

// SupportedPowerStates lists the targets of SetPowerState.
func (p *Power) SupportedPowerStates() []string {
	return []string{driver.PowerOn, driver.PowerOff, driver.Rebooting, driver.SoftRebooting, driver.SoftPowerOff}
}

// PowerState asks the BMC.
func (p *Power) PowerState(ctx context.Context, n *store.Node) (string, error) {
	info, err := nodeInfo(n)
	if err != nil {
		return "", err
	}
	return p.bmcs.PowerState(ctx, info)
}

// SetPowerState is BMCs.SetPower. With ipmi_force_boot_device, the boot device is sent again before each power on.
// A machine that must not be powered off is reset where others are rebooted.
func (p *Power) SetPowerState(ctx context.Context, t *task.Task, target string, timeout time.Duration) error {
	info, err := nodeInfo(t.Node)
	if err != nil {
		return err
	}
	if t.Node.DisablePowerOff && target == driver.Rebooting {
		return p.Reset(ctx, t, timeout)
	}
	targets := []string{target}
	if info.ForceBootDevice {
		switch target {
		case driver.Rebooting:
			targets = []string{driver.PowerOff, driver.PowerOn}
		case driver.SoftRebooting:
			targets = []string{driver.SoftPowerOff, driver.PowerOn}
		}
	}
	for _, target := range targets {
		if info.ForceBootDevice && target == driver.PowerOn {
			if err := p.bmcs.resendBootDevice(ctx, t, info); err != nil {
				return err
			}
		}
		if err := p.bmcs.SetPower(ctx, info, target, timeout); err != nil {
			return err
		}
	}
	return nil
}

// Reset is BMCs.HardReset, with the boot device sent again before it where SetPowerState does so.
func (p *Power) Reset(ctx context.Context, t *task.Task, timeout time.Duration) error {
	info, err := nodeInfo(t.Node)
	if err != nil {
		return err
	}
	if info.ForceBootDevice {
		if err := p.bmcs.resendBootDevice(ctx, t, info); err != nil {
			return err
		}
	}
	return p.bmcs.HardReset(ctx, info, timeout)
}

// nodeInfo is the node's Info; errors are the driver package's, which the API answers with 400.
func nodeInfo(n *store.Node) (Info, error) {
	info, err := ParseInfo(n.DriverInfo)
	switch {
	case errors.Is(err, ErrMissingParameter) && n.DriverInfo["ipmi_address"] != nil:
		return Info{}, driver.Missing("%v", err)
	case errors.Is(err, ErrMissingParameter):
		return Info{}, driver.Missing("Missing the following IPMI credentials in node's driver_info: ['ipmi_address'].") // the one that is required
	case err != nil:
		return Info{}, driver.Invalid("%v", err)
	}
	info.Vendor = n.Properties.String("vendor")
	return info, nil
}

var (
	_ driver.Power    = (*Power)(nil)
	_ driver.Resetter = (*Power)(nil)
)
