// Package timeline makes of a node's events what operators ask for: which
// operations there were, of what they consisted, how long each part took and
// how it ended. It is pure; events are fed to a Tracker in their order.
package timeline

import (
	"strings"
	"time"

	"ferric/conductor/event"
	"ferric/conductor/provision"
)

// Event is what is read of an event.
type Event struct {
	Time   time.Time
	Kind   string
	Detail string
	Data   map[string]any
}

func (e Event) text(key string) string {
	s, _ := e.Data[key].(string)
	return s
}

// Outcomes of an operation and of its parts.
const (
	Running = "running"
	Done    = event.Done
	Failed  = event.Failed
	Aborted = "aborted"
)

// Operation is what a request, or the conductor by itself, had done with a node.
type Operation struct {
	Name    string     `json:"name"` // "deploy"
	User    string     `json:"user,omitempty"`
	Request string     `json:"request,omitempty"`
	From    string     `json:"from"` // provision states
	To      string     `json:"to"`
	Start   time.Time  `json:"start"`
	End     *time.Time `json:"end"`
	Seconds float64    `json:"seconds"` // until now while it runs
	Outcome string     `json:"outcome"`
	Error   string     `json:"error,omitempty"`
	Parts   []Part     `json:"parts"`
}

// Kinds of parts.
const (
	StatePart = "state" // a provision state
	StepPart  = "step"
	BootPart  = "boot" // a stage of the machine's boot
)

// Part of an operation. Parts of different kinds overlap.
type Part struct {
	Kind    string     `json:"kind"`
	Name    string     `json:"name"`
	Start   time.Time  `json:"start"`
	End     *time.Time `json:"end"`
	Seconds float64    `json:"seconds"`
	Outcome string     `json:"outcome"`
	Bytes   int64      `json:"bytes,omitempty"`
}

// operations are named by the state that they begin with. Literal table.
var operations = map[provision.State]string{
	provision.Verifying: "verify", provision.Inspecting: "inspect", provision.Cleaning: "clean", provision.Deploying: "deploy",
	provision.Deleting: "undeploy", provision.Adopting: "adopt", provision.Rescuing: "rescue", provision.Unrescuing: "unrescue",
	provision.Servicing: "service",
}

// Names are those of all operations, in the order of a node's life.
func Names() []string {
	return []string{"verify", "inspect", "clean", "deploy", "undeploy", "adopt", "rescue", "unrescue", "service"}
}

// stages of a boot are begun by events. Literal table; the first line that fits
// counts. A stage without a name ends the boot.
var stages = []struct {
	kind   string
	detail string // that its detail contains; "" is any
	stage  string
}{
	{event.Power, "requested", "power"},
	{event.Power, "power off verified", ""},
	{event.Power, "verified", "firmware"},
	{"dhcp", "", "boot loader"},
	{"tftp", "", "boot loader"},
	{"ipxe-script", "", "boot script"},
	{"kernel", "", "kernel"},
	{"kernel-sent", "", "after the kernel"},
	{"ramdisk", "", "ramdisk"},
	{"ramdisk-sent", "", "system start"},
	{event.Lookup, "asked from", "agent start"},
	{event.Heartbeat, "first heartbeat", ""},
}

// maxParts bounds the parts of an operation; the oldest are forgotten.
const maxParts = 500

// Tracker follows one node. Its zero value is one of which nothing is known.
type Tracker struct {
	verb, user, request string // of the request that was accepted last
	current             *Operation
	aborting            bool
	err                 string
}

// Feed takes the next event and gives the operation that ended with it, if any,
// and the part.
func (t *Tracker) Feed(e Event) (ended *Operation, parts []Part) {
	switch e.Kind {
	case event.Verb:
		t.verb, t.user, t.request = e.text("verb"), e.text("user"), e.text("request")
		if t.verb == string(provision.Abort) && t.current != nil {
			t.aborting = true
		}
	case event.LastError:
		t.err = e.Detail
	case event.State:
		return t.state(e)
	case event.Step:
		return nil, t.step(e)
	}
	if t.current == nil {
		return nil, nil
	}
	if e.Kind == event.Progress {
		if bytes, ok := e.Data["done"].(float64); ok {
			if p := t.open(StepPart); p != nil {
				p.Bytes = int64(bytes)
			}
		}
	}
	for _, s := range stages {
		if s.kind != e.Kind || !strings.Contains(e.Detail, s.detail) {
			continue
		}
		boot := t.open(BootPart)
		if boot != nil && boot.Name == s.stage {
			return nil, nil // the same once more
		}
		if boot != nil {
			parts = append(parts, boot.end(e.Time, Done))
		}
		if s.stage != "" {
			t.begin(BootPart, s.stage, e.Time)
		}
		break
	}
	return nil, parts
}

