package restapi

import (
	"bytes"
	"encoding/json"
	"maps"
	"math"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/google/uuid"
)

// arguments are the named values of a request: the query, and for actions also
// the members of the body (REST contract, section 1).
type arguments struct {
	values map[string]any
}

// readArguments takes the arguments of the query and, where the body is no
// document, of the body, which goes before. Those that the route does not have
// are refused, and those that are newer than the request's microversion.
func (r *request) readArguments(rawQuery string) error {
	query, err := url.ParseQuery(rawQuery)
	if err != nil {
		return badRequest("The query of the URL is malformed: %v.", err)
	}
	r.args = arguments{fromQuery(query)}
	if r.route.body == "" && len(bytes.TrimSpace(r.body)) > 0 {
		var members map[string]any
		if err := json.Unmarshal(r.body, &members); err != nil {
			return badRequest("The request body is not a JSON object.")
		}
		maps.Copy(r.args.values, members)
	}
	if r.route.anyArgs {
		return nil
	}
	if err := r.args.only(r.route.args); err != nil || r.route.lateArgs {
		return err
	}
	return r.checkVersions()
}

// checkVersions refuses arguments that are newer than the request's microversion.
func (r *request) checkVersions() error {
	for _, a := range r.route.args {
		if a.since <= r.version || !r.args.has(a.name) {
			continue
		}
		switch {
		case a.older == http.StatusBadRequest && a.kind == argFlag:
			return badRequest("Invalid query parameter ?%s=%v received.", a.name, r.args.values[a.name])
		case a.older == http.StatusBadRequest: // the value may be a secret
			return badRequest("The argument %s is not valid before API version %s.", a.name, a.since)
		}
		return notAcceptable("The argument %s is not acceptable before API version %s.", a.name, a.since)
	}
	return nil
}

func fromQuery(query url.Values) map[string]any {
	values := map[string]any{}
	for name, all := range query {
		if len(all) == 1 {
			values[name] = all[0]
			continue
		}
		list := make([]any, len(all))
		for i, v := range all {
			list[i] = v
		}
		values[name] = list
	}
	return values
}

func (a arguments) only(allowed []arg) error {
	var unexpected []string
	for name := range a.values {
		if !slices.ContainsFunc(allowed, func(known arg) bool { return known.name == name }) {
			unexpected = append(unexpected, name)
		}
	}
	if len(unexpected) == 0 {
		return nil
	}
	slices.Sort(unexpected)
	return badRequest("Unexpected arguments: %s", strings.Join(unexpected, ", "))
}

// has reports whether the argument was given and is not null.
func (a arguments) has(name string) bool { return a.values[name] != nil }

// text is "" for an argument that is missing.
func (a arguments) text(name string) (string, error) {
	switch v := a.values[name].(type) {
	case nil:
		return "", nil
	case string:
		return v, nil
	default:
		return "", badRequest("Expected a string for %s.", name)
	}
}

// flag is nil for an argument that is missing.
func (a arguments) flag(name string) (*bool, error) {
	switch v := a.values[name].(type) {
	case nil:
		return nil, nil
	case bool:
		return &v, nil
	case string:
		b, ok := parseBool(v)
		if !ok {
			return nil, badRequest("Invalid %s: Unrecognized value '%s', acceptable values are: '0', '1', 'f', 'false', 'n', 'no', 'off', 'on', 't', 'true', 'y', 'yes'", name, v)
		}
		return &b, nil
	case float64:
		if v == 0 || v == 1 {
			b := v == 1
			return &b, nil
		}
	}
	return nil, badRequest("Invalid %s: expected a boolean", name)
}

// parseBool takes the spellings of oslo's strict boolean.
func parseBool(text string) (value, ok bool) {
	switch strings.ToLower(text) {
	case "true", "t", "yes", "y", "on", "1":
		return true, true
	case "false", "f", "no", "n", "off", "0":
		return false, true
	}
	return false, false
}

// number is nil for an argument that is missing.
func (a arguments) number(name string) (*int, error) {
	var n int
	switch v := a.values[name].(type) {
	case nil:
		return nil, nil
	case float64:
		if v != math.Trunc(v) || math.Abs(v) > math.MaxInt32 {
			return nil, badRequest("Expected an integer for %s.", name)
		}
		n = int(v)
	case string:
		parsed, err := strconv.ParseInt(v, 10, 32)
		if err != nil {
			return nil, badRequest("Expected an integer for %s: %s", name, v)
		}
		n = int(parsed)
	default:
		return nil, badRequest("Expected an integer for %s.", name)
	}
	return &n, nil
}

// list splits a comma list, lower case and without repetitions; a parameter
// that was repeated in the query is taken as it is.
func (a arguments) list(name string) ([]string, error) {
	var items []string
	switch v := a.values[name].(type) {
	case nil:
		return nil, nil
	case string:
		for item := range strings.SplitSeq(v, ",") {
			items = append(items, strings.ToLower(strings.TrimSpace(item)))
		}
	case []any:
		for _, item := range v {
			s, ok := item.(string)
			if !ok {
				return nil, badRequest("Expected a list of strings for %s.", name)
			}
			items = append(items, s)
		}
	default:
		return nil, badRequest("Expected a list for %s.", name)
	}
	var distinct []string
	seen := map[string]bool{"": true}
	for _, item := range items {
		if !seen[item] {
			seen[item] = true
			distinct = append(distinct, item)
		}
	}
	return distinct, nil
}

// uuid is "" for an argument that is missing, else the usual spelling.
func (a arguments) uuid(name string) (string, error) {
	text, err := a.text(name)
	if err != nil || !a.has(name) {
		return "", err
	}
	id, ok := parseUUID(text)
	if !ok {
		return "", badRequest("Expected UUID for %s: %s", name, text)
	}
	return id, nil
}

// parseUUID tolerates what is_uuid_like does: missing hyphens, braces, a urn
// prefix, capitals.
func parseUUID(text string) (string, bool) {
	id, err := uuid.Parse(text)
	return id.String(), err == nil
}

// Logical names (REST contract, section 3.3): of resources, and as they were
// before API version 1.10.
var (
	logicalName  = regexp.MustCompile(`^[A-Za-z0-9\-._~]{1,255}$`)
	hostnameSafe = regexp.MustCompile(`^[a-z0-9]([a-z0-9\-]{0,61}[a-z0-9])?(\.[a-z0-9\-_]{0,62}[a-z0-9])*\.?$`)
	macAddress   = regexp.MustCompile(`^[0-9a-f]{2}(:[0-9a-f]{2}){5}$`)
)

// parseMAC gives the address in lower case.
func parseMAC(text string) (string, bool) {
	mac := strings.ToLower(strings.TrimSpace(text))
	return mac, macAddress.MatchString(mac)
}
