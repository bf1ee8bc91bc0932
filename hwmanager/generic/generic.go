// Package generic is the hardware manager that fits every machine
// (GenericHardwareManager of the agent protocol): inventory from sysfs and
// DMI, root-device hints, erasing, writing images, boot entries.
//
// It needs no udev and next to no programs: what the kernel tells in sysfs and
// over ioctl and netlink is read there.
package generic

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"time"

	"ferric/api/ipa"
	"ferric/hwmanager"
)

// version of the manager: that of the original with the same steps. A change of
// them raises it.
const version = "1.2"

// Manager is the generic hardware manager of one machine. Use New.
type Manager struct {
	written writtenImage
	rungs   []rung // the ways in which disks erase themselves, the best first
	raid    raidMemory
	static  struct {
		once  sync.Once
		facts staticFacts
	}
	bmc  bmcCache
	lldp struct {
		mu    sync.Mutex
		heard map[string][]ipa.TLV // by interface; an empty list if none came
	}
	vlans struct {
		mu    sync.Mutex
		tried map[string]bool
	}
}

// New makes the manager.
func New() *Manager { return &Manager{rungs: secureErases()} }

var (
	_ hwmanager.Manager             = (*Manager)(nil)
	_ hwmanager.Initializer         = (*Manager)(nil)
	_ hwmanager.Inventorist         = (*Manager)(nil)
	_ hwmanager.InterfaceLister     = (*Manager)(nil)
	_ hwmanager.InterfaceReader     = (*Manager)(nil)
	_ hwmanager.LLDPCollector       = (*Manager)(nil)
	_ hwmanager.CPUReader           = (*Manager)(nil)
	_ hwmanager.BootReader          = (*Manager)(nil)
	_ hwmanager.USBLister           = (*Manager)(nil)
	_ hwmanager.DeviceFilter        = (*Manager)(nil)
	_ hwmanager.DiskLister          = (*Manager)(nil)
	_ hwmanager.DiskEraser          = (*Manager)(nil)
	_ hwmanager.RootPicker          = (*Manager)(nil)
	_ hwmanager.CleanStepper        = (*Manager)(nil)
	_ hwmanager.DeployStepper       = (*Manager)(nil)
	_ hwmanager.ImageWriter         = (*Manager)(nil)
	_ hwmanager.BootloaderInstaller = (*Manager)(nil)
	_ hwmanager.BootcInstaller      = (*Manager)(nil)
	_ hwmanager.Syncer              = (*Manager)(nil)
	_ hwmanager.LogSource           = (*Manager)(nil)
)

// Name implements hwmanager.Manager.
func (*Manager) Name() string { return "generic_hardware_manager" }

// ClassName implements hwmanager.Manager.
func (*Manager) ClassName() string { return "GenericHardwareManager" }

// Version implements hwmanager.Manager.
func (*Manager) Version() string { return version }

// Required implements hwmanager.Requirer: nobody else knows the disks.
func (*Manager) Required() bool { return true }

// Evaluate implements hwmanager.Manager: every machine is supported.
func (*Manager) Evaluate(context.Context, *hwmanager.Host) (hwmanager.Support, error) {
	return hwmanager.Generic, nil
}

// diskPoll is how often Initialize looks for disks that appear late (USB
// storage is there about 1 s after its module loads).
const diskPoll = 250 * time.Millisecond

// Initialize waits for a disk that can take an operating system; that none
// appears is only worth a warning, for cleaning finds out again. Then it starts
// the arrays that the disks have, which may be what takes the system.
func (m *Manager) Initialize(ctx context.Context, h *hwmanager.Host) error {
	if err := m.waitForDisk(ctx, h); err != nil {
		return err
	}
	if err := m.assembleArrays(ctx, h, arrayWait); err != nil {
		h.Log.WithError(err).Warn("arrays are not assembled")
	}
	return ctx.Err()
}

func (m *Manager) waitForDisk(ctx context.Context, h *hwmanager.Host) error {
	patience := time.Duration(h.Settings.DiskWaitAttempts) * h.Settings.DiskWaitDelay
	deadline := time.Now().Add(patience)
	for {
		disks, err := m.candidates(ctx, h, nil)
		if slices.ContainsFunc(disks, func(d ipa.BlockDevice) bool { return d.Size >= minRoot }) {
			return nil
		}
		if err != nil || time.Now().After(deadline) {
			h.Log.WithError(err).Warnf("no disk that could take an operating system among %d (%s)", len(disks), nameList(disks))
			return nil
		}
		select {
		case <-time.After(diskPoll):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// Inventory implements hwmanager.Inventorist. What cannot be read is left
// out and logged: a machine with an odd DMI table is still a machine.
func (m *Manager) Inventory(ctx context.Context, h *hwmanager.Host) (*ipa.Inventory, error) {
	interfaces, err := m.Interfaces(ctx, h)
	if err != nil {
		return nil, err
	}
	disks, err := m.BlockDevices(ctx, h, false)
	if err != nil {
		return nil, err
	}
	static := m.staticFacts(h)
	inv := &ipa.Inventory{Interfaces: interfaces, Disks: disks, Hostname: hostname(), SystemVendor: static.vendor}
	var missing [4]error
	inv.CPU, missing[0] = m.CPUs(ctx, h)
	inv.Memory, missing[1] = readMemory(h, static.modules)
	inv.Boot, missing[2] = m.BootInfo(ctx, h)
	inv.Boot.PXEInterface = knownInterface(h, inv.Boot.PXEInterface, interfaces)
	if !h.Settings.SkipBMCDetect {
		var bmc bmcFacts
		bmc, missing[3] = m.bmc.read(ctx, h, live(h) && static.bmc)
		inv.BMCAddress, inv.BMCV6Address, inv.BMCMAC = bmc.v4, bmc.v6, bmc.mac
	}
	if err := errors.Join(missing[:]...); err != nil {
		h.Log.WithError(err).Warn("inventory is incomplete")
	}
	return inv, nil
}

// knownInterface is bootIF, verbatim, if one of the interfaces has its address:
// conductors refuse an inventory whose boot interface is none of those in it
// (peer notes, section "A conductor and the agent").
func knownInterface(h *hwmanager.Host, bootIF *string, interfaces []ipa.Interface) *string {
	if bootIF == nil {
		return nil
	}
	// "01-52-54-00-12-34-01" ends in the address, with or without hardware type.
	plain := strings.ToLower(strings.ReplaceAll(*bootIF, "-", ":"))
	for _, nic := range interfaces {
		if strings.HasSuffix(plain, nic.MACAddress) {
			return bootIF
		}
	}
	h.Log.Warnf("booted from %s, which is none of the %d network interfaces", *bootIF, len(interfaces))
	return nil
}
