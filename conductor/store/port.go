package store

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/jmoiron/sqlx"
)

// Port is a row of ports: a network interface of a node. Address is lower case.
type Port struct {
	ID                  int64      `db:"id"`
	UUID                string     `db:"uuid"`
	Address             string     `db:"address"`
	NodeID              int64      `db:"node_id"`
	PXEEnabled          bool       `db:"pxe_enabled"`
	LocalLinkConnection Object     `db:"local_link_connection"`
	PhysicalNetwork     *string    `db:"physical_network"`
	IsSmartNIC          bool       `db:"is_smartnic"`
	Extra               Object     `db:"extra"`
	InternalInfo        Object     `db:"internal_info"`
	CreatedAt           time.Time  `db:"created_at"`
	UpdatedAt           *time.Time `db:"updated_at"`

	NodeUUID string `db:"node_uuid"` // of the node, by join; not written
}

const selectPorts = "SELECT ports.*, nodes.uuid AS node_uuid FROM ports JOIN nodes ON nodes.id = ports.node_id"

// CreatePort inserts p and fills its ID and CreatedAt.
func (s *Store) CreatePort(ctx context.Context, p *Port) error {
	p.CreatedAt = now()
	return s.write(ctx, func(tx *sqlx.Tx) error {
		res, err := tx.NamedExec(`INSERT INTO ports
			(uuid, address, node_id, pxe_enabled, local_link_connection, physical_network, is_smartnic, extra, internal_info, created_at)
			VALUES (:uuid, :address, :node_id, :pxe_enabled, :local_link_connection, :physical_network, :is_smartnic, :extra, :internal_info, :created_at)`, p)
		if err != nil {
			return fmt.Errorf("create port %s: %w", p.Address, constraint(err))
		}
		p.ID, err = res.LastInsertId()
		return err
	})
}

// SavePort writes the changeable columns of p.
func (s *Store) SavePort(ctx context.Context, p *Port) error {
	t := now()
	p.UpdatedAt = &t
	return s.write(ctx, func(tx *sqlx.Tx) error {
		res, err := tx.NamedExec(`UPDATE ports SET address = :address, node_id = :node_id, pxe_enabled = :pxe_enabled,
			local_link_connection = :local_link_connection, physical_network = :physical_network, is_smartnic = :is_smartnic,
			extra = :extra, internal_info = :internal_info, updated_at = :updated_at WHERE id = :id`, p)
		if err != nil {
			return fmt.Errorf("save port %s: %w", p.UUID, constraint(err))
		}
		if rows, err := res.RowsAffected(); err != nil || rows == 0 {
			return fmt.Errorf("save port %s: %w", p.UUID, ErrNotFound)
		}
		return nil
	})
}

// Port finds a port by UUID.
func (s *Store) Port(ctx context.Context, uuid string) (*Port, error) {
	return s.port(ctx, "ports.uuid = ?", strings.ToLower(uuid))
}

// PortByAddress finds the port with this MAC address, in lower case.
func (s *Store) PortByAddress(ctx context.Context, address string) (*Port, error) {
	return s.port(ctx, "ports.address = ?", address)
}

func (s *Store) port(ctx context.Context, where, arg string) (*Port, error) {
	p := new(Port)
	if err := s.db.GetContext(ctx, p, selectPorts+" WHERE "+where, arg); err != nil {
		return nil, notFound(err, "port %s", arg)
	}
	return p, nil
}

// NodePorts lists the ports of a node.
func (s *Store) NodePorts(ctx context.Context, nodeID int64) ([]*Port, error) {
	return s.Ports(ctx, Query{Where: []string{"ports.node_id = ?"}, Args: []any{nodeID}})
}

// Ports lists ports.
func (s *Store) Ports(ctx context.Context, q Query) ([]*Port, error) {
	return list[Port](ctx, s, selectPorts, "ports", q)
}

// DeletePort removes a port.
func (s *Store) DeletePort(ctx context.Context, id int64) error {
	_, err := s.exec(ctx, "DELETE FROM ports WHERE id = ?", id)
	return err
}
