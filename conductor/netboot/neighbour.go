package netboot

import (
	"net"
	"net/netip"
	"os"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// macOfAddr returns who has an address: by our lease, by what an IPv6 address was made
// of, else by the kernel's neighbour tables, which know every client that we talk to
// without a router between. It returns nil if none of them knows.
func (s *Server) macOfAddr(addr netip.Addr) net.HardwareAddr {
	if mac := s.dhcp.owner(addr); mac != nil {
		return mac
	}
	if addr.Is6() {
		if mac := neighbour6("", addr); mac != nil {
			return mac
		}
		return eui64(addr)
	}
	table, err := os.ReadFile("/proc/net/arp")
	if err != nil {
		return nil
	}
	return neighbour(string(table), addr)
}

// neighbour finds an address in a table like /proc/net/arp: address, hardware
// type, flags, hardware address, mask, device.
func neighbour(table string, addr netip.Addr) net.HardwareAddr {
	for line := range strings.Lines(table) {
		fields := strings.Fields(line)
		if len(fields) < 4 || fields[0] != addr.String() || fields[2] == "0x0" {
			continue
		}
		if mac, err := net.ParseMAC(fields[3]); err == nil {
			return mac
		}
	}
	return nil
}

// neighbour6 asks the kernel for the MAC address behind an IPv6 address; iface may
// be empty for any interface. It returns nil if the kernel does not know.
func neighbour6(iface string, addr netip.Addr) net.HardwareAddr {
	index := 0
	if iface != "" {
		ifi, err := net.InterfaceByName(iface)
		if err != nil {
			return nil
		}
		index = ifi.Index
	}
	table, err := netlink.NeighList(index, unix.AF_INET6)
	if err != nil {
		return nil
	}
	for _, n := range table {
		const unknown = unix.NUD_FAILED | unix.NUD_INCOMPLETE | unix.NUD_NOARP
		if toAddr(n.IP) == addr.WithZone("") && n.State&unknown == 0 && len(n.HardwareAddr) == 6 {
			return n.HardwareAddr
		}
	}
	return nil
}
