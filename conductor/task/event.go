package task

import (
	"cmp"
	"context"
	"fmt"
	"time"

	"ferric/conductor/event"
	"ferric/conductor/provision"
	"ferric/conductor/store"
)

// Event records something that an operator may want to see, at once. Its kind
// is one of the package event.
func (t *Task) Event(ctx context.Context, kind, format string, args ...any) {
	t.tell(ctx, t.made(kind, nil, format, args...))
}

// StepEvent records how far a step of a phase ("deploy") is: event.Started,
// event.Done or event.Failed.
func (t *Task) StepEvent(ctx context.Context, phase, id, outcome string) {
	t.tell(ctx, t.made(event.Step, store.Object{"phase": phase, "step": id, "outcome": outcome}, "%s step %s %s", phase, id, outcome))
}

// DataEvent is Event with members that programs read.
func (t *Task) DataEvent(ctx context.Context, kind string, data store.Object, format string, args ...any) {
	t.tell(ctx, t.made(kind, data, format, args...))
}

func (t *Task) tell(ctx context.Context, e store.Event) {
	if err := t.Store.AddEvents(ctx, t.Node.ID, []store.Event{e}); err != nil {
		t.Log.WithError(err).Warn("cannot record an event")
	}
}

// Note is Event for what is true, or durable, with the next Save only.
func (t *Task) Note(kind string, data store.Object, format string, args ...any) {
	t.noted = append(t.noted, t.made(kind, data, format, args...))
}

func (t *Task) made(kind string, data store.Object, format string, args ...any) store.Event {
	return MakeEvent(t.actor, kind, data, format, args...)
}

// MakeEvent is an event of now that an actor has caused; data may be nil.
func MakeEvent(a Actor, kind string, data store.Object, format string, args ...any) store.Event {
	for key, value := range map[string]string{"user": a.User, "project": a.Project, "request": a.Request} {
		if value != "" {
			if data == nil {
				data = store.Object{}
			}
			data[key] = value
		}
	}
	return store.Event{Time: time.Now().UTC().Truncate(time.Microsecond), Kind: kind, Detail: fmt.Sprintf(format, args...), Data: data}
}

// ActorOf is who asked for what is done in ctx.
func ActorOf(ctx context.Context) Actor {
	a, _ := ctx.Value(actorKey{}).(Actor)
	return a
}

// remembered is what of a node is told when it changes.
type remembered struct {
	state                     provision.State
	power, fault, reason, err string
	maintenance               bool
}

func remember(n *store.Node) remembered {
	return remembered{
		state: n.ProvisionState, power: textOf(n.PowerState), fault: textOf(n.Fault), reason: textOf(n.MaintenanceReason),
		err: textOf(n.LastError), maintenance: n.Maintenance,
	}
}

func textOf(p *string) string {
	if p == nil {
		return ""
	}
	return *p
}

// changes are events of how the node differs from when it was saved last. They
// are written with it: none is lost, and none tells of what did not happen.
func (t *Task) changes() []store.Event {
	now, last := remember(t.Node), t.last
	if now == last {
		return nil
	}
	var list []store.Event
	add := func(kind string, data store.Object, format string, args ...any) {
		list = append(list, t.made(kind, data, format, args...))
	}
	if now.state != last.state {
		target := ""
		if t.Node.TargetProvisionState != nil {
			target = string(*t.Node.TargetProvisionState)
		}
		add(event.State, store.Object{"from": string(last.state), "to": string(now.state), "target": target}, "%s, was %s", now.state, last.state)
	}
	if now.power != last.power {
		add(event.PowerState, store.Object{"from": last.power, "to": now.power}, "%s, was %s", cmp.Or(now.power, "unknown"), cmp.Or(last.power, "unknown"))
	}
	if now.maintenance != last.maintenance || now.maintenance && now.reason != last.reason {
		text := "off"
		if now.maintenance {
			text = "on"
		}
		if now.maintenance && now.reason != "" {
			text += ": " + now.reason
		}
		add(event.Maintenance, store.Object{"maintenance": now.maintenance, "reason": now.reason}, "%s", text)
	}
	if now.fault != last.fault {
		add(event.Fault, store.Object{"fault": now.fault}, "%s", cmp.Or(now.fault, "none"))
	}
	if now.err != last.err && now.err != "" {
		add(event.LastError, nil, "%s", now.err)
	}
	return list
}

// historyLimits are those of the manager; without them nothing is kept, and
// nothing was recorded.
func (t *Task) historyLimits() store.HistoryLimits {
	if t.manager == nil || t.manager.cfg.History == nil {
		return store.HistoryLimits{}
	}
	return *t.manager.cfg.History
}
