package generic

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"golang.org/x/sync/semaphore"

	"ferric/api/ipa"
	"ferric/hwmanager"
	"ferric/images/partition"
)

// eraseDevices erases all disks, each as EraseBlockDevice does. Whether every
// disk may be erased is checked before the first one is touched; one failure
// fails the step, after all others have ended.
func (m *Manager) eraseDevices(ctx context.Context, h *hwmanager.Host, call hwmanager.StepCall) (any, error) {
	if err := onlyArgs(call.Args); err != nil {
		return nil, err
	}
	options, err := eraseOptionsOf(call.Node)
	if err != nil {
		return nil, ipa.Cleaning.New("%v", err)
	}
	report := startEraseReport(h, "erase_devices")
	targets, err := m.eraseTargets(ctx, h, call.Node, options.skipReadOnly)
	if err != nil {
		return nil, report.refused(err)
	}
	report.plan(devicesOf(targets))
	var total int64
	for _, t := range targets {
		if t.skip == "" {
			total += t.device.Size * int64(options.passes())
		}
	}
	progress := startMeter(ipa.PhaseErasing, total, call.Progress)
	defer progress.stop()
	places := semaphore.NewWeighted(int64(options.concurrency))
	var group sync.WaitGroup
	failures := make([]error, len(targets))
	for i, t := range targets {
		if t.skip != "" {
			report.skipped(i, t.skip)
			continue
		}
		if err := places.Acquire(ctx, 1); err != nil {
			failures[i] = report.ended(i, ipa.DeviceErase{}, context.Cause(ctx))
			continue
		}
		group.Go(func() {
			defer places.Release(1)
			h.Log.WithField("device", t.device.Name).Info("erasing")
			report.running(i)
			share := progress.share(t.device.Size * int64(options.passes()))
			done, err := askFor(m, h, "erase_block_device", func(e hwmanager.DiskEraser) (ipa.DeviceErase, error) {
				return e.EraseBlockDevice(ctx, h, call.Node, t.device, share)
			})
			failures[i] = report.ended(i, done, err)
			if err == nil {
				share(hwmanager.EraseProgress{Fraction: 1, Written: bytesWritten(done)})
				forgetPartitions(ctx, h, t)
			}
		})
	}
	group.Wait()
	if err := report.finish(failures); err != nil {
		return nil, err
	}
	return report.result(), nil
}

func bytesWritten(d ipa.DeviceErase) int64 {
	var n int64
	for _, a := range d.Attempts {
		n += a.Written
	}
	return n
}

// forgetPartitions has the kernel look at a disk without a table. That it does
// not is worth a warning: the disk is erased.
func forgetPartitions(ctx context.Context, h *hwmanager.Host, t eraseTarget) {
	if len(t.partitions) == 0 {
		return
	}
	if err := partition.Reread(ctx, h.DevicePath(t.device.Name)); err != nil {
		h.Log.WithError(err).WithField("device", t.device.Name).Warn("the kernel still knows partitions of an erased disk")
	}
}

// eraseMetadata wipes partition tables, superblocks and signatures of all
// disks and partitions, partitions first. Failures are collected.
func (m *Manager) eraseMetadata(ctx context.Context, h *hwmanager.Host, call hwmanager.StepCall) (any, error) {
	if err := onlyArgs(call.Args); err != nil {
		return nil, err
	}
	return m.eraseQuickly(ctx, h, call, "erase_devices_metadata", nil)
}

// eraseExpress has NVMe disks erase themselves, where that is enabled, and wipes
// the metadata of all others, and of those that cannot or fail to (agent
// contract, section "Express").
func (m *Manager) eraseExpress(ctx context.Context, h *hwmanager.Host, call hwmanager.StepCall) (any, error) {
	if err := onlyArgs(call.Args); err != nil {
		return nil, err
	}
	options, err := eraseOptionsOf(call.Node)
	if err != nil {
		return nil, ipa.Cleaning.New("%v", err)
	}
	options.continueIfFailed = true
	return m.eraseQuickly(ctx, h, call, "erase_devices_express", &options)
}

