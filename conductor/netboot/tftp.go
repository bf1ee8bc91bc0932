package netboot

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"sync"
	"time"

	"github.com/sirupsen/logrus"
)

// Bounds of the TFTP service.
const (
	maxTransfers   = 256              // at once
	tftpRetries    = 6                // of one window, with waits that double
	tftpMaxWait    = 8 * time.Second  // between two of them
	transferLimit  = 10 * time.Minute // for one file
	maxTFTPRequest = 1024             // RFC 2347 asks for 512
)

// tftpServer sends files (RFC 1350, 2347, 2348, 2349, 7440); it takes none. Each
// transfer has a socket of its own, bound to the address the request came to and connected to
// the client, so the source address is right on a host with several, and nobody
// else can interfere. Memory for a transfer is one block. (The server of
// pack.ag/tftp is not for an open network: the datagram 00 01 41 ends its process,
// and it allocates the window times the block size that a client names, gigabytes.)
type tftpServer struct {
	open func(client netip.Addr, name string) (tftpFile, error)
	// done is told how each request ended; without an error, size bytes were sent.
	done func(client netip.Addr, req tftpRequest, size int64, err error)
	log  *logrus.Entry

	mu     sync.Mutex
	active map[string]bool // clients by address and port
}

// tftpFile is something to send.
type tftpFile struct {
	io.ReaderAt
	io.Closer
	size int64
}

// serve answers requests until ctx ends; then transfers are broken off.
func (t *tftpServer) serve(ctx context.Context, conn *net.UDPConn) error {
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	var transfers sync.WaitGroup
	defer transfers.Wait()
	buf := make([]byte, maxTFTPRequest)
	for {
		n, peer, err := conn.ReadFromUDP(buf)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read from TFTP port %v: %w", conn.LocalAddr(), err)
		}
		req, err := parseTFTP(buf[:n])
		if errors.Is(err, errNotRequest) {
			continue // answering strays could make two hosts talk for ever
		}
		if err != nil {
			conn.WriteToUDP(tftpError(err), peer)
			t.done(peer.AddrPort().Addr().Unmap().WithZone(""), req, 0, err)
			continue
		}
		if !t.begin(peer) {
			continue // the request was repeated, or too many are served: the client asks again
		}
		transfers.Go(func() {
			defer t.end(peer)
			t.transfer(ctx, conn.LocalAddr().(*net.UDPAddr), peer, req)
		})
	}
}

func (t *tftpServer) begin(peer *net.UDPAddr) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	key := peer.String()
	if t.active[key] || len(t.active) >= maxTransfers {
		return false
	}
	if t.active == nil {
		t.active = make(map[string]bool)
	}
	t.active[key] = true
	return true
}

func (t *tftpServer) end(peer *net.UDPAddr) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.active, peer.String())
}

func (t *tftpServer) transfer(ctx context.Context, local, peer *net.UDPAddr, req tftpRequest) {
	log := t.log.WithFields(logrus.Fields{"client": peer.String(), "file": req.name})
	ctx, cancel := context.WithTimeout(ctx, transferLimit)
	defer cancel()
	conn, err := net.DialUDP("udp", &net.UDPAddr{IP: local.IP, Zone: local.Zone}, peer)
	if err != nil {
		log.WithError(err).Warn("TFTP transfer failed")
		return
	}
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	defer conn.Close()
	client := peer.AddrPort().Addr().Unmap().WithZone("")
	file, err := t.open(client, req.name)
	if err != nil {
		conn.Write(tftpError(err))
		log.WithError(err).Info("TFTP request refused")
		t.done(client, req, 0, err)
		return
	}
	defer file.Close()
	s := &tftpSender{conn: conn, file: file, size: file.size, req: req}
	err = s.run(ctx)
	switch {
	case errors.Is(err, errClientStopped):
		// UEFI opens a file and aborts, to learn its size from the option.
		log.WithError(err).Debug("TFTP transfer ended by the client")
	case err != nil:
		log.WithError(err).Warn("TFTP transfer failed")
	}
	t.done(client, req, file.size, err)
}

