package agent

import (
	"context"
	"slices"
	"sync"
	"time"

	"ferric/api/ipa"
	"ferric/hwmanager"
)

// Disks appear late and one by one (SAS discovery, USB); nothing in the
// ramdisk tells when the last of them is there.
const (
	diskPoll = 250 * time.Millisecond
	// diskSettle is how long the list of disks has to stay as it is until it is
	// believed. It counts from the start of the agent, so that a machine whose
	// disks are all there loses nothing.
	diskSettle = 1500 * time.Millisecond
)

// diskWatch knows since when the disks are those that they are. The zero value
// has not looked yet.
type diskWatch struct {
	mu    sync.Mutex
	names []string
	since time.Time
}

// unchanged is how long the list of disks has been names, as far as is known.
func (w *diskWatch) unchanged(names []string) time.Duration {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.since.IsZero() || !slices.Equal(w.names, names) {
		w.names, w.since = names, time.Now()
	}
	return time.Since(w.since)
}

// lookAtDisks tells how long the disks have been the same.
func (a *Agent) lookAtDisks(ctx context.Context) (time.Duration, error) {
	disks, err := hwmanager.First(a.set, "list_block_devices", func(l hwmanager.DiskLister) ([]ipa.BlockDevice, error) {
		return l.BlockDevices(ctx, a.host, false)
	})
	if err != nil {
		return 0, err
	}
	var names []string
	for _, disk := range disks {
		names = append(names, disk.Name)
	}
	return a.disks.unchanged(names), nil
}

// diskPatience bounds each wait for disks.
func (a *Agent) diskPatience() time.Duration {
	return time.Duration(a.host.Settings.DiskWaitAttempts) * a.host.Settings.DiskWaitDelay
}

// settleDisks waits until no disk has come or gone for a while. Disks that
// cannot be listed, or never settle, are worth a warning.
func (a *Agent) settleDisks(ctx context.Context) error {
	deadline := time.Now().Add(a.diskPatience())
	for {
		unchanged, err := a.lookAtDisks(ctx)
		switch {
		case err != nil:
			a.log.WithError(err).Warn("not known whether all disks are there")
			return ctx.Err()
		case unchanged >= diskSettle:
			return nil
		case !time.Now().Before(deadline):
			a.log.Warn("disks still come and go")
			return nil
		}
		if err := pause(ctx, min(diskPoll, diskSettle-unchanged)); err != nil {
			return err
		}
	}
}

// waitForRoot waits for the disk that an image for the node would go to (agent
// contract, section "Start-up order"). That there is none is only worth a
// warning: the step that needs it says so.
func (a *Agent) waitForRoot(ctx context.Context, node hwmanager.Node) error {
	deadline := time.Now().Add(a.diskPatience())
	for {
		_, err := hwmanager.First(a.set, "get_os_install_device", func(r hwmanager.RootPicker) (ipa.BlockDevice, error) {
			return r.InstallDevice(ctx, a.host, node)
		})
		switch {
		case err == nil:
			return nil
		case !ipa.DeviceNotFound.Is(err) || !time.Now().Before(deadline):
			a.log.WithError(err).Warn("the node's root disk is not there")
			return ctx.Err()
		}
		if err := pause(ctx, diskPoll); err != nil {
			return err
		}
	}
}
