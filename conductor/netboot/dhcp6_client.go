package netboot

import (
	"bytes"
	"encoding/hex"
	"net"
	"net/netip"
	"slices"

	"github.com/insomniacslk/dhcp/dhcpv6"
	"github.com/insomniacslk/dhcp/iana"
)

// query6 is a DHCPv6 packet in work.
type query6 struct {
	*dhcpv6.Message
	arrival
	client
	relays  []*dhcpv6.RelayMessage // the outermost, which talks to us, first
	macs    []net.HardwareAddr     // what the machine's may be, the surest first
	id      []byte                 // the client's identifier; nil: it has none
	machine Machine
	subnet  *subnet
}

// maxRelays is RFC 8415's HOP_COUNT_LIMIT.
const maxRelays = 8

// parseQuery6 takes a packet out of its relay agents' envelopes.
func parseQuery6(packet dhcpv6.DHCPv6, at arrival) (*query6, error) {
	q := &query6{arrival: at}
	for {
		switch p := packet.(type) {
		case *dhcpv6.Message:
			q.Message = p
			q.read()
			return q, nil
		case *dhcpv6.RelayMessage:
			if p.Type() != dhcpv6.MessageTypeRelayForward {
				return nil, unanswered("it is an answer")
			}
			if q.relays = append(q.relays, p); len(q.relays) > maxRelays {
				return nil, unanswered("it came through more than %d relay agents", maxRelays)
			}
			if packet = p.Options.RelayMessage(); packet == nil {
				return nil, unanswered("its relay agent's envelope is empty")
			}
		default:
			return nil, unanswered("it is no message of DHCPv6")
		}
	}
}

// read tells what the message says about its sender.
func (q *query6) read() {
	if duid := q.Options.ClientID(); duid != nil {
		q.id = duid.ToBytes()
	}
	for _, c := range q.Options.UserClasses() {
		q.ipxe = q.ipxe || bytes.Contains(c, []byte("iPXE"))
	}
	class := ""
	for _, v := range q.Options.VendorClasses() {
		for _, data := range v.Data {
			if class == "" || bytes.HasPrefix(data, []byte(classPXE)) || bytes.HasPrefix(data, []byte(classHTTP)) {
				class = string(data)
			}
		}
	}
	q.setClass(class, q.Options.ArchTypes())
	// Firmware's is the machine's UUID; that of an operating system is one that it has made up.
	if u, ok := q.Options.ClientID().(*dhcpv6.DUIDUUID); ok && q.netboot() {
		q.uuid = machineUUID(append([]byte{0}, u.UUID[:]...))
	}
	q.macs = q.findMACs()
	if len(q.macs) > 0 {
		q.mac = q.macs[0]
	}
}

// peer is the address of the client as whoever saw it last without a relay agent between knows it.
func (q *query6) peer() netip.Addr {
	if n := len(q.relays); n > 0 {
		return toAddr(q.relays[n-1].PeerAddr)
	}
	return q.from.Addr().WithZone("")
}

// findMACs lists what the MAC address of the interface may be: what the relay agent
// beside the client says (RFC 6939), what its link-local address was made of (EUI-64),
// what the kernel knows of that address, and what its identifier was made of,
// which may be another interface of the same machine.
func (q *query6) findMACs() (macs []net.HardwareAddr) {
	add := func(mac net.HardwareAddr) {
		if len(mac) == 6 && !slices.ContainsFunc(macs, func(m net.HardwareAddr) bool { return bytes.Equal(m, mac) }) {
			macs = append(macs, mac)
		}
	}
	for _, relay := range slices.Backward(q.relays) {
		if kind, mac := relay.Options.ClientLinkLayerAddress(); kind == iana.HWTypeEthernet {
			add(mac)
		}
	}
	add(eui64(q.peer()))
	if len(q.relays) == 0 && len(macs) == 0 {
		add(neighbour6(q.iface, q.peer()))
	}
	switch duid := q.Options.ClientID().(type) {
	case *dhcpv6.DUIDLL:
		if duid.HWType == iana.HWTypeEthernet {
			add(duid.LinkLayerAddr)
		}
	case *dhcpv6.DUIDLLT:
		if duid.HWType == iana.HWTypeEthernet {
			add(duid.LinkLayerAddr)
		}
	}
	return macs
}

// eui64 is the MAC address that an interface identifier was made of (RFC 4291, appendix A), or nil.
func eui64(addr netip.Addr) net.HardwareAddr {
	if !addr.Is6() || addr.Is4In6() {
		return nil
	}
	raw := addr.As16()
	if raw[11] != 0xff || raw[12] != 0xfe {
		return nil
	}
	return net.HardwareAddr{raw[8] ^ 2, raw[9], raw[10], raw[13], raw[14], raw[15]}
}

// holder6 is who asks for the address of an identity association.
func (q *query6) holder6(iaid [4]byte) holder {
	return holder{client: hex.EncodeToString(q.id) + "/" + hex.EncodeToString(iaid[:]), mac: q.mac.String()}
}
