package netboot

import (
	"bytes"
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
	arch arch   // firmware, valid if netboot() or ipxe
	pxe  bool   // a PXE client, iPXE among them
	http bool   // UEFI HTTP boot
	ipxe bool   // iPXE, which takes a script
	uuid string // machine UUID, hex; empty if absent or a filler
}

// arch is a client's architecture in the words of Ironic.
type arch struct {
	cpu  string // x86_64, i386, aarch64, arm; empty if unknown
	mode string // bios, uefi
}

func (a arch) String() string { return a.cpu + "-" + a.mode }

const (
	classPXE  = "PXEClient"
	classHTTP = "HTTPClient"
)

// optionIPXE is iPXE's own option space; its presence marks iPXE.
const optionIPXE = dhcpv4.GenericOptionCode(175)

// archNames translates option 93 (IANA "Processor Architecture Types"). 9 is
// EBC by RFC 4578, but what x64 firmware sends in practice, as its erratum says.
var archNames = [...]struct {
	code iana.Arch
	arch arch
	http bool
}{
	{0, arch{"x86_64", "bios"}, false},
	{6, arch{"i386", "uefi"}, false},
	{7, arch{"x86_64", "uefi"}, false},
	{9, arch{"x86_64", "uefi"}, false},
	{10, arch{"arm", "uefi"}, false},
	{11, arch{"aarch64", "uefi"}, false},
	{15, arch{"i386", "uefi"}, true},
	{16, arch{"x86_64", "uefi"}, true},
	{17, arch{"x86_64", "uefi"}, true},
	{18, arch{"arm", "uefi"}, true},
	{19, arch{"aarch64", "uefi"}, true},
}

// parseClient reads the sender of req; it fails on hardware that is not Ethernet.
func parseClient(req *dhcpv4.DHCPv4) (client, error) {
	if req.HWType != iana.HWTypeEthernet || len(req.ClientHWAddr) != 6 {
		return client{}, fmt.Errorf("hardware type %v with an address of %d bytes is not Ethernet", req.HWType, len(req.ClientHWAddr))
	}
	class := string(req.GetOneOption(dhcpv4.OptionClassIdentifier))
	c := client{
		mac:  req.ClientHWAddr,
		pxe:  strings.HasPrefix(class, classPXE),
		http: strings.HasPrefix(class, classHTTP),
		ipxe: req.Options.Has(optionIPXE) || bytes.Contains(req.GetOneOption(dhcpv4.OptionUserClassInformation), []byte("iPXE")),
		uuid: machineUUID(req.GetOneOption(dhcpv4.OptionClientMachineIdentifier)),
	}
	var code iana.Arch // 0, a BIOS, where nothing is said
	if raw := req.GetOneOption(dhcpv4.OptionClientSystemArchitectureType); len(raw) >= 2 {
		code = iana.Arch(raw[0])<<8 | iana.Arch(raw[1])
	} else if _, rest, ok := strings.Cut(class, ":Arch:"); ok {
		fmt.Sscanf(rest, "%5d", &code)
	}
	for _, a := range archNames {
		if a.code == code {
			c.arch = a.arch
			c.http = c.http || (a.http && !c.pxe)
		}
	}
	return c, nil
}

// netboot tells whether the client asks for something to boot, rather than for an address only.
func (c client) netboot() bool { return c.pxe || c.http || c.ipxe }

// String describes the machine for people, as in an event about two machines with one address.
func (c client) String() string {
	uuid := "machine without UUID"
	if c.uuid != "" {
		uuid = "machine " + c.uuid
	}
	switch {
	case c.ipxe:
		return uuid + ", iPXE " + c.arch.String()
	case c.http:
		return uuid + ", HTTP boot " + c.arch.String()
	case c.pxe:
		return uuid + ", PXE " + c.arch.String()
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
