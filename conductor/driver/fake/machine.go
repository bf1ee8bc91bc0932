package fake

import (
	"context"
	"time"

	"ferric/conductor/driver"
	"ferric/conductor/provision"
	"ferric/conductor/store"
	"ferric/conductor/task"
)

// Power keeps the power state in the node's row only.
type Power struct {
	none
	delay delay
}

// PowerState is what was set last, off before that.
func (p Power) PowerState(ctx context.Context, n *store.Node) (string, error) {
	if n.PowerState == nil || *n.PowerState != driver.PowerOn {
		return driver.PowerOff, p.delay.wait(ctx)
	}
	return driver.PowerOn, p.delay.wait(ctx)
}

// SetPowerState succeeds; the caller records the state.
func (p Power) SetPowerState(ctx context.Context, _ *task.Task, _ string, _ time.Duration) error {
	return p.delay.wait(ctx)
}

// SupportedPowerStates are all there are.
func (Power) SupportedPowerStates() []string {
	return []string{driver.PowerOn, driver.PowerOff, driver.Rebooting, driver.SoftRebooting, driver.SoftPowerOff}
}

// Management keeps the boot device in the node's row only, and has two lamps
// that are on.
type Management struct {
	none
	delay delay
}

const keyBootDevice, keyPersistent = "fake_boot_device", "fake_boot_device_persistent"

// BootDevice is what was set last, pxe before that.
func (m Management) BootDevice(ctx context.Context, n *store.Node) (string, *bool, error) {
	device := n.DriverInternalInfo.String(keyBootDevice)
	if device == "" {
		device = driver.BootPXE
	}
	persistent := n.DriverInternalInfo.Bool(keyPersistent)
	return device, &persistent, m.delay.wait(ctx)
}

// SetBootDevice records the device.
func (m Management) SetBootDevice(ctx context.Context, t *task.Task, device string, persistent bool) error {
	if err := m.delay.wait(ctx); err != nil {
		return err
	}
	t.Node.DriverInternalInfo[keyBootDevice] = device
	t.Node.DriverInternalInfo[keyPersistent] = persistent
	return t.Save(ctx)
}

// SupportedBootDevices are those of Ironic's fake.
func (Management) SupportedBootDevices() []string { return []string{driver.BootPXE} }

// SupportedIndicators are those of Ironic's fake.
func (m Management) SupportedIndicators(ctx context.Context, _ *store.Node) (map[string]map[string]driver.Indicator, error) {
	return map[string]map[string]driver.Indicator{
		"chassis": {"led-0": {ReadOnly: true, States: []string{"off", "on"}}},
		"system":  {"led": {States: []string{"blinking", "off", "on"}}},
	}, m.delay.wait(ctx)
}

func keyIndicator(component, indicator string) string {
	return "fake_indicator_" + indicator + "@" + component
}

// IndicatorState is what was set last, on before that.
func (m Management) IndicatorState(ctx context.Context, n *store.Node, component, indicator string) (string, error) {
	if state := n.DriverInternalInfo.String(keyIndicator(component, indicator)); state != "" {
		return state, m.delay.wait(ctx)
	}
	return "on", m.delay.wait(ctx)
}

// SetIndicatorState records the state.
func (m Management) SetIndicatorState(ctx context.Context, t *task.Task, component, indicator, state string) error {
	if err := m.delay.wait(ctx); err != nil {
		return err
	}
	t.Node.DriverInternalInfo[keyIndicator(component, indicator)] = state
	return t.Save(ctx)
}

// GetBootMode is what was set last; before that nobody knows.
func (m Management) GetBootMode(ctx context.Context, n *store.Node) (string, error) {
	if n.BootMode == nil {
		return "", driver.Unsupported(n.Driver, "get_boot_mode")
	}
	return *n.BootMode, m.delay.wait(ctx)
}

// SetBootMode succeeds; the caller records the mode.
func (m Management) SetBootMode(ctx context.Context, _ *task.Task, _ string) error {
	return m.delay.wait(ctx)
}

