package flow

import (
	"context"
	"errors"
	"fmt"
	"time"

	"ferric/api/agentclient"
	"ferric/api/ipa"
	"ferric/conductor/driver"
	"ferric/conductor/steps"
	"ferric/conductor/task"
)

// Bounds of the wait for an agent that was told to restart its machine: it sets
// the clock and writes out the disks before it does.
const (
	restartLimit = time.Minute
	restartPoll  = 500 * time.Millisecond
	restartAsk   = 5 * time.Second
)

// errStays: the agent has heard that it is to restart its machine, and does not.
var errStays = errors.New("the agent does not restart its machine")

// bootAgentAnew boots the agent of a step once more, in the way that the row
// names. again says that the conductor may have begun with that before it died.
func (f *Flow) bootAgentAnew(ctx context.Context, t *task.Task, ifs driver.Interfaces, again bool) error {
	if t.Node.DriverInternalInfo.String(driver.KeyPowerRequest) != driver.WarmRebooting {
		return f.bootAgent(ctx, t, ifs, nil)
	}
	if err := ifs.Boot.PrepareRamdisk(ctx, t, nil); err != nil {
		return err
	}
	return driver.RebootWarm(ctx, t, ifs.Power, func() error {
		err := f.restartByAgent(ctx, t)
		if err == nil || !again || errors.Is(err, errStays) {
			return err
		}
		// It was told before the conductor died, and its machine boots: a firmware that
		// is being installed must not be disturbed. Unless it is off for another reason.
		if state, err := ifs.Power.PowerState(ctx, t.Node); err == nil && state == driver.PowerOff {
			return errors.New("the machine is off")
		}
		return nil
	})
}

// restartByAgent has the agent restart its machine, and sees it go. The kernel
// knows which kind of reset a capsule needs that the firmware was handed.
func (f *Flow) restartByAgent(ctx context.Context, t *task.Task) error {
	agent, err := f.cfg.Agents.Of(t.Node)
	if err != nil {
		return err
	}
	told, err := agent.Execute(ctx, "standby.run_image", nil, false)
	switch {
	case errors.Is(err, agentclient.ErrUnreachable) && !agentclient.NotSent(err):
		return nil // it has heard of it, and is gone
	case err != nil:
		return fmt.Errorf("restart by the agent: %w", err)
	}
	ctx, cancel := context.WithTimeoutCause(ctx, restartLimit, fmt.Errorf("%w: it still runs %s after it was told to", errStays, restartLimit))
	defer cancel()
	for {
		if told.Status == ipa.StatusFailed {
			return fmt.Errorf("%w: %w", errStays, steps.Failure(told))
		}
		asking, stop := context.WithTimeout(ctx, restartAsk)
		commands, err := agent.Commands(asking)
		stop()
		if err != nil && ctx.Err() == nil {
			return nil // it is gone, or another is in its place
		}
		for _, c := range commands {
			if c.ID == told.ID {
				told = &c
			}
		}
		if told.Status == ipa.StatusFailed {
			continue
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(restartPoll):
		}
	}
}
