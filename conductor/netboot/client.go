package netboot

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"net"
	"strings"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/insomniacslk/dhcp/iana"
)

// client is what a DHCP packet says about its sender.
type client struct {
	mac  net.HardwareAddr
	arch arch   // of the firmware
	pxe  bool   // a PXE client, iPXE among them
	http bool   // UEFI HTTP boot
	ipxe bool   // iPXE, which takes a script
	uuid string // machine UUID, hex; empty if absent or a filler

	archErr error // the architecture is unknown
}

// Fields of a packet that options may go on in, if option 52 says so (RFC 2132, section 9.3).
const (
	fieldServerName, fieldBootFile, fieldEnd = 44, 108, 236

	overloadFile, overloadServerName = 1, 2
)

// parseDHCP reads a packet. The option that ends the others may be missing, as some boot ROMs have it.
func parseDHCP(raw []byte) (*dhcpv4.DHCPv4, error) {
	packet, err := dhcpv4.FromBytes(append(bytes.Clone(raw), byte(dhcpv4.OptionEnd.Code())))
	if err != nil {
		return nil, fmt.Errorf("parse a DHCP packet: %w", err)
	}
	overload := packet.GetOneOption(dhcpv4.OptionOptionOverload)
	if len(overload) != 1 {
		return packet, nil
	}
	if overload[0]&overloadFile != 0 {
		err = packet.Options.FromBytes(raw[fieldBootFile:fieldEnd])
	}
	if overload[0]&overloadServerName != 0 && err == nil {
		err = packet.Options.FromBytes(raw[fieldServerName:fieldBootFile])
	}
	if err != nil {
		return nil, fmt.Errorf("parse a DHCP packet's overloaded fields: %w", err)
	}
	return packet, nil
}

const (
	classPXE  = "PXEClient"
	classHTTP = "HTTPClient"
)

// optionIPXE is iPXE's own option space; its presence marks iPXE.
const optionIPXE = dhcpv4.GenericOptionCode(175)

// parseClient reads the sender of req; it fails on hardware that is not Ethernet.
func parseClient(req *dhcpv4.DHCPv4) (client, error) {
	if req.HWType != iana.HWTypeEthernet || len(req.ClientHWAddr) != 6 {
		return client{}, unanswered("hardware type %v with an address of %d bytes is not Ethernet", req.HWType, len(req.ClientHWAddr))
	}
	machineID := req.GetOneOption(dhcpv4.OptionClientMachineIdentifier)
	c := client{
		mac:  req.ClientHWAddr,
		ipxe: isIPXE(req),
		uuid: machineUUID(machineID),
	}
	codes := archCodes(req.GetOneOption(dhcpv4.OptionClientSystemArchitectureType))
	class := string(req.GetOneOption(dhcpv4.OptionClassIdentifier))
	if strings.HasPrefix(class, classPXE) && raspberryPi(req.ClientHWAddr, machineID) {
		codes = iana.Archs{rpiBoot}
	}
	c.setClass(class, codes)
	return c, nil
}

// Features of iPXE are sub-options of option 175 with a number of this range; one of
// them is HTTP, without which our scripts are of no use to it.
const (
	ipxeFeatures = 16
	ipxeHTTP     = 19
	ipxeLast     = 63
)

// isIPXE tells whether the client is an iPXE that can take our script. One that is
// built into a card or a hypervisor without HTTP is PXE like any other: it is given
// an iPXE that has it.
func isIPXE(req *dhcpv4.DHCPv4) bool {
	space := req.GetOneOption(optionIPXE)
	if space == nil {
		return bytes.Contains(req.GetOneOption(dhcpv4.OptionUserClassInformation), []byte("iPXE"))
	}
	features := false
	for len(space) >= 2 && len(space) >= 2+int(space[1]) {
		if code := space[0]; code == ipxeHTTP {
			return true
		} else if code >= ipxeFeatures && code <= ipxeLast {
			features = true
		}
		space = space[2+int(space[1]):]
	}
	return !features
}

