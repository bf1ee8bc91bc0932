package disk

import (
	"errors"
	"fmt"
	"io"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// ErrBusy: the disk, or a partition of it, is mounted or held by something else.
var ErrBusy = errors.New("in use")

// Device is an open block device, or a regular file that stands for a disk.
// Its methods may be called from several goroutines.
type Device struct {
	Path   string
	Size   int64 // bytes
	Sector int   // logical sector size in bytes

	base     int64 // of a section
	block    bool
	writable bool
	buffered *os.File
	direct   *os.File // nil where the kernel refuses O_DIRECT
}

// OpenReadOnly opens the disk at path for reading and claims nothing.
func OpenReadOnly(path string) (*Device, error) {
	return open(path, os.O_RDONLY, false, func(*os.File) error { return nil })
}

// open opens a disk that passes the check, and claims it if that is wanted and
// it is a block device.
func open(path string, mode int, claim bool, check Check) (*Device, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("open disk: %w", err)
	}
	d := &Device{Path: path, Sector: 512, writable: mode != os.O_RDONLY}
	switch {
	case info.Mode()&os.ModeDevice != 0 && info.Mode()&os.ModeCharDevice == 0:
		d.block = true
	case !info.Mode().IsRegular():
		return nil, fmt.Errorf("open disk %s: neither a block device nor a regular file", path)
	}
	if d.block && claim {
		mode |= unix.O_EXCL // without O_CREAT: claims the block device (open(2))
	}
	d.buffered, err = os.OpenFile(path, mode, 0)
	if errors.Is(err, unix.EBUSY) {
		return nil, fmt.Errorf("open disk %s: %w", path, ErrBusy)
	}
	if err != nil {
		return nil, fmt.Errorf("open disk: %w", err)
	}
	if err := errors.Join(same(info, d.buffered), check(d.buffered)); err != nil {
		d.Close()
		return nil, fmt.Errorf("open disk %s: %w", path, err)
	}
	if d.Size, err = d.buffered.Seek(0, io.SeekEnd); err != nil {
		d.Close()
		return nil, fmt.Errorf("size of disk %s: %w", path, err)
	}
	if d.block {
		if d.Sector, err = unix.IoctlGetInt(int(d.buffered.Fd()), unix.BLKSSZGET); err != nil {
			d.Close()
			return nil, fmt.Errorf("sector size of disk %s: %w", path, err)
		}
	}
	if d.writable {
		// Direct writes spare the page cache, whose copying is what limits
		// buffered ones. The second descriptor shares the first one's claim,
		// so it must not ask for a claim of its own; it is opened through
		// the first, whatever has the path by now.
		d.direct, _ = os.OpenFile(fmt.Sprintf("/proc/self/fd/%d", d.buffered.Fd()), os.O_RDWR|unix.O_DIRECT, 0)
	}
	return d, nil
}

// same is nil if what was opened is what was looked at before: whether it is a
// block device decides whether it is claimed.
func same(looked os.FileInfo, f *os.File) error {
	opened, err := f.Stat()
	if err != nil {
		return err
	}
	if !os.SameFile(looked, opened) {
		return errors.New("something else has got its name")
	}
	return nil
}

// Section is the part of d that a partition is: size bytes from off, as a
// device that can neither read nor write outside. It works on d's descriptors,
// so that it needs neither the kernel's idea of partitions nor a claim of its
// own: it is closed with d, and must not be closed itself. File is d's.
func (d *Device) Section(off, size int64) (*Device, error) {
	if off < 0 || size <= 0 || size > d.Size-off || off%int64(d.Sector) != 0 {
		return nil, fmt.Errorf("section of %d bytes at %d of disk %s, which has %d bytes: %w", size, off, d.Path, d.Size, io.ErrShortWrite)
	}
	s := *d
	s.base, s.Size = d.base+off, size
	s.Path = fmt.Sprintf("%s (from byte %d)", d.Path, s.base)
	return &s, nil
}

// IsBlock reports whether this is a block device rather than a regular file.
func (d *Device) IsBlock() bool { return d.block }

// Writable is nil if the disk was opened for writing, through a Target. It
// belongs before commands that change a disk and go round the kernel's block
// layer, which lets root send them through any descriptor.
func (d *Device) Writable() error {
	if !d.writable {
		return fmt.Errorf("disk %s was opened for reading only: %w", d.Path, os.ErrPermission)
	}
	return nil
}

// File is the descriptor for ioctls and for libraries that want a file; writes
// through it are buffered.
func (d *Device) File() *os.File { return d.buffered }

// ReadAt reads through the page cache.
func (d *Device) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 || off > d.Size {
		return 0, fmt.Errorf("read at %d of disk %s of %d bytes: %w", off, d.Path, d.Size, io.EOF)
	}
	if room := d.Size - off; int64(len(p)) > room {
		n, err := d.buffered.ReadAt(p[:room], d.base+off)
		if err == nil {
			err = io.EOF
		}
		return n, err
	}
	return d.buffered.ReadAt(p, d.base+off)
}

// align is the alignment that every disk's direct writes accept.
const align = 4096

// WriteAt writes directly as much of p as is aligned (offset and memory to
// 4096 bytes), the rest through the page cache.
func (d *Device) WriteAt(p []byte, off int64) (int, error) {
	if off < 0 || int64(len(p)) > d.Size-off {
		return 0, fmt.Errorf("write %d bytes at %d to disk %s of %d bytes: %w", len(p), off, d.Path, d.Size, io.ErrShortWrite)
	}
	straight := 0
	if d.direct != nil && (d.base+off)%align == 0 && aligned(p) {
		straight = len(p) &^ (align - 1)
	}
	if straight > 0 {
		n, err := d.direct.WriteAt(p[:straight], d.base+off)
		if err != nil && !errors.Is(err, unix.EINVAL) {
			return n, fmt.Errorf("write to disk %s at %d: %w", d.Path, off, err)
		}
		if err != nil {
			straight = 0 // file systems may refuse O_DIRECT as late as here
		}
	}
	if straight < len(p) {
		n, err := d.buffered.WriteAt(p[straight:], d.base+off+int64(straight))
		if err != nil {
			return straight + n, fmt.Errorf("write to disk %s at %d: %w", d.Path, off, err)
		}
	}
	return len(p), nil
}

func aligned(p []byte) bool {
	return len(p) > 0 && uintptr(unsafe.Pointer(&p[0]))%align == 0
}

// Buffer makes a buffer of n bytes that direct writes accept.
func Buffer(n int) []byte {
	b := make([]byte, n+align)
	skip := int(-uintptr(unsafe.Pointer(&b[0])) & (align - 1))
	return b[skip : skip+n : skip+n]
}

// Sync waits until everything written is on the medium.
func (d *Device) Sync() error {
	if err := d.buffered.Sync(); err != nil {
		return fmt.Errorf("sync disk %s: %w", d.Path, err)
	}
	return nil
}

// Close gives the device back. It does not sync.
func (d *Device) Close() error {
	var err error
	if d.direct != nil {
		err = d.direct.Close()
	}
	return errors.Join(err, d.buffered.Close())
}
