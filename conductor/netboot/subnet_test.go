package netboot

import (
	"context"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/insomniacslk/dhcp/dhcpv4"
)

// manySubnets is testSettings with a second network on eth0's wire, one of eth1, and one behind a relay agent.
func manySubnets(mode string) *settings {
	set := testSettings(mode)
	addr := netip.MustParseAddr
	add := func(name, iface, server, prefix, begin, end string, direct bool) *subnet {
		n := &subnet{
			name: name, iface: iface, server: addr(server), direct: direct, tftp: addr(server), prefix: netip.MustParsePrefix(prefix),
			begin: addr(begin), end: addr(end), httpURL: "http://" + server + ":8080",
		}
		set.subnets = append(set.subnets, n)
		return n
	}
	add("wire", "eth0", "203.0.113.1", "203.0.113.0/24", "203.0.113.50", "203.0.113.60", true)
	add("eth1", "eth1", "10.1.0.1", "10.1.0.0/16", "10.1.5.1", "10.1.5.99", true)
	far := add("far", "eth0", "192.0.2.1", "198.51.100.0/24", "198.51.100.20", "198.51.100.29", false)
	far.router, far.dns, far.tftp = addr("198.51.100.1"), []netip.Addr{addr("198.51.100.53")}, addr("198.51.100.9")
	return set
}

func relayed(giaddr string, info ...dhcpv4.Option) dhcpv4.Modifier {
	return func(d *dhcpv4.DHCPv4) {
		d.GatewayIPAddr = net.ParseIP(giaddr)
		if len(info) > 0 {
			d.UpdateOption(dhcpv4.OptRelayAgentInfo(info...))
		}
	}
}

func sub(code dhcpv4.OptionCode, value ...byte) dhcpv4.Option {
	return dhcpv4.OptGeneric(code, value)
}

func TestSubnetOfAClient(t *testing.T) {
	circuit := sub(dhcpv4.AgentCircuitIDSubOption, []byte("Gi1/0/7")...)
	for _, tc := range []struct {
		name   string
		iface  string
		mods   []dhcpv4.Modifier
		want   string // the network of the address
		server string // the server identifier
		file   string
		tftp   string
	}{
		{"on the first interface", "eth0", nil, "192.0.2.0/24", "192.0.2.1", "undionly.kpxe", "192.0.2.1"},
		{"on another interface", "eth1", nil, "10.1.0.0/16", "10.1.0.1", "undionly.kpxe", "10.1.0.1"},
		{"through a relay agent", "eth0", []dhcpv4.Modifier{relayed("198.51.100.1", circuit)}, "198.51.100.0/24", "192.0.2.1", "undionly.kpxe", "198.51.100.9"},
		{"a relay agent that comes by another interface", "eth1", []dhcpv4.Modifier{relayed("198.51.100.1")}, "198.51.100.0/24", "192.0.2.1", "undionly.kpxe", "198.51.100.9"},
		{"link selection before the relay agent's address", "eth0", []dhcpv4.Modifier{relayed("10.1.0.7", circuit, sub(dhcpv4.LinkSelectionSubOption, 198, 51, 100, 0))},
			"198.51.100.0/24", "192.0.2.1", "undionly.kpxe", "198.51.100.9"},
		{"subnet selection", "eth0", []dhcpv4.Modifier{with(118, 10, 1, 0, 0)}, "10.1.0.0/16", "10.1.0.1", "undionly.kpxe", "10.1.0.1"},
		{"link selection before subnet selection", "eth0", []dhcpv4.Modifier{with(118, 10, 1, 0, 0), relayed("10.9.9.9", sub(dhcpv4.LinkSelectionSubOption, 203, 0, 113, 0))},
			"203.0.113.0/24", "203.0.113.1", "undionly.kpxe", "203.0.113.1"},
		{"server identifier of the relay agent's choice", "eth0", []dhcpv4.Modifier{relayed("198.51.100.1", sub(dhcpv4.ServerIdentifierOverrideSubOption, 198, 51, 100, 1))},
			"198.51.100.0/24", "198.51.100.1", "undionly.kpxe", "198.51.100.9"},
		{"iPXE behind a relay agent", "eth0", append(slices.Clone(ipxeROM), relayed("198.51.100.1")), "198.51.100.0/24", "192.0.2.1", "http://192.0.2.1:8080/boot.ipxe", "198.51.100.9"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			b := newBenchOf(t, manySubnets(DHCPFull), ramdiskPort())
			b.iface = tc.iface
			mods := append(slices.Clone(biosPXE), tc.mods...)
			offer := b.ask(portDHCP, dhcpv4.MessageTypeDiscover, mods...)
			if offer == nil {
				t.Fatalf("not answered: %s", b.reason())
			}
			if got := toAddr(offer.YourIPAddr); !netip.MustParsePrefix(tc.want).Contains(got) {
				t.Errorf("address %v; want one of %s", got, tc.want)
			}
			if got := offer.ServerIdentifier().String(); got != tc.server {
				t.Errorf("server identifier %s; want %s", got, tc.server)
			}
			if got := offer.BootFileNameOption(); got != tc.file {
				t.Errorf("boot file %s; want %s", got, tc.file)
			}
			if got := offer.TFTPServerName(); got != tc.tftp {
				t.Errorf("TFTP server %s; want %s", got, tc.tftp)
			}
			ack := b.ask(portDHCP, dhcpv4.MessageTypeRequest, append(mods, wants(offer.YourIPAddr.String()), from(tc.server))...)
			if ack == nil || ack.MessageType() != dhcpv4.MessageTypeAck {
				t.Fatalf("the request was answered with %v: %s", ack, b.reason())
			}
			for _, code := range []dhcpv4.OptionCode{dhcpv4.OptionRelayAgentInformation, dhcpv4.OptionSubnetSelection} {
				asked, _ := dhcpv4.New(mods...)
				if string(ack.GetOneOption(code)) != string(asked.GetOneOption(code)) {
					t.Errorf("%v came back as %x; want %x", code, ack.GetOneOption(code), asked.GetOneOption(code))
				}
			}
			if asked, _ := dhcpv4.New(mods...); !asked.GatewayIPAddr.Equal(ack.GatewayIPAddr) {
				t.Errorf("giaddr %v came back as %v", asked.GatewayIPAddr, ack.GatewayIPAddr)
			}
		})
	}
}

