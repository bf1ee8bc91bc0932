package restapi

import (
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

// RouteLines are the routes as "METHOD path policy", for tests over HTTP.
func RouteLines() (lines [][3]string) {
	for _, rt := range (&Server{}).routes() {
		lines = append(lines, [3]string{rt.method, rt.path, rt.policy})
	}
	return lines
}
