package ipmi

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"syscall"
	"time"

	"github.com/bougou/go-ipmi/pkg/types"
)

// maxDatagram bounds what is read: the largest RMCP+ packet that a BMC may announce is far smaller.
const maxDatagram = 2048

// sendings is how often one datagram is sent before the session counts as dead. In a session that was kept it is
// less, as what follows is a login. The first sendings wait for the same time each, against networks that lose most
// of what passes; later ones for twice as long as the one before, for BMCs that are slow.
const (
	sendings     = 10
	sendingsKept = 6
	sendingsLast = 2 // of the message that ends a login
	evenSendings = 6
)

// wire is a connected UDP socket to one BMC; the kernel drops datagrams of anybody else.
type wire struct {
	conn     net.Conn
	wait     time.Duration // for the answer to the first sending
	sendings int
	buf      []byte
	tag      uint8 // of the last session setup message
}

func dial(ctx context.Context, endpoint string, wait time.Duration) (*wire, error) {
	conn, err := new(net.Dialer).DialContext(ctx, "udp", endpoint)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnreachable, err)
	}
	return &wire{conn: conn, wait: wait, sendings: sendings, buf: make([]byte, maxDatagram)}, nil
}

func (w *wire) close() { w.conn.Close() }

// exchange sends what build makes, up to w.sendings times, and hands each datagram that arrives to accept until
// that returns done or an error. build is called anew for each sending, as RMCP+ demands new sequence numbers.
// Without an answer, the error wraps ErrUnreachable; if ctx was cancelled, its error.
func (w *wire) exchange(ctx context.Context, build func() ([]byte, error), accept func(datagram []byte) (done bool, err error)) error {
	stop := context.AfterFunc(ctx, func() { w.conn.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	began := time.Now()
	for try := range w.sendings {
		datagram, err := build()
		if err != nil {
			return err
		}
		if _, err := w.conn.Write(datagram); err != nil {
			return refused(ctx, err)
		}
		// Set before looking at ctx: a cancellation that comes later moves the deadline into the past.
		w.conn.SetReadDeadline(time.Now().Add(w.wait << max(0, try-evenSendings+1)))
		if ctx.Err() != nil {
			return gaveUp(ctx, began)
		}
		for {
			n, err := w.conn.Read(w.buf)
			if errors.Is(err, os.ErrDeadlineExceeded) {
				break
			}
			if err != nil {
				return refused(ctx, err)
			}
			if done, err := accept(w.buf[:n]); done || err != nil {
				return err
			}
		}
		if ctx.Err() != nil {
			return gaveUp(ctx, began)
		}
	}
	return fmt.Errorf("%w: no answer within %s", ErrUnreachable, time.Since(began).Round(time.Millisecond))
}

// gaveUp tells a caller who cancelled from a deadline that passed: the latter is the BMC's silence.
func gaveUp(ctx context.Context, began time.Time) error {
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return fmt.Errorf("%w: no answer within %s", ErrUnreachable, time.Since(began).Round(time.Millisecond))
	}
	return ctx.Err()
}

// refused is an error of the socket: above all the ICMP answer that nothing listens on the port.
func refused(ctx context.Context, err error) error {
	if errors.Is(ctx.Err(), context.Canceled) {
		return ctx.Err()
	}
	if errors.Is(err, syscall.ECONNREFUSED) {
		return fmt.Errorf("%w: nothing listens on the port", ErrUnreachable)
	}
	return fmt.Errorf("%w: %w", ErrUnreachable, err)
}

// Sizes of an RMCP+ packet (IPMI 2.0 table 13-8).
const (
	rmcpHeaderSize    = 4
	sessionHeaderSize = 12
)

// packet is an RMCP+ datagram taken apart, but not yet trusted.
type packet struct {
	payloadType               types.PayloadType
	encrypted, authentic      bool
	sessionID                 uint32
	payload, signed, authCode []byte
}

// parsePacket takes an RMCP+ datagram apart. authCodeSize is what the session's integrity algorithm appends.
// ok is false for anything malformed, which a receiver drops.
func parsePacket(b []byte, authCodeSize int) (p packet, ok bool) {
	const ipmiClass, rmcpVersion, rmcpPlus = 0x07, 0x06, 0x06
	if len(b) < rmcpHeaderSize+sessionHeaderSize || b[0] != rmcpVersion || b[3] != ipmiClass || b[4] != rmcpPlus {
		return packet{}, false
	}
	session := b[rmcpHeaderSize:]
	p = packet{
		payloadType: types.PayloadType(session[1] & 0x3f),
		encrypted:   session[1]&types.PayloadFlagEncrypted != 0,
		authentic:   session[1]&types.PayloadFlagAuthenticated != 0,
		sessionID:   binary.LittleEndian.Uint32(session[2:]),
	}
	if p.payloadType == types.PayloadTypeOEM {
		return packet{}, false
	}
	end := sessionHeaderSize + int(binary.LittleEndian.Uint16(session[10:]))
	if len(session) < end {
		return packet{}, false
	}
	p.payload = session[sessionHeaderSize:end]
	if !p.authentic {
		return p, true
	}
	// What follows is the padding, its length, a reserved byte and the code, which covers all before it.
	codeAt := end + types.IntegrityPadLen(sessionHeaderSize, len(p.payload)) + 2
	if len(session) < codeAt+authCodeSize {
		return packet{}, false
	}
	p.signed, p.authCode = session[:codeAt], session[codeAt:codeAt+authCodeSize]
	return p, true
}

// parseMessage takes an IPMI response message apart; ok is false if a checksum is wrong (IPMI 2.0 section 13.8).
func parseMessage(b []byte) (m types.IPMIResponse, ok bool) {
	const smallest = 8
	if len(b) < smallest || sum(b[:3]) != 0 || sum(b[3:]) != 0 {
		return m, false
	}
	return m, m.Unpack(b) == nil
}

func sum(b []byte) (s uint8) {
	for _, x := range b {
		s += x
	}
	return s
}
