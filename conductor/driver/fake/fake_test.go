package fake

import (
	"context"
	"errors"
	"testing"
	"time"

	"ferric/conductor/store"
)

func TestDelay(t *testing.T) {
	for text, want := range map[string]delay{
		"": {}, "0": {}, "3": {3 * time.Second, 3 * time.Second}, " 1 , 5 ": {time.Second, 5 * time.Second},
		"0.02,0.2": {20 * time.Millisecond, 200 * time.Millisecond},
	} {
		if got, err := parseDelay(text); err != nil || got != want {
			t.Errorf("%q: %v, %v; want %v", text, got, err, want)
		}
	}
	for _, text := range []string{"x", "-1", "1,", "1,2,3", "2,1", "1.5.5", "NaN", "Inf", "9999999"} {
		if d, err := parseDelay(text); err == nil {
			t.Errorf("%q is taken for %v", text, d)
		}
	}
	// A random time lies between the two, rather near to the first.
	early := 0
	d := delay{0, time.Second}
	for range 1000 {
		took := d.random()
		if took < d.least || took > d.most {
			t.Fatalf("%v is not between %v and %v", took, d.least, d.most)
		}
		if took < d.most/2 {
			early++
		}
	}
	if early < 650 || early > 850 { // three in four
		t.Errorf("%d of 1000 are in the first half", early)
	}
}

// Hardware that takes its time stops when nobody waits any more.
func TestDelayEnds(t *testing.T) {
	cfg := DefaultConfig()
	cfg.PowerDelay = "3600"
	h, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := h.Power.PowerState(ctx, &store.Node{}); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
	if _, _, err := h.Management.BootDevice(t.Context(), &store.Node{}); err != nil {
		t.Errorf("management has no delay: %v", err)
	}
}
