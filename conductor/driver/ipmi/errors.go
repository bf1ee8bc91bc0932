package ipmi

import (
	"errors"
	"fmt"

	"github.com/bougou/go-ipmi/pkg/types"
)

// What an operation on a BMC can end in. The message that wraps one of these names the BMC's address and
// what to check; it never holds a password or key.
var (
	// ErrUnreachable means that the BMC did not answer within the retry budget or the caller's deadline.
	ErrUnreachable = errors.New("BMC unreachable")
	// ErrAuth means that the BMC refused the user name, the password or the Kg key. It is not retried, so
	// that a wrong password does not lock the account.
	ErrAuth = errors.New("BMC login refused")
	// ErrPrivilege means that the user exists but may not do what was asked at ipmi_priv_level.
	ErrPrivilege = errors.New("BMC user lacks privilege")
	// ErrNoCipherSuite means that the BMC takes none of the cipher suites that ferric offers.
	ErrNoCipherSuite = errors.New("no common IPMI cipher suite")
	// ErrBusy means that other commands to the same BMC took all the time that the operation had.
	ErrBusy = errors.New("BMC queue is full")
	// ErrPowerTimeout means that the BMC took the power command, but the power state did not follow in time.
	ErrPowerTimeout = errors.New("power state did not change in time")
	// ErrClosed means that the BMCs value was closed.
	ErrClosed = errors.New("IPMI driver is shut down")

	// ErrMissingParameter is returned by ParseInfo for an absent required driver_info key.
	ErrMissingParameter = errors.New("missing driver_info parameter")
	// ErrInvalidParameter is returned for a driver_info value, boot device or power state that cannot be used.
	ErrInvalidParameter = errors.New("invalid parameter")

	// errBusyBMC marks an answer that says "later"; the command is sent again within the retry budget.
	errBusyBMC = errors.New("BMC is busy")
	// errRefusedSuite moves the login on to the next cipher suite.
	errRefusedSuite = errors.New("BMC refused the cipher suite")
	// errRestartLogin marks a login that went out of step on a lossy network; it starts again from its beginning.
	errRestartLogin = errors.New("BMC lost track of the login")
)

// CompletionError is a command that the BMC received and answered with a completion code other than 00h.
type CompletionError struct {
	Command types.Command
	Code    types.CompletionCode
}

func (e *CompletionError) Error() string {
	return fmt.Sprintf("BMC answered %s with completion code %#02x (%s)",
		e.Command.Name, uint8(e.Code), types.StrCC(e.Command, uint8(e.Code)))
}

// Unwrap maps the codes that say why: a missing privilege, or "try again later" (IPMI 2.0 table 5-2).
func (e *CompletionError) Unwrap() error {
	if e.Command == types.CommandSendMessage {
		switch e.Code {
		case codeLostArbitration, codeBusError, codeNAK:
			return ErrUnreachable
		}
	}
	switch e.Code {
	case types.CodeInsufficientPrivilege:
		return ErrPrivilege
	case types.CodeNodeBusy, types.CodeProcessTimeout, types.CodeCannotProvideResponse,
		types.CodeCannotProvideResponseSDRRInUpdate, types.CodeCannotProvideResponseFirmwareUpdate,
		types.CodeCannotProvideResponseBMCInitialize:
		return errBusyBMC
	}
	return nil
}

// answered reports whether err is the BMC's own refusal of a command, other than "busy" and "no privilege":
// for optional commands that is a BMC which does not have them.
func answered(err error) bool {
	var refused *CompletionError
	return errors.As(err, &refused) && refused.Unwrap() == nil
}
