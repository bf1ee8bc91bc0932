package restapi

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"ferric/api"
	"ferric/api/ironic"
	"ferric/conductor/store"
)

// access says what a client may do with a field besides reading it.
type access int

const (
	readOnly access = 0
	onCreate access = 1 << iota
	onPatch
	sortable // is a column that lists may be sorted by
)

// field is one attribute of a resource whose row is a T: its name on the wire,
// the microversion that it appeared in, and its place in the row.
type field[T any] struct {
	name   string
	since  ironic.Version
	access access
	column[T]
}

// column reads and writes a field of a row. set takes a JSON value; nil resets
// the field to its default. Its error says what the value has to be.
type column[T any] struct {
	get func(row *T) any
	set func(row *T, v any) error
}

// fields of a resource, in the order of the contract.
type fields[T any] []field[T]

func (fs fields[T]) find(name string) (field[T], bool) {
	i := slices.IndexFunc(fs, func(f field[T]) bool { return f.name == name })
	if i < 0 {
		return field[T]{}, false
	}
	return fs[i], true
}

// names lists the fields with all the given kinds of access, sorted.
func (fs fields[T]) names(a access) []string {
	var names []string
	for _, f := range fs {
		if f.access&a == a {
			names = append(names, f.name)
		}
	}
	slices.Sort(names)
	return names
}

// view makes the wire form of a row as version v knows it. names selects
// fields; nil is all of them.
func (fs fields[T]) view(row *T, v ironic.Version, names []string) map[string]any {
	out := map[string]any{}
	for _, f := range fs {
		if f.since <= v && (names == nil || slices.Contains(names, f.name)) {
			out[f.name] = f.get(row)
		}
	}
	return out
}

// check refuses names that are no fields (400) or newer than v (406).
func (fs fields[T]) check(names []string, v ironic.Version) error {
	var unknown []string
	for _, name := range names {
		if _, ok := fs.find(name); !ok && name != "links" {
			unknown = append(unknown, `"`+name+`"`)
		}
	}
	if len(unknown) > 0 {
		return badRequest("Field(s) %s are not valid.", strings.Join(unknown, ", "))
	}
	for _, name := range names {
		if f, ok := fs.find(name); ok && f.since > v {
			return notAcceptable("Field %q is not acceptable before API version %s.", name, f.since)
		}
	}
	return nil
}

// fill sets the fields of a new row from a request body.
func (fs fields[T]) fill(row *T, body map[string]any, v ironic.Version) error {
	names := slices.Sorted(maps.Keys(body))
	for _, name := range names {
		if f, ok := fs.find(name); !ok || f.access&onCreate == 0 {
			return badRequest("Attribute %q is not known or cannot be set at creation.", name)
		}
	}
	for _, name := range names {
		f, _ := fs.find(name)
		if body[name] == nil {
			continue
		}
		if f.since > v {
			return notAcceptable("Attribute %q is not acceptable before API version %s.", name, f.since)
		}
		if err := f.set(row, body[name]); err != nil {
			return badRequest("Invalid value for %s: %v", name, err)
		}
	}
	return nil
}

// checkPatch refuses a patch of what cannot be patched (400) or is newer than
// v (406).
func (fs fields[T]) checkPatch(p api.Patch, v ironic.Version) error {
	if p.Escaped() && v < ironic.VersionPatchEscapes {
		return badRequest("Invalid patch: a path with ~ is not valid before API version %s.", ironic.VersionPatchEscapes)
	}
	for _, root := range p.Roots() {
		if f, ok := fs.find(root); !ok || f.access&onPatch == 0 {
			return badRequest("Cannot patch /%s. Only the following can be updated: %s", root, strings.Join(fs.names(onPatch), ", "))
		}
	}
	for _, root := range p.Roots() {
		if f, _ := fs.find(root); f.since > v {
			return notAcceptable("Attribute %q is not acceptable before API version %s.", root, f.since)
		}
	}
	return nil
}

