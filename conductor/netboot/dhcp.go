package netboot

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/insomniacslk/dhcp/dhcpv6"
)

// UDP ports (RFC 2131, PXE 2.1 section 2.2).
const (
	portDHCP   = 67
	portClient = 68
	portProxy  = 4011
)

// dhcp decides what a DHCP packet is answered; sockets are elsewhere.
type dhcp struct {
	*settings
	dir   Directory
	emit  func(kind, node, mac, detail string)
	sight func(Sighting)
	guard *guard
	acked *recent     // transactions whose acknowledgement was reported
	duid  dhcpv6.DUID // who we are to DHCPv6 clients
}

func newDHCP(s *settings, dir Directory, emit func(kind, node, mac, detail string), sight func(Sighting)) *dhcp {
	d := &dhcp{settings: s, dir: dir, emit: emit, sight: sight, guard: newGuard(s.LeaseTime), acked: &recent{}}
	for _, n := range s.subnets {
		if n.begin.IsValid() && s.DHCP == DHCPFull {
			network := n.prefix.Addr()
			broadcast := addAddr(network, uint32(1)<<(32-n.prefix.Bits())-1)
			n.leases = newLeases(n.begin, n.end, s.Leases, slices.Concat(n.own, n.dns, []netip.Addr{n.server, n.tftp, n.router, network, broadcast})...)
		}
		if n.begin6.IsValid() && s.DHCPv6 == DHCPFull {
			n.leases6 = newLeases(n.begin6, n.end6, s.Leases, slices.Concat(n.own, n.dns6, []netip.Addr{n.server6, n.tftp6, n.prefix6.Addr()})...)
		}
	}
	return d
}

// loadLeases takes over what was leased before a restart.
func (d *dhcp) loadLeases(ctx context.Context) error {
	for _, n := range d.subnets {
		for _, l := range []*leases{n.leases, n.leases6} {
			if l == nil {
				continue
			}
			if err := l.load(ctx); err != nil {
				return err
			}
		}
	}
	return nil
}

// owner returns the MAC address that holds addr by a lease, or nil.
func (d *dhcp) owner(addr netip.Addr) net.HardwareAddr {
	for _, n := range d.subnets {
		for _, l := range []*leases{n.leases, n.leases6} {
			if l == nil {
				continue
			}
			if mac := l.owner(addr); mac != nil {
				return mac
			}
		}
	}
	return nil
}

// arrival is how a packet came.
type arrival struct {
	port  int
	iface string
	from  netip.AddrPort
	now   time.Time
}

// query is a packet in work.
type query struct {
	*dhcpv4.DHCPv4
	arrival
	client
	machine Machine
	subnet  *subnet
}

// answer returns the reply to req, or nil for none. The error is a silence if that is
// meant; else it says why a machine that should have been answered was not.
func (d *dhcp) answer(ctx context.Context, req *dhcpv4.DHCPv4, at arrival) (*dhcpv4.DHCPv4, error) {
	if req.OpCode != dhcpv4.OpcodeBootRequest {
		return nil, unanswered("it is an answer")
	}
	q := &query{DHCPv4: req, arrival: at}
	resp, err := d.decide(ctx, q)
	d.record(q, resp, err)
	d.reportFailure(q.machine, q.ClientHWAddr, err)
	return resp, err
}

// reportFailure tells about a machine that should have been answered, once for all repetitions.
func (d *dhcp) reportFailure(m Machine, mac net.HardwareAddr, err error) {
	if err == nil || errors.As(err, new(silence)) || errors.Is(err, context.Canceled) {
		return
	}
	if d.acked.add("failure "+mac.String()+err.Error(), time.Now()) {
		d.emit(EventError, m.NodeUUID, mac.String(), err.Error())
	}
}

