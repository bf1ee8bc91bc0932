package store_test

import (
	"errors"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ferric/conductor/provision"
	"ferric/conductor/store"
)

func makeNode(t *testing.T, s *store.Store, name string) *store.Node {
	t.Helper()
	n := &store.Node{UUID: "00000000-0000-4000-8000-" + strings.Repeat("0", 12-len(name)) + name, Name: &name, Driver: "fake-hardware",
		ProvisionState: provision.Available, InstanceInfo: store.Object{}}
	if err := s.CreateNode(t.Context(), n); err != nil {
		t.Fatal(err)
	}
	return n
}

// TestAllocation walks through the life of an allocation and its node's share
// of it.
func TestAllocation(t *testing.T) {
	s := open(t, filepath.Join(t.TempDir(), "ferric.sqlite"))
	n := makeNode(t, s, "1")
	a := &store.Allocation{UUID: "a1", State: store.Allocating, Traits: store.Strings{"CUSTOM_X"}}
	if err := s.CreateAllocation(t.Context(), a); err != nil {
		t.Fatal(err)
	}
	if err := s.CreateAllocation(t.Context(), &store.Allocation{UUID: "a1", State: store.Allocating}); !errors.Is(err, store.ErrDuplicate) {
		t.Errorf("a second allocation with the UUID gives %v", err)
	}
	if err := s.Assign(t.Context(), a, n); err != nil {
		t.Fatal(err)
	}
	if err := s.Assign(t.Context(), a, makeNode(t, s, "2")); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("an allocation got a second node: %v", err)
	}
	got, err := s.Node(t.Context(), n.UUID)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]any{"a1", "a1", []any{"CUSTOM_X"}}, []any{*got.InstanceUUID, *got.AllocationUUID, got.InstanceInfo["traits"]}); diff != "" {
		t.Errorf("the node differs (-want +got):\n%s", diff)
	}
	if err := s.DeleteWaitingAllocation(t.Context(), a.ID); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("an allocation went away under its node: %v", err)
	}
	// The node loses its instance, and with it the allocation.
	got.InstanceUUID = nil
	if err := s.SaveNode(t.Context(), got); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Allocation(t.Context(), "a1"); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("the allocation of a node without instance: %v", err)
	}
	if got, _ = s.Node(t.Context(), n.UUID); got.AllocationUUID != nil {
		t.Errorf("the node still shows allocation %s", *got.AllocationUUID)
	}
	// A node that goes takes its allocation along.
	b := &store.Allocation{UUID: "b1", State: store.Allocating}
	if err := errors.Join(s.CreateAllocationOf(t.Context(), b, got), s.DeleteNode(t.Context(), n.ID)); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Allocation(t.Context(), "b1"); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("the allocation of a deleted node: %v", err)
	}
}
