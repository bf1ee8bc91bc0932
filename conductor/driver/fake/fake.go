// Package fake is hardware that does what it is told and does not exist:
// the implementations named "fake", as Ironic has them, for trying out clients.
package fake

import (
	"context"
	"time"

	"ferric/conductor/driver"
	"ferric/conductor/store"
	"ferric/conductor/task"
)

// none needs nothing of a node.
type none struct{}

func (none) Validate(context.Context, *store.Node) error { return nil }
func (none) Properties() map[string]string               { return map[string]string{} }

// Power keeps the power state in the node's row only.
type Power struct{ none }

// PowerState is what was set last, off before that.
func (Power) PowerState(_ context.Context, n *store.Node) (string, error) {
	if n.PowerState == nil || *n.PowerState != driver.PowerOn {
		return driver.PowerOff, nil
	}
	return driver.PowerOn, nil
}

// SetPowerState succeeds; the caller records the state.
func (Power) SetPowerState(context.Context, *task.Task, string, time.Duration) error { return nil }

// SupportedPowerStates are all there are.
func (Power) SupportedPowerStates() []string {
	return []string{driver.PowerOn, driver.PowerOff, driver.Rebooting, driver.SoftPowerOff, driver.SoftRebooting}
}

// Management keeps the boot device in the node's row only.
type Management struct{ none }

const keyBootDevice, keyPersistent = "fake_boot_device", "fake_boot_device_persistent"

// BootDevice is what was set last, pxe before that.
func (Management) BootDevice(_ context.Context, n *store.Node) (string, *bool, error) {
	device := n.DriverInternalInfo.String(keyBootDevice)
	if device == "" {
		device = driver.BootPXE
	}
	persistent := n.DriverInternalInfo.Bool(keyPersistent)
	return device, &persistent, nil
}

// SetBootDevice records the device.
func (Management) SetBootDevice(ctx context.Context, t *task.Task, device string, persistent bool) error {
	t.Node.DriverInternalInfo[keyBootDevice] = device
	t.Node.DriverInternalInfo[keyPersistent] = persistent
	return t.Save(ctx)
}

// SupportedBootDevices are those of Ironic's fake.
func (Management) SupportedBootDevices() []string { return []string{driver.BootPXE} }

// Boot boots nothing.
type Boot struct{ none }

func (Boot) PrepareRamdisk(context.Context, *task.Task, map[string]string) error { return nil }
func (Boot) CleanUpRamdisk(context.Context, *task.Task) error                    { return nil }
func (Boot) PrepareInstance(context.Context, *task.Task) error                   { return nil }
func (Boot) CleanUpInstance(context.Context, *task.Task) error                   { return nil }

// Deploy is over at once.
type Deploy struct{ none }

// Steps has the one step deploy.deploy, which does nothing.
func (Deploy) Steps() []driver.Step {
	return []driver.Step{{Interface: "deploy", Name: "deploy", Priority: 100,
		Run: func(context.Context, *task.Task, map[string]any) (driver.Outcome, error) { return driver.Finished, nil }}}
}

func (Deploy) UsesAgent() bool                                           { return false }
func (Deploy) Prepare(context.Context, *task.Task) error                 { return nil }
func (Deploy) CleanUp(context.Context, *task.Task) error                 { return nil }
func (Deploy) TearDown(context.Context, *task.Task) error                { return nil }
func (Deploy) PrepareCleaning(context.Context, *task.Task) (bool, error) { return false, nil }
func (Deploy) TearDownCleaning(context.Context, *task.Task) error        { return nil }

var (
	_ driver.Power      = Power{}
	_ driver.Management = Management{}
	_ driver.Boot       = Boot{}
	_ driver.Deploy     = Deploy{}
)
