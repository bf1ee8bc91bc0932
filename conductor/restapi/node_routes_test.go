package restapi_test

import (
	"fmt"
	"strings"
	"testing"
)

// TestNodePaths holds how nodes are addressed, and what is no address (REST
// contract, sections 1 and 3.2).
func TestNodePaths(t *testing.T) {
	s := newService(t)
	id := s.enrol("n1")
	s.enrol("ns~host_1.x")
	s.enrol("n2.json")
	for _, tc := range []struct {
		minor, method, path, body string
		status                    int
		fault                     string
	}{
		{"1", "GET", "/v1/nodes/" + id, "", 200, ""},
		{"1", "GET", "/v1/nodes/" + strings.ReplaceAll(id, "-", ""), "", 200, ""},
		{"1", "GET", "/v1/nodes/" + strings.ToUpper(id), "", 200, ""},
		{"1", "GET", "/nodes/" + id, "", 200, ""},
		{"1", "GET", "/v1/nodes/" + id + "/", "", 200, ""},
		{"5", "GET", "/v1/nodes/n1", "", 200, ""},
		{"115", "GET", "/v1/nodes/ns~host_1.x", "", 200, ""},
		{"4", "GET", "/v1/nodes/n1", "", 406, "1.5"},
		{"4", "PATCH", "/v1/nodes/n1", "[]", 406, "1.5"},
		{"4", "DELETE", "/v1/nodes/n1", "", 406, "1.5"},
		{"4", "GET", "/v1/nodes/n1/states", "", 406, "1.5"},
		{"4", "GET", "/v1/nodes/nobody/states", "", 404, "Node nobody could not be found."},
		{"4", "GET", "/v1/nodes/n1/validate", "", 406, "1.5"},
		{"1", "GET", "/v1/nodes/n1/vendor_passthru/methods", "", 406, "1.5"},
		{"9", "GET", "/v1/nodes/n_1", "", 400, "logical name"},
		{"10", "GET", "/v1/nodes/n_1", "", 404, "Node n_1 could not be found."},
		{"115", "PUT", "/v1/nodes/n1/states/nonsense", "{}", 405, ""},
		{"115", "GET", "/v1/nodes/n1/management/nonsense", "", 404, ""},
		{"115", "POST", "/v1/nodes/n1/management", "{}", 405, ""},
		{"75", "DELETE", "/v1/nodes/n1/states/boot_mode", "", 405, ""},
		{"75", "PUT", "/v1/nodes/n1/states/boot_mode", `{"target": "uefi"}`, 404, "1.76"},
		{"88", "PUT", "/v1/nodes/" + id + "/vmedia", "{}", 404, ""},
		{"89", "PUT", "/v1/nodes/" + id + "/vmedia", "{}", 405, ""},
		{"22", "PUT", "/v1/portgroups", "{}", 405, ""},
		{"115", "GET", "/v1/nodes/a%20b", "", 400, "logical name"},
		{"115", "GET", "/v1/nodes/nobody", "", 404, "Node nobody could not be found."},
		{"115", "GET", "/v1/nodes/" + uuid1, "", 404, "Node " + uuid1 + " could not be found."},
		{"115", "GET", "/v1/nodes/ports", "", 404, ""},
		{"115", "HEAD", "/v1/nodes/n1", "", 200, ""},
		{"115", "HEAD", "/v1/nodes/nobody", "", 404, ""},
		{"115", "GET", "/v1/nodes/n2.json", "", 200, ""},
		{"115", "GET", "/v1/nodes/n1.json", "", 404, "n1.json"},

		{"115", "GET", "/v1/nodes/n1/nonsense", "", 404, ""},
		{"115", "GET", "/v1/nodes/n1/states/nonsense", "", 404, ""},
		{"115", "GET", "/v1/nodes/n1/maintenance/x", "", 404, ""},
		{"115", "DELETE", "/v1/nodes/n1/nonsense", "", 404, ""},
		{"115", "DELETE", "/v1/nodes/n1/n2/n3", "", 404, ""},
		{"115", "DELETE", "/v1/nodes/n1/n2.json", "", 404, ""},
		{"115", "GET", "/v1/nodes/detail/x", "", 404, ""},
		{"115", "GET", "/v1/nodes/n1/detail", "", 404, ""},
		{"115", "POST", "/v1/nodes/n1/ports", "{}", 400, ""},
		{"115", "POST", "/v1/nodes/n1/portgroups", "{}", 400, ""},
		{"115", "POST", "/v1/nodes/n1/volume/connectors", "{}", 400, ""},
		{"115", "POST", "/v1/nodes/n1/volume/targets", "{}", 400, ""},
		{"115", "GET", "/v1/nodes/n1?detail=true", "", 400, "Unexpected arguments: detail"},
		{"7", "GET", "/v1/nodes/" + id + "?fields=uuid", "", 406, "1.8"},
		{"115", "GET", "/v1/nodes/n1?fields=uuid,colour", "", 400, `"colour"`},
	} {
		a := s.call(tc.minor, tc.method, tc.path, tc.body)
		if a.status != tc.status || !strings.Contains(a.fault(), tc.fault) || tc.method == "HEAD" && a.body != "" {
			t.Errorf("%s %s at 1.%s: %d %s, want %d %q", tc.method, tc.path, tc.minor, a.status, a.body, tc.status, tc.fault)
		}
	}
}

// TestV1 holds the keys of GET /v1 with their microversions (section 2).
func TestV1(t *testing.T) {
	s := newService(t)
	since := map[string]int{"chassis": 1, "nodes": 1, "ports": 1, "drivers": 1, "lookup": 22, "heartbeat": 22, "portgroups": 23, "volume": 32,
		"conductors": 49, "allocations": 52, "events": 54, "deploy_templates": 55, "shards": 82, "continue_inspection": 84, "runbooks": 92, "inspection_rules": 96}
	for minor := 1; minor <= 115; minor++ {
		got := s.want(200, fmt.Sprint(minor), "GET", "/v1", "").object
		want := 4 // id, links, media_types, version
		for name, first := range since {
			if minor < first {
				continue
			}
			want++
			if links, _ := got[name].([]any); len(links) != 2 {
				t.Errorf("%s at 1.%d is %v", name, minor, got[name])
			}
		}
		if links, _ := got["links"].([]any); len(links) != 2 || links[1].(map[string]any)["type"] != "text/html" {
			t.Errorf("links at 1.%d are %v", minor, got["links"])
		}
		if len(got) != want {
			t.Errorf("GET /v1 at 1.%d has %d members, want %d", minor, len(got), want)
		}
	}
}
