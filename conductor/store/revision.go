package store

import (
	"context"
	"encoding/json"
	"fmt"
)

// Revision is one state of a node's row: what is made of a node can be kept
// under its ID and Revision, which never come again for anything else.
type Revision struct {
	ID       int64 `db:"id"`
	Revision int64 `db:"revision"`

	Owner  *string `db:"owner"`  // by NodeRevision only
	Lessee *string `db:"lessee"` // by NodeRevision only
}

// NodeRevisions is Nodes without the nodes.
func (s *Store) NodeRevisions(ctx context.Context, q Query) ([]*Revision, error) {
	return list[Revision](ctx, s, "SELECT nodes.id, nodes.revision FROM nodes", "nodes", q)
}

// NodeRevision finds the current one of the node with a UUID.
func (s *Store) NodeRevision(ctx context.Context, uuid string) (*Revision, error) {
	return one[Revision](ctx, s, "SELECT id, revision, owner, lessee FROM nodes", "uuid = ?", "node", uuid)
}

// NodesByID reads those of the nodes that are there, in no order.
func (s *Store) NodesByID(ctx context.Context, ids []int64) ([]*Node, error) {
	list, err := json.Marshal(ids)
	if err != nil {
		return nil, err
	}
	var nodes []*Node
	err = s.db.SelectContext(ctx, &nodes, "SELECT * FROM nodes WHERE id IN (SELECT value FROM json_each(?))", string(list))
	if err != nil {
		return nil, fmt.Errorf("read nodes: %w", err)
	}
	return nodes, nil
}
