package task

import (
	"context"
	"time"
)

// Go runs work that holds no node's lock on a worker. Without a free one
// nothing has happened and ErrNoFreeWorker is returned.
func (m *Manager) Go(name string, work func(ctx context.Context) error) error {
	select {
	case m.workers <- struct{}{}:
	default:
		return ErrNoFreeWorker
	}
	m.wg.Go(func() {
		defer func() { <-m.workers }()
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
