package store

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/jmoiron/sqlx"
)

// Inventory is what the latest inspection of a node found, as JSON: the
// machine itself, and all else that was sent or made of it.
type Inventory struct {
	Inventory  json.RawMessage
	PluginData json.RawMessage
}

// SetInventory keeps inv in place of what an earlier inspection of the node found.
func (s *Store) SetInventory(ctx context.Context, nodeID int64, inv Inventory) error {
	return s.write(ctx, func(tx *sqlx.Tx) error {
		_, err := tx.Exec(`INSERT INTO node_inventory (node_id, inventory_data, plugin_data, created_at) VALUES (?, ?, ?, ?)
			ON CONFLICT (node_id) DO UPDATE SET inventory_data = excluded.inventory_data, plugin_data = excluded.plugin_data, created_at = excluded.created_at`,
			nodeID, string(inv.Inventory), string(inv.PluginData), now())
		if err != nil {
			return fmt.Errorf("keep the inventory of node #%d: %w", nodeID, err)
		}
		return nil
	})
}

// Inventory reads what the latest inspection of the node found.
func (s *Store) Inventory(ctx context.Context, nodeID int64) (Inventory, error) {
	var row struct {
		Inventory  []byte `db:"inventory_data"`
		PluginData []byte `db:"plugin_data"`
	}
	err := s.db.GetContext(ctx, &row, "SELECT inventory_data, plugin_data FROM node_inventory WHERE node_id = ?", nodeID)
	if err != nil {
		return Inventory{}, notFound(err, "inventory of node #%d", nodeID)
	}
	return Inventory{row.Inventory, row.PluginData}, nil
}
