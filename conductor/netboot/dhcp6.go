package netboot

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv6"
	"github.com/insomniacslk/dhcp/iana"
)

// UDP ports of DHCPv6 (RFC 8415, section 7.2).
const (
	portServer6 = 547
	portClient6 = 546
)

// maxAssociations bounds the addresses that one message can ask for.
const maxAssociations = 4

// answer6 returns the reply to a DHCPv6 packet, or nil for none, as answer does.
func (d *dhcp) answer6(ctx context.Context, packet dhcpv6.DHCPv6, at arrival) (dhcpv6.DHCPv6, error) {
	q, err := parseQuery6(packet, at)
	if err != nil {
		d.sight(Sighting{IP: addressText(at.from.Addr()), Protocol: ProtocolDHCPv6, Request: packet.Type().String(), Reason: err.Error()})
		return nil, err
	}
	resp, err := d.decide6(ctx, q)
	d.record6(q, resp, err)
	d.reportFailure(q.machine, q.mac, err)
	if resp == nil {
		return nil, err
	}
	return q.encapsulate(resp), err
}

// record6 keeps what became of a packet.
func (d *dhcp) record6(q *query6, resp *dhcpv6.Message, err error) {
	seen := Sighting{
		MAC: q.mac.String(), IP: addressText(q.peer()), NodeUUID: q.machine.NodeUUID,
		Protocol: ProtocolDHCPv6, Request: q.Type().String(),
	}
	if kind := q.kind(); kind != "" {
		seen.Request += " by " + kind
	}
	if n := len(q.relays); n > 0 {
		seen.Request += " through the relay agent " + q.from.Addr().String()
	}
	if resp != nil {
		seen.Answer = resp.Type().String()
		for _, ia := range resp.Options.IANA() {
			for _, a := range ia.Options.Addresses() {
				seen.IP = a.IPv6Addr.String()
				seen.Answer += ", address " + seen.IP
			}
			if status := ia.Options.Status(); status != nil {
				seen.Answer += ": " + status.StatusMessage
			}
		}
		if file := resp.Options.BootFileURL(); file != "" {
			seen.Answer += ", boot file " + file
		}
	}
	if err != nil {
		seen.Reason = err.Error()
	}
	d.sight(seen)
}

func (d *dhcp) decide6(ctx context.Context, q *query6) (*dhcpv6.Message, error) {
	if len(q.macs) == 0 {
		return nil, unanswered("its MAC address cannot be told: it is neither in its identifier, nor in its link-local address %v, nor given by a relay agent (RFC 6939)", q.peer())
	}
	unknown, err := d.identify6(ctx, q)
	if err != nil {
		return nil, err
	}
	if q.machine.Action == Ignore && q.netboot() && !unknown {
		return nil, unanswered("its port is not to boot from the network (pxe_enabled is false)")
	}
	if q.subnet, err = d.locate6(q); err != nil {
		return nil, err
	}
	if err := d.mine6(q); err != nil {
		return nil, err
	}
	return d.serve6(ctx, q)
}

// identify6 finds the machine by the MAC addresses that may be its own.
func (d *dhcp) identify6(ctx context.Context, q *query6) (unknown bool, err error) {
	for _, mac := range q.macs {
		c := q.client
		c.mac = mac
		var m Machine
		m, unknown, err = d.lookUp(ctx, c, q.now)
		if !unknown {
			q.client, q.machine = c, m
			return false, err
		}
	}
	q.machine = Machine{Action: Ignore}
	return unknown, err
}

// mine6 tells whether a message is for us by what it says about servers (RFC 8415, section 16).
func (d *dhcp) mine6(q *query6) error {
	id := q.Options.ServerID()
	switch q.Type() {
	case dhcpv6.MessageTypeSolicit, dhcpv6.MessageTypeConfirm, dhcpv6.MessageTypeRebind:
		if q.id == nil {
			return unanswered("a %v without an identifier of the client", q.Type())
		}
		if id != nil {
			return unanswered("a %v that names a server", q.Type())
		}
	case dhcpv6.MessageTypeRequest, dhcpv6.MessageTypeRenew, dhcpv6.MessageTypeDecline, dhcpv6.MessageTypeRelease:
		if q.id == nil {
			return unanswered("a %v without an identifier of the client", q.Type())
		}
		if id == nil || !id.Equal(d.duid) {
			return unanswered("it took the offer of another server")
		}
	case dhcpv6.MessageTypeInformationRequest:
		if id != nil && !id.Equal(d.duid) {
			return unanswered("it asks another server")
		}
	default:
		return unanswered("a %v is nothing that a server answers", q.Type())
	}
	return nil
}

