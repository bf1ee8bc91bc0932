package nvme

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"ferric/hwmanager/erasure"
)

// Firmware Commit (section 5.12) and Firmware Image Download (5.13).
const (
	opFirmwareCommit   = 0x10
	opFirmwareDownload = 0x11

	commitNextReset = 1 // the image replaces that of the slot, active after a reset of the controller
	commitAtOnce    = 3 // the same, active when the command is complete
)

// Time limits of single commands. A kernel that gives up waiting resets the
// drive, which nobody wants in the middle of a commit.
const (
	pieceTime  = 2 * time.Minute
	commitTime = 10 * time.Minute
)

// Activation is how firmware is to become the one that runs.
type Activation string

// Ways of activation.
const (
	ActivateBest      Activation = "auto"      // at once where the drive can do that, else by a reset
	ActivateReset     Activation = "reset"     // of the controller
	ActivateImmediate Activation = "immediate" // without a reset
	ActivateReboot    Activation = "reboot"    // whoever reboots the machine does
)

// ErrUnchanged: the drive runs the firmware that it ran before, and does so after
// a reset, too.
var ErrUnchanged = errors.New("the drive goes on with its former firmware")

// Update is firmware for a drive.
type Update struct {
	Image    io.ReaderAt
	Size     int64
	Version  string // what the drive says of its firmware when it runs this one
	Slot     int    // 0: a suitable one
	Activate Activation
	// Reset resets the controller and returns when it is back.
	Reset func(ctx context.Context) error
}

// Updated is how far an update came.
type Updated struct {
	Before, After Firmware
	Slot          int  // that the image went to; 0 if the drive chose it, or it was not needed
	Flashed       bool // the drive has accepted the image
	// Pending, if not "", is what the drive waits for to run it: "conventional
	// reset" and the like.
	Pending string
	// Mixed: the drive has seen pieces of another image come in between
	// (section 5.12.1, Multiple Update Detected).
	Mixed bool
}

// Update brings firmware to a drive, and has it run. A drive that runs the
// version already is left alone. Progress, which may be nil, is told fractions
// from 0 to 1 of the image.
//
// Until the image is committed, an end of ctx, a fault or a loss of power leaves
// the drive as it was. From then on nothing is cut short.
func (u Update) Update(ctx context.Context, t Transport, progress func(fraction float64)) (Updated, error) {
	d := &drive{transport: t}
	var done Updated
	var err error
	if done.Before, err = d.firmware(ctx); err != nil {
		return done, err
	}
	done.After = done.Before
	if done.Before.Firmware == u.Version {
		return done, nil
	}
	if err := u.Check(done.Before); err != nil {
		return done, err
	}
	if done.Slot, err = d.chooseSlot(done.Before.Slots, u.Slot, u.Version); err != nil {
		return done, err
	}
	if progress == nil {
		progress = func(float64) {}
	}
	if err := u.send(ctx, d, progress); err != nil {
		return done, fmt.Errorf("%w: %w", ErrUnchanged, err)
	}
	if ctx.Err() != nil {
		return done, fmt.Errorf("%w: %w", ErrUnchanged, context.Cause(ctx))
	}
	return done, u.commit(context.WithoutCancel(ctx), d, &done)
}

// Check is nil if the drive can take the image. What the image is for cannot be
// told from it: its format is the vendor's, and the drive's own check is the only
// one.
func (u Update) Check(f Firmware) error {
	if !f.TakesFirmware() {
		return errors.New("the drive has no commands for new firmware")
	}
	if u.Size <= 0 || u.Size%4 != 0 {
		return fmt.Errorf("the image has %d bytes, which are not whole double words: it is no firmware of an NVMe drive", u.Size)
	}
	if u.Size/4 > 1<<32-1 {
		return fmt.Errorf("the image has %d bytes, which is too much for any drive", u.Size)
	}
	if u.Activate == ActivateImmediate && !f.ActivatesAtOnce() {
		return errors.New("the drive cannot activate firmware without a reset")
	}
	_, err := f.pieceSize()
	if err != nil {
		return err
	}
	_, err = f.chooseSlot(f.Slots, u.Slot, u.Version)
	return err
}

// send brings the image into the drive's buffer, in order. Pieces that are there
// already are somebody else's, or of an attempt that was cut off: a reset has the
// drive forget them.
func (u Update) send(ctx context.Context, d *drive, progress func(float64)) error {
	err := u.pieces(ctx, d, progress)
	if !errors.Is(err, OverlappingRange) || u.Reset == nil || u.Activate == ActivateReboot {
		return err
	}
	if err := u.Reset(ctx); err != nil {
		return fmt.Errorf("the drive holds parts of another image, and it cannot be reset to forget them: %w", err)
	}
	return u.pieces(ctx, d, progress)
}

