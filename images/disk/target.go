package disk

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
)

// Check is nil if f, open for reading or writing, is the disk that was meant,
// or a partition of it. The error says what it is instead.
type Check func(f *os.File) error

// Target is a disk that may be written to: its path, and how to tell that what
// is there is the disk that was chosen, not another one that has got its name
// meanwhile. There is no other way to a writable Device. The zero value is no
// disk: everything fails.
type Target struct {
	path  string
	check Check
}

// ErrNoTarget: nobody has decided that this disk may be written to.
var ErrNoTarget = errors.New("no disk was chosen to be written to")

// Fence makes the disk at path a target, behind the check. Who calls it decides
// which disks may be written to (in the agent hwmanager.Host.Fence alone).
func Fence(path string, check Check) Target {
	return Target{path: path, check: check}
}

// Path of the device node. It is for reading, and for messages: see Check.
func (t Target) Path() string { return t.path }

// Open opens the disk for writing, claims it and checks that it is the one that
// was chosen. It fails with ErrBusy while the disk or a partition of it is
// mounted or held.
func (t Target) Open() (*Device, error) {
	return open(t.path, os.O_RDWR, true, t.checked)
}

// OpenShared is Open for a disk of which partitions are in use that stay as they
// are: it claims nothing. It is for changing the partition table beside them.
func (t Target) OpenShared() (*Device, error) {
	return open(t.path, os.O_RDWR, false, t.checked)
}

// Check checks that the disk is still the one that was chosen. It belongs right
// before a program that writes is handed the path.
func (t Target) Check() error {
	d, err := open(t.path, os.O_RDONLY, false, t.checked)
	if err != nil {
		return err
	}
	return d.Close()
}

// Partition is partition number of the disk as a target.
func (t Target) Partition(number int) Target {
	return Target{path: Node(t.path, number), check: t.check}
}

func (t Target) checked(f *os.File) error {
	if t.check == nil {
		return ErrNoTarget
	}
	return t.check(f)
}

// Wipe removes what identifies the content of the disk or partition:
// partition tables, RAID superblocks and file-system signatures at both ends.
// It is on the medium when Wipe returns.
func (t Target) Wipe(ctx context.Context) error {
	d, err := t.Open()
	if err != nil {
		return fmt.Errorf("wipe metadata: %w", err)
	}
	defer d.Close()
	if err := d.WipeEnds(ctx); err != nil {
		return fmt.Errorf("wipe metadata: %w", err)
	}
	return d.Sync()
}

// Node is the path of partition number of the disk at device: /dev/sda1,
// /dev/nvme0n1p1.
func Node(device string, number int) string {
	if device != "" && device[len(device)-1] >= '0' && device[len(device)-1] <= '9' {
		return device + "p" + strconv.Itoa(number)
	}
	return device + strconv.Itoa(number)
}
