package store

import (
	"context"
	"fmt"
	"time"

	"github.com/jmoiron/sqlx"
)

// Chassis is a row of chassis: a housing that nodes refer to by its UUID.
type Chassis struct {
	ID          int64      `db:"id"`
	UUID        string     `db:"uuid"`
	Description *string    `db:"description"`
	Extra       Object     `db:"extra"`
	CreatedAt   time.Time  `db:"created_at"`
	UpdatedAt   *time.Time `db:"updated_at"`
}

var chassisTable = tableOf("chassis", "chassis", "",
	func(c *Chassis) head { return head{&c.ID, &c.UUID, &c.CreatedAt, &c.UpdatedAt} },
	"description", "extra")

// CreateChassis inserts c and fills its ID and CreatedAt.
func (s *Store) CreateChassis(ctx context.Context, c *Chassis) error {
	return chassisTable.create(ctx, s, c)
}

// ChangeChassis applies change to the chassis as it is now and saves it. change
// only touches the row.
func (s *Store) ChangeChassis(ctx context.Context, id int64, change func(c *Chassis) error) (*Chassis, error) {
	return chassisTable.change(ctx, s, id, change)
}

// Chassis finds a chassis by UUID.
func (s *Store) Chassis(ctx context.Context, uuid string) (*Chassis, error) {
	return chassisTable.find(ctx, s, "uuid", uuid)
}

// ListChassis lists chassis.
func (s *Store) ListChassis(ctx context.Context, q Query) ([]*Chassis, error) {
	return chassisTable.list(ctx, s, q)
}

// inChassis fails with ErrNotFound when the chassis that the node is to move to
// has gone; a node that got there before is seen by DeleteChassis.
func inChassis(tx *sqlx.Tx, n *Node) error {
	if n.ChassisUUID == nil {
		return nil
	}
	var valid bool
	err := tx.Get(&valid, "SELECT EXISTS (SELECT 1 FROM chassis WHERE uuid = ?1) OR EXISTS (SELECT 1 FROM nodes WHERE id = ?2 AND chassis_uuid = ?1)", *n.ChassisUUID, n.ID)
	if err == nil && !valid {
		err = ErrNotFound
	}
	if err != nil {
		return fmt.Errorf("put node %s into chassis %s: %w", n.Label(), *n.ChassisUUID, err)
	}
	return nil
}

// DeleteChassis removes a chassis, or fails with ErrNotEmpty when it has nodes.
func (s *Store) DeleteChassis(ctx context.Context, c *Chassis) error {
	return s.write(ctx, func(tx *sqlx.Tx) error {
		var nodes int
		if err := tx.Get(&nodes, "SELECT COUNT(*) FROM nodes WHERE chassis_uuid = ?", c.UUID); err != nil {
			return err
		}
		if nodes > 0 {
			return fmt.Errorf("delete chassis %s: %w", c.UUID, ErrNotEmpty)
		}
		_, err := tx.Exec(chassisTable.remove, c.ID)
		return err
	})
}
