// Package noop has the implementations of machines that lack something: "no-*"
// refuses what it is asked for, "noop" has nothing to do.
package noop

import (
	"context"
	"slices"
	"strings"

	"ferric/conductor/driver"
	"ferric/conductor/provision"
	"ferric/conductor/store"
	"ferric/conductor/task"
)

// missing is what a machine lacks: the kind of interface.
type missing string

func (m missing) refuse(n *store.Node) error { return driver.Unsupported(n.Driver, string(m)) }

// Validate says that there is nothing to validate.
func (m missing) Validate(_ context.Context, n *store.Node) error { return m.refuse(n) }

// Properties: nothing is read of driver_info.
func (m missing) Properties() map[string]string { return map[string]string{} }

// The implementations "no-inspect", "no-rescue", "no-console", "no-raid",
// "no-bios", "no-firmware" and "no-vendor".
type (
	Inspect  struct{ missing }
	Rescue   struct{ missing }
	Console  struct{ missing }
	RAID     struct{ missing }
	BIOS     struct{ missing }
	Firmware struct{ missing }
	Vendor   struct{ missing }
)

// NewInspect and the others know what they lack.
func NewInspect() Inspect   { return Inspect{"inspect"} }
func NewRescue() Rescue     { return Rescue{"rescue"} }
func NewConsole() Console   { return Console{"console"} }
func NewRAID() RAID         { return RAID{"raid"} }
func NewBIOS() BIOS         { return BIOS{"bios"} }
func NewFirmware() Firmware { return Firmware{"firmware"} }
func NewVendor() Vendor     { return Vendor{"vendor"} }

func (i Inspect) InspectHardware(_ context.Context, t *task.Task) (provision.State, error) {
	return "", i.refuse(t.Node)
}
func (i Inspect) Abort(_ context.Context, t *task.Task) error { return i.refuse(t.Node) }

func (r Rescue) Rescue(_ context.Context, t *task.Task) (driver.Outcome, error) {
	return 0, r.refuse(t.Node)
}
func (r Rescue) Unrescue(_ context.Context, t *task.Task) (driver.Outcome, error) {
	return 0, r.refuse(t.Node)
}

// CleanUp has nothing to take back.
func (Rescue) CleanUp(context.Context, *task.Task) error { return nil }

func (c Console) StartConsole(_ context.Context, t *task.Task) error { return c.refuse(t.Node) }
func (c Console) StopConsole(_ context.Context, t *task.Task) error  { return c.refuse(t.Node) }
func (c Console) GetConsole(_ context.Context, n *store.Node) (map[string]any, error) {
	return nil, c.refuse(n)
}

func (r RAID) ValidateRAIDConfig(_ context.Context, n *store.Node, _ store.Object) error {
	return r.refuse(n)
}

// ConfiguresRAID: there is nothing behind it.
func (RAID) ConfiguresRAID() bool { return false }

// CacheBIOSSettings has none to keep.
func (BIOS) CacheBIOSSettings(context.Context, *task.Task) error { return nil }

// CacheFirmwareComponents has none to keep.
func (Firmware) CacheFirmwareComponents(context.Context, *task.Task) error { return nil }

// Methods: there are none.
func (Vendor) Methods() map[string]driver.VendorMethod { return nil }

// content needs nothing of a node.
type content struct{}

func (content) Validate(context.Context, *store.Node) error { return nil }
func (content) Properties() map[string]string               { return map[string]string{} }

// The implementations "noop": networks and volumes are somebody else's matter.
type (
	Network struct{ content }
	Storage struct{ content }
)

// Management is "noop": the firmware is set to try the network before the disk,
// and nobody changes that.
type Management struct{ content }

// BootDevice is what the firmware tries first.
func (Management) BootDevice(context.Context, *store.Node) (string, *bool, error) {
	persistent := true
	return driver.BootPXE, &persistent, nil
}

// SetBootDevice relies on the order that the firmware has.
func (m Management) SetBootDevice(_ context.Context, _ *task.Task, device string, _ bool) error {
	if !slices.Contains(m.SupportedBootDevices(), device) {
		return driver.Invalid("Invalid boot device %s specified, supported are %s.", device, strings.Join(m.SupportedBootDevices(), ", "))
	}
	return nil
}

// SupportedBootDevices are those that the firmware tries.
func (Management) SupportedBootDevices() []string { return []string{driver.BootPXE, driver.BootDisk} }

var (
	_ driver.Inspect    = Inspect{}
	_ driver.Rescue     = Rescue{}
	_ driver.Console    = Console{}
	_ driver.RAID       = RAID{}
	_ driver.BIOS       = BIOS{}
	_ driver.Firmware   = Firmware{}
	_ driver.Vendor     = Vendor{}
	_ driver.Network    = Network{}
	_ driver.Storage    = Storage{}
	_ driver.Management = Management{}
)