// What the network behind a relay agent is told is its own.
func TestRelayedNetworkOptions(t *testing.T) {
	b := newBenchOf(t, manySubnets(DHCPFull), ramdiskPort())
	offer := b.ask(portDHCP, dhcpv4.MessageTypeDiscover, append(slices.Clone(linux), relayed("198.51.100.1"))...)
	if offer == nil || offer.Router()[0].String() != "198.51.100.1" || offer.DNS()[0].String() != "198.51.100.53" || offer.BroadcastAddress().String() != "198.51.100.255" {
		t.Fatalf("offer %v; want router, DNS and broadcast address of the relayed network", offer)
	}
	nak := b.ask(portDHCP, dhcpv4.MessageTypeRequest, append(slices.Clone(linux), relayed("198.51.100.1"), wants("192.0.2.100"))...)
	if nak == nil || nak.MessageType() != dhcpv4.MessageTypeNak || !nak.IsBroadcast() {
		t.Errorf("a request for an address of another network was answered with %v; want a NAK that is broadcast", nak)
	}
	// A renewal comes directly, without the relay agent.
	ack := b.ask(portDHCP, dhcpv4.MessageTypeRequest, append(slices.Clone(linux), dhcpv4.WithClientIP(offer.YourIPAddr))...)
	if ack == nil || ack.MessageType() != dhcpv4.MessageTypeAck || ack.Router()[0].String() != "198.51.100.1" {
		t.Errorf("a renewal was answered with %v; want an ACK with the network's router", ack)
	}
}

