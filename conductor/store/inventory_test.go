package store_test

import (
	"errors"
	"path/filepath"
	"testing"

	"github.com/google/uuid"

	"ferric/conductor/store"
)

// TestFindingsAreKeptWhole: where the node cannot be written nothing is that was
// found with it; where a new port's address is taken, all else is.
func TestFindingsAreKeptWhole(t *testing.T) {
	s := open(t, filepath.Join(t.TempDir(), "ferric.sqlite"))
	n, other := create(t, s, "one"), create(t, s, "other")
	port := func(node *store.Node, address string) *store.Port {
		return &store.Port{UUID: uuid.NewString(), Address: address, NodeID: node.ID, Extra: store.Object{}}
	}
	stays, goes, theirs := port(n, "52:54:00:00:00:01"), port(n, "52:54:00:00:00:02"), port(other, "52:54:00:00:00:03")
	for _, p := range []*store.Port{stays, goes, theirs} {
		if err := s.CreatePort(t.Context(), p); err != nil {
			t.Fatal(err)
		}
	}
	n, err := s.Reserve(t.Context(), "test", n.ID)
	if err != nil {
		t.Fatal(err)
	}
	stays.Extra = store.Object{"seen": 1.}
	save := func(name string) ([]*store.Port, error) {
		n.Name = &name
		return s.SaveFindings(t.Context(), n, store.Findings{
			New: []*store.Port{port(n, "52:54:00:00:00:03"), port(n, "52:54:00:00:00:04")}, Changed: []*store.Port{stays}, Gone: []int64{goes.ID},
			Inventory: &store.Inventory{Inventory: []byte(`{"a":1}`), PluginData: []byte(`{}`)},
		}, nil, nil, store.HistoryLimits{})
	}
	ports := func() (addresses map[string]bool, seen int) {
		list, err := s.NodePorts(t.Context(), n.ID)
		if err != nil {
			t.Fatal(err)
		}
		addresses = map[string]bool{}
		for _, p := range list {
			addresses[p.Address] = true
			seen += len(p.Extra)
		}
		return addresses, seen
	}

	if _, err := save("other"); !errors.Is(err, store.ErrDuplicate) {
		t.Fatalf("a name that is taken: %v", err)
	}
	if at, seen := ports(); len(at) != 2 || !at[goes.Address] || seen != 0 {
		t.Errorf("the node was not written, but its ports: %v, %d changed", at, seen)
	}
	if _, err := s.Inventory(t.Context(), n.ID); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("the node was not written, its inventory: %v", err)
	}

	taken, err := save("fresh")
	if err != nil || len(taken) != 1 || taken[0].Address != theirs.Address {
		t.Fatalf("taken %v, %v; want the other node's", taken, err)
	}
	if at, seen := ports(); len(at) != 2 || !at[stays.Address] || !at["52:54:00:00:00:04"] || seen != 1 {
		t.Errorf("ports %v, %d changed; want one new in place of the one that is gone", at, seen)
	}
	if inv, err := s.Inventory(t.Context(), n.ID); err != nil || string(inv.Inventory) != `{"a":1}` {
		t.Errorf("inventory %s, %v", inv.Inventory, err)
	}
}
