package execplugin

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"math/big"
	"reflect"
	"slices"
	"strings"
)

// argument is one argument of a step as a plugin declares it. Ironic knows the
// first two members, the others are the adapter's.
type argument struct {
	Description string            `json:"description"`
	Required    bool              `json:"required"`
	Type        string            `json:"type"` // of JSON; "" for any
	Default     json.RawMessage   `json:"default"`
	Enum        []json.RawMessage `json:"enum"`
	Minimum     *float64          `json:"minimum"`
	Maximum     *float64          `json:"maximum"`
}

// argumentTypes are those of JSON schema but null.
var argumentTypes = [...]string{"string", "integer", "number", "boolean", "array", "object"}

// checkArguments finds declarations that nothing can satisfy.
func checkArguments(declared map[string]argument) error {
	var problems []error
	for _, name := range slices.Sorted(maps.Keys(declared)) {
		a := declared[name]
		problem := func(format string, args ...any) {
			problems = append(problems, fmt.Errorf("argument %.80q: %s", name, fmt.Sprintf(format, args...)))
		}
		if name == "" {
			problem("it has no name")
		}
		if a.Type != "" && !slices.Contains(argumentTypes[:], a.Type) {
			problem("type %.40q: want one of %s", a.Type, strings.Join(argumentTypes[:], ", "))
			continue
		}
		if a.Default == nil {
			continue
		}
		if value, err := parse(a.Default); err != nil {
			problem("default: %v", err)
		} else if err := a.check(value); err != nil {
			problem("default: %v", err)
		}
	}
	return errors.Join(problems...)
}

// settle checks the arguments of a step against their declaration and fills in
// defaults. The error has all that is wrong.
func settle(declared map[string]argument, given map[string]any) (map[string]any, error) {
	var problems []string
	settled := make(map[string]any, len(given))
	for _, name := range slices.Sorted(maps.Keys(given)) {
		a, known := declared[name]
		if !known {
			problems = append(problems, fmt.Sprintf("%s: there is no such argument; there are %s", name, namesOf(declared)))
			continue
		}
		// null is what a client sends for "not given".
		if given[name] == nil {
			continue
		}
		value, err := plain(given[name])
		if err == nil {
			err = a.check(value)
		}
		if err != nil {
			problems = append(problems, fmt.Sprintf("%s: %v", name, err))
		}
		settled[name] = value
	}
	for _, name := range slices.Sorted(maps.Keys(declared)) {
		a := declared[name]
		if _, there := settled[name]; there {
			continue
		}
		switch {
		case a.Default != nil:
			settled[name], _ = parse(a.Default) // as checkArguments did
		case a.Required:
			problems = append(problems, name+": it is required")
		}
	}
	if len(problems) > 0 {
		return nil, errors.New(strings.Join(problems, "; "))
	}
	return settled, nil
}

func namesOf(declared map[string]argument) string {
	if len(declared) == 0 {
		return "none"
	}
	return strings.Join(slices.Sorted(maps.Keys(declared)), ", ")
}

// check tests a value of parse.
func (a argument) check(value any) error {
	if a.Type != "" && !isType(a.Type, value) {
		return fmt.Errorf("want %s, not %s", article(a.Type), shown(value))
	}
	if len(a.Enum) > 0 && !slices.ContainsFunc(a.Enum, func(e json.RawMessage) bool {
		allowed, err := parse(e)
		return err == nil && same(allowed, value)
	}) {
		var allowed []string
		for _, e := range a.Enum {
			allowed = append(allowed, string(e))
		}
		return fmt.Errorf("want one of %s, not %s", strings.Join(allowed, ", "), shown(value))
	}
	n, number := value.(json.Number)
	if !number {
		return nil
	}
	f, err := n.Float64()
	if err != nil || math.IsInf(f, 0) {
		return fmt.Errorf("%s is out of range", shown(value))
	}
	if a.Minimum != nil && f < *a.Minimum {
		return fmt.Errorf("want at least %v, not %s", *a.Minimum, n)
	}
	if a.Maximum != nil && f > *a.Maximum {
		return fmt.Errorf("want at most %v, not %s", *a.Maximum, n)
	}
	return nil
}

func isType(name string, value any) bool {
	switch v := value.(type) {
	case string:
		return name == "string"
	case bool:
		return name == "boolean"
	case json.Number:
		return name == "number" || name == "integer" && whole(v)
	case []any:
		return name == "array"
	case map[string]any:
		return name == "object"
	}
	return false
}

// longNumber bounds the digits of a number whose value is looked at exactly:
// 1e999999999 would take all memory.
const longNumber = 40

func whole(n json.Number) bool {
	if !strings.ContainsAny(string(n), ".eE") {
		return true
	}
	f, err := n.Float64()
	return err == nil && f == math.Trunc(f)
}

// same compares values of parse; 1 and 1.0 are the same.
func same(a, b any) bool {
	x, isNumber := a.(json.Number)
	y, both := b.(json.Number)
	if !isNumber || !both || len(x) > longNumber || len(y) > longNumber || strings.ContainsAny(string(x)+string(y), "eE") {
		return reflect.DeepEqual(a, b)
	}
	p, ok := new(big.Rat).SetString(string(x))
	q, ok2 := new(big.Rat).SetString(string(y))
	return ok && ok2 && p.Cmp(q) == 0
}

func article(typeName string) string {
	if strings.ContainsAny(typeName[:1], "aio") {
		return "an " + typeName
	}
	return "a " + typeName
}

// shown is a value in an error: short, and quoted.
func shown(value any) string {
	text, err := json.Marshal(value)
	if err != nil {
		return fmt.Sprintf("%T", value)
	}
	const most = 80
	if len(text) > most {
		return strings.ToValidUTF8(string(text[:most]), "") + "…"
	}
	return string(text)
}

// plain makes of a value, however it came, one of parse.
func plain(value any) (any, error) {
	text, err := json.Marshal(value)
	if err != nil {
		return nil, err
	}
	return parse(text)
}

func parse(text []byte) (any, error) {
	var value any
	err := decode(text, &value)
	return value, err
}
