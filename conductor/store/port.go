package store

import (
	"context"
	"time"

	"github.com/google/uuid"
)

// Port is a row of ports: a network interface of a node. Address is lower case.
type Port struct {
	ID                           int64      `db:"id"`
	UUID                         string     `db:"uuid"`
	Name                         *string    `db:"name"`
	Address                      string     `db:"address"`
	NodeID                       int64      `db:"node_id"`
	PortgroupID                  *int64     `db:"portgroup_id"`
	PXEEnabled                   bool       `db:"pxe_enabled"`
	LocalLinkConnection          Object     `db:"local_link_connection"`
	PhysicalNetwork              *string    `db:"physical_network"`
	IsSmartNIC                   bool       `db:"is_smartnic"`
	Description                  *string    `db:"description"`
	Vendor                       *string    `db:"vendor"`
	Category                     *string    `db:"category"`
	AvailableForDynamicPortgroup bool       `db:"available_for_dynamic_portgroup"`
	Extra                        Object     `db:"extra"`
	InternalInfo                 Object     `db:"internal_info"`
	CreatedAt                    time.Time  `db:"created_at"`
	UpdatedAt                    *time.Time `db:"updated_at"`

	// By join; not written.
	NodeUUID      string  `db:"node_uuid"`
	PortgroupUUID *string `db:"portgroup_uuid"`
}

// NewPort is a port with the defaults of the API and a UUID of its own. What it
// belongs to and its address are left to the caller.
func NewPort() *Port {
	return &Port{UUID: uuid.NewString(), PXEEnabled: true, AvailableForDynamicPortgroup: true,
		LocalLinkConnection: Object{}, Extra: Object{}, InternalInfo: Object{}}
}

var portTable = tableOf("ports", "port",
	`SELECT ports.*, nodes.uuid AS node_uuid, portgroups.uuid AS portgroup_uuid
	FROM ports JOIN nodes ON nodes.id = ports.node_id LEFT JOIN portgroups ON portgroups.id = ports.portgroup_id`,
	func(p *Port) head { return head{&p.ID, &p.UUID, &p.CreatedAt, &p.UpdatedAt} },
	"name", "address", "node_id", "portgroup_id", "pxe_enabled", "local_link_connection", "physical_network", "is_smartnic",
	"description", "vendor", "category", "available_for_dynamic_portgroup", "extra", "internal_info")

// CreatePort inserts p and fills its ID and CreatedAt.
func (s *Store) CreatePort(ctx context.Context, p *Port) error { return portTable.create(ctx, s, p) }

// SavePort writes the changeable columns of p.
func (s *Store) SavePort(ctx context.Context, p *Port) error { return portTable.save(ctx, s, p) }

// Port finds a port by UUID.
func (s *Store) Port(ctx context.Context, uuid string) (*Port, error) {
	return portTable.find(ctx, s, "uuid", uuid)
}

// PortByName finds the port of this name.
func (s *Store) PortByName(ctx context.Context, name string) (*Port, error) {
	return portTable.find(ctx, s, "name", name)
}

// PortByAddress finds the port with this MAC address, in lower case.
func (s *Store) PortByAddress(ctx context.Context, address string) (*Port, error) {
	return portTable.find(ctx, s, "address", address)
}

// NodePorts lists the ports of a node.
func (s *Store) NodePorts(ctx context.Context, nodeID int64) ([]*Port, error) {
	return s.Ports(ctx, Query{Where: []string{"ports.node_id = ?"}, Args: []any{nodeID}})
}

// PortgroupPorts lists the ports of a portgroup.
func (s *Store) PortgroupPorts(ctx context.Context, portgroupID int64) ([]*Port, error) {
	return s.Ports(ctx, Query{Where: []string{"ports.portgroup_id = ?"}, Args: []any{portgroupID}})
}

// Ports lists ports.
func (s *Store) Ports(ctx context.Context, q Query) ([]*Port, error) {
	return portTable.list(ctx, s, q)
}

// DeletePort removes a port.
func (s *Store) DeletePort(ctx context.Context, id int64) error { return portTable.delete(ctx, s, id) }
