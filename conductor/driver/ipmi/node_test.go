package ipmi

import (
	"errors"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/bougou/go-ipmi/pkg/hal"
	"github.com/bougou/go-ipmi/pkg/hal/mock"
	"github.com/sirupsen/logrus"

	"ferric/conductor/driver"
	"ferric/conductor/store"
	"ferric/conductor/task"
)

// newNode is a stored node whose BMC is go-ipmi's, switched off.
func newNode(t *testing.T, edit func(*store.Node)) (*task.Task, hal.ChassisHAL) {
	t.Helper()
	info, chassis := startReference(t)
	if err := chassis.SetPower(t.Context(), false); err != nil {
		t.Fatal(err)
	}
	s, err := store.Open(t.Context(), filepath.Join(t.TempDir(), "ferric.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	n := &store.Node{
		UUID: "1be26c0b-03f2-4d2e-ae87-c02d7f33c123", Driver: "ipmi", ProvisionState: "enroll",
		DriverInfo: store.Object{"ipmi_address": info.Address, "ipmi_port": float64(info.Port), "ipmi_username": info.Username, "ipmi_password": refPassword},
		Properties: store.Object{"capabilities": "boot_mode:bios"}, InstanceInfo: store.Object{}, DriverInternalInfo: store.Object{},
	}
	if edit != nil {
		edit(n)
	}
	if err := s.CreateNode(t.Context(), n); err != nil {
		t.Fatal(err)
	}
	return &task.Task{Node: n, Store: s, Log: logrus.NewEntry(logrus.StandardLogger())}, chassis
}

func TestNodeInterfaces(t *testing.T) {
	bmcs := newBMCs(t, nil)
	power, management := NewPower(bmcs), NewManagement(bmcs)
	for _, mode := range []string{"bios", "uefi"} {
		node, chassis := newNode(t, func(n *store.Node) { n.Properties["capabilities"] = "boot_mode:" + mode })
		if err := management.SetBootDevice(t.Context(), node, driver.BootPXE, true); err != nil {
			t.Fatal(err)
		}
		want := map[string]byte{"bios": 0xc0, "uefi": 0xe0}[mode]
		if flags, err := chassis.GetBootFlags(t.Context()); err != nil || flags.Pack()[0] != want {
			t.Errorf("%s: boot flags %v, %v; want first byte %#x", mode, flags, err, want)
		}
		device, persistent, err := management.BootDevice(t.Context(), node.Node)
		if device != driver.BootPXE || persistent == nil || !*persistent || err != nil {
			t.Errorf("BootDevice = %q, %v, %v", device, persistent, err)
		}
		for _, target := range []string{driver.PowerOn, driver.Rebooting, driver.PowerOff} {
			if err := power.SetPowerState(t.Context(), node, target, 0); err != nil {
				t.Fatal(err)
			}
			on, _ := chassis.PowerState(t.Context())
			state, err := power.PowerState(t.Context(), node.Node)
			if on != (target != driver.PowerOff) || err != nil || (state == driver.PowerOn) != on {
				t.Errorf("after %s: on = %t, PowerState = %q, %v", target, on, state, err)
			}
		}
	}
	if len(management.SupportedBootDevices()) != 5 || len(power.SupportedPowerStates()) != 5 {
		t.Errorf("devices %v, states %v; want 5 of each", management.SupportedBootDevices(), power.SupportedPowerStates())
	}
}

// TestBootMode: the mode is that of the boot flags, and the device stays.
func TestBootMode(t *testing.T) {
	management := NewManagement(newBMCs(t, nil))
	node, chassis := newNode(t, nil)
	mode := func(want string) {
		t.Helper()
		if got, err := management.GetBootMode(t.Context(), node.Node); err != nil || got != want {
			t.Errorf("boot mode %q, %v; want %q", got, err, want)
		}
	}
	flags := func(first, second byte) {
		t.Helper()
		if f, err := chassis.GetBootFlags(t.Context()); err != nil || f.Pack()[0] != first || f.Pack()[1] != second {
			t.Errorf("flags % x, %v; want %#x %#x", f.Pack(), err, first, second)
		}
	}
	mode("")
	for _, step := range []struct {
		do            func() error
		first, second byte
		mode          string
	}{
		{func() error { return management.SetBootMode(t.Context(), node, "uefi") }, 0xe0, 0, "uefi"},
		{func() error { return management.SetBootMode(t.Context(), node, "bios") }, 0xc0, 0, "bios"},
		{func() error { return management.SetBootDevice(t.Context(), node, driver.BootPXE, false) }, 0x80, 0x04, "bios"},
		{func() error { return management.SetBootMode(t.Context(), node, "uefi") }, 0xa0, 0x04, "uefi"},
	} {
		if err := step.do(); err != nil {
			t.Fatal(err)
		}
		flags(step.first, step.second)
		mode(step.mode)
	}
}

// TestNeverOff: a machine that must not be powered off is reset, and powered on
// when it is off all the same.
func TestNeverOff(t *testing.T) {
	power := NewPower(newBMCs(t, nil))
	node, machine := newNode(t, func(n *store.Node) { n.DisablePowerOff = true })
	chassis := machine.(*mock.Chassis)
	for resets := range 2 {
		if err := power.SetPowerState(t.Context(), node, driver.Rebooting, 0); err != nil {
			t.Fatal(err)
		}
		if on, err := chassis.PowerState(t.Context()); err != nil || !on || chassis.ColdResets != resets {
			t.Errorf("on = %t, %d resets, %v; want it on after %d", on, chassis.ColdResets, err, resets)
		}
		chassis.SetPowerHook = func(on bool) error { t.Errorf("power was set to %t", on); return nil }
	}
}

// TestForceBootDevice follows ipmi_force_boot_device through power ons: a persistent device is sent each time, a
// device for one boot is left alone once.
func TestForceBootDevice(t *testing.T) {
	bmcs := newBMCs(t, nil)
	power, management := NewPower(bmcs), NewManagement(bmcs)
	node, chassis := newNode(t, func(n *store.Node) { n.DriverInfo["ipmi_force_boot_device"] = "true" })
	flags := func() []byte {
		t.Helper()
		f, err := chassis.GetBootFlags(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return f.Pack()[:2]
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	var disk, pxe = []byte{0x80, 0x08}, []byte{0x80, 0x04}
	must(management.SetBootDevice(t.Context(), node, driver.BootDisk, true))
	if !slices.Equal(flags(), disk) {
		t.Fatalf("flags % x; want disk for the next boot only", flags())
	}
	must(management.SetBootDevice(t.Context(), node, driver.BootPXE, false))
	must(power.SetPowerState(t.Context(), node, driver.PowerOn, 0))
	if !slices.Equal(flags(), pxe) {
		t.Errorf("flags % x; want pxe, which was chosen for this boot", flags())
	}
	must(power.SetPowerState(t.Context(), node, driver.Rebooting, 0))
	if !slices.Equal(flags(), disk) {
		t.Errorf("flags % x; want disk again", flags())
	}
	stored, err := node.Store.NodeByID(t.Context(), node.Node.ID)
	if err != nil || stored.DriverInternalInfo.String("persistent_boot_device") != "disk" {
		t.Errorf("stored driver_internal_info %v, %v", stored.DriverInternalInfo, err)
	}
}

func TestNodeFaults(t *testing.T) {
	bmcs := newBMCs(t, nil)
	power, management := NewPower(bmcs), NewManagement(bmcs)
	node := &store.Node{UUID: "u", DriverInfo: store.Object{}}
	var missing *driver.MissingParameterError
	var invalid *driver.InvalidParameterError
	for _, v := range []driver.Validator{power, management} {
		if err := v.Validate(t.Context(), node); !errors.As(err, &missing) || !strings.Contains(err.Error(), "ipmi_address") {
			t.Errorf("no address: %v", err)
		}
		if err := v.Validate(t.Context(), &store.Node{DriverInfo: store.Object{"ipmi_address": "a", "ipmi_port": "x"}}); !errors.As(err, &invalid) {
			t.Errorf("bad port: %v", err)
		}
		if err := v.Validate(t.Context(), &store.Node{DriverInfo: store.Object{"ipmi_address": "a"}}); err != nil {
			t.Errorf("address only: %v", err)
		}
		if v.Properties()["ipmi_address"] == "" {
			t.Error("ipmi_address is not described")
		}
	}
	t.Run("boot device", func(t *testing.T) {
		node, _ := newNode(t, nil)
		if err := management.SetBootDevice(t.Context(), node, "floppy", false); !errors.As(err, &invalid) {
			t.Errorf("floppy: %v", err)
		}
	})
}
