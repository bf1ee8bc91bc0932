package store

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jmoiron/sqlx"
)

// ErrTooManyReports says that an agent has reported its plugins too often.
var ErrTooManyReports = errors.New("too many reports")

// maxPluginReports is how often an agent, of one boot, can report.
const maxPluginReports = 50

// PluginReport is a row of node_plugins: what the last agent of a node said of
// its plugins.
type PluginReport struct {
	NodeID     int64     `db:"node_id"`
	Agent      string    `db:"agent"` // digest of the token of the agent that said it
	Reports    int       `db:"reports"`
	ReportedAt time.Time `db:"reported_at"`
	Loaded     Object    `db:"loaded"`    // versions by name
	Refused    Object    `db:"refused"`   // reasons by name
	SetAside   Object    `db:"set_aside"` // reasons by name
	NotHere    Object    `db:"not_here"`  // reasons by name: not for this machine
}

// Bad tells whether something of it was refused or set aside.
func (r *PluginReport) Bad() bool { return len(r.Refused)+len(r.SetAside) > 0 }

// KeepPluginReport keeps what an agent reports in place of what was reported
// before, with the events and the history that it makes.
func (s *Store) KeepPluginReport(ctx context.Context, r *PluginReport, events []Event, entries []History, limits HistoryLimits) error {
	return s.write(ctx, func(tx *sqlx.Tx) error {
		r.ReportedAt = now()
		res, err := tx.NamedExec(`INSERT INTO node_plugins (node_id, agent, reports, reported_at, loaded, refused, set_aside, not_here)
			VALUES (:node_id, :agent, 1, :reported_at, :loaded, :refused, :set_aside, :not_here)
			ON CONFLICT (node_id) DO UPDATE SET reports = CASE WHEN agent = excluded.agent THEN reports + 1 ELSE 1 END, agent = excluded.agent,
				reported_at = excluded.reported_at, loaded = excluded.loaded, refused = excluded.refused, set_aside = excluded.set_aside, not_here = excluded.not_here
			WHERE agent != excluded.agent OR reports < `+fmt.Sprint(maxPluginReports), r)
		if err != nil {
			return fmt.Errorf("keep the plugins of node #%d: %w", r.NodeID, constraint(err))
		}
		if rows, err := res.RowsAffected(); err != nil {
			return err
		} else if rows == 0 {
			return fmt.Errorf("keep the plugins of node #%d: %w of this agent, more than %d", r.NodeID, ErrTooManyReports, maxPluginReports)
		}
		if err := s.addEvents(tx, r.NodeID, events); err != nil {
			return err
		}
		return addHistory(tx, r.NodeID, entries, limits)
	})
}

// PluginReport reads what the last agent of a node said of its plugins.
func (s *Store) PluginReport(ctx context.Context, nodeID int64) (*PluginReport, error) {
	return one[PluginReport](ctx, s, "SELECT * FROM node_plugins", "node_id = ?", "report of plugins of node", nodeID)
}

// NodesWithPlugin lists the nodes whose agent has told that it loaded a version
// of a plugin and has not gone since.
func (s *Store) NodesWithPlugin(ctx context.Context, name, version string) ([]string, error) {
	list := []string{}
	err := s.db.SelectContext(ctx, &list, `SELECT COALESCE(nodes.name, nodes.uuid) FROM node_plugins JOIN nodes ON nodes.id = node_plugins.node_id, json_each(node_plugins.loaded) AS l
		WHERE l.key = ? AND l.value = ? AND json_extract(nodes.driver_internal_info, '$.agent_secret_token') IS NOT NULL ORDER BY 1`, name, version)
	if err != nil {
		return nil, fmt.Errorf("nodes with plugin %s: %w", name, err)
	}
	return list, nil
}
