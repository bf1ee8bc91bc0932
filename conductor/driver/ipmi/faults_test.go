package ipmi

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"ferric/integration/faults/proxy"
)

func behindProxy(t *testing.T, info Info, rule func(fromBMC bool, n int, datagram []byte) (int, time.Duration)) (Info, *proxy.UDP) {
	t.Helper()
	p := proxy.StartUDP(t, &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: info.Port}, rule)
	info.Port = p.Port()
	return info, p
}

// TestLossyNetwork switches on through networks with faults, on both kinds of BMC.
func TestLossyNetwork(t *testing.T) {
	rules := []struct {
		name string
		rule func(fromBMC bool, n int, datagram []byte) (int, time.Duration)
	}{
		{"first 3 requests lost", func(fromBMC bool, n int, _ []byte) (int, time.Duration) {
			if !fromBMC && n < 3 {
				return 0, 0
			}
			return 1, 0
		}},
		{"every 3rd request and every 4th answer lost", func(fromBMC bool, n int, _ []byte) (int, time.Duration) {
			if fromBMC && n%4 == 3 || !fromBMC && n%3 == 2 {
				return 0, 0
			}
			return 1, 0
		}},
		{"every answer late", func(fromBMC bool, _ int, _ []byte) (int, time.Duration) {
			if fromBMC {
				return 1, 60 * time.Millisecond
			}
			return 1, 0
		}},
		{"every answer doubled", func(fromBMC bool, _ int, _ []byte) (int, time.Duration) {
			if fromBMC {
				return 2, 0
			}
			return 1, 0
		}},
		{"every 5th request doubled", func(fromBMC bool, n int, _ []byte) (int, time.Duration) {
			if !fromBMC && n%5 == 1 {
				return 2, 0
			}
			return 1, 0
		}},
		{"every 2nd answer in a session forged", func(fromBMC bool, n int, datagram []byte) (int, time.Duration) {
			if fromBMC && n%2 == 0 && datagram[5]&0x40 != 0 {
				datagram[len(datagram)-1-n%20] ^= 0x01
			}
			return 1, 0
		}},
	}
	for _, r := range rules {
		t.Run("ipmi_sim/"+r.name, func(t *testing.T) {
			sim, bmcs := startSimulator(t), newBMCs(t, func(c *Config) { c.CommandRetryTimeout = 30 * time.Second; c.ResponseTimeout = 100 * time.Millisecond })
			info, _ := behindProxy(t, sim.info, r.rule)
			if err := bmcs.SetPower(t.Context(), info, "power on", 20*time.Second); err != nil {
				t.Fatal(err)
			}
			if got := sim.file(t, "power"); got != "1" {
				t.Errorf("chassis program has power %q; want 1", got)
			}
		})
		t.Run("reference/"+r.name, func(t *testing.T) {
			info, chassis := startReference(t)
			bmcs := newBMCs(t, func(c *Config) { c.CommandRetryTimeout = 30 * time.Second; c.ResponseTimeout = 100 * time.Millisecond })
			if err := chassis.SetPower(t.Context(), false); err != nil {
				t.Fatal(err)
			}
			info, _ = behindProxy(t, info, r.rule)
			if err := bmcs.SetPower(t.Context(), info, "power on", 20*time.Second); err != nil {
				t.Fatal(err)
			}
			if on, _ := chassis.PowerState(t.Context()); !on {
				t.Error("the machine is off")
			}
		})
	}
}

