package flow_test

import (
	"testing"
	"time"

	"ferric/conductor/provision"
	"ferric/conductor/store"
)

// TestAllocationAfterRestart leaves an allocation waiting, as a conductor that
// dies does: the next start finds its node.
func TestAllocationAfterRestart(t *testing.T) {
	r := newRig(t, nil)
	class := "large"
	n := r.row()
	n.ProvisionState, n.TargetProvisionState, n.ResourceClass = provision.Available, nil, &class
	if err := r.db.SaveNode(t.Context(), n); err != nil {
		t.Fatal(err)
	}
	a := &store.Allocation{UUID: "5344a3e2-978a-444e-990a-cbf47c62ef88", State: store.Allocating, ResourceClass: &class}
	if err := r.db.CreateAllocation(t.Context(), a); err != nil {
		t.Fatal(err)
	}
	if _, err := r.db.Reserve(t.Context(), "dead", n.ID); err != nil {
		t.Fatal(err)
	}
	if err := r.flow.Recover(t.Context()); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(10 * time.Second); ; {
		got, err := r.db.Allocation(t.Context(), a.UUID)
		if err != nil || time.Now().After(deadline) {
			t.Fatalf("allocation %+v, %v", got, err)
		}
		if got.State == store.AllocationActive && *got.NodeUUID == n.UUID {
			break
		}
	}
	if n := r.reach(provision.Available); n.InstanceUUID == nil || *n.InstanceUUID != a.UUID {
		t.Errorf("the node has instance %v", n.InstanceUUID)
	}
}
