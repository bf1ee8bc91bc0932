// Package proxy has faulty networks: proxies between a client and a real peer
// that lose, delay, double, reorder, forge, hold and cut what passes.
package proxy

import (
	"net"
	"sync"
	"testing"
	"time"
)

// Rule decides the fate of the datagram number n, of those that go to the
// target or come back from it: how often it is delivered, and after which
// delay. It may change the datagram.
type Rule func(back bool, n int, datagram []byte) (copies int, delay time.Duration)

// UDP passes datagrams between clients and a target, each client from a port
// of its own.
type UDP struct {
	conn   *net.UDPConn
	target *net.UDPAddr

	mu      sync.Mutex
	rule    Rule
	seen    [2]int // datagrams from clients, from the target
	flows   map[string]*net.UDPConn
	inAir   int // requests that the target has not answered
	maxAir  int
	pending sync.WaitGroup
}

// StartUDP listens on a free port of 127.0.0.1 until the test ends. Without a
// target nobody answers; without a rule all passes.
func StartUDP(t testing.TB, target *net.UDPAddr, rule Rule) *UDP {
	t.Helper()
	return StartUDPAt(t, &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)}, target, rule)
}

// StartUDPAt listens at an address of the caller's choice.
func StartUDPAt(t testing.TB, at, target *net.UDPAddr, rule Rule) *UDP {
	t.Helper()
	conn, err := net.ListenUDP("udp", at)
	if err != nil {
		t.Fatal(err)
	}
	p := &UDP{conn: conn, target: target, rule: rule, flows: map[string]*net.UDPConn{}}
	p.pending.Go(p.serve)
	t.Cleanup(func() {
		conn.Close()
		p.mu.Lock()
		for _, c := range p.flows {
			c.Close()
		}
		p.mu.Unlock()
		p.pending.Wait()
	})
	return p
}

// Port is where clients find it.
func (p *UDP) Port() int { return p.conn.LocalAddr().(*net.UDPAddr).Port }

// Requests is how many datagrams clients have sent.
func (p *UDP) Requests() int { p.mu.Lock(); defer p.mu.Unlock(); return p.seen[0] }

// MaxInAir is how many requests waited for the target's answer at most.
func (p *UDP) MaxInAir() int { p.mu.Lock(); defer p.mu.Unlock(); return p.maxAir }

// SetRule replaces the rule.
func (p *UDP) SetRule(rule Rule) { p.mu.Lock(); defer p.mu.Unlock(); p.rule = rule }

func (p *UDP) serve() {
	buf := make([]byte, 4096)
	for {
		n, client, err := p.conn.ReadFromUDP(buf)
		if err != nil {
			return
		}
		flow := p.flow(client)
		p.deliver(false, buf[:n], func(b []byte) {
			if flow != nil {
				flow.Write(b)
			}
		})
	}
}

func (p *UDP) flow(client *net.UDPAddr) *net.UDPConn {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.target == nil {
		return nil
	}
	if c, ok := p.flows[client.String()]; ok {
		return c
	}
	c, err := net.DialUDP("udp", nil, p.target)
	if err != nil {
		return nil
	}
	p.flows[client.String()] = c
	p.pending.Go(func() {
		buf := make([]byte, 4096)
		for {
			n, err := c.Read(buf)
			if refused(err) {
				continue // nobody listens there for now
			}
			if err != nil {
				return
			}
			p.deliver(true, buf[:n], func(b []byte) { p.conn.WriteToUDP(b, client) })
		}
	})
	return c
}

func (p *UDP) deliver(back bool, datagram []byte, write func([]byte)) {
	p.mu.Lock()
	side := 0
	if back {
		side = 1
	} else {
		p.inAir++
		p.maxAir = max(p.maxAir, p.inAir)
	}
	n := p.seen[side]
	p.seen[side]++
	copies, delay := 1, time.Duration(0)
	if p.rule != nil {
		copies, delay = p.rule(back, n, datagram)
	}
	p.mu.Unlock()
	b := append([]byte(nil), datagram...)
	send := func() {
		if back {
			p.mu.Lock()
			p.inAir--
			p.mu.Unlock()
		}
		for range copies {
			write(b)
		}
	}
	if delay == 0 {
		send()
		return
	}
	p.pending.Go(func() { time.Sleep(delay); send() })
}
