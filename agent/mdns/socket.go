package mdns

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Groups and port of multicast DNS (RFC 6762, 3).
var (
	group4 = netip.MustParseAddrPort("224.0.0.251:5353")
	group6 = netip.MustParseAddrPort("[ff02::fb]:5353")
)

const (
	// hops is the TTL that multicast DNS wants (RFC 6762, 11).
	hops = 255
	// maxMessage bounds a message (RFC 6762, 17).
	maxMessage = 9000
	// maxMessages bounds the messages that one attempt looks at.
	maxMessages = 1000
	// repeat is the time between questions within an attempt.
	repeat = 250 * time.Millisecond
)

// ask makes one attempt: it asks on all interfaces, from ports of our own, so
// that answers come to us (RFC 6762, 6.7), until they are complete.
func (q Query) ask(ctx context.Context) (Endpoint, error) {
	ctx, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	sockets, err := q.open(ctx)
	if err != nil {
		return Endpoint{}, err
	}
	messages := make(chan []byte, len(sockets))
	for _, s := range sockets {
		defer s.conn.Close()
		go s.receive(ctx, messages)
	}
	gathered := newAnswers(q.Service)
	last := errIncomplete
	tick := time.NewTicker(repeat)
	defer tick.Stop()
	if err := send(sockets, gathered); err != nil {
		return Endpoint{}, err
	}
	for seen := 0; seen < maxMessages; {
		select {
		case <-ctx.Done():
			return Endpoint{}, last
		case <-tick.C:
			if err := send(sockets, gathered); err != nil {
				return Endpoint{}, err
			}
		case message := <-messages:
			seen++
			host := gathered.host
			gathered.add(message)
			endpoint, err := q.endpoint(gathered)
			if err == nil {
				return endpoint, nil
			}
			last = err
			if gathered.host != host { // its addresses may be missing
				tick.Reset(repeat)
				if err := send(sockets, gathered); err != nil {
					return Endpoint{}, err
				}
			}
		}
	}
	return Endpoint{}, fmt.Errorf("more than %d messages: %w", maxMessages, last)
}

// socket asks on one interface in one family.
type socket struct {
	conn  *net.UDPConn
	group netip.AddrPort
}

// open makes sockets for all interfaces.
func (q Query) open(ctx context.Context) ([]socket, error) {
	interfaces, err := net.Interfaces()
	if err != nil {
		return nil, err
	}
	var sockets []socket
	var failures []error
	for _, i := range interfaces {
		if !q.wants(i) {
			continue
		}
		for _, group := range []netip.AddrPort{group4, group6} {
			conn, err := listen(ctx, i.Index, group)
			if err != nil {
				failures = append(failures, err)
				continue
			}
			sockets = append(sockets, socket{conn, group})
		}
	}
	if len(sockets) == 0 {
		return nil, errors.Join(append(failures, errors.New("no interface to ask on"))...)
	}
	return sockets, nil
}

// wants reports whether to ask on the interface: on those named, or on all that
// are up and take multicast.
func (q Query) wants(i net.Interface) bool {
	if i.Flags&net.FlagUp == 0 {
		return false
	}
	if len(q.Interfaces) == 0 {
		return i.Flags&net.FlagMulticast != 0 && i.Flags&net.FlagLoopback == 0
	}
	addrs, err := i.Addrs()
	if err != nil {
		return false
	}
	return slices.ContainsFunc(addrs, func(a net.Addr) bool {
		prefix, err := netip.ParsePrefix(a.String())
		return err == nil && slices.Contains(q.Interfaces, prefix.Addr().Unmap())
	})
}

// listen opens a socket whose multicast leaves by the interface; this needs no
// route.
func listen(ctx context.Context, index int, group netip.AddrPort) (*net.UDPConn, error) {
	network, host := "udp4", "0.0.0.0:0"
	options := func(fd int) error {
		return errors.Join(
			unix.SetsockoptIPMreqn(fd, unix.IPPROTO_IP, unix.IP_MULTICAST_IF, &unix.IPMreqn{Ifindex: int32(index)}),
			unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_MULTICAST_TTL, hops))
	}
	if group.Addr().Is6() {
		network, host = "udp6", "[::]:0"
		options = func(fd int) error {
			return errors.Join(
				unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_MULTICAST_IF, index),
				unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_MULTICAST_HOPS, hops))
		}
	}
	lc := net.ListenConfig{Control: func(_, _ string, raw syscall.RawConn) error {
		var err error
		if outer := raw.Control(func(fd uintptr) { err = options(int(fd)) }); outer != nil {
			return outer
		}
		return err
	}}
	conn, err := lc.ListenPacket(ctx, network, host)
	if err != nil {
		return nil, fmt.Errorf("socket on interface %d: %w", index, err)
	}
	return conn.(*net.UDPConn), nil
}

// send asks on all sockets; one that takes the question is enough.
func send(sockets []socket, a *answers) error {
	question, err := a.question()
	if err != nil {
		return fmt.Errorf("make question: %w", err)
	}
	var failures []error
	for _, s := range sockets {
		if _, err := s.conn.WriteToUDPAddrPort(question, s.group); err != nil {
			failures = append(failures, err)
		}
	}
	if len(failures) == len(sockets) {
		return fmt.Errorf("ask: %w", errors.Join(failures...))
	}
	return nil
}

// receive hands on what comes, until the socket is closed.
func (s socket) receive(ctx context.Context, messages chan<- []byte) {
	buffer := make([]byte, maxMessage)
	for {
		n, _, err := s.conn.ReadFromUDPAddrPort(buffer)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			// An ICMP error of an earlier question, say.
			select {
			case <-time.After(repeat):
				continue
			case <-ctx.Done():
				return
			}
		}
		select {
		case messages <- slices.Clone(buffer[:n]):
		case <-ctx.Done():
			return
		}
	}
}
