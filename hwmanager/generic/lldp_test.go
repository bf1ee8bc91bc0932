package generic

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"os"
	"runtime"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"ferric/api/ipa"
)

// packet is LLDP as a switch sends it: chassis, port, time to live, two VLAN
// names, the end, padding.
const packet = "" +
	"0207" + "04" + "00aabbccddee" + // chassis: MAC address
	"0405" + "05" + "65746831" + // port: interface name "eth1"
	"0602" + "0078" + // time to live
	"fe0b" + "0080c203" + "0064" + "04" + "70726f64" + // VLAN 100, "prod"
	"fe0a" + "0080c203" + "0ffe" + "03" + "746f70" + // VLAN 4094, "top"
	"fe0a" + "0080c203" + "0fff" + "03" + "626164" + // 4095 is reserved
	"fe06" + "0080c201" + "0064" + // another subtype
	"0000" + "0000000000000000"

// elements are those of packet.
func elements() []ipa.TLV {
	return []ipa.TLV{
		{Type: 1, Value: "0400aabbccddee"}, {Type: 2, Value: "0565746831"}, {Type: 3, Value: "0078"},
		{Type: 127, Value: "0080c20300640470726f64"}, {Type: 127, Value: "0080c2030ffe03746f70"},
		{Type: 127, Value: "0080c2030fff03626164"}, {Type: 127, Value: "0080c2010064"}, {Type: 0, Value: ""},
	}
}

func bytesOf(t testing.TB, text string) []byte {
	t.Helper()
	data, err := hex.DecodeString(text)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func TestParseLLDP(t *testing.T) {
	tests := []struct {
		name, packet string
		want         []ipa.TLV
	}{
		{"whole", packet, elements()},
		{"empty", "", nil},
		{"one byte", "02", nil},
		{"cut off in a value", "0602007802070400aabb", []ipa.TLV{{Type: 3, Value: "0078"}}},
		{"no end", "06020078", []ipa.TLV{{Type: 3, Value: "0078"}}},
	}
	for _, test := range tests {
		if diff := cmp.Diff(test.want, parseLLDP(bytesOf(t, test.packet))); diff != "" {
			t.Errorf("%s (-want +got):\n%s", test.name, diff)
		}
	}
}

func TestTLVOnTheWire(t *testing.T) {
	encoded, err := json.Marshal(elements()[6:])
	if err != nil {
		t.Fatal(err)
	}
	if want := `[[127,"0080c2010064"],[0,""]]`; string(encoded) != want {
		t.Errorf("encoded as %s; want %s", encoded, want)
	}
	var back []ipa.TLV
	if err := json.Unmarshal(encoded, &back); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(elements()[6:], back); diff != "" {
		t.Errorf("decoded (-want +got):\n%s", diff)
	}
}

// pair makes a network namespace for the thread of the test, with two
// interfaces that are connected.
func pair(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		if os.Getenv("CI") == "true" {
			t.Fatal("network namespaces need root")
		}
		t.Skip("network namespaces need root")
	}
	// The thread ends with the test: it is in another namespace.
	runtime.LockOSThread()
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		t.Fatal(err)
	}
	attributes := netlink.NewLinkAttrs()
	attributes.Name = "nic0"
	if err := netlink.LinkAdd(&netlink.Veth{LinkAttrs: attributes, PeerName: "switch0"}); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"nic0", "switch0"} {
		link, err := netlink.LinkByName(name)
		if err != nil {
			t.Fatal(err)
		}
		if err := netlink.LinkSetUp(link); err != nil {
			t.Fatal(err)
		}
	}
}

// sender sends frames with an LLDP packet from an interface.
func sender(t *testing.T, name string, group []byte) func() {
	t.Helper()
	link, err := netlink.LinkByName(name)
	if err != nil {
		t.Fatal(err)
	}
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	frame := append(append(append([]byte{}, group...), link.Attrs().HardwareAddr...), 0x88, 0xcc)
	frame = append(frame, bytesOf(t, packet)...)
	to := &unix.SockaddrLinklayer{Ifindex: link.Attrs().Index}
	return func() {
		if err := unix.Sendto(fd, frame, 0, to); err != nil {
			t.Error(err)
		}
	}
}

