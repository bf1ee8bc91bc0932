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

// MemoryBytes is the sum of the memory modules (type 17); 0 if there is none.
func (t Table) MemoryBytes() int64 {
	var total int64
	for _, s := range t {
		if s.Type == smbios.TableTypeMemoryDevice {
			total += moduleBytes(s)
		}
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
