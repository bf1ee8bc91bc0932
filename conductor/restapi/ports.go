package restapi

import (
	"context"
	"errors"
	"net/http"
	"slices"

	"github.com/google/uuid"

	"ferric/api"
	"ferric/api/ironic"
	"ferric/conductor/provision"
	"ferric/conductor/store"
)

// portFilters select ports of GET /v1/ports. Literal table.
var portFilters = filters{
	{arg{name: "address", kind: argText}, whereAddress("ports.address = ?")},
	{arg{name: "node", kind: argIdent, since: 6}, whereNothing},
	{arg{name: "node_uuid", kind: argUUID}, whereNothing},
	{arg{name: "portgroup", kind: argIdent, since: 24}, whereNothing},
	{arg{name: "shard", kind: argNames, since: 82}, whereIn("nodes.shard")},
}

func (s *Server) listPorts(ctx context.Context, r *request) (reply, error) {
	return s.portPage(ctx, r, "ports", nil, false)
}

func (s *Server) listPortsDetail(ctx context.Context, r *request) (reply, error) {
	return s.portPage(ctx, r, "ports/detail", nil, true)
}

func (s *Server) listNodePorts(ctx context.Context, r *request) (reply, error) {
	n, err := s.node(ctx, r)
	if err != nil {
		return reply{}, err
	}
	return s.portPage(ctx, r, "nodes/"+n.UUID+"/ports", n, false)
}

func (s *Server) listNodePortsDetail(ctx context.Context, r *request) (reply, error) {
	n, err := s.node(ctx, r)
	if err != nil {
		return reply{}, err
	}
	return s.portPage(ctx, r, "nodes/"+n.UUID+"/ports/detail", n, true)
}

// refuseSubPort: ports are made and shown under /v1/ports only.
func (s *Server) refuseSubPort(ctx context.Context, r *request) (reply, error) {
	return reply{}, badRequest("The operation is not permitted below a node; use /v1/ports.")
}

// portPage lists ports, those of one node where n is given.
func (s *Server) portPage(ctx context.Context, r *request, path string, n *store.Node, detail bool) (reply, error) {
	a := r.args
	defaults := portListFields
	if detail {
		if a.has("fields") || a.has("detail") {
			return reply{}, badRequest("Can't fetch a subset of fields of a detailed list.")
		}
		defaults = nil
	}
	p, err := pageOf(a, portFields, r.version, s.cfg.MaxLimit, defaults)
	if err != nil {
		return reply{}, err
	}
	q := store.Query{SortKey: p.sortKey, Desc: p.desc, Limit: p.limit}
	if n != nil {
		q.Where, q.Args = append(q.Where, "node_id = ?"), append(q.Args, n.ID)
	}
	if err := s.filterPorts(ctx, r, &q, a); err != nil {
		return reply{}, err
	}
	r.onlyProject(&q, projectNodesOf)
	if err := s.portsAfter(ctx, &q, p); err != nil {
		return reply{}, err
	}
	ports, err := s.store.Ports(ctx, q)
	if err != nil {
		return reply{}, err
	}
	views := []map[string]any{}
	for _, port := range ports {
		views = append(views, PortView(port, r.version, r.base, p.fields))
	}
	body := map[string]any{"ports": views}
	if len(ports) > 0 && len(ports) == p.limit {
		body["next"] = p.next(r.base, path, ports[len(ports)-1].UUID, a)
	}
	return ok(body)
}

// portsAfter continues behind the marker in whatever order is asked for.
func (s *Server) portsAfter(ctx context.Context, q *store.Query, p page) error {
	if p.marker == "" {
		return nil
	}
	marker, err := s.store.Port(ctx, p.marker)
	if errors.Is(err, store.ErrNotFound) {
		return notFound("Port %s could not be found.", p.marker)
	}
	if err != nil {
		return err
	}
	q.After = marker.ID
	return nil
}

func (s *Server) filterPorts(ctx context.Context, r *request, q *store.Query, a arguments) error {
	given := 0
	for _, name := range []string{"node", "node_uuid", "portgroup", "shard"} {
		if a.has(name) {
			given++
		}
	}
	if given > 1 {
		return api.Errorf(http.StatusForbidden, "The filters node, node_uuid, portgroup and shard exclude each other.")
	}
	if a.has("portgroup") {
		return notFound("Portgroup %v could not be found.", a.values["portgroup"])
	}
	where, args, err := portFilters.conditions(a)
	if err != nil {
		return err
	}
	q.Where, q.Args = append(q.Where, where...), append(q.Args, args...)
	return s.filterPortsByNode(ctx, r, q, a)
}

