package store

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/jmoiron/sqlx"
)

// heartbeatDelay is how long the time stamp of a heartbeat may be in memory only.
const heartbeatDelay = 4 * time.Second

// heartbeatBatch bounds how many stamps one change writes.
const heartbeatBatch = 200

// heartbeats are the time stamps that wait to be written together.
type heartbeats struct {
	mu     sync.Mutex
	stamps map[int64]time.Time // by node; nil when none waits
}

// HeartbeatLayout is how agent_last_heartbeat in driver_internal_info is written.
const HeartbeatLayout = "2006-01-02T15:04:05.000000"

// RecordHeartbeat notes when the agent of a node was heard of again. It is for
// a heartbeat that tells nothing new; see the package's contract. A node that
// is locked when the stamp is written, or has lost its agent, does not get it.
func (s *Store) RecordHeartbeat(nodeID int64, at time.Time) {
	h := &s.heartbeats
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.stamps == nil {
		h.stamps = map[int64]time.Time{}
		// What cannot be written then is tried again.
		time.AfterFunc(heartbeatDelay, func() { _ = s.flushHeartbeats(context.Background()) })
	}
	if h.stamps[nodeID].Before(at) {
		h.stamps[nodeID] = at
	}
}

// flushHeartbeats writes the stamps. Those that cannot be written wait on.
func (s *Store) flushHeartbeats(ctx context.Context) error {
	h := &s.heartbeats
	h.mu.Lock()
	stamps := h.stamps
	h.stamps = nil
	h.mu.Unlock()
	var errs []error
	for nodes := range slices.Chunk(slices.Sorted(maps.Keys(stamps)), heartbeatBatch) {
		err := s.write(ctx, func(tx *sqlx.Tx) error {
			for _, id := range nodes {
				at := stamps[id].UTC()
				if _, err := tx.Exec(`UPDATE nodes SET driver_internal_info = json_replace(driver_internal_info, '$.agent_last_heartbeat', ?),
					updated_at = ?, revision = revision + 1, stamps = stamps + 1 WHERE id = ? AND reservation IS NULL`, at.Format(HeartbeatLayout), at, id); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil && !errors.Is(err, ErrClosed) {
			for _, id := range nodes {
				s.RecordHeartbeat(id, stamps[id])
			}
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}
