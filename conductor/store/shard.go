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

// Shards counts the nodes of each shard.
func (s *Store) Shards(ctx context.Context) ([]Shard, error) {
	shards := []Shard{}
	if err := s.db.SelectContext(ctx, &shards, "SELECT shard, COUNT(*) AS count FROM nodes GROUP BY shard ORDER BY shard"); err != nil {
		return nil, fmt.Errorf("count the nodes of each shard: %w", err)
	}
	return shards, nil
}
