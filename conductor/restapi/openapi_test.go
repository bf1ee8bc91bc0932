package restapi_test

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"
	"github.com/getkin/kin-openapi/routers/gorillamux"
)

// description fetches the description as a client does and checks it against
// the rules of OpenAPI.
func (s *service) description(version string) *openapi3.T {
	s.Helper()
	a := s.call("115", "GET", "/ferric/v1/openapi.json?microversion="+version, "")
	if a.status != 200 {
		s.Fatalf("description of %s: %d %s", version, a.status, a.body)
	}
	doc, err := openapi3.NewLoader().LoadFromData([]byte(a.body))
	if err != nil {
		s.Fatal(err)
	}
	if err := doc.Validate(s.Context()); err != nil {
		s.Fatalf("description of %s: %v", version, err)
	}
	return doc
}

// checked makes requests and holds them and their answers against the
// description.
type checked struct {
	*service
	router routers.Router
	seen   map[string]bool // operations that were answered with success
}

func (c *checked) request(method, path, body string) map[string]any {
	c.Helper()
	req, err := http.NewRequestWithContext(c.Context(), method, c.url+path, strings.NewReader(body))
	if err != nil {
		c.Fatal(err)
	}
	req.Header.Set("X-OpenStack-Ironic-API-Version", "1.115")
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	route, params, err := c.router.FindRoute(req)
	if err != nil {
		c.Fatalf("%s %s is not described: %v", method, path, err)
	}
	input := &openapi3filter.RequestValidationInput{Request: req, PathParams: params, Route: route}
	if err := openapi3filter.ValidateRequest(c.Context(), input); err != nil {
		c.Errorf("%s %s with %s is not as described: %v", method, path, body, err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		c.Fatal(err)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		c.Fatal(err)
	}
	if resp.StatusCode >= 300 {
		c.Fatalf("%s %s: %d %s", method, path, resp.StatusCode, answer)
	}
	c.seen[route.Method+" "+route.Path] = true
	output := &openapi3filter.ResponseValidationInput{RequestValidationInput: input, Status: resp.StatusCode, Header: resp.Header}
	output.SetBodyBytes(answer)
	if err := openapi3filter.ValidateResponse(c.Context(), output); err != nil {
		c.Errorf("the answer of %s %s is not as described: %v", method, path, err)
	}
	if route.Operation.Responses.Value(http.StatusText(resp.StatusCode)) == nil && route.Operation.Responses.Status(resp.StatusCode) == nil {
		c.Errorf("%s %s answers with %d, which is not described", method, path, resp.StatusCode)
	}
	var object map[string]any
	if bytes.HasPrefix(answer, []byte("{")) {
		if err := json.Unmarshal(answer, &object); err != nil {
			c.Fatal(err)
		}
	}
	return object
}

// TestDescription holds the running server against what it says of itself: all
// of its routes are described, and what it answers is as described.
func TestDescription(t *testing.T) {
	s := newService(t)
	doc := s.description("1.115")
	doc.Servers = openapi3.Servers{{URL: s.url}}
	router, err := gorillamux.NewRouter(doc)
	if err != nil {
		t.Fatal(err)
	}
	c := &checked{s, router, map[string]bool{}}
	id := c.request("POST", "/v1/nodes", `{"driver": "fake-hardware", "name": "n1", "extra": {"a": 1}, "driver_info": {"x_password": "p"}}`)["uuid"].(string)
	node := "/v1/nodes/" + id
	for _, r := range []struct{ method, path, body string }{
		{"POST", "/v1/ports", `{"node_uuid": "` + id + `", "address": "52:54:00:00:00:01"}`},
		{"POST", "/v1/portgroups", `{"node_uuid": "` + id + `", "name": "pg"}`},
		{"POST", "/v1/chassis", `{"description": "rack"}`},
		{"POST", "/v1/deploy_templates", `{"name": "CUSTOM_X", "steps": [{"interface": "deploy", "step": "x", "args": {}, "priority": 1}]}`},
		{"POST", "/v1/runbooks", `{"name": "CUSTOM_R", "steps": [{"interface": "deploy", "step": "x", "args": {}, "order": 1}]}`},
		{"PATCH", node, `[{"op": "add", "path": "/extra/b", "value": [1]}]`},
		{"PUT", node + "/traits/CUSTOM_A", ""},
		{"PUT", node + "/maintenance", `{"reason": "why"}`},
		{"DELETE", node + "/maintenance", ""},
		{"PUT", node + "/states/provision", `{"target": "manage"}`},
		{"POST", node + "/vifs", `{"id": "vif"}`},
		{"DELETE", node + "/vifs/vif", ""},
		{"PUT", node + "/management/boot_device", `{"boot_device": "pxe"}`},
	} {
		c.request(r.method, r.path, r.body)
		if strings.HasSuffix(r.path, "/states/provision") {
			s.until(id, "manageable")
		}
	}
	// Every list, in all its forms, and everything that hangs on a node.
	missing := []string{"inventory", "allocation", "{", "progress", "vendor_passthru", "lookup", "vmedia", id + "/console", id + "/sensors"}
	for path, item := range doc.Paths.Map() {
		path = strings.Replace(path, "{node}", id, 1)
		path = strings.Replace(path, "{driver}", "fake-hardware", 1)
		if item.Get == nil || slices.ContainsFunc(missing, func(part string) bool { return strings.Contains(path, part) }) {
			continue
		}
		query := url.Values{}
		if path == "/v1/nodes/validate" {
			query.Set("node", id)
		}
		c.request("GET", path+"?"+query.Encode(), "")
		if item.Get.Parameters.GetByInAndName("query", "detail") != nil {
			c.request("GET", path+"?detail=true", "")
		}
	}
	if len(c.seen) < 50 {
		t.Errorf("%d operations were tried; want at least 50", len(c.seen))
	}
}

// What is newer than a microversion is not in its description.
func TestDescriptionOfMicroversion(t *testing.T) {
	s := newService(t)
	oldest, newest := s.description("1.1"), s.description("1.115")
	since := regexp.MustCompile(`"x-ironic-since": ?"1\.(\d+)"`)
	for doc, newer := range map[*openapi3.T]bool{oldest: false, newest: true} {
		b, err := doc.MarshalJSON()
		if err != nil {
			t.Fatal(err)
		}
		if n := len(since.FindAll(b, -1)); n > 0 != newer {
			t.Errorf("%d parts of the description of %s are newer than 1.1", n, doc.Info.Version)
		}
	}
	for _, tt := range []struct {
		path, property string
		old, new       bool
	}{
		{"/v1/nodes", "uuid", true, true},
		{"/v1/nodes", "name", false, true},
		{"/v1/nodes/{node}/firmware", "", false, true},
		{"/v1/allocations", "", false, true},
		{"/v1/chassis", "", true, true},
	} {
		for doc, want := range map[*openapi3.T]bool{oldest: tt.old, newest: tt.new} {
			got := doc.Paths.Value(tt.path) != nil
			if tt.property != "" {
				got = doc.Components.Schemas["Node"].Value.Properties[tt.property] != nil
			}
			if got != want {
				t.Errorf("%s %s in the description of %s: %v, want %v", tt.path, tt.property, doc.Info.Version, got, want)
			}
		}
	}
	for _, bad := range []string{"1.116", "1.0", "2.1", "x"} {
		s.want(400, "1", "GET", "/ferric/v1/openapi.json?microversion="+bad, "")
	}
}
