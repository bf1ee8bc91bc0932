package restapi

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"

	"github.com/google/uuid"

	"ferric/api"
	"ferric/api/ironic"
	"ferric/conductor/store"
)

// portgroupFields are the attributes of a portgroup with the microversion that
// each appeared in (REST contract, section 5). Literal table.
var portgroupFields = fields[store.Portgroup]{
	{"uuid", ironic.VersionPortgroups, onCreate | sortable, requiredUUID(func(g *store.Portgroup) *string { return &g.UUID })},
	{"name", ironic.VersionPortgroups, onCreate | onPatch | sortable, optionalText(func(g *store.Portgroup) **string { return &g.Name }, 255)},
	{"address", ironic.VersionPortgroups, onCreate | onPatch | sortable, portgroupAddress},
	{"node_uuid", ironic.VersionPortgroups, onCreate | onPatch, requiredUUID(func(g *store.Portgroup) *string { return &g.NodeUUID })},
	{"extra", ironic.VersionPortgroups, onCreate | onPatch, object(func(g *store.Portgroup) *store.Object { return &g.Extra }, nil)},
	{"internal_info", ironic.VersionPortgroups, readOnly, computed(func(g *store.Portgroup) any { return orEmpty(g.InternalInfo) })},
	{"standalone_ports_supported", ironic.VersionPortgroups, onCreate | onPatch | sortable, flag(func(g *store.Portgroup) *bool { return &g.StandalonePortsSupported }, true)},
	{"mode", ironic.VersionPortgroupMode, onCreate | onPatch | sortable, portgroupMode},
	{"properties", ironic.VersionPortgroupMode, onCreate | onPatch, object(func(g *store.Portgroup) *store.Object { return &g.Properties }, nil)},
	{"physical_network", ironic.VersionPortgroupNetwork, onCreate | onPatch | sortable, physicalNetwork(func(g *store.Portgroup) **string { return &g.PhysicalNetwork })},
	{"category", ironic.VersionPortgroupCategory, onCreate | onPatch | sortable, optionalText(func(g *store.Portgroup) **string { return &g.Category }, 80)},
	{"dynamic_portgroup", ironic.VersionDynamicPortgroups, sortable, computed(func(g *store.Portgroup) any { return g.DynamicPortgroup })},
	{"ports", ironic.VersionPortgroups, readOnly, computed(func(*store.Portgroup) any { return nil })}, // see portgroupView
	{"created_at", ironic.VersionPortgroups, sortable, computed(func(g *store.Portgroup) any { return moment(&g.CreatedAt) })},
	{"updated_at", ironic.VersionPortgroups, sortable, computed(func(g *store.Portgroup) any { return moment(g.UpdatedAt) })},
}

// portgroupListFields are the columns of a list that was not asked for others.
var portgroupListFields = []string{"uuid", "name", "address"}

// portgroupFilters select portgroups of a list. Literal table.
var portgroupFilters = filters{
	{arg{name: "node", kind: argIdent}, whereNothing},
	{arg{name: "address", kind: argText}, whereAddress("portgroups.address = ?")},
	{arg{name: "conductor_groups", kind: argNames, since: ironic.VersionPortConductorGroups}, whereIn("nodes.conductor_group")},
	{arg{name: "shard", kind: argNames, since: ironic.VersionPortgroupShard}, whereIn("nodes.shard")},
}

// Columns of a portgroup with rules of their own.
var (
	portgroupAddress = column[store.Portgroup]{
		get: func(g *store.Portgroup) any { return g.Address },
		set: func(g *store.Portgroup, v any) error {
			g.Address = nil
			if v == nil {
				return nil
			}
			s, _ := v.(string)
			mac, ok := parseMAC(s)
			if !ok {
				return fmt.Errorf("expected a MAC address but received %v", v)
			}
			g.Address = &mac
			return nil
		},
	}
	portgroupMode = column[store.Portgroup]{
		get: func(g *store.Portgroup) any { return g.Mode },
		set: func(g *store.Portgroup, v any) (err error) {
			if v == nil || v == "" { // it keeps the one that it has
				return nil
			}
			g.Mode, err = textValue(v, 255)
			return err
		},
	}
)

func portgroupView(r *request, g *store.Portgroup, names []string) map[string]any {
	out := portgroupFields.view(g, r.version, names)
	if _, shown := out["ports"]; shown {
		out["ports"] = links(r.base, "portgroups/"+g.UUID+"/ports")
	}
	out["links"] = links(r.base, "portgroups/"+g.UUID)
	return out
}

