package task

import (
	"context"
	"time"
)

// take takes a worker, if one is free. leave gives it back.
func (m *Manager) take() (leave func(), ok bool) {
	select {
	case m.workers <- struct{}{}:
		return func() { <-m.workers }, true
	default:
		m.counters.workersRefused.Add(1)
		return nil, false
	}
}

// takeLater is take without the workers that are reserved for requests.
func (m *Manager) takeLater() (leave func(), ok bool) {
	select {
	case m.later <- struct{}{}:
	default:
		return nil, false
	}
	worker, ok := m.take()
	if !ok {
		<-m.later
		return nil, false
	}
	return func() { worker(); <-m.later }, true
}

// Go runs work that holds no node's lock on a worker. Without a free one
// nothing has happened and ErrNoFreeWorker is returned.
func (m *Manager) Go(name string, work func(ctx context.Context) error) error {
	leave, ok := m.take()
	if !ok {
		return ErrNoFreeWorker
	}
	m.wg.Go(func() {
		defer leave()
		t := &Task{Log: m.log.WithField("work", name)}
		if err := t.protect(name, func() error { return work(m.base) }); err != nil && m.base.Err() == nil {
			t.Log.WithError(err).Error("background work failed")
		}
	})
	return nil
}

// LockRetries is how often, and after which pause, somebody who wants any of
// several nodes tries those that are locked.
func (m *Manager) LockRetries() (attempts int, pause time.Duration) {
	return m.cfg.LockRetryAttempts, m.cfg.LockRetryInterval
}
