package hwmanager

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"sync"

	"ferric/api/ipa"
)

// Phase is what steps are for.
type Phase string

// The phases of the agent protocol; the names are those of the extensions.
const (
	Clean   Phase = "clean"
	Deploy  Phase = "deploy"
	Service Phase = "service"
)

// offered is a step with the manager that offers it.
type offered struct {
	Step
	class string
	level Support
}

// Steps collects the steps of a phase from all managers, keyed by class name;
// managers without a surviving step are left out. Of several steps with one
// name survives the one of the highest level, then of the highest priority,
// then of the alphabetically first class (agent contract, section "Versions
// and step conflicts"). Within a class steps stand in the order in which their
// names were first offered, the best manager's first. A manager that cannot tell
// its steps is set aside, or ends this if it is required.
func (s *Set) Steps(ctx context.Context, h *Host, phase Phase, node Node) (map[string][]ipa.Step, error) {
	if err := s.complete(); err != nil {
		return nil, err
	}
	members := s.all()
	lists := make([][]Step, len(members))
	errs := make([]error, len(members))
	// All are asked at once: the conductor does not wait until several that hang
	// have had their time one after the other.
	var asking sync.WaitGroup
	for i, m := range members {
		asking.Go(func() { lists[i], errs[i] = s.stepsOf(ctx, h, m, phase, node) })
	}
	asking.Wait()
	best := map[string]offered{}
	var names []string
	for i, m := range members {
		if errs[i] != nil {
			return nil, errs[i]
		}
		for _, step := range lists[i] {
			candidate := offered{step, m.class, m.level}
			present, taken := best[step.Declaration.Step]
			if !taken {
				names = append(names, step.Declaration.Step)
			}
			if !taken || candidate.beats(present) {
				best[step.Declaration.Step] = candidate
			}
		}
	}
	byClass := map[string][]ipa.Step{}
	for _, name := range names {
		step := best[name]
		byClass[step.class] = append(byClass[step.class], step.Declaration)
	}
	return byClass, nil
}

func (o offered) beats(other offered) bool {
	if o.level != other.level {
		return o.level > other.level
	}
	if o.Declaration.Priority != other.Declaration.Priority {
		return o.Declaration.Priority > other.Declaration.Priority
	}
	return o.class < other.class
}

// complete fails if a manager that is required is not there.
func (s *Set) complete() error {
	s.mu.RLock()
	defer s.mu.RUnlock()
	for _, name := range slices.Sorted(maps.Keys(s.missing)) {
		return fmt.Errorf("hardware manager %s is required and not there: %w", name, s.missing[name])
	}
	return nil
}

// stepsOf is what one manager offers in a phase; none if it has no steps or is
// set aside for what it said.
func (s *Set) stepsOf(ctx context.Context, h *Host, m member, phase Phase, node Node) ([]Step, error) {
	list, err := lister(m, h, phase, node)
	if err != nil || list == nil {
		return nil, err
	}
	steps, err := within(ctx, s, m, "listing "+string(phase)+" steps", listTime, list)
	if notHandled(err) {
		return nil, nil
	}
	steps = slices.Clone(steps)
	for i, step := range steps {
		steps[i].Declaration.Interface = cmp.Or(step.Declaration.Interface, "deploy")
		if err == nil {
			err = step.Check()
		}
	}
	if err != nil {
		return nil, s.setAside(ctx, m, fmt.Errorf("%s steps of hardware manager %s: %w", phase, m.name, err))
	}
	return steps, nil
}

// lister is the method of a manager that lists the steps of a phase, nil if it
// has none.
func lister(m member, h *Host, phase Phase, node Node) (func(context.Context) ([]Step, error), error) {
	switch phase {
	case Clean:
		if able, ok := m.Manager.(CleanStepper); ok {
			return func(ctx context.Context) ([]Step, error) { return able.CleanSteps(ctx, h, node) }, nil
		}
	case Deploy:
		if able, ok := m.Manager.(DeployStepper); ok {
			return func(ctx context.Context) ([]Step, error) { return able.DeploySteps(ctx, h, node) }, nil
		}
	case Service:
		if able, ok := m.Manager.(ServiceStepper); ok {
			return func(ctx context.Context) ([]Step, error) { return able.ServiceSteps(ctx, h, node) }, nil
		}
	default:
		return nil, fmt.Errorf("there is no phase %q", phase)
	}
	return nil, nil
}

// RunStep runs the named step of a phase on the best manager that offers it
// and does not pass. The error is ipa.MethodNotFound if there is none.
func (s *Set) RunStep(ctx context.Context, h *Host, phase Phase, name string, call StepCall) (any, error) {
	if err := s.complete(); err != nil {
		return nil, err
	}
	for _, m := range s.all() {
		steps, err := s.stepsOf(ctx, h, m, phase, call.Node)
		if err != nil {
			return nil, err
		}
		for _, step := range steps {
			if step.Declaration.Step != name {
				continue
			}
			var result any
			err := s.guard(m, "step "+name, func() (err error) {
				result, err = step.Run(ctx, h, call.during(step.Declaration))
				// What is of the manager's types may panic when it is encoded: here, then.
				// Who keeps the result tells whether it is JSON.
				_, _ = json.Marshal(result)
				return err
			})
			if notHandled(err) {
				break
			}
			return result, panicIn(m, "step "+name, err)
		}
	}
	return nil, s.notFound(name)
}

// during is the call with reports of progress that name the step and tell
// whether it may be aborted, beginning with one now.
func (c StepCall) during(step ipa.Step) StepCall {
	report := c.Progress
	if report == nil {
		report = func(ipa.Progress) {}
	}
	c.Progress = func(p ipa.Progress) {
		p.Step, p.Abortable = step.Step, step.Abortable
		report(p)
	}
	c.Progress(ipa.Progress{SecondsLeft: -1})
	return c
}
