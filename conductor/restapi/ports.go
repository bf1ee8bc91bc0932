package restapi

import (
	"context"
	"errors"
	"net/http"
	"slices"

	"ferric/api"
	"ferric/api/ironic"
	"ferric/conductor/provision"
	"ferric/conductor/store"
)

// portFilters select ports of a list. Those that name another resource are
// looked up by portQuery. Literal table.
var portFilters = filters{
	{arg{name: "address", kind: argText}, whereAddress("ports.address = ?")},
	{arg{name: "node", kind: argIdent, since: ironic.VersionInspect}, whereNothing},
	{arg{name: "node_uuid", kind: argUUID}, whereNothing},
	{arg{name: "portgroup", kind: argIdent, since: ironic.VersionPortgroupPorts}, whereNothing},
	{arg{name: "shard", kind: argNames, since: ironic.VersionShards}, whereIn("nodes.shard")},
	{arg{name: "description_contains", kind: argText, since: ironic.VersionPortDescription}, whereText("instr(ports.description, ?) > 0")},
	{arg{name: "conductor_groups", kind: argNames, since: ironic.VersionPortConductorGroups}, whereIn("nodes.conductor_group")},
}

func (s *Server) ports() resource[store.Port] {
	return resource[store.Port]{
		kind: "Port", key: "ports", path: "ports", fields: portFields, defaults: portListFields, filters: portFilters, project: projectNodes,
		rows: s.store.Ports, byUUID: s.store.Port, byName: s.store.PortByName,
		head: func(p *store.Port) (int64, string) { return p.ID, p.UUID },
		view: func(r *request, p *store.Port, names []string) map[string]any {
			return PortView(p, r.version, r.base, names)
		},
	}
}

func (s *Server) listPorts(ctx context.Context, r *request) (reply, error) {
	q, err := s.portQuery(ctx, r, nil, nil)
	if err != nil {
		return reply{}, err
	}
	return s.ports().page(ctx, s, r, q)
}

func (s *Server) listPortsDetail(ctx context.Context, r *request) (reply, error) {
	q, err := s.portQuery(ctx, r, nil, nil)
	if err != nil {
		return reply{}, err
	}
	return s.ports().detail(ctx, s, r, q)
}

func (s *Server) listNodePorts(ctx context.Context, r *request) (reply, error) {
	path, q, err := s.nodePortQuery(ctx, r)
	if err != nil {
		return reply{}, err
	}
	return s.ports().below(path).page(ctx, s, r, q)
}

func (s *Server) listNodePortsDetail(ctx context.Context, r *request) (reply, error) {
	path, q, err := s.nodePortQuery(ctx, r)
	if err != nil {
		return reply{}, err
	}
	return s.ports().below(path).detail(ctx, s, r, q)
}

func (s *Server) nodePortQuery(ctx context.Context, r *request) (string, store.Query, error) {
	n, err := s.node(ctx, r)
	if err != nil {
		return "", store.Query{}, err
	}
	q, err := s.portQuery(ctx, r, n, nil)
	return "nodes/" + n.UUID + "/ports", q, err
}

// portQuery makes the conditions that name a node or a portgroup, which are
// those of the path, if given, or of the arguments.
func (s *Server) portQuery(ctx context.Context, r *request, n *store.Node, g *store.Portgroup) (store.Query, error) {
	var q store.Query
	ofNode := n != nil || r.args.has("node") || r.args.has("node_uuid")
	ofGroup := g != nil || r.args.has("portgroup")
	if count(ofNode, ofGroup, r.args.has("shard")) > 1 {
		return q, api.Errorf(http.StatusForbidden, "The filters node, portgroup and shard exclude each other.")
	}
	if r.args.has("conductor_groups") && (ofNode || ofGroup || r.args.has("address")) {
		return q, badRequest("Filtering by conductor_groups cannot be combined with the filters node, portgroup and address.")
	}
	var err error
	if n == nil {
		if n, err = s.nodeArgument(ctx, r); err != nil {
			return q, err
		}
	}
	if g == nil && ofGroup {
		ident, err := r.args.text("portgroup")
		if err != nil {
			return q, err
		}
		if g, err = s.portgroupByIdent(ctx, r, ident); err != nil {
			return q, err
		}
	}
	if n != nil {
		q.Where, q.Args = append(q.Where, "ports.node_id = ?"), append(q.Args, n.ID)
	}
	if g != nil {
		q.Where, q.Args = append(q.Where, "ports.portgroup_id = ?"), append(q.Args, g.ID)
	}
	return q, nil
}

