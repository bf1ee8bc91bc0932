// Package driver says what the conductor asks of hardware: one interface for
// each kind of question, with implementations under Ironic's names. Which
// implementations exist, and which hardware type supports which, is in the
// package driver/builtin.
package driver

import (
	"context"
	"errors"
	"fmt"
	"time"

	"ferric/conductor/store"
	"ferric/conductor/task"
)

// Power states as the API has them, and further targets of a power request.
const (
	PowerOn       = "power on"
	PowerOff      = "power off"
	Rebooting     = "rebooting"
	SoftPowerOff  = "soft power off"
	SoftRebooting = "soft rebooting"
	WarmRebooting = "warm rebooting" // the conductor's own: see RebootWarm
	PowerError    = "error"
)

// Boot devices as the API has them.
const (
	BootPXE   = "pxe"
	BootDisk  = "disk"
	BootCDROM = "cdrom"
	BootBIOS  = "bios"
	BootSafe  = "safe"
)

// ErrUnsupported says that an interface lacks the ability asked for.
var ErrUnsupported = errors.New("not supported")

// Unsupported makes an ErrUnsupported that shows Ironic's text only: what the
// hardware type lacks is the name of a kind of interface or of a method.
func Unsupported(hardwareType, what string) error {
	return &unsupportedError{fmt.Sprintf("Driver %s does not support %s (disabled or not implemented).", hardwareType, what)}
}

type unsupportedError struct{ text string }

func (e *unsupportedError) Error() string        { return e.text }
func (e *unsupportedError) Is(target error) bool { return target == ErrUnsupported }

// MissingParameterError and InvalidParameterError are faults of driver_info,
// properties or instance_info. The API answers them with 400.
type (
	MissingParameterError struct{ Text string }
	InvalidParameterError struct{ Text string }
)

func (e *MissingParameterError) Error() string { return e.Text }
func (e *InvalidParameterError) Error() string { return e.Text }

// Missing and Invalid make such errors.
func Missing(format string, args ...any) error {
	return &MissingParameterError{fmt.Sprintf(format, args...)}
}

func Invalid(format string, args ...any) error {
	return &InvalidParameterError{fmt.Sprintf(format, args...)}
}

// Validator checks what an interface needs of the node, without touching the
// hardware. Properties describes those needs for GET /v1/drivers/<d>/properties.
type Validator interface {
	Validate(ctx context.Context, n *store.Node) error
	Properties() map[string]string
}

// Power switches the machine. Every change is verified by asking the hardware
// again; an error means that the state is not known to be the one asked for.
type Power interface {
	Validator
	// PowerState asks the hardware; the answer is PowerOn or PowerOff.
	PowerState(ctx context.Context, n *store.Node) (string, error)
	// SetPowerState takes any power target; timeout 0 means the default.
	SetPowerState(ctx context.Context, t *task.Task, target string, timeout time.Duration) error
	SupportedPowerStates() []string
}

// Management selects what the machine boots from.
type Management interface {
	Validator
	// BootDevice reads the selection; nil persistent and "" mean unknown.
	BootDevice(ctx context.Context, n *store.Node) (device string, persistent *bool, err error)
	SetBootDevice(ctx context.Context, t *task.Task, device string, persistent bool) error
	SupportedBootDevices() []string
}

// Boot prepares what the firmware finds when it boots.
type Boot interface {
	Validator
	// PrepareRamdisk makes the next boot that of the agent, with further
	// kernel parameters, and sets the boot device.
	PrepareRamdisk(ctx context.Context, t *task.Task, params map[string]string) error
	CleanUpRamdisk(ctx context.Context, t *task.Task) error
	// PrepareInstance makes the next boot that of the deployed system.
	PrepareInstance(ctx context.Context, t *task.Task) error
	CleanUpInstance(ctx context.Context, t *task.Task) error
}

// Deploy knows the steps of a deployment and what goes around cleaning.
type Deploy interface {
	Validator
	// Steps are the conductor's own deploy steps, ordered by priority.
	Steps() []Step
	// UsesAgent says whether an agent is booted, which may offer further steps.
	UsesAgent() bool
	// Prepare goes before the first step, CleanUp after the last or a failure.
	Prepare(ctx context.Context, t *task.Task) error
	CleanUp(ctx context.Context, t *task.Task) error
	TearDown(ctx context.Context, t *task.Task) error
	// PrepareCleaning boots the agent; agent is false where cleaning needs none.
	PrepareCleaning(ctx context.Context, t *task.Task) (agent bool, err error)
	TearDownCleaning(ctx context.Context, t *task.Task) error
}

// Outcome of a step.
type Outcome int

const (
	// Finished: go on with the next step.
	Finished Outcome = iota
	// Waiting: the step goes on in the agent or the machine boots; the next
	// heartbeat continues.
	Waiting
)

// Info describes a hardware type for the API.
type Info struct {
	Name       string
	Default    map[string]string   // interface type → implementation
	Enabled    map[string][]string // sorted
	Properties map[string]string   // key of driver_info → description
	RAID       bool                // whether one of its RAID interfaces configures anything
}

// Resolver knows the hardware types that are enabled.
type Resolver interface {
	// Interfaces finds what the node's fields name.
	Interfaces(n *store.Node) (Interfaces, error)
	// SetDefaults checks the node's driver and interfaces and fills in those
	// that are not set. An unknown or unsupported name is Invalid.
	SetDefaults(n *store.Node) error
	Types() []Info
}
