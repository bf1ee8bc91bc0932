package restapi

import (
	"context"
	"errors"

	"ferric/api/ironic"
	"ferric/conductor/store"
)

// resource is how things that belong to nodes, or are there besides them, are
// listed and found. Its rows are of type T.
type resource[T any] struct {
	kind     string // of one item, for errors: "Port"
	key      string // of the list in the body
	table    string
	fields   fields[T]
	defaults []string // fields of a list that was not asked for others
	filters  filters
	project  string // condition that confines lists to a project, "" where they are not for projects
	rows     func(ctx context.Context, q store.Query) ([]*T, error)
	uuid     func(row *T) string
	view     func(r *request, row *T, names []string) map[string]any
}

// page answers with a page of the list at path, without /v1; q holds the
// conditions that do not come from the filters.
func (c resource[T]) page(ctx context.Context, s *Server, r *request, path string, q store.Query) (reply, error) {
	return c.list(ctx, s, r, path, q, c.defaults)
}

// detail is page with all attributes of each item.
func (c resource[T]) detail(ctx context.Context, s *Server, r *request, path string, q store.Query) (reply, error) {
	return c.list(ctx, s, r, path+"/detail", q, nil)
}

func (c resource[T]) list(ctx context.Context, s *Server, r *request, path string, q store.Query, defaults []string) (reply, error) {
	p, err := pageOf(r.args, c.fields, r.version, s.cfg.MaxLimit, defaults)
	if err != nil {
		return reply{}, err
	}
	q.SortKey, q.Desc, q.Limit = p.sortKey, p.desc, p.limit
	where, args, err := c.filters.conditions(r.args)
	if err != nil {
		return reply{}, err
	}
	q.Where, q.Args = append(q.Where, where...), append(q.Args, args...)
	if c.project != "" {
		r.onlyProject(&q, c.project)
	}
	if p.marker != "" {
		q.After, err = s.store.RowID(ctx, c.table, p.marker)
		if errors.Is(err, store.ErrNotFound) {
			return reply{}, c.missing(p.marker)
		}
		if err != nil {
			return reply{}, err
		}
	}
	rows, err := c.rows(ctx, q)
	if err != nil {
		return reply{}, err
	}
	views := make([]map[string]any, len(rows))
	for i, row := range rows {
		views[i] = c.view(r, row, p.fields)
	}
	body := map[string]any{c.key: views}
	if len(rows) > 0 && len(rows) == p.limit {
		body["next"] = p.next(r.base, path, c.uuid(rows[len(rows)-1]), r.args)
	}
	return ok(body)
}

// show answers with one item, which find looks up.
func (c resource[T]) show(ctx context.Context, r *request, find func(ctx context.Context, r *request) (*T, error)) (reply, error) {
	names, err := chosenFields(r.args, c.fields, r.version)
	if err != nil {
		return reply{}, err
	}
	row, err := find(ctx, r)
	if err != nil {
		return reply{}, err
	}
	return ok(c.view(r, row, names))
}

// missing is the error for an item that does not exist.
func (c resource[T]) missing(ident string) error {
	return notFound("%s %s could not be found.", c.kind, ident)
}

// found words the error of a search for ident.
func (c resource[T]) found(ident string) func(*T, error) (*T, error) {
	return func(row *T, err error) (*T, error) {
		if errors.Is(err, store.ErrNotFound) {
			return nil, c.missing(ident)
		}
		return row, err
	}
}

// byUUID finds an item that has no name.
func (c resource[T]) byUUID(ctx context.Context, ident string, get func(ctx context.Context, uuid string) (*T, error)) (*T, error) {
	id, ok := parseUUID(ident)
	if !ok {
		return nil, badRequest("Expected UUID: %s", ident)
	}
	return c.found(ident)(get(ctx, id))
}

// identified finds an item by UUID or name. An old client's ".json" may have
// been part of the name.
func (c resource[T]) identified(ctx context.Context, r *request, ident string, byUUID, byName func(ctx context.Context, ident string) (*T, error)) (*T, error) {
	if id, ok := parseUUID(ident); ok {
		return c.found(ident)(byUUID(ctx, id))
	}
	if !logicalName.MatchString(ident) {
		return nil, badRequest("Expected UUID or name: %s", ident)
	}
	row, err := byName(ctx, ident)
	if errors.Is(err, store.ErrNotFound) && r.jsonSuffix {
		row, err = byName(ctx, ident+".json")
	}
	return c.found(ident)(row, err)
}

// parentNode finds the node that an item is to belong to. When there is none it
// is the body that is wrong, so that the status is 400.
func (s *Server) parentNode(ctx context.Context, r *request, ident string) (*store.Node, error) {
	missing := badRequest("Node %s could not be found.", ident)
	n, err := s.store.Node(ctx, ident)
	if errors.Is(err, store.ErrNotFound) {
		return nil, missing
	}
	if err != nil {
		return nil, err
	}
	return n, s.permitNode(r, n, missing)
}

// newParent finds the node that an item of the node was is to belong to; a new
// one has to be the caller's to change as well.
func (s *Server) newParent(ctx context.Context, r *request, was *store.Node, ident string) (*store.Node, error) {
	if was.UUID == ident {
		return was, nil
	}
	return s.parentNode(ctx, r, ident)
}

// withNodes calls fn with the fresh nodes of an item, the one it belongs to and
// the one it is to belong to, which may be the same. Nobody else changes them
// meanwhile.
func (s *Server) withNodes(ctx context.Context, from, to int64, purpose string, fn func(ctx context.Context, from, to *store.Node) error) error {
	return s.conductor.WithNode(ctx, from, purpose, func(ctx context.Context, n *store.Node) error {
		if from == to {
			return fn(ctx, n, n)
		}
		return s.conductor.WithNode(ctx, to, purpose, func(ctx context.Context, m *store.Node) error { return fn(ctx, n, m) })
	})
}

// refuseBelow answers requests for one item below its parent: items are made,
// shown and changed at the top level only.
func refuseBelow(context.Context, *request) (reply, error) {
	return reply{}, badRequest("Malformed request URI: the operation is not permitted below another resource.")
}

// refusals are the routes below a parent that refuseBelow answers. rules is
// what the names of the resource's rules begin with.
func refusals(path, rules string, since ironic.Version) []route {
	const doc = "Is refused; single items are at the top level."
	return []route{
		{method: "POST", path: path, policy: rules + ":create", since: since, handle: refuseBelow, anyArgs: true, doc: doc},
		{method: "GET", path: path + "/:item", policy: rules + ":get", since: since, handle: refuseBelow, anyArgs: true, doc: doc},
		{method: "PATCH", path: path + "/:item", policy: rules + ":update", since: since, handle: refuseBelow, anyArgs: true, doc: doc},
		{method: "DELETE", path: path + "/:item", policy: rules + ":delete", since: since, handle: refuseBelow, anyArgs: true, doc: doc},
	}
}
