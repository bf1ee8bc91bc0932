package rules

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"reflect"
	"slices"
	"strconv"
	"strings"
)

// operator is what a condition asks.
type operator struct {
	signature
	check func(args map[string]any) (bool, error)
}

var (
	ofValue  = signature{required: []string{"value"}, formatted: []string{"value"}}
	ofValues = signature{required: []string{"values"}, optional: []string{"force_strings"}, formatted: []string{"values"}}
	ofRegex  = signature{required: []string{"value", "regex"}, formatted: []string{"value"}}
)

// operators by name (REST contract, section 9). Literal table.
var operators = map[string]operator{
	"eq":       {ofValues, each(func(a, b any) (bool, error) { return equal(a, b), nil })},
	"ne":       {ofValues, each(func(a, b any) (bool, error) { return !equal(a, b), nil })},
	"lt":       {ofValues, each(ordered(func(order int) bool { return order < 0 }))},
	"gt":       {ofValues, each(ordered(func(order int) bool { return order > 0 }))},
	"le":       {ofValues, each(ordered(func(order int) bool { return order <= 0 }))},
	"ge":       {ofValues, each(ordered(func(order int) bool { return order >= 0 }))},
	"is-empty": {ofValue, isEmpty},
	"in-net":   {signature{required: []string{"address", "subnet"}, formatted: []string{"address", "subnet"}}, inNet},
	"matches":  {ofRegex, matches("$")},
	"contains": {ofRegex, matches("")},
	"one-of":   {signature{required: []string{"value"}, optional: []string{"values"}, formatted: []string{"value"}}, oneOf},
	"is-none":  {ofValue, func(args map[string]any) (bool, error) { return args["value"] == nil, nil }},
	"is-true":  {ofValue, isTrue},
	"is-false": {ofValue, isFalse},
}

// each compares neighbours in the list of values.
func each(compare func(a, b any) (bool, error)) func(args map[string]any) (bool, error) {
	return func(args map[string]any) (bool, error) {
		values, ok := args["values"].([]any)
		if !ok {
			return false, errors.New("values has to be a list")
		}
		force := truth(args["force_strings"])
		for i := 0; i+1 < len(values); i++ {
			a, b := values[i], values[i+1]
			if force {
				a, b = text(a), text(b)
			}
			if holds, err := compare(a, b); err != nil || !holds {
				return false, err
			}
		}
		return true, nil
	}
}

// equal is Python's: 1, 1.0 and true are the same, "1" is not.
func equal(a, b any) bool {
	x, xNumber := number(a)
	y, yNumber := number(b)
	if xNumber && yNumber {
		return x == y
	}
	return reflect.DeepEqual(a, b)
}

func number(v any) (float64, bool) {
	switch v := v.(type) {
	case float64:
		return v, true
	case int:
		return float64(v), true
	case bool:
		if v {
			return 1, true
		}
		return 0, true
	}
	return 0, false
}

// ordered compares numbers, or texts. A text beside a number is read as one,
// for what a format makes is always text.
func ordered(holds func(order int) bool) func(a, b any) (bool, error) {
	return func(a, b any) (bool, error) {
		x, xText := a.(string)
		y, yText := b.(string)
		if xText && yText {
			return holds(strings.Compare(x, y)), nil
		}
		m, err := asNumber(a)
		n, err2 := asNumber(b)
		if err := errors.Join(err, err2); err != nil {
			return false, err
		}
		switch {
		case m < n:
			return holds(-1), nil
		case m > n:
			return holds(1), nil
		}
		return holds(0), nil
	}
}

func asNumber(v any) (float64, error) {
	if n, ok := number(v); ok {
		return n, nil
	}
	if s, ok := v.(string); ok {
		if n, err := strconv.ParseFloat(strings.TrimSpace(s), 64); err == nil {
			return n, nil
		}
	}
	return 0, fmt.Errorf("%.100s cannot be compared with a number", text(v))
}

func isEmpty(args map[string]any) (bool, error) {
	return slices.Contains([]string{"", "None", "[]", "{}"}, text(args["value"])), nil
}

func inNet(args map[string]any) (bool, error) {
	address, err := netip.ParseAddr(text(args["address"]))
	if err != nil {
		return false, fmt.Errorf("invalid address: %w", err)
	}
	subnet := text(args["subnet"])
	base, mask, isNet := strings.Cut(subnet, "/")
	if m := net.ParseIP(mask).To4(); isNet && m != nil { // 255.255.255.0
		ones, bits := net.IPMask(m).Size()
		if bits == 0 {
			return false, fmt.Errorf("invalid subnet %.100s", subnet)
		}
		subnet = base + "/" + strconv.Itoa(ones)
	}
	if !isNet {
		one, err := netip.ParseAddr(subnet)
		return one == address, err
	}
	prefix, err := netip.ParsePrefix(subnet)
	if err != nil {
		return false, fmt.Errorf("invalid subnet: %w", err)
	}
	return prefix.Masked().Contains(address), nil
}

// matches looks for a pattern: anywhere, or with tail "$" in the whole text.
func matches(tail string) func(args map[string]any) (bool, error) {
	return func(args map[string]any) (bool, error) {
		pattern, err := compile(args["regex"], tail)
		if err != nil {
			return false, err
		}
		return pattern.MatchString(text(args["value"])), nil
	}
}

func oneOf(args map[string]any) (bool, error) {
	switch values := args["values"].(type) {
	case nil:
		return false, nil
	case []any:
		return slices.ContainsFunc(values, func(v any) bool { return equal(v, args["value"]) }), nil
	case string:
		value, isText := args["value"].(string)
		return isText && strings.Contains(values, value), nil
	case map[string]any:
		_, has := values[text(args["value"])]
		return has, nil
	}
	return false, errors.New("values has to be a list")
}

func isTrue(args map[string]any) (bool, error) {
	switch v := args["value"].(type) {
	case bool:
		return v, nil
	case string:
		return strings.EqualFold(v, "yes") || strings.EqualFold(v, "true"), nil
	default:
		n, isNumber := number(v)
		return isNumber && n != 0, nil
	}
}

func isFalse(args map[string]any) (bool, error) {
	switch v := args["value"].(type) {
	case nil:
		return true, nil
	case bool:
		return !v, nil
	case string:
		return strings.EqualFold(v, "no") || strings.EqualFold(v, "false"), nil
	default:
		n, isNumber := number(v)
		return isNumber && n == 0, nil
	}
}

// truth is Python's of a flag in the arguments.
func truth(v any) bool {
	switch v := v.(type) {
	case nil:
		return false
	case string:
		return v != ""
	}
	n, isNumber := number(v)
	return !isNumber || n != 0
}
