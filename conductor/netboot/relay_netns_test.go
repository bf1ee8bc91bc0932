package netboot

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/insomniacslk/dhcp/dhcpv4/nclient4"
	"github.com/insomniacslk/dhcp/dhcpv6"
	"github.com/insomniacslk/dhcp/dhcpv6/nclient6"
)

// start runs a program until the test ends, and waits for a line of its output.
func start(t *testing.T, ready string, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(args[0], args[1:]...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, in := io.Pipe()
	cmd.Stdout, cmd.Stderr = in, in
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	seen, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		found := false
		for lines := bufio.NewScanner(out); lines.Scan(); {
			t.Log(lines.Text())
			if !found && strings.Contains(lines.Text(), ready) {
				found = true
				close(seen)
			}
		}
	}()
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
		in.Close()
		<-done
	})
	select {
	case <-seen:
	case <-time.After(20 * time.Second):
		t.Fatalf("%s did not say %q", args[0], ready)
	}
	return cmd
}

// A client behind dnsmasq's relay agent, which is in a namespace of its own, gets
// addresses of its network and boot data, by both protocols.
func TestThroughARelayAgent(t *testing.T) {
	if !inOwnNamespace(t, "dnsmasq", "nsenter") {
		return
	}
	relay := start(t, "there", "unshare", "-n", "sh", "-c", "echo there; exec sleep 1000")
	pid := strconv.Itoa(relay.Process.Pid)
	inside := "nsenter -t " + pid + " -n "
	for _, line := range []string{
		"ip link set lo up",
		"ip link add v0 type veth peer name v1", "ip link add c1 address " + testMAC.String() + " type veth peer name c0",
		"ip link set v1 netns " + pid, "ip link set c0 netns " + pid,
		"ip addr add 10.9.0.1/24 dev v0", "ip -6 addr add 2001:db8::1/64 dev v0 nodad",
		"ip link set v0 up", "ip link set c1 up",
		inside + "ip addr add 10.9.0.2/24 dev v1", inside + "ip -6 addr add 2001:db8::2/64 dev v1 nodad",
		inside + "ip addr add 198.51.100.1/24 dev c0", inside + "ip -6 addr add 2001:db8:9::1/64 dev c0 nodad",
		inside + "ip link set v1 up", inside + "ip link set c0 up", inside + "ip link set lo up",
		"ip route add 198.51.100.0/24 via 10.9.0.2", "ip -6 route add 2001:db8:9::/64 via 2001:db8::2",
	} {
		run(t, strings.Fields(line)...)
	}
	start(t, "DHCP", append(strings.Fields(inside), "dnsmasq", "-d", "--conf-file=/dev/null", "--port=0", "--user=root", "--group=root",
		"--dhcp-leasefile="+filepath.Join(t.TempDir(), "leases"), "--dhcp-relay=198.51.100.1,10.9.0.1", "--dhcp-relay=2001:db8:9::1,2001:db8::1", "--log-dhcp")...)
	cfg := DefaultConfig()
	cfg.Interface, cfg.DHCP, cfg.DHCPv6 = "v0", DHCPFull, DHCPFull
	cfg.RangeBegin, cfg.RangeEnd = "10.9.0.100", "10.9.0.120"
	cfg.Range6Begin, cfg.Range6End = "2001:db8::100", "2001:db8::1ff"
	cfg.Subnets = []string{"far range=198.51.100.50-198.51.100.60 netmask=24 router=198.51.100.1 range6=2001:db8:9::50-2001:db8:9::60 http_url6=http://[2001:db8:9::7]/"}
	events := startServer(t, cfg, mapDirectory{testMAC.String(): {NodeUUID: bootUUID, Action: Ramdisk}})

	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	client, err := nclient4.New("c1", nclient4.WithHWAddr(testMAC), nclient4.WithTimeout(2*time.Second), nclient4.WithRetry(10))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	lease, err := client.Request(ctx, dhcpv4.WithOption(dhcpv4.OptClassIdentifier("PXEClient:Arch:00007:UNDI:003016")), with(93, 0, 7))
	if err != nil {
		t.Fatalf("DHCP: %v\n%s", err, events)
	}
	if got := lease.ACK; !strings.HasPrefix(got.YourIPAddr.String(), "198.51.100.5") && got.YourIPAddr.String() != "198.51.100.60" || got.Router()[0].String() != "198.51.100.1" || got.BootFileNameOption() != "snponly.efi" {
		t.Errorf("DHCP: %v", got.Summary())
	}
	if got := solicit6(t, ctx); !strings.HasPrefix(addressOf(got), "2001:db8:9::5") && addressOf(got) != "2001:db8:9::60" || got.Options.BootFileURL() != "http://[2001:db8:9::7]/snponly.efi" {
		t.Errorf("DHCPv6: %v", got.Summary())
	}
}

// solicit6 asks for an address and something to boot by HTTP, until it is answered.
func solicit6(t *testing.T, ctx context.Context) *dhcpv6.Message {
	t.Helper()
	var client *nclient6.Client
	var err error
	for client == nil { // the link-local address has to settle first
		if client, err = nclient6.New("c1", nclient6.WithTimeout(2*time.Second), nclient6.WithRetry(10)); err != nil {
			select {
			case <-ctx.Done():
				t.Fatalf("DHCPv6: %v", err)
			case <-time.After(100 * time.Millisecond):
			}
		}
	}
	defer client.Close()
	asks := func(d dhcpv6.DHCPv6) {
		for _, mod := range []mod6{class6("HTTPClient:Arch:00016:UNDI:003000"), opt6(dhcpv6.OptClientArchType(16))} {
			mod(d.(*dhcpv6.Message))
		}
	}
	advertise, err := client.Solicit(ctx, asks)
	if err != nil {
		t.Fatalf("DHCPv6: %v", err)
	}
	reply, err := client.Request(ctx, advertise, asks)
	if err != nil {
		t.Fatalf("DHCPv6: %v", err)
	}
	if fmt.Sprint(addressOf(reply)) != addressOf(advertise) {
		t.Errorf("advertised %s, given %s", addressOf(advertise), addressOf(reply))
	}
	return reply
}
