package restapi

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"ferric/conductor/store"
)

// plannedSteps is the list of steps of a deploy template, whose steps have a
// priority, or of a runbook, whose steps have an order: number is that member.
func plannedSteps[T any](at func(row *T) *store.List[store.PlannedStep], number string) column[T] {
	return column[T]{
		get: func(row *T) any {
			views := []any{}
			for _, s := range *at(row) {
				views = append(views, stepView(s))
			}
			return views
		},
		set: func(row *T, v any) error {
			steps, err := readPlannedSteps(v, number)
			*at(row) = steps
			return err
		},
	}
}

func stepView(s store.PlannedStep) map[string]any {
	view := map[string]any{"interface": s.Interface, "step": s.Step, "args": orEmpty(s.Args)}
	if s.Priority != nil {
		view["priority"] = *s.Priority
	}
	if s.Order != nil {
		view["order"] = *s.Order
	}
	return view
}

func readPlannedSteps(v any, number string) (store.List[store.PlannedStep], error) {
	items, _ := v.([]any)
	if len(items) == 0 {
		return nil, fmt.Errorf("a list of at least one step is expected")
	}
	var steps store.List[store.PlannedStep]
	seen := map[string]bool{}
	for i, item := range items {
		step, err := readPlannedStep(item, number)
		if err != nil {
			return nil, fmt.Errorf("step %d %w", i, err)
		}
		id := "interface: " + step.Interface + ", step: " + step.Step
		if seen[id] {
			return nil, fmt.Errorf("a step can be in it once only. Duplicates: %s", id)
		}
		seen[id] = true
		steps = append(steps, step)
	}
	return steps, nil
}

func readPlannedStep(item any, number string) (store.PlannedStep, error) {
	var step store.PlannedStep
	members, ok := item.(map[string]any)
	if !ok {
		return step, fmt.Errorf("is not an object")
	}
	for name := range members {
		if !slices.Contains([]string{"interface", "step", "args", number}, name) {
			return step, fmt.Errorf("has the unknown member %s", name)
		}
	}
	step.Interface, _ = members["interface"].(string)
	if !slices.Contains(stepInterfaces, step.Interface) {
		return step, fmt.Errorf("needs an interface that is one of %s", strings.Join(stepInterfaces, ", "))
	}
	if step.Step, _ = members["step"].(string); step.Step == "" {
		return step, fmt.Errorf("needs the name of a step")
	}
	args, given := members["args"]
	if step.Args, ok = args.(map[string]any); !ok && (given || number == "priority") {
		return step, fmt.Errorf("needs args that are an object")
	}
	n, ok := wholeNumber(members[number])
	if !ok {
		return step, fmt.Errorf("needs a %s that is a whole number of at least 0", number)
	}
	if number == "priority" {
		step.Priority = &n
	} else {
		step.Order = &n
	}
	return step, nil
}

// wholeNumber reads a number or its text, of at least 0.
func wholeNumber(v any) (int, bool) {
	switch v := v.(type) {
	case float64:
		return int(v), v >= 0 && v <= math.MaxInt32 && v == math.Trunc(v)
	case string:
		n, err := strconv.ParseUint(v, 10, 31)
		return int(n), err == nil
	}
	return 0, false
}

// maskSteps hides the secrets in the arguments of a view's steps.
func maskSteps(view map[string]any) map[string]any {
	if steps, shown := view["steps"]; shown {
		view["steps"] = mask(steps, "", "")
	}
	return view
}
