// Package rules is the engine of inspection rules: conditions over what an
// inspection found, and actions on the node, its ports and the plugin data.
// It is pure but for the calls and the log that it is given. Rules are written
// by administrators; the data that they look at comes from a machine and is
// hostile: patterns run in linear time, what texts grow to is bounded, and data
// is never taken for a format itself. Reading order: Apply, then operators.go
// and actions.go (the tables), format.go.
package rules

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Bounds of what one application of all rules does.
const (
	maxLoop      = 1000     // items of a loop
	maxText      = 64 << 10 // bytes of a formatted text
	maxFormatted = 8 << 20  // bytes of all of them
	maxCalls     = 32       // of api-call
)

// Rule is a rule as the API has it.
type Rule struct {
	UUID       string
	Priority   int
	Sensitive  bool
	Conditions []map[string]any
	Actions    []map[string]any
}

// Subject is what rules look at and change. All of it are plain JSON values.
type Subject struct {
	Node       map[string]any   // attributes by their names in the API
	Ports      []map[string]any // likewise, each with its uuid
	Inventory  map[string]any
	PluginData map[string]any
}

// Masking of the secrets in inventory and plugin data: for all rules, for all
// that are not sensitive themselves, or for none.
const (
	MaskAlways    = "always"
	MaskSensitive = "sensitive"
	MaskNever     = "never"
)

// Environment is what the engine may do besides changing its Subject.
type Environment struct {
	MaskSecrets string
	Log         func(level, text string)
	Call        func(ctx context.Context, c Call) error
}

// ErrFailed is the error of the action fail.
var ErrFailed = errors.New("inspection rule failed the inspection")

// Apply runs the rules on s, the highest priority first. A rule whose
// conditions all hold does its actions in order. The first error ends it.
func Apply(ctx context.Context, list []Rule, s *Subject, env Environment) error {
	list = slices.Clone(list)
	slices.SortStableFunc(list, func(a, b Rule) int { return cmp.Compare(b.Priority, a.Priority) })
	e := &evaluation{ctx: ctx, s: s, env: env}
	for _, r := range list {
		e.masked = env.MaskSecrets != MaskNever && (env.MaskSecrets != MaskSensitive || !r.Sensitive)
		if err := e.rule(r); err != nil {
			return fmt.Errorf("inspection rule %s: %w", r.UUID, err)
		}
	}
	return nil
}

// evaluation is one run of Apply.
type evaluation struct {
	ctx       context.Context // of the one call of Apply that it lives in
	s         *Subject
	env       Environment
	masked    bool
	formatted int // bytes so far
	calls     int
}

func (e *evaluation) rule(r Rule) error {
	for _, c := range r.Conditions {
		holds, err := e.condition(c)
		if err != nil {
			return fmt.Errorf("condition %v: %w", c["op"], err)
		}
		if !holds {
			return nil
		}
	}
	for _, a := range r.Actions {
		if err := e.action(a); err != nil {
			return fmt.Errorf("action %v: %w", a["op"], err)
		}
	}
	return nil
}

// condition checks a condition, for each item of its loop where it has one.
func (e *evaluation) condition(c map[string]any) (bool, error) {
	name, inverted, err := operatorName(c["op"])
	if err != nil {
		return false, err
	}
	op := operators[name]
	check := func(item *any) (bool, error) {
		args, err := e.arguments(op.signature, name, c["args"], item)
		if err != nil {
			return false, err
		}
		if item != nil && slices.Contains(op.optional, "force_strings") {
			args["force_strings"] = true // what comes out of an item is text
		}
		holds, err := op.check(args)
		return holds != inverted, err
	}
	items, looped, err := loopItems(c["loop"])
	if err != nil {
		return false, err
	}
	if !looped {
		return check(nil)
	}
	var results []bool
	for _, item := range items {
		if err := e.ctx.Err(); err != nil {
			return false, err
		}
		item := e.interpolate(item, nil, "")
		holds, err := check(&item)
		if err != nil {
			return false, err
		}
		results = append(results, holds)
	}
	switch c["multiple"] {
	case "all":
		return !slices.Contains(results, false), nil
	case "last":
		return results[len(results)-1], nil
	}
	return slices.Contains(results, true), nil // any; first is the first that holds
}

func (e *evaluation) action(a map[string]any) error {
	name, _ := a["op"].(string)
	op, known := actions[name]
	if !known {
		return fmt.Errorf("there is no such action; there are %s", strings.Join(Actions(), ", "))
	}
	run := func(item *any) error {
		if err := e.ctx.Err(); err != nil {
			return err
		}
		args, err := e.arguments(op.signature, name, a["args"], item)
		if err != nil {
			return err
		}
		return op.run(e, args, a)
	}
	items, looped, err := loopItems(a["loop"])
	if err != nil {
		return err
	}
	if !looped {
		return run(nil)
	}
	for _, item := range items {
		item := e.interpolate(item, nil, "")
		if err := run(&item); err != nil {
			return err
		}
	}
	return nil
}

// loopItems are the items of a loop: an object is the only one of its own.
func loopItems(loop any) (items []any, looped bool, err error) {
	switch l := loop.(type) {
	case nil:
	case []any:
		items = l
	case map[string]any:
		if len(l) > 0 {
			items = []any{l}
		}
	default:
		return nil, false, errors.New("loop has to be a list or an object")
	}
	if len(items) > maxLoop {
		return nil, false, fmt.Errorf("loop has %d items, the most are %d", len(items), maxLoop)
	}
	return items, len(items) > 0, nil
}

// signature names the arguments of an operator or action, and those whose
// texts are formatted outside of loops too.
type signature struct {
	required, optional, formatted []string
}

// named gives each argument its name; a list has them in order.
func (s signature) named(args any) (map[string]any, error) {
	named := map[string]any{}
	switch a := args.(type) {
	case map[string]any:
		for name, v := range a {
			named[name] = v
		}
	case []any:
		names := slices.Concat(s.required, s.optional)
		if len(s.required) == 1 && s.required[0] == "values" && len(a) > 0 {
			if _, isList := a[0].([]any); !isList { // the values themselves
				a = []any{a}
			}
		}
		if len(a) > len(names) {
			return nil, fmt.Errorf("%d arguments are too many, they are %s", len(a), strings.Join(names, ", "))
		}
		for i, v := range a {
			named[names[i]] = v
		}
	default:
		return nil, errors.New("args must be either a list or an object")
	}
	for _, name := range s.required {
		if _, given := named[name]; !given {
			return nil, fmt.Errorf("missing required argument(s): %s", name)
		}
	}
	for name := range named {
		if !slices.Contains(s.required, name) && !slices.Contains(s.optional, name) {
			return nil, fmt.Errorf("unexpected argument(s): %s", name)
		}
	}
	return named, nil
}

// arguments are those of an operation with their texts formatted.
func (e *evaluation) arguments(s signature, op string, args any, item *any) (map[string]any, error) {
	named, err := s.named(args)
	if err != nil {
		return nil, err
	}
	for name, v := range named {
		if item != nil || slices.Contains(s.formatted, name) {
			named[name] = e.interpolate(v, item, op)
		}
	}
	if e.formatted > maxFormatted {
		return nil, fmt.Errorf("the formatted texts have more than %d bytes", maxFormatted)
	}
	return named, nil
}