func TestCaptureLLDP(t *testing.T) {
	groups := map[string][]byte{
		"nearest bridge":  {0x01, 0x80, 0xc2, 0x00, 0x00, 0x0e},
		"customer bridge": {0x01, 0x80, 0xc2, 0x00, 0x00, 0x00},
	}
	for name, group := range groups {
		t.Run(name, func(t *testing.T) {
			pair(t)
			h := lab(t)
			send := sender(t, "switch0", group)
			ownSend := sender(t, "nic0", group) // what this machine sends is no answer
			fd, err := openLLDP("nic0")
			if err != nil {
				t.Fatal(err)
			}
			defer unix.Close(fd)
			ownSend()
			send()
			var got []ipa.TLV
			for deadline := time.Now().Add(10 * time.Second); got == nil && time.Now().Before(deadline); {
				ready, err := waitReadable([]ear{{"nic0", fd}})
				if err != nil {
					t.Fatal(err)
				}
				if ready[0] {
					if got, err = receiveLLDP(fd); err != nil {
						t.Fatal(err)
					}
				}
			}
			if diff := cmp.Diff(elements(), got); diff != "" {
				t.Errorf("packet (-want +got):\n%s", diff)
			}
			// Nothing more comes: the time limit ends the wait.
			started := time.Now()
			heard, err := captureLLDP(context.Background(), h, []string{"nic0", "gone0"}, time.Second)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(map[string][]ipa.TLV{"nic0": {}, "gone0": {}}, heard); diff != "" {
				t.Errorf("without a packet (-want +got):\n%s", diff)
			}
			if took := time.Since(started); took < time.Second || took > 20*time.Second {
				t.Errorf("waited %s for packets; want about 1s", took)
			}
		})
	}
}

// TestCaptureLLDPOfLateLink: the interface comes up while it is listened to.
func TestCaptureLLDPOfLateLink(t *testing.T) {
	pair(t)
	link, err := netlink.LinkByName("nic0")
	if err != nil {
		t.Fatal(err)
	}
	if err := netlink.LinkSetDown(link); err != nil {
		t.Fatal(err)
	}
	fd, err := openLLDP("nic0")
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if tlvs, err := receiveLLDP(fd); err != nil || tlvs != nil {
		t.Errorf("an interface that is down: packet %v, error %v; want neither", tlvs, err)
	}
	if err := netlink.LinkSetUp(link); err != nil {
		t.Fatal(err)
	}
	sender(t, "switch0", []byte{0x01, 0x80, 0xc2, 0x00, 0x00, 0x0e})()
	if _, err := waitReadable([]ear{{"nic0", fd}}); err != nil {
		t.Fatal(err)
	}
	tlvs, err := receiveLLDP(fd)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(elements(), tlvs); diff != "" {
		t.Errorf("packet (-want +got):\n%s", diff)
	}
}

func TestCaptureLLDPEnds(t *testing.T) {
	pair(t)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := captureLLDP(ctx, lab(t), []string{"nic0"}, time.Hour); err != context.Canceled {
		t.Errorf("error %v; want that of the context", err)
	}
}

func FuzzLLDP(f *testing.F) {
	f.Add(bytesOf(f, packet))
	f.Add(bytesOf(f, "fe05"+"0080c20300"))
	f.Add(bytesOf(f, "feff"))
	f.Fuzz(func(t *testing.T, data []byte) {
		tlvs := parseLLDP(data)
		if len(tlvs) > len(data)/2 {
			t.Errorf("%d elements in %d bytes", len(tlvs), len(data))
		}
		for _, id := range vlansOf(tlvs) {
			if !isVLAN(id) {
				t.Errorf("VLAN %d", id)
			}
		}
	})
}
