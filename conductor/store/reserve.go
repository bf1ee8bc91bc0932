package store

import (
	"context"
	"errors"
	"fmt"
)

// Reserve takes the node's lock for host, or fails with ErrReserved. The node
// is read after the lock was taken. It is not cut short by the end of ctx, and
// when it fails no lock is left behind.
func (s *Store) Reserve(ctx context.Context, host string, id int64) (*Node, error) {
	ctx = context.WithoutCancel(ctx)
	res, err := s.db.ExecContext(ctx, "UPDATE nodes SET reservation = ? WHERE id = ? AND reservation IS NULL", host, id)
	if err != nil {
		return nil, fmt.Errorf("reserve node #%d: %w", id, err)
	}
	rows, err := res.RowsAffected()
	if err != nil {
		return nil, fmt.Errorf("reserve node #%d: %w", id, err)
	}
	n, err := s.NodeByID(ctx, id)
	if err != nil && rows != 0 {
		err = errors.Join(err, s.Release(ctx, host, id))
	}
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

// ReleaseAll gives back every lock: what an earlier process left when it died,
// whatever its host was called then. The database belongs to one process.
func (s *Store) ReleaseAll(ctx context.Context) error {
	_, err := s.db.ExecContext(ctx, "UPDATE nodes SET reservation = NULL WHERE reservation IS NOT NULL")
	return err
}
