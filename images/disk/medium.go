package disk

import (
	"errors"
	"fmt"
	"io"

	"golang.org/x/sys/unix"
)

// ReadMedium reads n bytes at off from the medium rather than from the page
// cache, where the kernel lets it: direct tells. Both are multiples of the
// sector size. What was written must have been synced.
func (d *Device) ReadMedium(off int64, n int) (p []byte, direct bool, err error) {
	if off < 0 || n < 0 || int64(n) > d.Size-off {
		return nil, false, fmt.Errorf("read %d bytes at %d of disk %s of %d bytes: %w", n, off, d.Path, d.Size, io.ErrUnexpectedEOF)
	}
	p = Buffer(n)
	if d.direct != nil {
		_, err := d.direct.ReadAt(p, d.base+off)
		if err == nil {
			return p, true, nil
		}
		if !errors.Is(err, unix.EINVAL) { // of file systems that want other alignment
			return nil, true, fmt.Errorf("read disk %s at %d: %w", d.Path, off, err)
		}
	}
	// A request: where the kernel ignores it, the pages are read that are there.
	_ = unix.Fadvise(int(d.buffered.Fd()), d.base+off, int64(n), unix.FADV_DONTNEED)
	if _, err := d.buffered.ReadAt(p, d.base+off); err != nil {
		return nil, false, fmt.Errorf("read disk %s at %d: %w", d.Path, off, err)
	}
	return p, false, nil
}

// WriteZeroes has a block device, or the kernel in its place, write zeros to n
// bytes from off, multiples of the sector size (BLKZEROOUT: the kernel forbids
// the device to deallocate instead, linux block/ioctl.c: BLKDEV_ZERO_NOUNMAP).
// The error is errors.ErrUnsupported where there is no such request.
func (d *Device) WriteZeroes(off, n int64) error {
	return d.rangeRequest("write zeroes", unix.BLKZEROOUT, off, n)
}

// Discard tells a block device that the content of n bytes from off, multiples
// of the sector size, is no longer needed. What is read there afterwards is up
// to the device, so it erases nothing. The error is errors.ErrUnsupported where
// the device does not want to know.
func (d *Device) Discard(off, n int64) error {
	return d.rangeRequest("discard", unix.BLKDISCARD, off, n)
}

func (d *Device) rangeRequest(name string, request uint, off, n int64) error {
	if off < 0 || n < 0 || n > d.Size-off {
		return fmt.Errorf("%s %d bytes at %d of disk %s of %d bytes: %w", name, n, off, d.Path, d.Size, io.ErrShortWrite)
	}
	if !d.block {
		return errors.ErrUnsupported
	}
	err := ioctlRange(d.buffered.Fd(), request, d.base+off, n)
	if errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.ENOTTY) || errors.Is(err, unix.ENOSYS) {
		return errors.ErrUnsupported
	}
	if err != nil {
		return fmt.Errorf("%s %d bytes at %d of disk %s: %w", name, n, off, d.Path, err)
	}
	return nil
}
