package main

import (
	"context"
	"errors"
	"net"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// nic is news about a NIC.
func nic(index int, name string, carrier bool) netlink.LinkUpdate {
	attrs := netlink.LinkAttrs{Index: index, Name: name}
	if carrier {
		attrs.RawFlags = unix.IFF_LOWER_UP
	}
	u := netlink.LinkUpdate{Link: &netlink.Device{LinkAttrs: attrs}}
	u.Header.Type = unix.RTM_NEWLINK
	return u
}

// collect takes n names, in any order.
func collect(t *testing.T, names <-chan string, n int) []string {
	t.Helper()
	var got []string
	deadline := time.After(30 * time.Second)
	for len(got) < n {
		select {
		case name := <-names:
			got = append(got, name)
		case <-deadline:
			t.Fatalf("only %v in 30 s, want %d", got, n)
		}
	}
	slices.Sort(got)
	return got
}

// TestLinksOutliveSubscription loses the watch twice, once with an error and once at the
// start, before the second NIC is seen. It checks too that a NIC slow to come up keeps
// nobody waiting, and that no NIC is served twice.
func TestLinksOutliveSubscription(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	lost := errors.New("Receive failed: no buffer space available")
	slow := make(chan struct{})
	raised, configured, warned := make(chan string, 9), make(chan string, 9), make(chan string, 9)
	returned := make(chan string, 9)
	round := 0
	l := &links{
		subscribe: func(ch chan<- netlink.LinkUpdate, done <-chan struct{}, o netlink.LinkSubscribeOptions) error {
			if !o.ListExisting || o.ReceiveBufferSize < linkBuffer || !o.ReceiveBufferForceSize || o.ErrorCallback == nil {
				t.Errorf("subscription with %+v", o)
			}
			round++
			switch round {
			case 1:
				go func() {
					defer close(ch)
					ch <- nic(2, "eth0", true)
					o.ErrorCallback(lost)
				}()
				return nil
			case 2:
				return lost
			}
			go func() {
				defer close(ch)
				for _, u := range []netlink.LinkUpdate{nic(1, "lo", true), nic(2, "eth0", true), nic(3, "eth1", false), nic(3, "eth1", true), nic(3, "eth1", false),
					nic(3, "eth1", false), nic(3, "eth1", true), nic(3, "eth1", true), nic(4, "eth2", false)} {
					ch <- u
				}
				<-done
			}()
			return nil
		},
		isNIC: func(l netlink.Link) bool { return l.Attrs().Name != "lo" },
		raise: func(link netlink.Link) error {
			if link.Attrs().Name == "eth0" {
				<-slow
			}
			raised <- link.Attrs().Name
			return nil
		},
		configure: func(link netlink.Link) { configured <- link.Attrs().Name },
		returned:  func() { returned <- "one" },
		warn:      func(err error) { warned <- err.Error() },
		pause:     time.Millisecond,
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		l.watch(ctx)
	}()
	got := [][]string{collect(t, raised, 2), collect(t, configured, 2), collect(t, warned, 2), collect(t, returned, 1)}
	close(slow)
	got = append(got, collect(t, raised, 1))
	cancel()
	<-ended
	message := "watch network links: " + lost.Error()
	want := [][]string{{"eth1", "eth2"}, {"eth0", "eth1"}, {message, message}, {"one"}, {"eth0"}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("raised, configured, warned, carriers that are back, raised late (-want +got):\n%s", diff)
	}
	if len(raised)+len(configured)+len(warned)+len(returned) != 0 {
		t.Errorf("served twice: %d raised, %d configured, %d warned, %d back", len(raised), len(configured), len(warned), len(returned))
	}
}

// TestLinksReal sees a device of the kernel appear, with the real subscription.
func TestLinksReal(t *testing.T) {
	tapInNamespace(t)
	updates := make(chan netlink.LinkUpdate)
	done := make(chan struct{})
	defer close(done)
	// The namespace is this thread's, so the subscription has to be made here.
	err := netlink.LinkSubscribeWithOptions(updates, done, netlink.LinkSubscribeOptions{
		ListExisting: true, ReceiveBufferSize: linkBuffer, ReceiveBufferForceSize: true})
	if err != nil {
		t.Fatal(err)
	}
	raised := make(chan string, 9)
	l := &links{
		isNIC:   func(l netlink.Link) bool { return l.Attrs().Name == "nic0" },
		raise:   func(link netlink.Link) error { raised <- link.Attrs().Name; return nil },
		raised:  map[int]bool{},
		running: map[int]bool{},
		lost:    map[int]bool{},
	}
	deadline := time.After(30 * time.Second)
	for {
		select {
		case u := <-updates:
			l.update(u)
		case name := <-raised:
			if name != "nic0" {
				t.Errorf("%s was raised, want nic0", name)
			}
			return
		case <-deadline:
			t.Fatal("the device is not seen in 30 s")
		}
	}
}

func TestIsNIC(t *testing.T) {
	mac := net.HardwareAddr{2, 0, 0, 0, 0, 1}
	attrs := netlink.LinkAttrs{Name: "no-such-nic.7", HardwareAddr: mac}
	n := &network{bootif: mac}
	vlan := &netlink.Vlan{LinkAttrs: attrs, VlanId: 7}
	if !isNIC(vlan) || n.isBootNIC(vlan) {
		t.Errorf("VLAN: is a NIC %t, the boot NIC %t; want true, false", isNIC(vlan), n.isBootNIC(vlan))
	}
	if dummy := (&netlink.Dummy{LinkAttrs: attrs}); isNIC(dummy) || !n.isBootNIC(dummy) {
		t.Errorf("dummy: is a NIC %t, has the boot NIC's address %t; want false, true", isNIC(dummy), n.isBootNIC(dummy))
	}
}
