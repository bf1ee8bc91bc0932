package flow_test

import (
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/google/uuid"

	"ferric/conductor/flow"
	"ferric/conductor/provision"
	"ferric/conductor/store"
)

// crowd makes nodes like that of the rig, in a state, in the groups in turn.
func (r *rig) crowd(count int, state provision.State, groups ...string) (ids []int64) {
	r.t.Helper()
	model := r.row()
	for i := range count {
		n := &store.Node{
			UUID: uuid.NewString(), Driver: model.Driver, DeployInterface: model.DeployInterface, InstanceInfo: model.InstanceInfo,
			ProvisionState: state, ConductorGroup: groups[i%len(groups)],
		}
		if err := r.flow.CreateNode(r.t.Context(), n); err != nil {
			r.t.Fatal(err)
		}
		ids = append(ids, n.ID)
	}
	return ids
}

// rush performs a verb on nodes at one time and counts those that were let in.
func (r *rig) rush(target string, ids []int64) (let int) {
	r.t.Helper()
	verb, _ := provision.VerbFor(target)
	var mu sync.Mutex
	var all sync.WaitGroup
	for _, id := range ids {
		all.Go(func() {
			err := r.flow.Provision(r.t.Context(), id, flow.ProvisionRequest{Verb: verb, CleanSteps: []flow.Step{{Interface: "deploy", Step: "erase_devices"}}})
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				let++
			} else if !errors.Is(err, flow.ErrTooMany) {
				r.t.Errorf("%s: %v", target, err)
			}
		})
	}
	all.Wait()
	return let
}

// TestLimitsHoldInARush: of requests at one time as many are let in as there is
// room for, not one more, and those before count as long as they go on.
func TestLimitsHoldInARush(t *testing.T) {
	for target, state := range map[string]provision.State{"active": provision.Available, "clean": provision.Manageable, "deleted": provision.Active} {
		for _, perGroup := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s per group %v", target, perGroup), func(t *testing.T) {
				t.Parallel()
				r := newRig(t, func(c *flow.Config) {
					c.MaxConcurrentDeploy, c.MaxConcurrentClean, c.MaxConcurrentPerGroup = 2, 2, perGroup
				})
				ids := r.crowd(12, state, "east", "west")
				want := 2
				if perGroup {
					want = 4
				}
				if let := r.rush(target, ids); let != want {
					t.Errorf("%d were let in; want %d", let, want)
				}
				r.tasks.Wait()
				if let := r.rush(target, r.crowd(3, state, "east", "west")); let != 0 {
					t.Errorf("%d more were let in; want none", let)
				}
			})
		}
	}
}

// TestRefusedDoesNotCount: what is refused for another reason leaves its room.
func TestRefusedDoesNotCount(t *testing.T) {
	r := newRig(t, func(c *flow.Config) { c.MaxConcurrentDeploy = 1 })
	r.change(in(provision.Available))
	r.change(maintenance)
	for range 3 {
		if err := r.do("active", flow.ProvisionRequest{}); !errors.Is(err, flow.ErrInMaintenance) {
			t.Errorf("deployment in maintenance: %v", err)
		}
	}
	r.change(in(provision.Available))
	r.change(func(n *store.Node) { n.DriverInternalInfo = store.Object{} })
	r.must("active", provision.WaitCallback)
}
