// Package agent has the interfaces "agent": inspection and rescue by the agent
// in the ramdisk, on any hardware that can be switched and made to boot it.
package agent

import (
	"context"
	"errors"
	"maps"
	"strings"

	"ferric/conductor/driver"
	"ferric/conductor/provision"
	"ferric/conductor/store"
	"ferric/conductor/task"
)

// Config of the interfaces; the names are Ironic's.
type Config struct {
	// APIURL is the base URL of the conductor's API as machines reach it.
	APIURL string `ini:"service_catalog.endpoint_override"`
	// RequireManagedBoot inspects only nodes that the conductor can make boot
	// the agent; others are to boot it by the operator's means.
	RequireManagedBoot bool `ini:"inspector.require_managed_boot"`
	// ExtraKernelParams are further kernel parameters of an inspection.
	ExtraKernelParams string `ini:"inspector.extra_kernel_params"`
	// PowerOff switches the machine off at the end of an inspection.
	PowerOff bool `ini:"inspector.power_off"`
}

// DefaultConfig has Ironic's defaults.
func DefaultConfig() Config { return Config{RequireManagedBoot: true, PowerOff: true} }

// inspectionPath is where agents send what they found.
const inspectionPath = "/v1/continue_inspection"

// Inspect implements driver.Inspect. The interfaces that it works through are
// those of the node.
type Inspect struct {
	cfg     Config
	agents  driver.Agents
	drivers driver.Resolver
}

// NewInspect makes the interface.
func NewInspect(cfg Config, agents driver.Agents, drivers driver.Resolver) *Inspect {
	return &Inspect{cfg, agents, drivers}
}

// Properties: the interface reads nothing of driver_info itself.
func (i *Inspect) Properties() map[string]string { return map[string]string{} }

// Validate checks that the agent can be booted.
func (i *Inspect) Validate(ctx context.Context, n *store.Node) error {
	ifs, err := i.drivers.Interfaces(n)
	if err != nil {
		return err
	}
	if err := ifs.Boot.Validate(ctx, n); err != nil && i.cfg.RequireManagedBoot {
		return err
	}
	return i.agents.ValidateFastTrack(n)
}

// InspectHardware boots the agent, which is told where to send what it finds.
func (i *Inspect) InspectHardware(ctx context.Context, t *task.Task) (provision.State, error) {
	ifs, err := i.drivers.Interfaces(t.Node)
	if err != nil {
		return "", err
	}
	if err := ifs.Boot.Validate(ctx, t.Node); err != nil {
		if i.cfg.RequireManagedBoot {
			return "", err
		}
		// The operator's network boots the agent.
		return provision.InspectWait, driver.SwitchPower(ctx, t, ifs.Power, driver.Rebooting, 0)
	}
	return provision.InspectWait, driver.Restart(ctx, t, ifs.Power, func() error {
		return ifs.Boot.PrepareRamdisk(ctx, t, i.cfg.KernelParams())
	})
}

// KernelParams tell the agent to inspect; operators may add to them.
func (c Config) KernelParams() map[string]string {
	params := map[string]string{"ipa-inspection-callback-url": strings.TrimSuffix(c.APIURL, "/") + inspectionPath}
	extra := map[string]string{}
	for _, word := range strings.Fields(c.ExtraKernelParams) {
		name, value, _ := strings.Cut(word, "=")
		extra[name] = value
	}
	maps.Copy(params, extra)
	return params
}

// Abort ends the agent.
func (i *Inspect) Abort(ctx context.Context, t *task.Task) error {
	ifs, err := i.drivers.Interfaces(t.Node)
	if err != nil {
		return err
	}
	if i.cfg.PowerOff {
		err = driver.SwitchOff(ctx, t, ifs.Power)
	}
	return errors.Join(err, ifs.Boot.CleanUpRamdisk(ctx, t))
}

// Rescue implements driver.Rescue.
type Rescue struct{ drivers driver.Resolver }

// NewRescue makes the interface.
func NewRescue(drivers driver.Resolver) *Rescue { return &Rescue{drivers} }

// Properties: what is booted is the boot interface's to know.
func (r *Rescue) Properties() map[string]string { return map[string]string{} }

// Validate checks that the agent can be booted.
func (r *Rescue) Validate(ctx context.Context, n *store.Node) error {
	ifs, err := r.drivers.Interfaces(n)
	if err != nil {
		return err
	}
	return ifs.Boot.Validate(ctx, n)
}

// Rescue boots the agent; its heartbeat goes on.
func (r *Rescue) Rescue(ctx context.Context, t *task.Task) (driver.Outcome, error) {
	ifs, err := r.drivers.Interfaces(t.Node)
	if err != nil {
		return 0, err
	}
	return driver.Waiting, driver.Restart(ctx, t, ifs.Power, func() error {
		if err := ifs.Boot.CleanUpInstance(ctx, t); err != nil {
			return err
		}
		return ifs.Boot.PrepareRamdisk(ctx, t, nil)
	})
}

// Unrescue boots the instance again.
func (r *Rescue) Unrescue(ctx context.Context, t *task.Task) (driver.Outcome, error) {
	ifs, err := r.drivers.Interfaces(t.Node)
	if err != nil {
		return 0, err
	}
	return driver.Finished, driver.Restart(ctx, t, ifs.Power, func() error {
		return errors.Join(ifs.Boot.CleanUpRamdisk(ctx, t), ifs.Boot.PrepareInstance(ctx, t))
	})
}

// CleanUp stops offering the ramdisk: the machine that runs it keeps running it.
func (r *Rescue) CleanUp(ctx context.Context, t *task.Task) error {
	ifs, err := r.drivers.Interfaces(t.Node)
	if err != nil {
		return err
	}
	return ifs.Boot.CleanUpRamdisk(ctx, t)
}

var (
	_ driver.Inspect = (*Inspect)(nil)
	_ driver.Rescue  = (*Rescue)(nil)
)
