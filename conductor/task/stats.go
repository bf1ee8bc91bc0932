package task

import (
	"sync/atomic"
	"time"
)

// holder is who has a node's turn in this process.
type holder struct {
	purpose string
	since   time.Time
}

// hold notes, for diagnosis, what the node's lock was taken for.
func (m *Manager) hold(id int64, purpose string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if q := m.queues[id]; q != nil {
		q.holder = holder{purpose, time.Now()}
	}
}

// Holding tells what a node's lock was taken for in this process, and when.
func (m *Manager) Holding(id int64) (purpose string, since time.Time, ok bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	q := m.queues[id]
	if q == nil || q.holder.purpose == "" || len(q.turn) == 0 {
		return "", time.Time{}, false
	}
	return q.holder.purpose, q.holder.since, true
}

// Workers counts the workers that are busy, and all.
func (m *Manager) Workers() (busy, all int) { return len(m.workers), cap(m.workers) }

// counters are what the manager counts of itself.
type counters struct {
	workersRefused, lockWaits, lockWait, locksRefused atomic.Int64
}

// Stats are what happened since the start.
type Stats struct {
	WorkersRefused int64         // requests for a worker when all were busy
	LockWaits      int64         // tasks that waited for another one of their node
	LockWait       time.Duration // in all
	LocksRefused   int64         // tasks that waited in vain
}

// Stats counts what happened since the start.
func (m *Manager) Stats() Stats {
	c := &m.counters
	return Stats{c.workersRefused.Load(), c.lockWaits.Load(), time.Duration(c.lockWait.Load()), c.locksRefused.Load()}
}
