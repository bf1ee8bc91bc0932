package driver

import (
	"context"

	"ferric/api/ipa"
	"ferric/conductor/provision"
	"ferric/conductor/store"
	"ferric/conductor/task"
)

// Interfaces is what a node is driven with: one implementation of each kind.
type Interfaces struct {
	Power      Power
	Management Management
	Boot       Boot
	Deploy     Deploy
	Inspect    Inspect
	Rescue     Rescue
	Console    Console
	RAID       RAID
	BIOS       BIOS
	Firmware   Firmware
	Vendor     Vendor
	Network    Network
	Storage    Storage
}

// Inspect finds out what the machine consists of.
type Inspect interface {
	Validator
	// InspectHardware begins an inspection. Manageable says that it is done and
	// saved, InspectWait that it goes on: in an agent, or when it is asked again.
	InspectHardware(ctx context.Context, t *task.Task) (provision.State, error)
	// Abort ends an inspection that goes on.
	Abort(ctx context.Context, t *task.Task) error
}

// Rescue boots the machine of an instance into a system that mends it.
type Rescue interface {
	Validator
	// Rescue is Finished when a user can log in, Waiting when an agent boots that will let them.
	Rescue(ctx context.Context, t *task.Task) (Outcome, error)
	// Unrescue boots the instance again.
	Unrescue(ctx context.Context, t *task.Task) (Outcome, error)
	// CleanUp takes back what Rescue has set up, also after a failure.
	CleanUp(ctx context.Context, t *task.Task) error
}

// Console shows the machine's screen or serial line.
type Console interface {
	Validator
	StartConsole(ctx context.Context, t *task.Task) error
	StopConsole(ctx context.Context, t *task.Task) error
	// GetConsole tells how to reach a console that was started: its type and url.
	GetConsole(ctx context.Context, n *store.Node) (map[string]any, error)
}

// RAID makes arrays of disks. Its steps do; they may be the agent's.
type RAID interface {
	Validator
	// ValidateRAIDConfig refuses a configuration that no step could make.
	ValidateRAIDConfig(ctx context.Context, n *store.Node, config store.Object) error
	// ConfiguresRAID says whether there is anything behind it.
	ConfiguresRAID() bool
}

// BIOS knows the settings of the firmware. Its steps change them.
type BIOS interface {
	Validator
	// CacheBIOSSettings brings the settings in the database up to date.
	CacheBIOSSettings(ctx context.Context, t *task.Task) error
}

// Firmware knows the versions of the machine's firmware. Its steps change them.
type Firmware interface {
	Validator
	// CacheFirmwareComponents brings the components in the database up to date.
	CacheFirmwareComponents(ctx context.Context, t *task.Task) error
}

// Network connects the machine to the networks of the tasks it has.
type Network interface{ Validator }

// Storage attaches volumes that are not in the machine.
type Storage interface{ Validator }

// Vendor has methods that the API passes on as they are.
type Vendor interface {
	Properties() map[string]string
	Methods() map[string]VendorMethod
}

// VendorMethod is what the API tells about a method, and what it does. The task
// that Run gets holds the node's lock only where the method requires it.
type VendorMethod struct {
	Async                bool     `json:"async"`
	Attach               bool     `json:"attach"`
	Description          string   `json:"description"`
	HTTPMethods          []string `json:"http_methods"`
	RequireExclusiveLock bool     `json:"require_exclusive_lock"`

	// Validate checks the arguments before anything happens.
	Validate func(n *store.Node, args map[string]any) error                            `json:"-"`
	Run      func(ctx context.Context, t *task.Task, args map[string]any) (any, error) `json:"-"`
}

// TakingOver is a Deploy that has something to do with an instance that
// somebody else has deployed.
type TakingOver interface {
	TakeOver(ctx context.Context, t *task.Task) error
}

// BootRetrier is a Boot whose machine can be made to boot once more what was
// prepared.
type BootRetrier interface {
	RetryRamdisk(ctx context.Context, t *task.Task) error
}

