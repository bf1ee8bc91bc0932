package netboot

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv6"
	"github.com/insomniacslk/dhcp/iana"
)

var (
	testDUID  = &dhcpv6.DUIDUUID{UUID: [16]byte{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16}}
	ourDUID   = &dhcpv6.DUIDLL{HWType: iana.HWTypeEthernet, LinkLayerAddr: net.HardwareAddr{2, 0, 0, 0, 0, 1}}
	otherDUID = &dhcpv6.DUIDLL{HWType: iana.HWTypeEthernet, LinkLayerAddr: net.HardwareAddr{2, 0, 0, 0, 0, 2}}
	testLocal = netip.MustParseAddrPort("[fe80::5054:ff:fe77:1%eth0]:546") // made of testMAC
	lonely    = netip.MustParseAddrPort("[fe80::1234%eth0]:546")           // made of nothing
)

// bench6 is a bench with DHCPv6.
type bench6 struct {
	*bench
	from netip.AddrPort
}

func newBench6(t *testing.T, mode string, dir Directory) *bench6 {
	set := testSettings(DHCPOff)
	set.DHCPv6 = mode
	addr := netip.MustParseAddr
	first := set.subnets[0]
	first.server6, first.tftp6, first.direct6, first.prefix6 = addr("2001:db8::1"), addr("2001:db8::1"), true, netip.MustParsePrefix("2001:db8::/64")
	first.httpURL6, first.dns6 = "http://[2001:db8::1]:8080", []netip.Addr{addr("2001:db8::53")}
	far := &subnet{
		name: "far", iface: "eth0", server6: addr("2001:db8::1"), prefix6: netip.MustParsePrefix("2001:db8:9::/64"), httpURL6: "http://far.example.org",
	}
	if mode == DHCPFull {
		first.begin6, first.end6 = addr("2001:db8::100"), addr("2001:db8::10f")
		far.begin6, far.end6 = addr("2001:db8:9::100"), addr("2001:db8:9::10f")
	}
	set.subnets = append(set.subnets, far)
	b := &bench6{bench: newBenchOf(t, set, dir), from: testLocal}
	b.duid = ourDUID
	return b
}

type mod6 = func(*dhcpv6.Message)

func opt6(o dhcpv6.Option) mod6 { return func(m *dhcpv6.Message) { m.AddOption(o) } }

func class6(text string) mod6 {
	return opt6(&dhcpv6.OptVendorClass{EnterpriseNumber: enterpriseIntel, Data: [][]byte{[]byte(text)}})
}

// ia asks for the address of an association, a certain one if addr is not empty.
func ia(id byte, addr string) mod6 {
	o := &dhcpv6.OptIANA{IaId: [4]byte{0, 0, 0, id}}
	if addr != "" {
		o.Options.Add(&dhcpv6.OptIAAddress{IPv6Addr: net.ParseIP(addr)})
	}
	return opt6(o)
}

var (
	firmware6 = []mod6{opt6(dhcpv6.OptClientID(testDUID)), class6("PXEClient:Arch:00007:UNDI:003000"), opt6(dhcpv6.OptClientArchType(7)), opt6(dhcpv6.OptRequestedOption(dhcpv6.OptionBootfileURL))}
	http6     = []mod6{opt6(dhcpv6.OptClientID(testDUID)), class6("HTTPClient:Arch:00016:UNDI:003000"), opt6(dhcpv6.OptClientArchType(16))}
	ipxe6     = []mod6{opt6(dhcpv6.OptClientID(testDUID)), class6("PXEClient:Arch:00007:UNDI:003010"), opt6(dhcpv6.OptClientArchType(7)), opt6(&dhcpv6.OptUserClass{UserClasses: [][]byte{[]byte("iPXE")}})}
	linux6    = []mod6{opt6(dhcpv6.OptClientID(testDUID))}
)

func message6(kind dhcpv6.MessageType, mods ...[]mod6) *dhcpv6.Message {
	m := &dhcpv6.Message{MessageType: kind, TransactionID: dhcpv6.TransactionID{1, 2, 3}}
	for _, list := range mods {
		for _, mod := range list {
			mod(m)
		}
	}
	return m
}