// setClass tells the kind of client by its vendor class and its architecture types.
func (c *client) setClass(class string, codes iana.Archs) {
	c.pxe, c.http = strings.HasPrefix(class, classPXE), strings.HasPrefix(class, classHTTP)
	if _, rest, ok := strings.Cut(class, ":Arch:"); ok && len(codes) == 0 {
		var code iana.Arch
		if n, err := fmt.Sscanf(rest, "%5d", &code); n == 1 && err == nil {
			codes = iana.Archs{code}
		}
	}
	t, err := archOf(codes, c.http)
	c.arch, c.archErr = t.arch, err
	if !c.pxe && !c.http && len(codes) > 0 {
		// U-Boot and Petitboot have classes of their own: to send an architecture
		// is to ask for something to boot (RFC 4578, RFC 5970).
		c.http, c.pxe = t.http, !t.http
	}
}

// archCodes reads a list of 16-bit numbers, whose last byte may be missing.
func archCodes(raw []byte) (codes iana.Archs) {
	for ; len(raw) >= 2; raw = raw[2:] {
		codes = append(codes, iana.Arch(binary.BigEndian.Uint16(raw)))
	}
	return codes
}

// raspberryPi knows the boards by the first four bytes of their identifier
// ("RPi4", in either byte order, behind the type), or by their makers' numbers.
func raspberryPi(mac net.HardwareAddr, machineID []byte) bool {
	if len(machineID) >= 5 {
		if tag := string(machineID[1:5]); strings.HasPrefix(tag, "RPi") || strings.HasSuffix(tag, "iPR") {
			return true
		}
	}
	switch [3]byte(mac[:3]) {
	case [3]byte{0xb8, 0x27, 0xeb}, [3]byte{0xdc, 0xa6, 0x32}, [3]byte{0xe4, 0x5f, 0x01},
		[3]byte{0xd8, 0x3a, 0xdd}, [3]byte{0x28, 0xcd, 0xc1}, [3]byte{0x2c, 0xcf, 0x67}:
		return true
	}
	return false
}

// netboot tells whether the client asks for something to boot, rather than for an address only.
func (c client) netboot() bool { return c.pxe || c.http || c.ipxe }

// kind describes the firmware for people, empty for an operating system.
func (c client) kind() string {
	name := c.arch.String()
	if c.archErr != nil {
		name = "of unknown architecture"
	}
	switch {
	case c.ipxe:
		return "iPXE " + name
	case c.http:
		return "HTTP boot " + name
	case c.pxe:
		return "PXE " + name
	}
	return ""
}

// String describes the machine for people, as in an event about two machines with one address.
func (c client) String() string {
	uuid := "machine without UUID"
	if c.uuid != "" {
		uuid = "machine " + c.uuid
	}
	if kind := c.kind(); kind != "" {
		return uuid + ", " + kind
	}
	return uuid
}

// machineUUID reads option 97: type 0 and 16 bytes. All zeros (QEMU without
// -uuid) and all ones (EDK2 without SMBIOS) identify nothing.
func machineUUID(raw []byte) string {
	if len(raw) != 17 || raw[0] != 0 {
		return ""
	}
	raw = raw[1:]
	if bytes.Count(raw, raw[:1]) == len(raw) && (raw[0] == 0 || raw[0] == 0xff) {
		return ""
	}
	h := hex.EncodeToString(raw)
	return strings.Join([]string{h[:8], h[8:12], h[12:16], h[16:20], h[20:]}, "-")
}

// sameUUID compares two UUIDs; firmware and iPXE of one machine may disagree
// about the byte order of the first three fields (SMBIOS before 2.6).
func sameUUID(a, b string) bool {
	return a == b || a == swapUUID(b)
}

func swapUUID(u string) string {
	raw, err := hex.DecodeString(strings.ReplaceAll(u, "-", ""))
	if err != nil || len(raw) != 16 {
		return u
	}
	raw[0], raw[1], raw[2], raw[3] = raw[3], raw[2], raw[1], raw[0]
	raw[4], raw[5], raw[6], raw[7] = raw[5], raw[4], raw[7], raw[6]
	return machineUUID(append([]byte{0}, raw...))
}
