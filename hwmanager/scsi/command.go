// Package scsi has SCSI disks erase themselves, by the SANITIZE command.
//
// Sections named are those of SBC-4 (SCSI Block Commands) and SPC-5 (SCSI
// Primary Commands).
package scsi

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"ferric/hwmanager/erasure"
	"ferric/hwmanager/sgio"
)

// Operation codes (SPC-5 and SBC-4, annexes of operation codes).
const (
	opTestUnitReady     = 0x00
	opRequestSense      = 0x03
	opInquiry           = 0x12
	opReadCapacity10    = 0x25
	opSanitize          = 0x48
	opServiceActionIn   = 0x9e // with service action 10h: READ CAPACITY (16)
	opMaintenanceIn     = 0xa3 // with service action 0Ch: REPORT SUPPORTED OPERATION CODES
	saReadCapacity16    = 0x10
	saReportOperation   = 0x0c
	statusBusy          = 0x08 // SAM-5, section "Status codes"
	statusConflict      = 0x18
	statusTaskSetFull   = 0x28
	keyMediumError      = 0x3 // SPC-5, table "Sense key descriptions"
	keyUnitAttention    = 0x6
	hostBusBusy         = 0x02 // linux/include/scsi/scsi_status.h, enum scsi_host_status
	hostSoftError       = 0x0b
	hostImmediateRetry  = 0x0c
	hostRequeue         = 0x0d
	descriptorSpecific  = 0x02 // SPC-5, "Sense key specific sense data descriptor"
	sksv                = 0x80 // the sense key specific data are valid
	minimalVersion      = 5    // INQUIRY VERSION: SPC-3, of the time in which SANITIZE came
	typeDirectAccess    = 0x00 // SPC-5, table "PERIPHERAL DEVICE TYPE field"
	typeHostManagedZone = 0x14
)

// Additional sense codes and qualifiers (SPC-5, annex "Additional sense codes").
const (
	codeOperationInProgress = 0x0016
	codeBecomingReady       = 0x0401
	codeFormatInProgress    = 0x0404
	codeNotReadyOperation   = 0x0407
	codeSelfTest            = 0x0409
	codeNotReadyTransition  = 0x040a
	codeSpinupWait          = 0x0411
	codeSanitizeInProgress  = 0x041b
	codeInvalidOpcode       = 0x2000
	codeInvalidField        = 0x2400
	codeInvalidParameter    = 0x2600
	codeSanitizeFailed      = 0x3103
)

// Error is a command that a device did not complete with GOOD status.
type Error struct {
	Status byte        // SAM-5, section "Status codes"
	Host   uint16      // what the host adapter met; 0 for nothing
	Sense  *sgio.Sense // nil where there is none
	sense  []byte
}

// Error implements error.
func (e *Error) Error() string {
	switch {
	case e.Host != 0:
		return fmt.Sprintf("the host adapter failed with %#02x", e.Host)
	case e.Status == statusConflict:
		return "reservation conflict"
	case e.Sense == nil:
		return fmt.Sprintf("SCSI status %02Xh", e.Status)
	}
	text := e.Sense.String()
	if meaning := meaning(e.Sense.Code); meaning != "" {
		text += ": " + meaning
	}
	return text
}

// meaning names the codes that an erase may meet.
func meaning(code uint16) string {
	switch code {
	case codeOperationInProgress, codeNotReadyOperation:
		return "operation in progress"
	case 0x0400:
		return "logical unit not ready"
	case codeBecomingReady:
		return "logical unit is becoming ready"
	case 0x0402:
		return "logical unit is stopped"
	case codeFormatInProgress:
		return "format in progress"
	case codeSelfTest:
		return "self-test in progress"
	case codeSanitizeInProgress:
		return "sanitize in progress"
	case codeInvalidOpcode:
		return "invalid command operation code"
	case codeInvalidField:
		return "invalid field in CDB"
	case codeInvalidParameter:
		return "invalid field in parameter list"
	case 0x2700:
		return "write protected"
	case 0x3a00:
		return "medium not present"
	case codeSanitizeFailed:
		return "sanitize command failed"
	}
	return ""
}

// code is the additional sense code of an error, with what sense key it came.
func code(err error) (key byte, code uint16) {
	var e *Error
	if !errors.As(err, &e) || e.Sense == nil {
		return 0, 0
	}
	return e.Sense.Key, e.Sense.Code
}

// failed reports whether the device says that its last sanitize failed.
func failed(err error) bool {
	key, code := code(err)
	return key == keyMediumError && code == codeSanitizeFailed
}

