package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

const (
	// networkPatience is how long the agent waits for a network. Without one it starts
	// all the same, and goes on looking for its conductor.
	networkPatience = 60 * time.Second
	// bootifPatience is how long a lease of another NIC is held back for the boot NIC's.
	bootifPatience = 10 * time.Second
	// ipv6Patience is after which time a network with router advertisements only will do.
	ipv6Patience = 10 * time.Second
)

// network configures every NIC by DHCPv4, in parallel, and leaves IPv6 to the kernel.
type network struct {
	out    *console
	bootif net.HardwareAddr // nil if not known
	up     chan struct{}    // closed when the agent can start
	once   sync.Once
	again  bell // rings when the links may have moved to another network

	mu     sync.Mutex
	leases []binding // the boot NIC's first, then in order of arrival
}

// binding is a lease in use on a link.
type binding struct {
	link  string
	lease lease
}

// startNetwork begins to configure all links, now and as they appear, until ctx ends.
func startNetwork(ctx context.Context, bootif net.HardwareAddr, out *console) *network {
	n := &network{out: out, bootif: bootif, up: make(chan struct{})}
	if err := upLoopback(); err != nil {
		out.printf("uinit: %v", err)
	}
	l := &links{
		subscribe: netlink.LinkSubscribeWithOptions,
		isNIC:     isNIC,
		raise:     netlink.LinkSetUp,
		configure: func(link netlink.Link) { n.configure(ctx, link) },
		returned:  n.again.ring,
		warn:      func(err error) { out.printf("uinit: %v", err) },
		pause:     linkPause,
	}
	go l.watch(ctx)
	return n
}

func upLoopback() error {
	lo, err := netlink.LinkByName("lo")
	if err == nil {
		err = netlink.LinkSetUp(lo)
	}
	if err != nil {
		return fmt.Errorf("set up loopback: %w", err)
	}
	return nil
}

// configure keeps one link's lease for as long as the machine runs.
func (n *network) configure(ctx context.Context, link netlink.Link) {
	name := link.Attrs().Name
	preferred := n.bootif == nil || n.isBootNIC(link)
	last, said := "", ""
	follow(ctx, askOver(link), &n.again, func(l lease) {
		warn := func(err error) { n.out.printf("uinit: %v", err) }
		if err := l.apply(link, n.metric(link), warn); err != nil {
			warn(err)
			return
		}
		n.bind(binding{name, l}, preferred)
		said = ""
		if l.addr.String() != last {
			last = l.addr.String()
			n.out.printf("uinit: network up %s %s", name, last)
		}
		if preferred {
			n.markUp()
		} else {
			time.AfterFunc(bootifPatience, n.markUp)
		}
	}, func(err error) {
		// The same again and again is said once: after a lockdown it is for good.
		if text := err.Error(); text != said {
			said = text
			n.out.printf("uinit: DHCP on %s: %v", name, err)
		}
	})
}

// isBootNIC: a VLAN has the address of the NIC that it is on.
func (n *network) isBootNIC(link netlink.Link) bool {
	return bytes.Equal(link.Attrs().HardwareAddr, n.bootif) && !isVLAN(link)
}

// metric makes the boot NIC's routes win over all others, and those have an order.
func (n *network) metric(link netlink.Link) int {
	if n.isBootNIC(link) {
		return 100
	}
	return 200 + link.Attrs().Index
}

func (n *network) markUp() { n.once.Do(func() { close(n.up) }) }

// bind notes a lease, and writes name servers and host name anew.
func (n *network) bind(b binding, preferred bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.leases = slices.DeleteFunc(n.leases, func(o binding) bool { return o.link == b.link })
	if preferred {
		n.leases = slices.Insert(n.leases, 0, b)
	} else {
		n.leases = append(n.leases, b)
	}
	if err := os.WriteFile("/etc/resolv.conf", resolvConf(n.leases), 0o644); err != nil {
		n.out.printf("uinit: write name servers: %v", err)
	}
	name := n.leases[0].lease.hostname
	if name == "" {
		return
	}
	if err := unix.Sethostname([]byte(name)); err != nil {
		n.out.printf("uinit: set host name %s: %v", name, err)
	}
}

// resolvConf names the servers of all leases; the resolver uses the first three.
func resolvConf(leases []binding) []byte {
	var text strings.Builder
	for _, b := range leases {
		if b.lease.domain != "" {
			fmt.Fprintf(&text, "search %s\n", b.lease.domain)
			break
		}
	}
	for _, b := range leases {
		for _, ip := range b.lease.dns {
			fmt.Fprintf(&text, "nameserver %s\n", ip)
		}
	}
	return []byte(text.String())
}

// wait returns when the network is good enough for the agent, or patience is at its end.
func (n *network) wait(ctx context.Context, patience time.Duration) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	began := time.Now()
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-n.up:
			return
		case <-ctx.Done():
			n.out.printf("uinit: no network after %v", patience)
			return
		case <-tick.C:
		}
		if time.Since(began) < ipv6Patience {
			continue
		}
		if name, addr, err := globalIPv6(); err == nil {
			n.out.printf("uinit: network up %s %s", name, addr)
			return
		}
	}
}

var errNoIPv6 = errors.New("no usable IPv6 address")

// globalIPv6 finds an address that the kernel made from a router advertisement.
func globalIPv6() (link, addr string, err error) {
	addrs, err := netlink.AddrList(nil, netlink.FAMILY_V6)
	if err != nil {
		return "", "", err
	}
	for _, a := range addrs {
		if a.Scope != unix.RT_SCOPE_UNIVERSE || a.Flags&unix.IFA_F_TENTATIVE != 0 || a.IP.IsLoopback() {
			continue
		}
		l, err := netlink.LinkByIndex(a.LinkIndex)
		if err != nil {
			return "", "", err
		}
		return l.Attrs().Name, a.IPNet.String(), nil
	}
	return "", "", errNoIPv6
}
