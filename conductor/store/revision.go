package store

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

// Revision is one state of a node's row: what is made of a node can be kept
// under its ID and Revision, which never come again for anything else.
type Revision struct {
	ID       int64 `db:"id"`
	Revision int64 `db:"revision"`
	Stamps   int64 `db:"stamps"` // of the changes, those that are the time of a heartbeat

	Owner  *string `db:"owner"`  // by NodeRevision only
	Lessee *string `db:"lessee"` // by NodeRevision only
}

// NodeRevisions is Nodes without the nodes.
func (s *Store) NodeRevisions(ctx context.Context, q Query) ([]*Revision, error) {
	return list[Revision](ctx, s, "SELECT nodes.id, nodes.revision, nodes.stamps FROM nodes", "nodes", q)
}

// NodeRevision finds the current one of the node with a UUID.
func (s *Store) NodeRevision(ctx context.Context, uuid string) (*Revision, error) {
	return one[Revision](ctx, s, "SELECT id, revision, stamps, owner, lessee FROM nodes", "uuid = ?", "node", uuid)
}

// NodesByID reads those of the nodes that are there, in no order.
func (s *Store) NodesByID(ctx context.Context, ids []int64) ([]*Node, error) {
	return s.nodesByID(ctx, "*", ids)
}

// NodeColumnsByID is NodesByID for who needs a few columns: only id, revision,
// stamps and those that are named are filled in. Names of no columns are left out.
func (s *Store) NodeColumnsByID(ctx context.Context, ids []int64, names []string) ([]*Node, error) {
	columns := []string{"id", "revision", "stamps"}
	for _, name := range names {
		if !slices.Contains(columns, name) && (slices.Contains(nodeColumns, name) || slices.Contains(unsavedColumns, name)) {
			columns = append(columns, name)
		}
	}
	slices.Sort(columns) // the same statement for every order of names
	return s.nodesByID(ctx, strings.Join(columns, ", "), ids)
}

// unsavedColumns are those of nodes that are not in nodeColumns.
var unsavedColumns = []string{"uuid", "reservation", "created_at"}

func (s *Store) nodesByID(ctx context.Context, columns string, ids []int64) ([]*Node, error) {
	list, err := json.Marshal(ids)
	if err != nil {
		return nil, err
	}
	var nodes []*Node
	err = s.db.SelectContext(ctx, &nodes, "SELECT "+columns+" FROM nodes WHERE id IN (SELECT value FROM json_each(?))", string(list))
	if err != nil {
		return nil, fmt.Errorf("read nodes: %w", err)
	}
	return nodes, nil
}
