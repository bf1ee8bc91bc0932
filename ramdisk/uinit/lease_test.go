package main

import (
	"net"
	"os"
	"runtime"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// tapInNamespace makes an Ethernet device in a network namespace of this test's thread,
// which ends with the test.
func tapInNamespace(t *testing.T) netlink.Link {
	t.Helper()
	if os.Geteuid() != 0 {
		if os.Getenv("CI") == "true" {
			t.Fatal("a network namespace needs root")
		}
		t.Skip("a network namespace needs root")
	}
	runtime.LockOSThread() // never unlocked: the thread ends with the test's goroutine
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		t.Fatal(err)
	}
	tap := &netlink.Tuntap{LinkAttrs: netlink.LinkAttrs{Name: "nic0"}, Mode: netlink.TUNTAP_MODE_TAP}
	if err := netlink.LinkAdd(tap); err != nil {
		t.Fatal(err)
	}
	link, err := netlink.LinkByName("nic0")
	if err != nil {
		t.Fatal(err)
	}
	if err := netlink.LinkSetUp(link); err != nil {
		t.Fatal(err)
	}
	return link
}

// TestApplyWithoutOptionalParts applies a lease of which only the address and one route
// are good: an MTU that the device refuses, and routers that no host can be.
func TestApplyWithoutOptionalParts(t *testing.T) {
	link := tapInNamespace(t)
	everything := &net.IPNet{IP: net.IPv4zero, Mask: net.CIDRMask(0, 32)}
	l := lease{
		addr:    net.IPNet{IP: net.IP{10, 1, 2, 3}, Mask: net.CIDRMask(24, 32)},
		mtu:     65535,
		gateway: net.IP{224, 0, 0, 1},
		expire:  time.Hour,
		routes: []*dhcpv4.Route{
			{Dest: &net.IPNet{IP: net.IP{10, 9, 0, 0}, Mask: net.CIDRMask(16, 32)}, Router: net.IP{224, 0, 0, 1}},
			{Dest: everything, Router: net.IP{10, 1, 2, 1}},
		},
	}
	var warnings []error
	if err := l.apply(link, 100, func(err error) { warnings = append(warnings, err) }); err != nil {
		t.Fatalf("the lease was refused: %v", err)
	}
	if len(warnings) != 3 {
		t.Errorf("warnings %v, want one each of MTU, router and route", warnings)
	}
	addrs, err := netlink.AddrList(link, netlink.FAMILY_V4)
	if err != nil {
		t.Fatal(err)
	}
	if len(addrs) != 1 || addrs[0].IPNet.String() != "10.1.2.3/24" {
		t.Errorf("addresses %v, want 10.1.2.3/24", addrs)
	}
	routes, err := netlink.RouteListFiltered(netlink.FAMILY_V4, &netlink.Route{Gw: net.IP{10, 1, 2, 1}}, netlink.RT_FILTER_GW)
	if err != nil {
		t.Fatal(err)
	}
	if len(routes) != 1 {
		t.Errorf("routes by the good router: %v, want one", routes)
	}
}
