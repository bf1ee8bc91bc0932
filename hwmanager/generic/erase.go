package generic

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"golang.org/x/sync/semaphore"

	"ferric/api/ipa"
	"ferric/hwmanager"
	"ferric/images/disk"
	"ferric/images/partition"
)

// eraseOptions are the keys of driver_internal_info that steer erasing (agent
// contract, section "erase_devices").
type eraseOptions struct {
	iterations   int
	zeroize      bool
	skipReadOnly bool
	concurrency  int
}

// maxIterations bounds agent_erase_devices_iterations: more passes than any
// standard asks for are a mistake.
const maxIterations = 100

func eraseOptionsOf(node hwmanager.Node) (eraseOptions, error) {
	o := eraseOptions{iterations: 1, zeroize: true, concurrency: 1}
	info, _ := node["driver_internal_info"].(map[string]any)
	err := errors.Join(
		intOption(info, "agent_erase_devices_iterations", 0, maxIterations, &o.iterations),
		intOption(info, "disk_erasure_concurrency", 1, 1<<10, &o.concurrency),
		boolOption(info, "agent_erase_devices_zeroize", &o.zeroize),
		boolOption(info, "agent_erase_skip_read_only", &o.skipReadOnly),
	)
	if err == nil && o.iterations == 0 && !o.zeroize {
		err = errors.New("agent_erase_devices_iterations is 0 and agent_erase_devices_zeroize is false: nothing would be erased")
	}
	return o, err
}

// bytes is how much is written to erase the disks.
func (o eraseOptions) bytes(disks []ipa.BlockDevice) int64 {
	passes := int64(o.iterations)
	if o.zeroize {
		passes++
	}
	var total int64
	for _, d := range disks {
		total += d.Size * passes
	}
	return total
}

func intOption(info map[string]any, key string, least, most int, target *int) error {
	value, given := info[key]
	if !given || value == nil {
		return nil
	}
	n, ok := value.(float64)
	if !ok || n != math.Trunc(n) || n < float64(least) || n > float64(most) {
		return fmt.Errorf("%s must be an integer from %d to %d, not %v", key, least, most, value)
	}
	*target = int(n)
	return nil
}

func boolOption(info map[string]any, key string, target *bool) error {
	value, given := info[key]
	if !given || value == nil {
		return nil
	}
	truth, ok := value.(bool)
	if !ok {
		return fmt.Errorf("%s must be a boolean, not %v", key, value)
	}
	*target = truth
	return nil
}

// eraseDevices overwrites all disks. Whether every disk may be erased is
// checked before the first one is touched; one failure fails the step, after
// all others have ended.
func (m *Manager) eraseDevices(ctx context.Context, h *hwmanager.Host, call hwmanager.StepCall) (any, error) {
	options, err := eraseOptionsOf(call.Node)
	if err != nil {
		return nil, ipa.Cleaning.New("%v", err)
	}
	disks, err := m.eraseTargets(ctx, h, call.Node, false, options.skipReadOnly)
	if err != nil {
		return nil, err
	}
	progress := startMeter(ipa.PhaseErasing, options.bytes(disks), call.Progress)
	defer progress.stop()
	places := semaphore.NewWeighted(int64(options.concurrency))
	var group sync.WaitGroup
	failures := make([]error, len(disks))
	for i, target := range disks {
		if err := places.Acquire(ctx, 1); err != nil {
			failures[i] = fmt.Errorf("%s: %w", target.Name, context.Cause(ctx))
			continue
		}
		group.Go(func() {
			defer places.Release(1)
			h.Log.WithField("device", target.Name).Info("erasing")
			_, err := askFor(m, h, "erase_block_device", func(e hwmanager.DiskEraser) (any, error) {
				return nil, e.EraseBlockDevice(ctx, h, call.Node, target, progress.add)
			})
			if err != nil {
				failures[i] = fmt.Errorf("%s: %w", target.Name, err)
			}
		})
	}
	group.Wait()
	if err := errors.Join(failures...); err != nil {
		return nil, ipa.BlockDeviceErase.New("%v", err)
	}
	results := map[string]any{}
	for _, target := range disks {
		results[target.Name] = nil
	}
	return results, nil
}

// EraseBlockDevice implements hwmanager.DiskEraser: the disk is overwritten. What
// is on it is not looked at.
func (m *Manager) EraseBlockDevice(ctx context.Context, h *hwmanager.Host, node hwmanager.Node, device ipa.BlockDevice, wrote func(n int)) error {
	options, err := eraseOptionsOf(node)
	if err != nil {
		return ipa.BlockDeviceErase.New("%v", err)
	}
	target, err := h.Fence(device)
	if err != nil {
		return err
	}
	return overwrite(ctx, target, options, wrote)
}

// eraseMetadata wipes partition tables, superblocks and signatures of all
// disks and partitions, partitions first. Failures are collected.
func (m *Manager) eraseMetadata(ctx context.Context, h *hwmanager.Host, call hwmanager.StepCall) (any, error) {
	const skipReadOnly = true
	devices, err := m.eraseTargets(ctx, h, call.Node, true, skipReadOnly)
	if err != nil {
		return nil, err
	}
	var failures []error
	for _, device := range slices.Backward(devices) {
		if err := wipe(ctx, h, device); err != nil {
			failures = append(failures, fmt.Errorf("%s: %w", device.Name, err))
			continue
		}
		h.Log.WithField("device", device.Name).Info("metadata erased")
	}
	if err := errors.Join(failures...); err != nil {
		return nil, ipa.BlockDeviceErase.New("%v", err)
	}
	return nil, nil
}