// ask sends a packet through its wire form and returns the answer's.
func (b *bench6) ask(packet dhcpv6.DHCPv6) dhcpv6.DHCPv6 {
	b.Helper()
	parsed, err := dhcpv6.FromBytes(packet.ToBytes())
	if err != nil {
		b.Fatal(err)
	}
	resp, err := b.answer6(context.Background(), parsed, arrival{port: portServer6, iface: b.iface, from: b.from, now: b.now})
	if err != nil && !errors.As(err, new(silence)) {
		b.Fatalf("answer6: %v", err)
	}
	if resp == nil {
		return nil
	}
	if resp, err = dhcpv6.FromBytes(resp.ToBytes()); err != nil {
		b.Fatalf("the answer cannot be parsed: %v", err)
	}
	return resp
}

// reply asks and wants an answer of a type.
func (b *bench6) reply(want dhcpv6.MessageType, m *dhcpv6.Message) *dhcpv6.Message {
	b.Helper()
	resp := b.ask(m)
	if resp == nil || resp.Type() != want {
		b.Fatalf("a %v was answered with %v; want %v: %s", m.Type(), resp, want, b.reason())
	}
	return resp.(*dhcpv6.Message)
}

func addressOf(m *dhcpv6.Message) string {
	if a := m.Options.OneIANA(); a != nil && a.Options.OneAddress() != nil {
		return a.Options.OneAddress().IPv6Addr.String()
	}
	return ""
}

func TestDHCPv6Boot(t *testing.T) {
	for _, tc := range []struct {
		name  string
		mods  []mod6
		file  string
		class string
	}{
		{"PXE", firmware6, "tftp://[2001:db8::1]/snponly.efi", ""},
		{"HTTP boot", http6, "http://[2001:db8::1]:8080/snponly.efi", classHTTP},
		{"iPXE", ipxe6, "http://[2001:db8::1]:8080/boot.ipxe", ""},
		{"operating system", linux6, "", ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			b := newBench6(t, DHCPFull, ramdiskPort())
			advertise := b.reply(dhcpv6.MessageTypeAdvertise, message6(dhcpv6.MessageTypeSolicit, tc.mods, []mod6{ia(1, "")}))
			addr := addressOf(advertise)
			reply := b.reply(dhcpv6.MessageTypeReply, message6(dhcpv6.MessageTypeRequest, tc.mods, []mod6{ia(1, addr), opt6(dhcpv6.OptServerID(ourDUID))}))
			for _, m := range []*dhcpv6.Message{advertise, reply} {
				if got := addressOf(m); got != addr || !b.subnet.prefix6.Contains(netip.MustParseAddr(got)) {
					t.Errorf("%v: address %s; want %s", m.Type(), got, addr)
				}
				if got := m.Options.BootFileURL(); got != tc.file {
					t.Errorf("%v: boot file %q; want %q", m.Type(), got, tc.file)
				}
				class := ""
				if data := m.Options.VendorClass(enterpriseIntel); len(data) > 0 {
					class = string(data[0])
				}
				if class != tc.class {
					t.Errorf("%v: vendor class %q; want %q", m.Type(), class, tc.class)
				}
				if m.TransactionID != (dhcpv6.TransactionID{1, 2, 3}) || !m.Options.ClientID().Equal(testDUID) || !m.Options.ServerID().Equal(ourDUID) || m.Options.DNS()[0].String() != "2001:db8::53" {
					t.Errorf("%v", m.Summary())
				}
			}
			if !b.events.has(EventDHCP) || b.last.MAC != testMAC.String() || b.last.NodeUUID != bootUUID || b.last.Answer == "" || b.last.Reason != "" {
				t.Errorf("events %v, sighting %+v", b.events, b.last)
			}
		})
	}
}

