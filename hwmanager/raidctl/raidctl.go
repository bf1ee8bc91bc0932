// Package raidctl is the hardware manager for hardware RAID controllers. It
// speaks to them by the command line tools of their vendors, which the ramdisk
// has to bring (ferric ramdisk build --tool): storcli and perccli for Broadcom
// and Dell, ssacli for HPE.
//
// It offers the steps of the RAID interface under their usual names, and takes
// those configurations that have a logical disk for a hardware controller. All
// others, software RAID among them, it passes on.
package raidctl

import (
	"context"
	"fmt"
	"strings"
	"time"

	"ferric/api/ipa"
	"ferric/hwmanager"
)

// version changes with the steps.
const version = "1.0"

// evaluateLimit is for all tools together; the agent waits for a minute.
const evaluateLimit = 45 * time.Second

// Manager is the hardware manager. Use New.
type Manager struct {
	// patience is how long volumes may take to be gone, or to be seen by the
	// kernel; poll is how often that is looked at, and how long a busy
	// controller is left alone.
	patience, poll time.Duration
	root           string // of the usual places of tools; "" but in tests
}

// New makes the manager.
func New() *Manager { return &Manager{patience: time.Minute, poll: 2 * time.Second} }

var (
	_ hwmanager.Manager        = (*Manager)(nil)
	_ hwmanager.CleanStepper   = (*Manager)(nil)
	_ hwmanager.DeployStepper  = (*Manager)(nil)
	_ hwmanager.ServiceStepper = (*Manager)(nil)
	_ hwmanager.Collector      = (*Manager)(nil)
)

// Name implements hwmanager.Manager.
func (*Manager) Name() string { return "raidctl" }

// ClassName implements hwmanager.Manager.
func (*Manager) ClassName() string { return "RAIDControllerHardwareManager" }

// Version implements hwmanager.Manager.
func (*Manager) Version() string { return version }

// Evaluate implements hwmanager.Manager: the machine needs a controller and the
// tool for it. A tool that does not work takes the manager out, for it could do
// nothing, and is worth a warning.
func (m *Manager) Evaluate(ctx context.Context, h *hwmanager.Host) (hwmanager.Support, error) {
	ctx, cancel := context.WithTimeout(ctx, evaluateLimit)
	defer cancel()
	devices, err := h.PCI()
	if err != nil {
		h.Log.WithError(err).Warn("RAID controllers are looked for by their tools only")
	}
	for _, f := range families() {
		tools := f.tools(h, m.root)
		if len(tools) == 0 {
			if f.present(devices) {
				h.Log.Infof("a RAID controller of %s is here, but none of the tools %s: it is not managed", f.vendor, strings.Join(f.programs, ", "))
			}
			continue
		}
		if f.present(devices) {
			return hwmanager.Mainline, nil
		}
		for _, path := range tools {
			n, err := f.open(tool{h, path}).count(ctx)
			if err != nil {
				h.Log.WithError(err).Warnf("%s does not tell which controllers there are", path)
				continue
			}
			if n > 0 {
				return hwmanager.Mainline, nil
			}
		}
	}
	return hwmanager.None, nil
}

// CleanSteps implements hwmanager.CleanStepper.
func (m *Manager) CleanSteps(context.Context, *hwmanager.Host, hwmanager.Node) ([]hwmanager.Step, error) {
	return []hwmanager.Step{m.deleteStep(hwmanager.Clean), m.createStep(hwmanager.Clean)}, nil
}

// DeploySteps implements hwmanager.DeployStepper.
func (m *Manager) DeploySteps(context.Context, *hwmanager.Host, hwmanager.Node) ([]hwmanager.Step, error) {
	return []hwmanager.Step{m.applyStep(hwmanager.Deploy)}, nil
}

// ServiceSteps implements hwmanager.ServiceStepper.
func (m *Manager) ServiceSteps(context.Context, *hwmanager.Host, hwmanager.Node) ([]hwmanager.Step, error) {
	return []hwmanager.Step{m.deleteStep(hwmanager.Service), m.createStep(hwmanager.Service), m.applyStep(hwmanager.Service)}, nil
}

type noArgs struct{}

type createArgs struct {
	Root   bool `json:"create_root_volume" doc:"Whether to create the root volume, true by default." default:"true"`
	Others bool `json:"create_nonroot_volumes" doc:"Whether to create the other volumes, true by default." default:"true"`
	Delete bool `json:"delete_existing" doc:"Whether to delete the existing RAID configuration first, false by default." default:"false"`
}

type applyArgs struct {
	Config map[string]any `json:"raid_config" doc:"The RAID configuration to apply." required:"true"`
	Delete bool           `json:"delete_existing" doc:"Whether to delete the existing RAID configuration first, true by default." default:"true"`
}

// Steps are abortable as those of the generic manager, which has the same ones.
func (m *Manager) deleteStep(phase hwmanager.Phase) hwmanager.Step {
	return hwmanager.NewStep(ipa.Step{Step: "delete_configuration", Interface: "raid", Abortable: phase != hwmanager.Deploy},
		func(ctx context.Context, h *hwmanager.Host, call hwmanager.StepCall, _ noArgs) (any, error) {
			return nil, m.deleteConfiguration(ctx, h, phase, call)
		})
}

func (m *Manager) createStep(phase hwmanager.Phase) hwmanager.Step {
	return hwmanager.NewStep(ipa.Step{Step: "create_configuration", Interface: "raid", Abortable: phase != hwmanager.Deploy},
		func(ctx context.Context, h *hwmanager.Host, call hwmanager.StepCall, args createArgs) (any, error) {
			config, err := objectOf(call.Node, "target_raid_config")
			if err != nil {
				return nil, err
			}
			return m.configure(ctx, h, phase, call, config, args)
		})
}

func (m *Manager) applyStep(phase hwmanager.Phase) hwmanager.Step {
	return hwmanager.NewStep(ipa.Step{Step: "apply_configuration", Interface: "raid"},
		func(ctx context.Context, h *hwmanager.Host, call hwmanager.StepCall, args applyArgs) (any, error) {
			return m.configure(ctx, h, phase, call, args.Config, createArgs{Root: true, Others: true, Delete: args.Delete})
		})
}

// objectOf is a field of the node that is an object, empty if there is none.
func objectOf(node hwmanager.Node, name string) (map[string]any, error) {
	value, given := node[name]
	if !given || value == nil {
		return nil, nil
	}
	object, ok := value.(map[string]any)
	if !ok {
		return nil, fmt.Errorf("the node's %s is no object", name)
	}
	return object, nil
}

// mayChange is nil where controllers may be changed: in the ramdisk, and on a
// made-up host. An agent that was started on a workstation must not delete its
// volumes.
func mayChange(h *hwmanager.Host) error {
	if h.Guard.InRamdisk || h.Programs != "" {
		return nil
	}
	return ipa.ProtectedDevice.New("not running in a ramdisk: changing RAID controllers is not allowed")
}