// VendorDetector is a Management that finds out who made the machine.
type VendorDetector interface {
	DetectVendor(ctx context.Context, n *store.Node) (string, error)
}

// Further abilities that a Management may have. What it has not is answered
// with ErrUnsupported.
type (
	// BootModes switches between UEFI and BIOS.
	BootModes interface {
		GetBootMode(ctx context.Context, n *store.Node) (string, error)
		SetBootMode(ctx context.Context, t *task.Task, mode string) error
	}
	// SecureBoot switches secure boot.
	SecureBoot interface {
		GetSecureBoot(ctx context.Context, n *store.Node) (bool, error)
		SetSecureBoot(ctx context.Context, t *task.Task, on bool) error
	}
	// NMI interrupts the machine in a way that it cannot ignore.
	NMI interface {
		InjectNMI(ctx context.Context, t *task.Task) error
	}
	// Indicators are the lamps of the machine.
	Indicators interface {
		// SupportedIndicators are by component and name.
		SupportedIndicators(ctx context.Context, n *store.Node) (map[string]map[string]Indicator, error)
		IndicatorState(ctx context.Context, n *store.Node, component, indicator string) (string, error)
		SetIndicatorState(ctx context.Context, t *task.Task, component, indicator, state string) error
	}
	// VirtualMedia are drives of the machine that hold images from elsewhere.
	VirtualMedia interface {
		GetVirtualMedia(ctx context.Context, n *store.Node) ([]map[string]any, error)
		AttachVirtualMedia(ctx context.Context, t *task.Task, device, imageURL string) error
		// DetachVirtualMedia of no device is of all.
		DetachVirtualMedia(ctx context.Context, t *task.Task, devices []string) error
	}
)

// Indicator is a lamp.
type Indicator struct {
	ReadOnly bool
	States   []string
}

// Steps beyond those of a deployment that an interface of any kind may have.
type (
	CleanStepper   interface{ CleanSteps() []Step }
	ServiceStepper interface{ ServiceSteps() []Step }
	VerifyStepper  interface{ VerifySteps() []Step }
)

// Step is a step that the conductor runs itself.
type Step struct {
	Interface string
	Name      string
	Priority  int
	ArgsInfo  map[string]ipa.Arg
	Abortable bool
	// NeedsRamdisk says that the agent has to run meanwhile.
	NeedsRamdisk bool
	// Restartable says that the step may be run again where it is not known how
	// far it came: it brings about a state rather than doing something once.
	Restartable bool
	// AgentOf is an earlier step, as "interface.step", after which the agent knows
	// what this step asks it for: with another agent that step is begun with.
	AgentOf string
	Run     func(ctx context.Context, t *task.Task, args map[string]any) (Outcome, error)
}

// CleanSteps are those of all interfaces.
func (i Interfaces) CleanSteps() []Step {
	var list []Step
	for _, v := range i.stepping() {
		if s, ok := v.(CleanStepper); ok {
			list = append(list, s.CleanSteps()...)
		}
	}
	return list
}

// VerifySteps are those of all interfaces.
func (i Interfaces) VerifySteps() []Step {
	var list []Step
	for _, v := range i.stepping() {
		if s, ok := v.(VerifyStepper); ok {
			list = append(list, s.VerifySteps()...)
		}
	}
	return list
}

// ServiceSteps are those of all interfaces.
func (i Interfaces) ServiceSteps() []Step {
	var list []Step
	for _, v := range i.stepping() {
		if s, ok := v.(ServiceStepper); ok {
			list = append(list, s.ServiceSteps()...)
		}
	}
	return list
}

// stepping are the kinds that may have steps, in the order of their weights
// (deploy flow, section 4).
func (i Interfaces) stepping() []any {
	return []any{i.Vendor, i.Power, i.Management, i.Firmware, i.Deploy, i.BIOS, i.RAID}
}