// TestLeaseLife6 walks one client through RFC 8415.
func TestLeaseLife6(t *testing.T) {
	b := newBench6(t, DHCPFull, ramdiskPort())
	server := opt6(dhcpv6.OptServerID(ourDUID))
	quick := b.reply(dhcpv6.MessageTypeReply, message6(dhcpv6.MessageTypeSolicit, linux6, []mod6{ia(1, ""), opt6(&dhcpv6.OptionGeneric{OptionCode: dhcpv6.OptionRapidCommit})}))
	addr := addressOf(quick)
	if quick.GetOneOption(dhcpv6.OptionRapidCommit) == nil || addr == "" {
		t.Fatalf("rapid commit: %v", quick.Summary())
	}
	b.now = b.now.Add(40 * time.Minute)
	if got := addressOf(b.reply(dhcpv6.MessageTypeReply, message6(dhcpv6.MessageTypeRenew, linux6, []mod6{ia(1, addr), server}))); got != addr {
		t.Errorf("renewed to %s; want %s", got, addr)
	}
	b.now = b.now.Add(40 * time.Minute)
	if got := addressOf(b.reply(dhcpv6.MessageTypeReply, message6(dhcpv6.MessageTypeRebind, linux6, []mod6{ia(1, addr)}))); got != addr {
		t.Errorf("rebound to %s; want %s", got, addr)
	}
	status := func(m *dhcpv6.Message) string {
		if s := m.Options.Status(); s != nil {
			return s.StatusCode.String()
		}
		if a := m.Options.OneIANA(); a != nil && a.Options.Status() != nil {
			return "association: " + a.Options.Status().StatusCode.String()
		}
		return ""
	}
	for _, tc := range []struct {
		kind dhcpv6.MessageType
		mods []mod6
		want string
	}{
		{dhcpv6.MessageTypeConfirm, []mod6{ia(1, addr)}, "Success"},
		{dhcpv6.MessageTypeConfirm, []mod6{ia(1, "2001:db8:77::1")}, "NotOnLink"},
		{dhcpv6.MessageTypeRenew, []mod6{ia(9, "2001:db8:77::1"), server}, "association: NoBinding"},
		{dhcpv6.MessageTypeRelease, []mod6{ia(9, addr), server}, "Success"},
		{dhcpv6.MessageTypeRelease, []mod6{ia(1, addr), server}, "Success"},
	} {
		if got := status(b.reply(dhcpv6.MessageTypeReply, message6(tc.kind, linux6, tc.mods))); got != tc.want {
			t.Errorf("%v: status %q; want %q", tc.kind, got, tc.want)
		}
	}
	if got := addressOf(b.reply(dhcpv6.MessageTypeAdvertise, message6(dhcpv6.MessageTypeSolicit, linux6, []mod6{ia(1, "")}))); got != addr {
		t.Errorf("after a release: %s; want %s again", got, addr)
	}
	b.reply(dhcpv6.MessageTypeReply, message6(dhcpv6.MessageTypeDecline, linux6, []mod6{ia(1, addr), server}))
	if got := addressOf(b.reply(dhcpv6.MessageTypeAdvertise, message6(dhcpv6.MessageTypeSolicit, linux6, []mod6{ia(1, "")}))); got == addr || got == "" {
		t.Errorf("%s is offered right after %s was declined", got, addr)
	}
	if !b.events.has(EventDeclined) {
		t.Errorf("events %v; want a decline", b.events.kinds())
	}
}

func TestDHCPv6Stateless(t *testing.T) {
	b := newBench6(t, DHCPStateless, ramdiskPort())
	reply := b.reply(dhcpv6.MessageTypeReply, message6(dhcpv6.MessageTypeInformationRequest, http6))
	if got := reply.Options.BootFileURL(); got != "http://[2001:db8::1]:8080/snponly.efi" || addressOf(reply) != "" {
		t.Errorf("boot file %q, address %q", got, addressOf(reply))
	}
	if resp := b.ask(message6(dhcpv6.MessageTypeSolicit, http6, []mod6{ia(1, "")})); resp != nil || !strings.Contains(b.reason(), "dhcpv6 = stateless") {
		t.Errorf("a SOLICIT was answered with %v, reason %q", resp, b.reason())
	}
}

