package store

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/jmoiron/sqlx"

	"ferric/conductor/provision"
)

// Node is a row of nodes. Empty pointers are NULL, null on the wire.
type Node struct {
	ID                   int64            `db:"id"`
	UUID                 string           `db:"uuid"`
	Name                 *string          `db:"name"`
	InstanceUUID         *string          `db:"instance_uuid"`
	InstanceName         *string          `db:"instance_name"`
	ChassisUUID          *string          `db:"chassis_uuid"`
	AllocationUUID       *string          `db:"allocation_uuid"`
	ParentNode           *string          `db:"parent_node"` // UUID
	Driver               string           `db:"driver"`
	DriverInfo           Object           `db:"driver_info"`
	DriverInternalInfo   Object           `db:"driver_internal_info"`
	Properties           Object           `db:"properties"`
	InstanceInfo         Object           `db:"instance_info"`
	Extra                Object           `db:"extra"`
	PowerState           *string          `db:"power_state"`
	TargetPowerState     *string          `db:"target_power_state"`
	ProvisionState       provision.State  `db:"provision_state"`
	TargetProvisionState *provision.State `db:"target_provision_state"`
	ProvisionUpdatedAt   *time.Time       `db:"provision_updated_at"`
	LastError            *string          `db:"last_error"`
	CleanStep            Object           `db:"clean_step"`
	DeployStep           Object           `db:"deploy_step"`
	ServiceStep          Object           `db:"service_step"`
	RAIDConfig           Object           `db:"raid_config"`
	TargetRAIDConfig     Object           `db:"target_raid_config"`
	NetworkData          Object           `db:"network_data"`
	ResourceClass        *string          `db:"resource_class"`
	Reservation          *string          `db:"reservation"` // written by Reserve and Release only
	ConductorGroup       string           `db:"conductor_group"`
	Maintenance          bool             `db:"maintenance"`
	MaintenanceReason    *string          `db:"maintenance_reason"`
	Fault                *string          `db:"fault"`
	ConsoleEnabled       bool             `db:"console_enabled"`
	InspectionStartedAt  *time.Time       `db:"inspection_started_at"`
	InspectionFinishedAt *time.Time       `db:"inspection_finished_at"`
	AutomatedClean       *bool            `db:"automated_clean"`
	Protected            bool             `db:"protected"`
	ProtectedReason      *string          `db:"protected_reason"`
	Owner                *string          `db:"owner"`
	Lessee               *string          `db:"lessee"`
	Shard                *string          `db:"shard"`
	Traits               Strings          `db:"traits"`
	Health               *string          `db:"health"`
	DisablePowerOff      bool             `db:"disable_power_off"`
	Description          *string          `db:"description"`
	Retired              bool             `db:"retired"`
	RetiredReason        *string          `db:"retired_reason"`
	BootMode             *string          `db:"boot_mode"`
	SecureBoot           *bool            `db:"secure_boot"`
	BIOSInterface        *string          `db:"bios_interface"`
	BootInterface        *string          `db:"boot_interface"`
	ConsoleInterface     *string          `db:"console_interface"`
	DeployInterface      *string          `db:"deploy_interface"`
	FirmwareInterface    *string          `db:"firmware_interface"`
	InspectInterface     *string          `db:"inspect_interface"`
	ManagementInterface  *string          `db:"management_interface"`
	NetworkInterface     *string          `db:"network_interface"`
	PowerInterface       *string          `db:"power_interface"`
	RAIDInterface        *string          `db:"raid_interface"`
	RescueInterface      *string          `db:"rescue_interface"`
	StorageInterface     *string          `db:"storage_interface"`
	VendorInterface      *string          `db:"vendor_interface"`
	CreatedAt            time.Time        `db:"created_at"`
	UpdatedAt            *time.Time       `db:"updated_at"`
	Revision             int64            `db:"revision"` // counts what changed of its representation; written by the Store only
	Stamps               int64            `db:"stamps"`   // of the changes, those that are the time of a heartbeat and nothing else; written by the Store only
}

// Label is how a message names the node: its name where it has one.
func (n *Node) Label() string {
	if n.Name != nil {
		return *n.Name
	}
	return n.UUID
}

// nodeColumns are the columns that Save writes. id, uuid, created_at and the
// lock are not among them.
var nodeColumns = []string{
	"name", "instance_uuid", "instance_name", "chassis_uuid", "allocation_uuid", "parent_node", "driver", "driver_info", "driver_internal_info", "properties",
	"instance_info", "extra", "power_state", "target_power_state", "provision_state", "target_provision_state",
	"provision_updated_at", "last_error", "clean_step", "deploy_step", "service_step", "raid_config", "target_raid_config",
	"network_data", "resource_class", "conductor_group", "maintenance", "maintenance_reason", "fault",
	"console_enabled", "inspection_started_at", "inspection_finished_at", "automated_clean", "protected",
	"protected_reason", "owner", "lessee", "shard", "traits", "health", "disable_power_off", "description", "retired", "retired_reason", "boot_mode",
	"secure_boot", "bios_interface", "boot_interface", "console_interface", "deploy_interface",
	"firmware_interface", "inspect_interface", "management_interface", "network_interface", "power_interface", "raid_interface",
	"rescue_interface", "storage_interface", "vendor_interface", "updated_at",
}

