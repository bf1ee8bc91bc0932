package store

import (
	"context"
	"time"

	"github.com/jmoiron/sqlx"
)

// Event is something that was seen of a node, kept for operators.
type Event struct {
	ID     int64     `db:"id"`
	NodeID int64     `db:"node_id"`
	Time   time.Time `db:"time"`
	Kind   string    `db:"kind"`
	Detail string    `db:"detail"`
}

// eventsPerNode bounds what is kept; older events go first.
const eventsPerNode = 500

// AddEvent records an event at its time.
func (s *Store) AddEvent(ctx context.Context, nodeID int64, at time.Time, kind, detail string) error {
	return s.write(ctx, func(tx *sqlx.Tx) error {
		res, err := tx.Exec("INSERT INTO node_events (node_id, time, kind, detail) VALUES (?, ?, ?, ?)", nodeID, at.UTC(), kind, detail)
		if err != nil {
			return err
		}
		// Trim now and then rather than at every event.
		if id, err := res.LastInsertId(); err != nil || id%50 != 0 {
			return err
		}
		_, err = tx.Exec(`DELETE FROM node_events WHERE node_id = ? AND id NOT IN
			(SELECT id FROM node_events WHERE node_id = ? ORDER BY id DESC LIMIT ?)`, nodeID, nodeID, eventsPerNode)
		return err
	})
}

// Events lists the events of a node, oldest first.
func (s *Store) Events(ctx context.Context, nodeID int64) ([]Event, error) {
	var e []Event
	err := s.db.SelectContext(ctx, &e, "SELECT * FROM node_events WHERE node_id = ? ORDER BY id", nodeID)
	return e, err
}
