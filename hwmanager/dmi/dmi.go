// Package dmi reads what the firmware tells of the machine: the SMBIOS
// structures that the kernel shows in sysfs (DMTF DSP0134).
package dmi

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/u-root/u-root/pkg/smbios"
)

// Bounds of a table: bytes and structures. Large servers have some 20 KiB.
const (
	maxTable      = 1 << 20
	maxStructures = 1 << 14
)

// headerSize is that of every structure: type, length, handle.
const headerSize = 4

// Types of structures (DSP0134, section 7) that the library has no names for.
const (
	physicalMemoryArray = smbios.TableType(16)
	onboardDevices      = smbios.TableType(41)
)

// Table is what the firmware tells: its structures in their order.
type Table []*smbios.Table

// Read is the table of the machine whose sysfs is at sys. A machine without
// one (many ARM boards) has an empty table.
func Read(sys string) (Table, error) {
	f, err := os.Open(filepath.Join(sys, "firmware/dmi/tables/DMI"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("DMI table: %w", err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxTable))
	if err != nil {
		return nil, fmt.Errorf("DMI table: %w", err)
	}
	return Parse(data), nil
}

// Parse takes a table apart. Firmware is careless: what follows the first
// structure that cannot be understood is left out.
func Parse(data []byte) Table {
	var table Table
	for len(data) > 0 && len(table) < maxStructures {
		structure, rest, err := smbios.ParseTable(data)
		if structure == nil || structure.Type == smbios.TableTypeEndOfTable || err != nil || structure.Length < headerSize {
			break
		}
		table = append(table, structure)
		data = rest
	}
	return table
}

// Module is a slot for memory and what is in it (type 17).
type Module struct {
	Bytes        int64 // 0: empty, or not known
	Speed        int   // MT/s; 0: not known
	Kind         string
	Manufacturer string
	PartNumber   string
	Serial       string
	Slot         string
}

// Modules are the slots for memory. Structures that are too short are left out.
func (t Table) Modules() []Module {
	var modules []Module
	for _, s := range t {
		if s.Type != smbios.TableTypeMemoryDevice {
			continue
		}
		device, err := smbios.NewMemoryDevice(s)
		if err != nil {
			continue
		}
		const speedElsewhere = 0xffff
		speed := int(device.Speed)
		if speed == speedElsewhere {
			speed = 0
		}
		modules = append(modules, Module{
			Bytes: moduleBytes(s), Speed: speed, Kind: device.Type.String(), Manufacturer: printable(device.Manufacturer),
			PartNumber: printable(device.PartNumber), Serial: printable(device.SerialNumber), Slot: printable(device.DeviceLocator),
		})
	}
	return modules
}

// notSpecified is the library's word for a text that is not there.
const notSpecified = "Not Specified"

// printable is a text of the firmware, which may hold anything.
func printable(s string) string {
	if s == notSpecified {
		return ""
	}
	return strings.TrimSpace(strings.ToValidUTF8(s, "?"))
}

// MemoryBytes is the sum of the memory modules; 0 if there is none.
func (t Table) MemoryBytes() int64 {
	var total int64
	for _, module := range t.Modules() {
		total += module.Bytes
	}
	return total
}

// Sizes of a memory device (DSP0134, 7.18): the word counts MiB, or KiB if its
// highest bit is set; two values refer elsewhere.
const (
	sizeUnknown  = 0xffff
	sizeExtended = 0x7fff
	sizeInKiB    = 0x8000
)

func moduleBytes(s *smbios.Table) int64 {
	size, err := s.GetWordAt(0x0c)
	if err != nil || size == sizeUnknown {
		return 0
	}
	if size == sizeExtended {
		mib, err := s.GetDWordAt(0x1c)
		if err != nil {
			return 0
		}
		return int64(mib&0x7fffffff) << 20
	}
	if size&sizeInKiB != 0 {
		return int64(size&^sizeInKiB) << 10
	}
	return int64(size) << 20
}

// HasBMC reports whether the machine has a BMC that speaks IPMI (type 38).
func (t Table) HasBMC() bool {
	return slices.ContainsFunc(t, func(s *smbios.Table) bool { return s.Type == smbios.TableTypeIPMIDeviceInfo })
}

// Onboard is a network interface that is part of the mainboard (type 41).
type Onboard struct {
	PCIAddress string // "0000:3d:00.0"
	Instance   int    // from 1, as printed on the case
}

// OnboardNICs are the network interfaces on the mainboard.
func (t Table) OnboardNICs() []Onboard {
	const ethernet, enabled = 5, 0x80
	var nics []Onboard
	for _, s := range t {
		if s.Type != onboardDevices {
			continue
		}
		// type, instance, segment (2), bus, device and function
		f, err := s.GetBytesAt(0x05, 6)
		if err != nil || f[0]&^enabled != ethernet || f[0]&enabled == 0 {
			continue
		}
		segment := uint16(f[2]) | uint16(f[3])<<8
		nics = append(nics, Onboard{
			PCIAddress: fmt.Sprintf("%04x:%02x:%02x.%d", segment, f[4], f[5]>>3, f[5]&7),
			Instance:   int(f[1]),
		})
	}
	return nics
}
