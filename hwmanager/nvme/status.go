package nvme

import (
	"cmp"
	"errors"
	"fmt"
)

// Status is the status of a completed command: the Status Field of section
// 3.3.3.2.1 without the phase tag, as Linux returns it.
type Status uint16

// Parts of a Status: Status Code and Status Code Type, Do Not Retry.
const (
	codeMask   = 0x7ff
	doNotRetry = 0x4000
)

// Statuses that decide what is done next: generic ones of section 3.3.3.2.1.1
// and, from 0x100, command specific ones of 3.3.3.2.1.2.
const (
	InvalidOpcode        Status = 0x001
	InvalidField         Status = 0x002
	InvalidNamespace     Status = 0x00b
	SanitizeFailed       Status = 0x01c
	SanitizeInProgress   Status = 0x01d
	CommandInterrupted   Status = 0x021
	TransientTransport   Status = 0x022
	AdminMediaNotReady   Status = 0x024
	NamespaceNotReady    Status = 0x082
	FormatInProgress     Status = 0x084
	InvalidFirmwareSlot  Status = 0x106
	InvalidFirmwareImage Status = 0x107
	InvalidLogPage       Status = 0x109
	InvalidFormat        Status = 0x10a
	NamespaceWriteLocked Status = 0x020
	// Of Firmware Commit and Firmware Image Download. The three that ask for a
	// reset mean that the commit was successful.
	NeedsConventionalReset Status = 0x10b
	NeedsSubsystemReset    Status = 0x110
	NeedsControllerReset   Status = 0x111
	ActivationTooLong      Status = 0x112 // longer than MTFA
	ActivationProhibited   Status = 0x113
	OverlappingRange       Status = 0x114
)

// text names the statuses that an erase or a firmware update may meet.
func (s Status) text() string {
	switch s.code() {
	case InvalidOpcode:
		return "invalid command opcode"
	case InvalidField:
		return "invalid field in command"
	case 0x004:
		return "data transfer error"
	case 0x005:
		return "commands aborted due to power loss notification"
	case 0x006:
		return "internal error"
	case 0x007:
		return "command abort requested"
	case InvalidNamespace:
		return "invalid namespace or format"
	case 0x00c:
		return "command sequence error"
	case 0x015:
		return "operation denied"
	case SanitizeFailed:
		return "sanitize failed"
	case SanitizeInProgress:
		return "sanitize in progress"
	case NamespaceWriteLocked:
		return "namespace is write protected"
	case CommandInterrupted:
		return "command interrupted"
	case TransientTransport:
		return "transient transport error"
	case 0x023:
		return "command prohibited by command and feature lockdown"
	case AdminMediaNotReady:
		return "admin command media not ready"
	case NamespaceNotReady:
		return "namespace not ready"
	case 0x083:
		return "reservation conflict"
	case FormatInProgress:
		return "format in progress"
	case InvalidLogPage:
		return "invalid log page"
	case InvalidFormat:
		return "invalid format"
	case InvalidFirmwareSlot:
		return "invalid firmware slot"
	case InvalidFirmwareImage:
		return "invalid firmware image"
	case NeedsConventionalReset:
		return "firmware activation requires a reset (conventional)"
	case NeedsSubsystemReset:
		return "firmware activation requires a reset (of the NVM subsystem)"
	case NeedsControllerReset:
		return "firmware activation requires a reset (of the controller)"
	case ActivationTooLong:
		return "firmware activation requires more than the maximum time"
	case ActivationProhibited:
		return "firmware activation prohibited"
	case OverlappingRange:
		return "overlapping range"
	case 0x123:
		return "sanitize prohibited while the persistent memory region is enabled"
	}
	return ""
}

// kinds are the Status Code Types of section 3.3.3.2.1.
func (s Status) kind() string {
	switch s >> 8 & 7 {
	case 0:
		return "generic"
	case 1:
		return "command specific"
	case 2:
		return "media and data integrity"
	case 3:
		return "path related"
	case 7:
		return "vendor specific"
	}
	return "reserved"
}

func (s Status) code() Status { return s & codeMask }

// Error implements error.
func (s Status) Error() string {
	return fmt.Sprintf("NVMe status type %d code %#02x: %s", s>>8&7, uint8(s), cmp.Or(s.text(), s.kind()+" status"))
}

// Is makes errors.Is compare code and type only.
func (s Status) Is(target error) bool {
	other, ok := target.(Status)
	return ok && s.code() == other.code()
}

// transient reports whether a command may succeed when it is sent again.
func transient(err error) bool {
	var s Status
	if !errors.As(err, &s) || s&doNotRetry != 0 {
		return false
	}
	switch s.code() {
	case CommandInterrupted, TransientTransport, AdminMediaNotReady, NamespaceNotReady, FormatInProgress:
		return true
	}
	return false
}

// refusesCommand reports whether the controller does not have the command, or
// not with these fields.
func refusesCommand(err error) bool {
	return errors.Is(err, InvalidOpcode) || errors.Is(err, InvalidField)
}
