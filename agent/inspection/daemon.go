package inspection

import (
	"context"
	"math/rand/v2"
	"time"
)

// Factors of the daemon's interval (agent contract, section "When and how
// inspection runs").
const daemonLow, daemonHigh = 0.7, 1.2

// Daemon inspects again and again, about every interval, until ctx ends.
// Failures are logged.
func Daemon(ctx context.Context, o Options, interval time.Duration) {
	for {
		if _, err := Run(ctx, o); err != nil && ctx.Err() == nil {
			o.Log.WithError(err).Warn("inspection failed")
		}
		factor := daemonLow + rand.Float64()*(daemonHigh-daemonLow)
		select {
		case <-time.After(time.Duration(factor * float64(interval))):
		case <-ctx.Done():
			return
		}
	}
}
