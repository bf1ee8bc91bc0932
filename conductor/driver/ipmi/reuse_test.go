package ipmi

import (
	"errors"
	"testing"
	"time"
)

// TestSessionIsReused counts the datagrams of commands: a login is four
// exchanges, which are made once, and the first asks for the cipher suites before.
func TestSessionIsReused(t *testing.T) {
	const login, first = 4, 4 + 1
	ask := func(t *testing.T, bmcs *BMCs, info Info) {
		t.Helper()
		if _, err := bmcs.PowerState(t.Context(), info); err != nil {
			t.Fatal(err)
		}
	}
	t.Run("five commands", func(t *testing.T) {
		info, _ := startReference(t)
		info, p := behindProxy(t, info, nil)
		bmcs := newBMCs(t, nil)
		for range 5 {
			ask(t, bmcs, info)
		}
		if got := p.Requests(); got != first+5 {
			t.Errorf("%d datagrams for 5 commands; want one login and 5", got)
		}
		bmcs.Close()
		waitUntil(t, "the session is closed", func() bool { return p.Requests() == first+5+1 })
	})
	t.Run("an idle session is closed", func(t *testing.T) {
		info, _ := startReference(t)
		info, p := behindProxy(t, info, nil)
		bmcs := newBMCs(t, nil)
		bmcs.sessionIdle = 50 * time.Millisecond
		ask(t, bmcs, info)
		waitUntil(t, "the session is closed", func() bool { return p.Requests() == first+1+1 && bmcs.keptCount.Load() == 0 })
		ask(t, bmcs, info)
		if got := p.Requests(); got < first+1+1+login+1 {
			t.Errorf("%d datagrams; want a second login", got)
		}
	})
	t.Run("other credentials are tried", func(t *testing.T) {
		info, _ := startReference(t)
		bmcs := newBMCs(t, nil)
		ask(t, bmcs, info)
		info.Password = "rotated"
		if _, err := bmcs.PowerState(t.Context(), info); !errors.Is(err, ErrAuth) {
			t.Errorf("wrong password while a session is open: %v; want ErrAuth", err)
		}
		info.Password = refPassword
		ask(t, bmcs, info)
	})
	t.Run("the BMC has forgotten the session", func(t *testing.T) {
		info, _ := startReference(t)
		info, p := behindProxy(t, info, nil)
		bmcs := newBMCs(t, func(c *Config) { c.ResponseTimeout = 50 * time.Millisecond })
		ask(t, bmcs, info)
		bmcs.bmcs[info.endpoint()].kept.session.(*rmcpPlus).bmcID ^= 0x55
		ask(t, bmcs, info)
		ask(t, bmcs, info)
		// Two sendings and a logout that nobody answers, then a login.
		if got := p.Requests(); got != first+1+sendingsKept+1+login+2 {
			t.Errorf("%d datagrams", got)
		}
	})
	t.Run("what must not be repeated has a session of its own", func(t *testing.T) {
		info, _ := startReference(t)
		bmcs := newBMCs(t, nil)
		ask(t, bmcs, info)
		bmcs.bmcs[info.endpoint()].kept.session.(*rmcpPlus).bmcID ^= 0x55
		if err := bmcs.SendRaw(t.Context(), info, []byte{0x06, 0x01}); err != nil {
			t.Error(err)
		}
	})
}
