package restapi

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"ferric/api/ironic"
	"ferric/conductor/provision"
	"ferric/conductor/store"
)

// node finds the node that the path names, by UUID or (since 1.5) by name.
func (s *Server) node(ctx context.Context, r *request) (*store.Node, error) {
	return s.nodeByIdent(ctx, r, r.params["node"])
}

func (s *Server) nodeByIdent(ctx context.Context, r *request, ident string) (*store.Node, error) {
	n, err := s.findNode(ctx, r, ident)
	if err != nil {
		return nil, err
	}
	return n, s.permitNode(r, n, nodeNotFound(ident))
}

func (s *Server) findNode(ctx context.Context, r *request, ident string) (*store.Node, error) {
	if id, ok := parseUUID(ident); ok {
		return s.missingNode(ident)(s.store.Node(ctx, id))
	}
	if r.version < ironic.VersionNodeName {
		return nil, s.nameTooNew(ctx, r, ident)
	}
	if !logicalName.MatchString(ident) || r.version < ironic.VersionAnyNodeName && !hostnameSafe.MatchString(ident) {
		return nil, badRequest("Expected a logical name or UUID but received %q.", ident)
	}
	n, err := s.store.Node(ctx, ident)
	if errors.Is(err, store.ErrNotFound) && r.jsonSuffix {
		n, err = s.store.Node(ctx, ident+".json")
	}
	return s.missingNode(ident)(n, err)
}

// nameTooNew tells a client that is older than names that the node is there
// (REST contract, section 3.2), and of any other name what Ironic tells it: there
// is no such node.
func (s *Server) nameTooNew(ctx context.Context, r *request, ident string) error {
	n, err := s.missingNode(ident)(s.store.Node(ctx, ident))
	if err != nil {
		return err
	}
	if s.permitNode(r, n, nodeNotFound(ident)) != nil {
		return nodeNotFound(ident)
	}
	return notAcceptable("Names of nodes are not acceptable before API version %s.", ironic.VersionNodeName)
}

func nodeNotFound(ident string) error { return notFound("Node %s could not be found.", ident) }

// missingNode words the error for a node that does not exist.
func (s *Server) missingNode(ident string) func(*store.Node, error) (*store.Node, error) {
	return func(n *store.Node, err error) (*store.Node, error) {
		if errors.Is(err, store.ErrNotFound) {
			return nil, nodeNotFound(ident)
		}
		return n, err
	}
}

// nodeView shows a node; fields nil is the full form.
func (s *Server) nodeView(ctx context.Context, r *request, n *store.Node, fields []string) (map[string]any, error) {
	hosts, err := s.aliveConductors(ctx)
	if err != nil {
		return nil, err
	}
	view := NodeView(n, r.version, ViewOptions{Base: r.base, Fields: fields, Conductor: conductorOf(n, hosts)})
	s.redact(r, n, view)
	return view, nil
}

// aliveConductors lists the conductors that were heard of lately.
func (s *Server) aliveConductors(ctx context.Context) ([]*store.Conductor, error) {
	all, err := s.store.Conductors(ctx)
	return slices.DeleteFunc(all, func(c *store.Conductor) bool { return !s.alive(c) }), err
}

func (s *Server) alive(c *store.Conductor) bool {
	return c.Online && c.UpdatedAt != nil && time.Since(*c.UpdatedAt) < s.cfg.ConductorHeartbeatTimeout
}

// conductorOf is the host that serves a node, nil if none is there.
func conductorOf(n *store.Node, alive []*store.Conductor) *string {
	for _, c := range alive {
		if strings.EqualFold(c.ConductorGroup, n.ConductorGroup) && slices.Contains(c.Drivers(), n.Driver) {
			return &c.Hostname
		}
	}
	return nil
}

func (s *Server) showNode(ctx context.Context, r *request) (reply, error) {
	names, err := chosenFields(r.args, nodeFields, r.version)
	if err != nil {
		return reply{}, err
	}
	form, err := s.nodeForm(ctx, r, names)
	if err != nil {
		return reply{}, err
	}
	n, err := s.nodeRevision(ctx, r)
	if err != nil {
		return reply{}, err
	}
	texts, err := s.renderNodes(ctx, r, form, []*store.Revision{n})
	if err != nil {
		return reply{}, err
	}
	if len(texts) == 0 { // deleted meanwhile
		return reply{}, nodeNotFound(r.params["node"])
	}
	return ok(rendered(texts))
}

func (s *Server) createNode(ctx context.Context, r *request) (reply, error) {
	body, err := r.decodeObject()
	if err != nil {
		return reply{}, err
	}
	n, err := s.newNode(body, r.version)
	if err != nil {
		return reply{}, err
	}
	s.modernise(n)
	if err := s.ownNode(r, n); err != nil {
		return reply{}, err
	}
	if err := s.checkLinks(ctx, r, nil, n); err != nil {
		return reply{}, err
	}
	if err := s.conductor.CreateNode(ctx, n); err != nil {
		return reply{}, taken(err, "Node", nodeFields, n, nil)
	}
	view, err := s.nodeView(ctx, r, n, nil)
	if err != nil {
		return reply{}, err
	}
	return reply{status: http.StatusCreated, body: view, location: r.base + "/v1/nodes/" + n.UUID}, nil
}