func (s *Server) portgroups() resource[store.Portgroup] {
	return resource[store.Portgroup]{
		kind: "Portgroup", key: "portgroups", path: "portgroups", fields: portgroupFields, defaults: portgroupListFields,
		filters: portgroupFilters, project: projectNodes, view: portgroupView,
		rows: s.store.Portgroups, byUUID: s.store.Portgroup, byName: s.store.PortgroupByName,
		head: func(g *store.Portgroup) (int64, string) { return g.ID, g.UUID },
	}
}

// portgroup finds the portgroup that the path names, by UUID or name.
func (s *Server) portgroup(ctx context.Context, r *request) (*store.Portgroup, error) {
	return s.portgroupByIdent(ctx, r, r.params["portgroup"])
}

func (s *Server) portgroupByIdent(ctx context.Context, r *request, ident string) (*store.Portgroup, error) {
	g, err := s.portgroups().find(ctx, r, ident)
	if err != nil {
		return nil, err
	}
	return g, s.permitNodeOf(ctx, r, g.NodeID, s.portgroups().none(ident))
}

// portgroupQuery makes the condition that names a node, which is that of the
// path, if given, or of the arguments.
func (s *Server) portgroupQuery(ctx context.Context, r *request, n *store.Node) (store.Query, error) {
	var q store.Query
	ofNode := n != nil || r.args.has("node")
	if ofNode && r.args.has("shard") {
		return q, api.Errorf(http.StatusForbidden, "The filters node and shard exclude each other.")
	}
	if count(ofNode, r.args.has("address"), r.args.has("shard"), r.args.has("conductor_groups")) > 1 {
		return q, badRequest("Filtering by node, address, shard or conductor_groups simultaneously is not supported.")
	}
	if n == nil && ofNode {
		ident, err := r.args.text("node")
		if err != nil {
			return q, err
		}
		if n, err = s.nodeByIdent(ctx, r, ident); err != nil {
			return q, err
		}
	}
	if n != nil {
		q.Where, q.Args = []string{"portgroups.node_id = ?"}, []any{n.ID}
	}
	return q, nil
}

func (s *Server) listPortgroups(ctx context.Context, r *request) (reply, error) {
	q, err := s.portgroupQuery(ctx, r, nil)
	if err != nil {
		return reply{}, err
	}
	return s.portgroups().page(ctx, s, r, q)
}

func (s *Server) listPortgroupsDetail(ctx context.Context, r *request) (reply, error) {
	q, err := s.portgroupQuery(ctx, r, nil)
	if err != nil {
		return reply{}, err
	}
	return s.portgroups().detail(ctx, s, r, q)
}

func (s *Server) listNodePortgroups(ctx context.Context, r *request) (reply, error) {
	path, q, err := s.nodePortgroupQuery(ctx, r)
	if err != nil {
		return reply{}, err
	}
	return s.portgroups().below(path).page(ctx, s, r, q)
}

func (s *Server) listNodePortgroupsDetail(ctx context.Context, r *request) (reply, error) {
	path, q, err := s.nodePortgroupQuery(ctx, r)
	if err != nil {
		return reply{}, err
	}
	return s.portgroups().below(path).detail(ctx, s, r, q)
}

func (s *Server) nodePortgroupQuery(ctx context.Context, r *request) (string, store.Query, error) {
	n, err := s.node(ctx, r)
	if err != nil {
		return "", store.Query{}, err
	}
	q, err := s.portgroupQuery(ctx, r, n)
	return "nodes/" + n.UUID + "/portgroups", q, err
}

func (s *Server) listPortgroupPorts(ctx context.Context, r *request) (reply, error) {
	path, q, err := s.portgroupPortQuery(ctx, r)
	if err != nil {
		return reply{}, err
	}
	return s.ports().below(path).page(ctx, s, r, q)
}

func (s *Server) listPortgroupPortsDetail(ctx context.Context, r *request) (reply, error) {
	path, q, err := s.portgroupPortQuery(ctx, r)
	if err != nil {
		return reply{}, err
	}
	return s.ports().below(path).detail(ctx, s, r, q)
}

func (s *Server) portgroupPortQuery(ctx context.Context, r *request) (string, store.Query, error) {
	g, err := s.portgroup(ctx, r)
	if err != nil {
		return "", store.Query{}, err
	}
	q, err := s.portQuery(ctx, r, nil, g)
	return "portgroups/" + g.UUID + "/ports", q, err
}

func (s *Server) showPortgroup(ctx context.Context, r *request) (reply, error) {
	return s.portgroups().show(ctx, r, s.portgroup)
}

