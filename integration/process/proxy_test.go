package process_test

import (
	"fmt"
	"testing"

	"ferric/integration/faults/proxy"
)

// newProxy stands between conductor and agent, on a port that the machine is
// to name as its own.
func newProxy(t *testing.T) (p *proxy.TCP, port int) {
	t.Helper()
	port = newPort()
	return proxy.StartTCP(t, fmt.Sprintf("127.0.0.1:%d", port)), port
}

// holdAfter holds the connection after n more, and all later ones.
func holdAfter(p *proxy.TCP, n int) {
	p.Each(func(i int) proxy.Fate {
		if i < n {
			return proxy.Pass
		}
		return proxy.Hold
	})
}

// agentAddress is where the agent of m listens.
func (m *machine) agentAddress() string { return fmt.Sprintf("127.0.0.1:%d", m.port) }
