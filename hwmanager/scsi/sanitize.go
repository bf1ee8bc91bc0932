package scsi

import (
	"context"
	"errors"
	"fmt"
	"time"

	"ferric/hwmanager/erasure"
	"ferric/hwmanager/sgio"
	"ferric/images/disk"
)

// SANITIZE (SBC-4, section "SANITIZE command"): byte 1 of the CDB.
const (
	immediate         = 1 << 7 // IMMED: status is returned when it has begun
	unrestricted      = 1 << 5 // AUSE
	actionOverwrite   = 0x01   // service actions
	actionBlockErase  = 0x02
	actionCryptoErase = 0x03
	actionExitFailure = 0x1f
)

// Bounds of the wait for a sanitize: the standard has no estimate of its time.
const (
	purgeTime     = 24 * time.Hour
	slowestMedium = 20 << 20 // bytes a second that an overwrite achieves at least
	longest       = 14 * 24 * time.Hour
)

// Pauses between two looks, and how long nothing may be known of the device,
// which may spin up or be reset meanwhile.
const (
	firstPause = 50 * time.Millisecond
	lastPause  = 5 * time.Second
	blindTime  = 5 * time.Minute
)

// Options say what an erase may do.
type Options struct {
	// Transport stands for the disk's own if it is not nil.
	Transport sgio.Transport
	// Unrestricted has a sanitize run in the unrestricted completion mode, where
	// the device has it: if it fails, the device is made writable again, so that
	// it can be overwritten. In the restricted mode a device whose sanitize failed
	// refuses to read and write until a sanitize succeeds.
	Unrestricted bool
}

// Erase has the disk erase itself by SANITIZE: crypto erase, block erase, or an
// overwrite with zeros, which includes what the host cannot reach. Progress,
// which may be nil, is told fractions from 0 to 1.
//
// Where the disk has no SANITIZE, or dev is no whole SCSI disk, the error is
// erasure.ErrNotSupported and nothing was changed. Any other error means that it
// was tried; Method.Name says in which way.
//
// When ctx ends, Erase returns, but a sanitize that was begun cannot be stopped:
// it goes on in the disk, after a loss of power too, which refuses reads and
// writes meanwhile. The next Erase waits for it.
func Erase(ctx context.Context, dev *disk.Device, o Options, progress func(fraction float64)) (erasure.Method, error) {
	if progress == nil {
		progress = func(float64) {}
	}
	if err := dev.Writable(); err != nil {
		return erasure.Method{}, err
	}
	d := o.device(dev)
	failedBefore, err := d.settle(ctx, progress)
	if err == nil {
		err = d.inquire(ctx)
	}
	if err == nil && (d.inquiry.Version < minimalVersion || !d.inquiry.Characteristics) {
		// There are USB bridges that hang on a command that they do not know: what
		// is older than SANITIZE, or tells nothing of its blocks, is not asked.
		err = fmt.Errorf("device of version %d of the standard: %w", d.inquiry.Version, erasure.ErrNotSupported)
	}
	if err == nil {
		err = d.checkWhole(ctx, dev, o.Transport == nil)
	}
	if err != nil {
		return erasure.Method{}, err
	}
	// After a failure, which may have been in the restricted mode, only that
	// mode is sure to be accepted.
	free := o.Unrestricted && !failedBefore
	for _, w := range d.ways() {
		err := d.reported(ctx, opSanitize, w.action)
		if err == nil {
			err = d.sanitize(ctx, w, free, progress)
		}
		_, code := code(err)
		switch {
		case errors.Is(err, erasure.ErrNotSupported) && code == codeInvalidOpcode:
			// It has no SANITIZE at all. The next way comes with parameters, on
			// which an adapter that does not know the command may fail.
			return erasure.Method{}, err
		case errors.Is(err, erasure.ErrNotSupported):
			continue
		case err != nil:
			return w.method, fmt.Errorf("%s: %w", w.method.Name, err)
		}
		return w.method, nil
	}
	return erasure.Method{}, fmt.Errorf("sanitize: %w", erasure.ErrNotSupported)
}

// Settle waits until no sanitize is in progress, during which the disk cannot be
// read or written. It is nil at once for what is no SCSI disk.
func Settle(ctx context.Context, dev *disk.Device, o Options, progress func(fraction float64)) error {
	if progress == nil {
		progress = func(float64) {}
	}
	_, err := o.device(dev).settle(ctx, progress)
	if errors.Is(err, erasure.ErrNotSupported) {
		return nil
	}
	return err
}

// Inquire is what the disk says of itself. The error is erasure.ErrNotSupported
// if dev is no SCSI disk.
func Inquire(ctx context.Context, dev *disk.Device) (Inquiry, error) {
	d := Options{}.device(dev)
	err := d.inquire(ctx)
	return d.inquiry, err
}

func (o Options) device(dev *disk.Device) *device {
	t := o.Transport
	switch {
	case t != nil:
	case dev.IsBlock():
		t = sgio.New(dev.File())
	default:
		t = noDevice{}
	}
	return &device{transport: t, size: dev.Size}
}

// noDevice is a regular file, which takes no commands.
type noDevice struct{}

func (noDevice) Do(context.Context, sgio.Command) (sgio.Result, error) {
	return sgio.Result{}, sgio.ErrNotSCSI
}

// way is one way to sanitize.
type way struct {
	action     byte
	parameters []byte
	patience   time.Duration
	method     erasure.Method
}

