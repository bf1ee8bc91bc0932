package driver

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"ferric/conductor/store"
	"ferric/conductor/task"
)

// Keys of driver_internal_info that clients and other components read
// (state-machine contract, section 12).
const (
	KeyAgentURL           = "agent_url"
	KeyAgentVersion       = "agent_version"
	KeyAgentLastHeartbeat = "agent_last_heartbeat"
	KeyAgentToken         = "agent_secret_token"
	KeyAgentVerifyCA      = "agent_verify_ca"
	KeyAgentTokenMaker    = "agent_secret_token_maker" // which life of the conductor made it
	KeyAgentLookup        = "agent_last_lookup"        // of a machine whose agent has the token
	KeyAgentResumes       = "agent_resumes_steps"      // after a reboot that they ask for
	KeyLastPowerChange    = "last_power_state_change"
	KeyNetboot            = "netboot"
	// KeyPowerRequest is the target of the change of power that goes on, as it was asked for.
	KeyPowerRequest = "power_request"
)

// WipeAgent forgets the agent of the boot that ends: another boot has another
// address, token and certificate (deploy flow, section 3.1).
func WipeAgent(n *store.Node) {
	for _, key := range []string{
		KeyAgentURL, KeyAgentToken, KeyAgentVerifyCA, KeyAgentTokenMaker, KeyAgentLookup, KeyAgentResumes,
		"agent_cached_clean_steps", "agent_cached_deploy_steps", "agent_cached_service_steps", "agent_start_attempted",
	} {
		delete(n.DriverInternalInfo, key)
	}
}

// SwitchPower brings the node to target (any power target), records the
// outcome in the row and forgets the agent where the machine lost it.
func SwitchPower(ctx context.Context, t *task.Task, p Power, target string, timeout time.Duration) error {
	n := t.Node
	if !slices.Contains(p.SupportedPowerStates(), target) {
		return Invalid("power interface of node %s does not support %q", n.Label(), target)
	}
	reached := PowerOn
	if target == PowerOff || target == SoftPowerOff {
		reached = PowerOff
	}
	if target == reached { // nothing is sent to hardware that is there already
		if state, err := p.PowerState(ctx, n); err == nil && state == reached {
			n.PowerState, n.TargetPowerState = &reached, nil
			delete(n.DriverInternalInfo, KeyPowerRequest)
			if reached == PowerOff {
				WipeAgent(n)
			}
			return t.Save(ctx)
		}
	}
	_, byAgent := p.(ByAgent)
	return change(ctx, t, target, reached, byAgent, func() error { return p.SetPowerState(ctx, t, target, timeout) })
}

// RebootWarm boots the machine anew without switching it off: by restart, through
// the agent that runs on it, else by the power interface, if that can. Where
// nothing can, the machine is rebooted in the way that there is. Why it came to
// that is told in an event.
//
// It may be called again for a reboot that was cut off.
func RebootWarm(ctx context.Context, t *task.Task, p Power, restart func() error) error {
	if _, byAgent := p.(ByAgent); byAgent {
		return SwitchPower(ctx, t, p, Rebooting, 0)
	}
	return change(ctx, t, WarmRebooting, PowerOn, true, func() error {
		why := restart()
		if why == nil {
			return nil
		}
		if r, can := p.(Resetter); can {
			t.Event(ctx, "power", "the agent does not restart the machine, which is reset: %v", why)
			err := r.Reset(ctx, t, 0)
			if err == nil {
				return nil
			}
			why = errors.Join(why, err)
		}
		t.Event(ctx, "power", "the machine cannot be restarted without being switched off, so that what lies in its memory is lost: %v", why)
		t.Log.WithError(why).Warn("a reboot that was to leave the power on switches the machine off and on")
		// From here on it may be off.
		t.Node.DriverInternalInfo[KeyPowerRequest] = Rebooting
		if err := t.Save(ctx); err != nil {
			return err
		}
		return p.SetPowerState(ctx, t, Rebooting, 0)
	})
}

// Resetter is a Power that can boot the machine anew without switching it off.
type Resetter interface {
	Reset(ctx context.Context, t *task.Task, timeout time.Duration) error
}

// change is what goes around each change of power: the row tells what is going on
// before it is, and what came of it. byAgent says that the agent takes part.
func change(ctx context.Context, t *task.Task, target, reached string, byAgent bool, do func() error) error {
	n := t.Node
	n.TargetPowerState = &reached
	n.DriverInternalInfo[KeyPowerRequest] = target
	if target != PowerOn && !byAgent {
		WipeAgent(n)
	}
	if err := t.Save(ctx); err != nil {
		return err
	}
	t.Event(ctx, "power", "%s requested", target)
	err := do()
	n.TargetPowerState = nil
	delete(n.DriverInternalInfo, KeyPowerRequest)
	if err != nil {
		failed := PowerError
		n.PowerState = &failed
		return errors.Join(fmt.Errorf("switch node %s to %s: %w", n.Label(), target, err), t.Save(ctx))
	}
	if byAgent {
		WipeAgent(n)
	}
	n.PowerState = &reached
	n.DriverInternalInfo[KeyLastPowerChange] = time.Now().UTC().Format("2006-01-02T15:04:05.000000")
	t.Event(ctx, "power", "%s verified", reached)
	return t.Save(ctx)
}

// ByAgent is a Power that switches the machine by the agent that runs on it,
// which the others make an end of.
type ByAgent interface{ SwitchesByAgent() }

// StaysOn says that the machine must not, or cannot, be powered off: it is only
// booted anew.
func StaysOn(n *store.Node, p Power) bool {
	return n.DisablePowerOff || !slices.Contains(p.SupportedPowerStates(), PowerOff)
}

// SwitchOff powers the machine off, unless it stays on: then it goes on with
// what it is doing.
func SwitchOff(ctx context.Context, t *task.Task, p Power) error {
	if StaysOn(t.Node, p) {
		return nil
	}
	return SwitchPower(ctx, t, p, PowerOff, 0)
}

// BootAnew has a machine that SwitchOff was called for boot.
func BootAnew(ctx context.Context, t *task.Task, p Power) error {
	if StaysOn(t.Node, p) {
		return SwitchPower(ctx, t, p, Rebooting, 0)
	}
	return SwitchPower(ctx, t, p, PowerOn, 0)
}

// Restart powers the machine off, calls between, which changes what it boots,
// and powers it on. A machine that must not be powered off is reset instead,
// after between.
func Restart(ctx context.Context, t *task.Task, p Power, between func() error) error {
	if err := SwitchOff(ctx, t, p); err != nil {
		return err
	}
	if err := between(); err != nil {
		return err
	}
	return BootAnew(ctx, t, p)
}

// BootMode is the boot mode that the node is to be deployed with (deploy flow,
// section 6.4): "uefi" unless something says otherwise.
func BootMode(n *store.Node) string { return BootModeOr(n, "uefi") }

// BootModeOr is BootMode with another mode for nodes that nothing is said of.
func BootModeOr(n *store.Node, fallback string) string {
	instance := Capabilities(n.InstanceInfo["capabilities"])
	if instance["secure_boot"] == "true" {
		return "uefi"
	}
	for _, mode := range []string{
		instance["boot_mode"],
		n.InstanceInfo.String("deploy_boot_mode"),
		Capabilities(n.Properties["capabilities"])["boot_mode"],
		n.DriverInternalInfo.String("deploy_boot_mode"),
	} {
		if mode != "" {
			return mode
		}
	}
	return cmp.Or(fallback, "uefi")
}
