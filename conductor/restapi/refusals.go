package restapi

import (
	"context"
	"errors"
	"sync"
	"time"

	"ferric/api/ipa"
	"ferric/conductor/event"
	"ferric/conductor/store"
	"ferric/conductor/task"
)

const (
	// refusalPause is the least between two events of the same kind that tell of
	// a refusal: agents ask again every few seconds, and anybody can be refused.
	refusalPause = 30 * time.Second
	// maxRefusals bounds what is remembered of them.
	maxRefusals = 4096
)

// refusalLog remembers of which refusals events were made lately.
type refusalLog struct {
	mu   sync.Mutex
	last map[refusalKey]time.Time
}

type refusalKey struct {
	node int64
	kind string
}

func newRefusals() *refusalLog { return &refusalLog{last: map[refusalKey]time.Time{}} }

// fresh says whether a refusal is to be told, and counts it as told.
func (f *refusalLog) fresh(key refusalKey, now time.Time, pause time.Duration) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if at, known := f.last[key]; known && now.Sub(at) < pause {
		return false
	}
	if len(f.last) >= maxRefusals {
		for k, at := range f.last {
			if now.Sub(at) >= refusalPause {
				delete(f.last, k)
			}
		}
		if len(f.last) >= maxRefusals {
			return false // somebody tries everything
		}
	}
	f.last[key] = now
	return true
}

// noteRefusedLookup tells the nodes that a lookup was about, if there are any,
// that it was refused.
func (s *Server) noteRefusedLookup(ctx context.Context, r *request, macs []string, nodeUUID string, refusal error) {
	uuids := []string{nodeUUID}
	if nodeUUID == "" {
		var err error
		if uuids, err = s.store.NodesWithAddress(ctx, macs); err != nil {
			r.log.WithError(err).Warn("cannot look for the nodes of a lookup")
			return
		}
	}
	for _, uuid := range uuids {
		s.noteRefusal(ctx, r, uuid, event.Lookup, refusal)
	}
}

func (s *Server) noteRefusedHeartbeat(ctx context.Context, r *request, nodeUUID string, refusal error) {
	if errors.As(refusal, new(*task.LockedError)) {
		return // it is repeated
	}
	s.noteRefusal(ctx, r, nodeUUID, event.Heartbeat, refusal)
}

func (s *Server) noteRefusal(ctx context.Context, r *request, nodeUUID, kind string, refusal error) {
	n, err := s.store.Node(ctx, nodeUUID)
	if errors.Is(err, store.ErrNotFound) {
		return
	}
	if err == nil && s.refusals.fresh(refusalKey{n.ID, kind}, time.Now(), refusalPause) {
		actor := task.Actor{Request: r.id}
		err = s.store.AddEvents(ctx, n.ID, []store.Event{task.MakeEvent(actor, kind, store.Object{"refused": true}, "refused: %v", refusal)})
	}
	if err != nil {
		r.log.WithError(err).Warn("cannot record a refusal")
	}
}

// progressPause is the least between two events that tell of a transfer.
const progressPause = 10 * time.Second

// noteProgress keeps how far a transfer was when somebody looked: for the
// timeline, and for those who follow the events.
func (s *Server) noteProgress(ctx context.Context, r *request, nodeID int64, p *ipa.Progress) {
	now := time.Now()
	if p.Done == 0 || !s.refusals.fresh(refusalKey{nodeID, event.Progress}, now, progressPause) {
		return
	}
	data := store.Object{"step": p.Step, "done": p.Done, "total": p.Total, "bytes_per_second": p.BytesPerSec}
	e := task.MakeEvent(task.Actor{}, event.Progress, data, "%s: %d of %d MiB, %.1f MiB/s", p.Step, p.Done>>20, p.Total>>20, p.BytesPerSec/(1<<20))
	if err := s.store.AddEvents(ctx, nodeID, []store.Event{e}); err != nil {
		r.log.WithError(err).Warn("cannot record the progress")
	}
}
