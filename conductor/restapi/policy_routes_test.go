package restapi

import (
	"strings"
	"testing"

	"ferric/conductor/restapi/auth"
)

// TestRoutesHavePolicies: each route names a rule that exists.
func TestRoutesHavePolicies(t *testing.T) {
	policy := auth.NewPolicy()
	for _, rt := range (&Server{}).routes() {
		if !policy.Knows(rt.policy) {
			t.Errorf("%s %s: no rule %q", rt.method, rt.path, rt.policy)
		}
		if rt.doc == "" || rt.handle == nil || rt.method == "GET" && rt.result == "" && rt.status != 101 && !refused(rt) {
			t.Errorf("%s %s says not what it does or answers", rt.method, rt.path)
		}
		for _, a := range rt.args {
			if a.kind == "" {
				t.Errorf("%s %s: %s is of no kind", rt.method, rt.path, a.name)
			}
		}
	}
	for root, rule := range nodeRules {
		if !policy.Knows(rule) {
			t.Errorf("patch of %s: no rule %q", root, rule)
		}
	}
	for _, f := range redacted {
		if rule := "baremetal:node:get:" + f.name; !policy.Knows(rule) {
			t.Errorf("no rule %q", rule)
		}
	}
}

// refused is for routes that only say where the right one is.
func refused(rt route) bool { return strings.HasPrefix(rt.doc, "Is refused") }

// RouteLines are the routes as "METHOD path policy", for tests over HTTP.
func RouteLines() (lines [][3]string) {
	for _, rt := range (&Server{}).routes() {
		lines = append(lines, [3]string{rt.method, rt.path, rt.policy})
	}
	return lines
}
