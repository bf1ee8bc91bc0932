package flow_test

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"ferric/conductor/flow"
	"ferric/conductor/provision"
	"ferric/conductor/store"
	"ferric/conductor/task"
)

// TestDiscoveryOnce: a machine that sends its data several times becomes one
// node, also while nothing is known of it but that, and after a failure.
func TestDiscoveryOnce(t *testing.T) {
	r := newRig(t, func(c *flow.Config) { c.AutoDiscovery, c.AutoDiscoveryDriver = true, "fake-hardware" })
	fails := func(document map[string]any) {
		document["error"] = "no disks"
		for i, nic := range document["inventory"].(map[string]any)["interfaces"].([]any) {
			nic.(map[string]any)["mac_address"] = fmt.Sprintf("52:54:00:77:01:%02d", i)
		}
	}
	var sending sync.WaitGroup
	var accepted atomic.Int32
	for range 8 {
		data := found(t, fails)
		sending.Go(func() {
			_, _, err := r.flow.ContinueInspection(t.Context(), "", data, false)
			var locked *task.LockedError
			switch {
			case err == nil:
				accepted.Add(1)
			case !errors.Is(err, store.ErrNotFound) && !errors.As(err, &locked):
				t.Errorf("data at the same time: %v", err)
			}
		})
	}
	sending.Wait()
	r.tasks.Wait()
	nodes, err := r.db.NodesIn(t.Context(), provision.InspectFailed)
	if err != nil || len(nodes) != 1 || accepted.Load() != 1 {
		t.Fatalf("%d nodes, data was taken %d times, %v; want one of each", len(nodes), accepted.Load(), err)
	}
	if _, _, err := r.flow.ContinueInspection(t.Context(), "", found(t, fails), false); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("data after the failure: %v", err)
	}
}

// TestDiscovery: a machine that nobody knows becomes a node if that is wanted.
func TestDiscovery(t *testing.T) {
	r := newRig(t, func(c *flow.Config) { c.AutoDiscovery, c.AutoDiscoveryDriver = true, "fake-hardware" })
	if _, _, err := r.flow.ContinueInspection(t.Context(), "", found(t, nil), false); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("data of a node that does not wait for it: %v", err)
	}
	other := func(document map[string]any) {
		for i, nic := range document["inventory"].(map[string]any)["interfaces"].([]any) {
			nic.(map[string]any)["mac_address"] = fmt.Sprintf("52:54:00:77:01:%02d", i)
		}
	}
	n, _, err := r.flow.ContinueInspection(t.Context(), "", found(t, other), false)
	if err != nil || n.ID == r.node {
		t.Fatalf("node %v, %v", n, err)
	}
	r.node = n.ID
	if n = r.reach(provision.Manageable); n.Driver != "fake-hardware" || n.Properties["cpu_arch"] != "x86_64" || n.InspectionFinishedAt == nil {
		t.Errorf("discovered: %s, %v", n.Driver, n.Properties)
	}
	ports, err := r.db.NodePorts(t.Context(), n.ID)
	if err != nil || len(ports) != 2 {
		t.Errorf("%d ports, %v; want 2", len(ports), err)
	}
	if _, _, err := r.flow.ContinueInspection(t.Context(), "", found(t, other), false); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("data of a discovered node again: %v", err)
	}
}
