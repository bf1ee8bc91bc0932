package flow

import (
	"sync"
	"time"

	"ferric/conductor/provision"
	"ferric/conductor/store"
)

const (
	// clockJump is the difference to the monotonic clock from which on the
	// clock of the host counts as set, not as slewed.
	clockJump = 5 * time.Second
	// hearing is how long a wait lasts after a start at least: live agents
	// send a heartbeat in that time.
	hearing = 3 * time.Minute
)

// ages says how long nodes have waited. The rows have the time of the host's
// clock, which can be set while nodes wait: from the first sight of a wait on,
// its age is measured with the monotonic clock instead. What is lost with the
// process is made again from the rows.
type ages struct {
	now func() time.Time // of the host's clock

	mu    sync.Mutex
	waits map[int64]wait // by node
	last  time.Time      // of the host's clock at the last look, and with it
	mono  time.Time      // the monotonic one
}

// wait is one that was seen.
type wait struct {
	state provision.State
	since time.Time     // in the row
	age   time.Duration // at first sight
	seen  time.Time     // monotonic
}

func newAges(now func() time.Time) *ages {
	if now == nil {
		now = time.Now
	}
	return &ages{now: now, waits: map[int64]wait{}, last: now(), mono: time.Now()}
}

// look begins a pass over the waiting nodes. It returns how far the host's
// clock was set since the last pass, 0 if it went as it should, and the time
// since then.
func (a *ages) look() (set, passed time.Duration) {
	a.mu.Lock()
	defer a.mu.Unlock()
	now, mono := a.now(), time.Now()
	passed = mono.Sub(a.mono)
	// Both of the host's: Round drops the monotonic reading.
	if set = now.Round(0).Sub(a.last.Round(0)) - passed; set.Abs() < clockJump {
		set = 0
	}
	a.last, a.mono = now, mono
	return set, passed
}

// of is how long the node has waited in its state since the row's time. A wait
// that is seen for the first time is at most as old as most, unless that is
// negative, and never younger than nothing.
func (a *ages) of(n *store.Node, since time.Time, most time.Duration) time.Duration {
	a.mu.Lock()
	defer a.mu.Unlock()
	w, ok := a.waits[n.ID]
	if !ok || w.state != n.ProvisionState || !w.since.Equal(since) {
		age := a.now().Round(0).Sub(since)
		if most >= 0 {
			age = min(age, most)
		}
		w = wait{n.ProvisionState, since, max(age, 0), time.Now()}
		a.waits[n.ID] = w
	}
	return w.age + time.Since(w.seen)
}

// forget drops the waits of nodes that are not in keep.
func (a *ages) forget(keep map[int64]bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for id := range a.waits {
		if !keep[id] {
			delete(a.waits, id)
		}
	}
}