// record keeps what became of a packet.
func (d *dhcp) record(q *query, resp *dhcpv4.DHCPv4, err error) {
	seen := Sighting{MAC: q.ClientHWAddr.String(), Protocol: ProtocolDHCP, NodeUUID: q.machine.NodeUUID, Request: q.MessageType().String()}
	if ip := toAddr(q.ClientIPAddr); ip.IsValid() {
		seen.IP = addressText(ip)
	}
	if kind := q.kind(); kind != "" {
		seen.Request += " by " + kind
	}
	if want := toAddr(q.RequestedIPAddress()); want.IsValid() {
		seen.Request += " for " + want.String()
	}
	if q.port == portProxy {
		seen.Request += " to port 4011"
	}
	if relay := addressText(toAddr(q.GatewayIPAddr)); relay != "" {
		seen.Request += " through the relay agent " + relay
	}
	if resp != nil {
		seen.Answer = resp.MessageType().String()
		if ip := addressText(toAddr(resp.YourIPAddr)); ip != "" {
			seen.IP = ip
			seen.Answer += ", address " + ip
		}
		if file := resp.BootFileNameOption(); file != "" {
			seen.Answer += ", boot file " + file
		}
		if text := resp.Message(); text != "" {
			seen.Answer += ": " + text
		}
	}
	switch {
	case err != nil:
		seen.Reason = err.Error()
	case resp == nil:
		seen.Answer = "noted" // RELEASE and DECLINE have no answer
	}
	d.sight(seen)
}

func (d *dhcp) decide(ctx context.Context, q *query) (resp *dhcpv4.DHCPv4, err error) {
	if q.client, err = parseClient(q.DHCPv4); err != nil {
		return nil, err
	}
	unknown := false
	if q.machine, unknown, err = d.lookUp(ctx, q.client, q.now); err != nil {
		return nil, err
	}
	if q.machine.Action == Ignore && q.netboot() && !unknown {
		return nil, unanswered("its port is not to boot from the network (pxe_enabled is false)")
	}
	if d.DHCP == DHCPProxy {
		if unknown {
			return nil, unanswered("no port of any node has the MAC address %v, and answer_unknown is about addresses, which another server gives here", q.mac)
		}
		return d.proxy(q)
	}
	if q.port != portDHCP {
		return nil, unanswered("port %d is served with [netboot]dhcp = proxy only", q.port)
	}
	if q.subnet, err = d.locate(q); err != nil {
		return nil, err
	}
	return d.full(ctx, q)
}

// lookUp finds the machine of a client of either DHCP, and refuses the second of two with one MAC address.
func (d *dhcp) lookUp(ctx context.Context, c client, now time.Time) (m Machine, unknown bool, err error) {
	m, err = d.dir.Machine(ctx, c.mac)
	unknown = errors.Is(err, ErrUnknownMAC)
	switch {
	case unknown && !d.AnswerUnknown:
		return m, true, unanswered("no port of any node has the MAC address %v", c.mac)
	case unknown:
		m = Machine{Action: Ignore}
	case err != nil:
		return m, false, fmt.Errorf("look up the port %v: %w", c.mac, err)
	}
	if first, ok, report := d.guard.admit(c, now); !ok {
		text := fmt.Sprintf("two machines use the MAC address %v: %v, which is answered, and %v, which is not", c.mac, first, c)
		if report {
			d.emit(EventMACConflict, m.NodeUUID, c.mac.String(), text)
		}
		return m, unknown, unanswered("%s", text)
	}
	return m, unknown, nil
}

// proxy answers with boot data and without an address, beside another server. On
// port 67 that is an offer to everybody; on port 4011 the client asks us alone,
// as one asks a boot server.
func (d *dhcp) proxy(q *query) (*dhcpv4.DHCPv4, error) {
	if !q.netboot() {
		return nil, unanswered("it is no boot firmware, and addresses are another server's business: [netboot]dhcp = proxy")
	}
	var err error
	if q.subnet, err = d.locate(q); err != nil {
		q.subnet = d.subnet // whoever relays to us wants us to answer
	}
	kind := dhcpv4.MessageTypeOffer
	switch t := q.MessageType(); {
	case t == dhcpv4.MessageTypeDiscover && q.port == portDHCP:
	case (t == dhcpv4.MessageTypeRequest || t == dhcpv4.MessageTypeInform) && q.port == portProxy:
		kind = dhcpv4.MessageTypeAck
	default:
		return nil, unanswered("a %v on port %d is the address server's business", t, q.port)
	}
	resp, err := d.reply(q, kind)
	if err != nil {
		return nil, err
	}
	if err := d.addBoot(resp, q); err != nil {
		return nil, err
	}
	if q.pxe {
		resp.UpdateOption(dhcpv4.OptClassIdentifier(classPXE)) // marks a proxy's offer, for iPXE too
	}
	d.reportAck(q, "boot data from the proxy: "+resp.BootFileNameOption())
	return resp, nil
}

