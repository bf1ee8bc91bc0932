package plugin

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// maxVariable bounds the value of an argument in the environment, in bytes.
const maxVariable = 4 << 10

// Variables are the plain parts of a request as environment variables, for
// languages that read JSON only with effort: FERRIC_SYS, FERRIC_PROC, FERRIC_DEV and
// FERRIC_ETC of the host; FERRIC_STEP and FERRIC_PHASE of a step; its arguments as
// FERRIC_ARG_ and the name in upper case, with _ for what is no letter or digit.
// Lists, objects, null, text with a NUL and text of more than 4 KiB are in the
// request alone.
func Variables(request map[string]any) []string {
	var env []string
	host, _ := request["host"].(map[string]string)
	for _, name := range slices.Sorted(maps.Keys(host)) {
		env = append(env, "FERRIC_"+variableName(name)+"="+host[name])
	}
	if request["method"] != "execute_step" {
		return env
	}
	env = append(env, fmt.Sprintf("FERRIC_STEP=%v", request["step"]), fmt.Sprintf("FERRIC_PHASE=%v", request["phase"]))
	args, _ := request["args"].(map[string]any)
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
