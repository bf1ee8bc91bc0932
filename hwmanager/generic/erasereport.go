package generic

import (
	"errors"
	"fmt"
	"slices"
	"sync"

	"ferric/api/ipa"
	"ferric/hwmanager"
)

// eraseReport is the report of a step that runs. Whatever changes is published
// at once: the conductor may ask at any time.
type eraseReport struct {
	host *hwmanager.Host
	mu   sync.Mutex
	ipa.EraseReport
}

func startEraseReport(h *hwmanager.Host, step string) *eraseReport {
	r := &eraseReport{host: h, EraseReport: ipa.EraseReport{Step: step, Start: utcNow(), Devices: []ipa.DeviceErase{}}}
	h.Erased.Set(r.EraseReport)
	return r
}

// plan names the devices that wait for their turn.
func (r *eraseReport) plan(devices []ipa.BlockDevice) {
	r.change(func() {
		for _, d := range devices {
			r.Devices = append(r.Devices, ipa.DeviceErase{
				Device: d.Name, Size: d.Size, Outcome: ipa.EraseWaiting,
				Model: textOf(d.Model), Serial: textOf(d.Serial), WWN: textOf(d.WWN),
			})
		}
	})
}

func textOf(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

func (r *eraseReport) change(change func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	change()
	r.host.Erased.Set(r.EraseReport)
}

// skipped says why nothing is done to device i.
func (r *eraseReport) skipped(i int, why string) {
	r.change(func() { r.Devices[i].Outcome, r.Devices[i].Reason = ipa.EraseSkipped, why })
}

// running says that it is the turn of device i.
func (r *eraseReport) running(i int) {
	r.change(func() { r.Devices[i].Outcome, r.Devices[i].Start = ipa.EraseRunning, utcNow() })
}

// ended says what was done to device i. The error names it.
func (r *eraseReport) ended(i int, done ipa.DeviceErase, err error) error {
	r.change(func() {
		d := &r.Devices[i]
		d.Method, d.Attempts, d.Reason = done.Method, done.Attempts, done.Reason
		d.End, d.Outcome = utcNow(), ipa.EraseDone
		if err != nil {
			d.Outcome, d.Reason = ipa.EraseFailed, err.Error()
			err = fmt.Errorf("%s: %w", d.Device, err)
		}
	})
	return err
}

// refused ends a step that has touched nothing.
func (r *eraseReport) refused(err error) error {
	r.change(func() { r.End, r.Error = utcNow(), err.Error() })
	return err
}

// finish ends the step: it fails if any device has.
func (r *eraseReport) finish(failures []error) error {
	err := errors.Join(failures...)
	r.change(func() {
		r.End = utcNow()
		if err != nil {
			r.Error = err.Error()
		}
	})
	if err != nil {
		return ipa.BlockDeviceErase.New("%v", err)
	}
	return nil
}

// result has the names of the devices as keys.
func (r *eraseReport) result() map[string]any {
	r.mu.Lock()
	defer r.mu.Unlock()
	result := map[string]any{}
	for _, d := range slices.Clone(r.Devices) {
		result[d.Device] = d
	}
	return result
}
