package store

import (
	"context"
	"encoding/json"
	"fmt"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"
	"github.com/jmoiron/sqlx"
)

// Severities of history entries.
const (
	SeverityInfo  = "INFO"
	SeverityError = "ERROR"
)

// maxHistoryEvent is how many bytes of a text are kept; what is longer loses
// its middle.
const maxHistoryEvent = 65535

// History is a row of node_history: how something that was done with a node
// ended.
type History struct {
	ID                   int64     `db:"id"`
	UUID                 string    `db:"uuid"`
	NodeID               int64     `db:"node_id"`
	Conductor            *string   `db:"conductor"`
	EventType            *string   `db:"event_type"`
	Severity             string    `db:"severity"`
	Event                string    `db:"event"`
	User                 *string   `db:"user"`
	Project              *string   `db:"project"`
	State                *string   `db:"state"`
	TargetProvisionState *string   `db:"target_provision_state"`
	DurationSeconds      *int64    `db:"duration_seconds"`
	CreatedAt            time.Time `db:"created_at"`
}

// HistoryLimits say which entries of a node are forgotten: all but the newest
// Max, unless they are younger than Keep. Max 0 keeps all.
type HistoryLimits struct {
	Max  int
	Keep time.Duration
}

// addHistory inserts entries of a node and forgets its oldest.
func addHistory(tx *sqlx.Tx, nodeID int64, entries []History, limits HistoryLimits) error {
	for i := range entries {
		h := &entries[i]
		h.NodeID, h.UUID, h.Event = nodeID, uuid.NewString(), cutMiddle(h.Event, maxHistoryEvent)
		if h.CreatedAt.IsZero() {
			h.CreatedAt = now()
		}
		if _, err := tx.NamedExec(`INSERT INTO node_history
			(uuid, node_id, conductor, event_type, severity, event, user, project, state, target_provision_state, duration_seconds, created_at)
			VALUES (:uuid, :node_id, :conductor, :event_type, :severity, :event, :user, :project, :state, :target_provision_state, :duration_seconds, :created_at)`, h); err != nil {
			return fmt.Errorf("record the history of node #%d: %w", nodeID, err)
		}
	}
	if limits.Max == 0 || len(entries) == 0 {
		return nil
	}
	_, err := tx.Exec(`DELETE FROM node_history WHERE node_id = ? AND created_at < ? AND id NOT IN
		(SELECT id FROM node_history WHERE node_id = ? ORDER BY id DESC LIMIT ?)`, nodeID, now().Add(-limits.Keep), nodeID, limits.Max)
	if err != nil {
		return fmt.Errorf("forget old history of node #%d: %w", nodeID, err)
	}
	return nil
}

// PurgeHistory forgets what the limits say of all nodes, at most batch entries
// at a time, and tells how many it were. They are looked for by a reader: over
// the history of thousands of nodes that takes its time, and other writes do not
// wait for it.
func (s *Store) PurgeHistory(ctx context.Context, limits HistoryLimits, batch int) (int64, error) {
	if limits.Max == 0 {
		return 0, nil
	}
	before := now().Add(-limits.Keep) // nothing that is added meanwhile is as old
	ids := []int64{}
	err := s.db.SelectContext(ctx, &ids, `SELECT id FROM
		(SELECT id, created_at, row_number() OVER (PARTITION BY node_id ORDER BY id DESC) AS age FROM node_history
			WHERE node_id IN (SELECT node_id FROM node_history GROUP BY node_id HAVING COUNT(*) > ?))
		WHERE age > ? AND created_at < ? ORDER BY id LIMIT ?`, limits.Max, limits.Max, before, batch)
	if err != nil || len(ids) == 0 {
		return 0, err
	}
	list, err := json.Marshal(ids)
	if err != nil {
		return 0, err
	}
	return s.exec(ctx, "DELETE FROM node_history WHERE id IN (SELECT value FROM json_each(?)) AND created_at < ?", string(list), before)
}

// NodeHistory lists the history of a node.
func (s *Store) NodeHistory(ctx context.Context, nodeID int64, q Query) ([]*History, error) {
	q.Where, q.Args = append(q.Where, "node_id = ?"), append(q.Args, nodeID)
	return list[History](ctx, s, "SELECT * FROM node_history", "node_history", q)
}

// HistoryEntry finds an entry of a node's history.
func (s *Store) HistoryEntry(ctx context.Context, nodeID int64, uuid string) (*History, error) {
	h := new(History)
	if err := s.db.GetContext(ctx, h, "SELECT * FROM node_history WHERE node_id = ? AND uuid = ?", nodeID, uuid); err != nil {
		return nil, notFound(err, "history entry %s", uuid)
	}
	return h, nil
}

// cutMiddle shortens text to limit bytes by taking out its middle.
func cutMiddle(text string, limit int) string {
	const mark = " ... "
	if len(text) <= limit {
		return text
	}
	head := (limit - len(mark)) / 2
	tail := len(text) - (limit - len(mark) - head)
	for head > 0 && !utf8.RuneStart(text[head]) {
		head--
	}
	for tail < len(text) && !utf8.RuneStart(text[tail]) {
		tail++
	}
	return text[:head] + mark + text[tail:]
}
