package restapi

import (
	"context"
	"errors"
	"slices"
	"strings"

	"ferric/api/ironic"
	"ferric/conductor/provision"
	"ferric/conductor/store"
)

// nodeFilters select nodes of GET /v1/nodes (REST contract, section 3.4).
// Literal table.
var nodeFilters = filters{
	{arg{name: "chassis_uuid", kind: argUUID}, whereUUID("chassis_uuid = ?")},
	{arg{name: "instance_uuid", kind: argUUID}, whereUUID("instance_uuid = ?")},
	{arg{name: "associated", kind: argFlag}, whereFlag("instance_uuid IS NOT NULL", "instance_uuid IS NULL")},
	{arg{name: "maintenance", kind: argFlag}, whereFlag("maintenance", "NOT maintenance")},
	{arg{name: "project", kind: argText}, whereText("? IN (owner, lessee)")},
	{arg{name: "provision_state", kind: argText, since: ironic.VersionProvisionStateFilter}, whereState},
	{arg{name: "driver", kind: argText, since: ironic.VersionDriverFilter}, whereText("driver = ?")},
	{arg{name: "resource_class", kind: argText, since: ironic.VersionResourceClass}, whereText("resource_class = ?")},
	{arg{name: "fault", kind: argText, since: ironic.VersionFault}, whereFault},
	{arg{name: "conductor_group", kind: argText, since: ironic.VersionConductorGroup}, whereText("conductor_group = lower(?)")},
	{arg{name: "conductor", kind: argText, since: ironic.VersionConductors, doc: "Host name of the conductor that serves the node; applied after the page is cut."}, whereNothing},
	{arg{name: "owner", kind: argText, since: ironic.VersionOwner}, whereText("owner = ?")},
	{arg{name: "description_contains", kind: argText, since: ironic.VersionDescription}, whereText("instr(description, ?) > 0")},
	{arg{name: "retired", kind: argFlag, since: ironic.VersionRetired}, whereFlag("retired", "NOT retired")},
	{arg{name: "lessee", kind: argText, since: ironic.VersionLessee}, whereText("lessee = ?")},
	{arg{name: "shard", kind: argNames, since: ironic.VersionShards}, whereIn("shard")},
	{arg{name: "sharded", kind: argFlag, since: ironic.VersionShards}, whereFlag("shard IS NOT NULL", "shard IS NULL")},
	{arg{name: "include_children", kind: argFlag, since: ironic.VersionParentNode, doc: "Lists the nodes that have a parent, too."}, whereNothing},
	{arg{name: "parent_node", kind: argUUID, since: ironic.VersionParentNode, doc: "Lists the children of a node."}, whereNothing},
	{arg{name: "instance_name", kind: argText, since: ironic.VersionInstanceName}, whereText("instance_name = ?")},
}

func (s *Server) listNodes(ctx context.Context, r *request) (reply, error) {
	a := r.args
	p, err := pageOf(a, nodeFields, r.version, s.cfg.MaxLimit, nodeListFields)
	if err != nil {
		return reply{}, err
	}
	return s.nodePage(ctx, r, a, p, "nodes")
}

func (s *Server) listNodesDetail(ctx context.Context, r *request) (reply, error) {
	a := r.args
	p, err := pageOf(a, nodeFields, r.version, s.cfg.MaxLimit, nil)
	if err != nil {
		return reply{}, err
	}
	return s.nodePage(ctx, r, a, p, "nodes/detail")
}

func (s *Server) nodePage(ctx context.Context, r *request, a arguments, p page, path string) (reply, error) {
	q := store.Query{SortKey: p.sortKey, Desc: p.desc, Limit: p.limit}
	var err error
	if q.Where, q.Args, err = nodeFilters.conditions(a); err != nil {
		return reply{}, err
	}
	if err := s.chassisExists(ctx, a); err != nil {
		return reply{}, err
	}
	if err := family(&q, a); err != nil {
		return reply{}, err
	}
	r.onlyProject(&q, projectNodes)
	if p.marker != "" {
		n, err := s.missingNode(p.marker)(s.store.Node(ctx, p.marker))
		if err != nil {
			return reply{}, err
		}
		q.After = n.ID
	}
	form, err := s.nodeForm(ctx, r, p.fields)
	if err != nil {
		return reply{}, err
	}
	if form.only, err = a.text("conductor"); err != nil {
		return reply{}, err
	}
	nodes, err := s.store.NodeRevisions(ctx, q)
	if err != nil {
		return reply{}, err
	}
	texts, err := s.renderNodes(ctx, r, form, nodes)
	if err != nil {
		return reply{}, err
	}
	next := ""
	if len(texts) > 0 && len(texts) == p.limit && !a.has("instance_uuid") {
		last, err := s.store.NodeByID(ctx, nodes[len(nodes)-1].ID)
		if err != nil {
			return reply{}, err
		}
		next = p.next(r.base, path, last.UUID, a, "associated", "maintenance", "retired")
	}
	body, err := renderedList("nodes", texts, next)
	if err != nil {
		return reply{}, err
	}
	return ok(body)
}

// family selects by the nodes' parents: those that have one are shown only when
// they are asked for.
func family(q *store.Query, a arguments) error {
	all, err := a.flag("include_children")
	if err != nil {
		return err
	}
	parent, err := a.uuid("parent_node")
	switch {
	case err != nil:
		return err
	case all != nil && *all:
	case parent != "":
		q.Where, q.Args = append(q.Where, "parent_node = ?"), append(q.Args, parent)
	default:
		q.Where = append(q.Where, "parent_node IS NULL")
	}
	return nil
}

// chassisExists refuses to list the nodes of a chassis that is not there.
func (s *Server) chassisExists(ctx context.Context, a arguments) error {
	id, err := a.uuid("chassis_uuid")
	if err != nil || id == "" {
		return err
	}
	_, err = s.store.Chassis(ctx, id)
	if errors.Is(err, store.ErrNotFound) {
		return notFound("Chassis %s could not be found.", id)
	}
	return err
}

func whereState(a arguments, name string) (string, []any, error) {
	v, err := a.text(name)
	if err != nil {
		return "", nil, err
	}
	if _, ok := provision.Of(provision.State(v)); !ok {
		return "", nil, badRequest("Provision state %q is not valid.", v)
	}
	return "provision_state = ?", []any{v}, nil
}

// faults that a node can have (REST contract, section 3.1).
var faults = []string{ironic.FaultPower, ironic.FaultClean, ironic.FaultRescueAbort, ironic.FaultService}

func whereFault(a arguments, name string) (string, []any, error) {
	v, err := a.text(name)
	if err != nil {
		return "", nil, err
	}
	if !slices.Contains(faults, v) {
		return "", nil, badRequest("Unrecognized fault %q is specified, acceptable faults are: %s.", v, strings.Join(faults, ", "))
	}
	return "fault = ?", []any{v}, nil
}
