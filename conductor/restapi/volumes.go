package restapi

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"

	"ferric/api/ironic"
	"ferric/conductor/store"
)

// connectorFields are the attributes of a volume connector (REST contract,
// section 9). Literal table.
var connectorFields = fields[store.VolumeConnector]{
	{"uuid", ironic.VersionVolumes, onCreate | sortable, requiredUUID(func(c *store.VolumeConnector) *string { return &c.UUID })},
	{"node_uuid", ironic.VersionVolumes, onCreate | onPatch, requiredUUID(func(c *store.VolumeConnector) *string { return &c.NodeUUID })},
	{"type", ironic.VersionVolumes, onCreate | onPatch | sortable, connectorType},
	{"connector_id", ironic.VersionVolumes, onCreate | onPatch | sortable, requiredText(func(c *store.VolumeConnector) *string { return &c.ConnectorID })},
	{"extra", ironic.VersionVolumes, onCreate | onPatch, object(func(c *store.VolumeConnector) *store.Object { return &c.Extra }, nil)},
	{"created_at", ironic.VersionVolumes, sortable, computed(func(c *store.VolumeConnector) any { return moment(&c.CreatedAt) })},
	{"updated_at", ironic.VersionVolumes, sortable, computed(func(c *store.VolumeConnector) any { return moment(c.UpdatedAt) })},
}

// targetFields are the attributes of a volume target (REST contract, section
// 9). Literal table.
var targetFields = fields[store.VolumeTarget]{
	{"uuid", ironic.VersionVolumes, onCreate | sortable, requiredUUID(func(t *store.VolumeTarget) *string { return &t.UUID })},
	{"node_uuid", ironic.VersionVolumes, onCreate | onPatch, requiredUUID(func(t *store.VolumeTarget) *string { return &t.NodeUUID })},
	{"volume_type", ironic.VersionVolumes, onCreate | onPatch | sortable, requiredText(func(t *store.VolumeTarget) *string { return &t.VolumeType })},
	{"boot_index", ironic.VersionVolumes, onCreate | onPatch | sortable, bootIndex},
	{"volume_id", ironic.VersionVolumes, onCreate | onPatch | sortable, requiredText(func(t *store.VolumeTarget) *string { return &t.VolumeID })},
	{"properties", ironic.VersionVolumes, onCreate | onPatch, object(func(t *store.VolumeTarget) *store.Object { return &t.Properties }, nil)},
	{"extra", ironic.VersionVolumes, onCreate | onPatch, object(func(t *store.VolumeTarget) *store.Object { return &t.Extra }, nil)},
	{"created_at", ironic.VersionVolumes, sortable, computed(func(t *store.VolumeTarget) any { return moment(&t.CreatedAt) })},
	{"updated_at", ironic.VersionVolumes, sortable, computed(func(t *store.VolumeTarget) any { return moment(t.UpdatedAt) })},
}

// Columns of lists that were not asked for others.
var (
	connectorListFields = []string{"uuid", "node_uuid", "type", "connector_id"}
	targetListFields    = []string{"uuid", "node_uuid", "volume_type", "boot_index", "volume_id"}
)

// connectorTypes are what a volume connector can be.
var connectorTypes = []string{"iqn", "ip", "mac", "wwnn", "wwpn", "port", "portgroup"}

// Columns with rules of their own.
var (
	connectorType = column[store.VolumeConnector]{
		get: func(c *store.VolumeConnector) any { return c.Type },
		set: func(c *store.VolumeConnector, v any) error {
			c.Type, _ = v.(string)
			if !slices.Contains(connectorTypes, c.Type) {
				return fmt.Errorf("expected one of %s", strings.Join(connectorTypes, ", "))
			}
			return nil
		},
	}
	bootIndex = column[store.VolumeTarget]{
		get: func(t *store.VolumeTarget) any { return t.BootIndex },
		set: func(t *store.VolumeTarget, v any) error {
			n, ok := v.(float64)
			if !ok || n != math.Trunc(n) || math.Abs(n) > math.MaxInt32 {
				return errors.New("an integer is expected")
			}
			t.BootIndex = int64(n)
			return nil
		},
	}
)

// volumePageArgs are those of lists of volumes, whose ?detail= is as old as they are.
var volumePageArgs = slices.Concat(sliceArgs, []arg{fieldsArg, {name: "detail", kind: argFlag, doc: "Shows all attributes."}, {name: "node", kind: argIdent}})

// volumeFilters select volumes of a list. Literal table.
var volumeFilters = filters{{arg{name: "node", kind: argIdent}, whereNothing}}

func (s *Server) connectors() resource[store.VolumeConnector] {
	return resource[store.VolumeConnector]{
		kind: "Volume connector", key: "connectors", path: "volume/connectors", fields: connectorFields, defaults: connectorListFields,
		filters: volumeFilters, project: projectNodes, rows: s.store.VolumeConnectors, byUUID: s.store.VolumeConnector,
		head:   func(c *store.VolumeConnector) (int64, string) { return c.ID, c.UUID },
		unique: func(c *store.VolumeConnector) string { return "type " + c.Type + " and connector ID " + c.ConnectorID },
		view: func(r *request, c *store.VolumeConnector, names []string) map[string]any {
			out := connectorFields.view(c, r.version, names)
			out["links"] = links(r.base, "volume/connectors/"+c.UUID)
			return out
		},
	}
}

