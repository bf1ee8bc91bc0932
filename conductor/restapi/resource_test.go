package restapi_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"
)

// contractResource is a table of sections 4 to 9, written down once more as a
// check on the tables in the code.
type contractResource struct {
	path  string // of the collection
	key   string // of the list
	since int    // of the whole resource
	rows  []nodeField
	links []string // members that are no attributes of their own
	body  string   // members that a new one needs besides the one that is tried, from a JSON object
}

// with makes the body for a new one with one more member.
func (c contractResource) with(name, value string) string {
	var members map[string]json.RawMessage
	if err := json.Unmarshal([]byte(c.body), &members); err != nil {
		panic(err)
	}
	members[name] = json.RawMessage(value)
	b, err := json.Marshal(members)
	if err != nil {
		panic(err)
	}
	return string(b)
}

// around are the microversions on both sides of where a row appears, as far as
// there is the resource.
func (c contractResource) around(f nodeField) []string {
	var minors []string
	for _, minor := range around(f.since) {
		if minor >= c.since {
			minors = append(minors, fmt.Sprint(minor))
		}
	}
	return minors
}

// check holds every row for reading (whole, by ?fields= of one and of a list, by
// ?sort_key=) and for writing, on both sides of its microversion.
func (c contractResource) check(t *testing.T, s *service) {
	id := s.want(201, "115", "POST", c.path, c.body).object["uuid"].(string)
	one := c.path + "/" + id
	want := slices.Clone(c.links)
	for _, f := range c.rows {
		want = append(want, f.name)
	}
	slices.Sort(want)
	if got := slices.Sorted(maps.Keys(s.want(200, "115", "GET", one, "").object)); !slices.Equal(got, want) {
		t.Errorf("%s has %v, want %v", c.path, got, want)
	}
	for _, f := range c.rows {
		for _, mv := range c.around(f) {
			there := mv == fmt.Sprint(f.since) || f.since <= c.since
			status := map[bool]int{true: 200, false: 406}[there]
			if _, shown := s.want(200, mv, "GET", one, "").object[f.name]; shown != there {
				t.Errorf("%s shown at 1.%s: %v", f.name, mv, shown)
			}
			fieldStatus := status
			if mv == "1" {
				fieldStatus = 406
			}
			for _, path := range []string{one, c.path} {
				if a := s.call(mv, "GET", path+"?fields=uuid,"+f.name, ""); a.status != fieldStatus || a.status == 200 && !strings.Contains(a.body, `"`+f.name+`":`) {
					t.Errorf("GET %s?fields=%s at 1.%s: %d %s, want %d", path, f.name, mv, a.status, a.body, fieldStatus)
				}
			}
			sortStatus := status
			if there && !f.sort {
				sortStatus = 400
			}
			if a := s.call(mv, "GET", c.path+"?sort_key="+f.name, ""); a.status != sortStatus {
				t.Errorf("sort_key=%s at 1.%s: %d %s, want %d", f.name, mv, a.status, a.body, sortStatus)
			}
			patchStatus := status
			if !f.patch {
				patchStatus = 400
			}
			value := f.value
			if value == "" {
				value = `"x"`
			}
			if a := s.call(mv, "PATCH", one, op("add", "/"+f.name, value)); a.status != patchStatus {
				t.Errorf("PATCH %s at 1.%s: %d %s, want %d", f.name, mv, a.status, a.body, patchStatus)
			}
		}
	}
	s.want(204, "115", "DELETE", one, "")
	for _, f := range c.rows {
		for _, mv := range c.around(f) {
			status := 201
			switch {
			case !f.create:
				status = 400
			case mv != fmt.Sprint(f.since) && f.since > c.since:
				status = 406
			}
			value := f.value
			if value == "" {
				value = `"x"`
			}
			a := s.call(mv, "POST", c.path, c.with(f.name, value))
			if a.status != status {
				t.Errorf("POST %s at 1.%s: %d %s, want %d", f.name, mv, a.status, a.body, status)
			}
			if a.status == 201 {
				if got := string(must(json.Marshal(a.object[f.name]))); got != must(compact(value)) {
					t.Errorf("%s is %s, want %s", f.name, got, value)
				}
				s.want(204, "115", "DELETE", c.path+"/"+a.object["uuid"].(string), "")
			}
		}
	}
	if c.since > 1 {
		before := fmt.Sprint(c.since - 1)
		for _, method := range []string{"GET", "POST"} {
			s.want(404, before, method, c.path, "")
		}
		s.want(404, before, "GET", one, "")
	}
}

func compact(value string) (string, error) {
	var v any
	if err := json.Unmarshal([]byte(value), &v); err != nil {
		return "", err
	}
	b, err := json.Marshal(v)
	return string(b), err
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// roundTrip creates what a sample of the contract shows, as far as a client may
// set it, and wants the answers to have the sample's members, with values of
// the same JSON types.
func roundTrip(t *testing.T, s *service, path, sample string, writable ...string) {
	t.Helper()
	var want, body map[string]any
	if err := json.Unmarshal([]byte(sample), &want); err != nil {
		t.Fatal(err)
	}
	body = map[string]any{}
	for _, name := range writable {
		body[name] = want[name]
	}
	created := s.want(201, "115", "POST", path, string(must(json.Marshal(body)))).object
	shown := s.want(200, "115", "GET", path+"/"+want["uuid"].(string), "").object
	if !reflect.DeepEqual(created, shown) {
		t.Errorf("created %v, shown %v", created, shown)
	}
	for name, v := range want {
		got, there := shown[name]
		if !there || v != nil && reflect.TypeOf(got) != reflect.TypeOf(v) {
			t.Errorf("%s: %s is %v, want %v", path, name, got, v)
		}
		if slices.Contains(writable, name) && !reflect.DeepEqual(got, v) {
			t.Errorf("%s: %s is %v, want %v", path, name, got, v)
		}
	}
	for name := range shown {
		if _, known := want[name]; !known {
			t.Errorf("%s: %s is not in the sample", path, name)
		}
	}
}

// attempt is a request and what has to come of it.
type attempt struct {
	minor, method, path, body string
	status                    int
	fault                     string
}

func (s *service) attempts(list []attempt) {
	s.Helper()
	for _, tc := range list {
		if a := s.call(tc.minor, tc.method, tc.path, tc.body); a.status != tc.status || !strings.Contains(a.fault(), tc.fault) {
			s.Errorf("%s %s at 1.%s with %.200s: %d %s, want %d %q", tc.method, tc.path, tc.minor, tc.body, a.status, a.body, tc.status, tc.fault)
		}
	}
}

// values lists one member of the items of a list.
func (a answer) values(key, member string) string {
	items, _ := a.object[key].([]any)
	var all []string
	for _, item := range items {
		all = append(all, fmt.Sprint(item.(map[string]any)[member]))
	}
	return strings.Join(all, ",")
}
