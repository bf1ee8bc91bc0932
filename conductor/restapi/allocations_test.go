package restapi_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"ferric/conductor/provision"
	"ferric/conductor/store"
)

// available enrols a node that can be allocated.
func (s *service) available(name, class string, traits ...string) string {
	s.Helper()
	id := s.enrol(name)
	s.edit(name, in(provision.Available))
	s.edit(name, func(n *store.Node) {
		n.ResourceClass, n.Traits, n.TargetProvisionState = &class, traits, nil
	})
	return id
}

// settled waits until the allocation has a node or an error.
func (s *service) settled(ident string) map[string]any {
	s.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for {
		a := s.want(200, "115", "GET", "/v1/allocations/"+ident, "")
		if a.object["state"] != "allocating" {
			return a.object
		}
		if time.Now().After(deadline) {
			s.Fatalf("allocation %s never settles: %s", ident, a.body)
		}
	}
}

// TestAllocationMatching asks for nodes by what they have to be. Each row has
// the nodes for itself.
func TestAllocationMatching(t *testing.T) {
	for _, tt := range []struct {
		name    string
		prepare func(s *service)
		ask     string // members besides resource_class
		want    string // name of the node, or a part of last_error
	}{
		{"the only one of its class", func(s *service) { s.available("a", "large"); s.available("b", "small") }, ``, "a"},
		{"no such class", func(s *service) { s.available("b", "small") }, ``, "no available nodes match the resource class large"},
		{"not available", func(s *service) { s.available("a", "large"); s.edit("a", in(provision.Manageable)) }, ``, "no available nodes match"},
		{"in maintenance", func(s *service) {
			s.available("a", "large")
			s.edit("a", func(n *store.Node) { n.Maintenance = true })
		}, ``, "no available nodes match"},
		{"in use", func(s *service) {
			s.available("a", "large")
			s.edit("a", func(n *store.Node) { n.InstanceUUID = ptr("11111111-2222-4333-8444-555555555555") })
		}, ``, "no available nodes match"},
		{"traits", func(s *service) {
			s.available("a", "large", "CUSTOM_X", "CUSTOM_Y")
			s.available("b", "large", "CUSTOM_X")
		},
			`"traits": ["CUSTOM_X", "CUSTOM_Y"]`, "a"},
		{"traits that nobody has", func(s *service) { s.available("a", "large", "CUSTOM_X") }, `"traits": ["CUSTOM_Z"]`, "no suitable nodes have the requested traits CUSTOM_Z"},
		{"candidates by name", func(s *service) { s.available("a", "large"); s.available("b", "large"); s.available("c", "small") },
			`"candidate_nodes": ["b", "c"]`, "b"},
		{"candidates of another class", func(s *service) { s.available("a", "large"); s.available("c", "small") },
			`"candidate_nodes": ["c"]`, "none of the requested nodes are available and match the resource class large"},
		{"its own name first", func(s *service) {
			for i := range 8 {
				s.available(fmt.Sprintf("n%d", i), "large")
			}
		}, `"name": "n5"`, "n5"},
		{"the owner's node", func(s *service) {
			s.available("a", "large")
			s.available("b", "large")
			s.edit("b", func(n *store.Node) { n.Owner = ptr("me") })
		}, `"owner": "me"`, "b"},
		{"the lessee's node", func(s *service) {
			s.available("a", "large")
			s.available("b", "large")
			s.edit("b", func(n *store.Node) { n.Lessee = ptr("me") })
		}, `"owner": "me"`, "b"},
		{"the free one of two, the other is locked", func(s *service) { s.available("a", "large"); s.available("b", "large"); s.reserve("a") }, ``, "b"},
		{"locked for good", func(s *service) { s.available("a", "large"); s.reserve("a") }, ``, "could not reserve any of 1 suitable nodes"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newService(t)
			tt.prepare(s)
			body := `{"resource_class": "large"}`
			if tt.ask != "" {
				body = `{"resource_class": "large", ` + tt.ask + `}`
			}
			made := s.want(201, "115", "POST", "/v1/allocations", body)
			uuid := made.object["uuid"].(string)
			if got := made.header.Get("Location"); got != s.url+"/v1/allocations/"+uuid {
				t.Errorf("Location is %q", got)
			}
			a := s.settled(uuid)
			if a["state"] == "error" {
				if text, _ := a["last_error"].(string); !strings.Contains(text, tt.want) || a["node_uuid"] != nil {
					t.Errorf("last_error is %q, node %v; want %q", text, a["node_uuid"], tt.want)
				}
				return
			}
			n := s.want(200, "115", "GET", "/v1/nodes/"+tt.want, "").object
			if diff := cmp.Diff([]any{"active", n["uuid"], nil}, []any{a["state"], a["node_uuid"], a["last_error"]}); diff != "" {
				t.Errorf("the allocation differs (-want +got):\n%s", diff)
			}
			info, _ := n["instance_info"].(map[string]any)
			if diff := cmp.Diff([]any{uuid, uuid, a["traits"]}, []any{n["instance_uuid"], n["allocation_uuid"], info["traits"]}); diff != "" {
				t.Errorf("the node differs (-want +got):\n%s", diff)
			}
		})
	}
}