// A network with nothing left leaves its clients to another on the same wire.
func TestSharedWire(t *testing.T) {
	set := manySubnets(DHCPFull)
	set.end = set.begin
	dir := mapDirectory{}
	b := newBenchOf(t, set, dir)
	var got []netip.Addr
	for i := range byte(2) {
		mac := net.HardwareAddr{2, 0, 0, 0, 7, i}
		dir[mac.String()] = Machine{NodeUUID: bootUUID, Action: LocalDisk}
		offer := b.ask(portDHCP, dhcpv4.MessageTypeDiscover, append(slices.Clone(linux), dhcpv4.WithHwAddr(mac))...)
		if offer == nil {
			t.Fatalf("client %d was not answered: %s", i, b.reason())
		}
		ack := b.ask(portDHCP, dhcpv4.MessageTypeRequest, append(slices.Clone(linux), dhcpv4.WithHwAddr(mac), wants(offer.YourIPAddr.String()), from(offer.ServerIdentifier().String()))...)
		if ack == nil || ack.MessageType() != dhcpv4.MessageTypeAck {
			t.Fatalf("client %d: %v", i, ack)
		}
		got = append(got, toAddr(ack.YourIPAddr))
	}
	if !set.prefix.Contains(got[0]) || !set.subnets[1].prefix.Contains(got[1]) {
		t.Errorf("addresses %v; want one of each network", got)
	}
}

func TestUnknownNetworks(t *testing.T) {
	b := newBenchOf(t, manySubnets(DHCPFull), ramdiskPort())
	for _, tc := range []struct {
		name, iface, want string
		mods              []dhcpv4.Modifier
	}{
		{"relay agent", "eth0", "network of 10.200.0.1", []dhcpv4.Modifier{relayed("10.200.0.1")}},
		{"link selection", "eth0", "network of 10.200.0.0", []dhcpv4.Modifier{relayed("198.51.100.1", sub(dhcpv4.LinkSelectionSubOption, 10, 200, 0, 0))}},
		{"interface", "eth7", "interface eth7", nil},
	} {
		b.iface = tc.iface
		if resp := b.ask(portDHCP, dhcpv4.MessageTypeDiscover, append(slices.Clone(biosPXE), tc.mods...)...); resp != nil {
			t.Errorf("%s: answered with %v", tc.name, resp.Summary())
		}
		if !strings.Contains(b.reason(), tc.want) {
			t.Errorf("%s: the reason is %q; want one with %q", tc.name, b.reason(), tc.want)
		}
	}
}

// A relay agent that has a port of its own is answered there (RFC 8357).
func TestRelayPort(t *testing.T) {
	req, _ := dhcpv4.New(relayed("198.51.100.1", sub(dhcpv4.RelaySourcePortSubOption)))
	at := arrival{port: portDHCP, from: netip.MustParseAddrPort("198.51.100.1:1067")}
	if got := destination(req, req, at).String(); got != "198.51.100.1:1067" {
		t.Errorf("sent to %s; want 198.51.100.1:1067", got)
	}
}

