package generic

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"ferric/api/ipa"
	"ferric/hwmanager"
	"ferric/images/disk"
)

const (
	// fillArea is what one write of a pass takes, zeroArea one request to write
	// zeroes or to discard: seconds of work at the most, after which the step can
	// be cancelled.
	fillArea = 4 << 20
	zeroArea = 128 << 20
)

// overwriting is the erasing of one open device by writing to all of it.
type overwriting struct {
	device  *disk.Device
	samples *samples
	attempt *ipa.EraseAttempt
	planned int64 // bytes of all passes
	report  func(hwmanager.EraseProgress)
}

// overwrite fills the device with random bytes, as often as wanted, then with
// zeros. After each pass samples are read back. Flash, which has something to
// gain from it, is told at last that its content is not needed. The attempt
// tells what was done.
func overwrite(ctx context.Context, device *disk.Device, samples *samples, o eraseOptions, flash bool, attempt *ipa.EraseAttempt, report func(hwmanager.EraseProgress)) error {
	w := &overwriting{device: device, samples: samples, attempt: attempt, planned: device.Size * int64(o.passes()), report: report}
	var how []string
	for pass := range o.iterations {
		if err := w.pass(ctx, newNoise(), ipa.ExpectWritten); err != nil {
			return fmt.Errorf("random pass %d of %d: %w", pass+1, o.iterations, err)
		}
	}
	if o.iterations > 0 {
		how = append(how, fmt.Sprintf("random bytes, passes: %d", o.iterations))
	}
	if o.zeroize {
		way, err := w.zeroPass(ctx, o.iterations > 0)
		if err != nil {
			return fmt.Errorf("pass of zeros: %w", err)
		}
		how = append(how, way)
	}
	if flash && o.zeroize {
		note, err := w.discard(ctx)
		if err != nil {
			return fmt.Errorf("after the discard: %w", err)
		}
		how = append(how, note)
	}
	attempt.Detail = strings.Join(how, "; ")
	return nil
}

// pass is one overwrite of everything; next fills a buffer with what is to be
// written, while the one before is on its way.
func (w *overwriting) pass(ctx context.Context, next func([]byte), expected string) error {
	empty, full := make(chan []byte, 2), make(chan []byte, 2)
	empty <- disk.Buffer(fillArea)
	empty <- disk.Buffer(fillArea)
	go func() {
		defer close(full)
		for buf := range empty {
			next(buf)
			full <- buf
		}
	}()
	err := w.drain(ctx, full, empty)
	close(empty)
	for range full { // until nobody fills them any more
	}
	if err != nil {
		return err
	}
	return w.endOfPass(ctx, expected)
}

// drain writes full buffers until the device is full.
func (w *overwriting) drain(ctx context.Context, full <-chan []byte, empty chan<- []byte) error {
	for off := int64(0); off < w.device.Size; off += fillArea {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		buf := <-full
		if err := w.write(buf[:min(fillArea, w.device.Size-off)], off); err != nil {
			return err
		}
		empty <- buf
	}
	return nil
}

// write writes p and, if that fails, finds the sector that is to blame.
func (w *overwriting) write(p []byte, off int64) error {
	_, err := w.device.WriteAt(p, off)
	if err != nil {
		for done := 0; done < len(p); done += sampleSize {
			part := p[done:min(done+sampleSize, len(p))]
			if _, exact := w.device.WriteAt(part, off+int64(done)); exact != nil {
				return exact
			}
		}
		return err // also if each part of it could be written: the device is not to be trusted
	}
	w.samples.observe(off, p)
	w.wrote(int64(len(p)))
	return nil
}

func (w *overwriting) wrote(n int64) {
	w.attempt.Written += n
	w.report(hwmanager.EraseProgress{Fraction: float64(w.attempt.Written) / float64(w.planned), Written: w.attempt.Written})
}

// endOfPass brings a pass to the medium and reads samples of it back.
func (w *overwriting) endOfPass(ctx context.Context, expected string) error {
	if err := w.device.Sync(); err != nil {
		return err
	}
	check, err := w.samples.check(ctx, expected, false)
	w.attempt.Verified = check
	if err != nil {
		return err
	}
	w.attempt.Passes++
	return nil
}

// zeroPass makes the device zero, and says how. It has the device write the
// zeros itself only where random bytes have been written before: a device that
// takes the request for one to deallocate, or has zeros nowhere but in a map,
// has lost what it held already.
func (w *overwriting) zeroPass(ctx context.Context, overwritten bool) (string, error) {
	if !overwritten {
		// Zeros would prove nothing where there were zeros before.
		if err := w.samples.mark(ctx); err != nil {
			return "", err
		}
		return "zeros, written", w.pass(ctx, clearBytes, ipa.ExpectZeros)
	}
	for off := int64(0); off < w.device.Size; {
		if ctx.Err() != nil {
			return "", context.Cause(ctx)
		}
		n := min(zeroArea, w.device.Size-off)
		err := w.device.WriteZeroes(off, n)
		if errors.Is(err, errors.ErrUnsupported) && off == 0 {
			return "zeros, written", w.pass(ctx, clearBytes, ipa.ExpectZeros)
		}
		if err != nil {
			return "", err
		}
		off += n
		w.wrote(n)
	}
	return "zeros, by the request to write zeroes", w.endOfPass(ctx, ipa.ExpectZeros)
}

func clearBytes(p []byte) { clear(p) }

// discard tells the device that nothing on it is needed, which spares flash. That
// it fails to is noted and no more: there are bridges that announce it and refuse
// it. A device may read as anything afterwards; one that does not read as zeros is
// overwritten with them once more.
func (w *overwriting) discard(ctx context.Context) (string, error) {
	note := "discarded after that"
	for off := int64(0); off < w.device.Size; {
		if ctx.Err() != nil {
			return "", context.Cause(ctx)
		}
		n := min(zeroArea, w.device.Size-off)
		err := w.device.Discard(off, n)
		if errors.Is(err, errors.ErrUnsupported) && off == 0 {
			return "no discard, which the device does not know", nil
		}
		if err != nil {
			note = "not discarded: " + err.Error()
			break
		}
		off += n
	}
	check, err := w.samples.check(ctx, ipa.ExpectZeros, false)
	if err == nil {
		w.attempt.Verified = check
		return note, nil
	}
	if !errors.Is(err, errLiar) {
		return "", err
	}
	w.planned += w.device.Size
	return note + ", and zeros once more, written, for it does not read as zeros then", w.pass(ctx, clearBytes, ipa.ExpectZeros)
}