// locate6 finds the subnet of a client: by the address that the relay agent beside
// it has there, else by the interface that the packet came to.
func (s *settings) locate6(q *query6) (*subnet, error) {
	for i := len(q.relays) - 1; i >= 0; i-- {
		link := toAddr(q.relays[i].LinkAddr)
		if !link.IsValid() || link.IsUnspecified() || link.IsLinkLocalUnicast() {
			continue // a layer 2 relay agent; the next one knows more
		}
		if n := s.best6(func(n *subnet) bool { return n.prefix6.Contains(link) }); n != nil {
			return n, nil
		}
		return nil, unanswered("it is in the network of %v, and no range of [netboot]range6_begin or subnets is in that network", link)
	}
	if n := s.best6(func(n *subnet) bool { return n.iface == q.iface && n.direct6 }); n != nil {
		return n, nil
	}
	return nil, unanswered("nothing is configured for the IPv6 clients of interface %s", q.iface)
}

// best6 is the first of the subnets that fit and give addresses, else of those that
// fit, of several networks that of the smallest; nil: none.
func (s *settings) best6(fits func(*subnet) bool) (best *subnet) {
	for _, n := range s.subnets {
		gives := n.leases6 != nil
		if fits(n) && (best == nil || gives && best.leases6 == nil || gives == (best.leases6 != nil) && n.prefix6.Bits() > best.prefix6.Bits()) {
			best = n
		}
	}
	return best
}

// ranges6 lists the leases of the client's network, which may have several ranges:
// those first in which who has an address, or wants one that is free.
func (s *settings) ranges6(q *query6, who holder, want netip.Addr) []*leases {
	list := []*leases{q.subnet.leases6}
	for _, n := range s.subnets {
		if n != q.subnet && n.leases6 != nil && n.prefix6 == q.subnet.prefix6 {
			list = append(list, n.leases6)
		}
	}
	slices.SortStableFunc(list, func(a, b *leases) int { return cmp.Compare(b.claim(who, want, q.now), a.claim(who, want, q.now)) })
	return list
}

// holding6 is that of the ranges of the client's network that has addr, else its own.
func (s *settings) holding6(q *query6, who holder, addr netip.Addr) *leases {
	list := s.ranges6(q, who, addr)
	if i := slices.IndexFunc(list, func(l *leases) bool { return l.has(addr) }); i >= 0 {
		return list[i]
	}
	return q.subnet.leases6
}

func (d *dhcp) serve6(ctx context.Context, q *query6) (*dhcpv6.Message, error) {
	t := q.Type()
	if q.subnet.leases6 == nil && t != dhcpv6.MessageTypeInformationRequest && t != dhcpv6.MessageTypeConfirm {
		return nil, unanswered("a %v asks for an address, which are not given here: [netboot]dhcpv6 = %s", t, d.DHCPv6)
	}
	resp := d.reply6(q)
	var err error
	switch t {
	case dhcpv6.MessageTypeSolicit:
		commit := q.GetOneOption(dhcpv6.OptionRapidCommit) != nil
		if commit {
			resp.AddOption(&dhcpv6.OptionGeneric{OptionCode: dhcpv6.OptionRapidCommit})
		} else {
			resp.MessageType = dhcpv6.MessageTypeAdvertise
			// Nobody else answers this machine's firmware: it need not wait for more.
			resp.AddOption(dhcpv6.OptPreference(255))
		}
		err = d.assign6(ctx, q, resp, commit)
	case dhcpv6.MessageTypeRequest, dhcpv6.MessageTypeRenew, dhcpv6.MessageTypeRebind:
		err = d.assign6(ctx, q, resp, true)
	case dhcpv6.MessageTypeConfirm:
		return d.confirm6(q, resp)
	case dhcpv6.MessageTypeRelease, dhcpv6.MessageTypeDecline:
		return d.giveBack6(ctx, q, resp)
	}
	if err != nil {
		return nil, err
	}
	if err := d.addBoot6(q, resp); err != nil {
		return nil, err
	}
	if resp.Type() == dhcpv6.MessageTypeReply {
		d.reportAck6(q, resp)
	}
	return resp, nil
}

// assign6 gives every association an address, and with commit makes that a lease.
func (d *dhcp) assign6(ctx context.Context, q *query6, resp *dhcpv6.Message, commit bool) error {
	var failed error
	given := 0
	for i, ia := range q.Options.IANA() {
		answer := &dhcpv6.OptIANA{IaId: ia.IaId, T1: d.LeaseTime / 2, T2: d.LeaseTime * 4 / 5}
		resp.AddOption(answer)
		if i >= maxAssociations {
			status6(answer, iana.StatusNoAddrsAvail, "more associations than are served")
			continue
		}
		addr, err := d.address6(ctx, q, ia, commit)
		switch {
		case errors.Is(err, errNoBinding):
			status6(answer, iana.StatusNoBinding, err.Error())
		case errors.Is(err, ErrRangeExhausted):
			failed = fmt.Errorf("offer an address to %v: %w", q.mac, err)
			status6(answer, iana.StatusNoAddrsAvail, err.Error())
		case err != nil:
			return err
		default:
			given++
			answer.Options.Add(&dhcpv6.OptIAAddress{IPv6Addr: toIP(addr), PreferredLifetime: d.LeaseTime, ValidLifetime: d.LeaseTime})
			for _, old := range ia.Options.Addresses() { // tell it to give up what it may not keep
				if a := toAddr(old.IPv6Addr); a != addr && q.Type() != dhcpv6.MessageTypeSolicit && q.Type() != dhcpv6.MessageTypeRequest {
					answer.Options.Add(&dhcpv6.OptIAAddress{IPv6Addr: old.IPv6Addr})
				}
			}
		}
	}
	d.refuseOthers6(q, resp)
	if given == 0 && failed != nil {
		d.emit(EventError, q.machine.NodeUUID, q.mac.String(), failed.Error())
	}
	return nil
}

