package store

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jmoiron/sqlx"

	"ferric/conductor/provision"
)

// States of an allocation.
const (
	Allocating       = "allocating"
	AllocationActive = "active"
	AllocationError  = "error"
)

// Allocation is a row of allocations: a node that was asked for by what it has
// to be.
type Allocation struct {
	ID             int64      `db:"id"`
	UUID           string     `db:"uuid"`
	Name           *string    `db:"name"`
	NodeID         *int64     `db:"node_id"`
	State          string     `db:"state"`
	Owner          *string    `db:"owner"`
	LastError      *string    `db:"last_error"`
	ResourceClass  *string    `db:"resource_class"`
	Traits         Strings    `db:"traits"`
	CandidateNodes Strings    `db:"candidate_nodes"` // UUIDs
	Extra          Object     `db:"extra"`
	CreatedAt      time.Time  `db:"created_at"`
	UpdatedAt      *time.Time `db:"updated_at"`

	NodeUUID *string `db:"node_uuid"` // of the node, by join; not written
}

var allocationTable = tableOf("allocations", "allocation",
	"SELECT allocations.*, nodes.uuid AS node_uuid FROM allocations LEFT JOIN nodes ON nodes.id = allocations.node_id",
	func(a *Allocation) head { return head{&a.ID, &a.UUID, &a.CreatedAt, &a.UpdatedAt} },
	"name", "state", "owner", "last_error", "resource_class", "traits", "candidate_nodes", "extra")

// CreateAllocation inserts a, which has no node yet, and fills its ID and CreatedAt.
func (s *Store) CreateAllocation(ctx context.Context, a *Allocation) error {
	return allocationTable.create(ctx, s, a)
}

// ChangeAllocation applies change to the allocation as it is now and saves it.
// change only touches the row; the node of an allocation does not change so.
func (s *Store) ChangeAllocation(ctx context.Context, id int64, change func(a *Allocation) error) (*Allocation, error) {
	return allocationTable.change(ctx, s, id, change)
}

// CreateAllocationOf inserts an allocation of a node that is in use already.
// The caller holds the node's lock.
func (s *Store) CreateAllocationOf(ctx context.Context, a *Allocation, n *Node) error {
	return s.write(ctx, func(tx *sqlx.Tx) error {
		if err := allocationTable.createIn(tx, a); err != nil {
			return err
		}
		return assign(tx, a, n)
	})
}

// Assign gives node n to the allocation, which is active then; ErrNotFound is
// for one that is gone or no longer waits. The caller holds the node's lock.
func (s *Store) Assign(ctx context.Context, a *Allocation, n *Node) error {
	return s.write(ctx, func(tx *sqlx.Tx) error { return assign(tx, a, n) })
}

func assign(tx *sqlx.Tx, a *Allocation, n *Node) error {
	t := now()
	res, err := tx.Exec("UPDATE allocations SET state = ?, node_id = ?, last_error = NULL, updated_at = ? WHERE id = ? AND state = ?",
		AllocationActive, n.ID, t, a.ID, Allocating)
	if err != nil {
		return fmt.Errorf("assign node %s to allocation %s: %w", n.UUID, a.UUID, constraint(err))
	}
	if rows, err := res.RowsAffected(); err != nil || rows == 0 {
		return fmt.Errorf("assign node %s to allocation %s: %w", n.UUID, a.UUID, errors.Join(err, ErrNotFound))
	}
	n.InstanceUUID, n.AllocationUUID = &a.UUID, &a.UUID
	traits := make([]any, len(a.Traits))
	for i, trait := range a.Traits {
		traits[i] = trait
	}
	n.InstanceInfo["traits"] = traits
	if err := saveNode(tx, n); err != nil {
		return err
	}
	a.State, a.NodeID, a.NodeUUID, a.LastError, a.UpdatedAt = AllocationActive, &n.ID, &n.UUID, nil, &t
	return nil
}

// FailAllocation says why there is no node for the allocation. One that is gone
// or no longer waits is left alone.
func (s *Store) FailAllocation(ctx context.Context, id int64, reason string) error {
	_, err := s.exec(ctx, "UPDATE allocations SET state = ?, last_error = ?, updated_at = ? WHERE id = ? AND state = ?",
		AllocationError, reason, now(), id, Allocating)
	return err
}

// Allocation finds an allocation by UUID.
func (s *Store) Allocation(ctx context.Context, uuid string) (*Allocation, error) {
	return allocationTable.find(ctx, s, "uuid", uuid)
}

// AllocationByName finds the allocation of this name.
func (s *Store) AllocationByName(ctx context.Context, name string) (*Allocation, error) {
	return allocationTable.find(ctx, s, "name", name)
}

// NodeAllocation finds the allocation of a node.
func (s *Store) NodeAllocation(ctx context.Context, nodeID int64) (*Allocation, error) {
	return one[Allocation](ctx, s, allocationTable.from, "allocations.node_id = ?", "allocation of node", nodeID)
}

// Allocations lists allocations.
func (s *Store) Allocations(ctx context.Context, q Query) ([]*Allocation, error) {
	return allocationTable.list(ctx, s, q)
}

// DeleteWaitingAllocation removes an allocation without a node; ErrNotFound is
// for one that is gone or has got one.
func (s *Store) DeleteWaitingAllocation(ctx context.Context, id int64) error {
	rows, err := s.exec(ctx, "DELETE FROM allocations WHERE id = ? AND node_id IS NULL", id)
	if err == nil && rows == 0 {
		err = fmt.Errorf("delete allocation #%d: %w", id, ErrNotFound)
	}
	return err
}

// dropAllocation ends the allocation of a node that has no instance any more.
func dropAllocation(tx *sqlx.Tx, n *Node) error {
	if n.InstanceUUID != nil || n.AllocationUUID == nil {
		return nil
	}
	if _, err := tx.Exec("DELETE FROM allocations WHERE node_id = ?", n.ID); err != nil {
		return fmt.Errorf("end the allocation of node %s: %w", n.UUID, err)
	}
	n.AllocationUUID = nil
	return nil
}

// Candidate is what an allocation has to know of a node that may be its own.
type Candidate struct {
	ID     int64   `db:"id"`
	Name   *string `db:"name"`
	Traits Strings `db:"traits"`
}

// Candidates lists the nodes that the allocation may get, their traits aside.
func (s *Store) Candidates(ctx context.Context, a *Allocation) ([]Candidate, error) {
	query := `SELECT id, name, traits FROM nodes
		WHERE provision_state = ? AND instance_uuid IS NULL AND NOT maintenance AND resource_class = ?`
	args := []any{provision.Available, a.ResourceClass}
	if a.Owner != nil {
		query, args = query+" AND ? IN (owner, lessee)", append(args, *a.Owner)
	}
	if len(a.CandidateNodes) > 0 {
		query, args = query+" AND uuid IN (SELECT value FROM json_each(?))", append(args, a.CandidateNodes)
	}
	var nodes []Candidate
	if err := s.db.SelectContext(ctx, &nodes, query, args...); err != nil {
		return nil, fmt.Errorf("list the candidates for allocation %s: %w", a.UUID, err)
	}
	return nodes, nil
}
