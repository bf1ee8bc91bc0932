package store

import (
	"context"
	"fmt"
	"time"

	"github.com/jmoiron/sqlx"
)

// Portgroup is a row of portgroups: ports of a node that are bonded.
type Portgroup struct {
	ID                       int64      `db:"id"`
	UUID                     string     `db:"uuid"`
	Name                     *string    `db:"name"`
	Address                  *string    `db:"address"` // lower case
	NodeID                   int64      `db:"node_id"`
	Mode                     string     `db:"mode"`
	Properties               Object     `db:"properties"`
	StandalonePortsSupported bool       `db:"standalone_ports_supported"`
	PhysicalNetwork          *string    `db:"physical_network"`
	Category                 *string    `db:"category"`
	DynamicPortgroup         bool       `db:"dynamic_portgroup"` // made by the conductor for an instance
	Extra                    Object     `db:"extra"`
	InternalInfo             Object     `db:"internal_info"`
	CreatedAt                time.Time  `db:"created_at"`
	UpdatedAt                *time.Time `db:"updated_at"`

	NodeUUID string `db:"node_uuid"` // by join; not written
}

var portgroupTable = tableOf("portgroups", "portgroup",
	"SELECT portgroups.*, nodes.uuid AS node_uuid FROM portgroups JOIN nodes ON nodes.id = portgroups.node_id",
	func(g *Portgroup) head { return head{&g.ID, &g.UUID, &g.CreatedAt, &g.UpdatedAt} },
	"name", "address", "node_id", "mode", "properties", "standalone_ports_supported", "physical_network", "category",
	"dynamic_portgroup", "extra", "internal_info")

// CreatePortgroup inserts g and fills its ID and CreatedAt.
func (s *Store) CreatePortgroup(ctx context.Context, g *Portgroup) error {
	return portgroupTable.create(ctx, s, g)
}

// SavePortgroup writes the changeable columns of g. Where its physical network
// has changed, its ports change with it.
func (s *Store) SavePortgroup(ctx context.Context, g *Portgroup) error {
	return s.write(ctx, func(tx *sqlx.Tx) error {
		_, err := tx.Exec(`UPDATE ports SET physical_network = ?1, updated_at = ?2 WHERE portgroup_id = ?3
			AND (SELECT physical_network FROM portgroups WHERE id = ?3) IS NOT ?1`, g.PhysicalNetwork, now(), g.ID)
		if err != nil {
			return fmt.Errorf("save ports of portgroup %s: %w", g.UUID, err)
		}
		return portgroupTable.saveIn(tx, g)
	})
}

// Portgroup finds a portgroup by UUID.
func (s *Store) Portgroup(ctx context.Context, uuid string) (*Portgroup, error) {
	return portgroupTable.find(ctx, s, "uuid", uuid)
}

// PortgroupByName finds the portgroup of this name.
func (s *Store) PortgroupByName(ctx context.Context, name string) (*Portgroup, error) {
	return portgroupTable.find(ctx, s, "name", name)
}

// NodePortgroups lists the portgroups of a node.
func (s *Store) NodePortgroups(ctx context.Context, nodeID int64) ([]*Portgroup, error) {
	return s.Portgroups(ctx, Query{Where: []string{"portgroups.node_id = ?"}, Args: []any{nodeID}})
}

// Portgroups lists portgroups.
func (s *Store) Portgroups(ctx context.Context, q Query) ([]*Portgroup, error) {
	return portgroupTable.list(ctx, s, q)
}

// DeletePortgroup removes a portgroup, or fails with ErrNotEmpty when it has ports.
func (s *Store) DeletePortgroup(ctx context.Context, id int64) error {
	return s.write(ctx, func(tx *sqlx.Tx) error {
		var ports int
		if err := tx.Get(&ports, "SELECT COUNT(*) FROM ports WHERE portgroup_id = ?", id); err != nil {
			return err
		}
		if ports > 0 {
			return fmt.Errorf("delete portgroup: %w", ErrNotEmpty)
		}
		_, err := tx.Exec(portgroupTable.remove, id)
		return err
	})
}
