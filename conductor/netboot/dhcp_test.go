package netboot

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/insomniacslk/dhcp/iana"
)

var (
	testNow  = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	testMAC  = net.HardwareAddr{0x52, 0x54, 0, 0x77, 0, 1}
	testUUID = []byte{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16}
)

// testSettings is what resolve makes on an interface with 192.0.2.1/24.
func testSettings(mode string) *settings {
	cfg := DefaultConfig()
	cfg.DHCP, cfg.Interface = mode, "eth0"
	addr := netip.MustParseAddr
	first := &subnet{
		iface: "eth0", server: addr("192.0.2.1"), direct: true, tftp: addr("192.0.2.1"),
		prefix: netip.MustParsePrefix("192.0.2.0/24"),
		begin:  addr("192.0.2.100"), end: addr("192.0.2.109"),
		router: addr("192.0.2.254"), dns: []netip.Addr{addr("192.0.2.53")},
		httpURL: testBase,
	}
	return &settings{Config: cfg, subnet: first, subnets: []*subnet{first}, interfaces: []string{"eth0"}}
}

// bench is a dhcp with its events.
type bench struct {
	*dhcp
	*testing.T
	events *eventLog
	last   Sighting
	now    time.Time
	iface  string
}

func newBench(t *testing.T, mode string, dir Directory) *bench {
	return newBenchOf(t, testSettings(mode), dir)
}

func newBenchOf(t *testing.T, set *settings, dir Directory) *bench {
	b := &bench{T: t, events: &eventLog{}, now: testNow, iface: "eth0"}
	b.dhcp = newDHCP(set, dir, func(kind, node, mac, detail string) {
		b.events.add(Event{Kind: kind, NodeUUID: node, MAC: mac, Detail: detail})
	}, func(s Sighting) {
		b.last = s
	})
	return b
}

// at is a packet's arrival on the bench's interface.
func (b *bench) at(port int) arrival {
	return arrival{port: port, iface: b.iface, from: netip.MustParseAddrPort("192.0.2.77:68"), now: b.now}
}

// reason is why the last request was not answered.
func (b *bench) reason() string { return b.last.Reason }

// ask sends a packet through its wire form and returns the answer's.
func (b *bench) ask(port int, kind dhcpv4.MessageType, mods ...dhcpv4.Modifier) *dhcpv4.DHCPv4 {
	b.Helper()
	mods = append([]dhcpv4.Modifier{dhcpv4.WithHwAddr(testMAC), dhcpv4.WithTransactionID(dhcpv4.TransactionID{1, 2, 3, 4}),
		dhcpv4.WithMessageType(kind)}, mods...)
	req, err := dhcpv4.New(mods...)
	if err != nil {
		b.Fatal(err)
	}
	req.SetBroadcast()
	parsed, err := dhcpv4.FromBytes(req.ToBytes())
	if err != nil {
		b.Fatal(err)
	}
	resp, err := b.answer(context.Background(), parsed, b.at(port))
	if err != nil && !errors.As(err, new(silence)) {
		b.Fatalf("answer: %v", err)
	}
	if resp == nil {
		return nil
	}
	if resp, err = dhcpv4.FromBytes(resp.ToBytes()); err != nil {
		b.Fatalf("the answer cannot be parsed: %v", err)
	}
	return resp
}

func with(code uint8, value ...byte) dhcpv4.Modifier {
	return dhcpv4.WithGeneric(dhcpv4.GenericOptionCode(code), value)
}

func class(text string) dhcpv4.Modifier {
	return dhcpv4.WithOption(dhcpv4.OptClassIdentifier(text))
}

func wants(ip string) dhcpv4.Modifier {
	return dhcpv4.WithOption(dhcpv4.OptRequestedIPAddress(net.ParseIP(ip)))
}

func from(ip string) dhcpv4.Modifier {
	return dhcpv4.WithOption(dhcpv4.OptServerIdentifier(net.ParseIP(ip)))
}

