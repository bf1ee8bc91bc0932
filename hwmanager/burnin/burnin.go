// Package burnin puts load on a machine for as long as wanted and watches
// whether it computes, remembers, stores and transmits what it should: the work
// of the steps burnin_cpu, burnin_memory, burnin_disk and burnin_network (agent
// contract, section "Burn-in parameters"). Every load verifies its own results;
// the first wrong one ends it and is named. Start reading at CPU, Memory, Disk
// and Network.
package burnin

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"time"

	"ferric/api/ipa"
)

// Run is what all reports begin with.
type Run struct {
	Step    string    `json:"step"`
	Started time.Time `json:"started"`
	Seconds float64   `json:"seconds"`
	Error   string    `json:"error,omitempty"` // of a failed run
	Health  *Health   `json:"health,omitempty"`

	began time.Time // as Started, but not moved when the machine's clock is set
}

func begin(step string) Run {
	now := time.Now()
	return Run{Step: step, Started: now.UTC(), began: now}
}

// end notes how long the run took and how it ended.
func (r *Run) end(err error) {
	r.Seconds = time.Since(r.began).Seconds()
	if err != nil {
		r.Error = err.Error()
	}
}

// errTime is the cause of a context that ended because a load has lasted as
// long as was wanted.
var errTime = errors.New("the time is up")

// lasting is ctx with an end after d, which is no failure (see failure).
// d is 0 for no end.
func lasting(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	if d == 0 {
		return context.WithCancel(ctx)
	}
	return context.WithTimeoutCause(ctx, d, errTime)
}

// failure is why ctx ended, nil if its time was up or if it has not ended.
func failure(ctx context.Context) error {
	if cause := context.Cause(ctx); cause != nil && !errors.Is(cause, errTime) {
		return cause
	}
	return nil
}

// withFaults runs work so that a fault of memory (SIGBUS, which the kernel sends
// for an uncorrectable error of a page) is its error and does not end the process.
func withFaults(work func() error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		p := recover()
		if p == nil {
			return
		}
		fault, ok := p.(interface{ Addr() uintptr })
		if !ok {
			panic(p)
		}
		err = fmt.Errorf("memory at virtual address %#x cannot be accessed: %v", fault.Addr(), p)
	}()
	return work()
}

// reportInterval is how often progress is reported.
const reportInterval = time.Second

// amount is how far a load is.
type amount struct {
	done, total int64 // seconds, or bytes where bytes are what ends the load
	bytes       int64 // written or verified so far, for the rate
}

// follow reports progress, now and then once a second, until the returned function
// is called; when that returns there are no more reports.
func follow(report func(ipa.Progress), now func() amount) (stop func()) {
	began := time.Now()
	tell := func() {
		a, elapsed := now(), time.Since(began).Seconds()
		p := ipa.Progress{Phase: ipa.PhaseBurnIn, Done: a.done, Total: a.total, Written: a.bytes, SecondsLeft: -1}
		if elapsed > 0 {
			p.BytesPerSec = float64(a.bytes) / elapsed
		}
		if a.done > 0 && a.total > 0 {
			p.SecondsLeft = max(0, float64(a.total-a.done)*elapsed/float64(a.done))
		}
		report(p)
	}
	tell()
	quit, gone := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(gone)
		ticker := time.NewTicker(reportInterval)
		defer ticker.Stop()
		for {
			select {
			case <-ticker.C:
				tell()
			case <-quit:
				return
			}
		}
	}()
	return func() {
		close(quit)
		<-gone
	}
}

// clock is the amount of a load that ends with its time.
func clock(began time.Time, total time.Duration, bytes int64) amount {
	elapsed := min(time.Since(began), total)
	return amount{done: int64(elapsed.Seconds()), total: int64(total.Seconds()), bytes: bytes}
}
