package nvme

import (
	"context"
	"errors"
	"fmt"
	"time"

	"ferric/hwmanager/erasure"
)

// Sanitize (section 5.24): opcode and fields of CDW10.
const (
	opSanitize        = 0x84
	actionMask        = 7 // SANACT
	actionExitFailure = 1
	actionBlockErase  = 2
	actionOverwrite   = 3
	actionCryptoErase = 4
	unrestrictedExit  = 1 << 3 // AUSE
	passesShift       = 4      // OWPASS
)

// action is one way to sanitize.
type action struct {
	name       string // of the method
	capability uint32 // bit of SANICAP
	cdw10      uint32
}

// purges are the sanitizes that take no pass over the medium, the best first:
// one that takes the key, and one that erases the cells.
func purges() []action {
	return []action{
		{"nvme-sanitize-crypto-erase", SanitizeCryptoErase, actionCryptoErase},
		{"nvme-sanitize-block-erase", SanitizeBlockErase, actionBlockErase},
	}
}

// overwrites is the sanitize that writes zeros once over everything, spare
// areas included.
func overwrites() []action {
	return []action{{"nvme-sanitize-overwrite", SanitizeOverwrite, actionOverwrite | 1<<passesShift}}
}

// settle waits for the end of a sanitize that is in progress. It runs in the
// controller, is resumed by it after a loss of power, and cannot be stopped
// (section 8.21): it may be from before the machine was restarted, or a call
// cancelled. How it ended does not matter to the next one.
func (d *drive) settle(ctx context.Context, progress func(float64)) error {
	if d.SANICAP&(SanitizeCryptoErase|SanitizeBlockErase|SanitizeOverwrite) == 0 {
		return nil
	}
	log, err := d.sanitizeLog(ctx)
	if refusesCommand(err) || errors.Is(err, InvalidLogPage) {
		return nil
	}
	if err == nil {
		_, err = d.wait(ctx, log, progress)
	}
	if err != nil {
		return fmt.Errorf("sanitize begun earlier: %w", err)
	}
	return nil
}

// sanitize erases by the first of actions that the drive has.
func (d *drive) sanitize(ctx context.Context, o Options, actions []action, progress func(float64)) (erasure.Method, error) {
	var able []action
	for _, a := range actions {
		if d.SANICAP&a.capability != 0 {
			able = append(able, a)
		}
	}
	if len(able) == 0 {
		return erasure.Method{}, fmt.Errorf("sanitize: %w", erasure.ErrNotSupported)
	}
	if err := d.checkAgreed(ctx, o.Agreed); err != nil {
		return erasure.Method{}, fmt.Errorf("sanitize: %w", err)
	}
	for _, a := range able {
		err := d.sanitizeBy(ctx, a, o.Unrestricted, progress)
		if errors.Is(err, erasure.ErrNotSupported) {
			continue // announced but refused
		}
		if err != nil {
			return erasure.Method{Name: a.name}, fmt.Errorf("%s: %w", a.name, err)
		}
		return erasure.Method{Name: a.name, Leaves: erasure.Changed, Unreadable: d.ns.protected()}, nil
	}
	return erasure.Method{}, fmt.Errorf("sanitize: the drive announces it and refuses it: %w", erasure.ErrNotSupported)
}

// sanitizeBy is one sanitize from the command to its end.
func (d *drive) sanitizeBy(ctx context.Context, a action, unrestricted bool, progress func(float64)) error {
	before, err := d.sanitizeLog(ctx)
	if refusesCommand(err) || errors.Is(err, InvalidLogPage) {
		return fmt.Errorf("%w (%w)", erasure.ErrNotSupported, err) // its end could not be seen
	}
	if err != nil {
		return err
	}
	// After a failure in the restricted mode, only that mode is accepted.
	if before.State == SanitizeHasFailed && before.CDW10&unrestrictedExit == 0 {
		unrestricted = false
	}
	cdw10 := a.cdw10
	if unrestricted {
		cdw10 |= unrestrictedExit
	}
	if err := d.start(ctx, cdw10); err != nil {
		return err
	}
	// The state in the log page is that of this sanitize from the completion of
	// the command on.
	log, err := d.sanitizeLog(ctx)
	if err != nil {
		log = before // the times that it estimates
		log.State, log.CDW10 = Sanitizing, cdw10
	}
	if log, err = d.wait(ctx, log, progress); err != nil {
		return err
	}
	switch log.State {
	case Sanitized, SanitizedDeallocated:
		if log.CDW10&actionMask != a.cdw10&actionMask {
			return fmt.Errorf("the drive reports the end of another sanitize (command dword 10 is %#x)", log.CDW10)
		}
		progress(1)
		return nil
	case SanitizeHasFailed:
		err := errors.New("the drive reports that it failed")
		if log.CDW10&unrestrictedExit != 0 {
			err = errors.Join(err, d.exitFailure(ctx))
		}
		return err
	}
	return fmt.Errorf("the drive accepted it and reports: %v", log.State)
}

// start sends a Sanitize command, once more if another sanitize was begun
// meanwhile.
func (d *drive) start(ctx context.Context, cdw10 uint32) error {
	// NSID is not used; CDW11 is the pattern of an overwrite, zeros.
	c := &Command{Opcode: opSanitize, CDW10: cdw10, Timeout: commandTime}
	err := d.do(ctx, c)
	if errors.Is(err, SanitizeInProgress) {
		if err = d.settle(ctx, func(float64) {}); err == nil {
			err = d.do(ctx, c)
		}
	}
	if refusesCommand(err) {
		return fmt.Errorf("%w (%w)", erasure.ErrNotSupported, err)
	}
	return err
}

// exitFailure lets the drive be written to again after a sanitize that failed
// in the unrestricted mode; without, it refuses everything but a sanitize.
func (d *drive) exitFailure(ctx context.Context) error {
	err := d.do(ctx, &Command{Opcode: opSanitize, CDW10: actionExitFailure, Timeout: commandTime})
	if err != nil {
		return fmt.Errorf("exit failure mode: %w", err)
	}
	return nil
}

// Pauses between two looks at the log page, and how long it may be unreadable:
// a controller may be reset while it sanitizes.
const (
	firstPause = 50 * time.Millisecond
	lastPause  = 5 * time.Second
	blindTime  = 2 * time.Minute
)

// wait waits until the sanitize that log tells of has ended, however it did.
func (d *drive) wait(ctx context.Context, log SanitizeLog, progress func(float64)) (SanitizeLog, error) {
	patience := log.patience(log.CDW10, d.ns.Size())
	began := time.Now()
	seen := began
	for pause := firstPause; log.State == Sanitizing; pause = min(2*pause, lastPause) {
		progress(log.fraction())
		if time.Since(began) > patience {
			return log, fmt.Errorf("still in progress, at %.1f %%, after %v: %w", 100*log.fraction(), patience, context.DeadlineExceeded)
		}
		if err := erasure.Sleep(ctx, pause); err != nil {
			return log, fmt.Errorf("the drive goes on with it: %w", err)
		}
		next, err := d.sanitizeLog(ctx)
		switch {
		case err == nil:
			log, seen = next, time.Now()
		case ctx.Err() != nil || time.Since(seen) > blindTime:
			return log, fmt.Errorf("how it goes on is unknown: %w", err)
		}
	}
	return log, nil
}