// nodeArgument finds the node of a filter, nil where there is none. node_uuid
// is the older argument and goes first.
func (s *Server) nodeArgument(ctx context.Context, r *request) (*store.Node, error) {
	if r.args.has("node_uuid") {
		ident, err := r.args.uuid("node_uuid")
		if err != nil {
			return nil, err
		}
		return s.nodeByIdent(ctx, r, ident)
	}
	if !r.args.has("node") {
		return nil, nil
	}
	ident, err := r.args.text("node")
	if err != nil {
		return nil, err
	}
	return s.nodeByIdent(ctx, r, ident)
}

func count(conditions ...bool) int {
	n := 0
	for _, c := range conditions {
		if c {
			n++
		}
	}
	return n
}

// port finds the port that the path names, since 1.88 also by name; an address
// is no name.
func (s *Server) port(ctx context.Context, r *request) (*store.Port, error) {
	ident := r.params["port"]
	if !isUUID(ident) && r.version < ironic.VersionPortName && logicalName.MatchString(ident) {
		return nil, s.ports().none(ident) // there were no names then
	}
	p, err := s.ports().find(ctx, r, ident)
	if err != nil {
		return nil, err
	}
	return p, s.permitNodeOf(ctx, r, p.NodeID, s.ports().none(ident))
}

func isUUID(text string) bool {
	_, ok := parseUUID(text)
	return ok
}

func (s *Server) showPort(ctx context.Context, r *request) (reply, error) {
	return s.ports().show(ctx, r, s.port)
}

func (s *Server) createPort(ctx context.Context, r *request) (reply, error) {
	body, err := r.decodeObject()
	if err != nil {
		return reply{}, err
	}
	ident, err := portParent(r, body)
	if err != nil {
		return reply{}, err
	}
	p := store.NewPort()
	if err := portFields.fill(p, body, r.version); err != nil {
		return reply{}, err
	}
	if body["address"] == nil {
		return reply{}, badRequest("Mandatory field missing: address.")
	}
	if err := checkLinkConnection(p.LocalLinkConnection, r.version); err != nil {
		return reply{}, err
	}
	if p.IsSmartNIC && body["local_link_connection"] != nil && !hasForm(p.LocalLinkConnection, smartNICLink) {
		return reply{}, badRequest("A Smart NIC port needs port_id and hostname in local_link_connection.")
	}
	n, err := s.parentNode(ctx, r, ident)
	if err != nil {
		return reply{}, err
	}
	p.NodeID, p.NodeUUID = n.ID, n.UUID
	g, err := s.joinPortgroup(ctx, p)
	if err != nil {
		return reply{}, err
	}
	if g != nil && body["pxe_enabled"] != nil && p.PXEEnabled && !g.StandalonePortsSupported {
		return reply{}, conflict("Portgroup %s does not support standalone ports, so that a port with pxe_enabled cannot become a member.", g.UUID)
	}
	if err := s.insertPort(ctx, p, g); err != nil {
		return reply{}, s.ports().taken(err, p)
	}
	return s.ports().created(r, p)
}

// portParent is what a new port's body calls its node, by either of two members.
func portParent(r *request, body map[string]any) (string, error) {
	id, byUUID := body["node_uuid"]
	ident, byIdent := body["node_ident"]
	delete(body, "node_ident")
	switch {
	case byIdent && r.version < ironic.VersionPortNodeIdent:
		return "", notAcceptable("Attribute %q is not acceptable before API version 1.94.", "node_ident")
	case byUUID && byIdent:
		return "", badRequest("Only one of node_uuid and node_ident can be given.")
	case byIdent:
		id = ident
	case !byUUID:
		return "", badRequest("Mandatory field missing: node_uuid.")
	}
	text, ok := id.(string)
	if uuid, isUUID := parseUUID(text); isUUID {
		return uuid, nil
	}
	if byUUID || !ok || !logicalName.MatchString(text) {
		return "", badRequest("Expected the UUID of a node, or as node_ident its name, but received %v.", id)
	}
	return text, nil
}

// insertPort stores a new port. Only as a member of a portgroup does it depend
// on what else the node has.
func (s *Server) insertPort(ctx context.Context, p *store.Port, g *store.Portgroup) error {
	if g == nil {
		return s.store.CreatePort(ctx, p)
	}
	return s.conductor.WithNode(ctx, p.NodeID, "creation of port", func(ctx context.Context, _ *store.Node) error {
		if err := s.checkPhysicalNetwork(ctx, p, g); err != nil {
			return err
		}
		return s.store.CreatePort(ctx, p)
	})
}