// eraseQuickly wipes the metadata of all disks with their partitions; of NVMe
// disks only if they do not erase themselves, where express is not nil.
func (m *Manager) eraseQuickly(ctx context.Context, h *hwmanager.Host, call hwmanager.StepCall, step string, express *eraseOptions) (any, error) {
	const skipReadOnly = true
	report := startEraseReport(h, step)
	targets, err := m.eraseTargets(ctx, h, call.Node, skipReadOnly)
	if err != nil {
		return nil, report.refused(err)
	}
	var devices []ipa.BlockDevice
	for _, t := range targets {
		devices = append(append(devices, t.device), t.partitions...)
	}
	report.plan(devices)
	var total int64 // metadata are wiped in no time
	for _, t := range targets {
		if express != nil && t.skip == "" && isNVMe(t.device) {
			total += t.device.Size
		}
	}
	progress := startMeter(ipa.PhaseErasing, total, call.Progress)
	defer progress.stop()

	failures := make([]error, len(devices))
	end := len(devices)
	for _, t := range slices.Backward(targets) {
		first := end - 1 - len(t.partitions) // the disk, then its partitions
		end = first
		if t.skip != "" {
			for i := range t.partitions {
				report.skipped(first+1+i, t.skip)
			}
			report.skipped(first, t.skip)
			continue
		}
		secure := ipa.DeviceErase{}
		if express != nil && isNVMe(t.device) {
			report.running(first)
			var erased bool
			share := progress.share(t.device.Size)
			secure, erased, err = m.eraseSecurely(ctx, h, t.device, *express, share)
			share(hwmanager.EraseProgress{Fraction: 1})
			if err == nil && erased {
				for i := range t.partitions {
					report.ended(first+1+i, ipa.DeviceErase{Method: secure.Method, Reason: "with its disk"}, nil)
				}
				failures[first] = report.ended(first, secure, nil)
				forgetPartitions(ctx, h, t)
				continue
			}
			if err != nil { // of opening it; the metadata will tell
				h.Log.WithError(err).WithField("device", t.device.Name).Warn("no secure erase")
			}
		}
		for i, p := range slices.Backward(t.partitions) {
			failures[first+1+i] = m.wipe(ctx, h, t, p, report, first+1+i, ipa.DeviceErase{})
		}
		failures[first] = m.wipe(ctx, h, t, t.device, report, first, secure)
	}
	return nil, report.finish(failures)
}

// eraseSecurely is EraseBlockDevice without overwriting.
func (m *Manager) eraseSecurely(ctx context.Context, h *hwmanager.Host, device ipa.BlockDevice, options eraseOptions, report func(hwmanager.EraseProgress)) (ipa.DeviceErase, bool, error) {
	c, err := m.openClimb(ctx, h, device, options, report)
	if err != nil {
		return ipa.DeviceErase{}, false, err
	}
	erased, err := c.secure(ctx, m.rungs, device)
	return c.done, erased, errors.Join(err, c.device.Close())
}

// wipe removes the metadata of a disk or partition, lets the kernel forget the
// partitions of a disk, and reports it. Done is what was tried before.
func (m *Manager) wipe(ctx context.Context, h *hwmanager.Host, t eraseTarget, device ipa.BlockDevice, report *eraseReport, index int, done ipa.DeviceErase) error {
	report.running(index)
	attempt := ipa.EraseAttempt{Method: ipa.MethodMetadata, Start: utcNow(), Outcome: ipa.EraseDone}
	err := wipeMetadata(ctx, h, t, device)
	attempt.End = utcNow()
	if err != nil {
		attempt.Outcome, attempt.Detail = ipa.EraseFailed, err.Error()
		err = lastOf(ipa.MethodMetadata, err, done.Attempts)
	}
	done.Method, done.Attempts = ipa.MethodMetadata, append(done.Attempts, attempt)
	return report.ended(index, done, err)
}

func wipeMetadata(ctx context.Context, h *hwmanager.Host, t eraseTarget, device ipa.BlockDevice) (err error) {
	opened, err := claim(ctx, h, device)
	if err != nil {
		return err
	}
	err = errors.Join(opened.WipeEnds(ctx), opened.Sync(), opened.Close())
	if err != nil || device.Name != t.device.Name || t.part {
		return err
	}
	if _, err := os.Stat(filepath.Join(h.Sys, "block", sysName(device.Name))); err != nil {
		return fmt.Errorf("the disk is gone: %w", err)
	}
	return partition.Reread(ctx, opened.Path)
}

// isNVMe: by its name (agent contract, section "erase_devices").
func isNVMe(d ipa.BlockDevice) bool { return nvmeDisk.MatchString(d.Name) }
