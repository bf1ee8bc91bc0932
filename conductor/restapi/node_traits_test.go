package restapi_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ferric/conductor/store"
)

// TestTraits holds the rows on traits of section 3.8, one call after another.
func TestTraits(t *testing.T) {
	s := newService(t)
	id := s.enrol("n1")
	many := make([]string, 51)
	for i := range many {
		many[i] = fmt.Sprintf("CUSTOM_%d", i)
	}
	list := func(traits ...string) string {
		b, err := json.Marshal(map[string]any{"traits": append([]string{}, traits...)})
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	for _, tc := range []struct {
		minor, method, path, body string
		status                    int
		fault                     string
		want                      []any // the traits afterwards, nil is as they were
	}{
		{"37", "GET", "", "", 200, "", []any{}},
		{"36", "GET", "", "", 406, "1.37", nil},
		{"36", "PUT", "", list("CUSTOM_A"), 405, "1.37", nil},
		{"36", "PUT", "/CUSTOM_A", "", 405, "1.37", nil},
		{"36", "DELETE", "", "", 404, "1.37", nil},
		{"37", "PUT", "", list("CUSTOM_B", "CUSTOM_A", "CUSTOM_B", "HW_CPU_X86_VMX"), 204, "", []any{"CUSTOM_A", "CUSTOM_B", "HW_CPU_X86_VMX"}},
		{"37", "PUT", "", list("CUSTOM_A", "CUSTOM_B"), 204, "", []any{"CUSTOM_A", "CUSTOM_B"}},
		{"37", "PUT", "", list("custom_a"), 400, "Invalid trait", nil},
		{"37", "PUT", "", list("CUSTOM_"), 400, "Invalid trait", nil},
		{"37", "PUT", "", list("NOISE_LOUD"), 400, "Invalid trait", nil},
		{"37", "PUT", "", list("CUSTOM_" + strings.Repeat("X", 249)), 400, "Invalid trait", nil},
		{"37", "PUT", "", `{"traits": [1]}`, 400, "Invalid trait", nil},
		{"37", "PUT", "", `{"traits": "CUSTOM_A"}`, 400, "list of traits", nil},
		{"37", "PUT", "", `{}`, 400, "list of traits", nil},
		{"37", "PUT", "", ``, 400, "list of traits", nil},
		{"37", "PUT", "", `{"traits": [], "x": 1}`, 400, "Unexpected arguments: x", nil},
		{"37", "PUT", "", list(many...), 400, "the most are 50", nil},
		{"37", "PUT", "/CUSTOM_C", "", 204, "", []any{"CUSTOM_A", "CUSTOM_B", "CUSTOM_C"}},
		{"37", "PUT", "/CUSTOM_C", "{}", 204, "", []any{"CUSTOM_A", "CUSTOM_B", "CUSTOM_C"}},
		{"37", "PUT", "/CUSTOM_D", `{"traits": []}`, 400, "Unexpected arguments", nil},
		{"37", "PUT", "/lower", "", 400, "Invalid trait", nil},
		{"37", "DELETE", "/CUSTOM_B", "", 204, "", []any{"CUSTOM_A", "CUSTOM_C"}},
		{"37", "DELETE", "/CUSTOM_B", "", 404, "doesn't have a trait 'CUSTOM_B'", nil},
		{"37", "DELETE", "", "", 204, "", []any{}},
		{"37", "DELETE", "", "", 204, "", []any{}},
		{"37", "PUT", "", list(many[:50]...), 204, "", nil},
		{"37", "PUT", "/CUSTOM_Z", "", 400, "the most are 50", nil},
		{"37", "POST", "", list("CUSTOM_A"), 405, "", nil},
	} {
		a := s.call(tc.minor, tc.method, "/v1/nodes/n1/traits"+tc.path, tc.body)
		if a.status != tc.status || !strings.Contains(a.fault(), tc.fault) {
			t.Errorf("%s traits%s %.60s at 1.%s: %d %s, want %d %q", tc.method, tc.path, tc.body, tc.minor, a.status, a.body, tc.status, tc.fault)
		}
		if location := a.header.Get("Location"); a.status == 204 && tc.method == "PUT" && tc.path != "" && location != s.url+"/v1/nodes/n1/traits"+tc.path {
			t.Errorf("PUT traits%s is at %q", tc.path, location)
		}
		if tc.want != nil {
			got := s.want(200, "37", "GET", "/v1/nodes/n1/traits", "").object["traits"]
			node := s.want(200, "37", "GET", "/v1/nodes/"+id, "").object["traits"]
			if diff := cmp.Diff([]any{tc.want, tc.want}, []any{got, node}); diff != "" {
				t.Errorf("traits after %s traits%s (-want +got):\n%s", tc.method, tc.path, diff)
			}
		}
	}
	s.want(404, "37", "GET", "/v1/nodes/nobody/traits", "")
	s.reserve("n1")
	for method, path := range map[string]string{"PUT": "/CUSTOM_A", "DELETE": ""} {
		if a := s.call("37", method, "/v1/nodes/n1/traits"+path, ""); a.status != http.StatusConflict || !strings.Contains(a.fault(), "is locked by host elsewhere") {
			t.Errorf("%s of traits of a locked node: %d %s", method, a.status, a.body)
		}
	}
}

// TestShards holds GET /v1/shards and GET /v1/nodes/{id}/children.
func TestShards(t *testing.T) {
	s := newService(t)
	parent := s.enrol("parent")
	a, b := s.enrol("a"), s.enrol("b")
	for _, child := range []string{a, b} {
		s.edit(child, func(n *store.Node) { n.ParentNode, n.Shard = &parent, ptr("s1") })
	}
	s.want(404, "81", "GET", "/v1/shards", "")
	want := map[string]any{"shards": []any{map[string]any{"name": nil, "count": 1.0}, map[string]any{"name": "s1", "count": 2.0}}}
	if diff := cmp.Diff(want, s.want(200, "82", "GET", "/v1/shards", "").object); diff != "" {
		t.Errorf("shards (-want +got):\n%s", diff)
	}
	s.want(404, "82", "GET", "/v1/shards/s1", "")

	s.want(404, "82", "GET", "/v1/nodes/parent/children", "")
	s.want(404, "83", "GET", "/v1/nodes/nobody/children", "")
	s.want(404, "83", "GET", "/v1/nodes/parent/children/"+a, "")
	want = map[string]any{"children": []any{a, b}, "links": map[string]any{"href": s.url + "/v1/nodes?parent_node=" + parent, "rel": "children"}}
	if diff := cmp.Diff(want, s.want(200, "83", "GET", "/v1/nodes/parent/children", "").object); diff != "" {
		t.Errorf("children (-want +got):\n%s", diff)
	}
	if got := s.want(200, "83", "GET", "/v1/nodes/a/children", "").object["children"]; !cmp.Equal(got, []any{}) {
		t.Errorf("children of a child are %v", got)
	}
}