// TestAllocationRace has more askers than nodes, all at once: no node is given
// out twice, and none is left over.
func TestAllocationRace(t *testing.T) {
	s := newService(t)
	const nodes, askers = 4, 8
	for i := range nodes {
		s.available(fmt.Sprintf("n%d", i), "large")
	}
	uuids := make([]string, askers)
	var wg sync.WaitGroup
	for i := range askers {
		wg.Go(func() {
			for { // 503: all workers are busy
				a := s.call("115", "POST", "/v1/allocations", `{"resource_class": "large"}`)
				if a.status == 201 {
					uuids[i] = a.object["uuid"].(string)
					return
				}
				if a.status != 503 {
					t.Errorf("status %d: %s", a.status, a.body)
					return
				}
			}
		})
	}
	wg.Wait()
	given := map[any]int{}
	for _, id := range uuids {
		if a := s.settled(id); a["state"] == "active" {
			given[a["node_uuid"]]++
		}
	}
	if len(given) != nodes {
		t.Errorf("%d of %d nodes were given out: %v", len(given), nodes, given)
	}
	for node, times := range given {
		if times != 1 {
			t.Errorf("node %v was given out %d times", node, times)
		}
	}
}

// TestAllocationEnds frees nodes in each of the ways that there are.
func TestAllocationEnds(t *testing.T) {
	s := newService(t)
	s.available("a", "large")
	take := func() string {
		t.Helper()
		id := s.want(201, "115", "POST", "/v1/allocations", `{"resource_class": "large", "name": "mine"}`).object["uuid"].(string)
		if a := s.settled(id); a["state"] != "active" {
			t.Fatalf("no node: %v", a)
		}
		return id
	}
	free := func() {
		t.Helper()
		n := s.want(200, "115", "GET", "/v1/nodes/a", "").object
		if n["instance_uuid"] != nil || n["allocation_uuid"] != nil {
			t.Fatalf("the node is still taken: %v, %v", n["instance_uuid"], n["allocation_uuid"])
		}
		s.want(404, "115", "GET", "/v1/allocations/mine", "")
		s.want(404, "115", "GET", "/v1/nodes/a/allocation", "")
	}
	id := take()
	s.edit("a", in(provision.Active))
	s.want(409, "115", "DELETE", "/v1/allocations/"+id, "")
	s.want(409, "115", "DELETE", "/v1/nodes/a/allocation", "")
	s.edit("a", func(n *store.Node) { n.Maintenance = true })
	s.want(204, "115", "DELETE", "/v1/allocations/"+id, "")
	free()
	s.edit("a", func(n *store.Node) { in(provision.Available)(n); n.Maintenance, n.TargetProvisionState = false, nil })
	take()
	s.want(204, "115", "DELETE", "/v1/nodes/a/allocation", "")
	free()
	take()
	s.want(200, "115", "PATCH", "/v1/nodes/a", `[{"op": "remove", "path": "/instance_uuid"}]`)
	free()
	take()
	s.edit("a", func(n *store.Node) { n.Maintenance = true })
	s.want(204, "115", "DELETE", "/v1/nodes/a", "")
	s.want(404, "115", "GET", "/v1/allocations/mine", "")
}

