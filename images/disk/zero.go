package disk

import (
	"errors"
	"fmt"
	"io"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Zero makes n bytes from off read as zeros. It uses the command of the device
// that guarantees this (BLKZEROOUT; a hole in a regular file) and writes zeros
// where there is none or the range is not aligned to sectors.
func (d *Device) Zero(off, n int64) error {
	if off < 0 || n < 0 || n > d.Size-off {
		return fmt.Errorf("zero %d bytes at %d of disk %s of %d bytes: %w", n, off, d.Path, d.Size, io.ErrShortWrite)
	}
	unit := int64(d.Sector)
	start := min((off+unit-1)/unit*unit, off+n)
	end := max((off+n)/unit*unit, start)
	if err := d.writeZeros(off, start-off); err != nil {
		return err
	}
	if end > start {
		if err := d.zeroSectors(start, end-start); err != nil {
			return err
		}
	}
	return d.writeZeros(end, off+n-end)
}

func (d *Device) zeroSectors(off, n int64) error {
	var err error
	if d.block {
		err = ioctlRange(d.buffered.Fd(), unix.BLKZEROOUT, d.base+off, n)
	} else {
		err = unix.Fallocate(int(d.buffered.Fd()), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, d.base+off, n)
	}
	switch {
	case err == nil:
		return nil
	case errors.Is(err, unix.EOPNOTSUPP), errors.Is(err, unix.ENOTTY), errors.Is(err, unix.EINVAL), errors.Is(err, unix.ENOSYS):
		return d.writeZeros(off, n)
	}
	return fmt.Errorf("zero %d bytes at %d of disk %s: %w", n, off, d.Path, err)
}

func ioctlRange(fd uintptr, request uint, off, n int64) error {
	area := [2]uint64{uint64(off), uint64(n)}
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, fd, uintptr(request), uintptr(unsafe.Pointer(&area)))
	runtime.KeepAlive(&area)
	if errno != 0 {
		return errno
	}
	return nil
}

func (d *Device) writeZeros(off, n int64) error {
	if n <= 0 {
		return nil
	}
	zeros := Buffer(int(min(n, 1<<20)))
	for n > 0 {
		k, err := d.WriteAt(zeros[:min(n, int64(len(zeros)))], off)
		if err != nil {
			return err
		}
		off, n = off+int64(k), n-int64(k)
	}
	return nil
}
