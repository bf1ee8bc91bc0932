package mdns

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/net/dns/dnsmessage"
)

// record makes one resource for an answer.
func record(name string, body dnsmessage.ResourceBody) dnsmessage.Resource {
	return dnsmessage.Resource{
		Header: dnsmessage.ResourceHeader{Name: dnsmessage.MustNewName(name), Class: dnsmessage.ClassINET | unicastWanted, TTL: 120},
		Body:   body,
	}
}

func message(t testing.TB, answers, additionals []dnsmessage.Resource) []byte {
	t.Helper()
	m := dnsmessage.Message{Header: dnsmessage.Header{Response: true, Authoritative: true}, Answers: answers, Additionals: additionals}
	b, err := m.Pack()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

const instance = "baremetal." + domain

func srv(host string, port, priority uint16) dnsmessage.Resource {
	return record(instance, &dnsmessage.SRVResource{Target: dnsmessage.MustNewName(host), Port: port, Priority: priority})
}

func txt(items ...string) dnsmessage.Resource {
	return record(instance, &dnsmessage.TXTResource{TXT: items})
}

func a(host string, addr string) dnsmessage.Resource {
	ip := netip.MustParseAddr(addr)
	if ip.Is6() {
		return record(host, &dnsmessage.AAAAResource{AAAA: ip.As16()})
	}
	return record(host, &dnsmessage.AResource{A: ip.As4()})
}

func query() Query {
	return Query{Service: "baremetal", HasRoute: func(addr netip.Addr) bool { return addr != netip.MustParseAddr("192.0.2.99") }}
}

func TestEndpoint(t *testing.T) {
	for _, test := range []struct {
		name    string
		answers []dnsmessage.Resource
		url     string
		options map[string]string
		err     string
	}{
		{"host name", []dnsmessage.Resource{srv("Ironic.example.com.", 6385, 0), txt("path=/baremetal/", "protocol=http"), a("ironic.EXAMPLE.com.", "192.0.2.1")},
			"http://ironic.example.com:6385/baremetal", nil, ""},
		{"local name", []dnsmessage.Resource{srv("ironic.local.", 6385, 0), txt(""), a("ironic.local.", "192.0.2.1")}, "https://192.0.2.1:6385", nil, ""},
		{"local name with IPv6", []dnsmessage.Resource{srv("ironic.local.", 443, 0), txt("path=/"), a("ironic.local.", "2001:db8::1")}, "https://[2001:db8::1]:443", nil, ""},
		{"IPv4 first, loopback and unreachable skipped", []dnsmessage.Resource{srv("i.local.", 80, 0), txt(""),
			a("i.local.", "2001:db8::1"), a("i.local.", "127.0.0.1"), a("i.local.", "192.0.2.99"), a("i.local.", "192.0.2.2"), a("other.local.", "192.0.2.3")},
			"http://192.0.2.2:80", nil, ""},
		{"options", []dnsmessage.Resource{srv("i.local.", 443, 0), txt("IPA_ntp_server=192.0.2.7", "ipa_debug=", "ipa_debug=1", "noise", "=x", "other=1"), a("i.local.", "192.0.2.1")},
			"https://192.0.2.1:443", map[string]string{"ntp_server": "192.0.2.7", "debug": ""}, ""},
		{"the server of the better priority", []dnsmessage.Resource{srv("b.local.", 1, 2), srv("a.local.", 2, 1), txt(""), a("a.local.", "192.0.2.1"), a("b.local.", "192.0.2.2")},
			"https://192.0.2.1:2", nil, ""},
		{"no address yet", []dnsmessage.Resource{srv("i.local.", 443, 0), txt("")}, "", nil, "no complete answer"},
		{"no text yet", []dnsmessage.Resource{srv("i.local.", 443, 0), a("i.local.", "192.0.2.1")}, "", nil, "no complete answer"},
		{"no server yet", []dnsmessage.Resource{txt(""), a("i.local.", "192.0.2.1")}, "", nil, "no complete answer"},
		{"no route", []dnsmessage.Resource{srv("i.local.", 443, 0), txt(""), a("i.local.", "192.0.2.99")}, "", nil, "no route"},
		{"strange protocol", []dnsmessage.Resource{srv("i.local.", 443, 0), txt("protocol=file"), a("i.local.", "192.0.2.1")}, "", nil, "neither http nor https"},
		{"strange path", []dnsmessage.Resource{srv("i.local.", 443, 0), txt("path=@evil"), a("i.local.", "192.0.2.1")}, "", nil, "does not begin with a slash"},
		{"strange host", []dnsmessage.Resource{srv("a@b.", 443, 0), txt(""), a("a@b.", "192.0.2.1")}, "", nil, "no complete answer"},
	} {
		t.Run(test.name, func(t *testing.T) {
			gathered := newAnswers("Baremetal")
			half := len(test.answers) / 2
			gathered.add(message(t, test.answers[:half], test.answers[half:]))
			got, err := query().endpoint(gathered)
			if test.err != "" {
				if err == nil || !strings.Contains(err.Error(), test.err) {
					t.Errorf("%+v, %v; want %q", got, err, test.err)
				}
				return
			}
			if test.options == nil {
				test.options = map[string]string{}
			}
			if diff := cmp.Diff(Endpoint{test.url, test.options}, got); diff != "" || err != nil {
				t.Errorf("%v (-want +got):\n%s", err, diff)
			}
		})
	}
}

// loopback asks on the loopback interface only.
func loopback() Query {
	q := query()
	q.Interfaces = []netip.Addr{netip.MustParseAddr("127.0.0.1")}
	q.Attempts = 3
	return q
}

// TestTwoQuestions: a server that answers each question with what it asks for
// and no more, as small ones do.
func TestTwoQuestions(t *testing.T) {
	lo, err := net.InterfaceByName("lo")
	if err != nil {
		t.Fatal(err)
	}
	conn, err := net.ListenMulticastUDP("udp4", lo, net.UDPAddrFromAddrPort(group4))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	const name = "small.test-of-ferric.local."
	const service = "small-test-of-ferric." + domain
	go func() {
		b := make([]byte, maxMessage)
		for {
			n, from, err := conn.ReadFromUDPAddrPort(b)
			if errors.Is(err, net.ErrClosed) {
				return
			}
			var m dnsmessage.Message
			if err != nil || m.Unpack(b[:n]) != nil {
				continue
			}
			var answers []dnsmessage.Resource
			for _, q := range m.Questions {
				switch q.Name.String() + q.Type.String() {
				case service + "TypeSRV":
					answers = append(answers, record(service, &dnsmessage.SRVResource{Target: dnsmessage.MustNewName(name), Port: 6385}))
				case service + "TypeTXT":
					answers = append(answers, record(service, &dnsmessage.TXTResource{TXT: []string{"path=/x"}}))
				case name + "TypeA":
					answers = append(answers, a(name, "192.0.2.1"))
				}
			}
			if len(answers) > 0 {
				conn.WriteToUDPAddrPort([]byte("noise"), from)
				conn.WriteToUDPAddrPort(message(t, answers, nil), from)
			}
		}
	}()
	q := loopback()
	q.Service = "small-test-of-ferric"
	got, err := Find(t.Context(), q)
	if err != nil || got.URL != "https://192.0.2.1:6385/x" {
		t.Errorf("found %+v, %v", got, err)
	}
}

// announce is a program that announces a service as Ironic's conductors do:
// with the same library.
const announce = `
import socket, sys, zeroconf
z = zeroconf.Zeroconf(interfaces=["127.0.0.1"])
i = zeroconf.ServiceInfo("_openstack._tcp.local.", "%s._openstack._tcp.local.",
    addresses=[socket.inet_aton("127.0.0.1"), socket.inet_aton("192.0.2.1")], port=6385,
    properties={"path": "/baremetal", "protocol": "http", "ipa_ntp_server": "192.0.2.7"}, server="%s")
z.register_service(i)
print("announced", flush=True)
sys.stdin.read()
`

func TestServiceOfIronicsLibrary(t *testing.T) {
	const python = "/usr/bin/python3" // the distribution's, which has its libraries
	if text, err := exec.Command(python, "-c", "import zeroconf").CombinedOutput(); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatalf("package python3-zeroconf: %v: %s", err, text)
		}
		t.Skip("python3-zeroconf is not installed")
	}
	const service = "baremetal-test-of-ferric"
	cmd := exec.CommandContext(t.Context(), python, "-c", fmt.Sprintf(announce, service, "ironic-test-of-ferric.local."))
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { stdin.Close(); _ = cmd.Wait() }()
	if line, err := bufio.NewReader(out).ReadString('\n'); err != nil {
		t.Fatalf("announcement: %q, %v", line, err)
	}
	q := loopback()
	q.Service = service
	got, err := Find(t.Context(), q)
	want := Endpoint{"http://192.0.2.1:6385/baremetal", map[string]string{"ntp_server": "192.0.2.7"}}
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
}

