package lab

import (
	"encoding/binary"
	"fmt"
	"net"

	"golang.org/x/net/ipv6"
)

// routerLifetime of 0 seconds: the rack has an IPv6 prefix, but is no way to anywhere (RFC 4861, section 4.2).
const routerLifetime = 0

// advertiser answers IPv6 router solicitations on the bridge. iPXE waits for all its configurators, and an unanswered
// solicitation costs 13 seconds at every boot.
type advertiser struct{ conn *ipv6.PacketConn }

func newAdvertiser() (*advertiser, error) {
	link, err := net.InterfaceByName(Bridge)
	if err != nil {
		return nil, fmt.Errorf("advertise the IPv6 prefix: %w", err)
	}
	raw, err := net.ListenPacket("ip6:ipv6-icmp", "::")
	if err != nil {
		return nil, fmt.Errorf("advertise the IPv6 prefix: %w", err)
	}
	conn := ipv6.NewPacketConn(raw)
	var filter ipv6.ICMPFilter
	filter.SetAll(true)
	filter.Accept(ipv6.ICMPTypeRouterSolicitation)
	for _, set := range []func() error{
		func() error { return conn.SetICMPFilter(&filter) },
		func() error { return conn.JoinGroup(link, &net.IPAddr{IP: net.IPv6linklocalallrouters}) },
		func() error { return conn.SetMulticastInterface(link) },
		func() error { return conn.SetMulticastHopLimit(255) }, // receivers drop anything else (RFC 4861, section 6.1.2)
		func() error { return conn.SetMulticastLoopback(false) },
	} {
		if err := set(); err != nil {
			conn.Close()
			return nil, fmt.Errorf("advertise the IPv6 prefix: %w", err)
		}
	}
	a := &advertiser{conn: conn}
	go a.serve(link)
	return a, nil
}

func (a *advertiser) close() { a.conn.Close() }

// serve answers until the socket is closed.
func (a *advertiser) serve(link *net.Interface) {
	message := routerAdvertisement(link.HardwareAddr)
	to := &net.IPAddr{IP: net.IPv6linklocalallnodes, Zone: link.Name}
	from := &ipv6.ControlMessage{Src: net.ParseIP(bridgeLinkLocal), IfIndex: link.Index, HopLimit: 255}
	buf := make([]byte, 1500)
	for {
		if _, _, _, err := a.conn.ReadFrom(buf); err != nil {
			return
		}
		_, _ = a.conn.WriteTo(message, from, to) // a lost answer is asked for again
	}
}

// routerAdvertisement is RFC 4861, section 4.2: neither managed nor other configuration (no DHCPv6), the prefix for
// stateless addresses, and the source's link-layer address. The kernel fills the checksum in.
func routerAdvertisement(mac net.HardwareAddr) []byte {
	m := make([]byte, 16, 56)
	m[0] = 134 // router advertisement
	m[4] = 64  // current hop limit
	binary.BigEndian.PutUint16(m[6:], routerLifetime)
	m = append(m, 1, 1) // option: source link-layer address, 8 bytes
	m = append(m, mac...)
	prefix := make([]byte, 32)
	prefix[0], prefix[1] = 3, 4                         // option: prefix information, 32 bytes
	prefix[2] = 64                                      // prefix length
	prefix[3] = 0xc0                                    // on-link, autonomous
	binary.BigEndian.PutUint32(prefix[4:], 30*86400)    // valid lifetime, seconds
	binary.BigEndian.PutUint32(prefix[8:], 7*86400)     // preferred lifetime, seconds
	copy(prefix[16:], net.ParseIP(Address6).To16()[:8]) // the prefix, zeros after it
	return append(m, prefix...)
}
