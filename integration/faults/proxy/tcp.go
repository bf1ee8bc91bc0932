package proxy

import (
	"errors"
	"io"
	"net"
	"sync"
	"syscall"
	"testing"
)

// Fate is what becomes of a connection.
type Fate int

const (
	Pass   Fate = iota // it is relayed
	Hold               // it is accepted, and nothing ever comes back
	Refuse             // it is reset
)

// TCP relays connections to a target, and cuts them when it is told to.
type TCP struct {
	listener net.Listener

	mu     sync.Mutex
	target string
	fate   func(n int) Fate
	seen   int // connections since the fate was set
	open   map[net.Conn]bool

	// Held gets a value for every connection that is held.
	Held chan struct{}
}

// StartTCP listens at address until the test ends. Who connects before the
// target is known is refused.
func StartTCP(t testing.TB, address string) *TCP {
	t.Helper()
	listener, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	p := &TCP{listener: listener, open: map[net.Conn]bool{}, Held: make(chan struct{}, 64)}
	p.All(Pass)
	t.Cleanup(func() { listener.Close(); p.Cut() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go p.relay(conn)
		}
	}()
	return p
}

// Address is where clients find it.
func (p *TCP) Address() string { return p.listener.Addr().String() }

// To sets the target.
func (p *TCP) To(target string) { p.mu.Lock(); defer p.mu.Unlock(); p.target = target }

// All gives every connection from now on the same fate.
func (p *TCP) All(fate Fate) { p.Each(func(int) Fate { return fate }) }

// Each gives the connections from now on, counted from 0, their fates.
func (p *TCP) Each(fate func(n int) Fate) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.fate, p.seen = fate, 0
}

// Cut ends the connections that are open.
func (p *TCP) Cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for conn := range p.open {
		conn.Close()
	}
}

func (p *TCP) relay(conn net.Conn) {
	p.mu.Lock()
	fate, target := p.fate(p.seen), p.target
	p.seen++
	p.open[conn] = true
	p.mu.Unlock()
	defer func() {
		conn.Close()
		p.mu.Lock()
		delete(p.open, conn)
		p.mu.Unlock()
	}()
	switch {
	case fate == Hold:
		select {
		case p.Held <- struct{}{}:
		default:
		}
		_, _ = io.Copy(io.Discard, conn) // until the caller is gone
		return
	case fate == Refuse || target == "":
		_ = conn.(*net.TCPConn).SetLinger(0)
		return
	}
	peer, err := net.Dial("tcp", target)
	if err != nil {
		return // as if nobody listened
	}
	defer peer.Close()
	go func() {
		_, _ = io.Copy(peer, conn)
		_ = peer.(*net.TCPConn).CloseWrite()
	}()
	_, _ = io.Copy(conn, peer)
}

func refused(err error) bool { return errors.Is(err, syscall.ECONNREFUSED) }