// joinPortgroup resolves the portgroup that the port is to be a member of, nil
// for none.
func (s *Server) joinPortgroup(ctx context.Context, p *store.Port) (*store.Portgroup, error) {
	p.PortgroupID = nil
	if p.PortgroupUUID == nil {
		return nil, nil
	}
	g, err := s.store.Portgroup(ctx, *p.PortgroupUUID)
	if errors.Is(err, store.ErrNotFound) {
		return nil, badRequest("Portgroup %s could not be found.", *p.PortgroupUUID)
	}
	if err != nil {
		return nil, err
	}
	if g.NodeID != p.NodeID {
		return nil, badRequest("Port %s cannot be added to portgroup %s, which belongs to a different node.", p.Address, g.UUID)
	}
	p.PortgroupID = &g.ID
	return g, nil
}

// checkPhysicalNetwork refuses a member of a portgroup that is not in the
// network of the others.
func (s *Server) checkPhysicalNetwork(ctx context.Context, p *store.Port, g *store.Portgroup) error {
	members, err := s.store.PortgroupPorts(ctx, g.ID)
	if err != nil {
		return err
	}
	network, known := g.PhysicalNetwork, g.PhysicalNetwork != nil
	for _, m := range members {
		if m.ID != p.ID {
			network, known = m.PhysicalNetwork, true
		}
	}
	if known && !equal(network, p.PhysicalNetwork) {
		return conflict("A port in physical network %s cannot become a member of portgroup %s, which is in physical network %s.",
			textOr(p.PhysicalNetwork, "none"), g.UUID, textOr(network, "none"))
	}
	return nil
}

func (s *Server) deletePort(ctx context.Context, r *request) (reply, error) {
	if ident := r.params["port"]; !isUUID(ident) { // as in Ironic, a name is not enough
		return reply{}, badRequest("Expected UUID for port_uuid: %s", ident)
	}
	p, err := s.port(ctx, r)
	if err != nil {
		return reply{}, err
	}
	err = s.conductor.WithNode(ctx, p.NodeID, "deletion of port", func(ctx context.Context, n *store.Node) error {
		if p, err = s.store.Port(ctx, p.UUID); err != nil {
			return err
		}
		vif := attachedVIF(p.InternalInfo)
		if vif != "" && !n.Maintenance && (n.InstanceUUID != nil || n.ProvisionState == provision.Active) {
			return conflict("Cannot delete port %s: VIF %s is bound to it and node %s is in use.", p.UUID, vif, n.UUID)
		}
		return s.store.DeletePort(ctx, p.ID)
	})
	if err != nil {
		return reply{}, err
	}
	return noContent()
}

// vifKeys are where the internal_info of a port or portgroup keeps the VIF that
// it has for the instance, or while the conductor works. Literal table.
var vifKeys = []string{keyVIF, "provisioning_vif_port_id", "cleaning_vif_port_id", "rescuing_vif_port_id", "inspection_vif_port_id", "servicing_vif_port_id"}

func attachedVIF(info store.Object) string {
	for _, key := range vifKeys {
		if vif := info.String(key); vif != "" {
			return vif
		}
	}
	return ""
}

func (s *Server) portRoutes() []route {
	filters := portFilters.args()
	page, slice := slices.Concat(pageArgs, filters), slices.Concat(sliceArgs, filters)
	return slices.Concat([]route{
		{method: "GET", path: "/ports", policy: "baremetal:port:list", handle: s.listPorts, args: page, result: "Ports", doc: "Lists ports."},
		{method: "POST", path: "/ports", policy: "baremetal:port:create", handle: s.createPort, body: "Port", status: 201, result: "Port", doc: "Creates a port."},
		{method: "GET", path: "/ports/detail", policy: "baremetal:port:list", handle: s.listPortsDetail, args: slice, result: "Ports", doc: "Lists ports with all attributes."},
		{method: "GET", path: "/ports/:port", policy: "baremetal:port:get", handle: s.showPort, args: []arg{fieldsArg}, result: "Port", doc: "Shows a port."},
		{method: "PATCH", path: "/ports/:port", policy: "baremetal:port:update", handle: s.updatePort, body: "Port", result: "Port", doc: "Updates a port."},
		{method: "DELETE", path: "/ports/:port", policy: "baremetal:port:delete", handle: s.deletePort, status: 204, doc: "Deletes a port."},
		{method: "GET", path: "/nodes/:node/ports", policy: "baremetal:port:list", handle: s.listNodePorts, args: page, result: "Ports", doc: "Lists the ports of a node."},
		{method: "GET", path: "/nodes/:node/ports/detail", policy: "baremetal:port:list", handle: s.listNodePortsDetail, args: slice, result: "Ports", doc: "Lists the ports of a node with all attributes."},
	}, refusals("/nodes/:node/ports", "baremetal:port", ironic.VersionMin))
}