// wipe removes the metadata of a disk or partition and lets the kernel forget
// the partitions of a disk.
func wipe(ctx context.Context, h *hwmanager.Host, device ipa.BlockDevice) error {
	target, err := h.Fence(device)
	if err != nil {
		return err
	}
	if err := target.Wipe(ctx); err != nil {
		return err
	}
	if _, err := os.Stat(filepath.Join(h.Sys, "block", sysName(device.Name))); err != nil {
		return nil // a partition
	}
	return partition.Reread(ctx, target.Path())
}

// eraseTargets are the devices that a step has to erase, each one checked:
// not skipped by the node, no virtual media, no member of an assembled array, not
// read-only, nothing protected, and allowed by the guard.
func (m *Manager) eraseTargets(ctx context.Context, h *hwmanager.Host, node hwmanager.Node, partitions, skipReadOnly bool) ([]ipa.BlockDevice, error) {
	disks, err := m.candidates(ctx, h, node)
	if err != nil {
		return nil, ipa.BlockDeviceErase.New("%v", err)
	}
	protect := protects(h.Settings, node)
	var targets []ipa.BlockDevice
	for _, d := range disks {
		dir := filepath.Join(h.Sys, "block", sysName(d.Name))
		skip, err := mustSkip(h, dir, d, skipReadOnly)
		if err != nil {
			return nil, ipa.BlockDeviceErase.New("%v", err)
		}
		if skip != "" {
			h.Log.WithField("device", d.Name).Warn("not erased: " + skip)
			continue
		}
		if err := mayErase(h, d, protect); err != nil {
			return nil, err
		}
		targets = append(targets, d)
		if !partitions {
			continue
		}
		for _, p := range partitionsOf(dir, d) {
			if isArrayMember(filepath.Join(dir, filepath.Base(p.Name))) {
				h.Log.WithField("device", p.Name).Warn("not erased: member of an assembled array")
				continue
			}
			if err := h.Guard.Check(h.DevicePath(p.Name)); err != nil {
				return nil, err
			}
			targets = append(targets, p)
		}
	}
	return targets, nil
}

// mayErase is nil if the guard allows writing to the disk and, where protect
// is set, nothing on it is protected.
func mayErase(h *hwmanager.Host, d ipa.BlockDevice, protect bool) error {
	path := h.DevicePath(d.Name)
	if err := h.Guard.Check(path); err != nil || !protect {
		return err
	}
	return checkProtected(path, d)
}

// mustSkip says why a disk is left alone, "" if it is not. A read-only disk
// that may not be skipped is an error.
func mustSkip(h *hwmanager.Host, dir string, d ipa.BlockDevice, skipReadOnly bool) (string, error) {
	if isVirtualMedia(h, dir, d) {
		return "virtual media", nil
	}
	if isArrayMember(dir) {
		return "member of an assembled array", nil
	}
	if readText(dir, "ro") == "1" {
		if skipReadOnly {
			return "read-only", nil
		}
		return "", fmt.Errorf("%s is read-only", d.Name)
	}
	return "", nil
}

// sysName is the name of a disk in /sys/block.
func sysName(name string) string {
	base := filepath.Base(name)
	if filepath.Dir(name) == "/dev" || filepath.Dir(name) == "/dev/mapper" {
		return base
	}
	return filepath.Base(filepath.Dir(name)) + "!" + base
}

// verifyArea is how much is read back at each place after zeros were written.
const verifyArea = 1 << 20

// overwrite fills the device with random bytes, as often as wanted, then with
// zeros, and reads samples back.
// Wrote is told of the bytes of each write.
func overwrite(ctx context.Context, target disk.Target, o eraseOptions, wrote func(n int)) (err error) {
	device, err := target.Open()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, device.Close()) }()
	for pass := range o.iterations {
		if err := fill(ctx, device, newNoise(), wrote); err != nil {
			return fmt.Errorf("pass %d of %d: %w", pass+1, o.iterations, err)
		}
	}
	if o.zeroize {
		if err := fill(ctx, device, zeros, wrote); err != nil {
			return fmt.Errorf("pass of zeros: %w", err)
		}
	}
	if err := device.Sync(); err != nil {
		return err
	}
	if o.zeroize {
		return verifyZeros(device)
	}
	return nil
}

// fill writes the whole device; next fills a buffer with what is to be written.
func fill(ctx context.Context, device *disk.Device, next func([]byte), wrote func(n int)) error {
	buf := disk.Buffer(4 << 20)
	next(buf)
	for off := int64(0); off < device.Size; {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		n, err := device.WriteAt(buf[:min(int64(len(buf)), device.Size-off)], off)
		if err != nil {
			return err
		}
		off += int64(n)
		wrote(n)
		next(buf)
	}
	return nil
}

// zeros leaves a buffer as it is made.
func zeros([]byte) {}

// verifyZeros reads the beginning, the middle and the end of the device back.
func verifyZeros(device *disk.Device) error {
	f, err := os.Open(device.Path)
	if err != nil {
		return err
	}
	defer f.Close()
	dropPages(f)
	buf := make([]byte, min(verifyArea, device.Size))
	for _, off := range []int64{0, (device.Size - int64(len(buf))) / 2, device.Size - int64(len(buf))} {
		if _, err := f.ReadAt(buf, off); err != nil {
			return fmt.Errorf("read back at %d: %w", off, err)
		}
		for i, b := range buf {
			if b != 0 {
				return fmt.Errorf("byte %d is not zero after erasing", off+int64(i))
			}
		}
	}
	return nil
}