// patch applies a checked patch to the row as it is stored, secrets and all.
func (fs fields[T]) patch(row *T, p api.Patch) error {
	doc := map[string]any{}
	for _, f := range fs {
		if f.access&onPatch != 0 {
			doc[f.name] = f.get(row)
		}
	}
	after, err := p.Apply(doc)
	if err != nil {
		return err
	}
	for _, root := range p.Roots() {
		f, _ := fs.find(root)
		value := after[root] // nil where it was removed
		if nesting(value) > maxDepth {
			return badRequest("Invalid value for %s: nested deeper than %d levels", root, maxDepth)
		}
		if err := f.set(row, value); err != nil {
			return badRequest("Invalid value for %s: %v", root, err)
		}
	}
	return nil
}

// nesting counts how deep arrays and objects of a JSON value nest.
func nesting(v any) int {
	deepest := 0
	switch v := v.(type) {
	case map[string]any:
		for _, item := range v {
			deepest = max(deepest, nesting(item))
		}
	case []any:
		for _, item := range v {
			deepest = max(deepest, nesting(item))
		}
	default:
		return 0
	}
	return deepest + 1
}

// computed is a field that only the conductor writes.
func computed[T any](get func(row *T) any) column[T] {
	return column[T]{get: get, set: func(*T, any) error { return fmt.Errorf("is read only") }}
}

// optionalText is a nullable string of at most limit characters.
func optionalText[T any](at func(row *T) **string, limit int) column[T] {
	return column[T]{
		get: func(row *T) any { return *at(row) },
		set: func(row *T, v any) error {
			if v == nil {
				*at(row) = nil
				return nil
			}
			text, err := textValue(v, limit)
			*at(row) = &text
			return err
		},
	}
}

func textValue(v any, limit int) (string, error) {
	s, ok := v.(string)
	if !ok {
		return "", fmt.Errorf("a string is expected")
	}
	if utf8.RuneCountInString(s) > limit {
		return "", fmt.Errorf("longer than %d characters", limit)
	}
	return s, nil
}

// optionalUUID is a nullable UUID.
func optionalUUID[T any](at func(row *T) **string) column[T] {
	c := optionalText(at, 64)
	plain := c.set
	c.set = func(row *T, v any) error {
		if s, ok := v.(string); ok {
			id, ok := parseUUID(s)
			if !ok {
				return fmt.Errorf("expected a UUID but received %s", s)
			}
			v = id
		}
		return plain(row, v)
	}
	return c
}

// flag is a boolean with a default.
func flag[T any](at func(row *T) *bool, fallback bool) column[T] {
	return column[T]{
		get: func(row *T) any { return *at(row) },
		set: func(row *T, v any) (err error) {
			*at(row) = fallback
			if v != nil {
				*at(row), err = boolValue(v)
			}
			return err
		},
	}
}

// optionalFlag is a nullable boolean.
func optionalFlag[T any](at func(row *T) **bool) column[T] {
	return column[T]{
		get: func(row *T) any { return *at(row) },
		set: func(row *T, v any) error {
			*at(row) = nil
			if v == nil {
				return nil
			}
			b, err := boolValue(v)
			if err == nil {
				*at(row) = &b
			}
			return err
		},
	}
}

func boolValue(v any) (bool, error) {
	switch v := v.(type) {
	case bool:
		return v, nil
	case string: // what clients with untyped command lines send
		if b, ok := parseBool(v); ok {
			return b, nil
		}
	}
	return false, fmt.Errorf("a boolean is expected")
}

// object is a JSON object, {} by default. check may be nil.
func object[T any](at func(row *T) *store.Object, check func(store.Object) error) column[T] {
	return column[T]{
		get: func(row *T) any {
			if o := *at(row); o != nil {
				return map[string]any(o)
			}
			return map[string]any{}
		},
		set: func(row *T, v any) error {
			if v == nil {
				*at(row) = store.Object{}
				return nil
			}
			o, ok := v.(map[string]any)
			if !ok {
				return fmt.Errorf("an object is expected")
			}
			*at(row) = o
			if check != nil {
				return check(o)
			}
			return nil
		},
	}
}

// moment is a nullable time.
func moment(t *time.Time) any {
	if t == nil {
		return (*ironic.Time)(nil)
	}
	return &ironic.Time{Time: *t}
}

// nonNegative accepts what clients send as a whole number: a number or its text.
func nonNegative(v any) bool {
	switch v := v.(type) {
	case nil:
		return true
	case float64:
		return v >= 0 && v == math.Trunc(v)
	case string:
		return v != "" && strings.Trim(v, "0123456789") == ""
	}
	return false
}
