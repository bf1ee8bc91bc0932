package restapi_test

import (
	"fmt"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	"ferric/conductor/restapi"
)

// TestMetricsAccess: who may read the metrics is an option, and each request is
// told of by its route.
func TestMetricsAccess(t *testing.T) {
	page := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "ferric_nodes 1\n") })
	for access, want := range map[string]map[string]int{
		"auth":   {"": 401, "system reader": 200, "blue reader": 403},
		"public": {"": 200, "blue reader": 200},
		"off":    {"": 401, "system reader": 404},
	} {
		s := newService(t, withKeystone(t), func(c *restapi.Config) { c.MetricsAccess, c.Metrics = access, page })
		for token, status := range want {
			h := http.Header{}
			if token != "" {
				h.Set("X-Auth-Token", token)
			}
			if a := s.callWith(h, "GET", "/metrics", ""); a.status != status || status == 200 && a.body != "ferric_nodes 1\n" {
				t.Errorf("[ferric_api]metrics = %s, %q: %d %s, want %d", access, token, a.status, a.body, status)
			}
		}
	}
	var mu sync.Mutex
	var told []string
	s := newService(t, func(c *restapi.Config) {
		c.Observe = func(method, route string, status int, took time.Duration) {
			mu.Lock()
			defer mu.Unlock()
			told = append(told, fmt.Sprint(method, " ", route, " ", status, " ", took > 0))
		}
	})
	s.enrol("n1")
	s.want(200, "82", "GET", "/v1/nodes/n1", "")
	s.want(404, "82", "GET", "/v1/nodes/n2", "")
	s.want(404, "82", "GET", "/v1/nonsense/of/somebody", "")
	s.stream("/ferric/v1/events", wantsEvents).close()
	want := []string{"POST /nodes 201 true", "GET /nodes/:node 200 true", "GET /nodes/:node 404 true", "GET /ferric/v1/events 200 false"}
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		mu.Lock()
		missing := slices.DeleteFunc(slices.Clone(want), func(line string) bool { return slices.Contains(told, line) })
		all := slices.Clone(told)
		mu.Unlock()
		if len(missing) == 0 {
			if slices.ContainsFunc(all, func(line string) bool { return line == "GET /nonsense/of/somebody 404 true" }) {
				t.Error("a path of somebody's own became a label")
			}
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("told %q, which lacks %q", all, missing)
		}
	}
}