// newNode makes the row that a body asks for (REST contract, section 3.3).
func (s *Server) newNode(body map[string]any, v ironic.Version) (*store.Node, error) {
	n := &store.Node{UUID: uuid.NewString(), ProvisionState: provision.Enroll,
		DriverInfo: store.Object{}, DriverInternalInfo: store.Object{}, Properties: store.Object{},
		InstanceInfo: store.Object{}, Extra: store.Object{}, NetworkData: store.Object{}}
	if v < ironic.VersionEnroll {
		n.ProvisionState = provision.Available
	}
	if err := nodeFields.fill(n, body, v); err != nil {
		return nil, err
	}
	if n.Driver == "" {
		return nil, badRequest("Mandatory field missing: driver.")
	}
	if n.Name != nil {
		if err := checkNodeName(*n.Name, v); err != nil {
			return nil, err
		}
	}
	if err := s.checkBootMode(n); err != nil {
		return nil, err
	}
	if n.ResourceClass == nil || *n.ResourceClass == "" {
		n.ResourceClass = nil
		if s.cfg.DefaultResourceClass != "" {
			n.ResourceClass = &s.cfg.DefaultResourceClass
		}
	}
	if n.ConductorGroup == "" {
		n.ConductorGroup = strings.ToLower(s.cfg.DefaultConductorGroup)
	}
	nameInstance(n)
	return n, nil
}

// checkNodeName refuses what cannot be the name of a node at version v.
func checkNodeName(name string, v ironic.Version) error {
	valid := logicalName.MatchString(name)
	if v < ironic.VersionAnyNodeName {
		valid = len(name) <= 255 && hostnameSafe.MatchString(name)
	}
	if _, isUUID := parseUUID(name); isUUID || !valid || reservedNodeName(name) {
		return badRequest("Cannot use the invalid or reserved name %q for a node.", name)
	}
	return nil
}

func (s *Server) deleteNode(ctx context.Context, r *request) (reply, error) {
	n, err := s.node(ctx, r)
	if err != nil {
		return reply{}, err
	}
	if err := s.conductor.DeleteNode(ctx, n.ID); err != nil {
		return reply{}, err
	}
	return noContent()
}

func (s *Server) nodeRoutes() []route {
	filters := nodeFilters.args()
	return []route{
		{method: "GET", path: "/nodes", policy: "baremetal:node:list", handle: s.listNodes, args: slices.Concat(pageArgs, filters), result: "Nodes", doc: "Lists nodes."},
		{method: "POST", path: "/nodes", policy: "baremetal:node:create", handle: s.createNode, body: "Node", status: 201, result: "Node", doc: "Enrols a node."},
		{method: "GET", path: "/nodes/detail", policy: "baremetal:node:list", handle: s.listNodesDetail, args: slices.Concat(sliceArgs, filters), result: "Nodes", doc: "Lists nodes with all attributes."},
		{method: "GET", path: "/nodes/:node", policy: "baremetal:node:get", handle: s.showNode, args: []arg{fieldsArg}, result: "Node", doc: "Shows a node."},
		{method: "PATCH", path: "/nodes/:node", policy: "baremetal:node:update", handle: s.updateNode, body: "Node", result: "Node", doc: "Updates a node.",
			args: []arg{{name: "reset_interfaces", kind: argFlag, since: ironic.VersionResetInterfaces, doc: "Sets the interfaces to the defaults of the new driver."}}},
		{method: "DELETE", path: "/nodes/:node", policy: "baremetal:node:delete", handle: s.deleteNode, status: 204, doc: "Deletes a node with all that hangs on it."},
		{method: "GET", path: "/nodes/:node/vifs", policy: "baremetal:node:vif:list", since: ironic.VersionVIFs, handle: s.listVIFs, result: "VIFs", doc: "Lists the VIFs that are attached."},
		{method: "POST", path: "/nodes/:node/vifs", policy: "baremetal:node:vif:attach", since: ironic.VersionVIFs, handle: s.attachVIF, body: "VIF", status: 204, doc: "Attaches a VIF."},
		{method: "DELETE", path: "/nodes/:node/vifs/:vif", policy: "baremetal:node:vif:detach", since: ironic.VersionVIFs, handle: s.detachVIF, status: 204, doc: "Detaches a VIF."},
	}
}

// reservedNodeNames cannot be names of nodes: they are parts of the routes
// under /nodes, and the names of its actions (REST contract, section 3.3).
var reservedNodeNames = []string{"detail", "validate", "states", "vendor_passthru", "management", "maintenance",
	"get_all", "get_one", "post", "patch", "put", "delete"}

func reservedNodeName(name string) bool { return slices.Contains(reservedNodeNames, name) }
