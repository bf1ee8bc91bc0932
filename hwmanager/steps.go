package hwmanager

import (
	"context"
	"fmt"

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
// names were first offered, the best manager's first.
func (s *Set) Steps(ctx context.Context, h *Host, phase Phase, node Node) (map[string][]ipa.Step, error) {
	best := map[string]offered{}
	var names []string
	for _, m := range s.managers {
		steps, err := stepsOf(ctx, h, m, phase, node)
		if err != nil {
			return nil, fmt.Errorf("%s steps of hardware manager %s: %w", phase, m.Name(), err)
		}
		for _, step := range steps {
			candidate := offered{step, m.ClassName(), s.level[m.Name()]}
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

// stepsOf is what one manager offers in a phase; none if it has no steps.
func stepsOf(ctx context.Context, h *Host, m Manager, phase Phase, node Node) ([]Step, error) {
	var steps []Step
	var err error
	switch phase {
	case Clean:
		if able, ok := m.(CleanStepper); ok {
			steps, err = able.CleanSteps(ctx, h, node)
		}
	case Deploy:
		if able, ok := m.(DeployStepper); ok {
			steps, err = able.DeploySteps(ctx, h, node)
		}
	case Service:
		if able, ok := m.(ServiceStepper); ok {
			steps, err = able.ServiceSteps(ctx, h, node)
		}
	default:
		return nil, fmt.Errorf("there is no phase %q", phase)
	}
	if notHandled(err) {
		return nil, nil
	}
	return steps, err
}

// RunStep runs the named step of a phase on the best manager that offers it
// and does not pass. The error is ipa.MethodNotFound if there is none.
func (s *Set) RunStep(ctx context.Context, h *Host, phase Phase, name string, call StepCall) (any, error) {
	for _, m := range s.managers {
		steps, err := stepsOf(ctx, h, m, phase, call.Node)
		if err != nil {
			return nil, fmt.Errorf("%s steps of hardware manager %s: %w", phase, m.Name(), err)
		}
		for _, step := range steps {
			if step.Declaration.Step != name {
				continue
			}
			result, err := step.Run(ctx, h, call.during(step.Declaration))
			if notHandled(err) {
				break
			}
			return result, err
		}
	}
	return nil, ipa.MethodNotFound.New("Could not find method: %s", name)
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
