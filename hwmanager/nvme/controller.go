package nvme

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"ferric/hwmanager/erasure"
)

// Device is an open controller: /dev/nvme0. It is there for drives without
// namespaces, too, and claims no disk.
type Device struct {
	file *os.File
	name string
}

// OpenController opens a controller. Root may send every command through it, so
// what changes a drive has to be allowed before.
func OpenController(path string) (*Device, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("open controller: %w", err)
	}
	if info.Mode()&os.ModeCharDevice == 0 {
		return nil, fmt.Errorf("open controller %s: no character device: %w", path, erasure.ErrNotSupported)
	}
	f, err := os.OpenFile(path, os.O_RDONLY, 0)
	if err != nil {
		return nil, fmt.Errorf("open controller: %w", err)
	}
	return &Device{file: f, name: path}, nil
}

// NamespaceID implements Transport: a controller is none.
func (d *Device) NamespaceID(context.Context) (uint32, error) {
	return 0, fmt.Errorf("%s is no NVMe namespace: %w", d.name, erasure.ErrNotSupported)
}

// Do implements Transport.
func (d *Device) Do(ctx context.Context, c *Command) error {
	err := admin(ctx, d.file, c)
	if errors.Is(err, unix.ENOTTY) {
		return fmt.Errorf("%s is no NVMe controller: %w", d.name, erasure.ErrNotSupported)
	}
	return err
}

// Close implements io.Closer.
func (d *Device) Close() error { return d.file.Close() }

// cnsControllers lists the controllers of the NVM subsystem (section 5.17.2.15).
const cnsControllers = 0x13

// Controllers are the identifiers of all controllers of the drive. Such of them
// as this machine does not have may be another machine's, or functions that are
// not in use. A drive that may have several and does not list them is an error.
func Controllers(ctx context.Context, t Transport) ([]uint16, error) {
	d := &drive{transport: t}
	answer, err := d.identify(ctx, cnsController, 0)
	if err != nil {
		return nil, fmt.Errorf("identify controller: %w", err)
	}
	c, err := ParseController(answer)
	if err != nil {
		return nil, err
	}
	if c.CMIC&CMICControllers == 0 {
		return []uint16{c.ID}, nil
	}
	if answer, err = d.identify(ctx, cnsControllers, 0); err != nil {
		return nil, fmt.Errorf("list controllers of the drive: %w", err)
	}
	n := int(binary.LittleEndian.Uint16(answer))
	if n > identifySize/2-1 {
		return nil, fmt.Errorf("list controllers of the drive: %d of them", n)
	}
	all := make([]uint16, n)
	for i := range all {
		all[i] = binary.LittleEndian.Uint16(answer[2+2*i:])
	}
	return all, nil
}

// resetWait bounds the reset of a controller: three minutes of the kernel's, and
// the time for its disks to be there again.
const (
	resetWait = 5 * time.Minute
	resetPoll = 100 * time.Millisecond
)

// Reset resets the controller with the directory /sys/class/nvme/nvme0, and
// returns when the kernel works with it again. What was under way to its disks is
// sent again by the kernel.
func Reset(ctx context.Context, dir string) error {
	ctx, cancel := context.WithTimeoutCause(ctx, resetWait, fmt.Errorf("it is not back after %s", resetWait))
	defer cancel()
	name := filepath.Base(dir)
	err := erasure.Call(ctx, func() error {
		return os.WriteFile(filepath.Join(dir, "reset_controller"), []byte("1"), 0)
	})
	if err != nil {
		return fmt.Errorf("reset controller %s: %w", name, err)
	}
	for {
		text, err := os.ReadFile(filepath.Join(dir, "state"))
		state := strings.TrimSpace(string(text))
		switch {
		case err != nil:
			return fmt.Errorf("reset controller %s: the kernel has given it up: %w", name, err)
		case state == "live":
			return nil
		case state == "dead" || strings.HasPrefix(state, "deleting"):
			return fmt.Errorf("reset controller %s: the kernel has given it up (%s)", name, state)
		}
		if err := erasure.Sleep(ctx, resetPoll); err != nil {
			return fmt.Errorf("reset controller %s, which is %s: %w", name, state, err)
		}
	}
}
