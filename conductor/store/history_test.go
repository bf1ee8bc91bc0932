package store_test

import (
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"ferric/conductor/store"
)

// TestHistory writes more than is kept: the newest stay, and what is too young
// to go.
func TestHistory(t *testing.T) {
	s := open(t, filepath.Join(t.TempDir(), "ferric.sqlite"))
	n, other := makeNode(t, s, "1"), makeNode(t, s, "2")
	add := func(n *store.Node, event string, age time.Duration, limits store.HistoryLimits) {
		t.Helper()
		h := store.History{Severity: store.SeverityInfo, Event: event, CreatedAt: time.Now().Add(-age)}
		if err := s.SaveNodeWith(t.Context(), n, nil, []store.History{h}, limits); err != nil {
			t.Fatal(err)
		}
	}
	want := func(n *store.Node, want string) {
		t.Helper()
		list, err := s.NodeHistory(t.Context(), n.ID, store.Query{})
		if err != nil {
			t.Fatal(err)
		}
		var events []string
		for _, h := range list {
			events = append(events, h.Event)
		}
		if got := strings.Join(events, " "); got != want {
			t.Errorf("the history is %q, want %q", got, want)
		}
	}
	add(other, "x", time.Hour, store.HistoryLimits{})
	for _, event := range []string{"a", "b", "c", "d"} {
		add(n, event, time.Hour, store.HistoryLimits{Max: 3})
	}
	want(n, "b c d")
	add(n, "e", time.Minute, store.HistoryLimits{Max: 1, Keep: 24 * time.Hour})
	want(n, "b c d e")
	if gone, err := s.PurgeHistory(t.Context(), store.HistoryLimits{Max: 1, Keep: 30 * time.Minute}, 2); gone != 2 || err != nil {
		t.Errorf("a batch of 2 purged %d: %v", gone, err)
	}
	want(n, "d e")
	if gone, err := s.PurgeHistory(t.Context(), store.HistoryLimits{}, 2); gone != 0 || err != nil {
		t.Errorf("without a limit %d were purged: %v", gone, err)
	}
	want(other, "x")
	add(other, strings.Repeat("ä", 40000), 0, store.HistoryLimits{})
	list, err := s.NodeHistory(t.Context(), other.ID, store.Query{Desc: true, Limit: 1})
	if err != nil || len(list) != 1 {
		t.Fatalf("%d entries: %v", len(list), err)
	}
	if e := list[0].Event; len(e) > 65535 || len(e) < 65530 || !utf8.ValidString(e) || !strings.Contains(e, "ä ... ä") {
		t.Errorf("a long text has %d bytes, valid %v", len(e), utf8.ValidString(e))
	}
}
