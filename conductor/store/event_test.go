package store_test

import (
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"ferric/conductor/store"
)

// TestEventStream reads events as a stream does: behind the id that was read
// last, woken by what was committed.
func TestEventStream(t *testing.T) {
	s := open(t, filepath.Join(t.TempDir(), "db.sqlite"))
	n, other := makeNode(t, s, "1"), makeNode(t, s, "2")
	changed, stop := s.WatchEvents()
	woken := func() bool {
		select {
		case <-changed:
			return true
		default:
			return false
		}
	}
	if err := s.SaveNode(t.Context(), n); err != nil || woken() {
		t.Errorf("a commit without an event woke who waits for events: %v", err)
	}
	for i := range 3 {
		n.LastError = new(fmt.Sprint(i))
		if err := s.SaveNodeWith(t.Context(), n, []store.Event{{Time: time.Now(), Kind: "state", Data: store.Object{"i": float64(i)}}}, nil, store.HistoryLimits{}); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.AddEvent(t.Context(), other.ID, time.Now(), "dhcp", "x"); err != nil {
		t.Fatal(err)
	}
	if !woken() || woken() {
		t.Error("four commits wake once")
	}
	read := func(f store.EventFilter) string {
		t.Helper()
		list, err := s.EventsOf(t.Context(), f)
		if err != nil {
			t.Fatal(err)
		}
		text := ""
		for _, e := range list {
			text += fmt.Sprintln(e.ID, e.Kind, e.Node == n.UUID, e.Data["i"])
		}
		return text
	}
	for want, f := range map[string]store.EventFilter{
		"1 state true 0\n2 state true 1\n3 state true 2\n4 dhcp false <nil>\n": {Limit: 9},
		"2 state true 1\n3 state true 2\n":                                     {Limit: 2, After: 1},
		"3 state true 2\n4 dhcp false <nil>\n":                                 {Limit: 2, Newest: true},
		"4 dhcp false <nil>\n":                                                 {Limit: 9, Kinds: []string{"dhcp", "tftp"}},
		"3 state true 2\n":                                                     {Limit: 9, NodeID: n.ID, After: 2},
		"":                                                                     {Limit: 9, Project: "nobody's"},
	} {
		if got := read(f); got != want {
			t.Errorf("%+v: %q, want %q", f, got, want)
		}
	}
	// The ids of a node that is gone are not given again.
	if err := s.DeleteNode(t.Context(), other.ID); err != nil {
		t.Fatal(err)
	}
	if oldest, newest, err := s.EventRange(t.Context()); oldest != 1 || newest != 4 || err != nil {
		t.Errorf("events %d to %d: %v", oldest, newest, err)
	}
	stop()
	if err := s.AddEvent(t.Context(), n.ID, time.Now(), "dhcp", "y"); err != nil || woken() {
		t.Errorf("told after stop: %v", err)
	}
	if got := read(store.EventFilter{Limit: 9, After: 3}); got != "5 dhcp true <nil>\n" {
		t.Errorf("after a deletion: %q", got)
	}
}
