package store

import (
	"context"
	"fmt"

	"github.com/jmoiron/sqlx"
)

// Bounds of what is kept of erasing. Agents send the reports, and they are
// hostile until the machine was cleaned.
const (
	eraseReportsPerNode = 10
	maxEraseReport      = 1 << 20 // bytes of JSON
)

// AddEraseReport keeps a report (JSON) of what a step erased on a node. The
// oldest goes when there are too many of the node.
func (s *Store) AddEraseReport(ctx context.Context, nodeID int64, report []byte) error {
	if len(report) > maxEraseReport {
		return fmt.Errorf("keep an erase report: it has %d bytes, more than %d", len(report), maxEraseReport)
	}
	return s.write(ctx, func(tx *sqlx.Tx) error {
		if _, err := tx.Exec("INSERT INTO node_erase_reports (node_id, report) VALUES (?, ?)", nodeID, string(report)); err != nil {
			return fmt.Errorf("keep an erase report: %w", err)
		}
		if _, err := tx.Exec(`DELETE FROM node_erase_reports WHERE node_id = ? AND id NOT IN
			(SELECT id FROM node_erase_reports WHERE node_id = ? ORDER BY id DESC LIMIT ?)`, nodeID, nodeID, eraseReportsPerNode); err != nil {
			return fmt.Errorf("forget old erase reports: %w", err)
		}
		return nil
	})
}

// EraseReports are the reports kept of a node (JSON), newest first.
func (s *Store) EraseReports(ctx context.Context, nodeID int64) ([][]byte, error) {
	var reports [][]byte
	err := s.db.SelectContext(ctx, &reports, "SELECT report FROM node_erase_reports WHERE node_id = ? ORDER BY id DESC", nodeID)
	return reports, err
}
