package generic

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"ferric/api/ipa"
	"ferric/hwmanager"
	"ferric/hwmanager/ata"
	"ferric/hwmanager/erasure"
	"ferric/images/disk"
)

// rung is one way in which a disk erases itself.
type rung struct {
	method  string // one of the Method constants
	enabled func(eraseOptions) bool
	// applies tells by how the disk is attached whether it is worth asking.
	applies func(ipa.BlockDevice, *disk.Device) bool
	// erase answers as the functions of package erasure do. It has deadlines
	// of its own, by what the disk says that it takes.
	erase func(ctx context.Context, device *disk.Device, o eraseOptions, progress func(fraction float64)) (erasure.Method, error)
	// settle makes a disk usable that is not because of an erase that was cut
	// off; what is on it stays. It is nil where there is nothing to settle.
	settle func(ctx context.Context, device *disk.Device) error
}

// climb is the erasing of one disk: the ways of the ladder one after the other,
// and what became of each.
type climb struct {
	device   *disk.Device
	options  eraseOptions
	samples  *samples
	marked   bool  // the samples are written
	unmarked error // why they could not be
	report   func(hwmanager.EraseProgress)
	done     ipa.DeviceErase
}

// EraseBlockDevice implements hwmanager.DiskEraser (agent contract, section
// "erase_devices"): the disk erases itself in the first way that it has and that
// is allowed, else it is overwritten. A way that was tried and failed fails the
// disk, unless the node wants it to be overwritten then. What is on it is not
// looked at.
func (m *Manager) EraseBlockDevice(ctx context.Context, h *hwmanager.Host, node hwmanager.Node, device ipa.BlockDevice, report func(hwmanager.EraseProgress)) (ipa.DeviceErase, error) {
	options, err := eraseOptionsOf(node)
	if err != nil {
		return ipa.DeviceErase{}, ipa.BlockDeviceErase.New("%v", err)
	}
	c, err := m.openClimb(ctx, h, device, options, report)
	if err != nil {
		return ipa.DeviceErase{Method: ipa.MethodOverwrite}, err
	}
	erased, err := c.secure(ctx, m.rungs, device)
	if err == nil && !erased {
		err = c.overwrite(ctx, !device.Rotational)
	}
	return c.done, errors.Join(err, c.device.Close())
}

// openClimb opens the disk behind the fence.
func (m *Manager) openClimb(ctx context.Context, h *hwmanager.Host, device ipa.BlockDevice, options eraseOptions, report func(hwmanager.EraseProgress)) (*climb, error) {
	opened, err := claim(ctx, h, device)
	if err != nil {
		return nil, err
	}
	return &climb{device: opened, options: options, samples: newSamples(opened), report: report}, nil
}

// secure tries the ways in which the disk erases itself. It is not erased if it
// has none, or if what it did could not be verified, or failed and may be made
// up for.
func (c *climb) secure(ctx context.Context, rungs []rung, device ipa.BlockDevice) (erased bool, err error) {
	for _, r := range rungs {
		if !r.applies(device, c.device) {
			continue
		}
		attempt := ipa.EraseAttempt{Method: r.method}
		if !r.enabled(c.options) {
			attempt.Outcome, attempt.Detail = ipa.EraseDisabled, "by an option of the node"
			c.record(attempt)
			continue
		}
		attempt.Start = utcNow()
		name, err := c.try(ctx, r, &attempt)
		attempt.End = utcNow()
		c.record(attempt)
		switch {
		case errors.Is(err, erasure.ErrNotSupported):
			continue
		case err == nil && attempt.Outcome == ipa.EraseDone:
			return true, nil
		case err == nil:
			return false, nil
		case ctx.Err() != nil || !c.options.continueIfFailed, errors.Is(err, ata.ErrPasswordLeft):
			// Overwriting takes no password away: at its next start the disk is locked.
			return false, fmt.Errorf("%s: %w", name, err)
		}
		return false, nil
	}
	return false, nil
}

