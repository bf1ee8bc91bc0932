package capsule

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"ferric/hwmanager/erasure"
)

// ErrRefused: the firmware does not take the capsule in this way.
var ErrRefused = errors.New("the firmware refuses the capsule")

// loadTime bounds the writing of a capsule to memory, and what the firmware does
// when it gets it.
const loadTime = 5 * time.Minute

// Load hands a capsule to the firmware through the kernel's driver capsule-loader,
// whose file is at path. It lies in memory until the machine is reset: a reset
// that keeps the memory has the firmware find it, a power cycle loses it. Whether
// the firmware takes it at all is known here, what becomes of it after the reset.
func Load(ctx context.Context, path string, r io.Reader) error {
	ctx, cancel := context.WithTimeoutCause(ctx, loadTime, fmt.Errorf("it does not come back from it within %s", loadTime))
	defer cancel()
	err := erasure.Call(ctx, func() (err error) {
		f, err := os.OpenFile(path, os.O_WRONLY, 0)
		if err != nil {
			return err
		}
		// The driver has the firmware take it with the last byte, and says at closing
		// that bytes were missing.
		_, err = io.Copy(f, r)
		return errors.Join(err, f.Close())
	})
	switch {
	case err == nil:
		return nil
	case errors.Is(err, unix.ENOSPC):
		return fmt.Errorf("%w: it is larger than it takes: %w", ErrRefused, err)
	case errors.Is(err, unix.EINVAL), errors.Is(err, unix.ENOSYS), errors.Is(err, unix.EACCES), errors.Is(err, unix.EIO), errors.Is(err, unix.ENOENT), errors.Is(err, unix.ENODEV), errors.Is(err, unix.ENXIO):
		return fmt.Errorf("%w: %w", ErrRefused, err)
	}
	return fmt.Errorf("hand the capsule to the firmware: %w", err)
}

// ErrResets: the capsule resets the machine when it is handed over, and may not be
// changed.
var ErrResets = errors.New("the capsule has the firmware reset the machine at once")

// Deferred is the capsule without its order to reset the machine when it is handed
// over, which would take the machine from under the agent. The header of a managed
// capsule is no part of what is signed; others stay as they are.
func (c *Capsule) Deferred(r io.ReaderAt) (io.Reader, error) {
	whole := io.NewSectionReader(r, 0, c.Size)
	if c.Flags&FlagReset == 0 {
		return whole, nil
	}
	if !c.Managed() {
		return nil, ErrResets
	}
	h, err := read(r, c.Size, 0, headerSize)
	if err != nil {
		return nil, err
	}
	binary.LittleEndian.PutUint32(h[flagsAt:], c.Flags&^FlagReset)
	return io.MultiReader(&bytesReader{h}, io.NewSectionReader(r, headerSize, c.Size-headerSize)), nil
}

// bytesReader is a bytes.Reader without WriteTo: the header and what follows go
// to the driver in pieces of one size.
type bytesReader struct{ b []byte }

func (r *bytesReader) Read(p []byte) (int, error) {
	if len(r.b) == 0 {
		return 0, io.EOF
	}
	n := copy(p, r.b)
	r.b = r.b[n:]
	return n, nil
}
