package flow

import (
	"context"
	"errors"
	"time"

	"ferric/conductor/driver"
	"ferric/conductor/event"
	"ferric/conductor/provision"
	"ferric/conductor/store"
	"ferric/conductor/task"
)

// bootWaits are the states in which a machine boots the agent.
var bootWaits = []provision.State{provision.WaitCallback, provision.CleanWait, provision.InspectWait, provision.RescueWait, provision.ServiceWait}

// RetryBoots switches machines off and on again that were to boot the agent and
// from which none was heard: some firmware needs a second try (deploy flow,
// section 6.2). The wait for the agent goes on, and ends when it would have.
func (f *Flow) RetryBoots(ctx context.Context) error {
	nodes, err := f.store.SweptIn(ctx, bootWaits...)
	if err != nil {
		return err
	}
	for _, n := range nodes {
		if n.Reservation != nil || !f.slowToBoot(n) {
			continue
		}
		err := f.tasks.TryDo(ctx, n.ID, "boot retry", func(ctx context.Context, t *task.Task) error {
			if !f.slowToBoot(t.Node) {
				return nil
			}
			return t.Background("boot retry", f.retryBoot)
		})
		var locked *task.LockedError
		if err != nil && !errors.As(err, &locked) {
			f.log.WithField("node", n.UUID).WithError(err).Warn("cannot boot the machine again, the next check tries again")
		}
	}
	return nil
}

// slowToBoot says that the machine was switched on long ago and no agent has
// announced itself since.
func (f *Flow) slowToBoot(n *store.Node) bool {
	info := n.DriverInternalInfo
	if !n.ProvisionState.Is(provision.Waiting) || n.Maintenance || n.TargetPowerState != nil || info.Bool(keyAborting) || info.String(driver.KeyAgentURL) != "" {
		return false
	}
	since, err := time.Parse(lastPowerLayout, info.String(driver.KeyLastPowerChange))
	return err == nil && time.Since(since) > f.cfg.BootRetryTimeout
}

// lastPowerLayout is how driver_internal_info tells when the power last changed.
const lastPowerLayout = "2006-01-02T15:04:05.000000"

// retryBoot boots the machine once more. What goes wrong with that does not end
// the wait: the timeout does.
func (f *Flow) retryBoot(ctx context.Context, t *task.Task) error {
	ifs, err := f.drivers.Interfaces(t.Node)
	if err == nil {
		t.Event(ctx, event.Power, "no agent was heard for %v: the machine is booted again", f.cfg.BootRetryTimeout)
		err = driver.Restart(ctx, t, ifs.Power, func() error {
			if r, ok := ifs.Boot.(driver.BootRetrier); ok {
				return r.RetryRamdisk(ctx, t)
			}
			return nil
		})
	}
	if err != nil {
		t.Log.WithError(err).Warn("cannot boot the machine again")
		t.Event(ctx, event.Error, "the machine cannot be booted again: %v", err)
		return t.Save(ctx)
	}
	return nil
}
