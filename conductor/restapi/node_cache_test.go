package restapi_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ferric/conductor/restapi"
	"ferric/conductor/store"
)

// TestShownNodesAreFresh asks for a node in all forms after each change of what
// a view depends on.
func TestShownNodesAreFresh(t *testing.T) {
	s := newService(t)
	id := s.enrol("one")
	other := s.enrol("two")
	path := "/v1/nodes/" + id
	for _, tt := range []struct {
		name   string
		change func()
		field  string
		want   any
	}{
		{"created", func() {}, "extra", map[string]any{}},
		{"patched", func() {
			s.want(200, "82", "PATCH", path, `[{"op": "add", "path": "/extra/a", "value": 1}]`)
		}, "extra", map[string]any{"a": float64(1)}},
		{"patched again", func() {
			s.want(200, "82", "PATCH", path, `[{"op": "add", "path": "/extra/a", "value": "<2>"}]`)
		}, "extra", map[string]any{"a": "<2>"}},
		{"in maintenance", func() { s.want(202, "82", "PUT", path+"/maintenance", `{"reason": "dust"}`) }, "maintenance_reason", "dust"},
		{"with a trait", func() { s.want(204, "82", "PUT", path+"/traits/CUSTOM_A", "") }, "traits", []any{"CUSTOM_A"}},
		{"without its trait", func() { s.want(204, "82", "DELETE", path+"/traits/CUSTOM_A", "") }, "traits", []any{}},
		{"locked", func() { s.reserve(id) }, "reservation", "elsewhere"},
		{"not locked", func() {
			n, err := s.store.Node(t.Context(), id)
			if err == nil {
				err = s.store.Release(t.Context(), "elsewhere", n.ID)
			}
			if err != nil {
				t.Fatal(err)
			}
		}, "reservation", nil},
		{"served", func() {}, "conductor", host},
		{"served by nobody", func() {
			if err := s.store.UnregisterConductor(t.Context(), host); err != nil {
				t.Fatal(err)
			}
		}, "conductor", nil},
		{"made anew", func() {
			s.want(204, "82", "DELETE", "/v1/nodes/"+other, "") // ids come again when the last is free
			s.want(204, "82", "DELETE", path, "")
			s.insert(&store.Node{UUID: id, Name: ptr("one"), Driver: "fake-hardware", ProvisionState: "enroll", Extra: store.Object{"b": 1}})
		}, "extra", map[string]any{"b": float64(1)}},
	} {
		tt.change()
		for range 2 { // made, and kept
			got := map[string]any{
				"by UUID": s.want(200, "82", "GET", path, "").object,
				"by name": s.want(200, "82", "GET", "/v1/nodes/one", "").object,
				"a field": s.want(200, "82", "GET", path+"?fields="+tt.field, "").object,
				"listed":  first(s.want(200, "82", "GET", "/v1/nodes/detail", "")),
				"picked":  first(s.want(200, "82", "GET", "/v1/nodes?fields="+tt.field, "")),
			}
			for form, view := range got {
				if diff := cmp.Diff(tt.want, view.(map[string]any)[tt.field]); diff != "" {
					t.Errorf("%s, %s: %s (-want +got):\n%s", tt.name, form, tt.field, diff)
				}
			}
		}
	}
}

// insert adds a row behind the API's back.
func (s *service) insert(n *store.Node) {
	s.Helper()
	if err := s.store.CreateNode(s.Context(), n); err != nil {
		s.Fatal(err)
	}
}

func first(a answer) map[string]any {
	return a.object["nodes"].([]any)[0].(map[string]any)
}

// TestShownNodesDiffer by who asks: microversion, address of the server and
// form are not mixed up.
func TestShownNodesDiffer(t *testing.T) {
	s := newService(t, func(cfg *restapi.Config) { cfg.Edge.ProxyHeaders = true })
	id := s.enrol("one")
	for range 2 {
		for _, minor := range []string{"1", "32", "82"} {
			for _, proxy := range []string{"a.example", "b.example"} {
				header := http.Header{"X-Openstack-Ironic-Api-Version": {"1." + minor}, "X-Forwarded-Host": {proxy}}
				n := s.callWith(header, "GET", "/v1/nodes/"+id, "").object
				_, volume := n["volume"]
				if _, shard := n["shard"]; shard != (minor == "82") || volume != (minor != "1") {
					t.Errorf("1.%s: shard %v, volume %v", minor, shard, volume)
				}
				link := n["links"].([]any)[0].(map[string]any)["href"]
				if want := "http://" + proxy + "/v1/nodes/" + id; link != want {
					t.Errorf("link %v; want %s", link, want)
				}
				short := first(s.callWith(header, "GET", "/v1/nodes", ""))
				if len(short) >= len(n) {
					t.Errorf("the short form has %d fields of %d", len(short), len(n))
				}
			}
		}
	}
}

// TestLongList has more nodes than are read at a time, of which some are
// rendered already: all are there in their order, page by page as well.
func TestLongList(t *testing.T) {
	s := newService(t)
	const count = 130
	var want []string
	for i := range count {
		n := &store.Node{UUID: fmt.Sprintf("00000000-0000-4000-8000-%012d", i), Driver: "fake-hardware", ProvisionState: "enroll"}
		s.insert(n)
		want = append(want, n.UUID)
		if i%7 == 0 {
			s.want(200, "82", "GET", "/v1/nodes/"+n.UUID, "")
		}
	}
	for _, limit := range []int{1000, count, 20} {
		var got []string
		for next := fmt.Sprintf("/v1/nodes/detail?limit=%d", limit); next != ""; {
			a := s.want(200, "82", "GET", next, "")
			var page struct {
				Nodes []struct{ UUID string }
				Next  string
			}
			if err := json.Unmarshal([]byte(a.body), &page); err != nil {
				t.Fatal(err)
			}
			for _, n := range page.Nodes {
				got = append(got, n.UUID)
			}
			if next = page.Next; next != "" {
				next = next[len(s.url):]
			}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("in pages of %d (-want +got):\n%s", limit, diff)
		}
	}
	if a := s.want(200, "82", "GET", "/v1/nodes?conductor=nobody", ""); a.body != `{"nodes":[]}` {
		t.Errorf("nodes of nobody: %.200s", a.body)
	}
	if a := s.want(200, "82", "GET", "/v1/nodes?conductor="+host+"&limit=3", ""); len(a.object["nodes"].([]any)) != 3 {
		t.Errorf("nodes of the conductor: %.200s", a.body)
	}
}
