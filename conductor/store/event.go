package store

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/jmoiron/sqlx"
)

// Event is something that was seen of a node, or that happened to it, kept for
// operators. Its kinds are those of the package event.
type Event struct {
	ID     int64     `db:"id"`
	NodeID int64     `db:"node_id"`
	Time   time.Time `db:"time"`
	Kind   string    `db:"kind"`
	Detail string    `db:"detail"`
	Data   Object    `db:"data"`
}

// NodeEvent is an event with what says whose it is.
type NodeEvent struct {
	Event
	Node     string  `db:"node_uuid"`
	NodeName *string `db:"node_name"`
	Owner    *string `db:"node_owner"`
	Lessee   *string `db:"node_lessee"`
}

// eventsPerNode bounds what is kept; older events go first.
const eventsPerNode = 1000

// trimEvery is after how many events, of all nodes, one node's are counted.
const trimEvery = 50

// AddEvent records an event at its time.
func (s *Store) AddEvent(ctx context.Context, nodeID int64, at time.Time, kind, detail string) error {
	return s.AddEvents(ctx, nodeID, []Event{{Time: at, Kind: kind, Detail: detail}})
}

// AddEvents records events of a node.
func (s *Store) AddEvents(ctx context.Context, nodeID int64, events []Event) error {
	return s.write(ctx, func(tx *sqlx.Tx) error { return s.addEvents(tx, nodeID, events) })
}

// addEvents inserts events of a node, and tells those who watch when they are
// committed.
func (s *Store) addEvents(tx *sqlx.Tx, nodeID int64, events []Event) error {
	for _, e := range events {
		res, err := tx.Exec("INSERT INTO node_events (node_id, time, kind, detail, data) VALUES (?, ?, ?, ?, ?)", nodeID, e.Time.UTC(), e.Kind, e.Detail, e.Data)
		if err != nil {
			return fmt.Errorf("record an event of node #%d: %w", nodeID, err)
		}
		s.news.pending = true
		// Trim now and then rather than at every event.
		if id, err := res.LastInsertId(); err != nil {
			return err
		} else if id%trimEvery != 0 {
			continue
		}
		_, err = tx.Exec(`DELETE FROM node_events WHERE node_id = ? AND id <=
			(SELECT id FROM node_events WHERE node_id = ? ORDER BY id DESC LIMIT 1 OFFSET ?)`, nodeID, nodeID, eventsPerNode)
		if err != nil {
			return err
		}
	}
	return nil
}

// SaveNodeWith is SaveNode, together with what is to be remembered of how the
// node came there.
func (s *Store) SaveNodeWith(ctx context.Context, n *Node, events []Event, entries []History, limits HistoryLimits) error {
	return s.write(ctx, func(tx *sqlx.Tx) error { return s.saveNodeWith(tx, n, events, entries, limits) })
}

func (s *Store) saveNodeWith(tx *sqlx.Tx, n *Node, events []Event, entries []History, limits HistoryLimits) error {
	if err := saveNode(tx, n); err != nil {
		return err
	}
	if err := s.addEvents(tx, n.ID, events); err != nil {
		return err
	}
	return addHistory(tx, n.ID, entries, limits)
}

// Events lists the events of a node, oldest first.
func (s *Store) Events(ctx context.Context, nodeID int64) ([]Event, error) {
	var e []Event
	err := s.db.SelectContext(ctx, &e, "SELECT * FROM node_events WHERE node_id = ? ORDER BY id", nodeID)
	return e, err
}

// EventFilter says which events are wanted. Its zero value wants all.
type EventFilter struct {
	NodeID  int64    // 0 is all nodes
	Kinds   []string // none is all
	Project string   // whose nodes, by owner and lessee; "" is all
	After   int64    // id that the events are behind
	Newest  bool     // where there are more than the limit, the last instead of the first
	Limit   int
}

// EventsOf lists events, oldest first, those that were read before left out.
func (s *Store) EventsOf(ctx context.Context, f EventFilter) ([]NodeEvent, error) {
	where, args := []string{"e.id > ?"}, []any{f.After}
	if f.NodeID != 0 {
		where, args = append(where, "e.node_id = ?"), append(args, f.NodeID)
	}
	if len(f.Kinds) > 0 {
		where = append(where, "e.kind IN ("+strings.TrimSuffix(strings.Repeat("?, ", len(f.Kinds)), ", ")+")")
		for _, k := range f.Kinds {
			args = append(args, k)
		}
	}
	if f.Project != "" {
		where, args = append(where, "? IN (nodes.owner, nodes.lessee)"), append(args, f.Project)
	}
	order := "ASC"
	if f.Newest {
		order = "DESC"
	}
	var list []NodeEvent
	err := s.db.SelectContext(ctx, &list, `SELECT * FROM (SELECT e.*, nodes.uuid AS node_uuid, nodes.name AS node_name, nodes.owner AS node_owner, nodes.lessee AS node_lessee
		FROM node_events e JOIN nodes ON nodes.id = e.node_id WHERE `+strings.Join(where, " AND ")+` ORDER BY e.id `+order+` LIMIT ?) ORDER BY id`, append(args, f.Limit)...)
	if err != nil {
		return nil, fmt.Errorf("list events: %w", err)
	}
	return list, nil
}

// EventRange is the ids of the oldest event that is kept and of the newest that
// ever was, 0 and 0 without any.
func (s *Store) EventRange(ctx context.Context) (oldest, newest int64, err error) {
	var ids struct {
		Oldest int64 `db:"oldest"`
		Newest int64 `db:"newest"`
	}
	err = s.db.GetContext(ctx, &ids, `SELECT COALESCE((SELECT MIN(id) FROM node_events), 0) AS oldest,
		COALESCE((SELECT seq FROM sqlite_sequence WHERE name = 'node_events'), 0) AS newest`)
	if err != nil {
		return 0, 0, fmt.Errorf("look for the newest event: %w", err)
	}
	return ids.Oldest, ids.Newest, nil
}

// news tells those who wait for events that there are some. What they are is in
// the database, so that nothing is kept for somebody who is slow.
type news struct {
	pending bool // of the commit that is being made; the writer's goroutine only

	mu       sync.Mutex
	watchers map[chan struct{}]struct{}
}

// committed is called by the writer after each commit.
func (n *news) committed() {
	if !n.pending {
		return
	}
	n.pending = false
	n.mu.Lock()
	defer n.mu.Unlock()
	for c := range n.watchers {
		select {
		case c <- struct{}{}:
		default: // told already, and not yet looked
		}
	}
}

// WatchEvents gives a channel that holds something when events were committed
// since it was read last, until stop is called.
func (s *Store) WatchEvents() (changed <-chan struct{}, stop func()) {
	c := make(chan struct{}, 1)
	s.news.mu.Lock()
	defer s.news.mu.Unlock()
	if s.news.watchers == nil {
		s.news.watchers = map[chan struct{}]struct{}{}
	}
	s.news.watchers[c] = struct{}{}
	return c, func() {
		s.news.mu.Lock()
		defer s.news.mu.Unlock()
		delete(s.news.watchers, c)
	}
}
