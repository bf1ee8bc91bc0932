package agent

import (
	"bytes"
	"errors"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink"
	"golang.org/x/net/dns/dnsmessage"
)

// inNamespace runs the rest of the test in a network namespace of its own, by
// starting the test once more there. It reports whether this is inside.
func inNamespace(t *testing.T) bool {
	const mark = "FERRIC_TEST_NAMESPACE"
	if os.Getenv(mark) != "" {
		return true
	}
	if err := exec.Command("unshare", "-n", "true").Run(); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatalf("network namespace: %v", err)
		}
		t.Skipf("no network namespace: %v", err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "unshare", "-n", self, "-test.run", "^"+t.Name()+"$", "-test.v")
	cmd.Env = append(os.Environ(), mark+"=1")
	if out, err := cmd.CombinedOutput(); err != nil || !strings.Contains(string(out), "--- PASS: "+t.Name()) {
		t.Fatalf("in the namespace: %v\n%s", err, out)
	}
	return false
}

// must ends the test on an error.
func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// cable makes a pair of interfaces and gives the first of them an address.
func cable(t *testing.T, address string) *net.Interface {
	t.Helper()
	must(t, netlink.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "near"}, PeerName: "far"}))
	addr, err := netlink.ParseAddr(address)
	must(t, err)
	for _, name := range []string{"lo", "near", "far"} {
		link, err := netlink.LinkByName(name)
		must(t, err)
		if name == "near" {
			must(t, netlink.AddrAdd(link, addr))
		}
		must(t, netlink.LinkSetUp(link))
	}
	near, err := net.InterfaceByName("near")
	must(t, err)
	return near
}

// announce answers for the services by their names with the TXT records.
func announce(t *testing.T, on *net.Interface, address string, services map[string][]string) {
	t.Helper()
	conn, err := net.ListenMulticastUDP("udp4", on, net.UDPAddrFromAddrPort(netip.MustParseAddrPort("224.0.0.251:5353")))
	must(t, err)
	t.Cleanup(func() { conn.Close() })
	go func() {
		b := make([]byte, 9000)
		for {
			n, from, err := conn.ReadFromUDPAddrPort(b)
			if errors.Is(err, net.ErrClosed) {
				return
			}
			var m dnsmessage.Message
			if err != nil || m.Unpack(b[:n]) != nil || len(m.Questions) == 0 {
				continue
			}
			name := m.Questions[0].Name
			service, _, _ := strings.Cut(name.String(), ".")
			txt, ok := services[service]
			if !ok {
				continue
			}
			header := dnsmessage.ResourceHeader{Name: name, Class: dnsmessage.ClassINET}
			host := header
			host.Name = dnsmessage.MustNewName("ironic.local.")
			answer := dnsmessage.Message{Header: dnsmessage.Header{Response: true}, Answers: []dnsmessage.Resource{
				{Header: header, Body: &dnsmessage.SRVResource{Target: host.Name, Port: 6385}},
				{Header: header, Body: &dnsmessage.TXTResource{TXT: txt}},
				{Header: host, Body: &dnsmessage.AResource{A: netip.MustParseAddr(address).As4()}},
			}}
			if packed, err := answer.Pack(); err == nil {
				conn.WriteToUDPAddrPort(packed, from)
			}
		}
	}()
}

// TestDiscover: API and inspection are found by multicast DNS, on an interface
// whose only route is to its own network.
func TestDiscover(t *testing.T) {
	t.Parallel()
	if !inNamespace(t) {
		return
	}
	announce(t, cable(t, "192.0.2.1/24"), "192.0.2.1", map[string][]string{
		"baremetal":               {"protocol=http", "path=/api/", "ipa_ntp_server=192.0.2.5", "ipa_agent_token=x", "ipa_no_such=1"},
		"baremetal-introspection": {""},
	})
	var log bytes.Buffer
	a := withCard(t, &log, "--api-url", "mdns", "--inspection-callback-url", "mdns")
	must(t, a.discover(t.Context()))
	got := []any{a.cfg.APIURLs, a.cfg.InspectionCallbackURLs, a.cfg.NTPServer, a.cfg.AgentToken}
	want := []any{[]string{"http://192.0.2.1:6385/api"}, []string{"https://192.0.2.1:6385/v1/continue"}, "192.0.2.5", ""}
	if diff := cmp.Diff(want, got); diff != "" || !strings.Contains(log.String(), "agent_token") {
		t.Errorf("found (-want +got):\n%s\nlog:\n%s", diff, log.String())
	}
}

// TestDiscoverNothing: only an API that was to be found by multicast DNS is an
// error if it cannot be.
func TestDiscoverNothing(t *testing.T) {
	t.Parallel()
	if !inNamespace(t) {
		return
	}
	cable(t, "192.0.2.1/24")
	const fast = "--mdns-lookup-attempts=1"
	if err := withCard(t, &bytes.Buffer{}, fast, "--api-url", "mdns").discover(t.Context()); err == nil {
		t.Error("no error although there is no API")
	}
	a := withCard(t, &bytes.Buffer{}, fast, "--mdns-use-mdns", "--inspection-callback-url", "mdns", "--inspection-collectors", "default")
	if err := a.discover(t.Context()); err != nil || len(a.cfg.APIURLs) > 0 || len(a.cfg.InspectionCallbackURLs) > 0 {
		t.Errorf("%v; URLs %v, %v", err, a.cfg.APIURLs, a.cfg.InspectionCallbackURLs)
	}
}