func (s *Server) createPortgroup(ctx context.Context, r *request) (reply, error) {
	g := &store.Portgroup{UUID: uuid.NewString(), Mode: s.cfg.DefaultPortgroupMode, StandalonePortsSupported: true,
		Properties: store.Object{}, Extra: store.Object{}, InternalInfo: store.Object{}}
	if err := portgroupFields.read(r, g, "node_uuid"); err != nil {
		return reply{}, err
	}
	if err := checkPortgroupName(g); err != nil {
		return reply{}, err
	}
	n, err := s.parentNode(ctx, r, g.NodeUUID)
	if err != nil {
		return reply{}, err
	}
	g.NodeID = n.ID
	if err := s.store.CreatePortgroup(ctx, g); err != nil {
		return reply{}, s.portgroups().taken(err, g)
	}
	return s.portgroups().created(r, g)
}

func checkPortgroupName(g *store.Portgroup) error {
	if g.Name != nil && !logicalName.MatchString(*g.Name) {
		return badRequest("The name %q is not valid for a portgroup.", *g.Name)
	}
	return nil
}

func (s *Server) deletePortgroup(ctx context.Context, r *request) (reply, error) {
	g, err := s.portgroup(ctx, r)
	if err != nil {
		return reply{}, err
	}
	err = s.conductor.WithNode(ctx, g.NodeID, "deletion of portgroup", func(ctx context.Context, _ *store.Node) error {
		return s.store.DeletePortgroup(ctx, g.ID)
	})
	if errors.Is(err, store.ErrNotEmpty) {
		return reply{}, badRequest("Cannot delete portgroup %s because it contains ports.", g.UUID)
	}
	if err != nil {
		return reply{}, err
	}
	return noContent()
}

func (s *Server) portgroupRoutes() []route {
	filters := portgroupFilters.args()
	page, slice := slices.Concat(pageArgs, filters), slices.Concat(sliceArgs, filters)
	portPage, portSlice := slices.Concat(pageArgs, portFilters.args()), slices.Concat(sliceArgs, portFilters.args())
	return slices.Concat([]route{
		{method: "GET", path: "/portgroups", policy: "baremetal:portgroup:list", since: ironic.VersionPortgroups, handle: s.listPortgroups, args: page, result: "Portgroups", doc: "Lists portgroups."},
		{method: "POST", path: "/portgroups", policy: "baremetal:portgroup:create", since: ironic.VersionPortgroups, handle: s.createPortgroup, body: "Portgroup", status: 201, result: "Portgroup", doc: "Creates a portgroup."},
		{method: "GET", path: "/portgroups/detail", policy: "baremetal:portgroup:list", since: ironic.VersionPortgroups, handle: s.listPortgroupsDetail, args: slice, result: "Portgroups", doc: "Lists portgroups with all attributes."},
		{method: "GET", path: "/portgroups/:portgroup", policy: "baremetal:portgroup:get", since: ironic.VersionPortgroups, handle: s.showPortgroup, args: []arg{fieldsArg}, result: "Portgroup", doc: "Shows a portgroup."},
		{method: "PATCH", path: "/portgroups/:portgroup", policy: "baremetal:portgroup:update", since: ironic.VersionPortgroups, handle: s.updatePortgroup, body: "Portgroup", result: "Portgroup", doc: "Updates a portgroup."},
		{method: "DELETE", path: "/portgroups/:portgroup", policy: "baremetal:portgroup:delete", since: ironic.VersionPortgroups, handle: s.deletePortgroup, status: 204, doc: "Deletes a portgroup that has no ports."},
		{method: "GET", path: "/portgroups/:portgroup/ports", policy: "baremetal:port:list", since: ironic.VersionPortgroupPorts, handle: s.listPortgroupPorts, args: portPage, result: "Ports", doc: "Lists the ports of a portgroup."},
		{method: "GET", path: "/portgroups/:portgroup/ports/detail", policy: "baremetal:port:list", since: ironic.VersionPortgroupPorts, handle: s.listPortgroupPortsDetail, args: portSlice, result: "Ports", doc: "Lists the ports of a portgroup with all attributes."},
		{method: "GET", path: "/nodes/:node/portgroups", policy: "baremetal:portgroup:list", since: ironic.VersionPortgroupPorts, handle: s.listNodePortgroups, args: page, result: "Portgroups", doc: "Lists the portgroups of a node."},
		{method: "GET", path: "/nodes/:node/portgroups/detail", policy: "baremetal:portgroup:list", since: ironic.VersionPortgroupPorts, handle: s.listNodePortgroupsDetail, args: slice, result: "Portgroups", doc: "Lists the portgroups of a node with all attributes."},
	}, refusals("/nodes/:node/portgroups", "baremetal:portgroup", ironic.VersionPortgroupPorts), refusals("/portgroups/:portgroup/ports", "baremetal:port", ironic.VersionPortgroupPorts))
}
