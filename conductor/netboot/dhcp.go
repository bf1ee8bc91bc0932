package netboot

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
)

// UDP ports (RFC 2131, PXE 2.1 section 2.2).
const (
	portDHCP  = 67
	portProxy = 4011
)

// dhcp decides what a DHCP packet is answered; sockets are elsewhere.
type dhcp struct {
	*settings
	dir    Directory
	emit   func(kind, node, mac, detail string)
	leases *leases // nil unless DHCP is full
	guard  *guard
	acked  *recent // transactions whose acknowledgement was reported
}

func newDHCP(s *settings, dir Directory, emit func(kind, node, mac, detail string)) *dhcp {
	d := &dhcp{settings: s, dir: dir, emit: emit, guard: newGuard(s.LeaseTime), acked: &recent{}}
	if s.DHCP == DHCPFull {
		network := s.prefix.Addr()
		broadcast := addAddr(network, uint32(1)<<(32-s.prefix.Bits())-1)
		d.leases = newLeases(s.begin, s.end, s.Leases, s.server, s.tftp, s.router, network, broadcast)
	}
	return d
}

// answer returns the reply to req, which came to port, or nil for none. An error
// says why a machine that should have been answered was not.
func (d *dhcp) answer(ctx context.Context, req *dhcpv4.DHCPv4, port int, now time.Time) (*dhcpv4.DHCPv4, error) {
	if req.OpCode != dhcpv4.OpcodeBootRequest {
		return nil, nil
	}
	c, err := parseClient(req)
	if err != nil {
		return nil, nil // no port of ours: ports are Ethernet
	}
	m, err := d.dir.Machine(ctx, c.mac)
	unknown := errors.Is(err, ErrUnknownMAC)
	switch {
	case unknown && !(d.AnswerUnknown && d.leases != nil):
		return nil, nil
	case unknown:
		m = Machine{Action: Ignore}
	case err != nil:
		return nil, fmt.Errorf("look up the port %v: %w", c.mac, err)
	}
	if first, ok, report := d.guard.admit(c, now); !ok {
		if report {
			d.emit(EventMACConflict, m.NodeUUID, c.mac.String(), fmt.Sprintf(
				"two machines use the MAC address %v: %v, which is answered, and %v, which is not", c.mac, first, c))
		}
		return nil, nil
	}
	if m.Action == Ignore && c.netboot() && !unknown {
		return nil, nil
	}
	if d.leases == nil {
		return d.proxy(c, m, req, port)
	}
	return d.full(ctx, c, m, req, port, now)
}

// proxy answers with boot data and without an address, beside another server.
func (d *dhcp) proxy(c client, m Machine, req *dhcpv4.DHCPv4, port int) (*dhcpv4.DHCPv4, error) {
	if !c.netboot() {
		return nil, nil
	}
	kind := dhcpv4.MessageTypeOffer
	switch req.MessageType() {
	case dhcpv4.MessageTypeDiscover:
		if port != portDHCP {
			return nil, nil
		}
	case dhcpv4.MessageTypeRequest, dhcpv4.MessageTypeInform:
		if port != portProxy {
			return nil, nil // the address is the other server's business
		}
		kind = dhcpv4.MessageTypeAck
	default:
		return nil, nil
	}
	resp, err := d.reply(req, kind)
	if err != nil {
		return nil, err
	}
	if err := d.addBoot(resp, c, m); err != nil {
		return nil, err
	}
	if c.pxe {
		resp.UpdateOption(dhcpv4.OptClassIdentifier(classPXE)) // marks a proxy's offer, for iPXE too
	}
	d.reportAck(req, c, m, "boot data from the proxy: "+resp.BootFileNameOption())
	return resp, nil
}

