package ata

import (
	"context"
	"errors"
	"fmt"
	"time"

	"ferric/hwmanager/sgio"
)

// Commands (ACS-4, section "Command descriptions"; the codes are in the table
// "Command codes" of its annex).
const (
	cmdIdentifyDevice          = 0xec
	cmdSecuritySetPassword     = 0xf1
	cmdSecurityUnlock          = 0xf2
	cmdSecurityErasePrepare    = 0xf3
	cmdSecurityEraseUnit       = 0xf4
	cmdSecurityDisablePassword = 0xf6
)

// The CDB of ATA PASS-THROUGH (16) (SAT-4, section "ATA PASS-THROUGH (16)
// command"; the fields in "ATA PASS-THROUGH (12) command").
const (
	passThrough16 = 0x85

	protocolNonData = 3 << 1 // byte 1
	protocolPIOIn   = 4 << 1
	protocolPIOOut  = 5 << 1

	checkCondition = 1 << 5 // byte 2, CK_COND: the registers are returned in any case
	fromDevice     = 1 << 3 // T_DIR
	inBlocks       = 1 << 2 // BYT_BLOK; with T_TYPE 0 blocks of 512 bytes
	lengthInCount  = 2      // T_LENGTH: the COUNT field says how many
)

// Bits of the registers STATUS and ERROR (ACS-4, sections "STATUS field" and
// "ERROR field").
const (
	statusBusy  = 1 << 7
	statusFault = 1 << 5
	statusDRQ   = 1 << 3
	statusError = 1 << 0
	errorAbort  = 1 << 2
)

// blockSize is that of all transfers here: IDENTIFY DEVICE data and the
// parameters of the SECURITY commands.
const blockSize = 512

// answerTime is for commands that end at once, unless the disk has to spin up.
const answerTime = 60 * time.Second

// request is an ATA command without LBA.
type request struct {
	name    string
	code    byte
	data    []byte // blockSize bytes, or nil
	write   bool
	timeout time.Duration
}

// cdb is the request as ATA PASS-THROUGH (16). A command that reads does not ask
// for the registers: not every bridge can return both.
func (r request) cdb() []byte {
	b := make([]byte, 16)
	b[0] = passThrough16
	switch {
	case r.data == nil:
		b[1], b[2] = protocolNonData, checkCondition
	case r.write:
		b[1], b[2] = protocolPIOOut, checkCondition|inBlocks|lengthInCount
	default:
		b[1], b[2] = protocolPIOIn, fromDevice|inBlocks|lengthInCount
	}
	if r.data != nil {
		b[6] = 1 // COUNT (7:0)
	}
	b[14] = r.code
	return b
}

// Errors of a command that the device did not answer itself.
var (
	// errRefused: something before the device does not pass ATA commands on.
	errRefused = errors.New("ATA commands are not passed on to the device")
	// ErrTimeout: the device did not end the command in time. What has become of
	// it is not known.
	ErrTimeout = errors.New("no answer in time")
)

// CommandError is a command that the device, or what translates for it, ended
// with an error.
type CommandError struct {
	Sense             sgio.Sense
	Given             bool // the device's registers were returned:
	Status, ErrorBits byte
}

func (e *CommandError) Error() string {
	switch {
	case !e.Given:
		return fmt.Sprintf("the command failed (%v)", e.Sense)
	case e.aborted():
		return fmt.Sprintf("the device aborted the command (status %02Xh, error %02Xh)", e.Status, e.ErrorBits)
	case e.Status&statusFault != 0:
		return fmt.Sprintf("the device has a fault (status %02Xh, error %02Xh)", e.Status, e.ErrorBits)
	}
	return fmt.Sprintf("the command failed (status %02Xh, error %02Xh)", e.Status, e.ErrorBits)
}

func (e *CommandError) aborted() bool {
	return e.Given && e.Status&statusError != 0 && e.ErrorBits&errorAbort != 0
}

// attentions is how many times a device may have something else to tell first,
// such as that it was reset: a command that ends with UNIT ATTENTION was not
// executed (SAM-5, section "Unit attention conditions").
const attentions = 4

