package flow

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"ferric/conductor/provision"
	"ferric/conductor/store"
	"ferric/conductor/task"
)

// CreateAllocation stores a, which waits for a node, and has a worker look for
// one (state-machine contract, section 13).
func (f *Flow) CreateAllocation(ctx context.Context, a *store.Allocation) error {
	if err := f.store.CreateAllocation(ctx, a); err != nil {
		return err
	}
	waiting := *a
	err := f.tasks.Go("allocation "+a.UUID, func(ctx context.Context) error { return f.allocate(ctx, &waiting) })
	if err != nil { // who is told to come again finds nothing in the way
		return errors.Join(err, f.store.DeleteWaitingAllocation(context.WithoutCancel(ctx), a.ID))
	}
	return nil
}

// ResumeAllocations goes on with the allocations that an earlier process left
// without a node.
func (f *Flow) ResumeAllocations(ctx context.Context) error {
	waiting, err := f.store.Allocations(ctx, store.Query{Where: []string{"allocations.state = ?"}, Args: []any{store.Allocating}})
	if err != nil || len(waiting) == 0 {
		return err
	}
	return f.tasks.Go("earlier allocations", func(ctx context.Context) error {
		var failed []error
		for _, a := range waiting {
			failed = append(failed, f.allocate(ctx, a))
		}
		return errors.Join(failed...)
	})
}

// errAllocationGone ends the search for a node of an allocation that was
// deleted meanwhile.
var errAllocationGone = errors.New("the allocation is gone")

// allocate finds a node for a, or writes down why there is none.
func (f *Flow) allocate(ctx context.Context, a *store.Allocation) error {
	err := f.takeNode(ctx, a)
	switch {
	case err == nil:
		f.log.WithField("allocation", a.UUID).WithField("node", *a.NodeUUID).Info("node allocated")
		return nil
	case errors.Is(err, errAllocationGone):
		return nil
	case ctx.Err() != nil: // the next start goes on with it
		return ctx.Err()
	}
	f.log.WithField("allocation", a.UUID).WithError(err).Warn("allocation failed")
	return f.store.FailAllocation(ctx, a.ID, fmt.Sprintf("Failed to process allocation %s: %v.", a.UUID, err))
}

// takeNode tries the nodes that match in random order, so that allocations at
// the same time do not want the same one; a node with the allocation's name
// goes first. Nodes that are locked are tried again for as long as
// everybody waits for a lock.
func (f *Flow) takeNode(ctx context.Context, a *store.Allocation) error {
	nodes, err := f.candidates(ctx, a)
	if err != nil {
		return err
	}
	rand.Shuffle(len(nodes), func(i, j int) { nodes[i], nodes[j] = nodes[j], nodes[i] })
	if a.Name != nil {
		slices.SortStableFunc(nodes, func(x, y store.Candidate) int { return named(y, *a.Name) - named(x, *a.Name) })
	}
	attempts, pause := f.tasks.LockRetries()
	for try := 0; ; try++ {
		locked, err := f.tryNodes(ctx, a, nodes)
		switch {
		case err != nil || a.NodeID != nil:
			return err
		case len(locked) == 0:
			return errors.New("all nodes were filtered out during reservation")
		case try >= attempts:
			return fmt.Errorf("could not reserve any of %d suitable nodes", len(locked))
		}
		nodes = locked
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(pause):
		}
	}
}

func named(n store.Candidate, name string) int {
	if n.Name != nil && *n.Name == name {
		return 1
	}
	return 0
}

// candidates are the nodes that match as far as can be told without their locks.
func (f *Flow) candidates(ctx context.Context, a *store.Allocation) ([]store.Candidate, error) {
	nodes, err := f.store.Candidates(ctx, a)
	switch {
	case err != nil:
		return nil, err
	case len(nodes) == 0 && len(a.CandidateNodes) > 0:
		return nil, fmt.Errorf("none of the requested nodes are available and match the resource class %s", deref(a.ResourceClass))
	case len(nodes) == 0:
		return nil, fmt.Errorf("no available nodes match the resource class %s", deref(a.ResourceClass))
	}
	nodes = slices.DeleteFunc(nodes, func(n store.Candidate) bool { return !hasTraits(n.Traits, a.Traits) })
	if len(nodes) == 0 {
		return nil, fmt.Errorf("no suitable nodes have the requested traits %s", strings.Join(a.Traits, ", "))
	}
	return nodes, nil
}

func hasTraits(has, wanted []string) bool {
	return !slices.ContainsFunc(wanted, func(t string) bool { return !slices.Contains(has, t) })
}

