package efi

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"github.com/google/uuid"
)

// ErrPath: bytes that are no device path.
var ErrPath = errors.New("malformed device path")

// maxNodes bounds the nodes of a device path; those of firmware have ten or so.
const maxNodes = 256

// PathText is an encoded device path as text (UEFI 2.10, section 10.6.1.6), in
// the notation of efibootmgr: PciRoot(0x0)/Pci(0x3,0x0)/Sata(0,0,0),
// HD(1,GPT,…,0x800,0x100000)/File(\EFI\debian\shimx64.efi). Of nodes that it does
// not know it writes the bytes. It fails with ErrPath.
func PathText(path []byte) (string, error) {
	var text strings.Builder
	between := ""
	for range maxNodes {
		if len(path) < 4 {
			return "", fmt.Errorf("%w: it has no end", ErrPath)
		}
		kind, sub, size := path[0], path[1], int(binary.LittleEndian.Uint16(path[2:]))
		if size < 4 || size > len(path) {
			return "", fmt.Errorf("%w: a node of %d bytes in %d", ErrPath, size, len(path))
		}
		body := path[4:size]
		path = path[size:]
		switch {
		case kind == pathEnd && sub == pathEndEntire:
			return text.String(), nil
		case kind == pathEnd: // of one of several paths
			between = ","
			continue
		}
		text.WriteString(between)
		text.WriteString(nodeText(kind, sub, body))
		between = "/"
	}
	return "", fmt.Errorf("%w: more than %d nodes", ErrPath, maxNodes)
}

// nodeForm is how the nodes of one type and subtype are written; least is the
// length of the fixed part of the body in bytes.
type nodeForm struct {
	kind, sub byte
	least     int
	text      func(b []byte) string
}

// nodeText writes one node. A node whose body is too short for its type is
// written as an unknown one.
func nodeText(kind, sub byte, body []byte) string {
	for _, form := range nodeForms() {
		if form.kind == kind && form.sub == sub && len(body) >= form.least {
			return form.text(body)
		}
	}
	for _, known := range []struct {
		kind byte
		name string
	}{{pathHardware, "HardwarePath"}, {pathACPI, "AcpiPath"}, {pathMessaging, "Msg"}, {pathMedia, "MediaPath"}, {pathBIOS, "BbsPath"}} {
		if kind == known.kind {
			return fmt.Sprintf("%s(%d,%x)", known.name, sub, body)
		}
	}
	return fmt.Sprintf("Path(%d,%d,%x)", kind, sub, body)
}

// Types of nodes (UEFI 2.10, section 10.3).
const (
	pathHardware  = 1
	pathACPI      = 2
	pathMessaging = 3
	pathBIOS      = 5
)

func nodeForms() []nodeForm {
	le := binary.LittleEndian
	vendor := func(name string) func(b []byte) string {
		return func(b []byte) string {
			if len(b) > 16 {
				return fmt.Sprintf("%s(%s,%x)", name, guidString(b), b[16:])
			}
			return fmt.Sprintf("%s(%s)", name, guidString(b))
		}
	}
	return []nodeForm{
		{pathHardware, 1, 2, func(b []byte) string { return fmt.Sprintf("Pci(0x%x,0x%x)", b[1], b[0]) }},
		{pathHardware, 4, 16, vendor("VenHw")},
		{pathHardware, 5, 4, func(b []byte) string { return fmt.Sprintf("Ctrl(0x%x)", le.Uint32(b)) }},
		{pathACPI, 1, 8, acpiText},
		{pathMessaging, 1, 4, func(b []byte) string { return fmt.Sprintf("Ata(%d,%d,%d)", b[0], b[1], le.Uint16(b[2:])) }},
		{pathMessaging, 2, 4, func(b []byte) string { return fmt.Sprintf("SCSI(%d,%d)", le.Uint16(b), le.Uint16(b[2:])) }},
		{pathMessaging, 5, 2, func(b []byte) string { return fmt.Sprintf("USB(%d,%d)", b[0], b[1]) }},
		{pathMessaging, 10, 16, vendor("VenMsg")},
		{pathMessaging, 11, 33, macText},
		{pathMessaging, 12, 15, ipv4Text},
		{pathMessaging, 13, 39, ipv6Text},
		{pathMessaging, 17, 1, func(b []byte) string { return fmt.Sprintf("Unit(%d)", b[0]) }},
		{pathMessaging, 18, 6, func(b []byte) string {
			return fmt.Sprintf("Sata(%d,%d,%d)", le.Uint16(b), le.Uint16(b[2:]), le.Uint16(b[4:]))
		}},
		{pathMessaging, 20, 2, func(b []byte) string { return fmt.Sprintf("Vlan(%d)", le.Uint16(b)) }},
		{pathMessaging, 23, 12, nvmeText},
		{pathMessaging, 24, 0, func(b []byte) string { return fmt.Sprintf("Uri(%s)", printable(string(b))) }},
		{pathMessaging, 26, 1, func(b []byte) string { return fmt.Sprintf("SD(%d)", b[0]) }},
		{pathMessaging, 29, 1, func(b []byte) string { return fmt.Sprintf("eMMC(%d)", b[0]) }},
		{pathMedia, mediaDisk, 38, diskText},
		{pathMedia, 2, 20, func(b []byte) string {
			return fmt.Sprintf("CDROM(%d,0x%x,0x%x)", le.Uint32(b), le.Uint64(b[4:]), le.Uint64(b[12:]))
		}},
		{pathMedia, 3, 16, vendor("VenMedia")},
		{pathMedia, mediaFile, 0, func(b []byte) string { return fmt.Sprintf("File(%s)", printable(decodeText(b))) }},
		{pathMedia, 5, 16, func(b []byte) string { return fmt.Sprintf("Media(%s)", guidString(b)) }},
		{pathMedia, 6, 16, func(b []byte) string { return fmt.Sprintf("FvFile(%s)", guidString(b)) }},
		{pathMedia, 7, 16, func(b []byte) string { return fmt.Sprintf("FvVol(%s)", guidString(b)) }},
		{pathBIOS, 1, 4, bbsText},
	}
}

