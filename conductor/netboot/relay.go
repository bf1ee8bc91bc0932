package netboot

import (
	"net/netip"

	"github.com/insomniacslk/dhcp/dhcpv4"
)

// linkOf is an address of the network that a client is in, as far as its packet
// tells: by the relay agent's link selection (RFC 3527), the client's subnet
// selection (RFC 3011), else the address of the relay agent itself.
func linkOf(req *dhcpv4.DHCPv4) netip.Addr {
	if info := req.RelayAgentInfo(); info != nil {
		if link := toAddr(info.Get(dhcpv4.LinkSelectionSubOption)); link.Is4() && !link.IsUnspecified() {
			return link
		}
	}
	if link := toAddr(req.GetOneOption(dhcpv4.OptionSubnetSelection)); link.Is4() && !link.IsUnspecified() {
		return link
	}
	if relay := toAddr(req.GatewayIPAddr); relay.Is4() && !relay.IsUnspecified() {
		return relay
	}
	return netip.Addr{}
}

// serverOverride is the address that a relay agent wants to be the server
// identifier, so that renewals come through it too (RFC 5107).
func serverOverride(req *dhcpv4.DHCPv4) netip.Addr {
	relay := toAddr(req.GatewayIPAddr)
	info := req.RelayAgentInfo()
	if info == nil || !relay.IsValid() || relay.IsUnspecified() {
		return netip.Addr{}
	}
	if addr := toAddr(info.Get(dhcpv4.ServerIdentifierOverrideSubOption)); addr.Is4() && !addr.IsUnspecified() {
		return addr
	}
	return netip.Addr{}
}

// locate finds the subnet of a client: by what the packet tells of its network, by
// the address that it has, else by the interface that the packet came to.
func (s *settings) locate(q *query) (*subnet, error) {
	if link := linkOf(q.DHCPv4); link.IsValid() {
		if n := s.within(link); n != nil {
			return n, nil
		}
		return nil, unanswered("it is in the network of %v, and no range of [netboot]range_begin or subnets is in that network", link)
	}
	if addr := toAddr(q.ClientIPAddr); addr.IsValid() && !addr.IsUnspecified() {
		if n := s.within(addr); n != nil {
			return n, nil
		}
	}
	for _, n := range s.subnets {
		if n.iface == q.iface && n.direct && (n.leases != nil || s.DHCP != DHCPFull) {
			return n, nil
		}
	}
	return nil, unanswered("no range is configured for the clients of interface %s", q.iface)
}

// within is the subnet whose network has addr, of several the smallest; nil: none.
func (s *settings) within(addr netip.Addr) (found *subnet) {
	for _, n := range s.subnets {
		if n.prefix.Contains(addr) && (n.leases != nil || s.DHCP != DHCPFull) && (found == nil || n.prefix.Bits() > found.prefix.Bits()) {
			found = n
		}
	}
	return found
}

// sharing lists the subnets of which a client may be given an address: its own
// first, other ranges of that network, and without a relay agent those of other
// networks whose clients are on that interface.
func (s *settings) sharing(q *query) []*subnet {
	list := []*subnet{q.subnet}
	wire := q.subnet.direct && !linkOf(q.DHCPv4).IsValid()
	for _, n := range s.subnets {
		if n != q.subnet && n.leases != nil && (n.prefix == q.subnet.prefix || wire && n.direct && n.iface == q.subnet.iface) {
			list = append(list, n)
		}
	}
	return list
}

// holding is that of the client's subnets whose range has addr, else its own.
func (s *settings) holding(q *query, addr netip.Addr) *subnet {
	for _, n := range s.sharing(q) {
		if n.leases.has(addr) {
			return n
		}
	}
	return q.subnet
}
