package restapi

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"

	"ferric/conductor/store"
)

// collection is what lists and look-ups of a resource need to know of it.
type collection[T any] struct {
	name     string // of the list
	path     string // below /v1, "" is the name
	title    string // what messages call one of it
	uuidOnly bool   // it has no name to be found by
	fields   fields[T]
	defaults []string // fields of a list that was not asked for others, nil is all
	id       func(row *T) (int64, string)
	get      func(ctx context.Context, ident string) (*T, error)
	list     func(ctx context.Context, q store.Query) ([]*T, error)
	show     func(row *T, r *request, names []string) map[string]any
}

// page lists what q selects.
func (c collection[T]) page(ctx context.Context, r *request, maxLimit int, q store.Query) (reply, error) {
	p, err := pageOf(r.args, c.fields, r.version, maxLimit, c.defaults)
	if err != nil {
		return reply{}, err
	}
	q.SortKey, q.Desc, q.Limit = p.sortKey, p.desc, p.limit
	if p.marker != "" {
		marker, err := c.get(ctx, p.marker)
		if err != nil {
			return reply{}, c.missing(err, p.marker)
		}
		q.After, _ = c.id(marker)
	}
	rows, err := c.list(ctx, q)
	if err != nil {
		return reply{}, err
	}
	views := []map[string]any{}
	for _, row := range rows {
		views = append(views, c.show(row, r, p.fields))
	}
	body := map[string]any{c.name: views}
	if len(rows) > 0 && len(rows) == p.limit {
		_, last := c.id(rows[len(rows)-1])
		body["next"] = p.next(r.base, cmp.Or(c.path, c.name), last, r.args)
	}
	return ok(body)
}

// find gets the row of a UUID or name.
func (c collection[T]) find(ctx context.Context, r *request, ident string) (*T, error) {
	id, isUUID := parseUUID(ident)
	switch {
	case isUUID:
	case c.uuidOnly:
		return nil, badRequest("Expected a UUID but received %q.", ident)
	case !logicalName.MatchString(ident):
		return nil, badRequest("Expected a logical name or UUID but received %q.", ident)
	default:
		id = ident
	}
	row, err := c.get(ctx, id)
	if errors.Is(err, store.ErrNotFound) && r.jsonSuffix {
		row, err = c.get(ctx, id+".json")
	}
	return row, c.missing(err, ident)
}

// missing words the error for what does not exist.
func (c collection[T]) missing(err error, ident string) error {
	if errors.Is(err, store.ErrNotFound) {
		return notFound("%s %s could not be found.", c.title, ident)
	}
	return err
}

// taken names the value that another one has already.
func (c collection[T]) taken(err error, row *T) error {
	var duplicate *store.DuplicateError
	if !errors.As(err, &duplicate) {
		return err
	}
	f, known := c.fields.find(duplicate.Column)
	if !known {
		return err
	}
	value := f.get(row)
	if text, isText := value.(*string); isText && text != nil {
		value = *text
	}
	return conflict("%s %s with %s %v already exists.", article(c.title), strings.ToLower(c.title), duplicate.Column, value)
}

func article(noun string) string {
	if strings.ContainsAny(noun[:1], "AEIO") {
		return "An"
	}
	return "A"
}

// Columns that resources of this kind share.

// uuidColumn is the UUID that a client may choose.
func uuidColumn[T any](at func(row *T) *string) column[T] {
	return column[T]{
		get: func(row *T) any { return *at(row) },
		set: func(row *T, v any) error {
			s, _ := v.(string)
			id, ok := parseUUID(s)
			if !ok {
				return fmt.Errorf("expected a UUID but received %v", v)
			}
			*at(row) = id
			return nil
		},
	}
}

// optionalName is a nullable logical name.
func optionalName[T any](at func(row *T) **string) column[T] {
	c := optionalText(at, 255)
	plain := c.set
	c.set = func(row *T, v any) error {
		if s, ok := v.(string); ok && !logicalName.MatchString(s) {
			return fmt.Errorf("%q is not a valid name", s)
		}
		return plain(row, v)
	}
	return c
}

// traitList is a list of names of traits.
func traitList[T any](at func(row *T) *store.Strings) column[T] {
	return column[T]{
		get: func(row *T) any { return orNone(*at(row)) },
		set: func(row *T, v any) error {
			names, err := textList(v)
			for _, name := range names {
				if err == nil {
					err = checkTrait(name)
				}
			}
			*at(row) = names
			return err
		},
	}
}

// orNone makes an empty list of none, which is null in JSON.
func orNone(l store.Strings) store.Strings {
	if l == nil {
		return store.Strings{}
	}
	return l
}

// textList reads a JSON list of strings; null is empty.
func textList(v any) (store.Strings, error) {
	if v == nil {
		return store.Strings{}, nil
	}
	items, ok := v.([]any)
	texts := store.Strings{}
	for _, item := range items {
		text, isText := item.(string)
		ok = ok && isText
		texts = append(texts, text)
	}
	if !ok {
		return nil, errors.New("a list of strings is expected")
	}
	return texts, nil
}
