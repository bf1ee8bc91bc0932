package ipmi

import (
	"context"
	"errors"

	"ferric/conductor/driver"
	"ferric/conductor/store"
	"ferric/conductor/task"
)

// Keys of driver_internal_info in which Ironic remembers the boot device for ipmi_force_boot_device.
const (
	keyPersistentDevice   = "persistent_boot_device"
	keyNextBootPersistent = "is_next_boot_persistent"
)

// Management is Ironic's management interface "ipmitool".
type Management struct{ bmcs *BMCs }

// NewManagement returns the management interface over bmcs.
func NewManagement(bmcs *BMCs) *Management { return &Management{bmcs} }

// Validate checks driver_info.
func (m *Management) Validate(_ context.Context, n *store.Node) error {
	_, err := nodeInfo(n)
	return err
}

// Properties describes the driver_info keys.
func (m *Management) Properties() map[string]string { return Properties() }

// SupportedBootDevices lists what SetBootDevice takes.
func (m *Management) SupportedBootDevices() []string { return SupportedBootDevices() }

// BootDevice reads the boot flags back, see BMCs.BootDevice.
func (m *Management) BootDevice(ctx context.Context, n *store.Node) (string, *bool, error) {
	info, err := nodeInfo(n)
	if err != nil {
		return "", nil, err
	}
	return m.bmcs.BootDevice(ctx, info)
}

// SetBootDevice selects the boot device by the rules of the node's boot mode. With ipmi_force_boot_device, the
// BMC is told for the next boot only, and a persistent device is kept in driver_internal_info and sent again
// before each power on, as for BMCs that have no persistent flag.
func (m *Management) SetBootDevice(ctx context.Context, t *task.Task, device string, persistent bool) error {
	info, err := nodeInfo(t.Node)
	if err != nil {
		return err
	}
	toBMC := persistent && !info.ForceBootDevice
	err = m.bmcs.SetBootDevice(ctx, info, device, toBMC, driver.BootModeOr(t.Node, m.bmcs.cfg.DefaultBootMode) == "uefi")
	if errors.Is(err, ErrInvalidParameter) {
		return driver.Invalid("node %s: %v", t.Node.Label(), err)
	}
	if err != nil || !info.ForceBootDevice {
		return err
	}
	remember(t.Node, device, persistent)
	return t.Save(ctx)
}

// GetBootMode reads the boot mode from the boot flags, see BMCs.BootMode.
func (m *Management) GetBootMode(ctx context.Context, n *store.Node) (string, error) {
	info, err := nodeInfo(n)
	if err != nil {
		return "", err
	}
	return m.bmcs.BootMode(ctx, info)
}

// SetBootMode selects "uefi" or "bios".
func (m *Management) SetBootMode(ctx context.Context, t *task.Task, mode string) error {
	info, err := nodeInfo(t.Node)
	if err != nil {
		return err
	}
	return m.bmcs.SetBootMode(ctx, info, mode == "uefi")
}

// InjectNMI has the BMC interrupt the machine.
func (m *Management) InjectNMI(ctx context.Context, t *task.Task) error {
	info, err := nodeInfo(t.Node)
	if err != nil {
		return err
	}
	return m.bmcs.InjectNMI(ctx, info)
}

// remember notes what resendBootDevice is to do at the power ons to come.
func remember(n *store.Node, device string, persistent bool) {
	if n.DriverInternalInfo == nil {
		n.DriverInternalInfo = store.Object{}
	}
	if persistent {
		n.DriverInternalInfo[keyPersistentDevice] = device
		delete(n.DriverInternalInfo, keyNextBootPersistent)
		return
	}
	n.DriverInternalInfo[keyNextBootPersistent] = false
}

// resendBootDevice goes before a power on with ipmi_force_boot_device: it sends the remembered device, unless
// one was chosen for just this boot.
func (b *BMCs) resendBootDevice(ctx context.Context, t *task.Task, info Info) error {
	internal := t.Node.DriverInternalInfo
	if next, ok := internal[keyNextBootPersistent].(bool); ok && !next {
		delete(internal, keyNextBootPersistent)
		return t.Save(ctx)
	}
	device := internal.String(keyPersistentDevice)
	if device == "" {
		return nil
	}
	return b.SetBootDevice(ctx, info, device, false, driver.BootModeOr(t.Node, b.cfg.DefaultBootMode) == "uefi")
}

var (
	_ driver.Management = (*Management)(nil)
	_ driver.NMI        = (*Management)(nil)
	_ driver.BootModes  = (*Management)(nil)
)
