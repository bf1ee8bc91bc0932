package ipmi

import (
	"net"
	"sync"
	"testing"
	"time"
)

// proxy passes datagrams between clients and a BMC, each client from a port of its own, and lets rule decide
// how often each one is delivered and after which delay. A nil target has no BMC behind it.
type proxy struct {
	conn   *net.UDPConn
	target *net.UDPAddr

	mu      sync.Mutex
	rule    func(fromBMC bool, n int, datagram []byte) (copies int, delay time.Duration)
	seen    [2]int // datagrams from clients, from the BMC
	flows   map[string]*net.UDPConn
	inAir   int // requests that the BMC has not answered
	maxAir  int
	pending sync.WaitGroup
}

func startProxy(t *testing.T, target *net.UDPAddr, rule func(fromBMC bool, n int, datagram []byte) (int, time.Duration)) *proxy {
	t.Helper()
	conn, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{conn: conn, target: target, rule: rule, flows: map[string]*net.UDPConn{}}
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

func (p *proxy) port() int { return p.conn.LocalAddr().(*net.UDPAddr).Port }

// requests is how many datagrams clients have sent.
func (p *proxy) requests() int { p.mu.Lock(); defer p.mu.Unlock(); return p.seen[0] }

func (p *proxy) serve() {
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

func (p *proxy) flow(client *net.UDPAddr) *net.UDPConn {
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
			if err != nil {
				return
			}
			p.deliver(true, buf[:n], func(b []byte) { p.conn.WriteToUDP(b, client) })
		}
	})
	return c
}

func (p *proxy) deliver(fromBMC bool, datagram []byte, write func([]byte)) {
	p.mu.Lock()
	side := 0
	if fromBMC {
		side = 1
	} else {
		p.inAir++
		p.maxAir = max(p.maxAir, p.inAir)
	}
	n := p.seen[side]
	p.seen[side]++
	copies, delay := 1, time.Duration(0)
	if p.rule != nil {
		copies, delay = p.rule(fromBMC, n, datagram)
	}
	p.mu.Unlock()
	b := append([]byte(nil), datagram...)
	send := func() {
		if fromBMC {
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