func TestDHCPv6NotAnswered(t *testing.T) {
	ignored := mapDirectory{testMAC.String(): {NodeUUID: bootUUID, Action: Ignore}}
	server := opt6(dhcpv6.OptServerID(otherDUID))
	for _, tc := range []struct {
		name string
		why  string
		dir  Directory
		from netip.AddrPort
		m    *dhcpv6.Message
	}{
		{"unknown machine", "no port of any node", mapDirectory{}, testLocal, message6(dhcpv6.MessageTypeSolicit, firmware6, []mod6{ia(1, "")})},
		{"no MAC address", "MAC address cannot be told", ramdiskPort(), lonely, message6(dhcpv6.MessageTypeSolicit, firmware6, []mod6{ia(1, "")})},
		{"ignored port", "pxe_enabled", ignored, testLocal, message6(dhcpv6.MessageTypeSolicit, firmware6, []mod6{ia(1, "")})},
		{"no identifier", "without an identifier", ramdiskPort(), testLocal, message6(dhcpv6.MessageTypeSolicit, []mod6{ia(1, "")})},
		{"solicit to one server", "names a server", ramdiskPort(), testLocal, message6(dhcpv6.MessageTypeSolicit, linux6, []mod6{ia(1, ""), server})},
		{"offer of another server taken", "another server", ramdiskPort(), testLocal, message6(dhcpv6.MessageTypeRequest, linux6, []mod6{ia(1, ""), server})},
		{"an answer", "nothing that a server answers", ramdiskPort(), testLocal, message6(dhcpv6.MessageTypeReply, linux6)},
	} {
		b := newBench6(t, DHCPFull, tc.dir)
		b.from = tc.from
		if resp := b.ask(tc.m); resp != nil {
			t.Errorf("%s: answered with %v", tc.name, resp.Summary())
		}
		if !strings.Contains(b.reason(), tc.why) {
			t.Errorf("%s: the reason is %q; want one with %q", tc.name, b.reason(), tc.why)
		}
	}
}

// The MAC address of a client is found in whatever tells it.
func TestMACOfDHCPv6Client(t *testing.T) {
	ll := &dhcpv6.DUIDLL{HWType: iana.HWTypeEthernet, LinkLayerAddr: testMAC}
	llt := &dhcpv6.DUIDLLT{HWType: iana.HWTypeEthernet, LinkLayerAddr: testMAC}
	stranger := &dhcpv6.DUIDLL{HWType: iana.HWTypeEthernet, LinkLayerAddr: net.HardwareAddr{2, 9, 9, 9, 9, 9}}
	relay := func(peer string, duid dhcpv6.DUID, options ...dhcpv6.Option) dhcpv6.DHCPv6 {
		m := message6(dhcpv6.MessageTypeSolicit, []mod6{opt6(dhcpv6.OptClientID(duid)), ia(1, "")})
		r := &dhcpv6.RelayMessage{MessageType: dhcpv6.MessageTypeRelayForward, LinkAddr: net.ParseIP("2001:db8:9::1"), PeerAddr: net.ParseIP(peer)}
		for _, o := range options {
			r.AddOption(o)
		}
		r.AddOption(dhcpv6.OptRelayMessage(m))
		return r
	}
	for _, tc := range []struct {
		name   string
		from   netip.AddrPort
		packet dhcpv6.DHCPv6
	}{
		{"link-local address", testLocal, message6(dhcpv6.MessageTypeSolicit, linux6, []mod6{ia(1, "")})},
		{"DUID-LL", lonely, message6(dhcpv6.MessageTypeSolicit, []mod6{opt6(dhcpv6.OptClientID(ll)), ia(1, "")})},
		{"DUID-LLT", lonely, message6(dhcpv6.MessageTypeSolicit, []mod6{opt6(dhcpv6.OptClientID(llt)), ia(1, "")})},
		{"address rather than another interface's DUID", testLocal, message6(dhcpv6.MessageTypeSolicit, []mod6{opt6(dhcpv6.OptClientID(stranger)), ia(1, "")})},
		{"relay agent's option", lonely, relay("fe80::1", testDUID, dhcpv6.OptClientLinkLayerAddress(iana.HWTypeEthernet, testMAC))},
		{"relay agent's peer", lonely, relay("fe80::5054:ff:fe77:1", testDUID)},
	} {
		b := newBench6(t, DHCPFull, ramdiskPort())
		b.from = tc.from
		if b.ask(tc.packet) == nil {
			t.Errorf("%s: not answered: %s", tc.name, b.reason())
		} else if b.last.MAC != testMAC.String() {
			t.Errorf("%s: MAC address %s", tc.name, b.last.MAC)
		}
	}
}

