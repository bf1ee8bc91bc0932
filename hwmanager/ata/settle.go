package ata

import (
	"context"
	"errors"
	"fmt"

	"ferric/hwmanager/erasure"
	"ferric/images/disk"
)

// Settle frees a disk that an interrupted erase has left locked, which fails
// every read until then: it unlocks the disk and disables the password. What is
// left of the content stays. It is nil at once for what is no ATA disk, or is
// not locked. The error is ErrLocked where the password is somebody else's.
func Settle(ctx context.Context, dev *disk.Device, options Options) error {
	err := dev.Writable()
	if err == nil {
		err = driveOf(dev, options).free(ctx)
	}
	if errors.Is(err, erasure.ErrNotSupported) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("unlock disk %s: %w", dev.Path, err)
	}
	return nil
}

func (d *drive) free(ctx context.Context) error {
	id, err := d.identify(ctx)
	switch {
	case err != nil:
		return unsupported(err)
	case !d.whole(id) || !id.Security.Locked:
		return nil
	case id.Security.Expired:
		return both(ErrExpired, ErrLocked)
	}
	password, err := d.open(ctx)
	if err != nil {
		return err
	}
	return d.giveBack(ctx, password)
}
