package hwmanager

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sort"

	"ferric/api/ipa"
)

// ErrNotHandled is what a manager returns to say that a question is not for
// it; the next manager is asked (IncompatibleHardwareMethodError on the wire).
var ErrNotHandled = errors.New("not handled by this hardware manager")

// Set holds the managers that fit the machine, the best one first.
type Set struct {
	managers []Manager
	level    map[string]Support // by name
}

// Load asks all managers how well they fit, drops those that do not, orders
// the others by level (equal levels stay in the order given) and initialises
// them in that order. It fails with ipa.ManagerNotFound if none is left.
func Load(ctx context.Context, h *Host, managers []Manager) (*Set, error) {
	s := &Set{level: map[string]Support{}}
	for _, m := range managers {
		if _, twice := s.level[m.Name()]; twice {
			return nil, fmt.Errorf("load hardware managers: two have the name %q", m.Name())
		}
		level, err := m.Evaluate(ctx, h)
		if err != nil {
			return nil, fmt.Errorf("evaluate hardware manager %s: %w", m.Name(), err)
		}
		s.level[m.Name()] = level
		if level > None {
			s.managers = append(s.managers, m)
		}
	}
	if len(s.managers) == 0 {
		return nil, ipa.ManagerNotFound.New("none of %d hardware managers supports this machine", len(managers))
	}
	sort.SliceStable(s.managers, func(i, j int) bool {
		return s.level[s.managers[i].Name()] > s.level[s.managers[j].Name()]
	})
	h.Set = s
	for _, m := range s.managers {
		init, ok := m.(Initializer)
		if !ok {
			continue
		}
		if err := init.Initialize(ctx, h); err != nil && !errors.Is(err, ErrNotHandled) {
			return nil, fmt.Errorf("initialize hardware manager %s: %w", m.Name(), err)
		}
	}
	return s, nil
}

// Add takes in a manager that came later, such as a plugin that the conductor
// named, at its place by level, and initialises it. It must not run beside
// questions to the set.
func (s *Set) Add(ctx context.Context, h *Host, m Manager) error {
	all, err := Load(ctx, h, append(slices.Clone(s.managers), m))
	if err != nil {
		return err
	}
	*s = *all
	h.Set = s
	return nil
}

// Versions maps the names of the managers to their versions, as
// hardware_manager_version on the wire.
func (s *Set) Versions() map[string]string {
	versions := make(map[string]string, len(s.managers))
	for _, m := range s.managers {
		versions[m.Name()] = m.Version()
	}
	return versions
}

// First puts a question to the managers with ability A, the best one first,
// and returns the first answer. A manager passes by returning ErrNotHandled;
// any other error ends the search. If nobody answers, the error is
// ipa.MethodNotFound and names method.
func First[A, R any](s *Set, method string, ask func(A) (R, error)) (R, error) {
	var none R
	for _, m := range s.managers {
		able, ok := m.(A)
		if !ok {
			continue
		}
		answer, err := ask(able)
		if notHandled(err) {
			continue
		}
		return answer, err
	}
	return none, ipa.MethodNotFound.New("Could not find method: %s", method)
}

// All puts a question to every manager with ability A and returns the answers
// by class name. Passing, errors and nobody answering are as in First.
func All[A, R any](s *Set, method string, ask func(A) (R, error)) (map[string]R, error) {
	answers := map[string]R{}
	for _, m := range s.managers {
		able, ok := m.(A)
		if !ok {
			continue
		}
		answer, err := ask(able)
		if notHandled(err) {
			continue
		}
		if err != nil {
			return nil, err
		}
		answers[m.ClassName()] = answer
	}
	if len(answers) == 0 {
		return nil, ipa.MethodNotFound.New("Could not find method: %s", method)
	}
	return answers, nil
}

func notHandled(err error) bool {
	return errors.Is(err, ErrNotHandled) || ipa.IncompatibleMethod.Is(err)
}
