package ipmi

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/bougou/go-ipmi/pkg/command/chassis"
	"github.com/bougou/go-ipmi/pkg/types"
)

// Power states and targets under Ironic's names.
const (
	powerOn       = "power on"
	powerOff      = "power off"
	softPowerOff  = "soft power off"
	rebooting     = "rebooting"
	softRebooting = "soft rebooting"
)

// The power state is polled with a pause that grows by half from the first to the longest.
const (
	firstPoll   = 100 * time.Millisecond
	longestPoll = 5 * time.Second
)

// PowerState asks the BMC for "power on" or "power off".
func (b *BMCs) PowerState(ctx context.Context, info Info) (string, error) {
	ctx, o, end, err := b.begin(ctx, info, "power status", b.commandLimit(1))
	if err != nil {
		return "", err
	}
	defer end()
	return o.powerState(ctx)
}

// SetPower brings the machine to target and returns when the BMC says that it is there. target is "power on",
// "power off", "soft power off" (ACPI; a system that does not react in time is powered off hard), "rebooting" or "soft rebooting" (off, wait, on, wait). timeout bounds the wait for each change of state, 0 is
// the configured one. A machine that is there already gets no command. ErrPowerTimeout if it does not get there.
func (b *BMCs) SetPower(ctx context.Context, info Info, target string, timeout time.Duration) error {
	type change struct {
		state   string
		control chassis.ChassisControl
		timeout time.Duration
	}
	on := change{powerOn, chassis.ChassisControlPowerUp, b.cfg.PowerStateChangeTimeout}
	off := change{powerOff, chassis.ChassisControlPowerDown, b.cfg.PowerStateChangeTimeout}
	softOff := change{powerOff, chassis.ChassisControlSoftShutdown, b.cfg.SoftPowerOffTimeout}
	changes, ok := map[string][]change{
		powerOn:       {on},
		powerOff:      {off},
		softPowerOff:  {softOff},
		rebooting:     {off, on},
		softRebooting: {softOff, on},
	}[target]
	if !ok {
		return fmt.Errorf("%w: power state %q", ErrInvalidParameter, target)
	}
	var limit time.Duration
	for i, c := range changes {
		if timeout > 0 {
			changes[i].timeout = timeout
			c.timeout = timeout
		}
		limit += c.timeout + b.commandLimit(2)
		if c.control == chassis.ChassisControlSoftShutdown {
			limit += off.timeout + b.commandLimit(2)
		}
	}
	ctx, o, end, err := b.begin(ctx, info, target, limit)
	if err != nil {
		return err
	}
	defer end()
	for _, c := range changes {
		err := o.change(ctx, c.state, c.control, c.timeout)
		if errors.Is(err, ErrPowerTimeout) && c.control == chassis.ChassisControlSoftShutdown {
			o.log.WithError(err).Warn("the machine does not shut down, powering it off hard")
			err = o.change(ctx, off.state, off.control, off.timeout)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// Reboot powers the machine off and on; timeout as in SetPower.
func (b *BMCs) Reboot(ctx context.Context, info Info, timeout time.Duration) error {
	return b.SetPower(ctx, info, rebooting, timeout)
}

// HardReset restarts the machine without its power going off; one that is off is powered on.
func (b *BMCs) HardReset(ctx context.Context, info Info, timeout time.Duration) error {
	if timeout <= 0 {
		timeout = b.cfg.PowerStateChangeTimeout
	}
	ctx, o, end, err := b.begin(ctx, info, "reset", timeout+b.commandLimit(2))
	if err != nil {
		return err
	}
	defer end()
	if state, err := o.powerState(ctx); err != nil {
		return err
	} else if state == powerOff {
		return o.change(ctx, powerOn, chassis.ChassisControlPowerUp, timeout)
	}
	if _, err := o.command(ctx, types.CommandChassisControl, []byte{uint8(chassis.ChassisControlHardReset)}); err != nil {
		return err
	}
	return o.waitFor(ctx, powerOn, timeout)
}

func (o *operation) powerState(ctx context.Context) (string, error) {
	data, err := o.command(ctx, types.CommandGetChassisStatus, nil)
	if err != nil {
		return "", err
	}
	// IPMI 2.0 table 28-3: bit 0 of the first byte is "system power is on".
	if len(data) < 3 {
		return "", o.explain(fmt.Errorf("%s: answer of %d bytes, expected at least 3", types.CommandGetChassisStatus.Name, len(data)))
	}
	if data[0]&0x01 != 0 {
		return powerOn, nil
	}
	return powerOff, nil
}

// change sends a chassis control unless the machine is in the state already, and polls until it is.
func (o *operation) change(ctx context.Context, want string, control chassis.ChassisControl, timeout time.Duration) error {
	state, err := o.powerState(ctx)
	if err != nil || state == want {
		return err
	}
	_, err = o.command(ctx, types.CommandChassisControl, []byte{uint8(control)})
	var refused *CompletionError
	if errors.As(err, &refused) && refused.Code == types.CodeNotSupported {
		err = nil // D5h, "not in this state": somebody else was faster, which the polling will tell
	}
	if err != nil {
		return err
	}
	return o.waitFor(ctx, want, timeout)
}

// waitFor polls the power state. A BMC that is silent in between, as some are when the machine starts, is asked
// again until the time is over.
func (o *operation) waitFor(ctx context.Context, want string, timeout time.Duration) error {
	polling, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	last, wait := "", firstPoll
	for {
		state, err := o.powerState(polling)
		switch {
		case err == nil && state == want:
			return nil
		case err == nil:
			last = fmt.Sprintf("the BMC still reports %q", state)
		case ctx.Err() != nil || !errors.Is(err, ErrUnreachable) && !errors.Is(err, errBusyBMC) && !errors.Is(err, ErrBusy):
			return err
		case polling.Err() == nil || last == "":
			last = err.Error()
		}
		if pause(polling, wait) != nil {
			if ctx.Err() != nil {
				return o.explain(o.interrupted(ctx, ctx.Err()))
			}
			return o.explain(fmt.Errorf("%w: wanted %q within %s, %s", ErrPowerTimeout, want, timeout, last))
		}
		wait = min(wait*3/2, longestPoll)
	}
}
