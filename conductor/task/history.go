package task

import (
	"context"
	"fmt"
	"time"

	"ferric/conductor/provision"
	"ferric/conductor/store"
)

// Actor is who asked for what a task does, as the history shows it.
type Actor struct {
	User, Project string // "" when nobody knows
	Request       string // id of the request
}

type actorKey struct{}

// WithActor makes the tasks of ctx, and their background work, those of an actor.
func WithActor(ctx context.Context, a Actor) context.Context {
	return context.WithValue(ctx, actorKey{}, a)
}

// eventTypes name what was going on in a state, where that is no part of
// provisioning. Literal table.
var eventTypes = map[provision.State]string{
	provision.Verifying: "verify",
	provision.Cleaning:  "cleaning", provision.CleanWait: "cleaning", provision.CleanHold: "cleaning",
	provision.Inspecting: "introspection", provision.InspectWait: "introspection",
	provision.Adopting: "adopting",
	provision.Rescuing: "rescue", provision.RescueWait: "rescue", provision.Unrescuing: "unrescue",
	provision.Servicing: "servicing", provision.ServiceWait: "servicing", provision.ServiceHold: "servicing",
}

// record adds an entry to the node's history, to be written with the node. The
// node is still in the state that the entry is about.
func (t *Task) record(severity, text string) {
	if t.manager != nil && t.manager.cfg.History != nil {
		t.history = append(t.history, t.manager.entry(t.Node, t.actor, severity, text))
	}
}

// HistoryEntry makes an entry about a node that is not locked, as far as history
// is kept, and tells how much is.
func (m *Manager) HistoryEntry(n *store.Node, severity, text string) ([]store.History, store.HistoryLimits) {
	if m.cfg.History == nil {
		return nil, store.HistoryLimits{}
	}
	return []store.History{m.entry(n, Actor{}, severity, text)}, *m.cfg.History
}

func (m *Manager) entry(n *store.Node, a Actor, severity, text string) store.History {
	kind := eventTypes[n.ProvisionState]
	switch {
	case kind != "":
	case n.ProvisionState.Is(provision.Stable, provision.Failed):
		kind = "monitoring"
	default:
		kind = "provisioning"
	}
	state := string(n.ProvisionState)
	h := store.History{Conductor: &m.cfg.Host, EventType: &kind, Severity: severity, Event: text,
		User: known(a.User), Project: known(a.Project), State: &state, CreatedAt: time.Now().UTC().Truncate(time.Microsecond)}
	if n.TargetProvisionState != nil {
		target := string(*n.TargetProvisionState)
		h.TargetProvisionState = &target
	}
	if n.ProvisionUpdatedAt != nil {
		seconds := int64(time.Since(*n.ProvisionUpdatedAt).Seconds())
		h.DurationSeconds = &seconds
	}
	return h
}

func known(text string) *string {
	if text == "" {
		return nil
	}
	return &text
}

// recordEnd notes that what was going on with the node came to a good end.
func (t *Task) recordEnd(from, to provision.State, event provision.Event) {
	ended := event == provision.Done || from == provision.Cleaning && event == provision.Manage // as manual cleaning does
	if a, _ := provision.Of(to); ended && a.Kind == provision.Stable {
		t.record(store.SeverityInfo, fmt.Sprintf("Node moved from provision state %q to %q.", from, to))
	}
}
