package main

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/insomniacslk/dhcp/dhcpv4/nclient4"
)

// TestFollowAgain moves a machine with a lease of an hour to another network, whose
// server does not answer at once.
func TestFollowAgain(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	answers := []*dhcpv4.DHCPv4{
		ack(t, "10.1.0.5", dhcpv4.WithLeaseTime(3600)), nil, ack(t, "10.2.0.5", dhcpv4.WithLeaseTime(0xffffffff)),
		ack(t, "10.3.0.5", dhcpv4.WithLeaseTime(3600)),
	}
	asked := 0
	ask := func(_ context.Context, held *nclient4.Lease) (*nclient4.Lease, error) {
		if held != nil {
			t.Errorf("question %d is for a renewal", asked)
		}
		answer := answers[min(asked, len(answers)-1)]
		asked++
		if answer == nil {
			return nil, errors.New("no answer")
		}
		return &nclient4.Lease{ACK: answer, CreationTime: time.Now()}, nil
	}
	var again bell
	again.ring() // nobody listens yet
	used, failed := make(chan string, 9), make(chan string, 9)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		follow(ctx, ask, &again, func(l lease) { used <- l.addr.IP.String() }, func(err error) { failed <- err.Error() })
	}()
	got := collect(t, used, 1)
	again.ring()
	got = append(got, collect(t, failed, 1)...)
	got = append(got, collect(t, used, 1)...)
	again.ring()
	got = append(got, collect(t, used, 1)...)
	cancel()
	<-ended
	if diff := cmp.Diff([]string{"10.1.0.5", "no answer", "10.2.0.5", "10.3.0.5"}, got); diff != "" {
		t.Errorf("leases (-want +got):\n%s", diff)
	}
}

func TestTTYs(t *testing.T) {
	for active, want := range map[string][]string{
		"tty0 ttyS1\n": {"/dev/tty1", "/dev/ttyS1"},
		"ttyS0":        {"/dev/ttyS0"},
		"":             {"/dev/console"},
	} {
		if got := ttysOf(active); !slices.Equal(got, want) {
			t.Errorf("consoles of %q: %v, want %v", active, got, want)
		}
	}
}

// TestRescueEndsAgent has the agent end with the machine handed over.
func TestRescueEndsAgent(t *testing.T) {
	out, _ := logConsole(t)
	calls := 0
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		keepAgent(t.Context(), testChildren(), out, func() bool { calls++; return calls > 1 })
	}()
	select {
	case <-ended:
	case <-time.After(30 * time.Second):
		t.Fatal("the agent is started again after the rescue")
	}
}
