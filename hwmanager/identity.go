package hwmanager

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// Identity is what the firmware calls the machine (DMI). What it does not tell
// is "".
type Identity struct {
	Vendor, Product, Version, Serial, UUID, SKU, Family string
	BoardVendor, BoardName, BoardVersion, BoardSerial   string
	ChassisVendor, ChassisType, ChassisSerial           string
	FirmwareVendor, FirmwareVersion, FirmwareDate       string
}

// DMI tells what machine this is. One without DMI, as many ARM boards are, has
// an empty identity, which is no error.
func (h *Host) DMI() (Identity, error) {
	var id Identity
	dir := filepath.Join(h.Sys, "class/dmi/id")
	for name, field := range map[string]*string{
		"sys_vendor": &id.Vendor, "product_name": &id.Product, "product_version": &id.Version, "product_serial": &id.Serial,
		"product_uuid": &id.UUID, "product_sku": &id.SKU, "product_family": &id.Family,
		"board_vendor": &id.BoardVendor, "board_name": &id.BoardName, "board_version": &id.BoardVersion, "board_serial": &id.BoardSerial,
		"chassis_vendor": &id.ChassisVendor, "chassis_type": &id.ChassisType, "chassis_serial": &id.ChassisSerial,
		"bios_vendor": &id.FirmwareVendor, "bios_version": &id.FirmwareVersion, "bios_date": &id.FirmwareDate,
	} {
		text, err := attribute(dir, name)
		if err != nil {
			return Identity{}, fmt.Errorf("DMI identity: %w", err)
		}
		*field = text
	}
	return id, nil
}

// PCIDevice is a function of a PCI device.
type PCIDevice struct {
	Address              string // "0000:3b:00.0", the name of its directory in /sys/bus/pci/devices
	Vendor, Device       uint16
	SubVendor, SubDevice uint16
	Class                uint32 // class, subclass, programming interface: 0x010400 is a RAID controller
	Revision             uint8
	Driver               string // "" for none
	NUMANode             int    // -1 if it is not known
}

// String is the device as lspci has it: "0000:3b:00.0 1000:005d".
func (d PCIDevice) String() string { return fmt.Sprintf("%s %04x:%04x", d.Address, d.Vendor, d.Device) }

// PCI lists the PCI devices in the order of their addresses. A machine without
// any has an empty list, which is no error.
func (h *Host) PCI() ([]PCIDevice, error) {
	root := filepath.Join(h.Sys, "bus/pci/devices")
	entries, err := os.ReadDir(root)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("list PCI devices: %w", err)
	}
	var devices []PCIDevice
	for _, entry := range entries {
		dir := filepath.Join(root, entry.Name())
		number := func(name string, bits int) uint64 {
			text, _ := attribute(dir, name)          // what cannot be read is 0
			n, _ := strconv.ParseUint(text, 0, bits) // as is what is no number
			return n
		}
		d := PCIDevice{
			Address: entry.Name(), NUMANode: -1,
			Vendor: uint16(number("vendor", 16)), Device: uint16(number("device", 16)),
			SubVendor: uint16(number("subsystem_vendor", 16)), SubDevice: uint16(number("subsystem_device", 16)),
			Class: uint32(number("class", 32)), Revision: uint8(number("revision", 8)),
		}
		if d.Vendor == 0 {
			continue // it went away
		}
		if text, err := attribute(dir, "numa_node"); err == nil {
			if node, err := strconv.Atoi(text); err == nil {
				d.NUMANode = node
			}
		}
		if driver, err := os.Readlink(filepath.Join(dir, "driver")); err == nil {
			d.Driver = filepath.Base(driver)
		}
		devices = append(devices, d)
	}
	return devices, nil
}

// attribute is a text of sysfs, "" if there is none, or none for this user.
func attribute(dir, name string) (string, error) {
	const page = 4096 // the kernel gives no more
	data, err := os.ReadFile(filepath.Join(dir, name))
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	return strings.TrimSpace(strings.ToValidUTF8(string(data[:min(len(data), page)]), "?")), nil
}
