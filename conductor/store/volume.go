package store

import (
	"context"
	"strings"
	"time"
)

// VolumeConnector is a row of volume_connectors: by what a node reaches volumes.
type VolumeConnector struct {
	ID          int64      `db:"id"`
	UUID        string     `db:"uuid"`
	NodeID      int64      `db:"node_id"`
	Type        string     `db:"type"`
	ConnectorID string     `db:"connector_id"`
	Extra       Object     `db:"extra"`
	CreatedAt   time.Time  `db:"created_at"`
	UpdatedAt   *time.Time `db:"updated_at"`

	NodeUUID string `db:"node_uuid"` // by join; not written
}

// VolumeTarget is a row of volume_targets: a volume that a node uses.
type VolumeTarget struct {
	ID         int64      `db:"id"`
	UUID       string     `db:"uuid"`
	NodeID     int64      `db:"node_id"`
	VolumeType string     `db:"volume_type"`
	BootIndex  int64      `db:"boot_index"`
	VolumeID   string     `db:"volume_id"`
	Properties Object     `db:"properties"`
	Extra      Object     `db:"extra"`
	CreatedAt  time.Time  `db:"created_at"`
	UpdatedAt  *time.Time `db:"updated_at"`

	NodeUUID string `db:"node_uuid"` // by join; not written
}

const (
	selectConnectors = "SELECT volume_connectors.*, nodes.uuid AS node_uuid FROM volume_connectors JOIN nodes ON nodes.id = volume_connectors.node_id"
	selectTargets    = "SELECT volume_targets.*, nodes.uuid AS node_uuid FROM volume_targets JOIN nodes ON nodes.id = volume_targets.node_id"
)

var (
	connectorStatements = statementsOf("volume_connectors", "node_id", "type", "connector_id", "extra")
	targetStatements    = statementsOf("volume_targets", "node_id", "volume_type", "boot_index", "volume_id", "properties", "extra")
)

// CreateVolumeConnector inserts c and fills its ID and CreatedAt.
func (s *Store) CreateVolumeConnector(ctx context.Context, c *VolumeConnector) error {
	c.CreatedAt = now()
	return s.insert(ctx, &c.ID, "volume connector "+c.UUID, connectorStatements.insert, c)
}

// SaveVolumeConnector writes the changeable columns of c.
func (s *Store) SaveVolumeConnector(ctx context.Context, c *VolumeConnector) error {
	t := now()
	c.UpdatedAt = &t
	return s.update(ctx, "volume connector "+c.UUID, connectorStatements.update, c)
}

// VolumeConnector finds a volume connector by UUID.
func (s *Store) VolumeConnector(ctx context.Context, uuid string) (*VolumeConnector, error) {
	return one[VolumeConnector](ctx, s, selectConnectors, "volume_connectors.uuid = ?", "volume connector", strings.ToLower(uuid))
}

// VolumeConnectors lists volume connectors.
func (s *Store) VolumeConnectors(ctx context.Context, q Query) ([]*VolumeConnector, error) {
	return list[VolumeConnector](ctx, s, selectConnectors, "volume_connectors", q)
}

// DeleteVolumeConnector removes a volume connector.
func (s *Store) DeleteVolumeConnector(ctx context.Context, id int64) error {
	_, err := s.exec(ctx, connectorStatements.remove, id)
	return err
}

// CreateVolumeTarget inserts v and fills its ID and CreatedAt.
func (s *Store) CreateVolumeTarget(ctx context.Context, v *VolumeTarget) error {
	v.CreatedAt = now()
	return s.insert(ctx, &v.ID, "volume target "+v.UUID, targetStatements.insert, v)
}

// SaveVolumeTarget writes the changeable columns of v.
func (s *Store) SaveVolumeTarget(ctx context.Context, v *VolumeTarget) error {
	t := now()
	v.UpdatedAt = &t
	return s.update(ctx, "volume target "+v.UUID, targetStatements.update, v)
}

// VolumeTarget finds a volume target by UUID.
func (s *Store) VolumeTarget(ctx context.Context, uuid string) (*VolumeTarget, error) {
	return one[VolumeTarget](ctx, s, selectTargets, "volume_targets.uuid = ?", "volume target", strings.ToLower(uuid))
}

// VolumeTargets lists volume targets.
func (s *Store) VolumeTargets(ctx context.Context, q Query) ([]*VolumeTarget, error) {
	return list[VolumeTarget](ctx, s, selectTargets, "volume_targets", q)
}

// DeleteVolumeTarget removes a volume target.
func (s *Store) DeleteVolumeTarget(ctx context.Context, id int64) error {
	_, err := s.exec(ctx, targetStatements.remove, id)
	return err
}
