package ipa

import "time"

// EraseReport tells what one step that erases did to which device, an extension
// of ferric's outside the IPA protocol: GET /ferric/v1/erase_report on the
// agent, with the agent token, tells of the latest such step, while it runs and
// after it has failed, too. Conductors of ferric's keep it (see EraseReports).
// The reports of the devices are also the values in the result of erase_devices.
//
// Times are UTC, in RFC 3339 as JSON.
type EraseReport struct {
	Step    string        `json:"step"` // "erase_devices", "erase_devices_metadata", "erase_devices_express"
	Start   time.Time     `json:"start"`
	End     time.Time     `json:"end,omitzero"`    // zero while the step runs
	Error   string        `json:"error,omitempty"` // why the step failed; "" if it did not
	Devices []DeviceErase `json:"devices"`
}

// EraseReports are the latest erase reports of a node, newest first, as a
// conductor of ferric's shows them at GET /ferric/v1/nodes/<node>/erase_report.
type EraseReports struct {
	Reports []EraseReport `json:"reports"`
}

// DeviceErase tells what was done to one device.
type DeviceErase struct {
	Device string `json:"device"` // "/dev/sda"
	Model  string `json:"model,omitempty"`
	Serial string `json:"serial,omitempty"`
	WWN    string `json:"wwn,omitempty"`
	Size   int64  `json:"size"` // bytes

	Outcome  string         `json:"outcome"`            // one of the Erase constants
	Method   string         `json:"method,omitempty"`   // that erased the device; of a failure the last one tried
	Reason   string         `json:"reason,omitempty"`   // why it was skipped or failed
	Attempts []EraseAttempt `json:"attempts,omitempty"` // every method that was considered, in order
	Start    time.Time      `json:"start,omitzero"`
	End      time.Time      `json:"end,omitzero"`
}

// EraseAttempt is what became of one method on one device.
type EraseAttempt struct {
	Method   string      `json:"method"` // one of the Method constants
	Outcome  string      `json:"outcome"`
	Detail   string      `json:"detail,omitempty"` // how it was done, or why it was not
	Start    time.Time   `json:"start,omitzero"`
	End      time.Time   `json:"end,omitzero"`
	Passes   int         `json:"passes,omitempty"`        // completed overwrites of the whole device
	Written  int64       `json:"bytes_written,omitempty"` // bytes overwritten in all passes
	Verified *EraseCheck `json:"verified,omitempty"`      // nil if nothing was read back
}

// EraseCheck tells what was read back from the medium after erasing.
type EraseCheck struct {
	Samples     int    `json:"samples"`      // places that were compared: first, last and random ones
	SampleBytes int    `json:"sample_bytes"` // read at each place
	Expected    string `json:"expected"`     // one of the Expect constants
	Wrong       int    `json:"wrong"`        // places that did not hold what was expected
	Direct      bool   `json:"direct"`       // past the kernel's page cache
}

// Outcomes of erasing a device, or of one method.
const (
	EraseWaiting     = "waiting" // for its turn
	EraseRunning     = "running"
	EraseDone        = "erased"
	EraseFailed      = "failed"
	EraseSkipped     = "skipped"
	EraseUnsupported = "not supported" // by the device
	EraseDisabled    = "disabled"      // by an option of the node
	EraseUnverified  = "not verified"  // the device says that it has erased, and there is nothing to tell by
	EraseUnreported  = "not reported"  // by an agent that sends no reports
)

// Methods of erasing that the agent has of its own.
const (
	MethodATA       = "ATA security erase"
	MethodNVMe      = "NVMe secure erase" // sanitize or format, see the detail
	MethodSCSI      = "SCSI sanitize"
	MethodOverwrite = "overwrite"
	MethodMetadata  = "metadata"
)

// What is expected of samples that are read back.
const (
	ExpectZeros   = "zeros"
	ExpectWritten = "what was written last"
	ExpectGone    = "not the random blocks written before"
)
