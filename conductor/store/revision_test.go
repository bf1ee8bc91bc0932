package store

import (
	"path/filepath"
	"testing"
)

// TestRevision: whatever changes a node, its revision never comes again.
func TestRevision(t *testing.T) {
	s := openStore(t, filepath.Join(t.TempDir(), "db.sqlite"))
	ctx := t.Context()
	n := &Node{UUID: "node", Driver: "fake-hardware", ProvisionState: "active"}
	if err := s.CreateNode(ctx, n); err != nil {
		t.Fatal(err)
	}
	seen := map[int64]string{n.Revision: "created"}
	for _, change := range []struct {
		name string
		do   func() error
	}{
		{"saved", func() error { return s.SaveNode(ctx, n) }},
		{"saved without the lock", func() error { return s.SaveUnreserved(ctx, n, nil) }},
		{"reserved", func() error { _, err := s.Reserve(ctx, "host", n.ID); return err }},
		{"released", func() error { return s.Release(ctx, "host", n.ID) }},
		{"changed in passing", func() error { _, err := s.exec(ctx, "UPDATE nodes SET owner = 'x' WHERE id = ?", n.ID); return err }},
		{"made anew", func() error {
			if err := s.DeleteNode(ctx, n.ID); err != nil {
				return err
			}
			before := n.ID
			err := s.CreateNode(ctx, n)
			if n.ID != before {
				t.Errorf("the new node has the id %d; the test is about %d", n.ID, before)
			}
			return err
		}},
	} {
		if err := change.do(); err != nil {
			t.Fatalf("%s: %v", change.name, err)
		}
		r, err := s.NodeRevision(ctx, "node")
		if err != nil {
			t.Fatal(err)
		}
		if other, known := seen[r.Revision]; known {
			t.Errorf("%s: revision %d is that of: %s", change.name, r.Revision, other)
		}
		seen[r.Revision] = change.name
		all, err := s.NodeRevisions(ctx, Query{})
		if err != nil || len(all) != 1 || all[0].ID != n.ID || all[0].Revision != r.Revision {
			t.Errorf("%s: the list has %v, %v; want %v", change.name, all, err, r)
		}
	}
}
