package main

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/insomniacslk/dhcp/dhcpv4"
)

func TestCmdline(t *testing.T) {
	for text, want := range map[string]string{
		"quiet BOOTIF=52:54:00:12:34:56 x=1": "52:54:00:12:34:56",
		"BOOTIF=01-52-54-00-AB-cd-EF\n":      "52:54:00:ab:cd:ef",
		"BOOTIF=nonsense":                    "",
		"":                                   "",
		"BOOTIF=00:00:00:00:00:01 BOOTIF=0:0:0:0:2": "",
	} {
		if got := parseCmdline(text).bootif().String(); got != want {
			t.Errorf("bootif of %q = %q, want %q", text, got, want)
		}
	}
	for text, want := range map[string]bool{"ipa-debug=1": true, "ipa-debug=Yes": true, "ipa-debug=0": false, "ipa-debug": false, "": false} {
		if got := parseCmdline(text).bool("ipa-debug"); got != want {
			t.Errorf("ipa-debug of %q = %v", text, got)
		}
	}
}

func TestAddedModalias(t *testing.T) {
	for message, want := range map[string]string{
		"add@/devices/x\x00ACTION=add\x00MODALIAS=virtio:d00000002v00001AF4\x00SEQNUM=7\x00": "virtio:d00000002v00001AF4",
		"remove@/devices/x\x00MODALIAS=virtio:d00000002v00001AF4\x00":                        "",
		"add@/devices/x\x00SEQNUM=7\x00":                                                     "",
		"libudev\x00add@":                                                                    "",
		"":                                                                                   "",
	} {
		if got := addedModalias([]byte(message)); got != want {
			t.Errorf("addedModalias(%q) = %q, want %q", message, got, want)
		}
	}
}

func TestForNetwork(t *testing.T) {
	for alias, want := range map[string]bool{
		"pci:v00008086d000010D3sv00008086sd0000A01Fbc02sc00i00": true,
		"pci:v00001AF4d00001041sv00001AF4sd00001100bc02sc00i00": true,
		"pci:v00008086d00002922sv00001AF4sd00001100bc01sc06i01": false,
		"virtio:d00000001v00001AF4":                             true,
		"virtio:d00000002v00001AF4":                             false,
		"acpi:PNP0A08:PNP0A03:":                                 false,
	} {
		if got := forNetwork(alias); got != want {
			t.Errorf("forNetwork(%s) = %v", alias, got)
		}
	}
}

func ack(t *testing.T, ip string, mods ...dhcpv4.Modifier) *dhcpv4.DHCPv4 {
	t.Helper()
	m, err := dhcpv4.New(append([]dhcpv4.Modifier{
		dhcpv4.WithYourIP(net.ParseIP(ip)), dhcpv4.WithMessageType(dhcpv4.MessageTypeAck)}, mods...)...)
	if err != nil {
		t.Fatal(err)
	}
	read, err := dhcpv4.FromBytes(m.ToBytes()) // as it comes from the wire
	if err != nil {
		t.Fatal(err)
	}
	return read
}

func TestNewLease(t *testing.T) {
	l, err := newLease(ack(t, "10.1.2.3",
		dhcpv4.WithNetmask(net.CIDRMask(20, 32)), dhcpv4.WithRouter(net.IP{10, 1, 0, 1}),
		dhcpv4.WithDNS(net.IP{10, 1, 0, 2}), dhcpv4.WithLeaseTime(600),
		dhcpv4.WithOption(dhcpv4.OptHostName("node-7")), dhcpv4.WithOption(dhcpv4.OptDomainName("lab.example")),
		dhcpv4.WithGeneric(dhcpv4.OptionInterfaceMTU, []byte{0x23, 0x28})))
	if err != nil {
		t.Fatal(err)
	}
	got := []any{l.addr.String(), l.gateway.String(), len(l.dns), l.hostname, l.domain, l.mtu, l.renew, l.expire}
	want := []any{"10.1.2.3/20", "10.1.0.1", 1, "node-7", "lab.example", 9000, 300 * time.Second, 600 * time.Second}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("lease (-want +got):\n%s", diff)
	}
}

func TestNewLeaseDistrusts(t *testing.T) {
	for _, ip := range []string{"0.0.0.0", "255.255.255.255", "224.0.0.1", "127.0.0.1"} {
		if _, err := newLease(ack(t, ip)); err == nil {
			t.Errorf("address %s was accepted", ip)
		}
	}
	l, err := newLease(ack(t, "10.1.2.3", dhcpv4.WithLeaseTime(1),
		dhcpv4.WithOption(dhcpv4.OptHostName("a\nb")), dhcpv4.WithOption(dhcpv4.OptDomainName("x\nnameserver 6.6.6.6")),
		dhcpv4.WithGeneric(dhcpv4.OptionInterfaceMTU, []byte{0, 1})))
	if err != nil {
		t.Fatal(err)
	}
	got := []any{l.addr.String(), l.hostname, l.domain, l.mtu, l.expire}
	want := []any{"10.1.2.3/8", "", "", 0, shortestLease}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("lease (-want +got):\n%s", diff)
	}
}

func TestResolvConf(t *testing.T) {
	got := string(resolvConf([]binding{
		{"eth1", lease{dns: []net.IP{{10, 0, 0, 2}}}},
		{"eth0", lease{dns: []net.IP{{10, 9, 0, 2}}, domain: "lab.example"}},
	}))
	want := "search lab.example\nnameserver 10.0.0.2\nnameserver 10.9.0.2\n"
	if got != want {
		t.Errorf("resolv.conf %q, want %q", got, want)
	}
}

// TestConsole checks the stable form of the lines, and that the log stays small.
func TestConsole(t *testing.T) {
	tty, err := os.Create(filepath.Join(t.TempDir(), "tty"))
	if err != nil {
		t.Fatal(err)
	}
	c := &console{tty: tty}
	log := filepath.Join(t.TempDir(), "log/boot.log")
	c.keep(log)
	c.copy("agent: ", strings.NewReader("one\r\ntwo"))
	text, err := os.ReadFile(log)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(string(text), "\n")
	if len(lines) != 3 || !strings.HasSuffix(lines[0], "] agent: one") || !strings.HasSuffix(lines[1], "] agent: two") {
		t.Errorf("log %q", text)
	}
	c.copy("", strings.NewReader(strings.Repeat("0123456789\n", 3*logLimit/10)))
	for _, path := range []string{log, log + ".1"} {
		if info, err := os.Stat(path); err != nil || info.Size() > logLimit+maxLine {
			t.Errorf("%s: %v, %v", path, info, err)
		}
	}
}

// testChildren is shared by all tests, as by all of the first process: it collects every
// process that ends.
var testChildren = sync.OnceValue(newChildren)

// TestChildren starts processes and is told their ends, an orphan in between or not.
func TestChildren(t *testing.T) {
	c := testChildren()
	for script, want := range map[string]string{"exit 0": "exit status 0", "exit 7": "exit status 7", "kill -9 $$": "killed by killed"} {
		done, err := c.start("/bin/sh", []string{"sh", "-c", script}, &syscall.ProcAttr{Files: []uintptr{0, 1, 2}})
		if err != nil {
			t.Fatal(err)
		}
		select {
		case s := <-done:
			if got := ending(s); got != want {
				t.Errorf("%s: %s, want %s", script, got, want)
			}
		case <-time.After(30 * time.Second):
			t.Fatalf("%s: its end is not seen", script)
		}
	}
	if _, err := c.start("/nonexistent", nil, &syscall.ProcAttr{}); err == nil {
		t.Error("a program that does not exist was started")
	}
}