// Open is the operation that goes on, nil without one.
func (t *Tracker) Open() *Operation { return t.current }

func (t *Tracker) state(e Event) (ended *Operation, parts []Part) {
	to := provision.State(e.text("to"))
	if t.current == nil {
		name, begins := operations[to]
		if !begins {
			return nil, nil
		}
		t.current = &Operation{Name: name, From: e.text("from"), Start: e.Time, Outcome: Running}
		if t.request == e.text("request") { // it was this verb's
			t.current.User, t.current.Request = t.user, t.request
		}
		t.aborting, t.err = false, ""
	}
	o := t.current
	o.To = string(to)
	outcome := Done
	failed, stable := to.Is(provision.Failed) || to == provision.Error, to.Is(provision.Stable)
	switch {
	case t.aborting && (failed || stable):
		outcome = Aborted
	case failed:
		outcome = Failed
	}
	if p := t.open(StatePart); p != nil {
		parts = append(parts, p.end(e.Time, outcome))
	}
	if !failed && !stable {
		t.begin(StatePart, string(to), e.Time)
		return nil, parts
	}
	for i := range o.Parts {
		if p := &o.Parts[i]; p.End == nil {
			parts = append(parts, p.end(e.Time, outcome))
		}
	}
	o.End, o.Seconds, o.Outcome = &e.Time, seconds(o.Start, e.Time), outcome
	if outcome != Done {
		o.Error = t.err
	}
	t.current = nil
	return o, parts
}

func (t *Tracker) step(e Event) (parts []Part) {
	if t.current == nil {
		return nil
	}
	name, outcome := e.text("step"), e.text("outcome")
	if outcome == event.Started {
		if p := t.open(StepPart); p != nil { // it is run again, or its end was not told
			parts = append(parts, p.end(e.Time, Done))
		}
		t.begin(StepPart, name, e.Time)
		return parts
	}
	if p := t.open(StepPart); p != nil && p.Name == name {
		parts = append(parts, p.end(e.Time, outcome))
	}
	return parts
}

// open is the part of a kind that goes on.
func (t *Tracker) open(kind string) *Part {
	for i := len(t.current.Parts) - 1; i >= 0; i-- {
		if p := &t.current.Parts[i]; p.Kind == kind {
			if p.End == nil {
				return p
			}
			return nil
		}
	}
	return nil
}

func (t *Tracker) begin(kind, name string, at time.Time) {
	if len(t.current.Parts) >= maxParts {
		t.current.Parts = t.current.Parts[maxParts/10:]
	}
	t.current.Parts = append(t.current.Parts, Part{Kind: kind, Name: name, Start: at, Outcome: Running})
}

func (p *Part) end(at time.Time, outcome string) Part {
	p.End, p.Seconds, p.Outcome = &at, seconds(p.Start, at), outcome
	return *p
}

// seconds is never negative, also where the clock was set back.
func seconds(from, to time.Time) float64 { return max(to.Sub(from).Seconds(), 0) }

// Build makes the timeline of a node's events: the last operations, oldest
// first. What goes on is as long as it has taken until now.
func Build(events []Event, now time.Time, most int) []Operation {
	var t Tracker
	list := []Operation{}
	for _, e := range events {
		if o, _ := t.Feed(e); o != nil {
			list = append(list, *o)
		}
	}
	if o := t.Open(); o != nil {
		o.Seconds = seconds(o.Start, now)
		for i := range o.Parts {
			if p := &o.Parts[i]; p.End == nil {
				p.Seconds = seconds(p.Start, now)
			}
		}
		list = append(list, *o)
	}
	return list[max(0, len(list)-most):]
}
