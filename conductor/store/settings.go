package store

import (
	"context"
	"fmt"
	"time"

	"github.com/jmoiron/sqlx"
)

// BIOSSetting is a row of bios_settings. Besides name and value, it is what the
// BMC's registry of attributes says of the setting, NULL where there is none.
type BIOSSetting struct {
	NodeID          int64      `db:"node_id"`
	Name            string     `db:"name"`
	Value           *string    `db:"value"`
	AttributeType   *string    `db:"attribute_type"`
	AllowableValues *Strings   `db:"allowable_values"`
	LowerBound      *int64     `db:"lower_bound"`
	UpperBound      *int64     `db:"upper_bound"`
	MinLength       *int64     `db:"min_length"`
	MaxLength       *int64     `db:"max_length"`
	ReadOnly        *bool      `db:"read_only"`
	ResetRequired   *bool      `db:"reset_required"`
	Unique          *bool      `db:"is_unique"`
	CreatedAt       time.Time  `db:"created_at"`
	UpdatedAt       *time.Time `db:"updated_at"`
}

// FirmwareComponent is a row of firmware_components.
type FirmwareComponent struct {
	NodeID             int64      `db:"node_id"`
	Component          string     `db:"component"`
	InitialVersion     string     `db:"initial_version"`
	CurrentVersion     *string    `db:"current_version"`
	LastVersionFlashed *string    `db:"last_version_flashed"`
	Vendor             *string    `db:"vendor"`
	Model              *string    `db:"model"`
	SerialNumber       *string    `db:"serial_number"`
	CreatedAt          time.Time  `db:"created_at"`
	UpdatedAt          *time.Time `db:"updated_at"`
}

// BIOSSettings are those of a node, by name.
func (s *Store) BIOSSettings(ctx context.Context, nodeID int64) ([]*BIOSSetting, error) {
	settings := []*BIOSSetting{}
	err := s.db.SelectContext(ctx, &settings, "SELECT * FROM bios_settings WHERE node_id = ? ORDER BY name", nodeID)
	return settings, err
}

// BIOSSetting finds one of a node's.
func (s *Store) BIOSSetting(ctx context.Context, nodeID int64, name string) (*BIOSSetting, error) {
	setting := new(BIOSSetting)
	if err := s.db.GetContext(ctx, setting, "SELECT * FROM bios_settings WHERE node_id = ? AND name = ?", nodeID, name); err != nil {
		return nil, notFound(err, "BIOS setting %s", name)
	}
	return setting, nil
}

// SetBIOSSettings makes the given settings all that a node has. Those that stay
// the same keep their times.
func (s *Store) SetBIOSSettings(ctx context.Context, nodeID int64, settings []BIOSSetting) error {
	return s.write(ctx, func(tx *sqlx.Tx) error {
		names := make([]string, len(settings))
		at := now()
		for i := range settings {
			row := settings[i]
			row.NodeID, row.CreatedAt, row.UpdatedAt = nodeID, at, &at
			names[i] = row.Name
			if _, err := tx.NamedExec(upsertBIOSSetting, row); err != nil {
				return fmt.Errorf("keep BIOS setting %s: %w", row.Name, err)
			}
		}
		return deleteOthers(tx, "bios_settings", "name", nodeID, names)
	})
}

const upsertBIOSSetting = `INSERT INTO bios_settings (node_id, name, value, attribute_type, allowable_values, lower_bound, upper_bound,
		min_length, max_length, read_only, reset_required, is_unique, created_at)
	VALUES (:node_id, :name, :value, :attribute_type, :allowable_values, :lower_bound, :upper_bound,
		:min_length, :max_length, :read_only, :reset_required, :is_unique, :created_at)
	ON CONFLICT (node_id, name) DO UPDATE SET value = excluded.value, attribute_type = excluded.attribute_type,
		allowable_values = excluded.allowable_values, lower_bound = excluded.lower_bound, upper_bound = excluded.upper_bound,
		min_length = excluded.min_length, max_length = excluded.max_length, read_only = excluded.read_only,
		reset_required = excluded.reset_required, is_unique = excluded.is_unique, updated_at = :updated_at
	WHERE (value, attribute_type, allowable_values, lower_bound, upper_bound, min_length, max_length, read_only, reset_required, is_unique)
		IS NOT (excluded.value, excluded.attribute_type, excluded.allowable_values, excluded.lower_bound, excluded.upper_bound,
		excluded.min_length, excluded.max_length, excluded.read_only, excluded.reset_required, excluded.is_unique)`

// FirmwareComponents are those of a node, by name.
func (s *Store) FirmwareComponents(ctx context.Context, nodeID int64) ([]*FirmwareComponent, error) {
	components := []*FirmwareComponent{}
	err := s.db.SelectContext(ctx, &components, "SELECT * FROM firmware_components WHERE node_id = ? ORDER BY component", nodeID)
	return components, err
}

// SetFirmwareComponents makes the given components all that a node has. The
// initial version of one that was there already stays.
func (s *Store) SetFirmwareComponents(ctx context.Context, nodeID int64, components []FirmwareComponent) error {
	return s.write(ctx, func(tx *sqlx.Tx) error {
		names := make([]string, len(components))
		at := now()
		for i := range components {
			row := components[i]
			row.NodeID, row.CreatedAt, row.UpdatedAt = nodeID, at, &at
			names[i] = row.Component
			if _, err := tx.NamedExec(upsertFirmwareComponent, row); err != nil {
				return fmt.Errorf("keep firmware component %s: %w", row.Component, err)
			}
		}
		return deleteOthers(tx, "firmware_components", "component", nodeID, names)
	})
}

const upsertFirmwareComponent = `INSERT INTO firmware_components (node_id, component, initial_version, current_version, last_version_flashed,
		vendor, model, serial_number, created_at)
	VALUES (:node_id, :component, :initial_version, :current_version, :last_version_flashed, :vendor, :model, :serial_number, :created_at)
	ON CONFLICT (node_id, component) DO UPDATE SET current_version = excluded.current_version, last_version_flashed = excluded.last_version_flashed,
		vendor = excluded.vendor, model = excluded.model, serial_number = excluded.serial_number, updated_at = :updated_at
	WHERE (current_version, last_version_flashed, vendor, model, serial_number)
		IS NOT (excluded.current_version, excluded.last_version_flashed, excluded.vendor, excluded.model, excluded.serial_number)`

// deleteOthers removes the rows of a node that are not among names.
func deleteOthers(tx *sqlx.Tx, table, column string, nodeID int64, names []string) error {
	query, args := "DELETE FROM "+table+" WHERE node_id = ?", []any{nodeID}
	if len(names) > 0 {
		marks, values, err := sqlx.In(" AND "+column+" NOT IN (?)", names)
		if err != nil {
			return err
		}
		query, args = query+marks, append(args, values...)
	}
	_, err := tx.Exec(query, args...)
	return err
}
