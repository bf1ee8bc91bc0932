package conversation_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"
	"golang.org/x/sync/errgroup"

	"ferric/api/ipa"
	"ferric/integration/conversation"
	"ferric/integration/lab"
)

// announce answers questions for the service "baremetal" by multicast DNS (RFC 6762) as Ironic does, until ctx ends. The
// API is at the rack's address and that port.
func announce(ctx context.Context, port uint16) error {
	link, err := net.InterfaceByName(lab.Bridge)
	if err != nil {
		return err
	}
	conn, err := net.ListenMulticastUDP("udp4", link, &net.UDPAddr{IP: net.IPv4(224, 0, 0, 251), Port: 5353})
	if err != nil {
		return fmt.Errorf("listen for multicast DNS: %w", err)
	}
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	for buf := make([]byte, 9000); ; {
		n, from, err := conn.ReadFromUDP(buf)
		if errors.Is(err, net.ErrClosed) {
			return nil
		}
		if err != nil {
			return err
		}
		answer, err := announcement(buf[:n], port)
		if err != nil {
			return err
		}
		if answer == nil {
			continue
		}
		if _, err := conn.WriteToUDP(answer, from); err != nil && ctx.Err() == nil {
			return err
		}
	}
}

// announcement answers a question for the service, nil any other message.
func announcement(question []byte, port uint16) ([]byte, error) {
	var p dnsmessage.Parser
	header, err := p.Start(question)
	if err != nil || header.Response {
		return nil, nil
	}
	questions, err := p.AllQuestions()
	if err != nil || len(questions) == 0 || !strings.EqualFold(questions[0].Name.String(), "baremetal._openstack._tcp.local.") {
		return nil, nil
	}
	service, host := dnsmessage.MustNewName("baremetal._openstack._tcp.local."), dnsmessage.MustNewName("conductor.local.")
	resource := func(name dnsmessage.Name) dnsmessage.ResourceHeader {
		return dnsmessage.ResourceHeader{Name: name, Class: dnsmessage.ClassINET | 1<<15, TTL: 120}
	}
	b := dnsmessage.NewBuilder(nil, dnsmessage.Header{ID: header.ID, Response: true, Authoritative: true})
	err = errors.Join(b.StartAnswers(),
		b.SRVResource(resource(service), dnsmessage.SRVResource{Port: port, Target: host}),
		b.TXTResource(resource(service), dnsmessage.TXTResource{TXT: []string{"path=/", "protocol=http", "ipa_debug=1", "ipa_ntp_server=192.168.77.1"}}),
		b.StartAdditionals(), b.AResource(resource(host), dnsmessage.AResource{A: netip.MustParseAddr(lab.Address).As4()}))
	if err != nil {
		return nil, err
	}
	return b.Finish()
}

// discoveryRebootLockdown boots a machine with two cards that each get an address and a default route. The API, which is
// found by multicast DNS behind the first, could be reached through both. The machine is rebooted, and in the end told to be silent.
func discoveryRebootLockdown(t *testing.T) {
	const mac = "52:54:00:77:00:09"
	ctx, s := open(t, conversation.SiteOptions{
		Release: conversation.Ironic21(), Params: "ipa-debug=1 ipa-api-url=mdns BOOTIF=" + bootif(mac),
		Node: lab.NodeConfig{MAC: mac, MemoryMiB: 384, Arguments: []string{
			"-netdev", "user,id=other,net=10.0.2.0/24", "-device", "virtio-net-pci,netdev=other,mac=52:54:00:00:02:02",
		}},
	})
	answering, stop := context.WithCancel(ctx)
	var answers errgroup.Group
	answers.Go(func() error { return announce(answering, 6385) })
	boot(t, ctx, s)
	if url := s.Beat().CallbackURL; !strings.Contains(url, "//192.168.77.") {
		t.Errorf("the agent is to be called back at %s; want the address in the API's network", url)
	}
	lookup := s.Calls(conversation.Lookup)[0].Query.Get("addresses")
	if !strings.Contains(lookup, mac) || !strings.Contains(lookup, "52:54:00:00:02:02") {
		t.Errorf("lookup by %s; want the addresses of both cards", lookup)
	}

	// Reboots are the conductor's or the agent's.
	mark, began := s.Machine.Console.Mark(), time.Now()
	result, err := s.Command(ctx, "standby.run_image", nil, false)
	must(t, err)
	if result.Status != ipa.StatusRunning {
		t.Errorf("run_image is %+v; want RUNNING", result)
	}
	s.Forget()
	first(t, ctx, s, mark, began)
	if events := s.Machine.Events(); events[len(events)-1].What != lab.GuestReset {
		t.Errorf("the machine's power: %+v; want a reset by the machine itself", events)
	}
	list, err := s.Commands(ctx)
	must(t, err)
	if len(list) != 0 {
		t.Errorf("the list of the new boot is %+v; want none", list)
	}
	stop()
	must(t, answers.Wait())

	result, err = s.Command(ctx, "system.lockdown", nil, false)
	must(t, err)
	if result.Status != ipa.StatusSucceeded {
		t.Errorf("lockdown is %+v; want SUCCEEDED", result)
	}
	dead(t, ctx, s)
	states, err := conversation.Shell(ctx, s.Machine, "cat /sys/class/net/*/operstate")
	must(t, err)
	if strings.Contains(states, "up") || strings.Count(states, "down") != 2 {
		t.Errorf("interfaces after the lockdown: %q; want both down", strings.Fields(states))
	}
	golden(t, s, "reboot-lockdown")
}