// Clients, by the options that they were seen to send.
var (
	biosPXE   = []dhcpv4.Modifier{class("PXEClient:Arch:00000:UNDI:002001"), with(93, 0, 0), with(94, 1, 2, 1), with(97, testUUID...)}
	ovmfPXE   = []dhcpv4.Modifier{class("PXEClient:Arch:00007:UNDI:003000"), with(93, 0, 7), with(94, 1, 3, 0), with(97, testUUID...)}
	ovmfHTTP  = []dhcpv4.Modifier{class("HTTPClient:Arch:00016:UNDI:003000"), with(93, 0, 16), with(94, 1, 3, 0), with(97, testUUID...)}
	armPXE    = []dhcpv4.Modifier{class("PXEClient:Arch:00011:UNDI:003000"), with(93, 0, 11), with(97, testUUID...)}
	ipxeROM   = []dhcpv4.Modifier{class("PXEClient:Arch:00000:UNDI:002001"), with(93, 0, 0), with(97, testUUID...), with(77, []byte("iPXE")...), with(175, 177, 5, 1, 0x1a, 0xf4, 0x10, 0)}
	ipxeClass = []dhcpv4.Modifier{class("PXEClient:Arch:00007:UNDI:003010"), with(93, 0, 7), with(97, testUUID...), with(77, 4, 'i', 'P', 'X', 'E')}
	linux     = []dhcpv4.Modifier{with(12, []byte("host")...), with(61, 1, 0x52, 0x54, 0, 0x77, 0, 1)}
)

func ramdiskPort() mapDirectory {
	return mapDirectory{testMAC.String(): {NodeUUID: bootUUID, Action: Ramdisk, Kernel: "/k", Ramdisk: "/r"}}
}

// TestOffers compares whole answers with golden texts.
func TestOffers(t *testing.T) {
	clients := map[string][]dhcpv4.Modifier{"bios_pxe": biosPXE, "ovmf_pxe": ovmfPXE, "ovmf_http": ovmfHTTP,
		"ipxe_rom": ipxeROM, "ipxe_class": ipxeClass, "linux": linux}
	for name, mods := range clients {
		full := newBench(t, DHCPFull, ramdiskPort())
		offer := full.ask(portDHCP, dhcpv4.MessageTypeDiscover, mods...)
		ack := full.ask(portDHCP, dhcpv4.MessageTypeRequest, append(mods, wants(offer.YourIPAddr.String()), from("192.0.2.1"))...)
		golden(t, "full_"+name+".txt", offer.Summary()+"\n"+ack.Summary())
		if name == "linux" {
			continue
		}
		proxy := newBench(t, DHCPProxy, ramdiskPort())
		offer = proxy.ask(portDHCP, dhcpv4.MessageTypeDiscover, mods...)
		ack = proxy.ask(portProxy, dhcpv4.MessageTypeRequest, mods...)
		golden(t, "proxy_"+name+".txt", offer.Summary()+"\n"+ack.Summary())
	}
}

