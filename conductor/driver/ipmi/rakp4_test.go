package ipmi

import (
	"testing"
	"time"
)

// TestLostEndOfLogin loses the last message of the login, which the BMC does not repeat.
func TestLostEndOfLogin(t *testing.T) {
	lost := func() func(back bool, n int, datagram []byte) (int, time.Duration) {
		gone := 0
		return func(back bool, _ int, datagram []byte) (int, time.Duration) {
			const message4 = 0x15
			if back && datagram[5]&0x3f == message4 && gone == 0 {
				gone++
				return 0, 0
			}
			return 1, 0
		}
	}
	sim, bmcs := startSimulator(t), newBMCs(t, func(c *Config) { c.CommandRetryTimeout = 30 * time.Second; c.ResponseTimeout = 100 * time.Millisecond })
	info, p := behindProxy(t, sim.info, lost())
	if _, err := bmcs.PowerState(t.Context(), info); err != nil {
		t.Fatal(err)
	}
	// The list of suites, which ipmi_sim gives in 5 parts, and without 17; then open session, RAKP 1, RAKP 3 for as often as it is sent, privilege, status.
	if got, want := p.Requests(), 5+1+1+sendingsLast+1+1; got != want {
		t.Errorf("%d datagrams; want %d: no login anew", got, want)
	}
}
