package store

import (
	"context"
	"fmt"
)

// SetInspectionData keeps what an agent has sent of the node's machine until it
// has been processed; the next takes its place.
func (s *Store) SetInspectionData(ctx context.Context, nodeID int64, document []byte) error {
	_, err := s.exec(ctx, "INSERT INTO inspection_data (node_id, document) VALUES (?, ?) ON CONFLICT (node_id) DO UPDATE SET document = excluded.document",
		nodeID, string(document))
	if err != nil {
		return fmt.Errorf("keep the inspection data of node #%d: %w", nodeID, err)
	}
	return nil
}

// InspectionData reads what was kept.
func (s *Store) InspectionData(ctx context.Context, nodeID int64) ([]byte, error) {
	var document []byte
	if err := s.db.GetContext(ctx, &document, "SELECT document FROM inspection_data WHERE node_id = ?", nodeID); err != nil {
		return nil, notFound(err, "inspection data of node #%d", nodeID)
	}
	return document, nil
}

// DropInspectionData forgets what has been processed.
func (s *Store) DropInspectionData(ctx context.Context, nodeID int64) error {
	_, err := s.exec(ctx, "DELETE FROM inspection_data WHERE node_id = ?", nodeID)
	return err
}