// TestAllocations is what the routes make of requests, at which version.
func TestAllocations(t *testing.T) {
	s := newService(t)
	node := s.available("a", "large")
	s.available("used", "small")
	s.edit("used", func(n *store.Node) { in(provision.Active)(n); n.TargetProvisionState = nil })
	const id = "5344a3e2-978a-444e-990a-cbf47c62ef88"
	for _, tt := range []struct {
		status                    int
		minor, method, path, body string
		fault                     string
	}{
		{404, "51", "GET", "/v1/allocations", "", ""},
		{404, "51", "GET", "/v1/allocations/x", "", ""},
		{405, "51", "POST", "/v1/allocations", "{}", ""},
		{405, "51", "DELETE", "/v1/allocations/x", "", ""},
		{404, "51", "GET", "/v1/nodes/a/allocation", "", ""},
		{404, "52", "GET", "/v1/nodes/a/allocation", "", "Allocation for node a was not found"},
		{400, "52", "POST", "/v1/allocations", `{}`, "resource_class field is mandatory"},
		{400, "52", "POST", "/v1/allocations", `{"resource_class": 5}`, "a string is expected"},
		{400, "52", "POST", "/v1/allocations", `{"resource_class": "` + strings.Repeat("x", 81) + `"}`, "longer than 80"},
		{400, "52", "POST", "/v1/allocations", `{"resource_class": "large", "bogus": 1}`, "bogus"},
		{400, "52", "POST", "/v1/allocations", `{"resource_class": "large", "name": "a b"}`, "not a valid name"},
		{400, "52", "POST", "/v1/allocations", `{"resource_class": "large", "uuid": "x"}`, "UUID"},
		{400, "52", "POST", "/v1/allocations", `{"resource_class": "large", "traits": ["x"]}`, "trait"},
		{400, "52", "POST", "/v1/allocations", `{"resource_class": "large", "candidate_nodes": ["nobody"]}`, "Node nobody could not be found"},
		{400, "57", "POST", "/v1/allocations", `{"node": "used"}`, "in this API version"},
		{406, "59", "POST", "/v1/allocations", `{"resource_class": "large", "owner": "me"}`, "1.60"},
		{400, "58", "POST", "/v1/allocations", `{"node": "nobody"}`, "Node nobody could not be found"},
		{409, "58", "POST", "/v1/allocations", `{"node": "a"}`, `must be in the "active" state`},
		{409, "58", "POST", "/v1/allocations", `{"node": "used", "resource_class": "large"}`, "does not match"},
		{201, "60", "POST", "/v1/allocations", `{"resource_class": "large", "name": "alloc-1", "uuid": "` + id + `", "extra": {"a": 1}, "candidate_nodes": ["a"]}`, ""},
		{409, "60", "POST", "/v1/allocations", `{"resource_class": "large", "name": "alloc-1"}`, "An allocation with name alloc-1 already exists"},
		{409, "60", "POST", "/v1/allocations", `{"resource_class": "large", "uuid": "` + id + `"}`, "An allocation with UUID " + id + " already exists"},
		{201, "58", "POST", "/v1/allocations", `{"node": "used", "name": "filled"}`, ""},
		{405, "56", "PATCH", "/v1/allocations/alloc-1", `[]`, ""},
		{400, "57", "PATCH", "/v1/allocations/alloc-1", `[{"op": "replace", "path": "/resource_class", "value": "x"}]`, "Only the following can be updated: extra, name"},
		{400, "57", "PATCH", "/v1/allocations/alloc-1", `[{"op": "replace", "path": "/name", "value": "a b"}]`, "not a valid name"},
		{409, "57", "PATCH", "/v1/allocations/alloc-1", `[{"op": "replace", "path": "/name", "value": "filled"}]`, "already exists"},
		{200, "57", "PATCH", "/v1/allocations/alloc-1", `[{"op": "add", "path": "/extra/b", "value": 2}]`, ""},
		{200, "57", "PATCH", "/v1/allocations/alloc-1", `[{"op": "remove", "path": "/name"}]`, ""},
		{404, "57", "GET", "/v1/allocations/alloc-1", "", ""},
		{406, "59", "GET", "/v1/allocations?owner=me", "", ""},
		{406, "59", "GET", "/v1/allocations?fields=owner", "", ""},
		{400, "60", "GET", "/v1/allocations?fields=bogus", "", ""},
		{400, "60", "GET", "/v1/allocations?sort_key=extra", "", ""},
		{400, "60", "GET", "/v1/allocations?detail=true", "", "Unexpected"},
		{400, "60", "GET", "/v1/allocations?node=nobody", "", "could not be found"},
		{404, "60", "GET", "/v1/allocations?marker=" + node, "", ""},
	} {
		a := s.want(tt.status, tt.minor, tt.method, tt.path, tt.body)
		if !strings.Contains(a.fault(), tt.fault) {
			t.Errorf("%s %s %s: %q, want %q", tt.method, tt.path, tt.body, a.fault(), tt.fault)
		}
	}
	got := s.settled(id)
	delete(got, "created_at")
	delete(got, "updated_at")
	want := map[string]any{
		"uuid": id, "name": nil, "resource_class": "large", "traits": []any{}, "candidate_nodes": []any{node}, "node_uuid": node,
		"state": "active", "last_error": nil, "owner": nil, "extra": map[string]any{"a": 1.0, "b": 2.0},
		"links": []any{map[string]any{"href": s.url + "/v1/allocations/" + id, "rel": "self"}, map[string]any{"href": s.url + "/allocations/" + id, "rel": "bookmark"}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the allocation differs (-want +got):\n%s", diff)
	}
	if _, shown := s.want(200, "59", "GET", "/v1/allocations/"+id, "").object["owner"]; shown {
		t.Error("owner is shown before 1.60")
	}
	for query, want := range map[string]int{"": 2, "?node=a": 1, "?node=" + node: 1, "?resource_class=small": 1, "?state=active": 2, "?state=error": 0, "?owner=me": 0,
		"?limit=1": 1, "?sort_key=name&sort_dir=desc": 2} {
		if got := len(s.want(200, "60", "GET", "/v1/allocations"+query, "").object["allocations"].([]any)); got != want {
			t.Errorf("GET /v1/allocations%s lists %d, want %d", query, got, want)
		}
	}
	next, _ := s.want(200, "60", "GET", "/v1/allocations?limit=1&fields=uuid", "").object["next"].(string)
	if want := s.url + "/v1/allocations?sort_key=id&sort_dir=asc&fields=uuid&limit=1&marker=" + id; next != want {
		t.Errorf("next is %q, want %q", next, want)
	}
}
