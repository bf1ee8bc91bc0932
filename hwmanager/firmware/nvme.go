package firmware

import (
	"context"
	"errors"
	"fmt"
	"time"

	"ferric/hwmanager"
	"ferric/hwmanager/capsule"
	"ferric/hwmanager/erasure"
	"ferric/hwmanager/nvme"
)

// driveTask is a drive that gets an image.
type driveTask struct {
	manager *Manager
	drive   drive
	update  nvme.Update
}

func (t *driveTask) String() string { return t.drive.String() }

// planDrives makes a task of each drive that the component is for. One that runs
// the version already is done.
func (p *planner) planDrives(ctx context.Context, c component, all []drive) ([]task, error) {
	found, err := c.matching(all)
	if err != nil {
		return nil, err
	}
	activate := nvme.Activation(c.Activate)
	if activate == "" {
		activate = nvme.ActivateBest
	}
	var tasks []*driveTask
	var faults []error
	now := map[string]nvme.Firmware{}
	for _, d := range found {
		f, err := p.manager.judge(ctx, p.host, c, d)
		switch {
		case err != nil:
			faults = append(faults, fmt.Errorf("%s: %w", d, err))
		case f.Firmware == c.Version:
			p.done = append(p.done, driveReport(d, f))
		default:
			now[d.Name] = f
			tasks = append(tasks, &driveTask{manager: p.manager, drive: d, update: nvme.Update{
				Version: c.Version, Slot: c.Slot, Activate: activate,
				Reset: func(ctx context.Context) error { return p.manager.resetDrive(ctx, d) },
			}})
		}
	}
	if err := errors.Join(faults...); err != nil || len(tasks) == 0 {
		return nil, err
	}
	image, err := p.fetch(ctx, c, maxNVMe)
	if err != nil {
		return nil, err
	}
	if what := foreign(image); what != "" {
		return nil, fmt.Errorf("the image is %s, no firmware of an NVMe drive", what)
	}
	var checked []task
	for _, t := range tasks {
		t.update.Image, t.update.Size = image, image.size
		if err := t.update.Check(now[t.drive.Name]); err != nil {
			faults = append(faults, fmt.Errorf("%s: %w", t.drive, err))
		}
		checked = append(checked, t)
	}
	return checked, errors.Join(faults...)
}

// judge asks a drive what it is and whether it may be updated. What the kernel
// found when it started the drive has to be what the drive says now.
func (m *Manager) judge(ctx context.Context, h *hwmanager.Host, c component, d drive) (nvme.Firmware, error) {
	path := h.DevicePath("/dev/" + d.Name)
	if err := h.Guard.Check(path); err != nil {
		return nvme.Firmware{}, err
	}
	device, err := m.open(path)
	if err != nil {
		return nvme.Firmware{}, err
	}
	defer device.Close()
	f, err := nvme.ReadFirmware(ctx, device)
	if err != nil {
		return f, err
	}
	if f.Serial != d.Serial || f.Model != d.Model {
		return f, fmt.Errorf("it says that it is %s, serial %s", f.Model, f.Serial)
	}
	if f.Firmware == c.Version {
		return f, nil
	}
	if err := d.checkIdle(h); err != nil {
		return f, err
	}
	if c.AllowShared {
		return f, nil
	}
	return f, d.checkAlone(ctx, device)
}

// resetDrive resets all controllers of a drive: they share its firmware.
func (m *Manager) resetDrive(ctx context.Context, d drive) error {
	for _, dir := range d.dirs {
		if err := m.reset(ctx, dir); err != nil {
			return err
		}
	}
	return nil
}

