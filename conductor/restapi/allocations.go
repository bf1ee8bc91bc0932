package restapi

import (
	"context"
	"errors"
	"net/http"
	"slices"

	"github.com/google/uuid"

	"ferric/api"
	"ferric/api/ironic"
	"ferric/conductor/restapi/auth"
	"ferric/conductor/store"
)

// allocationFields are the attributes of an allocation (REST contract, section
// 9). Literal table.
var allocationFields = fields[store.Allocation]{
	{"uuid", ironic.VersionAllocations, onCreate | sortable, requiredUUID(func(a *store.Allocation) *string { return &a.UUID })},
	{"name", ironic.VersionAllocations, onCreate | onPatch | sortable, optionalName(func(a *store.Allocation) **string { return &a.Name })},
	{"resource_class", ironic.VersionAllocations, onCreate | sortable, optionalText(func(a *store.Allocation) **string { return &a.ResourceClass }, 80)},
	{"traits", ironic.VersionAllocations, onCreate, traitList(func(a *store.Allocation) *store.Strings { return &a.Traits })},
	{"candidate_nodes", ironic.VersionAllocations, onCreate, allocationCandidates},
	{"extra", ironic.VersionAllocations, onCreate | onPatch, object(func(a *store.Allocation) *store.Object { return &a.Extra }, nil)},
	{"owner", ironic.VersionAllocationOwner, onCreate | sortable, optionalText(func(a *store.Allocation) **string { return &a.Owner }, 255)},
	{"node_uuid", ironic.VersionAllocations, readOnly, computed(func(a *store.Allocation) any { return a.NodeUUID })},
	{"state", ironic.VersionAllocations, sortable, computed(func(a *store.Allocation) any { return a.State })},
	{"last_error", ironic.VersionAllocations, sortable, computed(func(a *store.Allocation) any { return a.LastError })},
	{"created_at", ironic.VersionAllocations, sortable, computed(func(a *store.Allocation) any { return moment(&a.CreatedAt) })},
	{"updated_at", ironic.VersionAllocations, sortable, computed(func(a *store.Allocation) any { return moment(a.UpdatedAt) })},
}

// allocationCandidates are names or UUIDs as they come in; the handler makes
// UUIDs of them.
var allocationCandidates = column[store.Allocation]{
	get: func(a *store.Allocation) any { return orNone(a.CandidateNodes) },
	set: func(a *store.Allocation, v any) (err error) {
		a.CandidateNodes, err = textList(v)
		return err
	},
}

// allocationFilters select allocations of a list. Literal table.
var allocationFilters = filters{
	{arg{name: "node", kind: argIdent, doc: "UUID or name of the node."}, whereNothing},
	{arg{name: "resource_class", kind: argText}, whereText("allocations.resource_class = ?")},
	{arg{name: "state", kind: argText}, whereText("allocations.state = ?")},
	{arg{name: "owner", kind: argText, since: ironic.VersionAllocationOwner}, whereText("allocations.owner = ?")},
}

func (s *Server) allocations() resource[store.Allocation] {
	return resource[store.Allocation]{
		kind: "Allocation", key: "allocations", path: "allocations", fields: allocationFields, filters: allocationFilters, project: "allocations.owner = ?",
		head: func(a *store.Allocation) (int64, string) { return a.ID, a.UUID }, view: allocationView,
		rows: s.store.Allocations, byUUID: s.store.Allocation, byName: s.store.AllocationByName,
	}
}

func allocationView(r *request, a *store.Allocation, names []string) map[string]any {
	view := allocationFields.view(a, r.version, names)
	view["links"] = links(r.base, "allocations/"+a.UUID)
	return view
}

func (s *Server) listAllocations(ctx context.Context, r *request) (reply, error) {
	var q store.Query
	ident, err := r.args.text("node")
	if err != nil {
		return reply{}, err
	}
	if ident != "" {
		n, err := s.nodeNamed(ctx, r, ident)
		if err != nil {
			return reply{}, err
		}
		q.Where, q.Args = []string{"allocations.node_id = ?"}, []any{n.ID}
	}
	owner, err := r.args.text("owner")
	if err != nil {
		return reply{}, err
	}
	if r.project != "" && owner != "" && owner != r.project {
		return reply{}, auth.Denied(r.route.policy)
	}
	return s.allocations().page(ctx, s, r, q)
}