// Through two relay agents, of which the one beside the client knows no address of the network.
func TestDHCPv6Relays(t *testing.T) {
	b := newBench6(t, DHCPFull, ramdiskPort())
	b.from = netip.MustParseAddrPort("[2001:db8:8::1]:547")
	inner := &dhcpv6.RelayMessage{MessageType: dhcpv6.MessageTypeRelayForward, LinkAddr: net.IPv6zero, PeerAddr: net.ParseIP("fe80::5054:ff:fe77:1")}
	inner.AddOption(dhcpv6.OptInterfaceID([]byte("port7")))
	inner.AddOption(dhcpv6.OptRelayMessage(message6(dhcpv6.MessageTypeSolicit, http6, []mod6{ia(1, "")})))
	outer := &dhcpv6.RelayMessage{MessageType: dhcpv6.MessageTypeRelayForward, HopCount: 1, LinkAddr: net.ParseIP("2001:db8:9::1"), PeerAddr: net.ParseIP("fe80::77")}
	outer.AddOption(dhcpv6.OptRelayMessage(inner))
	resp, ok := b.ask(outer).(*dhcpv6.RelayMessage)
	if !ok || resp.Type() != dhcpv6.MessageTypeRelayReply || resp.HopCount != 1 || !resp.PeerAddr.Equal(outer.PeerAddr) {
		t.Fatalf("answered with %v: %s", resp, b.reason())
	}
	second, ok := resp.Options.RelayMessage().(*dhcpv6.RelayMessage)
	if !ok || !bytes.Equal(second.Options.InterfaceID(), []byte("port7")) || !second.PeerAddr.Equal(inner.PeerAddr) {
		t.Fatalf("inside: %v", resp.Summary())
	}
	m, err := second.GetInnerMessage()
	if err != nil || m.Type() != dhcpv6.MessageTypeAdvertise || !strings.HasPrefix(addressOf(m), "2001:db8:9::") || m.Options.BootFileURL() != "http://far.example.org/snponly.efi" {
		t.Errorf("%v: %v", err, m.Summary())
	}
	if got := destination6(outer, b.from); got.String() != "[2001:db8:8::1]:547" {
		t.Errorf("sent to %v", got)
	}
	outer.LinkAddr = net.ParseIP("2001:db8:77::1")
	if b.ask(outer) != nil || !strings.Contains(b.reason(), "network of 2001:db8:77::1") {
		t.Errorf("a relay agent of an unknown network: %q", b.reason())
	}
	deep := dhcpv6.DHCPv6(message6(dhcpv6.MessageTypeSolicit, http6))
	for range maxRelays + 1 {
		r := &dhcpv6.RelayMessage{MessageType: dhcpv6.MessageTypeRelayForward, LinkAddr: net.IPv6zero, PeerAddr: net.IPv6zero}
		r.AddOption(dhcpv6.OptRelayMessage(deep))
		deep = r
	}
	if b.ask(deep) != nil || !strings.Contains(b.reason(), "relay agents") {
		t.Errorf("through %d relay agents: %q", maxRelays+1, b.reason())
	}
}

