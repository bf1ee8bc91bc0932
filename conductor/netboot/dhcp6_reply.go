package netboot

import (
	"fmt"
	"net"
	"net/netip"

	"github.com/insomniacslk/dhcp/dhcpv6"
	"github.com/insomniacslk/dhcp/iana"
)

// enterpriseIntel is under whose number PXE and HTTP boot have their vendor classes (UEFI, section 24.3).
const enterpriseIntel = 343

// serverDUID is who we are to DHCPv6 clients: made of an interface's MAC address, so
// the same after a restart.
func serverDUID(iface string) (dhcpv6.DUID, error) {
	ifi, err := net.InterfaceByName(iface)
	if err != nil {
		return nil, fmt.Errorf("%w: [netboot]interface %q: %v", ErrConfig, iface, err)
	}
	return &dhcpv6.DUIDLL{HWType: iana.HWTypeEthernet, LinkLayerAddr: ifi.HardwareAddr}, nil
}

// reply6 starts a REPLY to q.
func (d *dhcp) reply6(q *query6) *dhcpv6.Message {
	resp := &dhcpv6.Message{MessageType: dhcpv6.MessageTypeReply, TransactionID: q.TransactionID}
	if id := q.GetOneOption(dhcpv6.OptionClientID); id != nil {
		resp.AddOption(id)
	}
	resp.AddOption(dhcpv6.OptServerID(d.duid))
	return resp
}

// addBoot6 adds the name servers, and for firmware the URL to boot (RFC 5970).
func (d *dhcp) addBoot6(q *query6, resp *dhcpv6.Message) error {
	if len(q.subnet.dns6) > 0 {
		var servers []net.IP
		for _, addr := range q.subnet.dns6 {
			servers = append(servers, toIP(addr))
		}
		resp.AddOption(dhcpv6.OptDNS(servers...))
	}
	if q.machine.Action == Ignore || !q.netboot() {
		return nil
	}
	file, byHTTP, err := d.bootFileFor(q.client, q.machine)
	if err != nil {
		return err
	}
	if byHTTP {
		file = q.subnet.httpURL6 + "/" + file
	} else {
		file = "tftp://[" + q.subnet.tftp6.String() + "]/" + file
	}
	resp.AddOption(dhcpv6.OptBootFileURL(file))
	if q.http && !q.ipxe { // UEFI takes an answer without it for one that is not about HTTP
		resp.AddOption(&dhcpv6.OptVendorClass{EnterpriseNumber: enterpriseIntel, Data: [][]byte{[]byte(classHTTP)}})
	}
	return nil
}

// refuseOthers6 answers what else can be asked for: temporary addresses and prefixes.
func (d *dhcp) refuseOthers6(q *query6, resp *dhcpv6.Message) {
	for i, ia := range q.Options.IATA() {
		if i < maxAssociations {
			answer := &dhcpv6.OptIATA{IaId: ia.IaId}
			answer.Options.Add(&dhcpv6.OptStatusCode{StatusCode: iana.StatusNoAddrsAvail, StatusMessage: "no temporary addresses here"})
			resp.AddOption(answer)
		}
	}
	for i, ia := range q.Options.IAPD() {
		if i < maxAssociations {
			answer := &dhcpv6.OptIAPD{IaId: ia.IaId}
			answer.Options.Add(&dhcpv6.OptStatusCode{StatusCode: iana.StatusNoPrefixAvail, StatusMessage: "no prefixes here"})
			resp.AddOption(answer)
		}
	}
}

// status6 says of an association that it has no address, and why.
func status6(ia *dhcpv6.OptIANA, code iana.StatusCode, text string) {
	ia.T1, ia.T2 = 0, 0
	ia.Options.Add(&dhcpv6.OptStatusCode{StatusCode: code, StatusMessage: text})
}

// encapsulate puts a reply into envelopes like those that the request came in.
func (q *query6) encapsulate(resp *dhcpv6.Message) dhcpv6.DHCPv6 {
	packet := dhcpv6.DHCPv6(resp)
	for i := len(q.relays) - 1; i >= 0; i-- {
		in := q.relays[i]
		out := &dhcpv6.RelayMessage{MessageType: dhcpv6.MessageTypeRelayReply, HopCount: in.HopCount, LinkAddr: in.LinkAddr, PeerAddr: in.PeerAddr}
		for _, code := range []dhcpv6.OptionCode{dhcpv6.OptionInterfaceID, dhcpv6.OptionRelayPort} {
			if opt := in.GetOneOption(code); opt != nil {
				out.AddOption(opt)
			}
		}
		out.AddOption(dhcpv6.OptRelayMessage(packet))
		packet = out
	}
	return packet
}

// destination6 is where a reply goes: back to the relay agent that asked, to its
// own port if it says that it has one (RFC 8357); else to the client.
func destination6(packet dhcpv6.DHCPv6, from netip.AddrPort) netip.AddrPort {
	relay, ok := packet.(*dhcpv6.RelayMessage)
	switch {
	case !ok:
		return netip.AddrPortFrom(from.Addr(), portClient6)
	case relay.GetOneOption(dhcpv6.OptionRelayPort) != nil:
		return from
	}
	return netip.AddrPortFrom(from.Addr(), portServer6)
}
