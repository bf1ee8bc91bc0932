package store

import (
	"context"
	"fmt"
)

// Shard is a group of nodes; a nil Name stands for those that are in none.
type Shard struct {
	Name  *string `db:"shard" json:"name"`
	Count int     `db:"count" json:"count"`
}

// Child is a node that has a parent, as far as it takes to know whose it is.
type Child struct {
	UUID   string  `db:"uuid"`
	Owner  *string `db:"owner"`
	Lessee *string `db:"lessee"`
}

// Children lists the nodes whose parent is the node with a UUID.
func (s *Store) Children(ctx context.Context, parent string) ([]Child, error) {
	var children []Child
	if err := s.db.SelectContext(ctx, &children, "SELECT uuid, owner, lessee FROM nodes WHERE parent_node = ? ORDER BY id", parent); err != nil {
		return nil, fmt.Errorf("list the children of node %s: %w", parent, err)
	}
	return children, nil
}

// Shards counts the nodes of each shard.
func (s *Store) Shards(ctx context.Context) ([]Shard, error) {
	shards := []Shard{}
	if err := s.db.SelectContext(ctx, &shards, "SELECT shard, COUNT(*) AS count FROM nodes GROUP BY shard ORDER BY shard"); err != nil {
		return nil, fmt.Errorf("count the nodes of each shard: %w", err)
	}
	return shards, nil
}
