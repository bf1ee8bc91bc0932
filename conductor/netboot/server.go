package netboot

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
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
	s.dhcp = newDHCP(set, dir, s.emit)
	return s, nil
}

// Run serves until ctx ends and then returns nil, after transfers had a few
// seconds to finish. It fails with ErrListen if a listener cannot be opened.
func (s *Server) Run(ctx context.Context) error {
	var sockets []*dhcpSocket
	closeAll := func() {
		for _, sock := range sockets {
			sock.Close()
		}
	}
	if s.DHCP != DHCPOff {
		ports := []int{portDHCP}
		if s.DHCP == DHCPProxy {
			ports = append(ports, portProxy)
		}
		for _, port := range ports {
			sock, err := listenDHCP(ctx, s.settings, port, s.DHCP == DHCPProxy)
			if err != nil {
				closeAll()
				return err
			}
			sockets = append(sockets, sock)
		}
	}
	if s.dhcp.leases != nil {
		if err := s.dhcp.leases.load(ctx); err != nil {
			closeAll()
			return err
		}
	}
	var tftpConn *net.UDPConn
	if s.TFTPPort != 0 && s.tftp.IsValid() {
		conn, err := listenUDP(ctx, s.tftp, s.TFTPPort)
		if err != nil {
			closeAll()
			return err
		}
		tftpConn = conn
	}
	defer s.downloads.close()
	group, ctx := errgroup.WithContext(ctx)
	if s.HTTPListen != "" {
		l, err := listenTCP(ctx, s.HTTPListen)
		if err != nil {
			closeAll()
			if tftpConn != nil {
				tftpConn.Close()
			}
			return err
		}
		group.Go(func() error { return s.serveHTTP(ctx, l) })
	}
	for _, sock := range sockets {
		group.Go(func() error { return s.serveDHCP(ctx, sock) })
	}
	if tftpConn != nil {
		server := &tftpServer{open: s.openTFTP, sent: s.tftpSent, log: s.log}
		group.Go(func() error { return server.serve(ctx, tftpConn) })
	}
	s.log.WithFields(logrus.Fields{"dhcp": s.DHCP, "interface": s.Interface, "url": s.httpURL}).Info("netboot is ready")
	return group.Wait()
}

// serveDHCP answers packets until ctx ends.
func (s *Server) serveDHCP(ctx context.Context, sock *dhcpSocket) error {
	stop := context.AfterFunc(ctx, func() { sock.Close() })
	defer stop()
	var workers errgroup.Group
	workers.SetLimit(dhcpWorkers)
	defer workers.Wait()
	buf := make([]byte, maxDHCPPacket)
	for {
		n, _, peer, err := sock.ReadFrom(buf)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read from UDP port %d of interface %q: %w", sock.port, s.Interface, err)
		}
		from, ok := peer.(*net.UDPAddr)
		req, err := dhcpv4.FromBytes(append([]byte(nil), buf[:n]...))
		if err != nil || !ok {
			continue // not DHCP: nobody to tell
		}
		workers.Go(func() error {
			s.handleDHCP(ctx, sock, from, req)
			return nil
		})
	}
}

func (s *Server) handleDHCP(ctx context.Context, sock *dhcpSocket, from *net.UDPAddr, req *dhcpv4.DHCPv4) {
	ctx, cancel := context.WithTimeout(ctx, directoryTimeout)
	defer cancel()
	resp, err := s.dhcp.answer(ctx, req, sock.port, time.Now())
	if err == nil && resp != nil {
		err = sock.send(resp.ToBytes(), destination(req, resp, from, sock.port))
	}
	entry := s.log.WithField("mac", req.ClientHWAddr.String())
	if err != nil && ctx.Err() == nil {
		entry.WithError(err).Warn("DHCP request not answered")
		s.emit(EventError, "", req.ClientHWAddr.String(), err.Error())
		return
	}
	if resp != nil {
		entry.Debugf("DHCP %v answered with %v, address %v, boot file %q",
			req.MessageType(), resp.MessageType(), resp.YourIPAddr, resp.BootFileNameOption())
	}
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
