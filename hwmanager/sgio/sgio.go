// Package sgio sends SCSI commands to a block device through the ioctl SG_IO of
// Linux, and reads the sense data of their answers. Whoever builds commands does
// so against Transport, so that a model of a device can stand in for one.
package sgio

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// ErrNotSCSI: the device does not take SCSI commands.
var ErrNotSCSI = errors.New("the device takes no SCSI commands")

// Transport carries commands to one device.
type Transport interface {
	// Do sends a command and waits for its end. A context that is done already
	// keeps the command from being sent; once sent, it cannot be taken back,
	// and Do waits for its end or its timeout. The error says that the command
	// did not reach the device, or that nothing is known of its end; how it ended
	// is in the result.
	Do(ctx context.Context, c Command) (Result, error)
}

// Command is one SCSI command.
type Command struct {
	CDB     []byte        // at most 16 bytes
	Data    []byte        // what is sent, or the room for what is read; nil: neither
	Write   bool          // Data is sent to the device
	Timeout time.Duration // at most MaxTimeout; Linux makes at least 7 s of it
}

// Result is how a command ended.
type Result struct {
	Status   byte   // SAM-5, section "Status codes"
	Host     uint16 // what the host adapter met: DID_… of linux/include/scsi/scsi_status.h
	Driver   uint16
	Sense    []byte
	Residual int // how many bytes of Data were not transferred
}

// Status codes (SAM-5, table "Status codes").
const (
	Good           = 0x00
	CheckCondition = 0x02
)

// Results of the host adapter (linux/include/scsi/scsi_status.h, enum scsi_host_status).
const (
	HostOK        = 0x00 // DID_OK
	HostNoConnect = 0x01 // DID_NO_CONNECT: the device has gone
	HostTimeOut   = 0x03 // DID_TIME_OUT
	HostBadTarget = 0x04 // DID_BAD_TARGET
	HostError     = 0x07 // DID_ERROR
	HostReset     = 0x08 // DID_RESET
)

// MaxTimeout is the longest timeout of a command: Linux takes milliseconds that
// do not fit an int for no timeout at all (msecs_to_jiffies).
const MaxTimeout = (1<<31 - 1) * time.Millisecond

// The interface of linux/include/scsi/sg.h.
const (
	ioctlSGIO     = 0x2285 // SG_IO
	interfaceID   = 'S'
	dirNone       = -1 // SG_DXFER_NONE
	dirToDevice   = -2 // SG_DXFER_TO_DEV
	dirFromDevice = -3 // SG_DXFER_FROM_DEV
	maxCDB        = 16
	senseSize     = 252 // SPC-5, section "Sense data": the most that there is
)

// header is struct sg_io_hdr of scsi/sg.h. The pointers are real ones, so that
// the fields lie where a C compiler puts them, on 32 and on 64 bits.
type header struct {
	interfaceID    int32
	dxferDirection int32
	cmdLen         uint8
	mxSbLen        uint8
	iovecCount     uint16
	dxferLen       uint32
	dxferp         unsafe.Pointer
	cmdp           unsafe.Pointer
	sbp            unsafe.Pointer
	timeout        uint32 // ms
	flags          uint32
	packID         int32
	usrPtr         unsafe.Pointer
	status         uint8
	maskedStatus   uint8
	msgStatus      uint8
	sbLenWr        uint8
	hostStatus     uint16
	driverStatus   uint16
	resid          int32
	duration       uint32 // ms
	info           uint32
}

// File is the transport to an open block device.
type File struct{ f *os.File }

// New makes the transport to the block device that is open as f, which stays the
// caller's. A partition passes commands on to its whole disk.
func New(f *os.File) *File { return &File{f} }

// Do implements Transport. The error is ErrNotSCSI where the device has no SG_IO.
func (t *File) Do(ctx context.Context, c Command) (Result, error) {
	if ctx.Err() != nil {
		return Result{}, context.Cause(ctx)
	}
	if len(c.CDB) == 0 || len(c.CDB) > maxCDB {
		return Result{}, fmt.Errorf("scsi command of %d bytes", len(c.CDB))
	}
	// What the kernel is given lies still until it has answered.
	var pinned runtime.Pinner
	defer pinned.Unpin()
	cdb, sense := &[maxCDB]byte{}, &[senseSize]byte{}
	copy(cdb[:], c.CDB)
	h := &header{
		interfaceID: interfaceID, dxferDirection: dirNone,
		cmdLen: uint8(len(c.CDB)), cmdp: unsafe.Pointer(cdb),
		mxSbLen: senseSize, sbp: unsafe.Pointer(sense),
		timeout: uint32(min(max(c.Timeout, time.Millisecond), MaxTimeout) / time.Millisecond),
	}
	pinned.Pin(cdb)
	pinned.Pin(sense)
	pinned.Pin(h)
	if len(c.Data) > 0 {
		h.dxferDirection = dirFromDevice
		if c.Write {
			h.dxferDirection = dirToDevice
		}
		h.dxferLen = uint32(len(c.Data))
		h.dxferp = unsafe.Pointer(&c.Data[0])
		pinned.Pin(&c.Data[0])
	}
	if err := t.ioctl(h); err != nil {
		return Result{}, err
	}
	return Result{
		Status: h.status, Host: h.hostStatus, Driver: h.driverStatus,
		Sense: sense[:min(int(h.sbLenWr), senseSize)], Residual: int(h.resid),
	}, nil
}

// ioctl keeps the descriptor from being closed while the command runs.
func (t *File) ioctl(h *header) error {
	raw, err := t.f.SyscallConn()
	if err != nil {
		return fmt.Errorf("SG_IO on %s: %w", t.f.Name(), err)
	}
	var errno unix.Errno
	err = raw.Control(func(fd uintptr) {
		_, _, errno = unix.Syscall(unix.SYS_IOCTL, fd, ioctlSGIO, uintptr(unsafe.Pointer(h)))
	})
	switch {
	case err != nil:
		return fmt.Errorf("SG_IO on %s: %w", t.f.Name(), err)
	case errno == unix.ENOTTY, errno == unix.EINVAL, errno == unix.EOPNOTSUPP, errno == unix.ENOSYS:
		return fmt.Errorf("SG_IO on %s: %w (%w)", t.f.Name(), ErrNotSCSI, errno)
	case errno != 0:
		return fmt.Errorf("SG_IO on %s: %w", t.f.Name(), errno)
	}
	return nil
}
