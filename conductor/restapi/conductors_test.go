package restapi_test

import (
	"maps"
	"slices"
	"testing"
)

func TestConductorLists(t *testing.T) {
	s := newService(t)
	for _, c := range []struct{ host, group string }{{"b", "z"}, {"a", "y"}} {
		if err := s.store.RegisterConductor(t.Context(), c.host, c.group, []string{"fake-hardware"}); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.store.UnregisterConductor(t.Context(), "a"); err != nil {
		t.Fatal(err)
	}
	s.attempts([]attempt{
		{"48", "GET", "/v1/conductors", "", 404, ""},
		{"48", "GET", "/v1/conductors/a", "", 404, ""},
		{"49", "GET", "/v1/conductors?sort_key=alive", "", 400, "alive"},
		{"49", "GET", "/v1/conductors?sort_key=drivers", "", 400, "drivers"},
		{"49", "GET", "/v1/conductors?marker=nobody", "", 404, "nobody"},
		{"49", "GET", "/v1/conductors?limit=0", "", 400, "Limit must be positive"},
		{"49", "GET", "/v1/conductors?fields=nope", "", 400, "nope"},
		{"49", "GET", "/v1/conductors?fields=alive&detail=true", "", 400, ""},
		{"49", "GET", "/v1/conductors/nobody", "", 404, "Conductor nobody could not be found."},
		{"49", "GET", "/v1/conductors/a?fields=nope", "", 400, "nope"},
	})
	for query, want := range map[string]string{
		"": host + ",b,a", "?sort_dir=desc": "a,b," + host, "?sort_key=hostname": "a,b," + host,
		"?sort_key=conductor_group&sort_dir=desc": "b,a," + host, "?marker=b": "a", "?limit=2": host + ",b", "?fields=hostname": host + ",b,a",
	} {
		if got := s.want(200, "49", "GET", "/v1/conductors"+query, "").values("conductors", "hostname"); got != want {
			t.Errorf("%s lists %q, want %q", query, got, want)
		}
	}
	for query, want := range map[string][]string{
		"":             {"alive", "conductor_group", "hostname", "links"},
		"?detail=true": {"alive", "conductor_group", "created_at", "drivers", "hostname", "links", "updated_at"},
	} {
		list := s.want(200, "49", "GET", "/v1/conductors"+query, "").object["conductors"].([]any)
		if got := slices.Sorted(maps.Keys(list[0].(map[string]any))); !slices.Equal(got, want) {
			t.Errorf("%s shows %v, want %v", query, got, want)
		}
	}
	for name, alive := range map[string]bool{"a": false, "b": true} {
		if got := s.want(200, "49", "GET", "/v1/conductors/"+name, "").object["alive"]; got != alive {
			t.Errorf("conductor %s is alive: %v", name, got)
		}
	}
	if got := s.want(200, "49", "GET", "/v1/conductors?limit=2", "").object["next"]; got != s.url+"/v1/conductors?sort_key=id&sort_dir=asc&limit=2&marker=b" {
		t.Errorf("next is %v", got)
	}
}