// try is one rung: the attempt tells what became of it.
func (c *climb) try(ctx context.Context, r rung, attempt *ipa.EraseAttempt) (name string, err error) {
	if !c.marked {
		c.unmarked = c.mark(ctx, r)
		c.marked = c.unmarked == nil
	}
	method, err := r.erase(ctx, c.device, c.options, func(fraction float64) {
		c.report(hwmanager.EraseProgress{Fraction: fraction})
	})
	name = r.method
	if method.Name != "" {
		attempt.Detail = method.Name
		name += " (" + method.Name + ")"
	}
	if errors.Is(err, erasure.ErrNotSupported) {
		attempt.Outcome, attempt.Detail = ipa.EraseUnsupported, err.Error()
		return name, err
	}
	if err == nil && c.unmarked == nil {
		expected := ipa.ExpectGone
		if method.Leaves == erasure.Zeros {
			expected = ipa.ExpectZeros
		}
		attempt.Verified, err = c.samples.check(ctx, expected, method.Unreadable)
		if err == nil && method.Unreadable {
			err = c.makeReadable()
		}
	}
	switch {
	case err != nil:
		attempt.Outcome, attempt.Detail = ipa.EraseFailed, withDetail(attempt.Detail, err)
	case c.unmarked != nil:
		attempt.Outcome = ipa.EraseUnverified
		attempt.Detail = withDetail(attempt.Detail, fmt.Errorf("samples could not be written before, so it is overwritten, too: %w", c.unmarked))
	default:
		attempt.Outcome = ipa.EraseDone
	}
	return name, err
}

// mark writes the samples, on a disk that takes no writes once it has been settled.
func (c *climb) mark(ctx context.Context, r rung) error {
	err := c.samples.mark(ctx)
	if err != nil && r.settle != nil {
		if err := r.settle(ctx, c.device); err != nil {
			return err
		}
		err = c.samples.mark(ctx)
	}
	return err
}

// readArea is what is made readable at both ends: where partition tables and
// superblocks are looked for, in bytes.
const readArea = 1 << 20

// makeReadable writes zeros to both ends of a disk whose sectors may fail to be
// read until they are written. Nobody could tell of it that nothing on it is
// protected, and so it could not be erased again.
func (c *climb) makeReadable() error {
	n := min(readArea, c.device.Size)
	return errors.Join(c.device.Zero(0, n), c.device.Zero(c.device.Size-n, n), c.device.Sync())
}

func withDetail(detail string, err error) string {
	return strings.TrimPrefix(detail+": "+err.Error(), ": ")
}

// overwrite is the last rung. Its failure names what failed before.
func (c *climb) overwrite(ctx context.Context, flash bool) error {
	attempt := ipa.EraseAttempt{Method: ipa.MethodOverwrite, Start: utcNow()}
	err := overwrite(ctx, c.device, c.samples, c.options, flash, &attempt, c.report)
	attempt.End, attempt.Outcome = utcNow(), ipa.EraseDone
	if err != nil {
		attempt.Outcome, attempt.Detail = ipa.EraseFailed, err.Error()
		err = lastOf(ipa.MethodOverwrite, err, c.done.Attempts)
	}
	c.record(attempt)
	return err
}

// lastOf is the error of the last way that was tried, with those of the ways before.
func lastOf(method string, err error, before []ipa.EraseAttempt) error {
	err = fmt.Errorf("%s: %w", method, err)
	for _, earlier := range before {
		if earlier.Outcome == ipa.EraseFailed {
			err = fmt.Errorf("%w; before that, %s: %s", err, earlier.Method, earlier.Detail)
		}
	}
	return err
}

func (c *climb) record(attempt ipa.EraseAttempt) {
	if attempt.Outcome != ipa.EraseUnsupported && attempt.Outcome != ipa.EraseDisabled {
		c.done.Method = attempt.Method
	}
	c.done.Attempts = append(c.done.Attempts, attempt)
}

// utcNow is the time as reports have it.
func utcNow() time.Time { return time.Now().UTC().Truncate(time.Millisecond) }

// claim opens a device for writing, behind the fence. One that something else
// holds is asked again for the time of section [disk_partitioner].
func claim(ctx context.Context, h *hwmanager.Host, device ipa.BlockDevice) (*disk.Device, error) {
	target, err := h.Fence(device)
	if err != nil {
		return nil, err
	}
	for try := 0; ; try++ {
		opened, err := target.Open()
		if !errors.Is(err, disk.ErrBusy) || try >= h.Settings.CheckDeviceMaxRetries {
			return opened, err
		}
		select {
		case <-time.After(h.Settings.CheckDeviceInterval):
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}