func TestWhoIsNotAnswered(t *testing.T) {
	ignored := mapDirectory{testMAC.String(): {NodeUUID: bootUUID, Action: Ignore}}
	relay := dhcpv4.WithRelay(net.IPv4(198, 51, 100, 1))
	for _, tc := range []struct {
		name string
		why  string
		mode string
		dir  Directory
		port int
		kind dhcpv4.MessageType
		mods []dhcpv4.Modifier
	}{
		{"unknown port", "no port of any node", DHCPFull, mapDirectory{}, portDHCP, dhcpv4.MessageTypeDiscover, biosPXE},
		{"unknown port, system", "no port of any node", DHCPFull, mapDirectory{}, portDHCP, dhcpv4.MessageTypeDiscover, linux},
		{"unknown port, proxy", "no port of any node", DHCPProxy, mapDirectory{}, portDHCP, dhcpv4.MessageTypeDiscover, biosPXE},
		{"ignored port, PXE", "pxe_enabled", DHCPFull, ignored, portDHCP, dhcpv4.MessageTypeDiscover, biosPXE},
		{"ignored port, proxy", "pxe_enabled", DHCPProxy, ignored, portProxy, dhcpv4.MessageTypeRequest, biosPXE},
		{"system, proxy", "no boot firmware", DHCPProxy, ramdiskPort(), portDHCP, dhcpv4.MessageTypeDiscover, linux},
		{"request of an address, proxy", "REQUEST on port 67", DHCPProxy, ramdiskPort(), portDHCP, dhcpv4.MessageTypeRequest, biosPXE},
		{"offer of another server taken", "another server, 192.0.2.7", DHCPFull, ramdiskPort(), portDHCP, dhcpv4.MessageTypeRequest, append(slices.Clone(biosPXE), from("192.0.2.7"), wants("192.0.2.100"))},
		{"relay of another network", "network of 198.51.100.1", DHCPFull, ramdiskPort(), portDHCP, dhcpv4.MessageTypeDiscover, append(slices.Clone(biosPXE), relay)},
		{"an answer", "", DHCPFull, ramdiskPort(), portDHCP, dhcpv4.MessageTypeOffer, []dhcpv4.Modifier{func(d *dhcpv4.DHCPv4) { d.OpCode = dhcpv4.OpcodeBootReply }}},
		{"InfiniBand", "not Ethernet", DHCPFull, ramdiskPort(), portDHCP, dhcpv4.MessageTypeDiscover, []dhcpv4.Modifier{dhcpv4.WithHWType(iana.HWTypeInfiniband)}},
	} {
		b := newBench(t, tc.mode, tc.dir)
		if resp := b.ask(tc.port, tc.kind, tc.mods...); resp != nil {
			t.Errorf("%s: answered with %v", tc.name, resp.Summary())
		}
		if tc.why != "" && !strings.Contains(b.reason(), tc.why) {
			t.Errorf("%s: the reason is %q; want one with %q", tc.name, b.reason(), tc.why)
		}
	}
}

func TestAnswerUnknown(t *testing.T) {
	b := newBench(t, DHCPFull, mapDirectory{})
	b.AnswerUnknown = true
	resp := b.ask(portDHCP, dhcpv4.MessageTypeDiscover, biosPXE...)
	if resp == nil || resp.YourIPAddr.IsUnspecified() || resp.BootFileNameOption() != "" {
		t.Errorf("got %v; want an address and nothing to boot", resp)
	}
}

// A proxy gives no addresses, so there is nothing for strangers.
func TestProxyAnswersNoStranger(t *testing.T) {
	b := newBench(t, DHCPProxy, mapDirectory{})
	b.AnswerUnknown, b.DHCPv6 = true, DHCPFull
	for _, port := range []int{portDHCP, portProxy} {
		for _, kind := range []dhcpv4.MessageType{dhcpv4.MessageTypeDiscover, dhcpv4.MessageTypeRequest, dhcpv4.MessageTypeInform} {
			if resp := b.ask(port, kind, biosPXE...); resp != nil || !strings.Contains(b.reason(), "no port of any node") {
				t.Errorf("%v on port %d: %v, %s", kind, port, resp, b.reason())
			}
		}
	}
}

// A machine that is no node's, which the Directory has something to boot for, is to be discovered.
func TestDiscoveredMachineIsBooted(t *testing.T) {
	for _, mode := range []string{DHCPFull, DHCPProxy} {
		b := newBench(t, mode, mapDirectory{testMAC.String(): {Action: Ramdisk, Kernel: "/k", Ramdisk: "/r"}})
		if resp := b.ask(portDHCP, dhcpv4.MessageTypeDiscover, ipxeROM...); resp == nil || resp.BootFileNameOption() != testBase+"/boot.ipxe" {
			t.Errorf("%s: got %v, %s; want the script", mode, resp, b.reason())
		}
	}
}

