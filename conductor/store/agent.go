package store

import (
	"context"
	"encoding/json"
	"fmt"
)

// HeartbeatNode finds a node by UUID and reads only what a heartbeat is judged
// by: identity, state, lock, maintenance and driver_internal_info.
func (s *Store) HeartbeatNode(ctx context.Context, uuid string) (*Node, error) {
	return one[Node](ctx, s, "SELECT id, uuid, name, provision_state, reservation, maintenance, driver_internal_info FROM nodes",
		"uuid = ?", "node", uuid)
}

// LookupNode finds a node by UUID and reads what HeartbeatNode does and what
// an agent is told of its node, properties and instance_info, and driver_info.
func (s *Store) LookupNode(ctx context.Context, uuid string) (*Node, error) {
	return one[Node](ctx, s, "SELECT id, uuid, name, provision_state, reservation, maintenance, driver_internal_info, driver_info, properties, instance_info FROM nodes",
		"uuid = ?", "node", uuid)
}

// NodesWithAddress lists the UUIDs of the nodes that have a port with one of
// the MAC addresses, which are in lower case.
func (s *Store) NodesWithAddress(ctx context.Context, addresses []string) ([]string, error) {
	list, err := json.Marshal(addresses)
	if err != nil {
		return nil, err
	}
	var uuids []string
	err = s.db.SelectContext(ctx, &uuids, `SELECT DISTINCT nodes.uuid FROM ports JOIN nodes ON nodes.id = ports.node_id
		WHERE ports.address IN (SELECT value FROM json_each(?))`, string(list))
	if err != nil {
		return nil, fmt.Errorf("find the nodes of addresses: %w", err)
	}
	return uuids, nil
}
