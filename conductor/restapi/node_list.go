package restapi

import (
	"context"
	"slices"
	"strings"

	"ferric/api/ironic"
	"ferric/conductor/provision"
	"ferric/conductor/store"
)

// nodeFilter is an argument of GET /v1/nodes that selects nodes.
type nodeFilter struct {
	name  string
	since ironic.Version
	where func(a arguments, name string) (sql string, args []any, err error)
}

// nodeFilters are all of them (REST contract, section 3.4). Literal table.
var nodeFilters = []nodeFilter{
	{"chassis_uuid", 1, whereUUID("chassis_uuid = ?")},
	{"instance_uuid", 1, whereUUID("instance_uuid = ?")},
	{"associated", 1, whereFlag("instance_uuid IS NOT NULL", "instance_uuid IS NULL")},
	{"maintenance", 1, whereFlag("maintenance", "NOT maintenance")},
	{"project", 1, whereText("? IN (owner, lessee)")},
	{"provision_state", 9, whereState},
	{"driver", 16, whereText("driver = ?")},
	{"resource_class", 21, whereText("resource_class = ?")},
	{"fault", 42, whereFault},
	{"conductor_group", 46, whereText("conductor_group = lower(?)")},
	{"conductor", 49, whereNothing}, // is not in the row
	{"owner", 50, whereText("owner = ?")},
	{"description_contains", 51, whereText("instr(description, ?) > 0")},
	{"retired", 61, whereFlag("retired", "NOT retired")},
	{"lessee", 65, whereText("lessee = ?")},
	{"shard", 82, whereList("shard")},
	{"sharded", 82, whereFlag("shard IS NOT NULL", "shard IS NULL")},
}

func nodeFilterNames() []string {
	names := make([]string, len(nodeFilters))
	for i, f := range nodeFilters {
		names[i] = f.name
	}
	return names
}

func (s *Server) listNodes(ctx context.Context, r *request) (reply, error) {
	a, err := r.queryArguments(with(pageArguments, nodeFilterNames()...)...)
	if err != nil {
		return reply{}, err
	}
	p, err := pageOf(a, nodeFields, r.version, s.cfg.MaxLimit, nodeListFields)
	if err != nil {
		return reply{}, err
	}
	return s.nodePage(ctx, r, a, p, "nodes")
}

func (s *Server) listNodesDetail(ctx context.Context, r *request) (reply, error) {
	a, err := r.queryArguments(with([]string{"limit", "marker", "sort_key", "sort_dir"}, nodeFilterNames()...)...)
	if err != nil {
		return reply{}, err
	}
	p, err := pageOf(a, nodeFields, r.version, s.cfg.MaxLimit, nil)
	if err != nil {
		return reply{}, err
	}
	return s.nodePage(ctx, r, a, p, "nodes/detail")
}

func (s *Server) nodePage(ctx context.Context, r *request, a arguments, p page, path string) (reply, error) {
	q := store.NodeQuery{Desc: p.desc, Limit: p.limit}
	if p.sortKey != "id" {
		q.SortKey = p.sortKey
	}
	if err := filterNodes(&q, a, r.version); err != nil {
		return reply{}, err
	}
	if p.marker != "" {
		n, err := s.missingNode(p.marker)(s.store.Node(ctx, p.marker))
		if err != nil {
			return reply{}, err
		}
		q.Marker = n
	}
	nodes, err := s.store.Nodes(ctx, q)
	if err != nil {
		return reply{}, err
	}
	views, err := s.nodeViews(ctx, r, nodes, a, p)
	if err != nil {
		return reply{}, err
	}
	body := map[string]any{"nodes": views}
	if len(views) > 0 && len(views) == p.limit && !a.has("instance_uuid") {
		body["next"] = p.next(r.base, path, nodes[len(nodes)-1].UUID, a, "associated", "maintenance", "retired")
	}
	return ok(body)
}

// nodeViews shows the nodes of a page. ?conductor= is applied here, so that
// such a page may be short.
func (s *Server) nodeViews(ctx context.Context, r *request, nodes []*store.Node, a arguments, p page) ([]map[string]any, error) {
	hosts, err := s.aliveConductors(ctx)
	if err != nil {
		return nil, err
	}
	wanted, err := a.text("conductor")
	if err != nil {
		return nil, err
	}
	views := []map[string]any{}
	for _, n := range nodes {
		host := conductorOf(n, hosts)
		if wanted != "" && (host == nil || *host != wanted) {
			continue
		}
		views = append(views, NodeView(n, r.version, ViewOptions{Base: r.base, Fields: p.fields, Conductor: host}))
	}
	return views, nil
}

func filterNodes(q *store.NodeQuery, a arguments, v ironic.Version) error {
	for _, f := range nodeFilters {
		if !a.has(f.name) {
			continue
		}
		if f.since > v {
			return notAcceptable("The filter %s is not acceptable before API version %s.", f.name, f.since)
		}
		sql, args, err := f.where(a, f.name)
		if err != nil {
			return err
		}
		if sql != "" {
			q.Where, q.Args = append(q.Where, sql), append(q.Args, args...)
		}
	}
	return nil
}

type where = func(a arguments, name string) (string, []any, error)

func whereNothing(arguments, string) (string, []any, error) { return "", nil, nil }

func whereText(sql string) where {
	return func(a arguments, name string) (string, []any, error) {
		v, err := a.text(name)
		return sql, []any{v}, err
	}
}

func whereUUID(sql string) where {
	return func(a arguments, name string) (string, []any, error) {
		v, err := a.uuid(name)
		return sql, []any{v}, err
	}
}

func whereFlag(yes, no string) where {
	return func(a arguments, name string) (string, []any, error) {
		on, err := a.flag(name)
		if err != nil {
			return "", nil, err
		}
		if *on {
			return yes, nil, nil
		}
		return no, nil, nil
	}
}

func whereList(column string) where {
	return func(a arguments, name string) (string, []any, error) {
		items, err := a.list(name)
		if err != nil {
			return "", nil, err
		}
		args := make([]any, len(items))
		for i, item := range items {
			args[i] = item
		}
		return column + " IN (" + strings.TrimSuffix(strings.Repeat("?, ", len(items)), ", ") + ")", args, nil
	}
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