func TestIgnoredPortGetsAnAddressOnceItRunsASystem(t *testing.T) {
	b := newBench(t, DHCPFull, mapDirectory{testMAC.String(): {NodeUUID: bootUUID, Action: Ignore}})
	if resp := b.ask(portDHCP, dhcpv4.MessageTypeDiscover, linux...); resp == nil || resp.BootFileNameOption() != "" {
		t.Errorf("got %v; want an address and nothing to boot", resp)
	}
}

func TestNoLoaderForArchitecture(t *testing.T) {
	b := newBench(t, DHCPFull, ramdiskPort())
	req, _ := dhcpv4.New(append([]dhcpv4.Modifier{dhcpv4.WithHwAddr(testMAC), dhcpv4.WithMessageType(dhcpv4.MessageTypeDiscover)}, armPXE...)...)
	_, err := b.answer(context.Background(), req, b.at(portDHCP))
	if err == nil || !strings.Contains(err.Error(), "aarch64-uefi") || !strings.Contains(err.Error(), testMAC.String()) {
		t.Errorf("got error %v; want one that names aarch64-uefi and %v", err, testMAC)
	}
	b.IPXEBootfileNameByArch = map[string]string{"aarch64": "snp-arm64.efi"}
	if got := b.ask(portDHCP, dhcpv4.MessageTypeDiscover, armPXE...).BootFileNameOption(); got != "snp-arm64.efi" {
		t.Errorf("boot file %q; want snp-arm64.efi", got)
	}
}

func TestDirectoryFailureIsNoUnknownPort(t *testing.T) {
	failure := errors.New("database is locked")
	b := newBench(t, DHCPFull, failingDirectory{failure})
	req, _ := dhcpv4.NewDiscovery(testMAC)
	if _, err := b.answer(context.Background(), req, b.at(portDHCP)); !errors.Is(err, failure) {
		t.Errorf("got error %v; want %v", err, failure)
	}
}

type failingDirectory struct{ err error }

func (d failingDirectory) Machine(context.Context, net.HardwareAddr) (Machine, error) {
	return Machine{}, d.err
}

// TestLeaseLife walks one client through RFC 2131.
func TestLeaseLife(t *testing.T) {
	b := newBench(t, DHCPFull, ramdiskPort())
	addr := b.ask(portDHCP, dhcpv4.MessageTypeDiscover, linux...).YourIPAddr
	if again := b.ask(portDHCP, dhcpv4.MessageTypeDiscover, linux...).YourIPAddr; !again.Equal(addr) {
		t.Errorf("second discover of one transaction: %v; want %v again", again, addr)
	}
	step := func(name string, kind dhcpv4.MessageType, want dhcpv4.MessageType, mods ...dhcpv4.Modifier) *dhcpv4.DHCPv4 {
		t.Helper()
		resp := b.ask(portDHCP, kind, append(slices.Clone(linux), mods...)...)
		got := dhcpv4.MessageTypeNone
		if resp != nil {
			got = resp.MessageType()
		}
		if got != want {
			t.Fatalf("%s: answered with %v; want %v", name, got, want)
		}
		return resp
	}
	request, ack, nak := dhcpv4.MessageTypeRequest, dhcpv4.MessageTypeAck, dhcpv4.MessageTypeNak
	step("selecting", request, ack, wants(addr.String()), from("192.0.2.1"))
	step("repeated", request, ack, wants(addr.String()), from("192.0.2.1"))
	if n := len(b.events.kinds()); n != 1 {
		t.Errorf("%d events for one transaction; want 1: %v", n, b.events)
	}
	b.now = b.now.Add(40 * time.Minute)
	step("renewing", request, ack, dhcpv4.WithClientIP(addr))
	b.now = b.now.Add(40 * time.Minute)
	step("rebooting", request, ack, wants(addr.String()))
	step("another address", request, nak, wants("192.0.2.108"))
	step("an address outside", request, nak, wants("10.0.0.1"))
	inform := step("inform", dhcpv4.MessageTypeInform, ack, dhcpv4.WithClientIP(addr))
	if !inform.YourIPAddr.IsUnspecified() || inform.IPAddressLeaseTime(0) != 0 {
		t.Errorf("inform was answered with a lease: %v", inform.Summary())
	}
	step("release", dhcpv4.MessageTypeRelease, dhcpv4.MessageTypeNone, dhcpv4.WithClientIP(addr))
	if again := b.ask(portDHCP, dhcpv4.MessageTypeDiscover, linux...).YourIPAddr; !again.Equal(addr) {
		t.Errorf("after a release: %v; want %v again", again, addr)
	}
	step("decline", dhcpv4.MessageTypeDecline, dhcpv4.MessageTypeNone, wants(addr.String()))
	if again := b.ask(portDHCP, dhcpv4.MessageTypeDiscover, linux...).YourIPAddr; again.Equal(addr) {
		t.Errorf("%v is offered again right after it was declined", addr)
	}
	if !b.events.has(EventDHCP, EventDeclined) {
		t.Errorf("events %v; want a decline", b.events.kinds())
	}
}