// guidString is the GUID in the mixed-endian form of EFI at the beginning of b.
func guidString(b []byte) string {
	return uuid.UUID(guidBytes(uuid.UUID(b[:16]))).String()
}

// decodeText is little-endian UTF-16 up to the first NUL. A byte order mark is a
// character here.
func decodeText(b []byte) string {
	text, _, _ := strings.Cut(decodeUTF16(append([]byte{0xff, 0xfe}, b...)), "\x00")
	return text
}

// printable is text of the firmware without what would disturb a log.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return '?'
		}
		return r
	}, s)
}

// acpiText writes the devices that have names of their own by these; the lower
// half of _HID is "PNP" in compressed ASCII (UEFI 2.10, section 10.3.3).
func acpiText(b []byte) string {
	hid, uid := binary.LittleEndian.Uint32(b), binary.LittleEndian.Uint32(b[4:])
	if hid&0xffff == 0x41d0 {
		for _, known := range []struct {
			number uint32
			name   string
		}{{0x0a03, "PciRoot"}, {0x0a08, "PcieRoot"}, {0x0604, "Floppy"}, {0x0301, "Keyboard"}, {0x0501, "Serial"}, {0x0401, "ParallelPort"}} {
			if hid>>16 == known.number {
				return fmt.Sprintf("%s(0x%x)", known.name, uid)
			}
		}
		return fmt.Sprintf("Acpi(PNP%04X,0x%x)", hid>>16, uid)
	}
	return fmt.Sprintf("Acpi(0x%08x,0x%x)", hid, uid)
}

// macText: 32 bytes for the address, of which Ethernet (types 0 and 1 of RFC
// 3232) has six.
func macText(b []byte) string {
	size := 32
	if b[32] < 2 {
		size = 6
	}
	return fmt.Sprintf("MAC(%x,%d)", b[:size], b[32])
}

func ipv4Text(b []byte) string {
	le := binary.LittleEndian
	local, remote := netip.AddrFrom4([4]byte(b)), netip.AddrFrom4([4]byte(b[4:]))
	return fmt.Sprintf("IPv4(%s:%d,%s:%d,%d,%d)", local, le.Uint16(b[8:]), remote, le.Uint16(b[10:]), le.Uint16(b[12:]), b[14])
}

func ipv6Text(b []byte) string {
	le := binary.LittleEndian
	local, remote := netip.AddrFrom16([16]byte(b)), netip.AddrFrom16([16]byte(b[16:]))
	return fmt.Sprintf("IPv6([%s]:%d,[%s]:%d,%d,%d)", local, le.Uint16(b[32:]), remote, le.Uint16(b[34:]), le.Uint16(b[36:]), b[38])
}

// nvmeText: a namespace and its EUI-64.
func nvmeText(b []byte) string {
	id := make([]string, 8)
	for i, octet := range b[4:12] {
		id[i] = fmt.Sprintf("%02x", octet)
	}
	return fmt.Sprintf("NVMe(0x%x,%s)", binary.LittleEndian.Uint32(b), strings.Join(id, "-"))
}

// diskText: a partition of a hard disk (UEFI 2.10, section 10.3.5.1).
func diskText(b []byte) string {
	le := binary.LittleEndian
	number, start, size := le.Uint32(b), le.Uint64(b[4:]), le.Uint64(b[12:])
	switch b[37] {
	case 1:
		return fmt.Sprintf("HD(%d,MBR,0x%x,0x%x,0x%x)", number, le.Uint32(b[20:]), start, size)
	case 2:
		return fmt.Sprintf("HD(%d,GPT,%s,0x%x,0x%x)", number, guidString(b[20:]), start, size)
	}
	return fmt.Sprintf("HD(%d,%d,%x,0x%x,0x%x)", number, b[37], b[20:36], start, size)
}

// bbsText: a device of the BIOS Boot Specification, by its type and name.
func bbsText(b []byte) string {
	kind := binary.LittleEndian.Uint16(b)
	name := fmt.Sprint(kind)
	if names := [...]string{1: "Floppy", "HD", "CDROM", "PCMCIA", "USB", "Network"}; int(kind) < len(names) && names[kind] != "" {
		name = names[kind]
	}
	text, _, _ := strings.Cut(string(b[4:]), "\x00")
	return fmt.Sprintf("BBS(%s,%s,0x%x)", name, printable(text), binary.LittleEndian.Uint16(b[2:]))
}
