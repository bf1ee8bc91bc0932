package twin_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"mime"
	"net/http"
	"regexp"
	"slices"
	"strings"
)

// answer is what came of a request.
type answer struct {
	base   string
	status int
	header http.Header
	body   []byte
}

func (a answer) excerpt() string {
	text := strings.ReplaceAll(string(a.body), a.base, "")
	return fmt.Sprintf("%d %.300s", a.status, text)
}

// headers are those that clients read.
var headers = []string{
	"Location", "WWW-Authenticate", "Content-Type",
	"X-OpenStack-Ironic-API-Minimum-Version", "X-OpenStack-Ironic-API-Version",
}

// compare tells the differences of two answers, in words.
func compare(ferric, ironic answer) []string {
	if ferric.status != ironic.status {
		return []string{fmt.Sprintf("status: ferric %d, Ironic %d: %s", ferric.status, ironic.status, ferric.excerpt())}
	}
	var found []string
	for _, name := range headers {
		if f, i := ferric.headerValue(name), ironic.headerValue(name); f != i {
			found = append(found, fmt.Sprintf("header %s: ferric %q, Ironic %q", name, f, i))
		}
	}
	if f, i := ferric.header.Get("Openstack-Request-Id") != "", ironic.header.Get("Openstack-Request-Id") != ""; f != i {
		found = append(found, fmt.Sprintf("header Openstack-Request-Id: ferric %t, Ironic %t", f, i))
	}
	if f, i := ferric.class(), ironic.class(); f != i {
		return append(found, fmt.Sprintf("kind of body: ferric %s, Ironic %s", f, i))
	}
	if ferric.class() == "JSON" {
		found = append(found, differences("body", ferric.content(), ironic.content())...)
	}
	return found
}

func (a answer) headerValue(name string) string {
	value := random.ReplaceAllString(strings.ReplaceAll(a.header.Get(name), a.base, ""), "<uuid>")
	if name == "Content-Type" {
		if kind, _, err := mime.ParseMediaType(value); err == nil {
			return kind
		}
	}
	return value
}

// class is the kind of a body; wordings are not compared.
func (a answer) class() string {
	if len(a.body) == 0 {
		return "none"
	}
	var content any
	if err := json.Unmarshal(a.body, &content); err != nil {
		return "text"
	}
	if a.status < http.StatusBadRequest {
		return "JSON"
	}
	outer, ok := content.(map[string]any)
	if !ok {
		return "JSON"
	}
	text, ok := outer["error_message"].(string)
	if !ok {
		return "error with " + strings.Join(slices.Sorted(maps.Keys(outer)), ", ")
	}
	var inner map[string]any
	if err := json.Unmarshal([]byte(text), &inner); err != nil {
		return "error with a text"
	}
	if code, ok := inner["faultcode"]; ok {
		return fmt.Sprintf("fault of %v", code)
	}
	return "wrapped error with " + strings.Join(slices.Sorted(maps.Keys(inner)), ", ")
}

func (a answer) content() any {
	var content any
	if err := json.Unmarshal([]byte(strings.ReplaceAll(string(a.body), a.base, "")), &content); err != nil {
		return err.Error()
	}
	return content
}

var (
	// worded values are texts for people; their presence is compared.
	worded = regexp.MustCompile(`\.(reason|description|last_error|event|agent_token|agent_version|maintenance_reason)$|/properties |logical_disk_properties `)
	moment = regexp.MustCompile(`^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(\+00:00|Z)?$`)
	random = regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}`)
)

// differences compares two JSON values. Moments and UUIDs that a side drew
// (those of the scenes are of version 5) are equal to each other.
func differences(where string, ferric, ironic any) []string {
	switch f := ferric.(type) {
	case map[string]any:
		i, ok := ironic.(map[string]any)
		if !ok {
			break
		}
		var found []string
		keys := maps.Clone(f)
		maps.Copy(keys, i)
		for _, key := range slices.Sorted(maps.Keys(keys)) {
			left, inFerric := f[key]
			right, inIronic := i[key]
			at := where + "." + random.ReplaceAllString(key, "<uuid>")
			switch {
			case !inIronic:
				found = append(found, fmt.Sprintf("%s: only ferric has it (%.100v)", at, left))
			case !inFerric:
				found = append(found, fmt.Sprintf("%s: only Ironic has it (%.100v)", at, right))
			default:
				found = append(found, differences(at, left, right)...)
			}
		}
		return found
	case []any:
		i, ok := ironic.([]any)
		if !ok {
			break
		}
		if len(f) != len(i) {
			return []string{fmt.Sprintf("%s: ferric has %d items, Ironic %d: %.200v, %.200v", where, len(f), len(i), f, i)}
		}
		var found []string
		for n := range f {
			found = append(found, differences(where+"[]", f[n], i[n])...)
		}
		slices.Sort(found)
		return slices.Compact(found)
	case string:
		i, ok := ironic.(string)
		if !ok {
			break
		}
		if moment.MatchString(f) && moment.MatchString(i) {
			f, i = moment.FindStringSubmatch(f)[2], moment.FindStringSubmatch(i)[2]
		}
		f, i = random.ReplaceAllString(f, "<uuid>"), random.ReplaceAllString(i, "<uuid>")
		if f == i || worded.MatchString(where) {
			return nil
		}
		return []string{fmt.Sprintf("%s: ferric %q, Ironic %q", where, f, i)}
	}
	if ferric == ironic {
		return nil
	}
	return []string{fmt.Sprintf("%s: ferric %.100v (%[2]T), Ironic %.100v (%[3]T)", where, ferric, ironic)}
}
