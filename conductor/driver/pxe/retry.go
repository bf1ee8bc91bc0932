package pxe

import (
	"context"

	"ferric/conductor/driver"
	"ferric/conductor/task"
)

// RetryRamdisk makes the machine boot over the network once more; what it gets
// there is in its row already.
func (b *Boot) RetryRamdisk(ctx context.Context, t *task.Task) error {
	return b.setBootDevice(ctx, t, driver.BootPXE, false)
}

var _ driver.BootRetrier = (*Boot)(nil)