// tftpSender sends one file to one client.
type tftpSender struct {
	conn *net.UDPConn
	file io.ReaderAt
	size int64
	req  tftpRequest

	packet []byte // 4 bytes of header and a block
	acked  int64  // blocks that the client has
}

func (s *tftpSender) run(ctx context.Context) error {
	s.packet = make([]byte, 4+s.req.blockSize)
	if options := s.req.accepted(s.size); options != nil {
		if err := s.exchange(ctx, func() error { return s.write(options) }, 0, 0); err != nil {
			return err
		}
	}
	// A block shorter than the others ends the transfer: there always is one, maybe empty.
	total := s.size/int64(s.req.blockSize) + 1
	for s.acked < total {
		first := s.acked + 1
		last := min(s.acked+int64(s.req.window), total)
		if err := s.exchange(ctx, func() error { return s.sendBlocks(first, last) }, first, last); err != nil {
			return err
		}
	}
	return nil
}

func (s *tftpSender) sendBlocks(first, last int64) error {
	for block := first; block <= last; block++ {
		binary.BigEndian.PutUint16(s.packet, opData)
		binary.BigEndian.PutUint16(s.packet[2:], s.req.number(block))
		n, err := s.file.ReadAt(s.packet[4:], (block-1)*int64(s.req.blockSize))
		if err != nil && !errors.Is(err, io.EOF) {
			s.conn.Write(tftpError(fmt.Errorf("read error")))
			return fmt.Errorf("read block %d of %q: %w", block, s.req.name, err)
		}
		if err := s.write(s.packet[:4+n]); err != nil {
			return err
		}
	}
	return nil
}

func (s *tftpSender) write(packet []byte) error {
	if _, err := s.conn.Write(packet); err != nil {
		return fmt.Errorf("send to %v: %w", s.conn.RemoteAddr(), err)
	}
	return nil
}

// exchange sends the blocks first to last, or the option acknowledgement as block
// 0, until the client acknowledges one of them. An acknowledgement of something
// earlier is a duplicate and is not answered, else every packet would be doubled
// from then on.
func (s *tftpSender) exchange(ctx context.Context, send func() error, first, last int64) error {
	wait := s.req.timeout
	for range tftpRetries {
		if err := send(); err != nil {
			return err
		}
		deadline := time.Now().Add(wait)
		acked, err := s.readAck(ctx, deadline, first, last)
		if err == nil {
			s.acked = acked
			return nil
		}
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			return err
		}
		wait = min(2*wait, tftpMaxWait)
	}
	return fmt.Errorf("no acknowledgement of block %d from %v in %d attempts", last, s.conn.RemoteAddr(), tftpRetries)
}

func (s *tftpSender) readAck(ctx context.Context, deadline time.Time, first, last int64) (int64, error) {
	if err := s.conn.SetReadDeadline(deadline); err != nil {
		return 0, fmt.Errorf("set a deadline for %v: %w", s.conn.RemoteAddr(), err)
	}
	buf := make([]byte, maxTFTPRequest)
	for {
		n, err := s.conn.Read(buf)
		if ctx.Err() != nil {
			return 0, fmt.Errorf("transfer to %v: %w", s.conn.RemoteAddr(), ctx.Err())
		}
		if err != nil {
			return 0, fmt.Errorf("wait for %v: %w", s.conn.RemoteAddr(), err)
		}
		if n < 4 {
			continue
		}
		switch binary.BigEndian.Uint16(buf) {
		case opError:
			text, _, _ := bytes.Cut(buf[4:n], []byte{0})
			return 0, fmt.Errorf("%w: %q", errClientStopped, text)
		case opAck:
			for block := last; block >= first; block-- {
				if s.req.number(block) == binary.BigEndian.Uint16(buf[2:]) {
					return block, nil
				}
			}
		}
	}
}