// nodeNamed finds a node that an argument or a member of the body names: one
// that does not exist is the argument's fault.
func (s *Server) nodeNamed(ctx context.Context, r *request, ident string) (*store.Node, error) {
	id, isUUID := parseUUID(ident)
	if !isUUID {
		id = ident
	}
	n, err := s.store.Node(ctx, id)
	if errors.Is(err, store.ErrNotFound) ||
		err == nil && !s.policy.Allows(r.identity, "baremetal:node:get", auth.Target{Owner: n.Owner, Lessee: n.Lessee}) {
		return nil, badRequest("Node %s could not be found.", ident)
	}
	return n, err
}

// allocation finds the allocation that the path names. Who may not see it is
// told that there is none.
func (s *Server) allocation(ctx context.Context, r *request) (*store.Allocation, error) {
	ident := r.params["allocation"]
	a, err := s.allocations().find(ctx, r, ident)
	if err != nil {
		return nil, err
	}
	return a, s.permitAllocation(r, a, s.allocations().none(ident))
}

func (s *Server) permitAllocation(r *request, a *store.Allocation, missing error) error {
	if err := s.permitOwner(r, "baremetal:allocation:get", a.Owner, missing); err != nil {
		return err
	}
	return s.permitOwner(r, r.route.policy, a.Owner, auth.Denied(r.route.policy))
}

func (s *Server) showAllocation(ctx context.Context, r *request) (reply, error) {
	return s.allocations().show(ctx, r, s.allocation)
}

func (s *Server) createAllocation(ctx context.Context, r *request) (reply, error) {
	body, err := r.decodeObject()
	if err != nil {
		return reply{}, err
	}
	node, err := s.backfilled(ctx, r, body)
	if err != nil {
		return reply{}, err
	}
	a := &store.Allocation{State: store.Allocating, Traits: store.Strings{}, CandidateNodes: store.Strings{}, Extra: store.Object{}}
	if err := allocationFields.fill(a, body, r.version); err != nil {
		return reply{}, err
	}
	if err := s.ownAllocation(r, a); err != nil {
		return reply{}, err
	}
	if a.ResourceClass == nil || *a.ResourceClass == "" {
		if node == nil {
			return reply{}, badRequest("The resource_class field is mandatory when not backfilling")
		}
		a.ResourceClass = node.ResourceClass
	}
	for i, ident := range a.CandidateNodes {
		n, err := s.nodeNamed(ctx, r, ident)
		if err != nil {
			return reply{}, err
		}
		a.CandidateNodes[i] = n.UUID
	}
	if err := s.allocate(ctx, a, node); err != nil {
		return reply{}, s.allocations().taken(err, a)
	}
	return s.allocations().created(r, a)
}

// backfilled takes the member node out of the body: a node that is in use
// already, whose allocation is written down only.
func (s *Server) backfilled(ctx context.Context, r *request, body map[string]any) (*store.Node, error) {
	value := body["node"]
	delete(body, "node")
	ident, isText := value.(string)
	switch {
	case value == nil || ident == "" && isText:
		return nil, nil
	case !isText:
		return nil, badRequest("Invalid value for node: a string is expected")
	case r.version < ironic.VersionBackfill:
		return nil, badRequest("Cannot set node when creating an allocation in this API version")
	}
	return s.nodeNamed(ctx, r, ident)
}

// ownAllocation gives an allocation that a project makes to the project.
func (s *Server) ownAllocation(r *request, a *store.Allocation) error {
	if s.policy.Allows(r.identity, "baremetal:allocation:create_restricted", auth.Target{}) {
		return nil
	}
	if a.Owner != nil && *a.Owner != r.identity.ProjectID {
		return api.Errorf(http.StatusForbidden, "Cannot create an allocation with an owner other than your own project.")
	}
	a.Owner = &r.identity.ProjectID
	return nil
}

func (s *Server) allocate(ctx context.Context, a *store.Allocation, node *store.Node) error {
	switch {
	case a.UUID != "":
	case node != nil && node.InstanceUUID != nil:
		a.UUID = *node.InstanceUUID
	default:
		a.UUID = uuid.NewString()
	}
	if node != nil {
		return s.conductor.AllocateNode(ctx, a, node.ID)
	}
	return s.conductor.CreateAllocation(ctx, a)
}

