package generic

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"ferric/api/ipa"
	"ferric/hwmanager"
)

// FullSync implements hwmanager.Syncer: everything on the disks, nothing left
// in caches.
func (m *Manager) FullSync(ctx context.Context, h *hwmanager.Host) error {
	unix.Sync()
	if !h.Guard.InRamdisk {
		return nil
	}
	if err := os.WriteFile(filepath.Join(h.Proc, "sys/vm/drop_caches"), []byte("3"), 0o200); err != nil {
		h.Log.WithError(err).Warn("caches not dropped")
	}
	disks, err := askFor(m, h, "list_block_devices", func(l hwmanager.DiskLister) ([]ipa.BlockDevice, error) {
		return l.BlockDevices(ctx, h, false)
	})
	if err != nil {
		return fmt.Errorf("full sync: %w", err)
	}
	for _, disk := range disks {
		if err := flushBuffers(h.DevicePath(disk.Name)); err != nil {
			h.Log.WithError(err).WithField("device", disk.Name).Warn("buffers not flushed")
		}
	}
	return nil
}

func flushBuffers(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	return errors.Join(f.Sync(), unix.IoctlSetInt(int(f.Fd()), unix.BLKFLSBUF, 0))
}

// logFiles are files of procfs that tell about disks and memory.
var logFiles = []string{"cmdline", "meminfo", "mdstat", "mounts", "partitions", "modules", "interrupts", "uptime"}

// Logs implements hwmanager.LogSource.
func (m *Manager) Logs(_ context.Context, h *hwmanager.Host, add func(name string, r io.Reader) error) error {
	for _, name := range logFiles {
		data, err := os.ReadFile(filepath.Join(h.Proc, name))
		if err != nil {
			continue // not every kernel has each
		}
		if err := add("proc/"+name, bytes.NewReader(data)); err != nil {
			return fmt.Errorf("log %s: %w", name, err)
		}
	}
	return nil
}