// GetSecureBoot is what was set last; before that nobody knows.
func (m Management) GetSecureBoot(ctx context.Context, n *store.Node) (bool, error) {
	if n.SecureBoot == nil {
		return false, driver.Unsupported(n.Driver, "get_secure_boot_state")
	}
	return *n.SecureBoot, m.delay.wait(ctx)
}

// SetSecureBoot succeeds; the caller records the state.
func (m Management) SetSecureBoot(ctx context.Context, _ *task.Task, _ bool) error {
	return m.delay.wait(ctx)
}

// Boot boots nothing.
type Boot struct {
	none
	delay delay
}

func (b Boot) PrepareRamdisk(ctx context.Context, _ *task.Task, _ map[string]string) error {
	return b.delay.wait(ctx)
}
func (b Boot) CleanUpRamdisk(ctx context.Context, _ *task.Task) error  { return b.delay.wait(ctx) }
func (b Boot) PrepareInstance(ctx context.Context, _ *task.Task) error { return b.delay.wait(ctx) }
func (b Boot) CleanUpInstance(ctx context.Context, _ *task.Task) error { return b.delay.wait(ctx) }

// Deploy writes nothing.
type Deploy struct {
	none
	delay delay
}

// Steps has the one step deploy.deploy.
func (d Deploy) Steps() []driver.Step {
	return []driver.Step{{Interface: "deploy", Name: "deploy", Priority: 100, Restartable: true,
		Run: func(ctx context.Context, _ *task.Task, _ map[string]any) (driver.Outcome, error) {
			return driver.Finished, d.delay.wait(ctx)
		}}}
}

func (Deploy) UsesAgent() bool                                    { return false }
func (d Deploy) Prepare(ctx context.Context, _ *task.Task) error  { return d.delay.wait(ctx) }
func (d Deploy) CleanUp(ctx context.Context, _ *task.Task) error  { return d.delay.wait(ctx) }
func (d Deploy) TearDown(ctx context.Context, _ *task.Task) error { return d.delay.wait(ctx) }

// PrepareCleaning boots no agent.
func (d Deploy) PrepareCleaning(ctx context.Context, _ *task.Task) (bool, error) {
	return false, d.delay.wait(ctx)
}
func (d Deploy) TearDownCleaning(ctx context.Context, _ *task.Task) error { return d.delay.wait(ctx) }

// Inspect finds nothing.
type Inspect struct {
	none
	delay delay
}

// InspectHardware is done at once.
func (i Inspect) InspectHardware(ctx context.Context, _ *task.Task) (provision.State, error) {
	return provision.Manageable, i.delay.wait(ctx)
}

// Abort: an inspection that is done cannot be aborted.
func (Inspect) Abort(_ context.Context, t *task.Task) error {
	return driver.Unsupported(t.Node.Driver, "abort")
}

// Rescue lets nobody in.
type Rescue struct {
	none
	delay delay
}

func (r Rescue) Rescue(ctx context.Context, _ *task.Task) (driver.Outcome, error) {
	return driver.Finished, r.delay.wait(ctx)
}
func (r Rescue) Unrescue(ctx context.Context, _ *task.Task) (driver.Outcome, error) {
	return driver.Finished, r.delay.wait(ctx)
}
func (Rescue) CleanUp(context.Context, *task.Task) error { return nil }

// Console shows nothing.
type Console struct{ none }

func (Console) StartConsole(context.Context, *task.Task) error { return nil }
func (Console) StopConsole(context.Context, *task.Task) error  { return nil }

// GetConsole: there is nothing to reach.
func (Console) GetConsole(context.Context, *store.Node) (map[string]any, error) {
	return map[string]any{}, nil
}

// Storage attaches nothing.
type Storage struct {
	none
	delay delay
}

var (
	_ driver.Power      = Power{}
	_ driver.Management = Management{}
	_ driver.Indicators = Management{}
	_ driver.BootModes  = Management{}
	_ driver.SecureBoot = Management{}
	_ driver.Boot       = Boot{}
	_ driver.Deploy     = Deploy{}
	_ driver.Inspect    = Inspect{}
	_ driver.Rescue     = Rescue{}
	_ driver.Console    = Console{}
	_ driver.Storage    = Storage{}
)