// Without a store, a restarted server gives everybody the address of before.
func TestRestartKeepsAddresses(t *testing.T) {
	dir := mapDirectory{}
	before := newBench(t, DHCPFull, dir)
	given := map[string]string{}
	for i := range byte(8) {
		mac := net.HardwareAddr{2, 0, 0, 0, 9, i}
		dir[mac.String()] = Machine{NodeUUID: bootUUID, Action: LocalDisk}
		addr := before.ask(portDHCP, dhcpv4.MessageTypeDiscover, dhcpv4.WithHwAddr(mac)).YourIPAddr.String()
		before.ask(portDHCP, dhcpv4.MessageTypeRequest, dhcpv4.WithHwAddr(mac), wants(addr))
		given[mac.String()] = addr
	}
	after := newBench(t, DHCPFull, dir)
	for mac, addr := range given {
		hw, _ := net.ParseMAC(mac)
		if resp := after.ask(portDHCP, dhcpv4.MessageTypeRequest, dhcpv4.WithHwAddr(hw), dhcpv4.WithClientIP(net.ParseIP(addr))); resp.MessageType() != dhcpv4.MessageTypeAck {
			t.Errorf("renewal of %s by %s: %v; want ACK", addr, mac, resp.MessageType())
		}
	}
}

func TestLeasesAreStored(t *testing.T) {
	ctx := context.Background()
	store := storeMap{}
	begin, end := netip.MustParseAddr("192.0.2.100"), netip.MustParseAddr("192.0.2.101")
	macs := []net.HardwareAddr{{2, 0, 0, 0, 0, 1}, {2, 0, 0, 0, 0, 2}, {2, 0, 0, 0, 0, 3}}
	l := newLeases(begin, end, store)
	var addrs []netip.Addr
	for _, mac := range macs[:2] {
		addr, err := l.offer(holderOf(mac), netip.Addr{}, testNow)
		if err != nil {
			t.Fatal(err)
		}
		if ok, err := l.commit(ctx, holderOf(mac), addr, testNow, testNow.Add(time.Hour)); !ok || err != nil {
			t.Fatalf("commit: %v, %v", ok, err)
		}
		addrs = append(addrs, addr)
	}
	if _, err := l.offer(holderOf(macs[2]), netip.Addr{}, testNow); !errors.Is(err, ErrRangeExhausted) {
		t.Errorf("third client of two addresses: error %v; want ErrRangeExhausted", err)
	}
	restarted := newLeases(begin, end, store)
	if err := restarted.load(ctx); err != nil {
		t.Fatal(err)
	}
	for i, mac := range macs[:2] {
		if got, _ := restarted.offer(holderOf(mac), netip.Addr{}, testNow); got != addrs[i] {
			t.Errorf("after a restart %v gets %v; want %v", mac, got, addrs[i])
		}
	}
	if got, err := restarted.offer(holderOf(macs[2]), netip.Addr{}, testNow.Add(2*time.Hour)); err != nil || !slices.Contains(addrs, got) {
		t.Errorf("after the leases ran out: %v, %v; want one of %v", got, err, addrs)
	}
}

type storeMap map[netip.Addr]Lease