// full answers with an address of a range.
func (d *dhcp) full(ctx context.Context, q *query) (*dhcpv4.DHCPv4, error) {
	switch q.MessageType() {
	case dhcpv4.MessageTypeDiscover:
		return d.discover(q)
	case dhcpv4.MessageTypeRequest:
		return d.request(ctx, q)
	case dhcpv4.MessageTypeInform:
		resp, err := d.reply(q, dhcpv4.MessageTypeAck)
		if err != nil {
			return nil, err
		}
		addNetwork(resp, q.subnet)
		if q.machine.Action != Ignore && q.netboot() {
			err = d.addBoot(resp, q)
		}
		return resp, err
	case dhcpv4.MessageTypeRelease:
		addr := toAddr(q.ClientIPAddr)
		mine, err := d.holding(q, addr).leases.release(ctx, holderOf(q.mac), addr, q.now)
		if err == nil && !mine {
			err = unanswered("%v is not leased to it", addr)
		}
		return nil, err
	case dhcpv4.MessageTypeDecline:
		addr := toAddr(q.RequestedIPAddress())
		mine, err := d.holding(q, addr).leases.decline(ctx, holderOf(q.mac), addr, q.now)
		if mine {
			d.emit(EventDeclined, q.machine.NodeUUID, q.mac.String(), fmt.Sprintf(
				"%v declined the address %v: another host on the network uses it", q.mac, addr))
		} else if err == nil {
			err = unanswered("%v is not leased to it", addr)
		}
		return nil, err
	}
	return nil, unanswered("a %v is nothing that a server answers", q.MessageType())
}

// discover offers an address of the client's subnet, or of another on the same wire:
// where it has one already, or wants one that is free, else where there is one left.
func (d *dhcp) discover(q *query) (*dhcpv4.DHCPv4, error) {
	var err error
	who, want := holderOf(q.mac), toAddr(q.RequestedIPAddress())
	list := d.sharing(q)
	slices.SortStableFunc(list, func(a, b *subnet) int {
		return cmp.Compare(b.leases.claim(who, want, q.now), a.leases.claim(who, want, q.now))
	})
	for _, n := range list {
		var addr netip.Addr
		if addr, err = n.leases.offer(who, want, q.now); err == nil {
			q.subnet = n
			return d.lease(q, dhcpv4.MessageTypeOffer, addr)
		}
	}
	return nil, fmt.Errorf("offer an address to %v: %w", q.mac, err)
}

// request covers the four cases of RFC 2131 section 4.3.2: selecting, init-reboot,
// renewing, rebinding.
func (d *dhcp) request(ctx context.Context, q *query) (*dhcpv4.DHCPv4, error) {
	id := toAddr(q.ServerIdentifier())
	if id.IsValid() && !d.ours(id) && id != serverOverride(q.DHCPv4) {
		return nil, unanswered("it took the offer of another server, %v", id)
	}
	want := toAddr(q.RequestedIPAddress())
	if !want.IsValid() {
		want = toAddr(q.ClientIPAddr)
	}
	q.subnet = d.holding(q, want)
	ok, err := q.subnet.leases.commit(ctx, holderOf(q.mac), want, q.now, q.now.Add(d.LeaseTime))
	if !ok {
		resp, err := d.reply(q, dhcpv4.MessageTypeNak)
		if err != nil {
			return nil, err
		}
		resp.ServerIPAddr = nil
		if relay := toAddr(q.GatewayIPAddr); relay.IsValid() && !relay.IsUnspecified() {
			resp.SetBroadcast() // the client has no address that the relay could use (RFC 2131, 4.3.2)
		}
		resp.UpdateOption(dhcpv4.OptMessage(fmt.Sprintf("%v is not an address of %v", want, q.mac)))
		return resp, nil
	}
	if err != nil {
		// The lease stands in memory; to refuse it now would only stop the machine.
		d.emit(EventError, q.machine.NodeUUID, q.mac.String(), err.Error())
	}
	resp, err := d.lease(q, dhcpv4.MessageTypeAck, want)
	if err != nil {
		return nil, err
	}
	d.reportAck(q, fmt.Sprintf("address %v, boot file %q", want, resp.BootFileNameOption()))
	return resp, nil
}

// reportAck tells about a transaction once, however soon and often its packets are repeated.
func (d *dhcp) reportAck(q *query, detail string) {
	key := q.mac.String() + q.TransactionID.String()
	if d.acked.add(key, time.Now()) {
		d.emit(EventDHCP, q.machine.NodeUUID, q.mac.String(), detail)
	}
}

func toAddr(ip []byte) netip.Addr {
	addr, ok := netip.AddrFromSlice(ip)
	if !ok {
		return netip.Addr{}
	}
	return addr.Unmap()
}
