package restapi

import (
	"testing"
	"unique"

	"ferric/conductor/store"
)

// TestNodeCache keeps what was asked for last, within its bounds.
func TestNodeCache(t *testing.T) {
	form, other := nodeForm{key: unique.Make("a")}, nodeForm{key: unique.Make("b")}
	c := newNodeCache(3*(nodeCacheItem+100) + 10)
	put := func(form nodeForm, id, revision int64) {
		c.put(form, &store.Node{ID: id, Revision: revision}, make([]byte, 100))
	}
	has := func(form nodeForm, id, revision int64) bool {
		return c.get(form, []*store.Revision{{ID: id, Revision: revision}})[0] != nil
	}
	put(form, 1, 1)
	put(form, 2, 1)
	put(other, 1, 1)
	if !has(form, 1, 1) || has(form, 1, 2) || has(other, 2, 1) {
		t.Error("texts of other revisions or forms are found")
	}
	put(form, 3, 1) // in the place of what was not asked for
	if !has(form, 1, 1) || has(form, 2, 1) || !has(form, 3, 1) {
		t.Error("what was used last is not what is kept")
	}
	for revision := range int64(50) {
		put(form, 3, revision)
	}
	if !has(form, 1, 1) || has(form, 3, 48) || !has(form, 3, 49) {
		t.Error("revisions of a node do not replace each other")
	}
	for id := range int64(50) {
		put(other, id, 1)
	}
	if len(c.items) != 3 || c.order.Len() != 3 || c.size > c.limit {
		t.Errorf("%d and %d entries, %d bytes; want 3 entries in %d", len(c.items), c.order.Len(), c.size, c.limit)
	}
	c.put(form, &store.Node{ID: 9}, make([]byte, 10000)) // alone too large
	if c.size != 0 || len(c.items) != 0 {
		t.Errorf("%d bytes are kept of an entry that is too large", c.size)
	}
}

// The time of a heartbeat makes another text only where it is shown.
func TestNodeFormState(t *testing.T) {
	for name, form := range map[string]nodeForm{
		"whole": {}, "with the time": {fields: []string{"uuid", "updated_at"}}, "with what the agent said": {fields: []string{"driver_internal_info"}},
	} {
		if form.state(7, 2) == form.state(8, 3) {
			t.Errorf("%s: a heartbeat is not seen", name)
		}
	}
	list := nodeForm{fields: nodeListFields}
	if list.state(7, 2) != list.state(8, 3) {
		t.Error("a heartbeat has lists made anew that do not show it")
	}
	if list.state(7, 2) == list.state(8, 2) {
		t.Error("a change is not seen")
	}
}
