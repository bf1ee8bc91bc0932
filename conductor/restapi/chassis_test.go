package restapi_test

import (
	"strings"
	"testing"
)

func TestChassisFields(t *testing.T) {
	contractResource{
		path: "/v1/chassis", key: "chassis", since: 1, links: []string{"links"}, body: `{}`,
		rows: []nodeField{
			{"uuid", 1, true, false, true, `"` + uuid1 + `"`},
			{"description", 1, true, true, true, `"d"`},
			{"extra", 1, true, true, false, `{"a": 1}`},
			{"nodes", 1, false, false, false, `[]`},
			{"created_at", 1, false, false, true, ""},
			{"updated_at", 1, false, false, true, ""},
		},
	}.check(t, newService(t))
}

func TestChassis(t *testing.T) {
	s := newService(t)
	c := s.want(201, "1", "POST", "/v1/chassis", `{"uuid": "`+uuid1+`", "description": "rack 1"}`)
	if got := c.header.Get("Location"); got != s.url+"/v1/chassis/"+uuid1 {
		t.Errorf("Location is %q", got)
	}
	nodes, _ := c.object["nodes"].([]any)
	if len(nodes) != 1 || len(nodes[0].([]any)) != 2 {
		t.Errorf("nodes is %v, want a list in a list", c.object["nodes"])
	}
	s.want(201, "115", "POST", "/v1/nodes", `{"driver": "fake-hardware", "name": "n1", "chassis_uuid": "`+uuid1+`"}`)
	s.enrol("n2")
	one := "/v1/chassis/" + uuid1
	s.attempts([]attempt{
		{"115", "POST", "/v1/chassis", `{"uuid": "` + uuid1 + `"}`, 409, "A chassis with UUID " + uuid1 + " already exists."},
		{"115", "POST", "/v1/chassis", `{"description": "` + strings.Repeat("x", 256) + `"}`, 400, "255"},
		{"115", "POST", "/v1/chassis", `{"name": "x"}`, 400, "name"},
		{"115", "POST", "/v1/chassis", `[]`, 400, "object"},
		{"115", "PATCH", one, op("replace", "/description", `"rack 2"`), 200, ""},
		{"115", "PATCH", one, op("replace", "/uuid", `"`+uuid2+`"`), 400, "uuid"},
		{"115", "GET", "/v1/chassis/rack", "", 400, "UUID"},
		{"115", "GET", "/v1/chassis/" + uuid2, "", 404, "Chassis " + uuid2 + " could not be found."},
		{"115", "GET", "/v1/chassis/" + uuid2 + "/nodes", "", 404, uuid2},
		{"115", "GET", "/v1/chassis?marker=" + uuid2, "", 404, uuid2},
		{"115", "GET", "/v1/chassis?sort_key=extra", "", 400, "extra"},
		{"115", "DELETE", one, "", 400, "contains nodes"},
	})
	for path, want := range map[string]string{
		one + "/nodes": "n1", one + "/nodes/detail": "n1", one + "/nodes?maintenance=true": "", one + "/nodes?fields=name": "n1",
	} {
		if got := s.want(200, "115", "GET", path, "").values("nodes", "name"); got != want {
			t.Errorf("%s lists %q, want %q", path, got, want)
		}
	}
	list := s.want(200, "115", "GET", "/v1/chassis", "")
	if got := list.values("chassis", "description"); got != "rack 2" || strings.Contains(list.body, "extra") {
		t.Errorf("chassis are %s", list.body)
	}
	if a := s.want(200, "115", "GET", "/v1/chassis/detail", ""); !strings.Contains(a.body, `"extra"`) {
		t.Errorf("chassis in detail are %s", a.body)
	}
	s.want(204, "115", "DELETE", "/v1/nodes/n1", "")
	s.want(204, "115", "DELETE", one, "")
	s.want(404, "115", "DELETE", one, "")
	s.want(201, "115", "POST", "/v1/chassis", "") // nothing is needed
}