func deref(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

// tryNodes gives a the first of nodes that still matches under its lock, and
// returns those that were locked.
func (f *Flow) tryNodes(ctx context.Context, a *store.Allocation, nodes []store.Candidate) (locked []store.Candidate, err error) {
	for _, candidate := range nodes {
		err := f.tasks.TryDo(ctx, candidate.ID, "allocating", func(ctx context.Context, t *task.Task) error {
			n := t.Node
			if n.Maintenance || n.InstanceUUID != nil || n.ProvisionState != provision.Available ||
				deref(n.ResourceClass) != deref(a.ResourceClass) || !hasTraits(n.Traits, a.Traits) {
				return nil // changed since it was listed
			}
			err := f.store.Assign(ctx, a, n)
			if errors.Is(err, store.ErrNotFound) {
				return errAllocationGone
			}
			return err
		})
		var taken *task.LockedError
		switch {
		case errors.As(err, &taken):
			locked = append(locked, candidate)
		case errors.Is(err, store.ErrNotFound): // the node was deleted
		case err != nil || a.NodeID != nil:
			return nil, err
		}
	}
	return locked, nil
}

// AllocateNode makes an allocation for a node that is in use already.
func (f *Flow) AllocateNode(ctx context.Context, a *store.Allocation, nodeID int64) error {
	return f.tasks.Do(ctx, nodeID, "allocation backfilling", func(ctx context.Context, t *task.Task) error {
		n := t.Node
		var wrong []string
		if n.ProvisionState != provision.Active {
			wrong = append(wrong, fmt.Sprintf(`Node must be in the "active" state, but the current state is %q`, n.ProvisionState))
		}
		if a.ResourceClass != nil && deref(n.ResourceClass) != *a.ResourceClass {
			wrong = append(wrong, fmt.Sprintf("Resource class %s does not match the requested resource class %s", deref(n.ResourceClass), *a.ResourceClass))
		}
		if !hasTraits(n.Traits, a.Traits) {
			wrong = append(wrong, fmt.Sprintf("List of traits %v does not match the requested traits %v", n.Traits, a.Traits))
		}
		if len(a.CandidateNodes) > 0 && !slices.Contains(a.CandidateNodes, n.UUID) {
			wrong = append(wrong, fmt.Sprintf("Candidate nodes must be empty or contain the target node, but got %v", a.CandidateNodes))
		}
		if len(wrong) > 0 {
			return conflict("Failed to process allocation %s: Cannot backfill an allocation for node %s: %s.", a.UUID, n.UUID, strings.Join(wrong, "; "))
		}
		if n.InstanceUUID != nil && *n.InstanceUUID != a.UUID {
			return conflict("Node %s is associated with instance %s.", n.UUID, *n.InstanceUUID)
		}
		return f.store.CreateAllocationOf(ctx, a, n)
	})
}

// updatable are the states with a target in which a node may be changed all
// the same (REST contract, section 3.3).
var updatable = []provision.State{provision.DeployFailed, provision.Inspecting, provision.InspectWait, provision.InspectFailed,
	provision.CleanFailed, provision.Error, provision.Verifying, provision.AdoptFailed, provision.RescueFailed, provision.UnrescueFailed,
	provision.ServiceHold, provision.ServiceFailed}

// DeleteAllocation ends an allocation and frees its node.
func (f *Flow) DeleteAllocation(ctx context.Context, a *store.Allocation) error {
	if a.NodeID == nil {
		err := f.store.DeleteWaitingAllocation(ctx, a.ID)
		if !errors.Is(err, store.ErrNotFound) {
			return err
		}
		if a, err = f.store.Allocation(ctx, a.UUID); err != nil { // it has got a node meanwhile, or is gone
			return err
		}
		if a.NodeID == nil { // another one by now, with the same UUID
			return conflict("Allocation %s is being processed.", a.UUID)
		}
	}
	return f.tasks.Do(ctx, *a.NodeID, "deallocation", func(ctx context.Context, t *task.Task) error {
		n := t.Node
		if n.AllocationUUID == nil || *n.AllocationUUID != a.UUID {
			return fmt.Errorf("allocation %s: %w", a.UUID, store.ErrNotFound)
		}
		switch {
		case n.Maintenance:
		case n.TargetProvisionState != nil && !slices.Contains(updatable, n.ProvisionState):
			return conflict("Cannot remove allocation %s for node %s, because the node is in state %s where updates are not allowed (and maintenance mode is off)", a.UUID, n.UUID, n.ProvisionState)
		case n.ProvisionState == provision.Active:
			return conflict("Cannot remove allocation %s for node %s, because the node is active (and maintenance mode is off)", a.UUID, n.UUID)
		}
		n.InstanceUUID = nil
		return t.Save(ctx) // ends the allocation as well
	})
}
