package restapi

import (
	"maps"
	"reflect"
	"slices"
	"strings"

	"ferric/api"
	"ferric/api/ironic"
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

// viewLinks is for how many members besides its fields a view has room.
const viewLinks = 5

// view makes the wire form of a row as version v knows it. names selects
// fields; nil is all of them.
func (fs fields[T]) view(row *T, v ironic.Version, names []string) map[string]any {
	size := len(names)
	if names == nil {
		size = len(fs)
	}
	out := make(map[string]any, size+viewLinks)
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

// read fills a new row from the request's body, in which the mandatory members
// have to be.
func (fs fields[T]) read(r *request, row *T, mandatory ...string) error {
	body, err := r.decodeObject()
	if err != nil {
		return err
	}
	if err := fs.fill(row, body, r.version); err != nil {
		return err
	}
	for _, name := range mandatory {
		if body[name] == nil {
			return badRequest("Mandatory field missing: %s.", name)
		}
	}
	return nil
}

// readPatch reads and checks the patch that is the request's body.
func (fs fields[T]) readPatch(r *request) (api.Patch, error) {
	p, err := api.ParsePatch(r.body)
	if err != nil {
		return p, err
	}
	return p, fs.checkPatch(p, r.version)
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

// changed lists the names of the fields that differ between two rows.
func (fs fields[T]) changed(before, after *T) []string {
	var names []string
	for _, f := range fs {
		if !reflect.DeepEqual(f.get(before), f.get(after)) {
			names = append(names, f.name)
		}
	}
	return names
}
