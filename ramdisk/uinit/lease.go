package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"regexp"
	"sync"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/insomniacslk/dhcp/dhcpv4/nclient4"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

const (
	// A message is repeated after 1, 2 and 4 s, and given up after 8 s more (RFC 2131 4.1
	// asks for 4 s at first, made for slower networks); then all begins again.
	firstTry = time.Second
	tries    = 4
	// renewPause is the least time between attempts to renew (RFC 2131 4.4.5).
	renewPause = time.Minute
	// shortestLease keeps a server that grants nearly nothing from causing a storm.
	shortestLease = 30 * time.Second
	forever       = 0xffffffff * time.Second // RFC 2131 3.3
)

// lease is what ferric uses of a DHCP acknowledgement.
type lease struct {
	addr     net.IPNet
	gateway  net.IP // nil without one
	routes   []*dhcpv4.Route
	dns      []net.IP
	domain   string
	hostname string
	mtu      int // 0: leave as it is
	renew    time.Duration
	expire   time.Duration
}

var errLease = errors.New("unusable DHCP lease")

// DHCP answers are as trustworthy as the network: names go into files and system calls
// only if they look like names.
var nameForm = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9.-]{0,62}[A-Za-z0-9])?$`)

// newLease reads an acknowledgement.
func newLease(ack *dhcpv4.DHCPv4) (lease, error) {
	ip := ack.YourIPAddr.To4()
	if ip == nil || !ip.IsGlobalUnicast() {
		return lease{}, fmt.Errorf("%w: address %v", errLease, ack.YourIPAddr)
	}
	mask := ack.SubnetMask()
	if ones, bits := mask.Size(); ones == 0 && bits == 0 || ones == 0 {
		mask = ip.DefaultMask()
	}
	l := lease{
		addr:   net.IPNet{IP: ip, Mask: mask},
		routes: ack.ClasslessStaticRoute(),
		dns:    ack.DNS(),
		expire: max(ack.IPAddressLeaseTime(time.Hour), shortestLease),
	}
	l.renew = ack.IPAddressRenewalTime(l.expire / 2)
	if l.renew <= 0 || l.renew >= l.expire {
		l.renew = l.expire / 2
	}
	if routers := ack.Router(); len(routers) > 0 && len(l.routes) == 0 { // RFC 3442: option 121 excludes option 3
		l.gateway = routers[0]
	}
	if name := ack.HostName(); nameForm.MatchString(name) {
		l.hostname = name
	}
	if name := ack.DomainName(); nameForm.MatchString(name) {
		l.domain = name
	}
	if mtu, err := dhcpv4.GetUint16(dhcpv4.OptionInterfaceMTU, ack.Options); err == nil && mtu >= 576 {
		l.mtu = int(mtu)
	}
	return l, nil
}

// apply gives the lease's address and routes to a link. Only the address is essential:
// what else of the lease does not fit the link, such as an MTU beyond the NIC's, is told
// to warn and left out. The kernel removes the address when the lease has run out and was
// not renewed.
func (l lease) apply(link netlink.Link, metric int, warn func(error)) error {
	name := link.Attrs().Name
	if l.mtu != 0 {
		if err := netlink.LinkSetMTU(link, l.mtu); err != nil {
			warn(fmt.Errorf("set MTU %d of %s: %w", l.mtu, name, err))
		}
	}
	addr := &netlink.Addr{IPNet: &l.addr}
	if l.expire < forever {
		addr.ValidLft = int(l.expire / time.Second)
		addr.PreferedLft = addr.ValidLft
	}
	if err := dropOthers(link, l.addr.IP); err != nil {
		warn(err)
	}
	if err := netlink.AddrReplace(link, addr); err != nil {
		return fmt.Errorf("set address %s of %s: %w", &l.addr, name, err)
	}
	if l.gateway != nil {
		if err := addRoute(link, nil, l.gateway, metric); err != nil {
			warn(err)
		}
	}
	for _, r := range l.routes {
		if err := addRoute(link, r.Dest, r.Router, metric); err != nil {
			warn(err)
		}
	}
	return nil
}

// dropOthers removes what an earlier lease left on the link.
func dropOthers(link netlink.Link, keep net.IP) error {
	addrs, err := netlink.AddrList(link, netlink.FAMILY_V4)
	if err != nil {
		return fmt.Errorf("list addresses of %s: %w", link.Attrs().Name, err)
	}
	for _, a := range addrs {
		if a.IP.Equal(keep) {
			continue
		}
		if err := netlink.AddrDel(link, &a); err != nil {
			return fmt.Errorf("remove address %s of %s: %w", a.IPNet, link.Attrs().Name, err)
		}
	}
	return nil
}

// addRoute adds a route; a nil destination is the default, a router 0.0.0.0 the link itself.
func addRoute(link netlink.Link, dest *net.IPNet, via net.IP, metric int) error {
	if dest == nil {
		dest = &net.IPNet{IP: net.IPv4zero, Mask: net.CIDRMask(0, 32)}
	}
	r := &netlink.Route{LinkIndex: link.Attrs().Index, Dst: dest, Priority: metric, Protocol: unix.RTPROT_DHCP}
	if via.IsUnspecified() {
		r.Scope = netlink.SCOPE_LINK
	} else {
		r.Gw = via
		r.Flags = int(netlink.FLAG_ONLINK) // a router outside the subnet is common in clouds
	}
	if err := netlink.RouteReplace(r); err != nil {
		return fmt.Errorf("route %s by %s of %s: %w", dest, via, link.Attrs().Name, err)
	}
	return nil
}

// follow acquires a lease by asking for it and renews it until ctx ends; use gets each
// new state of it, failed each failure, after which it goes on. When again rings it
// acquires one anew: until a server has answered, the link keeps what it has.
func follow(ctx context.Context, ask asker, again *bell, use func(lease), failed func(error)) {
	var held *nclient4.Lease
	var expires time.Time
	for ctx.Err() == nil {
		rung := again.next()
		next, err := ask(ctx, held)
		var got lease
		if err == nil {
			got, err = newLease(next.ACK)
		}
		if err == nil {
			held, expires = next, next.CreationTime.Add(got.expire)
			use(got)
			if wait(ctx, rung, got.renew) {
				held = nil
			}
			continue
		}
		failed(err)
		var nak *nclient4.ErrNak
		switch left := time.Until(expires); {
		case held == nil:
			pause(ctx, firstTry)
		case errors.As(err, &nak) || left <= 0:
			held = nil
		default:
			if wait(ctx, rung, min(left, max(left/2, renewPause))) {
				held = nil
			}
		}
	}
}

// ringPause keeps a link that comes and goes from causing a storm of messages.
const ringPause = time.Second

// wait waits for a time, unless ctx ends before or rung closes, which it reports.
func wait(ctx context.Context, rung <-chan struct{}, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-rung:
		pause(ctx, ringPause)
		return true
	case <-t.C:
	case <-ctx.Done():
	}
	return false
}

// bell tells many that something has happened.
type bell struct {
	mu   sync.Mutex
	rung chan struct{}
}

// next closes at the next ring.
func (b *bell) next() <-chan struct{} {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.rung == nil {
		b.rung = make(chan struct{})
	}
	return b.rung
}

func (b *bell) ring() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.rung != nil {
		close(b.rung)
		b.rung = nil
	}
}

// asker renews the lease held, or acquires one if that is nil.
type asker func(ctx context.Context, held *nclient4.Lease) (*nclient4.Lease, error)

// askOver asks over a link.
func askOver(link netlink.Link) asker {
	return func(ctx context.Context, held *nclient4.Lease) (*nclient4.Lease, error) { return ask(ctx, link, held) }
}

func ask(ctx context.Context, link netlink.Link, held *nclient4.Lease) (*nclient4.Lease, error) {
	mac := link.Attrs().HardwareAddr
	client, err := nclient4.New(link.Attrs().Name, nclient4.WithTimeout(firstTry), nclient4.WithRetry(tries))
	if err != nil {
		return nil, fmt.Errorf("open a DHCP client: %w", err)
	}
	defer client.Close()
	mods := []dhcpv4.Modifier{
		// As firmware and iPXE identify themselves, so that the machine keeps its address.
		dhcpv4.WithOption(dhcpv4.OptClientIdentifier(append([]byte{1}, mac...))),
		dhcpv4.WithRequestedOptions(dhcpv4.OptionHostName, dhcpv4.OptionInterfaceMTU,
			dhcpv4.OptionClasslessStaticRoute, dhcpv4.OptionRouter, dhcpv4.OptionSubnetMask,
			dhcpv4.OptionDomainName, dhcpv4.OptionDomainNameServer),
	}
	if held != nil {
		return client.Renew(ctx, held, mods...)
	}
	return client.Request(ctx, mods...)
}
