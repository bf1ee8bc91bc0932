package netboot

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"
	"testing"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/insomniacslk/dhcp/dhcpv6"
)

// twoRanges has two ranges of one network, each of one address, directly and behind a relay agent.
func twoRanges() *settings {
	set := manySubnets(DHCPFull)
	set.end = set.begin
	far := set.subnets[3]
	far.end = far.begin
	for _, n := range []*subnet{set.subnet, far} {
		second := *n
		second.name += "2"
		second.begin = second.begin.Next().Next()
		second.end = second.begin
		set.subnets = append(set.subnets, &second)
	}
	return set
}

// TestTwoRangesOfOneNetwork: when the first has no address left, the second gives
// them, directly and through a relay agent, and they are renewed.
func TestTwoRangesOfOneNetwork(t *testing.T) {
	for name, relay := range map[string][]dhcpv4.Modifier{"direct": nil, "relayed": {relayed("198.51.100.1")}} {
		t.Run(name, func(t *testing.T) {
			dir := mapDirectory{}
			set := twoRanges()
			set.subnets = slices.DeleteFunc(set.subnets, func(n *subnet) bool { return n.name == "wire" })
			b := newBenchOf(t, set, dir)
			seen := map[string]bool{}
			for i := range byte(2) {
				mac := net.HardwareAddr{2, 0, 0, 0, 8, i}
				dir[mac.String()] = Machine{NodeUUID: bootUUID, Action: LocalDisk}
				mods := append(slices.Clone(relay), dhcpv4.WithHwAddr(mac))
				offer := b.ask(portDHCP, dhcpv4.MessageTypeDiscover, mods...)
				if offer == nil {
					t.Fatalf("client %d was not answered: %s", i, b.reason())
				}
				addr := offer.YourIPAddr.String()
				if ack := b.ask(portDHCP, dhcpv4.MessageTypeRequest, append(mods, wants(addr))...); ack == nil || ack.MessageType() != dhcpv4.MessageTypeAck {
					t.Errorf("the request for %s was answered with %v", addr, ack)
				}
				if ack := b.ask(portDHCP, dhcpv4.MessageTypeRequest, dhcpv4.WithHwAddr(mac), dhcpv4.WithClientIP(net.ParseIP(addr))); ack == nil || ack.MessageType() != dhcpv4.MessageTypeAck {
					t.Errorf("the renewal of %s was answered with %v", addr, ack)
				}
				seen[addr] = true
			}
			if len(seen) != 2 {
				t.Errorf("addresses %v; want two", seen)
			}
		})
	}
}

// TestSecondNetworkOfAWire: a machine that has, or wants, an address of it keeps
// that although the first network has some, and can decline and release it.
func TestSecondNetworkOfAWire(t *testing.T) {
	b := newBenchOf(t, manySubnets(DHCPFull), ramdiskPort())
	const addr = "203.0.113.55"
	for range 2 {
		if offer := b.ask(portDHCP, dhcpv4.MessageTypeDiscover, append(slices.Clone(linux), wants(addr))...); offer == nil || offer.YourIPAddr.String() != addr {
			t.Fatalf("offered %v; want %s", offer, addr)
		}
		if ack := b.ask(portDHCP, dhcpv4.MessageTypeRequest, append(slices.Clone(linux), wants(addr))...); ack == nil || ack.MessageType() != dhcpv4.MessageTypeAck {
			t.Fatalf("the request was answered with %v", ack)
		}
		if again := b.ask(portDHCP, dhcpv4.MessageTypeDiscover, linux...); again.YourIPAddr.String() != addr {
			t.Errorf("offered %v again; want %s", again.YourIPAddr, addr)
		}
		b.ask(portDHCP, dhcpv4.MessageTypeRelease, append(slices.Clone(linux), dhcpv4.WithClientIP(net.ParseIP(addr)))...)
		if b.reason() != "" {
			t.Errorf("a release was refused: %s", b.reason())
		}
	}
	b.ask(portDHCP, dhcpv4.MessageTypeDecline, append(slices.Clone(linux), wants(addr))...)
	if !b.events.has(EventDeclined) {
		t.Errorf("a decline was refused: %s", b.reason())
	}
}

// TestSmallestNetwork: of two networks that contain a relay agent, it is in the smaller.
func TestSmallestNetwork(t *testing.T) {
	set := manySubnets(DHCPFull)
	small := *set.subnets[2]
	small.name, small.direct, small.prefix = "small", false, netip.MustParsePrefix("10.1.200.0/24")
	small.begin, small.end = netip.MustParseAddr("10.1.200.10"), netip.MustParseAddr("10.1.200.20")
	set.subnets = append(set.subnets, &small)
	b := newBenchOf(t, set, ramdiskPort())
	if offer := b.ask(portDHCP, dhcpv4.MessageTypeDiscover, relayed("10.1.200.1")); offer == nil || !small.prefix.Contains(toAddr(offer.YourIPAddr)) {
		t.Errorf("offered %v; want an address of %v", offer, small.prefix)
	}
}

