package hwmanager

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"ferric/api/ipa"
)

// First puts a question to the managers with ability A, the best one first,
// and returns the first answer. A manager passes by returning ErrNotHandled;
// any other error, or a panic, ends the search. If nobody answers, the error is
// ipa.MethodNotFound and names method.
func First[A, R any](s *Set, method string, ask func(A) (R, error)) (R, error) {
	for _, m := range s.all() {
		if answer, handled, err := put(s, m, method, ask); handled {
			return answer, err
		}
	}
	var none R
	return none, s.notFound(method)
}

// All puts a question to every manager with ability A and returns the answers
// by class name. Passing, errors and nobody answering are as in First.
func All[A, R any](s *Set, method string, ask func(A) (R, error)) (map[string]R, error) {
	answers := map[string]R{}
	for _, m := range s.all() {
		answer, handled, err := put(s, m, method, ask)
		if err != nil {
			return nil, err
		}
		if handled {
			answers[m.class] = answer
		}
	}
	if len(answers) == 0 {
		return nil, s.notFound(method)
	}
	return answers, nil
}

// Collected is what one manager adds to an inspection.
type Collected struct {
	Manager  string          // its name
	Required bool            // nothing may be done without it
	Data     json.RawMessage // an object
	Err      error
}

// Collectors are the names of the managers with something to add to an
// inspection, the best one first.
func (s *Set) Collectors() []string {
	var names []string
	for _, m := range s.all() {
		if _, ok := m.Manager.(Collector); ok {
			names = append(names, m.name)
		}
	}
	return names
}

// Collect asks each of them. The failure of one, or that it takes longer than
// two minutes, is no concern of the others. Who passes or has nothing is left out.
func (s *Set) Collect(ctx context.Context, h *Host) []Collected {
	var all []Collected
	for _, m := range s.all() {
		able, ok := m.Manager.(Collector)
		if !ok {
			continue
		}
		data, err := within(ctx, s, m, "collect", collectTime, func(ctx context.Context) (json.RawMessage, error) {
			object, err := able.Collect(ctx, h)
			if err != nil || object == nil {
				return nil, err
			}
			return json.Marshal(object) // here, for it may call code of the manager
		})
		if err != nil && !notHandled(err) || data != nil {
			all = append(all, Collected{m.name, m.required, data, err})
		}
	}
	return all
}

// put puts a question to one manager. It is not handled by one that passes, or
// lacks the ability.
func put[A, R any](s *Set, m member, method string, ask func(A) (R, error)) (answer R, handled bool, err error) {
	able, ok := m.Manager.(A)
	if !ok {
		return answer, false, nil
	}
	err = s.guard(m, method, func() (err error) {
		answer, err = ask(able)
		return err
	})
	if notHandled(err) {
		return answer, false, nil
	}
	return answer, true, panicIn(m, method, err)
}

func (s *Set) notFound(method string) error {
	return ipa.MethodNotFound.New("Could not find method: %s%s", method, s.asideText())
}

func notHandled(err error) bool {
	return errors.Is(err, ErrNotHandled) || ipa.IncompatibleMethod.Is(err)
}

// guard calls code of a manager. A panic becomes an error and is logged with the
// stack.
func (s *Set) guard(m member, doing string, f func() error) error {
	err := recovered(f)
	var panicked *panicError
	if errors.As(err, &panicked) {
		s.log.WithField("hardware_manager", m.name).Errorf("panic in %s: %s\n%s", doing, panicked.text, panicked.stack)
	}
	return err
}

// panicIn names the manager in an error that is a panic: other errors of
// questions and steps are the manager's own words.
func panicIn(m member, doing string, err error) error {
	var panicked *panicError
	if errors.As(err, &panicked) {
		return fmt.Errorf("hardware manager %s, %s: %w", m.name, doing, err)
	}
	return err
}

// within is guard with a time limit, for managers that nobody needs.
func within[R any](ctx context.Context, s *Set, m member, doing string, limit time.Duration, f func(context.Context) (R, error)) (R, error) {
	type outcome struct {
		value R
		err   error
	}
	run := func(ctx context.Context) (o outcome) {
		o.err = s.guard(m, doing, func() (err error) {
			o.value, err = f(ctx)
			return err
		})
		return o
	}
	if m.required {
		o := run(ctx)
		return o.value, o.err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("it took more than %s: %w", limit, context.DeadlineExceeded))
	defer cancel()
	done := make(chan outcome, 1)
	go func() { done <- run(ctx) }()
	const grace = 2 * time.Second // for what ends with its context
	select {
	case o := <-done:
		return o.value, o.err
	case <-ctx.Done():
	}
	select {
	case o := <-done:
		return o.value, o.err
	case <-time.After(grace):
		var none R
		return none, context.Cause(ctx)
	}
}