// One machine holds a bounded number of addresses, whatever identifiers it makes up.
func TestDHCPv6LeasesAreBounded(t *testing.T) {
	b := newBench6(t, DHCPFull, ramdiskPort())
	for i := range byte(3 * leasesPerMAC) {
		duid := &dhcpv6.DUIDLLT{HWType: iana.HWTypeEthernet, Time: uint32(i), LinkLayerAddr: testMAC}
		b.now = b.now.Add(time.Second)
		m := b.reply(dhcpv6.MessageTypeReply, message6(dhcpv6.MessageTypeSolicit,
			[]mod6{opt6(dhcpv6.OptClientID(duid)), ia(1, ""), opt6(&dhcpv6.OptionGeneric{OptionCode: dhcpv6.OptionRapidCommit})}))
		if addressOf(m) == "" {
			t.Fatalf("identifier %d has no address: %s", i, m.Summary())
		}
	}
	if n := len(b.leases6.byClient); n > leasesPerMAC || n != len(b.leases6.byAddr) {
		t.Errorf("%d leases of one machine; want at most %d", n, leasesPerMAC)
	}
	for i := range byte(3 * leasesPerMAC) { // nor by claiming that it had them before
		duid := &dhcpv6.DUIDLLT{HWType: iana.HWTypeEthernet, Time: 1000 + uint32(i), LinkLayerAddr: testMAC}
		b.reply(dhcpv6.MessageTypeReply, message6(dhcpv6.MessageTypeRebind, []mod6{opt6(dhcpv6.OptClientID(duid)), ia(1, fmt.Sprintf("2001:db8::1%02x", i%16))}))
	}
	if n := len(b.leases6.byClient); n > leasesPerMAC {
		t.Errorf("%d leases of one machine after it has claimed more; want at most %d", n, leasesPerMAC)
	}
	many := []mod6{}
	for i := range byte(20) {
		many = append(many, ia(i, ""))
	}
	m := b.reply(dhcpv6.MessageTypeAdvertise, message6(dhcpv6.MessageTypeSolicit, linux6, many))
	given := 0
	for _, a := range m.Options.IANA() {
		if a.Options.OneAddress() != nil {
			given++
		}
	}
	if given != maxAssociations {
		t.Errorf("%d of 20 associations have an address; want %d", given, maxAssociations)
	}
}

// FuzzDHCPv6: no packet ends the server, none from an unknown machine is answered,
// and what is answered is well formed.
func FuzzDHCPv6(f *testing.F) {
	for _, mods := range [][]mod6{firmware6, http6, ipxe6, linux6} {
		for _, kind := range []dhcpv6.MessageType{dhcpv6.MessageTypeSolicit, dhcpv6.MessageTypeRequest, dhcpv6.MessageTypeRebind, dhcpv6.MessageTypeRelease, dhcpv6.MessageTypeInformationRequest} {
			m := message6(kind, mods, []mod6{ia(1, "2001:db8::101")})
			f.Add(m.ToBytes())
			r := &dhcpv6.RelayMessage{MessageType: dhcpv6.MessageTypeRelayForward, LinkAddr: net.ParseIP("2001:db8:9::1"), PeerAddr: net.ParseIP("fe80::1")}
			r.AddOption(dhcpv6.OptRelayMessage(m))
			f.Add(r.ToBytes())
		}
	}
	f.Fuzz(func(t *testing.T, packet []byte) {
		req, err := dhcpv6.FromBytes(packet)
		if err != nil {
			return
		}
		b := newBench6(t, DHCPFull, ramdiskPort())
		resp, err := b.answer6(context.Background(), req, arrival{port: portServer6, iface: "eth0", from: testLocal, now: testNow})
		if err != nil || resp == nil {
			return
		}
		if b.last.MAC != testMAC.String() {
			t.Fatalf("an unknown machine was answered: %v", resp.Summary())
		}
		if _, err := dhcpv6.FromBytes(resp.ToBytes()); err != nil {
			t.Fatalf("malformed answer: %v", err)
		}
		destination6(req, testLocal)
	})
}
