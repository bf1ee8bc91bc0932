package store

import (
	"context"
	"encoding/json"
	"errors"
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
	return s.write(ctx, func(tx *sqlx.Tx) error { return setInventory(tx, nodeID, inv) })
}

func setInventory(tx *sqlx.Tx, nodeID int64, inv Inventory) error {
	_, err := tx.Exec(`INSERT INTO node_inventory (node_id, inventory_data, plugin_data, created_at) VALUES (?, ?, ?, ?)
		ON CONFLICT (node_id) DO UPDATE SET inventory_data = excluded.inventory_data, plugin_data = excluded.plugin_data, created_at = excluded.created_at`,
		nodeID, string(inv.Inventory), string(inv.PluginData), now())
	if err != nil {
		return fmt.Errorf("keep the inventory of node #%d: %w", nodeID, err)
	}
	return nil
}

// Findings of an inspection besides the node.
type Findings struct {
	New, Changed []*Port
	Gone         []int64    // ports, by id
	Inventory    *Inventory // nil leaves the one there is
}

// SaveFindings is SaveNodeWith that also keeps what an inspection found: all of
// it, or nothing. taken are new ports whose address another port has: they are
// left out.
func (s *Store) SaveFindings(ctx context.Context, n *Node, f Findings, events []Event, entries []History, limits HistoryLimits) (taken []*Port, err error) {
	err = s.write(ctx, func(tx *sqlx.Tx) error {
		taken = nil
		for _, p := range f.New {
			switch err := portTable.createIn(tx, p); {
			case errors.Is(err, ErrDuplicate):
				taken = append(taken, p)
			case err != nil:
				return err
			}
		}
		for _, p := range f.Changed {
			if err := portTable.saveIn(tx, p); err != nil {
				return err
			}
		}
		for _, id := range f.Gone {
			if _, err := tx.Exec(portTable.remove, id); err != nil {
				return fmt.Errorf("delete port #%d: %w", id, err)
			}
		}
		if f.Inventory != nil {
			if err := setInventory(tx, n.ID, *f.Inventory); err != nil {
				return err
			}
		}
		return s.saveNodeWith(tx, n, events, entries, limits)
	})
	return taken, err
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