// full answers with an address of the range.
func (d *dhcp) full(ctx context.Context, c client, m Machine, req *dhcpv4.DHCPv4, port int, now time.Time) (*dhcpv4.DHCPv4, error) {
	if port != portDHCP || !d.local(req) {
		return nil, nil
	}
	switch req.MessageType() {
	case dhcpv4.MessageTypeDiscover:
		return d.discover(c, m, req, now)
	case dhcpv4.MessageTypeRequest:
		return d.request(ctx, c, m, req, now)
	case dhcpv4.MessageTypeInform:
		resp, err := d.reply(req, dhcpv4.MessageTypeAck)
		if err != nil {
			return nil, err
		}
		d.addNetwork(resp)
		if m.NodeUUID != "" && c.netboot() {
			err = d.addBoot(resp, c, m)
		}
		return resp, err
	case dhcpv4.MessageTypeRelease:
		return nil, d.leases.release(ctx, c.mac, toAddr(req.ClientIPAddr), now)
	case dhcpv4.MessageTypeDecline:
		addr := toAddr(req.RequestedIPAddress())
		mine, err := d.leases.decline(ctx, c.mac, addr, now)
		if mine {
			d.emit(EventDeclined, m.NodeUUID, c.mac.String(), fmt.Sprintf(
				"%v declined the address %v: another host on the network uses it", c.mac, addr))
		}
		return nil, err
	}
	return nil, nil
}

// local tells whether a relayed packet comes from the network that we have addresses for.
func (d *dhcp) local(req *dhcpv4.DHCPv4) bool {
	relay := toAddr(req.GatewayIPAddr)
	return !relay.IsValid() || relay.IsUnspecified() || d.prefix.Contains(relay)
}

func (d *dhcp) discover(c client, m Machine, req *dhcpv4.DHCPv4, now time.Time) (*dhcpv4.DHCPv4, error) {
	addr, err := d.leases.offer(c.mac, toAddr(req.RequestedIPAddress()), now)
	if err != nil {
		return nil, fmt.Errorf("offer an address to %v: %w", c.mac, err)
	}
	return d.lease(c, m, req, dhcpv4.MessageTypeOffer, addr)
}

// request covers the four cases of RFC 2131 section 4.3.2: selecting, init-reboot,
// renewing, rebinding.
func (d *dhcp) request(ctx context.Context, c client, m Machine, req *dhcpv4.DHCPv4, now time.Time) (*dhcpv4.DHCPv4, error) {
	if id := toAddr(req.ServerIdentifier()); id.IsValid() && id != d.server {
		return nil, nil // the client took another server's offer
	}
	want := toAddr(req.RequestedIPAddress())
	if !want.IsValid() {
		want = toAddr(req.ClientIPAddr)
	}
	ok, err := d.leases.commit(ctx, c.mac, want, now, now.Add(d.LeaseTime))
	if !ok {
		resp, err := d.reply(req, dhcpv4.MessageTypeNak)
		if err != nil {
			return nil, err
		}
		resp.ServerIPAddr = nil
		resp.UpdateOption(dhcpv4.OptMessage(fmt.Sprintf("%v is not an address of %v", want, c.mac)))
		return resp, nil
	}
	if err != nil {
		// The lease stands in memory; to refuse it now would only stop the machine.
		d.emit(EventError, m.NodeUUID, c.mac.String(), err.Error())
	}
	resp, err := d.lease(c, m, req, dhcpv4.MessageTypeAck, want)
	if err != nil {
		return nil, err
	}
	d.reportAck(req, c, m, fmt.Sprintf("address %v, boot file %q", want, resp.BootFileNameOption()))
	return resp, nil
}

// reportAck tells about a transaction once, however soon and often its packets are repeated.
func (d *dhcp) reportAck(req *dhcpv4.DHCPv4, c client, m Machine, detail string) {
	key := c.mac.String() + req.TransactionID.String()
	if d.acked.add(key, time.Now()) {
		d.emit(EventDHCP, m.NodeUUID, c.mac.String(), detail)
	}
}

func toAddr(ip []byte) netip.Addr {
	addr, ok := netip.AddrFromSlice(ip)
	if !ok {
		return netip.Addr{}
	}
	return addr.Unmap()
}
