package netboot

import (
	"net"
	"strings"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/insomniacslk/dhcp/dhcpv4/nclient4"
)

// On an interface with two addresses, and a default route elsewhere, the answer
// comes from the configured one, and as a broadcast while the client has no address.
func TestReplySource(t *testing.T) {
	if !inOwnNamespace(t) {
		return
	}
	for _, line := range []string{
		"ip link add v0 type veth peer name v1",
		"ip addr add 192.168.77.1/24 dev v0",
		"ip addr add 192.168.77.2/24 dev v0",
		"ip link set v0 up",
		"ip link set v1 up",
		"ip link add elsewhere type bridge",
		"ip addr add 10.9.9.1/24 dev elsewhere",
		"ip link set elsewhere up",
		"ip route add default via 10.9.9.254 dev elsewhere",
	} {
		run(t, strings.Fields(line)...)
	}
	cfg := fullConfig()
	cfg.Interface, cfg.TFTPServer = "v0", "192.168.77.2"
	startServer(t, cfg, mapDirectory{testMAC.String(): {NodeUUID: bootUUID, Action: LocalDisk}})
	client, err := nclient4.NewRawUDPConn("v1", 68)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	discover, err := dhcpv4.NewDiscovery(testMAC)
	if err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 1500)
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); {
		if _, err := client.WriteTo(discover.ToBytes(), &net.UDPAddr{IP: net.IPv4bcast, Port: 67}); err != nil {
			t.Fatal(err)
		}
		client.SetReadDeadline(time.Now().Add(time.Second)) // as a client: ask again
		n, from, err := client.ReadFrom(buf)
		if err != nil {
			continue
		}
		offer, err := dhcpv4.FromBytes(buf[:n])
		if err != nil || offer.TransactionID != discover.TransactionID {
			t.Fatalf("not our offer: %v, %v", offer, err)
		}
		if from.String() != "192.168.77.2:67" || offer.ServerIdentifier().String() != "192.168.77.2" {
			t.Errorf("answered from %v with server identifier %v; want 192.168.77.2 in both", from, offer.ServerIdentifier())
		}
		return
	}
	t.Fatal("no offer within 20 s")
}