func (s *Server) updateAllocation(ctx context.Context, r *request) (reply, error) {
	a, err := s.allocation(ctx, r)
	if err != nil {
		return reply{}, err
	}
	return s.allocations().update(ctx, r, a, s.store.ChangeAllocation, nil)
}

func (s *Server) deleteAllocation(ctx context.Context, r *request) (reply, error) {
	a, err := s.allocation(ctx, r)
	if err != nil {
		return reply{}, err
	}
	return s.dropAllocation(ctx, a)
}

func (s *Server) dropAllocation(ctx context.Context, a *store.Allocation) (reply, error) {
	if err := s.conductor.DeleteAllocation(ctx, a); err != nil {
		return reply{}, s.allocations().missing(err, a.UUID)
	}
	return noContent()
}

// nodeAllocation finds the allocation of the node that the path names.
func (s *Server) nodeAllocation(ctx context.Context, r *request) (*store.Allocation, error) {
	n, err := s.node(ctx, r)
	if err != nil {
		var gone *api.Error
		if errors.As(err, &gone) && gone.Status == http.StatusNotFound {
			return nil, badRequest("%s", gone.Text) // 404 tells that the node has no allocation
		}
		return nil, err
	}
	missing := notFound("Allocation for node %s was not found", r.params["node"])
	a, err := s.store.NodeAllocation(ctx, n.ID)
	if errors.Is(err, store.ErrNotFound) {
		return nil, missing
	}
	if err != nil {
		return nil, err
	}
	return a, s.permitAllocation(r, a, missing)
}

func (s *Server) showNodeAllocation(ctx context.Context, r *request) (reply, error) {
	return s.allocations().show(ctx, r, s.nodeAllocation)
}

func (s *Server) deleteNodeAllocation(ctx context.Context, r *request) (reply, error) {
	a, err := s.nodeAllocation(ctx, r)
	if err != nil {
		return reply{}, err
	}
	return s.dropAllocation(ctx, a)
}

func (s *Server) allocationRoutes() []route {
	const not = http.StatusMethodNotAllowed
	return []route{
		{method: "GET", path: "/allocations", since: ironic.VersionAllocations, policy: "baremetal:allocation:list", handle: s.listAllocations,
			args: slices.Concat(sliceArgs, []arg{fieldsArg}, allocationFilters.args()), result: "Allocations", doc: "Lists allocations."},
		{method: "POST", path: "/allocations", since: ironic.VersionAllocations, older: not, policy: "baremetal:allocation:create", handle: s.createAllocation,
			body: "Allocation", status: 201, result: "Allocation", doc: "Reserves a node by what it has to be."},
		{method: "GET", path: "/allocations/:allocation", since: ironic.VersionAllocations, policy: "baremetal:allocation:get", handle: s.showAllocation,
			args: []arg{fieldsArg}, result: "Allocation", doc: "Shows an allocation."},
		{method: "PATCH", path: "/allocations/:allocation", since: ironic.VersionAllocationPatch, older: not, policy: "baremetal:allocation:update", handle: s.updateAllocation,
			body: "Allocation", result: "Allocation", doc: "Updates name or extra of an allocation."},
		{method: "DELETE", path: "/allocations/:allocation", since: ironic.VersionAllocations, older: not, policy: "baremetal:allocation:delete", handle: s.deleteAllocation,
			status: 204, doc: "Frees the node of an allocation."},
		{method: "GET", path: "/nodes/:node/allocation", since: ironic.VersionAllocations, policy: "baremetal:allocation:get", handle: s.showNodeAllocation,
			args: []arg{fieldsArg}, result: "Allocation", doc: "Shows the allocation of a node."},
		{method: "DELETE", path: "/nodes/:node/allocation", since: ironic.VersionAllocations, policy: "baremetal:allocation:delete", handle: s.deleteNodeAllocation,
			status: 204, doc: "Frees a node of its allocation."},
	}
}

// Allocator is what the API asks of the conductor about allocations.
type Allocator interface {
	// CreateAllocation stores a and has a worker look for its node.
	CreateAllocation(ctx context.Context, a *store.Allocation) error
	// AllocateNode stores a for a node that is in use already.
	AllocateNode(ctx context.Context, a *store.Allocation, nodeID int64) error
	DeleteAllocation(ctx context.Context, a *store.Allocation) error
}
