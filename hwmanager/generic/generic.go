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
	"sync"
	"time"

	"ferric/api/ipa"
	"ferric/hwmanager"
)

// version of the manager; a change of the steps raises it.
const version = "1.2"

// Manager is the generic hardware manager. Use New.
type Manager struct {
	bmcOnce sync.Once
	bmc     bmcFacts
	bmcErr  error
}

// New makes the manager.
func New() *Manager { return &Manager{} }

var (
	_ hwmanager.Manager             = (*Manager)(nil)
	_ hwmanager.Initializer         = (*Manager)(nil)
	_ hwmanager.Inventorist         = (*Manager)(nil)
	_ hwmanager.InterfaceLister     = (*Manager)(nil)
	_ hwmanager.DiskLister          = (*Manager)(nil)
	_ hwmanager.RootPicker          = (*Manager)(nil)
	_ hwmanager.CleanStepper        = (*Manager)(nil)
	_ hwmanager.DeployStepper       = (*Manager)(nil)
	_ hwmanager.ImageWriter         = (*Manager)(nil)
	_ hwmanager.BootloaderInstaller = (*Manager)(nil)
	_ hwmanager.Syncer              = (*Manager)(nil)
	_ hwmanager.LogSource           = (*Manager)(nil)
)

// Name implements hwmanager.Manager.
func (*Manager) Name() string { return "generic_hardware_manager" }

// ClassName implements hwmanager.Manager.
func (*Manager) ClassName() string { return "GenericHardwareManager" }

// Version implements hwmanager.Manager.
func (*Manager) Version() string { return version }

// Evaluate implements hwmanager.Manager: every machine is supported.
func (*Manager) Evaluate(context.Context, *hwmanager.Host) (hwmanager.Support, error) {
	return hwmanager.Generic, nil
}

// diskPoll is how often Initialize looks for disks that appear late (USB
// storage is there about 1 s after its module loads).
const diskPoll = 250 * time.Millisecond

// Initialize waits for a disk that can take an operating system; that none
// appears is only worth a warning, for cleaning finds out again.
func (m *Manager) Initialize(ctx context.Context, h *hwmanager.Host) error {
	patience := time.Duration(h.Settings.DiskWaitAttempts) * h.Settings.DiskWaitDelay
	deadline := time.Now().Add(patience)
	for {
		_, err := m.InstallDevice(ctx, h, nil)
		if err == nil {
			return nil
		}
		if !ipa.DeviceNotFound.Is(err) || time.Now().After(deadline) {
			h.Log.WithError(err).Warn("no disk that could take an operating system")
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
	inv := &ipa.Inventory{Interfaces: interfaces, Disks: disks, Hostname: hostname()}
	var missing []error
	note := func(err error) { missing = append(missing, err) }
	inv.CPU, err = readCPU(h)
	note(err)
	inv.Memory, err = readMemory(h)
	note(err)
	inv.SystemVendor, err = readVendor(h)
	note(err)
	inv.Boot = readBoot(h)
	if !h.Settings.SkipBMCDetect {
		m.bmcOnce.Do(func() { m.bmc, m.bmcErr = readBMC(h) })
		note(m.bmcErr)
		inv.BMCAddress, inv.BMCV6Address, inv.BMCMAC = m.bmc.v4, m.bmc.v6, m.bmc.mac
	}
	if err := errors.Join(missing...); err != nil {
		h.Log.WithError(err).Warn("inventory is incomplete")
	}
	return inv, nil
}