// TestSilentBMC asks one that never answers: the budget and the caller's deadline both hold.
func TestSilentBMC(t *testing.T) {
	silent := proxy.StartUDP(t, nil, nil)
	info := parse(t, map[string]any{"ipmi_address": "127.0.0.1", "ipmi_port": silent.Port(), "ipmi_username": "admin", "ipmi_password": refPassword})
	operations := map[string]func(context.Context, *BMCs, Info) error{
		"PowerState":    func(ctx context.Context, b *BMCs, i Info) error { _, err := b.PowerState(ctx, i); return err },
		"SetPower":      func(ctx context.Context, b *BMCs, i Info) error { return b.SetPower(ctx, i, "power on", 0) },
		"Reboot":        func(ctx context.Context, b *BMCs, i Info) error { return b.Reboot(ctx, i, 0) },
		"BootDevice":    func(ctx context.Context, b *BMCs, i Info) error { _, _, err := b.BootDevice(ctx, i); return err },
		"SetBootDevice": func(ctx context.Context, b *BMCs, i Info) error { return b.SetBootDevice(ctx, i, "pxe", false, false) },
	}
	for name, operate := range operations {
		for _, version15 := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/1.5=%t", name, version15), func(t *testing.T) {
				t.Parallel()
				bmcs, info := newBMCs(t, func(c *Config) { c.CommandRetryTimeout = time.Second }), info
				info.Version15 = version15
				began := time.Now()
				err := operate(t.Context(), bmcs, info)
				if took := time.Since(began); took < time.Second || took > 3*time.Second {
					t.Errorf("took %s; want the budget of 1s", took)
				}
				if !errors.Is(err, ErrUnreachable) || !strings.Contains(err.Error(), info.endpoint()) || !strings.Contains(err.Error(), "ipmi_address") {
					t.Errorf("error %v; want ErrUnreachable with address and what to check", err)
				}
				if strings.Contains(err.Error(), refPassword) {
					t.Errorf("error %q holds the password", err)
				}
			})
		}
	}
	t.Run("caller's deadline", func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		defer cancel()
		began := time.Now()
		_, err := newBMCs(t, nil).PowerState(ctx, info)
		if took := time.Since(began); !errors.Is(err, ErrUnreachable) || took > 2*time.Second {
			t.Errorf("%v after %s; want ErrUnreachable after 300ms", err, took)
		}
	})
	t.Run("caller cancels", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		seen := silent.Requests()
		go func() {
			defer cancel()
			for silent.Requests() == seen && ctx.Err() == nil {
				time.Sleep(time.Millisecond)
			}
		}()
		if _, err := newBMCs(t, nil).PowerState(ctx, info); !errors.Is(err, context.Canceled) || errors.Is(err, ErrUnreachable) {
			t.Errorf("%v; want context.Canceled", err)
		}
	})
	t.Run("driver is shut down", func(t *testing.T) {
		bmcs, seen := newBMCs(t, nil), silent.Requests()
		failed := make(chan error, 1)
		go func() { _, err := bmcs.PowerState(context.Background(), info); failed <- err }()
		waitUntil(t, "the BMC is asked", func() bool { return silent.Requests() > seen })
		bmcs.Close()
		if err := <-failed; !errors.Is(err, ErrClosed) {
			t.Errorf("running operation: %v; want ErrClosed", err)
		}
		if _, err := bmcs.PowerState(t.Context(), info); !errors.Is(err, ErrClosed) {
			t.Errorf("later operation: %v; want ErrClosed", err)
		}
	})
}

// TestWrongPasswordIsNotRepeated counts the datagrams of a refused login: the question for the
// suites, and of two suites two messages each.
func TestWrongPasswordIsNotRepeated(t *testing.T) {
	info, _ := startReference(t)
	info, p := behindProxy(t, info, nil)
	info.Password = "another password"
	bmcs := newBMCs(t, nil)
	_, err := bmcs.PowerState(t.Context(), info)
	if !errors.Is(err, ErrAuth) {
		t.Fatalf("%v; want ErrAuth", err)
	}
	if got := p.Requests(); got > 5 {
		t.Errorf("%d datagrams; want at most 5", got)
	}
	info.Password = refPassword
	if _, err := bmcs.PowerState(t.Context(), info); err != nil {
		t.Errorf("right password afterwards: %v", err)
	}
}

// TestBMCComesBack loses the BMC in the middle of an operation's session.
func TestBMCComesBack(t *testing.T) {
	info, chassis := startReference(t)
	if err := chassis.SetPower(t.Context(), false); err != nil {
		t.Fatal(err)
	}
	bmcs := newBMCs(t, func(c *Config) { c.ResponseTimeout = 50 * time.Millisecond })
	// A session is open after 5 exchanges; then requests get lost, more than a session is given.
	info, p := behindProxy(t, info, func(fromBMC bool, n int, _ []byte) (int, time.Duration) {
		if !fromBMC && n >= 6 && n < 13 {
			return 0, 0
		}
		return 1, 0
	})
	if err := bmcs.SetPower(t.Context(), info, "power on", 0); err != nil {
		t.Fatal(err)
	}
	if on, _ := chassis.PowerState(t.Context()); !on || p.Requests() < 16 {
		t.Errorf("on = %t after %d requests", on, p.Requests())
	}
}