func (s *Server) filterPortsByNode(ctx context.Context, r *request, q *store.Query, a arguments) error {
	for _, name := range []string{"node", "node_uuid"} {
		ident, err := a.text(name)
		if err != nil {
			return err
		}
		if ident == "" {
			continue
		}
		n, err := s.nodeByIdent(ctx, r, ident)
		if err != nil {
			return err
		}
		q.Where, q.Args = append(q.Where, "node_id = ?"), append(q.Args, n.ID)
	}
	return nil
}

// port finds the port that the path names; an address is no name.
func (s *Server) port(ctx context.Context, r *request) (*store.Port, error) {
	ident := r.params["port"]
	id, ok := parseUUID(ident)
	if !ok {
		return nil, badRequest("Expected a UUID but received %q.", ident)
	}
	p, err := s.store.Port(ctx, id)
	missing := notFound("Port %s could not be found.", ident)
	if errors.Is(err, store.ErrNotFound) {
		return nil, missing
	}
	if err != nil {
		return nil, err
	}
	return p, s.permitNodeOf(ctx, r, p.NodeID, missing)
}

func (s *Server) showPort(ctx context.Context, r *request) (reply, error) {
	a := r.args
	names, err := chosenFields(a, portFields, r.version)
	if err != nil {
		return reply{}, err
	}
	p, err := s.port(ctx, r)
	if err != nil {
		return reply{}, err
	}
	return ok(PortView(p, r.version, r.base, names))
}

func (s *Server) createPort(ctx context.Context, r *request) (reply, error) {
	body, err := r.decodeObject()
	if err != nil {
		return reply{}, err
	}
	p := &store.Port{UUID: uuid.NewString(), PXEEnabled: true, LocalLinkConnection: store.Object{}, Extra: store.Object{}, InternalInfo: store.Object{}}
	if err := portFields.fill(p, body, r.version); err != nil {
		return reply{}, err
	}
	for _, name := range []string{"address", "node_uuid"} {
		if body[name] == nil {
			return reply{}, badRequest("Mandatory field missing: %s.", name)
		}
	}
	if err := checkLinkConnection(p.LocalLinkConnection, r.version); err != nil {
		return reply{}, err
	}
	missing := badRequest("Node %s could not be found.", p.NodeUUID)
	n, err := s.store.Node(ctx, p.NodeUUID)
	if errors.Is(err, store.ErrNotFound) {
		return reply{}, missing
	}
	if err != nil {
		return reply{}, err
	}
	if err := s.permitNode(r, n, missing); err != nil {
		return reply{}, err
	}
	p.NodeID = n.ID
	if err := s.conductor.CreatePort(ctx, p); err != nil {
		return reply{}, portConflict(err, p)
	}
	return reply{status: http.StatusCreated, body: PortView(p, r.version, r.base, nil), location: r.base + "/v1/ports/" + p.UUID}, nil
}

// portConflict names the address that is taken.
func portConflict(err error, p *store.Port) error {
	var duplicate *store.DuplicateError
	if errors.As(err, &duplicate) && duplicate.Column == "address" {
		return conflict("A port with MAC address %s already exists.", p.Address)
	}
	return err
}

// wiringStates are the states in which it may change how a port is wired.
var wiringStates = []provision.State{provision.Enroll, provision.Inspecting, provision.InspectWait, provision.Manageable}

func (s *Server) updatePort(ctx context.Context, r *request) (reply, error) {
	p, err := s.port(ctx, r)
	if err != nil {
		return reply{}, err
	}
	patch, err := api.ParsePatch(r.body)
	if err != nil {
		return reply{}, err
	}
	if err := portFields.checkPatch(patch, r.version); err != nil {
		return reply{}, err
	}
	change := func(p *store.Port, n *store.Node) error { return changePort(p, n, patch, r.version) }
	n, err := s.store.NodeByID(ctx, p.NodeID)
	if err != nil {
		return reply{}, err
	}
	// What is wrong by itself is said at once, not after waiting for the lock.
	trial := *p
	if err := change(&trial, n); err != nil {
		return reply{}, err
	}
	updated, err := s.conductor.UpdatePort(ctx, p, change)
	if err != nil {
		return reply{}, portConflict(err, &trial)
	}
	return ok(PortView(updated, r.version, r.base, nil))
}

