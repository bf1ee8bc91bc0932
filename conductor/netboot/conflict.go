package netboot

import (
	"sync"
	"time"
)

// maxOccupants bounds the memory of the guard.
const maxOccupants = 1 << 14

// reportEvery is the least time between two reports about one MAC address.
const reportEvery = time.Minute

// guard notices two machines that use one MAC address. The first one seen is
// answered, the other is not, until the first was silent for hold (the lease
// time): then the address belongs to whoever asks next, as after a replaced board.
//
// A machine is told by its UUID (option 97). Where one of the two packets has none,
// machines differ if their firmware does (BIOS and UEFI, or another CPU). With
// the same UUID a different firmware is the same machine after a change of
// boot mode. Operating systems send neither and are not judged.
type guard struct {
	hold time.Duration

	mu   sync.Mutex
	seen map[string]*occupant
}

// occupant is the machine behind a MAC address.
type occupant struct {
	first    client
	last     time.Time
	reported time.Time
}

func newGuard(hold time.Duration) *guard {
	return &guard{hold: hold, seen: make(map[string]*occupant)}
}

// admit returns whether c may be answered. If not, first is the machine that has
// the address, and report is true if it is time to tell.
func (g *guard) admit(c client, now time.Time) (first client, ok, report bool) {
	if !c.netboot() && c.uuid == "" {
		return client{}, true, false
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	key := c.mac.String()
	s := g.seen[key]
	if s == nil || now.Sub(s.last) >= g.hold {
		g.prune(now)
		if len(g.seen) < maxOccupants {
			g.seen[key] = &occupant{first: c, last: now}
		}
		return client{}, true, false
	}
	if sameMachine(s.first, c) {
		s.last = now
		if s.first.uuid == "" || c.uuid != "" && c.netboot() {
			s.first = c
		}
		return client{}, true, false
	}
	report = now.Sub(s.reported) >= reportEvery
	if report {
		s.reported = now
	}
	return s.first, false, report
}

func (g *guard) prune(now time.Time) {
	if len(g.seen) < maxOccupants {
		return
	}
	for key, s := range g.seen {
		if now.Sub(s.last) >= g.hold {
			delete(g.seen, key)
		}
	}
}

func sameMachine(a, b client) bool {
	if a.uuid != "" && b.uuid != "" {
		return sameUUID(a.uuid, b.uuid)
	}
	return !a.netboot() || !b.netboot() || a.arch == b.arch
}