// TestDeclineStorm: a machine that finds every address in use leaves the others theirs.
func TestDeclineStorm(t *testing.T) {
	dir := ramdiskPort()
	other := net.HardwareAddr{2, 0, 0, 0, 0, 9}
	dir[other.String()] = Machine{NodeUUID: bootUUID, Action: LocalDisk}
	b := newBench(t, DHCPFull, dir)
	discover := func(mac net.HardwareAddr) *dhcpv4.DHCPv4 {
		req, _ := dhcpv4.New(dhcpv4.WithHwAddr(mac), dhcpv4.WithMessageType(dhcpv4.MessageTypeDiscover))
		resp, err := b.answer(context.Background(), req, b.at(portDHCP))
		if err != nil && !errors.Is(err, ErrRangeExhausted) {
			t.Fatal(err)
		}
		return resp
	}
	size := 0
	for offer := discover(testMAC); offer != nil; offer = discover(testMAC) {
		b.ask(portDHCP, dhcpv4.MessageTypeDecline, wants(offer.YourIPAddr.String()))
		if size++; size > 10 {
			t.Fatal("it is offered what it declined")
		}
	}
	offer := discover(other)
	if offer == nil {
		t.Fatal("no address is left for another machine")
	}
	if ack := b.ask(portDHCP, dhcpv4.MessageTypeRequest, dhcpv4.WithHwAddr(other), wants(offer.YourIPAddr.String())); ack == nil || ack.MessageType() != dhcpv4.MessageTypeAck {
		t.Errorf("its request was answered with %v", ack)
	}
	b.now = b.now.Add(declineHold)
	if discover(testMAC) == nil {
		t.Error("after a while the machine is not offered anything")
	}
}

// TestStatelessRelay: a stateless server knows the networks behind relay agents by their ranges.
func TestStatelessRelay(t *testing.T) {
	cfg := DefaultConfig()
	cfg.DHCPv6, cfg.Interface = DHCPStateless, "lo"
	cfg.Subnets = []string{"far range6=2001:db8:9::1-2001:db8:9::ff http_url6=http://far.example.org"}
	spec, err := parseSubnet(cfg.Subnets[0])
	if err != nil {
		t.Fatal(err)
	}
	far := &subnet{name: spec.name, iface: "eth0"}
	if err := (&settings{Config: cfg}).resolveClients(far, spec); err != nil {
		t.Fatal(err)
	}
	far.server6, far.httpURL6 = netip.MustParseAddr("2001:db8::1"), spec.httpURL6
	b := newBench6(t, DHCPStateless, ramdiskPort())
	b.subnets = append(b.subnets[:1], far)
	relay, err := dhcpv6.EncapsulateRelay(message6(dhcpv6.MessageTypeInformationRequest, http6), dhcpv6.MessageTypeRelayForward,
		net.ParseIP("2001:db8:9::1"), net.ParseIP("fe80::5054:ff:fe77:1"))
	if err != nil {
		t.Fatal(err)
	}
	resp := b.ask(relay)
	if resp == nil {
		t.Fatalf("not answered: %s", b.reason())
	}
	inner, err := resp.(*dhcpv6.RelayMessage).GetInnerMessage()
	if err != nil || inner.Options.BootFileURL() != "http://far.example.org/snponly.efi" {
		t.Errorf("answered with %v, %v; want far's URL", inner, err)
	}
}

// TestSubnetOfGRUB: GRUB is sent to the path that its own network's URL has.
func TestSubnetOfGRUB(t *testing.T) {
	set := manySubnets(DHCPFull)
	set.subnets[3].httpURL = "http://198.51.100.9/boot"
	for peer, want := range map[string]string{"192.0.2.7": "", "198.51.100.22": "/boot"} {
		if got := set.base(question{protocol: ProtocolHTTP, peer: netip.MustParseAddr(peer)}); got != want {
			t.Errorf("paths for %s begin with %q; want %q", peer, got, want)
		}
	}
}

// TestTwoIPv6RangesOfOneNetwork: when the first has no address left, the second gives
// them, and they are renewed and released; a network of IPv4 alone is not in the way.
func TestTwoIPv6RangesOfOneNetwork(t *testing.T) {
	b := newBench6(t, DHCPFull, ramdiskPort())
	first := b.subnets[0]
	four, second := *first, *first
	four.leases6, second.name = nil, "second"
	first.leases6 = newLeases(first.begin6, first.begin6, nil)
	second.leases6 = newLeases(first.begin6.Next(), first.begin6.Next(), nil)
	b.subnets = []*subnet{&four, first, &second}
	seen := map[string]bool{}
	for i := range byte(2) {
		got := b.reply(dhcpv6.MessageTypeAdvertise, message6(dhcpv6.MessageTypeSolicit, linux6, []mod6{ia(i, "")}))
		addr := addressOf(got)
		server := opt6(dhcpv6.OptServerID(ourDUID))
		for _, kind := range []dhcpv6.MessageType{dhcpv6.MessageTypeRequest, dhcpv6.MessageTypeRenew} {
			if again := addressOf(b.reply(dhcpv6.MessageTypeReply, message6(kind, linux6, []mod6{ia(i, addr), server}))); again != addr {
				t.Errorf("a %v for %q was answered with %q", kind, addr, again)
			}
		}
		seen[addr] = true
	}
	if len(seen) != 2 || seen[""] {
		t.Errorf("addresses %v; want two", seen)
	}
	second6 := first.begin6.Next().String()
	released := b.reply(dhcpv6.MessageTypeReply, message6(dhcpv6.MessageTypeRelease, linux6, []mod6{ia(1, second6), opt6(dhcpv6.OptServerID(ourDUID))}))
	if released.Options.OneIANA() != nil {
		t.Errorf("the release of %s was answered with %v", second6, released)
	}
}
