package lab

import (
	"fmt"
	"net"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// bridgeLinkLocal is the bridge's fe80:: address, the source of router advertisements. It is set by hand because the
// kernel's own would stay tentative until the first machine is on.
const bridgeLinkLocal = "fe80::77:1"

// network is the bridge with a tap for each machine and an address for each BMC.
type network struct {
	links []netlink.Link
}

func newNetwork(nodes []NodeConfig) (_ *network, err error) {
	n := &network{}
	defer func() {
		if err != nil {
			n.close()
		}
	}()
	snooping := false // without a querier, snooping would lose neighbour and router solicitations
	bridge := &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: Bridge, HardwareAddr: net.HardwareAddr{0x52, 0x54, 0, 0x77, 0xff, 1}}, MulticastSnooping: &snooping}
	if err := n.add(bridge); err != nil {
		return nil, err
	}
	addresses := []netlink.Addr{
		{IPNet: ipNet(Address, 24)},
		// nodad: nobody else is on the wire, and a tentative address cannot be bound
		{IPNet: ipNet(Address6, 64), Flags: unix.IFA_F_NODAD},
		{IPNet: ipNet(bridgeLinkLocal, 64), Flags: unix.IFA_F_NODAD, Scope: unix.RT_SCOPE_LINK},
	}
	for _, node := range nodes {
		addresses = append(addresses, netlink.Addr{IPNet: ipNet(node.BMC.Address, 32)})
	}
	for _, a := range addresses {
		if err := netlink.AddrAdd(bridge, &a); err != nil {
			return nil, fmt.Errorf("add %s to %s: %w", a.IPNet, Bridge, err)
		}
	}
	for i := range nodes {
		tap := &netlink.Tuntap{LinkAttrs: netlink.LinkAttrs{Name: tapName(i)}, Mode: netlink.TUNTAP_MODE_TAP, Flags: netlink.TUNTAP_NO_PI}
		if err := n.add(tap); err != nil {
			return nil, err
		}
		if err := netlink.LinkSetMaster(tap, bridge); err != nil {
			return nil, fmt.Errorf("put %s on %s: %w", tap.Name, Bridge, err)
		}
	}
	return n, nil
}

func (n *network) add(link netlink.Link) error {
	name := link.Attrs().Name
	if err := netlink.LinkAdd(link); err != nil {
		return fmt.Errorf("create network device %s: %w", name, err)
	}
	n.links = append(n.links, link)
	if err := netlink.LinkSetUp(link); err != nil {
		return fmt.Errorf("bring network device %s up: %w", name, err)
	}
	return nil
}

func (n *network) close() {
	for _, link := range n.links {
		_ = netlink.LinkDel(link)
	}
}

func tapName(index int) string { return fmt.Sprintf("tap%d", index) }

func ipNet(address string, bits int) *net.IPNet {
	ip := net.ParseIP(address)
	size := 128
	if v4 := ip.To4(); v4 != nil {
		ip, size = v4, 32
	}
	return &net.IPNet{IP: ip, Mask: net.CIDRMask(bits, size)}
}
