package rules

import (
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
)

// Check tells what is wrong with the conditions and actions of a rule, as far
// as that can be known without data.
func Check(conditions, actions []map[string]any) error {
	if len(actions) == 0 {
		return errors.New("actions needs at least one action")
	}
	for i, c := range conditions {
		if err := checkCondition(c); err != nil {
			return fmt.Errorf("conditions[%d]: %w", i, err)
		}
	}
	for i, a := range actions {
		if err := checkAction(a); err != nil {
			return fmt.Errorf("actions[%d]: %w", i, err)
		}
	}
	return nil
}

func checkCondition(c map[string]any) error {
	name, _, err := operatorName(c["op"])
	if err != nil {
		return err
	}
	if m := c["multiple"]; m != nil && !slices.Contains([]any{"any", "all", "first", "last"}, m) {
		return fmt.Errorf("multiple is %v, it can be any, all, first and last", m)
	}
	args, looped, err := checkOperation(c, operators[name].signature)
	if err != nil {
		return err
	}
	if pattern, ok := args["regex"]; ok && !looped {
		_, err = compile(pattern, "")
	}
	return err
}

func checkAction(a map[string]any) error {
	name, _ := a["op"].(string)
	op, known := actions[name]
	if !known {
		return fmt.Errorf("unsupported action %v; there are %s", a["op"], strings.Join(Actions(), ", "))
	}
	_, _, err := checkOperation(a, op.signature)
	return err
}

func checkOperation(o map[string]any, s signature) (args map[string]any, looped bool, err error) {
	if _, given := o["args"]; !given {
		return nil, false, errors.New("args are missing")
	}
	if args, err = s.named(o["args"]); err != nil {
		return nil, false, err
	}
	_, looped, err = loopItems(o["loop"])
	return args, looped, err
}

// operatorName takes the exclamation mark that inverts off an operator.
func operatorName(op any) (name string, inverted bool, err error) {
	text, ok := op.(string)
	if !ok {
		return "", false, errors.New("op has to be the name of an operator")
	}
	name = strings.TrimSpace(text)
	if strings.Count(name, "!") > 1 {
		return "", false, fmt.Errorf("%q has several exclamation marks, one inverts it", text)
	}
	name, inverted = strings.CutPrefix(name, "!")
	name = strings.TrimSpace(name)
	if _, known := operators[name]; !known {
		return "", false, fmt.Errorf("unsupported operator %q; there are %s", text, strings.Join(Operators(), ", "))
	}
	return name, inverted, nil
}

// Operators and Actions list the names that there are.
func Operators() []string { return slices.Sorted(maps.Keys(operators)) }

// Actions lists the names of the actions.
func Actions() []string { return slices.Sorted(maps.Keys(actions)) }

// maxPattern bounds a regular expression.
const maxPattern = 4096

// compile makes a pattern that tail is appended to where it does not end so.
func compile(pattern any, tail string) (*regexp.Regexp, error) {
	text, ok := pattern.(string)
	if !ok || text == "" || len(text) > maxPattern {
		return nil, fmt.Errorf("regex has to be a text of 1 to %d bytes", maxPattern)
	}
	if tail != "" && !strings.HasSuffix(text, tail) {
		text += tail
	}
	if tail != "" {
		text = `\A(?:` + text + `)`
	}
	r, err := regexp.Compile(text)
	if err != nil {
		return nil, fmt.Errorf("invalid regular expression: %w", err)
	}
	return r, nil
}