func (u Update) pieces(ctx context.Context, d *drive, progress func(float64)) error {
	size, err := d.pieceSize()
	if err != nil {
		return err
	}
	buf := make([]byte, size)
	for at := int64(0); at < u.Size; at += size {
		part := buf[:min(size, u.Size-at)]
		if n, err := u.Image.ReadAt(part, at); n < len(part) {
			return fmt.Errorf("read the image: %w", err)
		}
		c := &Command{Opcode: opFirmwareDownload, CDW10: uint32(len(part)/4 - 1), CDW11: uint32(at / 4), Data: part, Timeout: pieceTime}
		if err := d.do(ctx, c); err != nil {
			return fmt.Errorf("firmware image download, %d bytes at %d of %d: %w", len(part), at, u.Size, err)
		}
		progress(float64(at+int64(len(part))) / float64(u.Size))
	}
	return nil
}

// commit has the drive take the image and run it. Three statuses say that it has
// taken it and needs another reset than was thought.
func (u Update) commit(ctx context.Context, d *drive, done *Updated) error {
	action := uint32(commitNextReset)
	if u.Activate == ActivateImmediate || u.Activate == ActivateBest && d.ActivatesAtOnce() {
		action = commitAtOnce
	}
	err := d.commit(ctx, done, action)
	if errors.Is(err, ActivationTooLong) {
		// The command is to be given again, for an activation by reset.
		action = commitNextReset
		err = d.commit(ctx, done, action)
	}
	reset := action == commitNextReset
	switch {
	case err == nil:
	case errors.Is(err, NeedsControllerReset):
		reset = true
	case errors.Is(err, NeedsConventionalReset):
		done.Flashed, done.Pending = true, "conventional reset"
		return nil
	case errors.Is(err, NeedsSubsystemReset):
		done.Flashed, done.Pending = true, "reset of the NVM subsystem"
		return nil
	default:
		return u.refused(ctx, d, done, err)
	}
	done.Flashed = true
	if reset && u.Activate == ActivateReboot {
		done.Pending = "reset of the controller"
		return nil
	}
	if reset {
		if err := u.Reset(ctx); err != nil {
			return fmt.Errorf("the drive has taken firmware %s, and was to be reset to run it: %w", u.Version, err)
		}
	}
	err = u.verify(ctx, d, done)
	if err != nil || done.Pending == "" || reset || u.Activate != ActivateBest {
		return err
	}
	if err := u.Reset(ctx); err != nil { // it said that it could do without
		return fmt.Errorf("the drive has taken firmware %s, and was to be reset to run it: %w", u.Version, err)
	}
	done.Pending = ""
	return u.verify(ctx, d, done)
}

func (d *drive) commit(ctx context.Context, done *Updated, action uint32) error {
	c := &Command{Opcode: opFirmwareCommit, CDW10: uint32(done.Slot) | action<<3, Timeout: commitTime}
	err := d.do(ctx, c)
	done.Mixed = done.Mixed || err == nil && c.Result&3 != 0
	if err != nil {
		return fmt.Errorf("firmware commit to slot %d: %w", done.Slot, err)
	}
	return nil
}

// refused says what a commit means that failed.
func (u Update) refused(ctx context.Context, d *drive, done *Updated, err error) error {
	switch {
	case errors.Is(err, InvalidFirmwareImage):
		err = fmt.Errorf("the drive refuses the image, which is damaged or for another model: %w", err)
	case errors.Is(err, ActivationProhibited):
		err = fmt.Errorf("the drive does not allow this version, as a downgrade or by its vendor's rules: %w", err)
	case errors.Is(err, InvalidFirmwareSlot):
		err = fmt.Errorf("the drive does not let slot %d be written: %w", done.Slot, err)
	}
	now, readErr := d.firmware(ctx)
	if readErr != nil {
		return fmt.Errorf("%w; what it runs now cannot be read: %w", err, readErr)
	}
	done.After = now
	if now.Firmware == done.Before.Firmware && now.Slots == done.Before.Slots {
		return fmt.Errorf("%w: %w", ErrUnchanged, err)
	}
	return fmt.Errorf("%w; the drive runs %s now, slot %d, and after a reset that of slot %d", err, now.Firmware, now.Slots.Active, now.Slots.Next)
}

// verifyPause is the time between two looks whether the new firmware runs.
const verifyPause = 500 * time.Millisecond

// verify waits until the drive runs the version. A drive that answers with
// another version than before runs something else than was said.
func (u Update) verify(ctx context.Context, d *drive, done *Updated) error {
	deadline := time.Now().Add(d.activationTime())
	for {
		now, err := d.firmware(ctx)
		if err == nil {
			done.After = now
		}
		late := time.Now().After(deadline)
		switch {
		case err == nil && now.Firmware == u.Version:
			return nil
		case err == nil && now.Firmware != done.Before.Firmware:
			return fmt.Errorf("the drive runs firmware %s now, not %s as was said of the image", now.Firmware, u.Version)
		case err != nil && late:
			return fmt.Errorf("the drive does not answer since it was to activate its new firmware: %w", err)
		case late && now.Slots.Next != 0 && now.Slots.Next == done.Slot:
			done.Pending = "reset of the machine"
			return nil
		case late:
			return fmt.Errorf("the drive has taken the image and still runs firmware %s", now.Firmware)
		}
		if err := erasure.Sleep(ctx, verifyPause); err != nil {
			return err
		}
	}
}
