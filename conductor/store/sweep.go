package store

import (
	"context"
	"fmt"

	"ferric/conductor/provision"
)

// The periodic jobs look at many nodes, again and again, and at little of each:
// what they read leaves out the columns that may be long.

// sweptColumns are those that jobs judge a node by and find its interfaces and
// its BMC with. The config drive, which may have megabytes, is left out.
const sweptColumns = `id, uuid, name, driver, driver_info, driver_internal_info, properties,
	json_remove(instance_info, '$.configdrive') AS instance_info,
	clean_step, deploy_step, service_step,
	power_state, target_power_state, provision_state, target_provision_state, provision_updated_at, inspection_started_at, inspection_finished_at,
	reservation, conductor_group, maintenance, fault, disable_power_off, boot_mode, secure_boot, created_at, updated_at, revision,
	bios_interface, boot_interface, console_interface, deploy_interface, firmware_interface, inspect_interface, management_interface,
	network_interface, power_interface, raid_interface, rescue_interface, storage_interface, vendor_interface`

// Swept lists the nodes that q selects without the columns that may be long:
// for judging them. Such a node is not to be saved.
func (s *Store) Swept(ctx context.Context, q Query) ([]*Node, error) {
	return list[Node](ctx, s, "SELECT "+sweptColumns+" FROM nodes", "nodes", q)
}

// sweepPage is how many nodes Sweep has in memory.
const sweepPage = 200

// Sweep calls fn with each node that q selects, as Swept makes them, a page at a
// time in the order of their ids.
func (s *Store) Sweep(ctx context.Context, q Query, fn func(n *Node)) error {
	q.Limit = sweepPage
	for {
		page, err := s.Swept(ctx, q)
		if err != nil {
			return err
		}
		for _, n := range page {
			fn(n)
		}
		if len(page) < sweepPage {
			return nil
		}
		q.After = page[len(page)-1].ID
	}
}

// SweptIn is Swept of the nodes in the given states.
func (s *Store) SweptIn(ctx context.Context, states ...provision.State) ([]*Node, error) {
	marks, args := in(states)
	return s.Swept(ctx, Query{Where: []string{"provision_state IN (" + marks + ")"}, Args: args})
}

// Powered selects the nodes whose power is to be compared with what is
// recorded: neither in maintenance, nor being switched, nor in one of the
// states given.
func Powered(except ...provision.State) Query {
	marks, args := in(except)
	return Query{Where: []string{"NOT maintenance", "target_power_state IS NULL", "provision_state NOT IN (" + marks + ")"}, Args: args}
}

// CountSelected counts the nodes that q selects.
func (s *Store) CountSelected(ctx context.Context, q Query) (int, error) {
	query := "SELECT COUNT(*) FROM nodes"
	for i, condition := range q.Where {
		if i == 0 {
			query += " WHERE " + condition
		} else {
			query += " AND " + condition
		}
	}
	var n int
	if err := s.db.GetContext(ctx, &n, query, q.Args...); err != nil {
		return 0, fmt.Errorf("count nodes: %w", err)
	}
	return n, nil
}