func (s *Server) targets() resource[store.VolumeTarget] {
	return resource[store.VolumeTarget]{
		kind: "Volume target", key: "targets", path: "volume/targets", fields: targetFields, defaults: targetListFields,
		filters: volumeFilters, project: projectNodes, rows: s.store.VolumeTargets, byUUID: s.store.VolumeTarget,
		head: func(t *store.VolumeTarget) (int64, string) { return t.ID, t.UUID },
		unique: func(t *store.VolumeTarget) string {
			return fmt.Sprintf("boot index '%d' for the same node", t.BootIndex)
		},
		view: s.targetView,
	}
}

// targetView hides the secrets among the properties, or all of them from who
// may not see any.
func (s *Server) targetView(r *request, t *store.VolumeTarget, names []string) map[string]any {
	out := targetFields.view(t, r.version, names)
	if properties, shown := out["properties"]; shown {
		out["properties"] = s.shownProperties(r, properties)
	}
	out["links"] = links(r.base, "volume/targets/"+t.UUID)
	return out
}

// volumes is the document that leads to connectors and targets. below is what
// they are below, with a slash at the end.
func volumes(r *request, below string) map[string]any {
	return map[string]any{
		"links":      links(r.base, below),
		"connectors": links(r.base, below+"connectors"),
		"targets":    links(r.base, below+"targets"),
	}
}

func (s *Server) showVolume(ctx context.Context, r *request) (reply, error) {
	r.permitted = true // it tells nothing of anybody's
	return ok(volumes(r, "volume/"))
}

func (s *Server) showNodeVolume(ctx context.Context, r *request) (reply, error) {
	n, err := s.node(ctx, r)
	if err != nil {
		return reply{}, err
	}
	return ok(volumes(r, "nodes/"+n.UUID+"/volume/"))
}

// volumeQuery makes the path of a list of connectors or targets, and the
// condition that names a node: that of the path, or of the arguments.
func (s *Server) volumeQuery(ctx context.Context, r *request, table, what string) (path string, q store.Query, err error) {
	path = "volume/" + what
	ident, ofNode := r.params["node"]
	if !ofNode {
		if !r.args.has("node") {
			return path, q, nil
		}
		if ident, err = r.args.text("node"); err != nil {
			return path, q, err
		}
	}
	n, err := s.nodeByIdent(ctx, r, ident)
	if err != nil {
		return path, q, err
	}
	if ofNode {
		path = "nodes/" + n.UUID + "/" + path
	}
	q.Where, q.Args = []string{table + ".node_id = ?"}, []any{n.ID}
	return path, q, nil
}

func (s *Server) listConnectors(ctx context.Context, r *request) (reply, error) {
	path, q, err := s.volumeQuery(ctx, r, "volume_connectors", "connectors")
	if err != nil {
		return reply{}, err
	}
	return s.connectors().below(path).page(ctx, s, r, q)
}

func (s *Server) listTargets(ctx context.Context, r *request) (reply, error) {
	path, q, err := s.volumeQuery(ctx, r, "volume_targets", "targets")
	if err != nil {
		return reply{}, err
	}
	return s.targets().below(path).page(ctx, s, r, q)
}

// connector finds the volume connector that the path names.
func (s *Server) connector(ctx context.Context, r *request) (*store.VolumeConnector, error) {
	ident := r.params["connector"]
	c, err := s.connectors().find(ctx, r, ident)
	if err != nil {
		return nil, err
	}
	return c, s.permitNodeOf(ctx, r, c.NodeID, s.connectors().none(ident))
}

// target finds the volume target that the path names.
func (s *Server) target(ctx context.Context, r *request) (*store.VolumeTarget, error) {
	ident := r.params["target"]
	t, err := s.targets().find(ctx, r, ident)
	if err != nil {
		return nil, err
	}
	return t, s.permitNodeOf(ctx, r, t.NodeID, s.targets().none(ident))
}

func (s *Server) showConnector(ctx context.Context, r *request) (reply, error) {
	return s.connectors().show(ctx, r, s.connector)
}

func (s *Server) showTarget(ctx context.Context, r *request) (reply, error) {
	return s.targets().show(ctx, r, s.target)
}

// checkPoweredOff refuses changes of the volumes of nodes that may be using them.
func checkPoweredOff(action string, nodes ...*store.Node) error {
	for _, n := range nodes {
		if n.PowerState == nil || *n.PowerState != ironic.PowerOff {
			return badRequest("The requested action %q can not be performed on node %q while it is in power state %q.", action, n.UUID, textOr(n.PowerState, "None"))
		}
	}
	return nil
}

// deleteVolume removes what belongs to the node, which has to be off.
func (s *Server) deleteVolume(ctx context.Context, nodeID int64, action string, remove func(ctx context.Context) error) (reply, error) {
	err := s.conductor.WithNode(ctx, nodeID, action, func(ctx context.Context, n *store.Node) error {
		if err := checkPoweredOff(action, n); err != nil {
			return err
		}
		return remove(ctx)
	})
	if err != nil {
		return reply{}, err
	}
	return noContent()
}
