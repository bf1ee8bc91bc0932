package plugin

import (
	"encoding/json"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// maxVariable bounds the value of an argument in the environment, in bytes.
const maxVariable = 4 << 10

// Variables are the plain arguments of a step as environment variables, for
// languages that read JSON only with effort: FERRIC_ARG_ and the name in upper
// case, with _ for what is no letter or digit. Lists, objects, null, text with a
// NUL and text of more than 4 KiB are in the request alone.
func Variables(args map[string]any) []string {
	var env []string
	for _, name := range slices.Sorted(maps.Keys(args)) {
		var value string
		switch v := args[name].(type) {
		case string:
			value = v
		case bool:
			value = strconv.FormatBool(v)
		case json.Number:
			value = v.String()
		case float64:
			value = strconv.FormatFloat(v, 'f', -1, 64)
		case int:
			value = strconv.Itoa(v)
		case int64:
			value = strconv.FormatInt(v, 10)
		default:
			continue
		}
		if len(value) <= maxVariable && !strings.Contains(value, "\x00") {
			env = append(env, "FERRIC_ARG_"+variableName(name)+"="+value)
		}
	}
	return env
}

func variableName(argument string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z':
			return r - 'a' + 'A'
		case r >= 'A' && r <= 'Z', r >= '0' && r <= '9':
			return r
		}
		return '_'
	}, argument)
}
