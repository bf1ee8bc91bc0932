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
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/sirupsen/logrus"
)

// Bounds of the TFTP service.
const (
	maxTransfers   = 512             // at once
	maxPerClient   = 128             // of them to one address
	tftpRetries    = 6               // of one window, with waits that double
	tftpMaxWait    = 8 * time.Second // between two of them
	transferLimit  = 2 * time.Hour   // for one file: a ramdisk over a slow line, block by block
	tftpIdle       = 3 * time.Second // without an acknowledgement: who asks again has begun anew
	maxTFTPRequest = 1024            // RFC 2347 asks for 512
	maxText        = 256 << 10       // of a file in netascii mode, which is held in memory
)

// tftpServer sends files (RFC 1350, 2347, 2348, 2349, 7440); it takes none. Each
// transfer has a socket of its own, bound to the address the request came to and connected to
// the client, so the source address is right on a host with several, and nobody
// else can interfere. Memory for a transfer is one block. (The server of
// pack.ag/tftp is not for an open network: the datagram 00 01 41 ends its process,
// and it allocates the window times the block size that a client names, gigabytes.)
type tftpServer struct {
	open func(ctx context.Context, client netip.Addr, name string) (tftpFile, error)
	// done is told how each request ended; without an error, size bytes were sent.
	done func(client netip.Addr, req tftpRequest, size int64, err error)
	log  *logrus.Entry

	mu     sync.Mutex
	active map[netip.AddrPort]*transfer // by client
}

// transfer is one that is in work.
type transfer struct {
	request string // the packet
	stop    context.CancelFunc
	acked   atomic.Int64 // when the client last acknowledged something, in nanoseconds; 0: never
}

// tftpFile is something to send.
type tftpFile struct {
	io.ReaderAt
	io.Closer
	size int64
}

// netascii is the file with the line ends of that mode (RFC 764): CR LF, and CR NUL for a CR.
func (f tftpFile) netascii() (tftpFile, error) {
	defer f.Close()
	if f.size > maxText {
		return tftpFile{}, errTooMuchText
	}
	raw, err := io.ReadAll(io.NewSectionReader(f, 0, f.size))
	if err != nil {
		return tftpFile{}, fmt.Errorf("read a text: %w", err)
	}
	text := strings.NewReader(strings.NewReplacer("\n", "\r\n", "\r", "\r\x00").Replace(string(raw)))
	return tftpFile{ReaderAt: text, Closer: io.NopCloser(text), size: text.Size()}, nil
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
		ctx, cancel := context.WithTimeout(ctx, transferLimit)
		work := &transfer{request: string(buf[:n]), stop: cancel}
		if !t.begin(peer.AddrPort(), work) {
			cancel()
			continue // the request was repeated, or too many are served: the client asks again
		}
		transfers.Go(func() {
			defer t.end(peer.AddrPort(), work)
			t.transfer(ctx, conn.LocalAddr().(*net.UDPAddr), peer, req, work)
		})
	}
}

// begin takes a transfer up unless there are too many, or it is in work already. A
// client that asks for something else, or again after it fell silent, as after a
// reset, has given up the one in work.
func (t *tftpServer) begin(peer netip.AddrPort, work *transfer) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if old := t.active[peer]; old != nil {
		acked := old.acked.Load()
		if old.request == work.request && (acked == 0 || time.Since(time.Unix(0, acked)) < tftpIdle) {
			return false
		}
		old.stop()
		t.active[peer] = work
		return true
	}
	count := 0
	for other := range t.active {
		if other.Addr() == peer.Addr() {
			count++
		}
	}
	if len(t.active) >= maxTransfers || count >= maxPerClient {
		return false
	}
	if t.active == nil {
		t.active = make(map[netip.AddrPort]*transfer)
	}
	t.active[peer] = work
	return true
}

func (t *tftpServer) end(peer netip.AddrPort, work *transfer) {
	work.stop()
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.active[peer] == work {
		delete(t.active, peer)
	}
}

func (t *tftpServer) transfer(ctx context.Context, local, peer *net.UDPAddr, req tftpRequest, work *transfer) {
	log := t.log.WithFields(logrus.Fields{"client": peer.String(), "file": req.name})
	conn, err := net.DialUDP("udp", &net.UDPAddr{IP: local.IP, Zone: local.Zone}, peer)
	if err != nil {
		log.WithError(err).Warn("TFTP transfer failed")
		return
	}
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	defer conn.Close()
	client := peer.AddrPort().Addr().Unmap().WithZone("")
	file, err := t.open(ctx, client, req.name)
	if err == nil && req.text {
		file, err = file.netascii()
	}
	if err != nil {
		conn.Write(tftpError(err))
		log.WithError(err).Info("TFTP request refused")
		t.done(client, req, 0, err)
		return
	}
	defer file.Close()
	s := &tftpSender{conn: conn, file: file, size: file.size, req: req, work: work}
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
	work *transfer

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
		err := s.exchange(ctx, func() error { return s.sendBlocks(first, last) }, first, last)
		if last == total && errors.Is(err, syscall.ECONNREFUSED) {
			return nil // it has the last block and is gone: its acknowledgement was lost, or never sent
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (s *tftpSender) sendBlocks(first, last int64) error {
	for block := first; block <= last; block++ {
		binary.BigEndian.PutUint16(s.packet, opData)
		binary.BigEndian.PutUint16(s.packet[2:], s.req.number(block))
		at := (block - 1) * int64(s.req.blockSize)
		end := 4 + min(int64(s.req.blockSize), s.size-at)
		// A file that has become shorter must not look as if it had ended there.
		if n, err := s.file.ReadAt(s.packet[4:end], at); int64(n) < end-4 {
			s.conn.Write(tftpError(errShort))
			return fmt.Errorf("read block %d of %q: %w: %w", block, s.req.name, errShort, err)
		}
		if err := s.write(s.packet[:end]); err != nil {
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
			s.work.acked.Store(time.Now().UnixNano())
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