const unitAttention = 0x6

// do sends r and waits for its end.
func (d *drive) do(ctx context.Context, r request) error {
	for range attentions {
		result, err := d.transport.Do(ctx, sgio.Command{CDB: r.cdb(), Data: r.data, Write: r.write, Timeout: r.timeout})
		if err != nil {
			return fmt.Errorf("%s: %w", r.name, err)
		}
		again, err := outcome(r, result)
		if err != nil {
			return fmt.Errorf("%s: %w", r.name, err)
		}
		if !again {
			return nil
		}
	}
	return fmt.Errorf("%s: the device reports unit attention again and again", r.name)
}

// outcome is how r has ended; it is to be sent again if the device only had
// something else to tell.
func outcome(r request, result sgio.Result) (again bool, err error) {
	switch result.Host {
	case sgio.HostOK:
	case sgio.HostTimeOut:
		return false, ErrTimeout
	case sgio.HostBadTarget:
		return false, fmt.Errorf("%w (host status %02Xh)", errRefused, result.Host)
	default:
		return false, fmt.Errorf("the host adapter failed (host status %02Xh)", result.Host)
	}
	switch result.Status {
	case sgio.Good:
		return false, complete(r, result)
	case sgio.CheckCondition:
	default:
		return false, fmt.Errorf("SCSI status %02Xh", result.Status)
	}
	sense, err := sgio.ParseSense(result.Sense)
	if err != nil {
		return false, err
	}
	regs, given := registersOf(sense)
	failed := regs.status&(statusBusy|statusFault|statusDRQ|statusError) != 0
	switch {
	case sense.Deferred:
		return false, fmt.Errorf("an error of an earlier command: %v", sense)
	case given && failed:
		return false, &CommandError{Sense: sense, Given: true, Status: regs.status, ErrorBits: regs.err}
	case sense.Key == sgio.RecoveredError, given && sense.Key == sgio.NoSense:
		return false, complete(r, result)
	case !given && sense.Key == sgio.IllegalRequest:
		return false, fmt.Errorf("%w (%v)", errRefused, sense)
	case sense.Key == unitAttention:
		return true, nil
	}
	return false, &CommandError{Sense: sense, Given: given, Status: regs.status, ErrorBits: regs.err}
}

// complete says whether all of r's data were transferred.
func complete(r request, result sgio.Result) error {
	if result.Residual != 0 {
		return fmt.Errorf("%d of %d bytes were not transferred", result.Residual, len(r.data))
	}
	return nil
}

// registers of the device at the end of a command.
type registers struct{ err, status byte }

// Where sense data have the registers.
const (
	// The ATA Status Return descriptor (SAT-4, section "ATA Status Return sense
	// data descriptor").
	descriptorATA     = 0x09
	descriptorATASize = 14
	// The fixed format has them in the INFORMATION field if the code is ATA
	// PASS-THROUGH INFORMATION AVAILABLE (SAT-4, section "Fixed format sense data
	// for ATA PASS-THROUGH").
	passThroughAvailable = 0x001d // additional sense code and qualifier
)

// registersOf finds the registers. In the fixed format an error has a code of
// its own, which does not say that the fields are registers, and Linux before
// 6.11 has them in COMMAND-SPECIFIC INFORMATION (ata_gen_passthru_sense). There
// they are taken for registers if they tell of an error; the sense key has told
// that there is one.
func registersOf(s sgio.Sense) (registers, bool) {
	if d := s.Descriptor(descriptorATA); len(d) >= descriptorATASize {
		return registers{err: d[3], status: d[13]}, true
	}
	if !s.Fixed {
		return registers{}, false
	}
	if s.Code == passThroughAvailable {
		return registers{err: s.Info[0], status: s.Info[1]}, true
	}
	for _, field := range [][4]byte{s.Info, s.Specific} {
		if s.Key == sgio.AbortedCommand && field[1]&statusError != 0 {
			return registers{err: field[0], status: field[1]}, true
		}
	}
	return registers{}, false
}
