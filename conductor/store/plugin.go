package store

import (
	"context"
	"fmt"
	"time"

	"github.com/jmoiron/sqlx"
)

// Plugin is a row of plugins: a bundle whose bytes are in a file that the
// package plugins keeps.
type Plugin struct {
	ID        int64      `db:"id"`
	Name      string     `db:"name"`
	Version   string     `db:"version"`
	SDK       string     `db:"sdk"`
	Size      int64      `db:"size"`
	SHA256    string     `db:"sha256"`
	Manifest  string     `db:"manifest"` // JSON
	KeyID     string     `db:"key_id"`
	Verified  bool       `db:"verified"`
	Drivers   Strings    `db:"drivers"`
	Traits    Strings    `db:"traits"`
	Vendor    string     `db:"dmi_vendor"`
	Required  bool       `db:"required"`
	Pinned    bool       `db:"pinned"`
	Disabled  bool       `db:"disabled"`
	CreatedAt time.Time  `db:"created_at"`
	UpdatedAt *time.Time `db:"updated_at"`
}

// AddPlugin inserts a plugin whose file is durable already.
func (s *Store) AddPlugin(ctx context.Context, p *Plugin) error {
	return s.write(ctx, func(tx *sqlx.Tx) error {
		p.CreatedAt = now()
		res, err := tx.NamedExec(`INSERT INTO plugins
			(name, version, sdk, size, sha256, manifest, key_id, verified, drivers, traits, dmi_vendor, required, pinned, disabled, created_at)
			VALUES (:name, :version, :sdk, :size, :sha256, :manifest, :key_id, :verified, :drivers, :traits, :dmi_vendor, :required, :pinned, :disabled, :created_at)`, p)
		if err != nil {
			return fmt.Errorf("add plugin %s %s: %w", p.Name, p.Version, constraint(err))
		}
		p.ID, err = res.LastInsertId()
		return err
	})
}

// selected is the condition for the plugins with a name, and with a version
// unless that is "".
func selected(name, version string) (where string, args []any) {
	if version == "" {
		return " WHERE name = ?", []any{name}
	}
	return " WHERE name = ? AND version = ?", []any{name, version}
}

// Plugins lists all plugins in the order in which they were added, without their
// manifests, which may be long: each lookup reads the list.
func (s *Store) Plugins(ctx context.Context) ([]*Plugin, error) {
	list := []*Plugin{}
	if err := s.db.SelectContext(ctx, &list, `SELECT id, name, version, sdk, size, sha256, '' AS manifest, key_id, verified, drivers, traits, dmi_vendor,
		required, pinned, disabled, created_at, updated_at FROM plugins ORDER BY id`); err != nil {
		return nil, fmt.Errorf("list plugins: %w", err)
	}
	return list, nil
}

// PluginVersions reads the versions of a plugin, "" is all of them.
func (s *Store) PluginVersions(ctx context.Context, name, version string) ([]*Plugin, error) {
	where, args := selected(name, version)
	list := []*Plugin{}
	if err := s.db.SelectContext(ctx, &list, "SELECT * FROM plugins"+where+" ORDER BY id", args...); err != nil {
		return nil, fmt.Errorf("versions of plugin %s: %w", name, err)
	}
	return list, nil
}

// Plugin reads one version of a plugin.
func (s *Store) Plugin(ctx context.Context, name, version string) (*Plugin, error) {
	where, args := selected(name, version)
	p := new(Plugin)
	if err := s.db.GetContext(ctx, p, "SELECT * FROM plugins"+where, args...); err != nil {
		return nil, notFound(err, "plugin %s %s", name, version)
	}
	return p, nil
}

// ChangePlugins has fn change how the versions of a plugin are offered; version
// "" is all of them. fn is given all that are selected, and only touches them.
func (s *Store) ChangePlugins(ctx context.Context, name, version string, fn func(list []*Plugin) error) ([]*Plugin, error) {
	var list []*Plugin
	err := s.write(ctx, func(tx *sqlx.Tx) error {
		list = nil
		where, args := selected(name, version)
		if err := tx.Select(&list, "SELECT * FROM plugins"+where+" ORDER BY id", args...); err != nil {
			return fmt.Errorf("change plugin %s: %w", name, err)
		}
		if len(list) == 0 {
			return fmt.Errorf("plugin %s %s: %w", name, version, ErrNotFound)
		}
		if err := fn(list); err != nil {
			return err
		}
		// One is pinned at most, which the index holds at every statement.
		if _, err := tx.Exec("UPDATE plugins SET pinned = 0"+where, args...); err != nil {
			return fmt.Errorf("change plugin %s: %w", name, err)
		}
		at := now()
		for _, p := range list {
			p.UpdatedAt = &at
			_, err := tx.NamedExec(`UPDATE plugins SET drivers = :drivers, traits = :traits, dmi_vendor = :dmi_vendor,
				required = :required, pinned = :pinned, disabled = :disabled, updated_at = :updated_at WHERE id = :id`, p)
			if err != nil {
				return fmt.Errorf("change plugin %s %s: %w", p.Name, p.Version, constraint(err))
			}
		}
		return nil
	})
	return list, err
}

// RemovePlugins forgets versions of a plugin, "" is all of them, and tells which
// they were. Their files are the caller's to remove, afterwards.
func (s *Store) RemovePlugins(ctx context.Context, name, version string) ([]*Plugin, error) {
	var list []*Plugin
	err := s.write(ctx, func(tx *sqlx.Tx) error {
		list = nil
		where, args := selected(name, version)
		if err := tx.Select(&list, "SELECT * FROM plugins"+where+" ORDER BY id", args...); err != nil {
			return fmt.Errorf("remove plugin %s: %w", name, err)
		}
		if len(list) == 0 {
			return fmt.Errorf("plugin %s %s: %w", name, version, ErrNotFound)
		}
		_, err := tx.Exec("DELETE FROM plugins"+where, args...)
		return err
	})
	return list, err
}

// PluginSubject is what the plugins of a node are selected by, besides its vendor.
func (s *Store) PluginSubject(ctx context.Context, nodeID int64) (driver string, traits []string, err error) {
	var row struct {
		Driver string  `db:"driver"`
		Traits Strings `db:"traits"`
	}
	if err := s.db.GetContext(ctx, &row, "SELECT driver, traits FROM nodes WHERE id = ?", nodeID); err != nil {
		return "", nil, notFound(err, "node #%d", nodeID)
	}
	return row.Driver, row.Traits, nil
}

// SystemVendor is the manufacturer in the inventory that is kept of the node,
// "" if none is kept or it does not say.
func (s *Store) SystemVendor(ctx context.Context, nodeID int64) (string, error) {
	var vendor *string
	err := s.db.GetContext(ctx, &vendor, `SELECT (SELECT CAST(json_extract(inventory_data, '$.system_vendor.manufacturer') AS TEXT)
		FROM node_inventory WHERE node_id = ? AND json_valid(inventory_data))`, nodeID)
	if err != nil {
		return "", fmt.Errorf("system vendor of node #%d: %w", nodeID, err)
	}
	if vendor == nil {
		return "", nil
	}
	return *vendor, nil
}
