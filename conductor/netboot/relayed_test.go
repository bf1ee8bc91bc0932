package netboot

import (
	"net"
	"slices"
	"testing"

	"github.com/insomniacslk/dhcp/dhcpv4"
)

// TestTwoRelayAgents: a client whose packets two relay agents of its network pass on
// is answered through both, with one address, and may choose the offer of either.
func TestTwoRelayAgents(t *testing.T) {
	override := func(gw string, last byte) dhcpv4.Modifier {
		return relayed(gw, sub(dhcpv4.AgentCircuitIDSubOption, last), sub(dhcpv4.ServerIdentifierOverrideSubOption, 198, 51, 100, last))
	}
	agents := []dhcpv4.Modifier{override("198.51.100.2", 2), override("198.51.100.3", 3)}
	b := newBenchOf(t, manySubnets(DHCPFull), ramdiskPort())
	var addr net.IP
	for i, agent := range agents {
		offer := b.ask(portDHCP, dhcpv4.MessageTypeDiscover, append(slices.Clone(biosPXE), agent)...)
		if offer == nil || addr != nil && !offer.YourIPAddr.Equal(addr) || offer.ServerIdentifier()[3] != byte(2+i) || offer.GatewayIPAddr[3] != byte(2+i) {
			t.Fatalf("offer through agent %d: %v, %s; want %v", i, offer, b.reason(), addr)
		}
		addr = offer.YourIPAddr
	}
	// The REQUEST names the one that was chosen, and comes through both.
	for i, agent := range agents {
		ack := b.ask(portDHCP, dhcpv4.MessageTypeRequest, append(slices.Clone(biosPXE), agent, wants(addr.String()), from("198.51.100.3"))...)
		if chosen := i == 1; chosen != (ack != nil && ack.MessageType() == dhcpv4.MessageTypeAck && ack.YourIPAddr.Equal(addr)) {
			t.Errorf("through agent %d: %v, %s", i, ack, b.reason())
		}
	}
}

// TestRenewalsAndInform: through a relay agent and directly, answered to where they came from.
func TestRenewalsAndInform(t *testing.T) {
	b := newBenchOf(t, manySubnets(DHCPFull), ramdiskPort())
	behind := relayed("198.51.100.1", sub(dhcpv4.AgentCircuitIDSubOption, 7))
	offer := b.ask(portDHCP, dhcpv4.MessageTypeDiscover, append(slices.Clone(linux), behind)...)
	addr := offer.YourIPAddr
	b.ask(portDHCP, dhcpv4.MessageTypeRequest, append(slices.Clone(linux), behind, wants(addr.String()), from("192.0.2.1"))...)
	for _, tc := range []struct {
		name string
		kind dhcpv4.MessageType
		mods []dhcpv4.Modifier
		to   string
		ip   string // that is given
	}{
		{"renewal", dhcpv4.MessageTypeRequest, nil, addr.String() + ":68", addr.String()},
		{"renewal through the relay agent", dhcpv4.MessageTypeRequest, []dhcpv4.Modifier{behind}, "198.51.100.1:67", addr.String()},
		{"inform", dhcpv4.MessageTypeInform, nil, addr.String() + ":68", ""},
		{"inform through the relay agent", dhcpv4.MessageTypeInform, []dhcpv4.Modifier{behind}, "198.51.100.1:67", ""},
	} {
		mods := append(slices.Clone(linux), dhcpv4.WithClientIP(addr))
		mods = append(mods, tc.mods...)
		ack := b.ask(portDHCP, tc.kind, mods...)
		if ack == nil || ack.MessageType() != dhcpv4.MessageTypeAck || ack.Router()[0].String() != "198.51.100.1" {
			t.Errorf("%s: %v, %s", tc.name, ack, b.reason())
			continue
		}
		if got := addressText(toAddr(ack.YourIPAddr)); got != tc.ip || (ack.IPAddressLeaseTime(0) > 0) != (tc.ip != "") {
			t.Errorf("%s: address %q for %v; want %q", tc.name, got, ack.IPAddressLeaseTime(0), tc.ip)
		}
		req, err := dhcpv4.New(append(mods, dhcpv4.WithMessageType(tc.kind))...)
		if err != nil {
			t.Fatal(err)
		}
		if got := destination(req, ack, b.at(portDHCP)).String(); got != tc.to {
			t.Errorf("%s: sent to %s; want %s", tc.name, got, tc.to)
		}
	}
}
