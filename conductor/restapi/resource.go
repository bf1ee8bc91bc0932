package restapi

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"ferric/conductor/store"
)

// resource is how the rows of a kind, of type T, are listed, found, made and
// changed. Lists and look-ups of all resources but nodes go through it.
type resource[T any] struct {
	kind     string // what messages call one of them: "Port"
	key      string // of a list in its body
	path     string // of the list, below /v1
	fields   fields[T]
	defaults []string // fields of a list that was not asked for others, nil is all
	filters  filters
	project  string // condition that confines lists to a project, "" where they are not for projects
	head     func(row *T) (id int64, uuid string)
	rows     func(ctx context.Context, q store.Query) ([]*T, error)
	byUUID   func(ctx context.Context, uuid string) (*T, error)
	byName   func(ctx context.Context, name string) (*T, error) // nil where it has no name to be found by
	view     func(r *request, row *T, names []string) map[string]any
	unique   func(row *T) string // what no other may have besides single fields, in words; nil for nothing
}

// page answers with a page of the list; q holds the conditions that do not come
// from the filters.
func (c resource[T]) page(ctx context.Context, s *Server, r *request, q store.Query) (reply, error) {
	return c.list(ctx, s, r, c.path, q, c.defaults)
}

// detail is page with all attributes of each item.
func (c resource[T]) detail(ctx context.Context, s *Server, r *request, q store.Query) (reply, error) {
	return c.list(ctx, s, r, c.path+"/detail", q, nil)
}

// below is the part of the resource that is listed at another path: what
// belongs to a node, for instance.
func (c resource[T]) below(path string) resource[T] {
	c.path = path
	return c
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
		marker, err := c.byUUID(ctx, p.marker)
		if err != nil {
			return reply{}, c.missing(err, p.marker)
		}
		q.After, _ = c.head(marker)
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
		_, last := c.head(rows[len(rows)-1])
		body["next"] = p.next(r.base, path, last, r.args)
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

// created answers with an item that has been made.
func (c resource[T]) created(r *request, row *T) (reply, error) {
	_, uuid := c.head(row)
	return reply{status: http.StatusCreated, body: c.view(r, row, nil), location: r.base + "/v1/" + c.path + "/" + uuid}, nil
}

// update applies the request's patch to the row by change, which hands it the
// row as it is then, and answers with the outcome. check, which may be nil,
// refuses what may not become of a row.
func (c resource[T]) update(ctx context.Context, r *request, row *T,
	change func(ctx context.Context, id int64, fn func(row *T) error) (*T, error), check func(before, after *T) error,
) (reply, error) {
	patch, err := c.fields.readPatch(r)
	if err != nil {
		return reply{}, err
	}
	id, uuid := c.head(row)
	wanted := *row
	row, err = change(ctx, id, func(row *T) error {
		before := *row
		if err := c.fields.patch(row, patch); err != nil {
			return err
		}
		wanted = *row
		if check == nil {
			return nil
		}
		return check(&before, row)
	})
	if err != nil {
		return reply{}, c.missing(c.taken(err, &wanted), uuid)
	}
	return ok(c.view(r, row, nil))
}

// find gets the item with a UUID or name. An old client's ".json" may have been
// part of the name.
func (c resource[T]) find(ctx context.Context, r *request, ident string) (*T, error) {
	if id, ok := parseUUID(ident); ok {
		row, err := c.byUUID(ctx, id)
		return row, c.missing(err, ident)
	}
	if c.byName == nil {
		return nil, badRequest("Expected UUID: %s", ident)
	}
	if !logicalName.MatchString(ident) {
		return nil, badRequest("Expected a logical name or UUID but received %q.", ident)
	}
	row, err := c.byName(ctx, ident)
	if errors.Is(err, store.ErrNotFound) && r.jsonSuffix {
		row, err = c.byName(ctx, ident+".json")
	}
	return row, c.missing(err, ident)
}

// missing words the error for an item that does not exist; another error, or
// none, stays what it is.
func (c resource[T]) missing(err error, ident string) error {
	if errors.Is(err, store.ErrNotFound) {
		return c.none(ident)
	}
	return err
}

// none is the error for an item that does not exist, or that the caller is not
// to know of.
func (c resource[T]) none(ident string) error {
	return notFound("%s %s could not be found.", c.kind, ident)
}

// taken names what another item has already and no two may have.
func (c resource[T]) taken(err error, row *T) error {
	return taken(err, c.kind, c.fields, row, c.unique)
}

// taken words a violated uniqueness; unique, which may be nil, does for what is
// no single field.
func taken[T any](err error, kind string, fs fields[T], row *T, unique func(row *T) string) error {
	var duplicate *store.DuplicateError
	if !errors.As(err, &duplicate) {
		return err
	}
	f, known := fs.find(duplicate.Column)
	switch {
	case known:
		return conflict("%s %s with %s %s already exists.", article(kind), strings.ToLower(kind), f.wording(), shown(f.get(row)))
	case unique != nil:
		return conflict("%s %s with %s already exists.", article(kind), strings.ToLower(kind), unique(row))
	}
	return err
}

// wording is what messages call the field.
func (f field[T]) wording() string {
	switch f.name {
	case "uuid":
		return "UUID"
	case "address":
		return "MAC address"
	}
	return f.name
}

// shown is the value of a field in a message.
func shown(value any) string {
	if text, isText := value.(*string); isText {
		return textOr(text, "null")
	}
	return fmt.Sprint(value)
}

func textOr(text *string, otherwise string) string {
	if text == nil {
		return otherwise
	}
	return *text
}

func article(noun string) string {
	if strings.ContainsAny(noun[:1], "AEIO") {
		return "An"
	}
	return "A"
}
