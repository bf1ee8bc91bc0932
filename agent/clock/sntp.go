package clock

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"
)

// The client side of SNTP (RFC 4330), version 4 of the protocol.
const (
	packetSize = 48
	defaultNTP = "123"
	clientV4   = 4<<3 | 3 // version 4, mode 3
	modeServer = 4
	maxStratum = 15
	unknown    = 3 // leap indicator of a server that has no time itself
)

// Times that a server may tell: this program is not older, and 2100 bounds the
// second era of NTP generously.
var (
	earliest = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	latest   = time.Date(2100, 1, 1, 0, 0, 0, 0, time.UTC)
)

var errNoAnswer = errors.New("no usable answer")

// ask makes one attempt at each address of the server.
func (s Server) ask(ctx context.Context) (time.Duration, error) {
	host, port := splitPort(s.Name)
	ctx, cancel := context.WithTimeout(ctx, s.Timeout)
	defer cancel()
	addrs, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	if err != nil {
		return 0, err
	}
	const maxAddresses = 4
	addrs = addrs[:min(len(addrs), maxAddresses)]
	var failures []error
	for i, addr := range addrs {
		// What is left of the time is shared by the addresses that are left.
		deadline, _ := ctx.Deadline()
		part := time.Until(deadline) / time.Duration(len(addrs)-i)
		offset, err := exchange(ctx, net.JoinHostPort(addr.Unmap().String(), port), part)
		if err == nil {
			return offset, nil
		}
		failures = append(failures, fmt.Errorf("%s: %w", addr, err))
	}
	return 0, errors.Join(failures...)
}

// splitPort takes a port off "host:port"; an IPv6 address has none.
func splitPort(name string) (host, port string) {
	if h, p, ok := strings.Cut(name, ":"); ok && !strings.Contains(p, ":") && p != "" {
		return h, p
	}
	return name, defaultNTP
}

// exchange sends one question and waits for its answer.
func exchange(ctx context.Context, address string, timeout time.Duration) (time.Duration, error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "udp", address) // takes packets of the server only
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(timeout)); err != nil {
		return 0, err
	}
	// The server repeats our time of sending. It is random, so that nobody who
	// has not seen the question can answer it.
	question := make([]byte, packetSize)
	question[0] = clientV4
	cookie := question[40:48]
	if _, err := rand.Read(cookie); err != nil {
		return 0, err
	}
	sent := time.Now()
	if _, err := conn.Write(question); err != nil {
		return 0, err
	}
	answer := make([]byte, 512)
	const maxPackets = 8
	err = errNoAnswer
	for range maxPackets {
		n, readErr := conn.Read(answer)
		if readErr != nil {
			return 0, errors.Join(readErr, err)
		}
		var offset time.Duration
		if offset, err = evaluate(answer[:n], [8]byte(cookie), sent, time.Since(sent)); err == nil {
			return offset, nil
		}
	}
	return 0, err
}

// evaluate is how far the server's clock is ahead of ours: sent is the time of
// the question by ours, delay how long the answer took.
func evaluate(p []byte, cookie [8]byte, sent time.Time, delay time.Duration) (time.Duration, error) {
	if len(p) < packetSize {
		return 0, fmt.Errorf("%w: %d bytes", errNoAnswer, len(p))
	}
	leap, version, mode, stratum := p[0]>>6, p[0]>>3&7, p[0]&7, p[1]
	switch {
	case mode != modeServer || version < 3 || [8]byte(p[24:32]) != cookie:
		return 0, fmt.Errorf("%w: not an answer to our question", errNoAnswer)
	case stratum == 0:
		return 0, fmt.Errorf("%w: the server refuses (%q)", errNoAnswer, p[12:16])
	case leap == unknown || stratum > maxStratum:
		return 0, fmt.Errorf("%w: the server has no time itself", errNoAnswer)
	}
	received, answered := timestamp(p[32:]), timestamp(p[40:])
	if received.Before(earliest) || answered.After(latest) || answered.Before(received) || answered.Sub(received) > time.Minute {
		return 0, fmt.Errorf("%w: received at %s and answered at %s cannot be", errNoAnswer, received.Format(time.RFC3339Nano), answered.Format(time.RFC3339Nano))
	}
	// Both ways are taken to last equally long (RFC 4330, 5).
	return (received.Sub(sent.Round(0)) + answered.Sub(sent.Add(delay).Round(0))) / 2, nil
}

// timestamp reads seconds since 1900 in 32.32 bits. Those whose first bit is
// not set are of the era that begins in 2036 (RFC 4330, 3).
func timestamp(b []byte) time.Time {
	const unixEpoch = 2208988800 // 1970 in seconds since 1900
	seconds, fraction := int64(binary.BigEndian.Uint32(b)), int64(binary.BigEndian.Uint32(b[4:]))
	if seconds < 1<<31 {
		seconds += 1 << 32
	}
	return time.Unix(seconds-unixEpoch, fraction*1e9>>32).UTC()
}