func (s storeMap) Load(context.Context) ([]Lease, error) {
	var all []Lease
	for _, l := range s {
		all = append(all, l)
	}
	return all, nil
}
func (s storeMap) Save(_ context.Context, l Lease) error        { s[l.Address] = l; return nil }
func (s storeMap) Delete(_ context.Context, a netip.Addr) error { delete(s, a); return nil }

// Our own address, the router's and the network's are never given away.
func TestReservedAddresses(t *testing.T) {
	set := testSettings(DHCPFull)
	set.begin, set.end = netip.MustParseAddr("192.0.2.252"), netip.MustParseAddr("192.0.2.255")
	d := newDHCP(set, mapDirectory{}, nil, nil)
	var got []string
	for i := range byte(4) {
		if addr, err := d.leases.offer(holderOf(net.HardwareAddr{2, 0, 0, 0, 0, i}), netip.Addr{}, testNow); err == nil {
			got = append(got, addr.String())
		}
	}
	slices.Sort(got)
	if diff := cmp.Diff([]string{"192.0.2.252", "192.0.2.253"}, got); diff != "" {
		t.Errorf("addresses (-want +got):\n%s", diff)
	}
}

func TestTwoMachinesWithOneMAC(t *testing.T) {
	other := slices.Clone(testUUID)
	other[16] = 99
	swapped := append([]byte{0, 4, 3, 2, 1, 6, 5, 8, 7}, testUUID[9:]...)
	second := []dhcpv4.Modifier{class("PXEClient:Arch:00007"), with(93, 0, 7), with(97, other...)}
	nameless := []dhcpv4.Modifier{class("PXEClient:Arch:00007"), with(93, 0, 7)}
	for _, tc := range []struct {
		name     string
		mods     []dhcpv4.Modifier
		conflict bool
	}{
		{"another UUID", second, true},
		{"no UUID, other firmware", nameless, true},
		{"same UUID, other firmware", ovmfPXE, false},
		{"same UUID in the other byte order", []dhcpv4.Modifier{class("PXEClient"), with(93, 0, 0), with(97, swapped...)}, false},
		{"its iPXE", ipxeROM, false},
		{"its operating system", linux, false},
	} {
		b := newBench(t, DHCPFull, ramdiskPort())
		b.ask(portDHCP, dhcpv4.MessageTypeDiscover, biosPXE...)
		for range 3 {
			if resp := b.ask(portDHCP, dhcpv4.MessageTypeDiscover, tc.mods...); (resp == nil) != tc.conflict {
				t.Errorf("%s: answered: %v; want %v", tc.name, resp != nil, !tc.conflict)
			}
		}
		if got := b.events.has(EventMACConflict); got != tc.conflict {
			t.Errorf("%s: conflict reported: %v; want %v", tc.name, got, tc.conflict)
		}
		if !tc.conflict {
			continue
		}
		if n := len(b.events.kinds()); n != 1 {
			t.Errorf("%s: %d reports within a minute; want 1", tc.name, n)
		}
		detail := b.events.events[0].Detail
		if !strings.Contains(detail, "01020304-0506-0708-090a-0b0c0d0e0f10") || !strings.Contains(detail, "x86_64-uefi") {
			t.Errorf("%s: %q does not name both", tc.name, detail)
		}
		if b.ask(portDHCP, dhcpv4.MessageTypeDiscover, biosPXE...) == nil {
			t.Errorf("%s: the first machine is not answered any more", tc.name)
		}
		b.now = b.now.Add(b.LeaseTime)
		if b.ask(portDHCP, dhcpv4.MessageTypeDiscover, tc.mods...) == nil {
			t.Errorf("%s: not answered after the first was silent for a lease time", tc.name)
		}
	}
}

