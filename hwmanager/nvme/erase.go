package nvme

import (
	"context"
	"errors"

	"ferric/hwmanager/erasure"
	"ferric/images/disk"
)

// Options say what an erase may do.
type Options struct {
	// Transport stands for the drive's own if it is not nil.
	Transport Transport
	// Agreed are the identifiers of namespaces that may be erased along. A
	// sanitize erases all namespaces of the drive, for all its controllers, and
	// on some drives a format does: without agreement on every one of them,
	// such a command is not supported.
	Agreed []uint32
	// Unrestricted has a sanitize run in the unrestricted completion mode: if
	// it fails, the drive is made writable again, so that it can be overwritten.
	// In the restricted mode a drive whose sanitize failed refuses to read and
	// write until a sanitize succeeds.
	Unrestricted bool
}

// Erase has the drive erase itself: by sanitize (crypto erase, block erase), by
// format with secure erase, and last by a sanitize that overwrites. Progress,
// which may be nil, is told fractions from 0 to 1.
//
// Where the drive has none of them, or dev is no whole NVMe namespace, the error
// is erasure.ErrNotSupported and nothing was changed. Any other error means that
// a way failed that the drive has; no other is tried then, and Method.Name says
// which it was.
//
// When ctx ends, Erase returns, but a sanitize or format that was begun goes on
// in the drive, which refuses reads and writes meanwhile. The next Erase waits
// for it.
func Erase(ctx context.Context, dev *disk.Device, o Options, progress func(fraction float64)) (erasure.Method, error) {
	return o.ladder(ctx, dev, progress, func(ctx context.Context, d *drive, progress func(float64)) (erasure.Method, error) {
		method, err := d.sanitize(ctx, o, purges(), progress)
		if !errors.Is(err, erasure.ErrNotSupported) {
			return method, err
		}
		method, formatErr := d.format(ctx, o, progress)
		if !errors.Is(formatErr, erasure.ErrNotSupported) {
			return method, formatErr
		}
		method, overwriteErr := d.sanitize(ctx, o, overwrites(), progress)
		if errors.Is(overwriteErr, erasure.ErrNotSupported) {
			overwriteErr = errors.Join(err, formatErr, overwriteErr)
		}
		return method, overwriteErr
	})
}

// Sanitize is Erase by sanitize alone: crypto erase, block erase, overwrite.
func Sanitize(ctx context.Context, dev *disk.Device, o Options, progress func(fraction float64)) (erasure.Method, error) {
	return o.ladder(ctx, dev, progress, func(ctx context.Context, d *drive, progress func(float64)) (erasure.Method, error) {
		return d.sanitize(ctx, o, append(purges(), overwrites()...), progress)
	})
}

// Format is Erase by format alone. Block size, metadata and protection
// information stay as they are.
func Format(ctx context.Context, dev *disk.Device, o Options, progress func(fraction float64)) (erasure.Method, error) {
	return o.ladder(ctx, dev, progress, func(ctx context.Context, d *drive, progress func(float64)) (erasure.Method, error) {
		return d.format(ctx, o, progress)
	})
}

func (o Options) ladder(ctx context.Context, dev *disk.Device, progress func(float64), climb func(context.Context, *drive, func(float64)) (erasure.Method, error)) (erasure.Method, error) {
	if err := dev.Writable(); err != nil {
		return erasure.Method{}, err
	}
	t := o.Transport
	if t == nil {
		t = Open(dev)
	}
	if progress == nil {
		progress = func(float64) {}
	}
	d, err := identify(ctx, t, dev.Size)
	if err == nil {
		err = d.settle(ctx, progress)
	}
	if err != nil {
		return erasure.Method{}, err
	}
	return climb(ctx, d, progress)
}

// Settle waits until no sanitize is in progress, during which the drive cannot
// be read or written. It is nil at once for what is no NVMe drive.
func Settle(ctx context.Context, dev *disk.Device, o Options, progress func(fraction float64)) error {
	_, err := o.ladder(ctx, dev, progress, func(context.Context, *drive, func(float64)) (erasure.Method, error) {
		return erasure.Method{}, nil
	})
	if errors.Is(err, erasure.ErrNotSupported) {
		return nil
	}
	return err
}

// Identify is what the drive says of itself and of the namespace that dev is.
// The error is erasure.ErrNotSupported if dev is no whole NVMe namespace.
func Identify(ctx context.Context, dev *disk.Device) (Controller, Namespace, error) {
	d, err := identify(ctx, Open(dev), dev.Size)
	if err != nil {
		return Controller{}, Namespace{}, err
	}
	return d.Controller, d.ns, nil
}
