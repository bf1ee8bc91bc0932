package hwmanager

import (
	"context"
	"slices"
	"sync"

	"ferric/api/ipa"
)

// DiskEraser erases everything on one disk (erase_block_device). The generic
// manager asks for each disk that the step erase_devices has to erase, when all of
// them have been found to be free to erase; for several at once if the node wants
// that. Report may be told how far it is.
//
// What was done goes into the erase report, of a failure too; what is zero of the
// device's identity, of the outcome and the times the generic manager fills in.
type DiskEraser interface {
	EraseBlockDevice(ctx context.Context, h *Host, node Node, device ipa.BlockDevice, report func(EraseProgress)) (ipa.DeviceErase, error)
}

// EraseProgress is how far the erasing of one disk is.
type EraseProgress struct {
	Fraction float64 // of the work, from 0 to 1
	Written  int64   // bytes that have been written so far
}

// EraseRecord remembers what the latest step that erases has done, as of now.
type EraseRecord struct {
	mu   sync.Mutex
	last *ipa.EraseReport
}

// Set remembers a report; its devices must not change afterwards.
func (e *EraseRecord) Set(report ipa.EraseReport) {
	report.Devices = slices.Clone(report.Devices)
	e.mu.Lock()
	defer e.mu.Unlock()
	e.last = &report
}

// Last is the report of the latest step; false before the first.
func (e *EraseRecord) Last() (ipa.EraseReport, bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.last == nil {
		return ipa.EraseReport{}, false
	}
	return *e.last, true
}