// insertNode and updateNode are the statements made of nodeColumns.
var (
	insertNode = "INSERT INTO nodes (uuid, created_at, revision, " + strings.Join(nodeColumns, ", ") +
		") VALUES (:uuid, :created_at, :revision, :" + strings.Join(nodeColumns, ", :") + ")"
	updateNode = "UPDATE nodes SET " + assignments(nodeColumns) + ", revision = revision + 1 WHERE id = :id"
)

func assignments(columns []string) string {
	sets := make([]string, len(columns))
	for i, c := range columns {
		sets[i] = c + " = :" + c
	}
	return strings.Join(sets, ", ")
}

// CreateNode inserts n, with events of it, and fills its ID, CreatedAt and Revision.
func (s *Store) CreateNode(ctx context.Context, n *Node, events ...Event) error {
	// Another node may have had the id: its revisions are not to come again.
	n.CreatedAt = now()
	n.Revision = n.CreatedAt.UnixMicro()
	return s.write(ctx, func(tx *sqlx.Tx) error {
		if err := inChassis(tx, n); err != nil {
			return err
		}
		res, err := tx.NamedExec(insertNode, n)
		if err != nil {
			return fmt.Errorf("create node %s: %w", n.Label(), constraint(err))
		}
		if n.ID, err = res.LastInsertId(); err != nil {
			return err
		}
		return s.addEvents(tx, n.ID, events)
	})
}

// SaveNode writes all columns of n but its lock. The caller holds the lock.
func (s *Store) SaveNode(ctx context.Context, n *Node) error {
	return s.write(ctx, func(tx *sqlx.Tx) error { return saveNode(tx, n) })
}

func saveNode(tx *sqlx.Tx, n *Node) error {
	if err := dropAllocation(tx, n); err != nil {
		return err
	}
	if err := inChassis(tx, n); err != nil {
		return err
	}
	t := now()
	n.UpdatedAt = &t
	res, err := tx.NamedExec(updateNode, n)
	if err != nil {
		return fmt.Errorf("save node %s: %w", n.Label(), constraint(err))
	}
	if rows, err := res.RowsAffected(); err != nil || rows == 0 {
		return fmt.Errorf("save node %s: %w", n.Label(), ErrNotFound)
	}
	return tx.Get(&n.Revision, "SELECT revision FROM nodes WHERE id = ?", n.ID)
}

// Node finds a node by UUID or name.
func (s *Store) Node(ctx context.Context, ident string) (*Node, error) {
	n := new(Node)
	err := s.db.GetContext(ctx, n, "SELECT * FROM nodes WHERE uuid = ? OR name = ?", strings.ToLower(ident), ident)
	if err != nil {
		return nil, notFound(err, "node %s", ident)
	}
	return n, nil
}

// NodeByID finds a node by row id.
func (s *Store) NodeByID(ctx context.Context, id int64) (*Node, error) {
	n := new(Node)
	if err := s.db.GetContext(ctx, n, "SELECT * FROM nodes WHERE id = ?", id); err != nil {
		return nil, notFound(err, "node #%d", id)
	}
	return n, nil
}

// DeleteNode removes the node with all that hangs on it.
func (s *Store) DeleteNode(ctx context.Context, id int64) error {
	_, err := s.exec(ctx, "DELETE FROM nodes WHERE id = ?", id)
	return err
}

// Nodes lists nodes.
func (s *Store) Nodes(ctx context.Context, q Query) ([]*Node, error) {
	return list[Node](ctx, s, "SELECT * FROM nodes", "nodes", q)
}

// Census says which nodes CountNodes counts.
type Census struct {
	States []provision.State // nodes in these
	OrIDs  []int64           // and these, whatever their state
	Except int64             // but not this one
	Group  *string           // of this conductor group only, if set
}

// CountNodes counts nodes.
func (s *Store) CountNodes(ctx context.Context, c Census) (int, error) {
	marks, args := in(c.States)
	ids, err := json.Marshal(append([]int64{}, c.OrIDs...))
	if err != nil {
		return 0, err
	}
	query := "SELECT COUNT(*) FROM nodes WHERE (provision_state IN (" + marks + ") OR id IN (SELECT value FROM json_each(?))) AND id <> ?"
	args = append(args, string(ids), c.Except)
	if c.Group != nil {
		query += " AND conductor_group = ?"
		args = append(args, *c.Group)
	}
	var n int
	err = s.db.GetContext(ctx, &n, query, args...)
	return n, err
}

// NodesIn lists the nodes in the given states.
func (s *Store) NodesIn(ctx context.Context, states ...provision.State) ([]*Node, error) {
	marks, args := in(states)
	return s.Nodes(ctx, Query{Where: []string{"provision_state IN (" + marks + ")"}, Args: args})
}

func in(states []provision.State) (marks string, args []any) {
	for _, s := range states {
		args = append(args, s)
	}
	return strings.TrimSuffix(strings.Repeat("?, ", len(states)), ", "), args
}
