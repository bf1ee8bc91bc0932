package scsi

import (
	"context"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"ferric/hwmanager/sgio"
)

func FuzzParse(f *testing.F) {
	f.Add([]byte{0, 0, 6, 2, 31, 0, 0, 0, 'Q', 'E', 'M', 'U', ' ', ' ', ' ', ' ', 'H', 'D', ' ', ' ', ' ', ' ', ' ', ' ', ' ', ' ', ' ', ' ', ' ', ' ', ' ', ' ', '2', '.', '5', '+'})
	f.Add([]byte{0x70, 0, 2, 0, 0, 0, 0, 10, 0, 0, 0, 0, 4, 0x1b, 0, 0x80, 0x40, 0})
	f.Add([]byte{0x72, 2, 4, 0x1b, 0, 0, 0, 8, 2, 6, 0, 0, 0x80, 0x40, 0, 0})
	f.Add([]byte{0, 0, 0, 0, 0, 0, 0xff, 0xff, 0, 0, 2, 0})
	f.Fuzz(func(t *testing.T, data []byte) {
		if i, err := ParseInquiry(data); err == nil && len(i.Vendor)+len(i.Product)+len(i.Revision) > 28 {
			t.Errorf("%+v", i)
		}
		if size, err := ParseCapacity(data); err == nil && size <= 0 {
			t.Errorf("capacity %d", size)
		}
		if p, err := ParsePage(data, 0xb1); err == nil && len(p) > len(data) {
			t.Errorf("page of %d bytes", len(p))
		}
		if s, err := sgio.ParseSense(data); err == nil {
			if done, ok := fraction(s, data); done < 0 || done >= 1 || !ok && done != 0 {
				t.Errorf("progress %v", done)
			}
		}
	})
}

func TestFraction(t *testing.T) {
	for name, tc := range map[string]struct {
		sense []byte
		want  float64
		ok    bool
	}{
		"fixed":            {[]byte{0x70, 0, 2, 0, 0, 0, 0, 10, 0, 0, 0, 0, 4, 0x1b, 0, 0x80, 0x40, 0}, 0.25, true},
		"fixed, not valid": {[]byte{0x70, 0, 2, 0, 0, 0, 0, 10, 0, 0, 0, 0, 4, 0x1b, 0, 0, 0x40, 0}, 0, false},
		"fixed, short":     {[]byte{0x70, 0, 2, 0, 0, 0, 0, 6, 0, 0, 0, 0, 4, 0x1b, 0, 0x80, 0x40, 0}, 0, false},
		"descriptors":      {[]byte{0x72, 2, 4, 0x1b, 0, 0, 0, 12, 9, 2, 0, 0, 2, 6, 0, 0, 0x80, 0xc0, 0, 0}, 0.75, true},
		"no descriptor":    {[]byte{0x72, 2, 4, 0x1b, 0, 0, 0, 0}, 0, false},
	} {
		s, err := sgio.ParseSense(tc.sense)
		if err != nil {
			t.Fatal(err)
		}
		if got, ok := fraction(s, tc.sense); got != tc.want || ok != tc.ok {
			t.Errorf("%s: %v, %v", name, got, ok)
		}
	}
}

// noisy answers everything with noise.
type noisy struct{ random *rand.Rand }

func (n noisy) Do(_ context.Context, c sgio.Command) (sgio.Result, error) {
	r := sgio.Result{Sense: make([]byte, n.random.IntN(64)), Residual: n.random.IntN(8) - 2}
	for i := range r.Sense {
		r.Sense[i] = byte(n.random.Uint32())
	}
	if len(r.Sense) > 0 && n.random.IntN(2) == 0 {
		r.Sense[0] = 0x70 + byte(n.random.IntN(4))
	}
	for i := range c.Data {
		c.Data[i] = byte(n.random.Uint32())
	}
	r.Status = []byte{sgio.Good, sgio.CheckCondition, statusBusy, byte(n.random.Uint32())}[n.random.IntN(4)]
	if n.random.IntN(8) == 0 {
		r.Host = uint16(n.random.IntN(32))
	}
	return r, nil
}

// TestNoise: whatever a device answers, an erase ends.
func TestNoise(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for seed := range uint64(500) {
			d := &device{transport: noisy{rand.New(rand.NewPCG(seed, 0))}, size: 1 << 30}
			began := time.Now()
			d.settle(t.Context(), func(float64) {})
			d.inquire(t.Context())
			d.capacity(t.Context())
			for _, w := range d.ways() {
				d.reported(t.Context(), opSanitize, w.action)
				d.sanitize(t.Context(), w, true, func(float64) {})
			}
			if took := time.Since(began); took > 10*longest {
				t.Errorf("seed %d: %v", seed, took)
			}
		}
	})
}