func TestNobodyAnswers(t *testing.T) {
	q := loopback()
	q.Service, q.Attempts = "absent-test-of-ferric", 1
	if got, err := Find(t.Context(), q); !errors.Is(err, errIncomplete) || !strings.Contains(err.Error(), q.Service) {
		t.Errorf("found %+v, %v", got, err)
	}
	q.Interfaces = []netip.Addr{netip.MustParseAddr("192.0.2.77")}
	if got, err := Find(t.Context(), q); err == nil || !strings.Contains(err.Error(), "no interface") {
		t.Errorf("found %+v, %v; want no interface", got, err)
	}
}

func FuzzAnswers(f *testing.F) {
	f.Add(message(f, []dnsmessage.Resource{srv("i.local.", 443, 0), txt("ipa_debug=1", "path=/x", "protocol=http")}, []dnsmessage.Resource{a("i.local.", "192.0.2.1")}))
	f.Add(message(f, []dnsmessage.Resource{srv("a.b.", 80, 1), srv("b.c.", 80, 0), txt("=", "")}, []dnsmessage.Resource{a("b.c.", "::1"), a("b.c.", "fe80::1")}))
	f.Add([]byte{0, 0, 0x84, 0, 0, 0, 0xff, 0xff, 0, 0, 0, 0, 0xc0, 0x0c})
	f.Fuzz(func(t *testing.T, message []byte) {
		gathered := newAnswers("baremetal")
		gathered.add(message)
		gathered.add(message)
		if len(gathered.text) > maxKeys || len(gathered.addresses) > maxHosts+1 || len(gathered.addresses[gathered.host]) > maxAddresses {
			t.Errorf("%d keys, %d hosts", len(gathered.text), len(gathered.addresses))
		}
		if _, err := gathered.question(); err != nil {
			t.Errorf("no question after %q: %v", message, err)
		}
		if e, err := query().endpoint(gathered); err == nil && !strings.HasPrefix(e.URL, "http") {
			t.Errorf("URL %q", e.URL)
		}
	})
}