// foreign names what is no image of a drive's firmware; "" if it may be one.
func foreign(f *file) string {
	head := make([]byte, 64)
	n, _ := f.ReadAt(head, 0)
	head = head[:n]
	switch {
	case hasPrefix(head, "MSCF"), hasPrefix(head, "PK\x03\x04"), hasPrefix(head, "7z\xbc\xaf"), hasPrefix(head, "Rar!"), hasPrefix(head, "\x1f\x8b"):
		return "an archive"
	case hasPrefix(head, "<!DOCTYPE"), hasPrefix(head, "<html"), hasPrefix(head, "<?xml"):
		return "a page"
	case hasPrefix(head, "\x7fELF"), hasPrefix(head, "#!"):
		return "a program"
	}
	if c, err := capsule.Parse(f, f.size); err == nil && c.Managed() {
		return "a UEFI capsule"
	}
	return ""
}

func hasPrefix(b []byte, prefix string) bool {
	return len(b) >= len(prefix) && string(b[:len(prefix)]) == prefix
}

// run implements task.
func (t *driveTask) run(ctx context.Context, h *hwmanager.Host, progress func(float64)) (report, *pending, error) {
	device, err := t.manager.open(h.DevicePath("/dev/" + t.drive.Name))
	if err != nil {
		return report{}, nil, err
	}
	defer device.Close()
	if err := t.drive.checkIdle(h); err != nil {
		return report{}, nil, err
	}
	done, err := t.update.Update(ctx, device, progress)
	if err != nil {
		return report{}, nil, err
	}
	r := driveReport(t.drive, done.After)
	r.Initial = done.Before.Firmware
	if done.Flashed {
		r.Flashed, r.Slot = t.update.Version, done.Slot
	}
	if done.Mixed {
		r.Notes = append(r.Notes, "the drive has seen pieces of another image come in between: something else updates it, too")
	}
	if done.Pending == "" {
		return r, nil, nil
	}
	r.Notes = append(r.Notes, "the drive waits for a "+done.Pending)
	return r, &pending{Wanted: t.update.Version}, nil
}

// driveReport is a drive with what it runs.
func driveReport(d drive, f nvme.Firmware) report {
	return report{Component: kindNVMe, Name: d.Name, Model: f.Model, Serial: f.Serial, Initial: f.Firmware, Current: f.Firmware}
}

// How long a drive may take to appear after a reboot, and the time between two looks.
const (
	driveWait = 30 * time.Second
	drivePoll = 500 * time.Millisecond
)

// errHolds: new firmware is in a slot of the drive, which does not run it yet.
var errHolds = errors.New("some drives run new firmware only after their power was off, which a reset does not do")

// driveAfter sees what a drive runs after the reboot. It may have another name.
func (m *Manager) driveAfter(ctx context.Context, h *hwmanager.Host, w pending) (report, error) {
	r := w.Report
	d, err := findAgain(ctx, h, r)
	if err != nil {
		return r, err
	}
	f, err := m.ask(ctx, h, d)
	if err != nil {
		return r, err
	}
	r.Name, r.Current = d.Name, f.Firmware
	switch {
	case f.Firmware == w.Wanted:
		return r, nil
	case slotWith(f, w.Wanted):
		return r, fmt.Errorf("it still runs %s, though it holds %s: %w: power the machine off and on, and run the step again", f.Firmware, w.Wanted, errHolds)
	}
	return r, fmt.Errorf("it runs %s after the reboot, not %s", f.Firmware, w.Wanted)
}

// findAgain waits for the drive of a report.
func findAgain(ctx context.Context, h *hwmanager.Host, r report) (drive, error) {
	for deadline := time.Now().Add(driveWait); ; {
		all, err := drives(h)
		if err != nil {
			return drive{}, err
		}
		for _, d := range all {
			if d.Serial == r.Serial && d.Model == r.Model {
				return d, nil
			}
		}
		if time.Now().After(deadline) {
			return drive{}, fmt.Errorf("the drive %s, serial %s is not there after the reboot", r.Model, r.Serial)
		}
		if err := erasure.Sleep(ctx, drivePoll); err != nil {
			return drive{}, err
		}
	}
}

func slotWith(f nvme.Firmware, version string) bool {
	for _, holds := range f.Slots.Revisions {
		if holds == version {
			return true
		}
	}
	return false
}
