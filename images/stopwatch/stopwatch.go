// Package stopwatch measures how long a stage of a pipeline has waited for its
// neighbours, also while it waits.
package stopwatch

import (
	"sync/atomic"
	"time"
)

// Watch sums up the times between Start and Stop, which belong to one
// goroutine; Total may be asked for by any. The zero value is ready.
type Watch struct {
	started atomic.Int64 // nanoseconds since the epoch; 0 while it does not run
	total   atomic.Int64 // nanoseconds
}

// Start begins a wait; the function that it returns ends it.
func (w *Watch) Start() (stop func()) {
	begun := time.Now()
	w.started.Store(begun.UnixNano())
	return func() {
		w.started.Store(0)
		w.total.Add(int64(time.Since(begun)))
	}
}

// Total is the time of all waits up to now, the present one included.
func (w *Watch) Total() time.Duration {
	started := w.started.Load()
	total := time.Duration(w.total.Load())
	if started != 0 {
		total += max(0, time.Duration(time.Now().UnixNano()-started))
	}
	return total
}