func TestSubnetOptions(t *testing.T) {
	base := func(subnets ...string) Config {
		cfg := DefaultConfig()
		cfg.DHCP, cfg.Interface = DHCPFull, "lo"
		cfg.RangeBegin, cfg.RangeEnd = "127.0.0.100", "127.0.0.120"
		cfg.Subnets = subnets
		return cfg
	}
	set, err := resolve(base("far range=10.2.0.10-10.2.0.99 netmask=24 router=10.2.0.1 dns=10.2.0.53+fd00::53 http_url=http://10.2.0.5/boot/",
		"far2 range=10.3.0.10-10.3.0.99 netmask=255.255.0.0 tftp_server=10.3.0.5"))
	if err != nil {
		t.Fatal(err)
	}
	far, far2 := set.subnets[1], set.subnets[2]
	if far.httpURL != "http://10.2.0.5/boot" || far.server != set.server || far.direct || far.tftp != set.tftp || len(far.dns) != 1 || len(far.dns6) != 1 || far.router.String() != "10.2.0.1" {
		t.Errorf("got %+v", far)
	}
	if far2.tftp.String() != "10.3.0.5" || far2.prefix.String() != "10.3.0.0/16" || far2.httpURL != set.httpURL {
		t.Errorf("got %+v", far2)
	}
	if got := set.baseURL(netip.MustParseAddr("10.2.0.17")); got != "http://10.2.0.5/boot" {
		t.Errorf("URLs for 10.2.0.17 begin with %s", got)
	}
	for text, want := range map[string]string{
		"range=10.2.0.1-10.2.0.2":        "does not begin with a name",
		"a":                              "neither a range nor an interface",
		"a interface=lo router=10.2.0.1": "give its range too",
		"a range=10.2.0.10-10.2.0.99 range=10.2.0.110-10.2.0.199 netmask=24": "subnet a has range twice",
		"a speed=fast":                                           `"speed" is none of`,
		"a range":                                                "key=value",
		"a range=10.2.0.10 netmask=24":                           "give FIRST-LAST",
		"a range=10.2.0.10-10.2.0.99":                            "netmask of subnet a is missing",
		"a range=10.2.0.10-10.2.1.99 netmask=24":                 "not inside the network 10.2.0.0/24",
		"a range=10.2.0.99-10.2.0.10 netmask=24":                 "range_begin",
		"a range=10.2.0.10-10.2.0.99 netmask=24 router=x":        "router of subnet a",
		"a range=10.2.0.10-10.2.0.99 netmask=24 router=10.3.0.1": "router of subnet a 10.3.0.1 is not inside",
		"a range=10.2.0.10-10.2.0.99 netmask=24 dns=x":           "dns of subnet a",
		"a range=10.2.0.10-10.2.0.99 netmask=24 http_url=x":      "http_url of subnet a",
		"a range=10.2.0.10-10.2.0.99 netmask=24 tftp_server=x":   "tftp_server of subnet a",
		"a range=127.0.0.110-127.0.0.130 netmask=8":              "overlap",
		"a interface=absent0 range=10.2.0.10-10.2.0.99":          `interface of subnet a "absent0"`,
	} {
		if _, err := resolve(base(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("subnets = %s: error %v; want one with %q", text, err, want)
		}
	}
	six := base()
	six.DHCPv6 = "yes"
	if _, err := resolve(six); err == nil || !strings.Contains(err.Error(), "[netboot]dhcpv6") {
		t.Errorf("dhcpv6 = yes: %v", err)
	}
}

// Port 4011, as firmware asks there: a REQUEST or an INFORM, for a boot item of its menu or none.
func TestBootServerPort(t *testing.T) {
	b := newBench(t, DHCPProxy, ramdiskPort())
	for _, kind := range []dhcpv4.MessageType{dhcpv4.MessageTypeRequest, dhcpv4.MessageTypeInform} {
		mods := append(slices.Clone(ovmfPXE), dhcpv4.WithClientIP(net.IPv4(192, 0, 2, 150)), with(43, 71, 4, 0x80, 7, 0, 1, 255))
		ack := b.ask(portProxy, kind, mods...)
		if ack == nil || ack.MessageType() != dhcpv4.MessageTypeAck || ack.BootFileNameOption() != "snponly.efi" || ack.TFTPServerName() != "192.0.2.1" {
			t.Fatalf("%v on port 4011: %v, %s", kind, ack, b.reason())
		}
		if ack.YourIPAddr != nil && !ack.YourIPAddr.IsUnspecified() || ack.IPAddressLeaseTime(0) != 0 {
			t.Errorf("%v: a proxy gave an address: %v", kind, ack.Summary())
		}
		vendor := ack.GetOneOption(dhcpv4.OptionVendorSpecificInformation)
		if item := pxeOption(vendor, pxeBootItem); string(item) != "\x80\x07\x00\x01" {
			t.Errorf("%v: boot item %x; want the one that was asked for", kind, item)
		}
	}
	if resp := b.ask(portProxy, dhcpv4.MessageTypeDiscover, ovmfPXE...); resp != nil {
		t.Errorf("a DISCOVER on port 4011 was answered with %v", resp)
	}
	full := newBench(t, DHCPFull, ramdiskPort())
	req, _ := dhcpv4.New(append([]dhcpv4.Modifier{dhcpv4.WithHwAddr(testMAC), dhcpv4.WithMessageType(dhcpv4.MessageTypeRequest)}, ovmfPXE...)...)
	if resp, _ := full.answer(context.Background(), req, full.at(portProxy)); resp != nil {
		t.Error("port 4011 is answered by a full server")
	}
}
