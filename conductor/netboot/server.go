package netboot

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/insomniacslk/dhcp/dhcpv6"
	"github.com/sirupsen/logrus"
	"golang.org/x/sync/errgroup"
)

const (
	// directoryTimeout bounds one question to the Directory; a client repeats itself after that anyway.
	directoryTimeout = 5 * time.Second
	// dhcpWorkers bounds the packets in work; what comes meanwhile waits in the socket's buffer.
	dhcpWorkers = 16
	// shutdownTimeout is for how long transfers may go on after a stop.
	shutdownTimeout = 5 * time.Second
	// maxDHCPPacket is the largest Ethernet payload.
	maxDHCPPacket = 1500
)

// Server answers machines that boot from the network.
type Server struct {
	*settings
	dir    Directory
	events func(Event)
	log    *logrus.Entry
	dhcp   *dhcp
	files  *files

	scripts   scripts
	downloads *downloads
	sightings *Sightings
}

// New checks cfg, fills in its defaults from the network interface, and finds the
// boot loaders. Errors are ErrConfig and ErrLoaderMissing. events is called from
// several goroutines and must not block.
func New(cfg Config, dir Directory, events func(Event), log *logrus.Entry) (*Server, error) {
	set, err := resolve(cfg)
	if err != nil {
		return nil, err
	}
	s := &Server{settings: set, dir: dir, events: events, log: log, scripts: parseScripts(), downloads: newDownloads(), sightings: newSightings()}
	if s.files, err = openFiles(set); err != nil {
		return nil, err
	}
	s.files.grubs = &grubImages{place: s.downloads.place}
	s.dhcp = newDHCP(set, dir, s.emit, s.sight)
	if set.DHCPv6 != DHCPOff {
		if s.dhcp.duid, err = serverDUID(set.Interface); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// Run serves until ctx ends and then returns nil, after transfers had a few
// seconds to finish. It fails with ErrListen if a listener cannot be opened.
func (s *Server) Run(ctx context.Context) error {
	l, err := s.listen(ctx)
	if err != nil {
		return err
	}
	if err := s.dhcp.loadLeases(ctx); err != nil {
		l.close()
		return err
	}
	defer s.downloads.close()
	group, ctx := errgroup.WithContext(ctx)
	if l.http != nil {
		group.Go(func() error { return s.serveHTTP(ctx, l.http) })
	}
	for _, sock := range l.dhcp {
		group.Go(func() error { return s.serveDHCP(ctx, sock) })
	}
	for _, sock := range l.dhcp6 {
		group.Go(func() error { return s.serveDHCP6(ctx, sock) })
	}
	tftp := &tftpServer{open: s.openTFTP, done: s.tftpDone, log: s.log}
	for _, conn := range l.tftp {
		group.Go(func() error { return tftp.serve(ctx, conn) })
	}
	s.log.WithFields(logrus.Fields{"dhcp": s.DHCP, "dhcpv6": s.DHCPv6, "interfaces": s.interfaces, "url": s.httpURL}).Info("netboot is ready")
	return group.Wait()
}

// listeners are the open sockets of a server.
type listeners struct {
	dhcp  []*dhcpSocket
	dhcp6 []*dhcp6Socket
	tftp  []*net.UDPConn
	http  net.Listener
}

func (l *listeners) close() {
	for _, sock := range l.dhcp {
		sock.Close()
	}
	for _, sock := range l.dhcp6 {
		sock.Close()
	}
	for _, conn := range l.tftp {
		conn.Close()
	}
	if l.http != nil {
		l.http.Close()
	}
}

// listen opens all sockets, or none.
func (s *Server) listen(ctx context.Context) (_ *listeners, err error) {
	l := &listeners{}
	defer func() {
		if err != nil {
			l.close()
		}
	}()
	for _, iface := range s.interfaces {
		if s.DHCP != DHCPOff {
			ports := []int{portDHCP}
			if s.DHCP == DHCPProxy {
				ports = append(ports, portProxy)
			}
			for _, port := range ports {
				sock, err := listenDHCP(ctx, iface, port, s.DHCP == DHCPProxy)
				if err != nil {
					return nil, err
				}
				l.dhcp = append(l.dhcp, sock)
			}
		}
		if s.DHCPv6 != DHCPOff {
			sock, err := listenDHCP6(ctx, iface)
			if err != nil {
				return nil, err
			}
			l.dhcp6 = append(l.dhcp6, sock)
		}
	}
	for _, addr := range s.tftpAddresses() {
		conn, err := listenUDP(ctx, addr, s.TFTPPort)
		if err != nil {
			return nil, err
		}
		l.tftp = append(l.tftp, conn)
	}
	if s.HTTPListen != "" {
		l.http, err = listenTCP(ctx, s.HTTPListen)
	}
	return l, err
}

// tftpAddresses are those of ours that clients are told to fetch from.
func (s *settings) tftpAddresses() (list []netip.Addr) {
	if s.TFTPPort == 0 {
		return nil
	}
	for i, n := range s.subnets {
		// The first one has to be ours; another may be told of another host.
		if n.tftp.IsValid() && (i == 0 || s.ours(n.tftp)) && !slices.Contains(list, n.tftp) {
			list = append(list, n.tftp)
		}
		if n.tftp6.IsValid() && (i == 0 && n.iface == "" || s.ours(n.tftp6)) && (n.iface == "" || s.DHCPv6 != DHCPOff) && !slices.Contains(list, n.tftp6) {
			list = append(list, n.tftp6)
		}
	}
	return list
}

// serveDHCP answers packets until ctx ends.
func (s *Server) serveDHCP(ctx context.Context, sock *dhcpSocket) error {
	read := func(buf []byte) (int, net.Addr, error) {
		n, _, peer, err := sock.ReadFrom(buf)
		return n, peer, err
	}
	return receive(ctx, sock, read, sock.port, sock.iface.Name, func(packet []byte, at arrival) {
		if req, err := parseDHCP(packet); err == nil { // else it is not DHCP: nobody to tell
			s.handleDHCP(ctx, sock, req, at)
		}
	})
}

// receive hands packets on, a few at a time, until ctx ends.
func receive(ctx context.Context, sock io.Closer, read func(buf []byte) (int, net.Addr, error), port int, iface string, handle func(packet []byte, at arrival)) error {
	stop := context.AfterFunc(ctx, func() { sock.Close() })
	defer stop()
	var workers errgroup.Group
	workers.SetLimit(dhcpWorkers)
	defer workers.Wait()
	buf := make([]byte, maxDHCPPacket)
	for {
		n, peer, err := read(buf)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read from UDP port %d of interface %q: %w", port, iface, err)
		}
		from, ok := peer.(*net.UDPAddr)
		if !ok {
			continue
		}
		packet := slices.Clone(buf[:n])
		at := arrival{port: port, iface: iface, from: from.AddrPort(), now: time.Now()}
		workers.Go(func() error {
			handle(packet, at)
			return nil
		})
	}
}

func (s *Server) handleDHCP(ctx context.Context, sock *dhcpSocket, req *dhcpv4.DHCPv4, at arrival) {
	ctx, cancel := context.WithTimeout(ctx, directoryTimeout)
	defer cancel()
	resp, err := s.dhcp.answer(ctx, req, at)
	if err == nil && resp != nil {
		err = sock.send(resp.ToBytes(), s.sourceOf(resp), destination(req, resp, at))
	}
	mac := req.ClientHWAddr.String()
	if s.unanswered(ctx, ProtocolDHCP, mac, err) || resp == nil {
		return
	}
	s.log.WithField("mac", mac).Debugf("DHCP %v answered with %v, address %v, boot file %q",
		req.MessageType(), resp.MessageType(), resp.YourIPAddr, resp.BootFileNameOption())
}

// sourceOf is the address that a reply is sent from: the server's that it names,
// unless a relay agent had that replaced by its own.
func (s *Server) sourceOf(resp *dhcpv4.DHCPv4) netip.Addr {
	if id := toAddr(resp.ServerIdentifier()); s.ours(id) {
		return id
	}
	return netip.IPv4Unspecified()
}

// unanswered logs why a packet was not answered. What is meant to be is told for
// diagnosis only: there may be a lot of it.
func (s *Server) unanswered(ctx context.Context, protocol, mac string, err error) bool {
	entry := s.log.WithField("mac", mac)
	var silent silence
	switch {
	case err == nil:
		return false
	case errors.As(err, &silent):
		entry.Debugf("%s request not answered: %v", protocol, err)
	case ctx.Err() == nil:
		entry.WithError(err).Warnf("%s request not answered", protocol)
	}
	return true
}

// serveDHCP6 answers packets until ctx ends.
func (s *Server) serveDHCP6(ctx context.Context, sock *dhcp6Socket) error {
	read := func(buf []byte) (int, net.Addr, error) {
		n, _, peer, err := sock.ReadFrom(buf)
		return n, peer, err
	}
	return receive(ctx, sock, read, portServer6, sock.iface.Name, func(packet []byte, at arrival) {
		if req, err := dhcpv6.FromBytes(packet); err == nil { // else it is not DHCPv6: nobody to tell
			s.handleDHCP6(ctx, sock, req, at)
		}
	})
}

func (s *Server) handleDHCP6(ctx context.Context, sock *dhcp6Socket, req dhcpv6.DHCPv6, at arrival) {
	ctx, cancel := context.WithTimeout(ctx, directoryTimeout)
	defer cancel()
	resp, err := s.dhcp.answer6(ctx, req, at)
	if err == nil && resp != nil {
		err = sock.send(resp.ToBytes(), destination6(req, at.from))
	}
	s.unanswered(ctx, ProtocolDHCPv6, at.from.Addr().String(), err)
}

// serveHTTP serves until ctx ends, then lets requests finish for shutdownTimeout.
func (s *Server) serveHTTP(ctx context.Context, l net.Listener) error {
	server := &http.Server{
		Handler:           s.HTTPHandler(),
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       time.Minute,
		MaxHeaderBytes:    16 << 10,
	}
	done := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(done)
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownTimeout)
		defer cancel()
		if server.Shutdown(ctx) != nil {
			server.Close()
		}
	})
	err := server.Serve(l)
	if !stop() {
		<-done
	}
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return fmt.Errorf("serve HTTP on %v: %w", l.Addr(), err)
}

// emit reports one event.
func (s *Server) emit(kind, node, mac, detail string) {
	if s.events != nil {
		s.events(Event{Time: time.Now(), NodeUUID: node, MAC: mac, Kind: kind, Detail: detail})
	}
}