// changePort applies a patch to the row, with the checks of section 4.
func changePort(p *store.Port, n *store.Node, patch api.Patch, v ironic.Version) error {
	before := *p
	if err := portFields.patch(p, patch); err != nil {
		return err
	}
	if p.NodeUUID != before.NodeUUID {
		return badRequest("Port %s cannot be moved to another node.", p.UUID)
	}
	if err := checkLinkConnection(p.LocalLinkConnection, v); err != nil {
		return err
	}
	if n.Maintenance {
		return nil
	}
	if p.Address != before.Address && (n.InstanceUUID != nil || n.ProvisionState == provision.Active) {
		return conflict("Cannot change the address of port %s while its node %s is in use and not in maintenance.", p.UUID, n.UUID)
	}
	if slices.Contains(wiringStates, n.ProvisionState) {
		return nil
	}
	for _, root := range patch.Roots() {
		if slices.Contains([]string{"portgroup_uuid", "pxe_enabled", "local_link_connection", "physical_network"}, root) {
			return conflict("Cannot change %s of port %s while its node %s is in state %q and not in maintenance.", root, p.UUID, n.UUID, n.ProvisionState)
		}
	}
	return nil
}

func (s *Server) deletePort(ctx context.Context, r *request) (reply, error) {
	p, err := s.port(ctx, r)
	if err != nil {
		return reply{}, err
	}
	n, err := s.store.NodeByID(ctx, p.NodeID)
	if err != nil {
		return reply{}, err
	}
	if vif := p.InternalInfo.String(keyVIF); vif != "" && !n.Maintenance && (n.InstanceUUID != nil || n.ProvisionState == provision.Active) {
		return reply{}, conflict("Cannot delete port %s: VIF %s is bound to it and node %s is in use.", p.UUID, vif, n.UUID)
	}
	if err := s.conductor.DeletePort(ctx, p); err != nil {
		return reply{}, err
	}
	return noContent()
}

func (s *Server) portRoutes() []route {
	filters := portFilters.args()
	return []route{
		{method: "GET", path: "/ports", policy: "baremetal:port:list", handle: s.listPorts, args: slices.Concat(pageArgs, filters), result: "Ports", doc: "Lists ports."},
		{method: "POST", path: "/ports", policy: "baremetal:port:create", handle: s.createPort, body: "Port", status: 201, result: "Port", doc: "Creates a port."},
		{method: "GET", path: "/ports/detail", policy: "baremetal:port:list", handle: s.listPortsDetail, args: slices.Concat(sliceArgs, filters), result: "Ports", doc: "Lists ports with all attributes."},
		{method: "GET", path: "/ports/:port", policy: "baremetal:port:get", handle: s.showPort, args: []arg{fieldsArg}, result: "Port", doc: "Shows a port."},
		{method: "PATCH", path: "/ports/:port", policy: "baremetal:port:update", handle: s.updatePort, body: "Port", result: "Port", doc: "Updates a port."},
		{method: "DELETE", path: "/ports/:port", policy: "baremetal:port:delete", handle: s.deletePort, status: 204, doc: "Deletes a port."},
		{method: "GET", path: "/nodes/:node/ports", policy: "baremetal:port:list", handle: s.listNodePorts, args: pageArgs, result: "Ports", doc: "Lists the ports of a node."},
		{method: "GET", path: "/nodes/:node/ports/detail", policy: "baremetal:port:list", handle: s.listNodePortsDetail, args: sliceArgs, result: "Ports", doc: "Lists the ports of a node with all attributes."},
		{method: "POST", path: "/nodes/:node/ports", policy: "baremetal:port:create", handle: s.refuseSubPort, doc: "Is refused; ports are created at /v1/ports."},
		{method: "GET", path: "/nodes/:node/ports/:port", policy: "baremetal:port:get", handle: s.refuseSubPort, doc: "Is refused; ports are shown at /v1/ports."},
	}
}
