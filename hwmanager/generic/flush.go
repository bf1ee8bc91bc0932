package generic

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

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

// erasePstore deletes what the kernel left in persistent storage of earlier
// crashes; without a pstore mount there is nothing to do.
func (m *Manager) erasePstore(_ context.Context, h *hwmanager.Host, _ hwmanager.StepCall) (any, error) {
	dir := pstoreMount(h)
	if dir == "" {
		return nil, nil
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("erase pstore: %w", err)
	}
	var failures []error
	for _, e := range entries {
		if err := os.RemoveAll(filepath.Join(dir, e.Name())); err != nil && !errors.Is(err, fs.ErrNotExist) {
			failures = append(failures, err)
		}
	}
	if err := errors.Join(failures...); err != nil {
		return nil, fmt.Errorf("erase pstore: %w", err)
	}
	return nil, nil
}

// pstoreMount is where pstore is mounted, "" if it is not.
func pstoreMount(h *hwmanager.Host) string {
	mounts, err := os.ReadFile(filepath.Join(h.Proc, "mounts"))
	if err != nil {
		return ""
	}
	for line := range strings.Lines(string(mounts)) {
		if fields := strings.Fields(line); len(fields) > 2 && fields[2] == "pstore" {
			return fields[1]
		}
	}
	return ""
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
