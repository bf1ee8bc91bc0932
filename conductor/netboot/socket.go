package netboot

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"syscall"

	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"
	"golang.org/x/sys/unix"
)

// dhcpSocket is a UDP port on one interface. It answers from our address on that
// interface, whatever else the host is connected to.
type dhcpSocket struct {
	*ipv4.PacketConn
	port  int
	iface *net.Interface
}

// listenDHCP opens port on an interface. With share, it may be open already in
// another program on this host, as a proxy's is: then only broadcasts are taken, so
// that what is sent to the other server still reaches it.
func listenDHCP(ctx context.Context, iface string, port int, share bool) (*dhcpSocket, error) {
	ifi, err := net.InterfaceByName(iface)
	if err != nil {
		return nil, fmt.Errorf("%w on UDP port %d of interface %q: %w", ErrListen, port, iface, err)
	}
	conn, err := listenOn(ctx, iface, netip.AddrPortFrom(netip.IPv4Unspecified(), uint16(port)), false)
	if share && errors.Is(err, unix.EADDRINUSE) {
		everybody := netip.AddrFrom4([4]byte{255, 255, 255, 255})
		conn, err = listenOn(ctx, iface, netip.AddrPortFrom(everybody, uint16(port)), true)
	}
	if err != nil {
		return nil, fmt.Errorf("%w on UDP port %d of interface %q: %w%s", ErrListen, port, iface, err, dhcpCure(err))
	}
	return &dhcpSocket{PacketConn: ipv4.NewPacketConn(conn), port: port, iface: ifi}, nil
}

// dhcp6Socket is the DHCPv6 port on one interface, with the groups that clients
// and relay agents send to.
type dhcp6Socket struct {
	*ipv6.PacketConn
	iface *net.Interface
}

func listenDHCP6(ctx context.Context, iface string) (*dhcp6Socket, error) {
	ifi, err := net.InterfaceByName(iface)
	if err != nil {
		return nil, fmt.Errorf("%w on UDP port %d of interface %q: %w", ErrListen, portServer6, iface, err)
	}
	conn, err := listenOn(ctx, iface, netip.AddrPortFrom(netip.IPv6Unspecified(), portServer6), false)
	if err != nil {
		return nil, fmt.Errorf("%w on UDP port %d of interface %q: %w%s", ErrListen, portServer6, iface, err, dhcpCure(err))
	}
	sock := &dhcp6Socket{PacketConn: ipv6.NewPacketConn(conn), iface: ifi}
	for _, group := range []string{"ff02::1:2", "ff05::1:3"} {
		if err := sock.JoinGroup(ifi, &net.UDPAddr{IP: net.ParseIP(group)}); err != nil {
			sock.Close()
			return nil, fmt.Errorf("%w to the group %s on interface %q: %w", ErrListen, group, iface, err)
		}
	}
	return sock, nil
}

// send writes one packet to a client or relay agent of the interface.
func (s *dhcp6Socket) send(packet []byte, to netip.AddrPort) error {
	if _, err := s.WriteTo(packet, &ipv6.ControlMessage{IfIndex: s.iface.Index}, net.UDPAddrFromAddrPort(to)); err != nil {
		return fmt.Errorf("send a DHCPv6 reply to %v: %w", to, err)
	}
	return nil
}

func listenOn(ctx context.Context, iface string, addr netip.AddrPort, share bool) (net.PacketConn, error) {
	lc := net.ListenConfig{Control: func(_, _ string, raw syscall.RawConn) error {
		var err error
		ctlErr := raw.Control(func(fd uintptr) {
			err = unix.BindToDevice(int(fd), iface)
			if err == nil {
				err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_BROADCAST, 1)
			}
			if err == nil && share { // servers set the one or the other: both must agree
				err = errors.Join(
					unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEADDR, 1),
					unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEPORT, 1))
			}
		})
		return errors.Join(ctlErr, err)
	}}
	network := "udp4"
	if addr.Addr().Is6() {
		network = "udp6"
	}
	return lc.ListenPacket(ctx, network, addr.String())
}

func dhcpCure(err error) string {
	switch {
	case errors.Is(err, unix.EADDRINUSE):
		return ": another DHCP server runs on this host; stop it, or set [netboot]dhcp = proxy or off"
	case errors.Is(err, unix.EACCES), errors.Is(err, unix.EPERM):
		return ": run as root, or grant CAP_NET_BIND_SERVICE and CAP_NET_RAW"
	}
	return ""
}

// send writes one packet with our own address as its source.
func (s *dhcpSocket) send(packet []byte, from netip.Addr, to *net.UDPAddr) error {
	cm := &ipv4.ControlMessage{Src: toIP(from), IfIndex: s.iface.Index}
	if _, err := s.WriteTo(packet, cm, to); err != nil {
		return fmt.Errorf("send a DHCP reply to %v: %w", to, err)
	}
	return nil
}

// listenTCP and listenUDP name the option to change where the address cannot be had.
func listenTCP(ctx context.Context, addr string) (net.Listener, error) {
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("%w for HTTP on %s: %w%s", ErrListen, addr, err, portCure(err, "[netboot]http_listen"))
	}
	return l, nil
}

func listenUDP(ctx context.Context, addr netip.Addr, port int) (*net.UDPConn, error) {
	var lc net.ListenConfig
	at := net.JoinHostPort(addr.String(), strconv.Itoa(port))
	conn, err := lc.ListenPacket(ctx, "udp", at)
	if err != nil {
		return nil, fmt.Errorf("%w for TFTP on %s: %w%s", ErrListen, at, err, portCure(err, "[netboot]tftp_port"))
	}
	return conn.(*net.UDPConn), nil
}

func portCure(err error, option string) string {
	switch {
	case errors.Is(err, unix.EADDRINUSE):
		return ": another program has the port; stop it, or change " + option
	case errors.Is(err, unix.EACCES), errors.Is(err, unix.EPERM):
		return ": run as root, grant CAP_NET_BIND_SERVICE, or change " + option
	case errors.Is(err, unix.EADDRNOTAVAIL):
		return ": no interface of this host has the address; correct [pxe]tftp_server or " + option
	}
	return ""
}
