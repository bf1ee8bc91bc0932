package flow

import (
	"context"
	"fmt"
	"sync"

	"ferric/conductor/provision"
	"ferric/conductor/store"
)

// bounded are the states that count against a limit, and the events that lead
// into them.
type bounded struct {
	states []provision.State
	events []provision.Event
}

// deployments and cleanings are what is limited (state-machine contract,
// section 4). Literal tables.
var (
	deployments = bounded{[]provision.State{provision.Deploying, provision.WaitCallback}, []provision.Event{provision.Deploy, provision.Rebuild}}
	cleanings   = bounded{[]provision.State{provision.Deleting, provision.Cleaning, provision.CleanWait}, []provision.Event{provision.Clean, provision.Delete}}
)

// admissions are the nodes that have been let in but whose new state is not in
// the database yet: without them, requests at one time would all find room.
type admissions struct {
	mu    sync.Mutex
	nodes map[int64]provision.Event
}

func (a *admissions) leave(id int64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.nodes, id)
}

// limitOf is what an event counts against; ok is false where there is no limit.
func (f *Flow) limitOf(event provision.Event) (b bounded, most int, ok bool) {
	switch event {
	case provision.Deploy, provision.Rebuild:
		return deployments, f.cfg.MaxConcurrentDeploy, true
	case provision.Clean, provision.Delete:
		return cleanings, f.cfg.MaxConcurrentClean, true
	}
	return bounded{}, 0, false
}

// admit refuses what would exceed the concurrent deployments or cleanings of
// the whole database or, if so configured, of the node's conductor group. What
// it lets in counts at once; leave is called when the node's state tells, or
// when nothing has come of it.
func (f *Flow) admit(ctx context.Context, id int64, event provision.Event) (leave func(), err error) {
	limit, most, ok := f.limitOf(event)
	if !ok {
		return func() {}, nil
	}
	n, err := f.store.NodeByID(ctx, id)
	if err != nil {
		return nil, err
	}
	f.admitted.mu.Lock()
	defer f.admitted.mu.Unlock()
	var among []int64 // that are on their way
	for other, wanted := range f.admitted.nodes {
		for _, e := range limit.events {
			if wanted == e && other != id {
				among = append(among, other)
			}
		}
	}
	var group *string
	if f.cfg.MaxConcurrentPerGroup {
		group = &n.ConductorGroup
	}
	count, err := f.store.CountNodes(ctx, store.Census{Except: id, States: limit.states, OrIDs: among, Group: group})
	if err != nil {
		return nil, err
	}
	if count >= most {
		if _, err := provision.Next(n.ProvisionState, event); err != nil {
			return func() {}, nil // which is the first thing to be refused
		}
		return nil, fmt.Errorf("%w: %d nodes are in %v already", ErrTooMany, count, limit.states)
	}
	if f.admitted.nodes == nil {
		f.admitted.nodes = map[int64]provision.Event{}
	}
	if _, twice := f.admitted.nodes[id]; twice { // whose own request answers for it
		return func() {}, nil
	}
	f.admitted.nodes[id] = event
	return func() { f.admitted.leave(id) }, nil
}
