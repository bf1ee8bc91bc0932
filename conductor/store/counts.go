package store

import (
	"context"
	"fmt"
)

// NodeCount is how many nodes are alike.
type NodeCount struct {
	ProvisionState string `db:"provision_state"`
	PowerState     string `db:"power_state"`
	Maintenance    bool   `db:"maintenance"`
	Fault          string `db:"fault"`
	Count          int    `db:"count"`
}

// NodeCounts counts the nodes that are alike in what operators watch.
func (s *Store) NodeCounts(ctx context.Context) ([]NodeCount, error) {
	var list []NodeCount
	err := s.db.SelectContext(ctx, &list, `SELECT provision_state, COALESCE(power_state, '') AS power_state, maintenance, COALESCE(fault, '') AS fault, COUNT(*) AS count
		FROM nodes GROUP BY 1, 2, 3, 4`)
	if err != nil {
		return nil, fmt.Errorf("count nodes: %w", err)
	}
	return list, nil
}
