// Package nvme has NVMe drives erase themselves, by the Sanitize and Format NVM
// commands, and take new firmware, through the ioctls of Linux on an open disk
// or controller.
//
// Sections named are those of the NVM Express Base Specification 2.0, and of
// the NVM Command Set Specification 1.0 where it says so.
package nvme

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"ferric/hwmanager/erasure"
	"ferric/images/disk"
)

// Transport carries admin commands to a controller. The drive's is made by
// Open; a model of a controller may stand in its place.
type Transport interface {
	// NamespaceID is the identifier of the namespace that the disk is;
	// erasure.ErrNotSupported if it is none.
	NamespaceID(ctx context.Context) (uint32, error)
	// Do performs a command. A status of the controller other than success is a
	// Status.
	Do(ctx context.Context, c *Command) error
}

// Command is an admin command (section 3.3.3.1, Submission Queue Entry).
type Command struct {
	Opcode       byte
	Namespace    uint32 // NSID
	CDW10, CDW11 uint32
	Data         []byte        // what is sent, or is answered, by the direction of the opcode; nil for none
	Timeout      time.Duration // after which the kernel aborts it
	Result       uint32        // dword 0 of the completion
}

// answers reports whether data goes from the controller to the host: bits 1:0 of
// the opcode (section 5, "Opcodes for Admin Commands").
func (c *Command) answers() bool { return c.Opcode&3 == 2 }

// Numbers of linux/nvme_ioctl.h: _IO('N', 0x40) and
// _IOWR('N', 0x41, struct nvme_admin_cmd), which has 72 bytes.
const (
	ioctlID       = 0x4e40
	ioctlAdminCmd = 0xc0484e41
)

// passthru is struct nvme_passthru_cmd of linux/nvme_ioctl.h.
type passthru struct {
	opcode, flags                            uint8
	_                                        uint16
	nsid, cdw2, cdw3                         uint32
	metadata, addr                           uint64
	metadataLen, dataLen                     uint32
	cdw10, cdw11, cdw12, cdw13, cdw14, cdw15 uint32
	timeoutMS, result                        uint32
}

// ioctls is the transport of an open disk.
type ioctls struct{ disk *disk.Device }

// Open is the transport to the controller of an open disk. It lives as long as
// the disk is open.
func Open(dev *disk.Device) Transport { return ioctls{dev} }

// NamespaceID implements Transport.
func (t ioctls) NamespaceID(ctx context.Context) (uint32, error) {
	if !t.disk.IsBlock() {
		return 0, fmt.Errorf("%s is no NVMe namespace: %w", t.disk.Path, erasure.ErrNotSupported)
	}
	var id uintptr
	err := erasure.Call(ctx, func() (err error) {
		id, err = ioctl(t.disk.File(), ioctlID, nil)
		return err
	})
	switch {
	// ENOTTY and EINVAL are what other block drivers say to an unknown ioctl.
	case errors.Is(err, unix.ENOTTY), errors.Is(err, unix.EINVAL), errors.Is(err, unix.EOPNOTSUPP):
		return 0, fmt.Errorf("%s is no NVMe namespace: %w", t.disk.Path, erasure.ErrNotSupported)
	case err != nil:
		return 0, fmt.Errorf("namespace of %s: %w", t.disk.Path, err)
	}
	return uint32(id), nil
}

// Do implements Transport.
func (t ioctls) Do(ctx context.Context, c *Command) error { return admin(ctx, t.disk.File(), c) }

// admin performs a command by the ioctl on an open disk or controller.
func admin(ctx context.Context, file *os.File, c *Command) error {
	// The call may outlive the caller: it works on memory of its own.
	data := slices.Clone(c.Data)
	cmd := &passthru{
		opcode: c.Opcode, nsid: c.Namespace, cdw10: c.CDW10, cdw11: c.CDW11,
		dataLen: uint32(len(data)), timeoutMS: uint32(c.Timeout.Milliseconds()),
	}
	err := erasure.Call(ctx, func() error {
		var pin runtime.Pinner
		defer pin.Unpin()
		if len(data) > 0 {
			pin.Pin(&data[0])
			cmd.addr = uint64(uintptr(unsafe.Pointer(&data[0])))
		}
		status, err := ioctl(file, ioctlAdminCmd, unsafe.Pointer(cmd))
		if errors.Is(err, unix.EINTR) {
			return errAborted // what Linux makes of a command that it has cancelled
		}
		if err != nil {
			return err
		}
		if s := Status(status); s.code() != 0 {
			return s
		}
		return nil
	})
	if err != nil {
		return err
	}
	if c.answers() {
		copy(c.Data, data)
	}
	c.Result = cmd.result
	return nil
}

// errAborted: the kernel gave up waiting for the controller, or reset it.
var errAborted = errors.New("the controller did not answer and was reset")

func ioctl(file *os.File, number uintptr, arg unsafe.Pointer) (uintptr, error) {
	result, _, errno := unix.Syscall(unix.SYS_IOCTL, file.Fd(), number, uintptr(arg))
	runtime.KeepAlive(file)
	if errno != 0 {
		return 0, errno
	}
	return result, nil
}
