package store

import (
	"context"
	"fmt"

	"github.com/jmoiron/sqlx"
)

// Reserve takes the node's lock for host, or fails with ErrReserved. The node
// is read after the lock was taken. It is not cut short by the end of ctx, and
// when it fails no lock is left behind.
func (s *Store) Reserve(ctx context.Context, host string, id int64) (*Node, error) {
	n := new(Node)
	reserved := false
	err := s.writeVolatile(context.WithoutCancel(ctx), func(tx *sqlx.Tx) error {
		res, err := tx.Exec("UPDATE nodes SET reservation = ?, revision = revision + 1 WHERE id = ? AND reservation IS NULL", host, id)
		if err != nil {
			return err
		}
		rows, err := res.RowsAffected()
		if err != nil {
			return err
		}
		reserved = rows != 0
		return tx.Get(n, "SELECT * FROM nodes WHERE id = ?", id)
	})
	if err != nil {
		return nil, fmt.Errorf("reserve node #%d: %w", id, notFound(err, "node #%d", id))
	}
	if !reserved {
		return n, ErrReserved
	}
	return n, nil
}

// Unreserved reads a node that nobody has locked, or fails with ErrReserved.
func (s *Store) Unreserved(ctx context.Context, id int64) (*Node, error) {
	n, err := s.NodeByID(ctx, id)
	if err == nil && n.Reservation != nil {
		err = ErrReserved
	}
	return n, err
}

// SaveUnreserved is SaveNode for who has not taken the node's lock: it fails
// with ErrReserved where somebody has.
func (s *Store) SaveUnreserved(ctx context.Context, n *Node, events []Event) error {
	return s.write(ctx, func(tx *sqlx.Tx) error {
		var locked bool
		err := tx.Get(&locked, "SELECT reservation IS NOT NULL FROM nodes WHERE id = ?", n.ID)
		switch {
		case err != nil:
			return fmt.Errorf("save node %s: %w", n.Label(), notFound(err, "node #%d", n.ID))
		case locked:
			return ErrReserved
		}
		if err := saveNode(tx, n); err != nil {
			return err
		}
		return s.addEvents(tx, n.ID, events)
	})
}

// Release gives the node's lock back. A node that is gone, or whose lock host
// no longer holds, is left alone.
func (s *Store) Release(ctx context.Context, host string, id int64) error {
	return s.writeVolatile(ctx, func(tx *sqlx.Tx) error {
		_, err := tx.Exec("UPDATE nodes SET reservation = NULL, revision = revision + 1 WHERE id = ? AND reservation = ?", id, host)
		return err
	})
}

// ReleaseAll gives back every lock: what an earlier process left when it died,
// whatever its host was called then. The database belongs to one process.
func (s *Store) ReleaseAll(ctx context.Context) error {
	_, err := s.exec(ctx, "UPDATE nodes SET reservation = NULL, revision = revision + 1 WHERE reservation IS NOT NULL")
	return err
}
