package dmi

import (
	"fmt"
	"strings"

	"github.com/u-root/u-root/pkg/smbios"
)

// Block is a structure as dmidecode prints it: values are strings, lists of
// strings, or a number.
type Block map[string]any

// Blocks are the structures that inspection reports (agent contract, section
// "When and how inspection runs": types 0, 4, 16 and 17).
type Blocks struct {
	BIOS   Block   `json:"bios"`
	CPU    []Block `json:"cpu"`
	Memory Block   `json:"memory"` // of the first array; "devices" are the modules of all
}

// Blocks renders the table as dmidecode does. Structures that are too short
// for their type are left out.
func (t Table) Blocks() Blocks {
	blocks := Blocks{BIOS: Block{}, CPU: []Block{}}
	var arrays []Block
	modules := []Block{}
	slots := 0
	for _, s := range t {
		switch s.Type {
		case smbios.TableTypeBIOSInfo:
			if info, err := smbios.ParseBIOSInfo(s); err == nil {
				blocks.BIOS = block(info.String())
			}
		case smbios.TableTypeProcessorInfo:
			if info, err := smbios.ParseProcessorInfo(s); err == nil {
				blocks.CPU = append(blocks.CPU, block(info.String()))
			}
		case smbios.TableTypeMemoryDevice:
			if info, err := smbios.NewMemoryDevice(s); err == nil {
				module := block(info.String())
				if info.Size == sizeUnknown {
					module["Size"] = "Unknown"
				}
				modules = append(modules, module)
			}
		case physicalMemoryArray:
			if array, n, ok := memoryArray(s); ok {
				arrays = append(arrays, array)
				slots += n
			}
		}
	}
	blocks.Memory = Block{}
	if len(arrays) > 0 {
		blocks.Memory = arrays[0]
		blocks.Memory["Number Of Devices"] = slots
	}
	blocks.Memory["devices"] = modules
	return blocks
}

// block reads the text of one structure: its handle, "name: value" lines, and
// lists as lines that follow a name without a value.
func block(text string) Block {
	b := Block{}
	list := ""
	for line := range strings.SplitSeq(text, "\n") {
		line = strings.TrimSpace(strings.ToValidUTF8(line, "?"))
		name, value, found := strings.Cut(line, ":")
		switch {
		case found && strings.TrimSpace(value) != "":
			list = ""
			b[strings.TrimSpace(name)] = strings.TrimSpace(value)
		case found:
			list = strings.TrimSpace(name)
			b[list] = []string{}
		case strings.HasPrefix(line, "Handle 0x"):
			b["Handle"] = line
		case list != "" && line != "":
			items, _ := b[list].([]string)
			b[list] = append(items, line)
		}
	}
	return b
}

// Names of values of a physical memory array (DSP0134, 7.17.1 to 7.17.3);
// they count from 1.
var (
	arrayLocations = [...]string{"Other", "Unknown", "System Board Or Motherboard", "ISA Add-on Card", "EISA Add-on Card",
		"PCI Add-on Card", "MCA Add-on Card", "PCMCIA Add-on Card", "Proprietary Add-on Card", "NuBus"}
	arrayUses        = [...]string{"Other", "Unknown", "System Memory", "Video Memory", "Flash Memory", "Non-volatile RAM", "Cache Memory"}
	arrayCorrections = [...]string{"Other", "Unknown", "None", "Parity", "Single-bit ECC", "Multi-bit ECC", "CRC"}
)

func named(names []string, value byte) string {
	if value == 0 || int(value) > len(names) {
		return fmt.Sprintf("<OUT OF SPEC> (0x%02X)", value)
	}
	return names[value-1]
}

// memoryArray renders a physical memory array (type 16), which the library
// has no type for, and tells how many slots it has.
func memoryArray(s *smbios.Table) (b Block, slots int, ok bool) {
	const (
		useExtended  = 0x80000000 // the capacity stands in a further field
		noError      = 0xffff
		noErrorField = 0xfffe
	)
	fixed, err := s.GetBytesAt(0x04, 3)
	if err != nil {
		return nil, 0, false
	}
	kib, err := s.GetDWordAt(0x07)
	if err != nil {
		return nil, 0, false
	}
	errorHandle, err := s.GetWordAt(0x0b)
	if err != nil {
		return nil, 0, false
	}
	count, err := s.GetWordAt(0x0d)
	if err != nil {
		return nil, 0, false
	}
	capacity := uint64(kib) << 10
	if kib == useExtended {
		if capacity, err = s.GetQWordAt(0x0f); err != nil {
			capacity = 0
		}
	}
	handle := fmt.Sprintf("0x%04X", errorHandle)
	switch errorHandle {
	case noError:
		handle = "No Error"
	case noErrorField:
		handle = "Not Provided"
	}
	return Block{
		"Location":                 named(arrayLocations[:], fixed[0]),
		"Use":                      named(arrayUses[:], fixed[1]),
		"Error Correction Type":    named(arrayCorrections[:], fixed[2]),
		"Maximum Capacity":         size(capacity),
		"Error Information Handle": handle,
	}, int(count), true
}

// size is a number of bytes in the largest unit that it is a multiple of.
func size(bytes uint64) string {
	if bytes == 0 {
		return "Unknown"
	}
	units := []string{"bytes", "kB", "MB", "GB", "TB", "PB", "EB"}
	unit := 0
	for bytes%1024 == 0 && unit < len(units)-1 {
		bytes /= 1024
		unit++
	}
	return fmt.Sprintf("%d %s", bytes, units[unit])
}
