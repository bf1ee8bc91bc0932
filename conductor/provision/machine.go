package provision

import (
	"fmt"
	"io"
	"slices"
)

// InvalidEventError says that an event has no transition from a state.
type InvalidEventError struct {
	State State
	Event Event
}

func (e *InvalidEventError) Error() string {
	return fmt.Sprintf("event %q is not valid in state %q", e.Event, e.State)
}

// Next gives the state that event leads to from state, or *InvalidEventError.
func Next(state State, event Event) (State, error) {
	for _, t := range Transitions {
		if t.From == state && t.On == event {
			return t.To, nil
		}
	}
	return "", &InvalidEventError{state, event}
}

// Of gives the attributes of a state; ok is false for a name that is none.
func Of(state State) (a Attributes, ok bool) {
	i := slices.IndexFunc(States, func(a Attributes) bool { return a.State == state })
	if i < 0 {
		return Attributes{}, false
	}
	return States[i], true
}

// Is reports whether state is of one of the kinds.
func (s State) Is(kinds ...Kind) bool {
	a, ok := Of(s)
	return ok && slices.Contains(kinds, a.Kind)
}

// VerbFor finds the verb of a provision target.
func VerbFor(target string) (Verb, bool) {
	i := slices.IndexFunc(Verbs, func(v Verb) bool { return v.Target == target })
	if i < 0 {
		return Verb{}, false
	}
	return Verbs[i], true
}

var kindNames = map[Kind]string{Stable: "stable", Transient: "transient", Waiting: "waiting", Hold: "hold", Failed: "failed"}

// Render writes the machine as a Markdown page.
func Render(w io.Writer) error {
	ew := &errWriter{w: w}
	ew.printf("# Provision states\n\nRendered from `conductor/provision/table.go` by `make generate`; do not edit.\n\n")
	ew.printf("| State | Kind | Target | Meaning | Events |\n|---|---|---|---|---|\n")
	for _, a := range States {
		events := ""
		for _, t := range Transitions {
			if t.From != a.State {
				continue
			}
			if events != "" {
				events += "; "
			}
			events += fmt.Sprintf("%s → %s", t.On, t.To)
		}
		ew.printf("| %s | %s | %s | %s | %s |\n", a.State, kindNames[a.Kind], a.Target, a.Doc, events)
	}
	return ew.err
}

type errWriter struct {
	w   io.Writer
	err error
}

func (e *errWriter) printf(format string, args ...any) {
	if e.err == nil {
		_, e.err = fmt.Fprintf(e.w, format, args...)
	}
}