var errNoBinding = errors.New("no address is leased under this identifier")

// address6 is the address of one association.
func (d *dhcp) address6(ctx context.Context, q *query6, ia *dhcpv6.OptIANA, commit bool) (netip.Addr, error) {
	who := q.holder6(ia.IaId)
	var want netip.Addr
	if a := ia.Options.OneAddress(); a != nil {
		want = toAddr(a.IPv6Addr)
	}
	renew := q.Type() == dhcpv6.MessageTypeRenew || q.Type() == dhcpv6.MessageTypeRebind
	addr := want
	if !renew || !want.IsValid() {
		if renew {
			return netip.Addr{}, errNoBinding
		}
		var err error
		for _, l := range d.ranges6(q, who, want) {
			if addr, err = l.offer(who, want, q.now); err == nil {
				break
			}
		}
		if err != nil || !commit {
			return addr, err
		}
	}
	ok, err := d.holding6(q, who, addr).commit(ctx, who, addr, q.now, q.now.Add(d.LeaseTime))
	if !ok {
		return netip.Addr{}, errNoBinding
	}
	if err != nil {
		// The lease stands in memory; to refuse it now would only stop the machine.
		d.emit(EventError, q.machine.NodeUUID, q.mac.String(), err.Error())
	}
	return addr, nil
}

// confirm6 tells a client that has moved whether its addresses fit the network.
func (d *dhcp) confirm6(q *query6, resp *dhcpv6.Message) (*dhcpv6.Message, error) {
	if !q.subnet.prefix6.IsValid() {
		return nil, unanswered("the prefix of its network is not known")
	}
	status, seen := &dhcpv6.OptStatusCode{StatusCode: iana.StatusSuccess, StatusMessage: "the addresses fit this network"}, 0
	for _, ia := range q.Options.IANA() {
		for _, a := range ia.Options.Addresses() {
			seen++
			if !q.subnet.prefix6.Contains(toAddr(a.IPv6Addr)) {
				status = &dhcpv6.OptStatusCode{StatusCode: iana.StatusNotOnLink, StatusMessage: fmt.Sprintf("%v is not of %v", a.IPv6Addr, q.subnet.prefix6)}
			}
		}
	}
	if seen == 0 {
		return nil, unanswered("it confirms no address") // RFC 8415, section 18.3.3
	}
	resp.AddOption(status)
	return resp, nil
}

// giveBack6 ends leases, for good or because the address is in use by another.
func (d *dhcp) giveBack6(ctx context.Context, q *query6, resp *dhcpv6.Message) (*dhcpv6.Message, error) {
	for _, ia := range q.Options.IANA() {
		all := true
		for _, a := range ia.Options.Addresses() {
			addr, who := toAddr(a.IPv6Addr), q.holder6(ia.IaId)
			l := d.holding6(q, who, addr)
			var mine bool
			var err error
			if q.Type() == dhcpv6.MessageTypeDecline {
				mine, err = l.decline(ctx, who, addr, q.now)
				if mine {
					d.emit(EventDeclined, q.machine.NodeUUID, q.mac.String(), fmt.Sprintf(
						"%v declined the address %v: another host on the network uses it", q.mac, addr))
				}
			} else {
				mine, err = l.release(ctx, who, addr, q.now)
			}
			if err != nil {
				d.emit(EventError, q.machine.NodeUUID, q.mac.String(), err.Error())
			}
			all = all && mine
		}
		if !all {
			answer := &dhcpv6.OptIANA{IaId: ia.IaId}
			status6(answer, iana.StatusNoBinding, errNoBinding.Error())
			resp.AddOption(answer)
		}
	}
	resp.AddOption(&dhcpv6.OptStatusCode{StatusCode: iana.StatusSuccess, StatusMessage: "noted"})
	return resp, nil
}

// reportAck6 tells about a transaction once.
func (d *dhcp) reportAck6(q *query6, resp *dhcpv6.Message) {
	key := q.mac.String() + "/6/" + q.TransactionID.String()
	if !d.acked.add(key, time.Now()) {
		return
	}
	address := "none"
	if ia := resp.Options.OneIANA(); ia != nil {
		if a := ia.Options.OneAddress(); a != nil {
			address = a.IPv6Addr.String()
		}
	}
	d.emit(EventDHCP, q.machine.NodeUUID, q.mac.String(), fmt.Sprintf("address %s, boot file %q", address, resp.Options.BootFileURL()))
}