func TestDestination(t *testing.T) {
	peer := netip.MustParseAddrPort("192.0.2.77:4011")
	for _, tc := range []struct {
		name          string
		ciaddr, relay net.IP
		kind          dhcpv4.MessageType
		port          int
		want          string
	}{
		{"client without address", nil, nil, dhcpv4.MessageTypeOffer, portDHCP, "255.255.255.255:68"},
		{"renewing client", net.IPv4(192, 0, 2, 100), nil, dhcpv4.MessageTypeAck, portDHCP, "192.0.2.100:68"},
		{"refused client", net.IPv4(192, 0, 2, 100), nil, dhcpv4.MessageTypeNak, portDHCP, "255.255.255.255:68"},
		{"relay", nil, net.IPv4(192, 0, 2, 3), dhcpv4.MessageTypeOffer, portDHCP, "192.0.2.3:67"},
		{"proxy", net.IPv4(192, 0, 2, 77), nil, dhcpv4.MessageTypeAck, portProxy, "192.0.2.77:4011"},
	} {
		req, _ := dhcpv4.New()
		req.ClientIPAddr, req.GatewayIPAddr = tc.ciaddr, tc.relay
		resp, _ := dhcpv4.New(dhcpv4.WithMessageType(tc.kind))
		if got := destination(req, resp, arrival{port: tc.port, from: peer}).String(); got != tc.want {
			t.Errorf("%s: %s; want %s", tc.name, got, tc.want)
		}
	}
}

// FuzzDHCP: no packet ends the server, none from an unknown machine is answered,
// and what is answered is well formed.
func FuzzDHCP(f *testing.F) {
	for _, mods := range [][]dhcpv4.Modifier{biosPXE, ovmfHTTP, ipxeROM, ipxeClass, linux} {
		for _, kind := range []dhcpv4.MessageType{dhcpv4.MessageTypeDiscover, dhcpv4.MessageTypeRequest, dhcpv4.MessageTypeDecline, dhcpv4.MessageTypeInform, dhcpv4.MessageTypeRelease} {
			req, err := dhcpv4.New(append([]dhcpv4.Modifier{dhcpv4.WithHwAddr(testMAC), dhcpv4.WithMessageType(kind), wants("192.0.2.101")}, mods...)...)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(req.ToBytes())
		}
	}
	f.Fuzz(func(t *testing.T, packet []byte) {
		req, err := parseDHCP(packet)
		if err != nil {
			return
		}
		for _, mode := range []string{DHCPFull, DHCPProxy} {
			for _, port := range []int{portDHCP, portProxy} {
				b := newBench(t, mode, ramdiskPort())
				resp, err := b.answer(context.Background(), req, b.at(port))
				if err != nil || resp == nil {
					continue
				}
				if req.ClientHWAddr.String() != testMAC.String() {
					t.Fatalf("an unknown machine was answered: %v", resp.Summary())
				}
				parsed, err := dhcpv4.FromBytes(resp.ToBytes())
				if err != nil {
					t.Fatalf("malformed answer: %v", err)
				}
				if addr := toAddr(parsed.YourIPAddr); parsed.MessageType() == dhcpv4.MessageTypeOffer && mode == DHCPFull && !b.prefix.Contains(addr) {
					t.Fatalf("offered %v", addr)
				}
				destination(req, resp, b.at(port))
			}
		}
	})
}

// TestRepeatedPackets: repetitions are not news, the same number in the next
// boot is.
func TestRepeatedPackets(t *testing.T) {
	var seen recent
	now := time.Now()
	for _, step := range []struct {
		key  string
		wait time.Duration
		want bool
	}{{"a", 0, true}, {"a", 4 * time.Second, false}, {"b", 0, true}, {"a", 8 * time.Second, false}, {"a", repeatTime, true}} {
		now = now.Add(step.wait)
		if got := seen.add(step.key, now); got != step.want {
			t.Errorf("%s after %s: %t; want %t", step.key, step.wait, got, step.want)
		}
	}
	for i := range 2 * len(seen.ring) {
		seen.add(strings.Repeat("x", i+2), now)
	}
	if len(seen.set) > len(seen.ring) {
		t.Errorf("%d keys are remembered; want at most %d", len(seen.set), len(seen.ring))
	}
}