// ways are the ways to sanitize, the best first: one that takes the key, one
// that erases the cells, and one that writes zeros over everything once.
func (d *device) ways() []way {
	// Parameter list of an overwrite: OVERWRITE COUNT, reserved, INITIALIZATION
	// PATTERN LENGTH, pattern, which is repeated.
	zeros := []byte{1, 0, 0, 4, 0, 0, 0, 0}
	return []way{
		{actionCryptoErase, nil, purgeTime, erasure.Method{Name: "scsi-sanitize-crypto-erase",
			Leaves: erasure.Changed, Unreadable: d.inquiry.AfterCryptoErase != readsAfter}},
		{actionBlockErase, nil, purgeTime, erasure.Method{Name: "scsi-sanitize-block-erase",
			Leaves: erasure.Changed, Unreadable: d.inquiry.AfterBlockErase != readsAfter}},
		{actionOverwrite, zeros, d.writeTime(), erasure.Method{Name: "scsi-sanitize-overwrite", Leaves: erasure.Zeros}},
	}
}

// writeTime is how long a slow disk may take to write all its blocks, and a
// little more.
func (d *device) writeTime() time.Duration {
	return min(purgeTime+time.Duration(d.size/slowestMedium)*time.Second, longest)
}

// sanitize is one sanitize from the command to its end.
func (d *device) sanitize(ctx context.Context, w way, free bool, progress func(float64)) error {
	err := d.start(ctx, w, free)
	if refused(err) && free {
		free = false // it may have no AUSE
		err = d.start(ctx, w, free)
	}
	if refused(err) {
		return fmt.Errorf("%w (%w)", erasure.ErrNotSupported, err)
	}
	if err == nil {
		err = d.wait(ctx, true, w.patience, progress)
	}
	if failed(err) && free {
		err = errors.Join(err, d.exitFailure(ctx))
	}
	if err == nil {
		progress(1)
	}
	return err
}

// start sends a SANITIZE command, once more if another was begun meanwhile.
func (d *device) start(ctx context.Context, w way, free bool) error {
	cdb := []byte{opSanitize, immediate | w.action, 0, 0, 0, 0, 0, 0, byte(len(w.parameters)), 0}
	if free {
		cdb[1] |= unrestricted
	}
	c := sgio.Command{CDB: cdb, Data: w.parameters, Write: true}
	_, err := d.do(ctx, c)
	if sanitizing(err) {
		if _, err = d.settle(ctx, func(float64) {}); err == nil {
			_, err = d.do(ctx, c)
		}
	}
	return err
}

// exitFailure lets the disk be written to again after a sanitize that failed in
// the unrestricted mode.
func (d *device) exitFailure(ctx context.Context) error {
	_, err := d.do(ctx, sgio.Command{CDB: []byte{opSanitize, actionExitFailure, 0, 0, 0, 0, 0, 0, 0, 0}})
	if err != nil {
		return fmt.Errorf("exit failure mode: %w", err)
	}
	return nil
}

// settle waits for the end of a sanitize that is in progress, and reports
// whether the last one failed. That it failed does not matter to the next.
func (d *device) settle(ctx context.Context, progress func(float64)) (hasFailed bool, err error) {
	err = d.wait(ctx, false, d.writeTime(), progress)
	if failed(err) {
		return true, nil
	}
	return false, err
}

// wait waits until the device is ready, at most for patience while it sanitizes.
// That the sanitize failed is an error for which failed is true. Begun says that
// one was begun, so that anything else that the device says may pass.
func (d *device) wait(ctx context.Context, begun bool, patience time.Duration, progress func(float64)) error {
	began := time.Now()
	seen, done := began, 0.0
	for pause := firstPause; ; pause = min(2*pause, lastPause) {
		_, err := d.do(ctx, sgio.Command{CDB: []byte{opTestUnitReady, 0, 0, 0, 0, 0}})
		switch {
		case err == nil:
			return nil
		case failed(err), errors.Is(err, erasure.ErrNotSupported), ctx.Err() != nil:
			return err
		case sanitizing(err):
			seen, begun = time.Now(), true
			if now, ok := d.progress(ctx, err); ok {
				done = now
				progress(done)
			}
		case !begun && !busy(err), time.Since(seen) > blindTime:
			return fmt.Errorf("test unit ready: %w", err)
		}
		if time.Since(began) > patience {
			return fmt.Errorf("still in progress, at %.1f %%, after %v: %w", 100*done, patience, context.DeadlineExceeded)
		}
		if err := erasure.Sleep(ctx, pause); err != nil {
			return fmt.Errorf("the disk goes on with what it does: %w", err)
		}
	}
}

// progress is how far a sanitize is, by the sense data that came with busy, or
// those that REQUEST SENSE gets.
func (d *device) progress(ctx context.Context, busy error) (float64, bool) {
	var e *Error
	if errors.As(busy, &e) && e.Sense != nil {
		if f, ok := fraction(*e.Sense, e.sense); ok {
			return f, true
		}
	}
	answer, err := d.do(ctx, sgio.Command{CDB: []byte{opRequestSense, 0, 0, 0, answerSize - 3, 0}, Data: make([]byte, answerSize-3)})
	if err != nil {
		return 0, false
	}
	sense, err := sgio.ParseSense(answer)
	if err != nil {
		return 0, false
	}
	return fraction(sense, answer)
}