// refused reports whether the device does not have the command, or not with
// these fields.
func refused(err error) bool {
	key, code := code(err)
	return key == sgio.IllegalRequest && (code == codeInvalidOpcode || code == codeInvalidField || code == codeInvalidParameter)
}

// sanitizing reports whether the device says that it is busy with a sanitize.
func sanitizing(err error) bool {
	_, code := code(err)
	return code == codeSanitizeInProgress
}

// busy reports whether the device says that it will be ready by itself.
func busy(err error) bool {
	key, code := code(err)
	switch code {
	case codeOperationInProgress:
		return true
	case codeBecomingReady, codeFormatInProgress, codeNotReadyOperation, codeSelfTest, codeNotReadyTransition, codeSpinupWait:
		return key == sgio.NotReady
	}
	return false
}

// fraction is the progress indication in sense data, from 0 to 1 (SPC-5,
// section "Progress indication"), and whether there is one.
func fraction(s sgio.Sense, raw []byte) (float64, bool) {
	specific := []byte(nil)
	if s.Fixed && len(raw) >= 18 && raw[7] >= 10 {
		specific = raw[15:18]
	} else if d := s.Descriptor(descriptorSpecific); len(d) >= 7 {
		specific = d[4:7]
	}
	if specific == nil || specific[0]&sksv == 0 {
		return 0, false
	}
	return float64(int(specific[1])<<8|int(specific[2])) / (1 << 16), true
}

// How often, and how long, a command is sent again that the device or the bus
// put off.
const (
	commandTime   = 60 * time.Second
	resetTime     = 5 * time.Minute // of the kernel, to get hold of a device again
	retryTime     = time.Minute
	retryPause    = time.Second
	maxAttentions = 16
)

type device struct {
	transport sgio.Transport
	inquiry   Inquiry
	size      int64
}

// do performs a command. What the device has to say of other things first
// (unit attentions, deferred errors) is taken note of, and the command sent
// again.
func (d *device) do(ctx context.Context, c sgio.Command) (read []byte, err error) {
	deadline := time.Now().Add(retryTime)
	for attentions := 0; ; {
		read, err = d.once(ctx, c)
		var e *Error
		if !errors.As(err, &e) {
			return read, err
		}
		switch {
		case e.Sense != nil && e.Sense.Deferred && e.Sense.Code == codeSanitizeFailed:
			return nil, err
		case e.Sense != nil && (e.Sense.Key == keyUnitAttention || e.Sense.Deferred):
			if attentions++; attentions > maxAttentions {
				return nil, err
			}
			continue
		case e.Sense != nil && e.Sense.Key == sgio.AbortedCommand:
		case e.Status == statusBusy, e.Status == statusTaskSetFull:
		case e.Host == hostBusBusy, e.Host == hostSoftError, e.Host == hostImmediateRetry, e.Host == hostRequeue, e.Host == sgio.HostReset:
		default:
			return nil, err
		}
		if time.Now().After(deadline) {
			return nil, err
		}
		if err := erasure.Sleep(ctx, retryPause); err != nil {
			return nil, err
		}
	}
}

// once performs a command and returns what was read.
func (d *device) once(ctx context.Context, c sgio.Command) ([]byte, error) {
	c.Timeout = cmp.Or(c.Timeout, commandTime)
	ctx, cancel := context.WithTimeoutCause(ctx, c.Timeout+resetTime, errors.New("the device did not answer"))
	defer cancel()
	// A call that nobody waits for any more must write into no memory of ours.
	c.Data = append([]byte(nil), c.Data...)
	var result sgio.Result
	err := erasure.Call(ctx, func() error {
		r, err := d.transport.Do(ctx, c)
		if err == nil {
			result = r
		}
		return err
	})
	switch {
	case errors.Is(err, sgio.ErrNotSCSI):
		return nil, fmt.Errorf("%w (%w)", erasure.ErrNotSupported, err)
	case err != nil:
		return nil, err
	case result.Host != sgio.HostOK:
		return nil, &Error{Status: result.Status, Host: result.Host}
	case result.Status == sgio.CheckCondition:
		sense, err := sgio.ParseSense(result.Sense)
		if err != nil {
			return nil, fmt.Errorf("SCSI status %02Xh: %w", result.Status, err)
		}
		if sense.Key == sgio.RecoveredError && !sense.Deferred {
			break
		}
		return nil, &Error{Status: result.Status, Sense: &sense, sense: result.Sense}
	case result.Status != sgio.Good:
		return nil, &Error{Status: result.Status}
	}
	if result.Residual < 0 || result.Residual > len(c.Data) {
		return nil, fmt.Errorf("%d of %d bytes were not transferred", result.Residual, len(c.Data))
	}
	return c.Data[:len(c.Data)-result.Residual], nil
}
