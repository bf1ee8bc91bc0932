package store

import (
	"context"
	"fmt"
)

// Reserve takes the node's lock for host, or fails with ErrReserved. The node
// is read after the lock was taken.
func (s *Store) Reserve(ctx context.Context, host string, id int64) (*Node, error) {
	res, err := s.db.ExecContext(ctx, "UPDATE nodes SET reservation = ? WHERE id = ? AND reservation IS NULL", host, id)
	if err != nil {
		return nil, fmt.Errorf("reserve node #%d: %w", id, err)
	}
	rows, err := res.RowsAffected()
	if err != nil {
		return nil, fmt.Errorf("reserve node #%d: %w", id, err)
	}
	n, err := s.NodeByID(ctx, id)
	if err != nil {
		return nil, err
	}
	if rows == 0 {
		return n, ErrReserved
	}
	return n, nil
}

// Release gives the node's lock back. A node that is gone, or whose lock host
// no longer holds, is left alone.
func (s *Store) Release(ctx context.Context, host string, id int64) error {
	_, err := s.db.ExecContext(ctx, "UPDATE nodes SET reservation = NULL WHERE id = ? AND reservation = ?", id, host)
	return err
}

// ReleaseAll gives back every lock that host holds: what an earlier process of
// this host left when it died. It returns the nodes that were locked.
func (s *Store) ReleaseAll(ctx context.Context, host string) ([]*Node, error) {
	nodes, err := s.Nodes(ctx, NodeQuery{Where: []string{"reservation = ? COLLATE NOCASE"}, Args: []any{host}})
	if err != nil {
		return nil, err
	}
	_, err = s.db.ExecContext(ctx, "UPDATE nodes SET reservation = NULL WHERE reservation = ? COLLATE NOCASE", host)
	return nodes, err
}
