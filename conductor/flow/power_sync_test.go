package flow_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/google/uuid"

	"ferric/conductor/flow"
	"ferric/conductor/provision"
	"ferric/conductor/store"
	"ferric/conductor/task"
)

// A pass compares every node whose power is ours to compare, over many pages,
// also one that is locked when its turn comes; and no other.
func TestPowerSyncPass(t *testing.T) {
	const interval = 2 * time.Second
	r := newRig(t, func(c *flow.Config) { c.SyncPowerStateWorkers = 3 })
	r.must("manage", provision.Manageable)
	compared := map[int64]bool{}
	add := func(state provision.State, want bool, change func(n *store.Node)) int64 {
		t.Helper()
		n := &store.Node{UUID: uuid.NewString(), Driver: "fake-hardware", ProvisionState: state}
		if change != nil {
			change(n)
		}
		if err := r.flow.CreateNode(t.Context(), n); err != nil {
			t.Fatal(err)
		}
		compared[n.ID] = want
		return n.ID
	}
	locked := add(provision.Active, true, nil)
	for i := range 120 {
		add(provision.Active, true, nil)
		switch i {
		case 10:
			add(provision.Enroll, false, nil)
		case 40:
			add(provision.WaitCallback, false, nil)
		case 70:
			add(provision.Available, false, func(n *store.Node) { n.Maintenance = true })
		case 100:
			add(provision.Available, false, func(n *store.Node) { n.TargetPowerState = set("power on") })
		}
	}
	held, done := make(chan struct{}), make(chan error)
	go func() {
		done <- r.tasks.Do(t.Context(), locked, "test", func(ctx context.Context, tk *task.Task) error {
			close(held)
			// It is given back when later nodes have had their turn.
			for {
				n, err := r.db.Nodes(ctx, store.Query{Where: []string{"power_state IS NOT NULL"}})
				if err != nil || len(n) > 60 {
					return err
				}
				select {
				case <-ctx.Done():
					return ctx.Err()
				case <-time.After(5 * time.Millisecond):
				}
			}
		})
	}()
	<-held
	began := time.Now()
	if err := r.flow.NewPowerSync(interval).Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	took := time.Since(began)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	nodes, err := r.db.Nodes(t.Context(), store.Query{})
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range nodes {
		if want, known := compared[n.ID]; known && want != (n.PowerState != nil) {
			t.Errorf("node %d in state %s, maintenance %t: compared %t", n.ID, n.ProvisionState, n.Maintenance, !want)
		}
	}
	// Two pages of three are out at two thirds of the spread; the last is not waited for.
	if took < interval/4 {
		t.Errorf("the pass rushed through in %v", took)
	}
}

// Without workers nothing is compared.
func TestPowerSyncWorkers(t *testing.T) {
	cfg := flow.DefaultConfig()
	for _, workers := range []int{0, -1} {
		cfg.SyncPowerStateWorkers = workers
		if err := cfg.Validate(); err == nil {
			t.Error(fmt.Sprint(workers, " workers are taken"))
		}
	}
}
