package ata_test

import (
	"context"
	"testing"
	"time"

	"ferric/hwmanager/ata"
	"ferric/hwmanager/ata/atamodel"
	"ferric/hwmanager/sgio"
)

// timed remembers the timeout of SECURITY ERASE UNIT.
type timed struct {
	sgio.Transport
	timeout *time.Duration
}

func (d timed) Do(ctx context.Context, c sgio.Command) (sgio.Result, error) {
	if c.CDB[14] == eraseUnit {
		*d.timeout = c.Timeout
	}
	return d.Transport.Do(ctx, c)
}

// TestTimeout: an erase is waited for as long as the disk announces it, in the
// mode that is used, and half as long again; nobody waits for weeks.
func TestTimeout(t *testing.T) {
	const spare = 90 * time.Minute
	for name, test := range map[string]struct {
		config atamodel.Config
		want   time.Duration
	}{
		"normal":            {atamodel.Config{NoEnhanced: true, EraseTime: 60, EnhancedTime: 1}, 180*time.Minute + spare},
		"enhanced":          {atamodel.Config{EraseTime: 1, EnhancedTime: 60}, 180*time.Minute + spare},
		"nothing announced": {atamodel.Config{}, spare},
		"over 508 minutes":  {atamodel.Config{EnhancedTime: 0xff}, 762*time.Minute + spare},
		"extended format":   {atamodel.Config{EnhancedTime: 0x8000 | 1000}, 3000*time.Minute + spare},
		"for ever":          {atamodel.Config{EnhancedTime: 0xffff}, 14 * 24 * time.Hour},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, test.config)
			var got time.Duration
			if _, err := ata.Erase(t.Context(), b.device, ata.Options{Transport: timed{b.model, &got}}, nil); err != nil {
				t.Fatal(err)
			}
			if got != test.want {
				t.Errorf("%v, want %v", got, test.want)
			}
			if got > sgio.MaxTimeout {
				t.Errorf("%v is no timeout to Linux", got)
			}
		})
	}
}
