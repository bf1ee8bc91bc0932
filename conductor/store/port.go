package store

import (
	"context"
	"fmt"
	"strings"
	"time"
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
	res, err := s.db.NamedExecContext(ctx, `INSERT INTO ports
		(uuid, address, node_id, pxe_enabled, local_link_connection, physical_network, is_smartnic, extra, internal_info, created_at)
		VALUES (:uuid, :address, :node_id, :pxe_enabled, :local_link_connection, :physical_network, :is_smartnic, :extra, :internal_info, :created_at)`, p)
	if err != nil {
		return fmt.Errorf("create port %s: %w", p.Address, constraint(err))
	}
	p.ID, err = res.LastInsertId()
	return err
}

// SavePort writes the changeable columns of p.
func (s *Store) SavePort(ctx context.Context, p *Port) error {
	t := now()
	p.UpdatedAt = &t
	res, err := s.db.NamedExecContext(ctx, `UPDATE ports SET address = :address, node_id = :node_id, pxe_enabled = :pxe_enabled,
		local_link_connection = :local_link_connection, physical_network = :physical_network, is_smartnic = :is_smartnic,
		extra = :extra, internal_info = :internal_info, updated_at = :updated_at WHERE id = :id`, p)
	if err != nil {
		return fmt.Errorf("save port %s: %w", p.UUID, constraint(err))
	}
	if rows, err := res.RowsAffected(); err != nil || rows == 0 {
		return fmt.Errorf("save port %s: %w", p.UUID, ErrNotFound)
	}
	return nil
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
	return s.Ports(ctx, PortQuery{Where: []string{"node_id = ?"}, Args: []any{nodeID}})
}

// PortQuery selects ports; see NodeQuery.
type PortQuery struct {
	Where   []string
	Args    []any
	SortKey string
	Desc    bool
	After   int64 // row id of the last port of the page before (sorting by id)
	Limit   int
}

// Ports lists ports.
func (s *Store) Ports(ctx context.Context, q PortQuery) ([]*Port, error) {
	where, args := append([]string(nil), q.Where...), append([]any(nil), q.Args...)
	key, direction := "id", "ASC"
	if q.SortKey != "" {
		key = q.SortKey
	}
	if q.Desc {
		direction = "DESC"
	}
	if q.After != 0 {
		where, args = append(where, "ports.id > ?"), append(args, q.After)
	}
	query := selectPorts
	if len(where) > 0 {
		query += " WHERE " + strings.Join(where, " AND ")
	}
	query += fmt.Sprintf(" ORDER BY ports.%s %s, ports.id", key, direction)
	if q.Limit > 0 {
		query += fmt.Sprintf(" LIMIT %d", q.Limit)
	}
	var ports []*Port
	if err := s.db.SelectContext(ctx, &ports, query, args...); err != nil {
		return nil, fmt.Errorf("list ports: %w", err)
	}
	return ports, nil
}

// DeletePort removes a port.
func (s *Store) DeletePort(ctx context.Context, id int64) error {
	_, err := s.db.ExecContext(ctx, "DELETE FROM ports WHERE id = ?", id)
	return err
}
