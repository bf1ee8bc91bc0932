package process_test

import (
	"fmt"
	"io"
	"net"
	"sync"
	"testing"
)

// proxy stands between conductor and agent. It lets some connections pass and
// then holds the next: it is accepted, and nothing ever comes back.
type proxy struct {
	t        *testing.T
	listener net.Listener
	target   string

	mu   sync.Mutex
	pass int  // connections that may still pass
	open bool // all may
	held chan struct{}
}

// newProxy listens on a port; its target is the agent of the machine that is
// to name the port as its own.
func newProxy(t *testing.T) (p *proxy, port int) {
	t.Helper()
	port = newPort()
	listener, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	return &proxy{t: t, listener: listener, held: make(chan struct{}, 16), open: true}, port
}

// serve begins to relay to the agent of m.
func (p *proxy) serve(m *machine) {
	p.target = fmt.Sprintf("127.0.0.1:%d", m.port)
	go func() {
		for {
			conn, err := p.listener.Accept()
			if err != nil {
				return
			}
			go p.relay(conn)
		}
	}()
}

// holdAfter holds the connection after n more, and all later ones.
func (p *proxy) holdAfter(n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.pass, p.open = n, false
}

func (p *proxy) release() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.open = true
}

func (p *proxy) mayPass() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.pass--
	return p.open || p.pass >= 0
}

func (p *proxy) relay(conn net.Conn) {
	defer conn.Close()
	if !p.mayPass() {
		p.held <- struct{}{}
		_, _ = io.Copy(io.Discard, conn) // until the caller is gone
		return
	}
	agent, err := net.Dial("tcp", p.target)
	if err != nil {
		return // as if nobody listened
	}
	defer agent.Close()
	go func() {
		_, _ = io.Copy(agent, conn)
		_ = agent.(*net.TCPConn).CloseWrite()
	}()
	_, _ = io.Copy(conn, agent)
}
