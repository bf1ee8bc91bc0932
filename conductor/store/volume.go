package store

import (
	"context"
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

var (
	connectorTable = tableOf("volume_connectors", "volume connector",
		"SELECT volume_connectors.*, nodes.uuid AS node_uuid FROM volume_connectors JOIN nodes ON nodes.id = volume_connectors.node_id",
		func(c *VolumeConnector) head { return head{&c.ID, &c.UUID, &c.CreatedAt, &c.UpdatedAt} },
		"node_id", "type", "connector_id", "extra")
	targetTable = tableOf("volume_targets", "volume target",
		"SELECT volume_targets.*, nodes.uuid AS node_uuid FROM volume_targets JOIN nodes ON nodes.id = volume_targets.node_id",
		func(v *VolumeTarget) head { return head{&v.ID, &v.UUID, &v.CreatedAt, &v.UpdatedAt} },
		"node_id", "volume_type", "boot_index", "volume_id", "properties", "extra")
)

// CreateVolumeConnector inserts c and fills its ID and CreatedAt.
func (s *Store) CreateVolumeConnector(ctx context.Context, c *VolumeConnector) error {
	return connectorTable.create(ctx, s, c)
}

// SaveVolumeConnector writes the changeable columns of c.
func (s *Store) SaveVolumeConnector(ctx context.Context, c *VolumeConnector) error {
	return connectorTable.save(ctx, s, c)
}

// VolumeConnector finds a volume connector by UUID.
func (s *Store) VolumeConnector(ctx context.Context, uuid string) (*VolumeConnector, error) {
	return connectorTable.find(ctx, s, "uuid", uuid)
}

// VolumeConnectors lists volume connectors.
func (s *Store) VolumeConnectors(ctx context.Context, q Query) ([]*VolumeConnector, error) {
	return connectorTable.list(ctx, s, q)
}

// DeleteVolumeConnector removes a volume connector.
func (s *Store) DeleteVolumeConnector(ctx context.Context, id int64) error {
	return connectorTable.delete(ctx, s, id)
}

// CreateVolumeTarget inserts v and fills its ID and CreatedAt.
func (s *Store) CreateVolumeTarget(ctx context.Context, v *VolumeTarget) error {
	return targetTable.create(ctx, s, v)
}

// SaveVolumeTarget writes the changeable columns of v.
func (s *Store) SaveVolumeTarget(ctx context.Context, v *VolumeTarget) error {
	return targetTable.save(ctx, s, v)
}

// VolumeTarget finds a volume target by UUID.
func (s *Store) VolumeTarget(ctx context.Context, uuid string) (*VolumeTarget, error) {
	return targetTable.find(ctx, s, "uuid", uuid)
}

// VolumeTargets lists volume targets.
func (s *Store) VolumeTargets(ctx context.Context, q Query) ([]*VolumeTarget, error) {
	return targetTable.list(ctx, s, q)
}

// DeleteVolumeTarget removes a volume target.
func (s *Store) DeleteVolumeTarget(ctx context.Context, id int64) error {
	return targetTable.delete(ctx, s, id)
}
