package agent

import (
	"context"
	"errors"
	"time"

	"ferric/agent/clock"
	"ferric/api/ipa"
)

// How an NTP server is asked.
const (
	clockAttempts = 3
	clockTimeout  = 3 * time.Second // of an attempt
)

// syncClock sets the clocks of the machine, if an NTP server is configured: at
// the start, before certificates matter, and before the machine is left. The
// error is of kind ipa.ClockSync, and nil but with fail_if_clock_not_set.
func (a *Agent) syncClock(ctx context.Context) error {
	if a.cfg.NTPServer == "" {
		return nil
	}
	err := a.setClocks(ctx)
	switch {
	case err == nil:
		return nil
	case a.cfg.FailIfClockNotSet:
		return ipa.ClockSync.New("%v", err)
	}
	a.log.WithError(err).Warn("the clock is not set")
	return nil
}

// errNotOurs: outside a ramdisk the machine's clock is not ours to set.
var errNotOurs = errors.New("not running in a ramdisk: the clock is left alone")

func (a *Agent) setClocks(ctx context.Context) error {
	if !a.host.Guard.InRamdisk {
		return errNotOurs
	}
	if err := waitForAddress(ctx); err != nil {
		return err
	}
	offset, err := clock.Sync(ctx, clock.Server{Name: a.cfg.NTPServer, Attempts: clockAttempts, Timeout: clockTimeout})
	if err != nil {
		return err
	}
	a.log.WithField("offset", offset.String()).Infof("clock set from %s", a.cfg.NTPServer)
	// Not every machine has a hardware clock that can be set.
	if err := clock.WriteHardware(a.host.Dev); err != nil {
		a.log.WithError(err).Warn("hardware clock not set")
	}
	return nil
}
