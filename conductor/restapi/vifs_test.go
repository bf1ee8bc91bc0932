package restapi_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestVIFs holds the rows on VIFs of section 3.8, one call after another.
func TestVIFs(t *testing.T) {
	s := newService(t)
	id := s.enrol("n1")
	create := func(path, body string) string {
		t.Helper()
		return s.want(201, "115", "POST", path, `{"node_uuid": "`+id+`", `+body+`}`).object["uuid"].(string)
	}
	// Without any port there is nothing to note: taken, as by Ironic's noop.
	s.want(204, "28", "POST", "/v1/nodes/n1/vifs", `{"id": "early"}`)
	s.want(204, "28", "DELETE", "/v1/nodes/n1/vifs/early", "")
	quiet := create("/v1/ports", `"address": "52:54:00:00:00:01", "pxe_enabled": false`)
	boots := create("/v1/ports", `"address": "52:54:00:00:00:02"`)
	group := create("/v1/portgroups", `"name": "bond"`)
	empty := create("/v1/portgroups", `"name": "empty"`)
	member := create("/v1/ports", `"address": "52:54:00:00:00:03", "pxe_enabled": false, "portgroup_uuid": "`+group+`"`)
	create("/v1/ports", `"address": "52:54:00:00:00:04", "pxe_enabled": false, "portgroup_uuid": "`+group+`"`)
	for _, tc := range []struct {
		minor, method, path, body string
		status                    int
		fault                     string
		holder                    string // path of what has the VIF afterwards
	}{
		{"27", "GET", "", "", 404, "1.28", ""},
		{"27", "POST", "", `{"id": "v"}`, 404, "1.28", ""},
		{"27", "DELETE", "/v", "", 404, "1.28", ""},
		{"115", "POST", "", `{}`, 400, "needs an id", ""},
		{"115", "POST", "", `{"id": "a b"}`, 400, "needs an id", ""},
		{"115", "POST", "", `{"id": 7}`, 400, "needs an id", ""},
		{"115", "POST", "", `[]`, 400, "not a JSON object", ""},
		{"67", "POST", "", `{"id": "v", "port_uuid": "` + boots + `", "portgroup_uuid": "` + group + `"}`, 400, "Cannot specify both", ""},
		{"67", "POST", "", `{"id": "v", "port_uuid": "x"}`, 400, "Expected UUID for port_uuid", ""},
		{"67", "POST", "", `{"id": "v", "port_uuid": "` + uuid1 + `"}`, 400, "not enough free physical ports", ""},
		{"67", "POST", "", `{"id": "v", "portgroup_uuid": "` + empty + `"}`, 400, "not enough free physical ports", ""},
		{"67", "POST", "", `{"id": "v", "port_uuid": "` + member + `"}`, 400, "not enough free physical ports", ""},
		{"28", "POST", "", `{"id": "v1", "colour": "red"}`, 204, "", "portgroups/" + group},
		{"28", "POST", "", `{"id": "v1"}`, 409, "VIF v1 is already attached to Ironic portgroup " + group, ""},
		{"28", "POST", "", `{"id": "v2"}`, 204, "", "ports/" + boots},
		{"67", "POST", "", `{"id": "v3", "port_uuid": "` + boots + `"}`, 400, "not enough free physical ports", ""},
		{"66", "POST", "", `{"id": "v3", "port_uuid": "` + boots + `"}`, 204, "", "ports/" + quiet},
		{"28", "POST", "", `{"id": "v4"}`, 400, "not enough free physical ports", ""},
		{"28", "DELETE", "/v1", "", 204, "", ""},
		{"28", "DELETE", "/v1", "", 400, "Unable to detach VIF v1", ""},
		{"28", "DELETE", "/v2", "", 204, "", ""},
		{"67", "POST", "", `{"id": "v5", "port_uuid": "` + strings.ToUpper(boots) + `"}`, 204, "", "ports/" + boots},
		{"67", "POST", "", `{"id": "v6", "portgroup_uuid": "` + group + `"}`, 204, "", "portgroups/" + group},
	} {
		a := s.call(tc.minor, tc.method, "/v1/nodes/n1/vifs"+tc.path, tc.body)
		if a.status != tc.status || !strings.Contains(a.fault(), tc.fault) {
			t.Errorf("%s vifs%s %s at 1.%s: %d %s, want %d %q", tc.method, tc.path, tc.body, tc.minor, a.status, a.body, tc.status, tc.fault)
		}
		if tc.holder == "" {
			continue
		}
		info := s.want(200, "115", "GET", "/v1/"+tc.holder, "").object["internal_info"].(map[string]any)
		if vif, _ := info["tenant_vif_port_id"].(string); vif == "" || !strings.Contains(tc.body, `"`+vif+`"`) {
			t.Errorf("after %s %s has %v", tc.body, tc.holder, info)
		}
	}
	want := map[string]any{"vifs": []any{map[string]any{"id": "v6"}, map[string]any{"id": "v3"}, map[string]any{"id": "v5"}}}
	if diff := cmp.Diff(want, s.want(200, "28", "GET", "/v1/nodes/n1/vifs", "").object); diff != "" {
		t.Errorf("VIFs (-want +got):\n%s", diff)
	}
	s.want(404, "28", "POST", "/v1/nodes/nobody/vifs", `{"id": "v"}`)
	s.reserve("n1")
	for _, a := range []answer{s.call("28", "POST", "/v1/nodes/n1/vifs", `{"id": "v7"}`), s.call("28", "DELETE", "/v1/nodes/n1/vifs/v5", "")} {
		if a.status != 409 || !strings.Contains(a.fault(), "is locked by host elsewhere") {
			t.Errorf("VIF of a locked node: %d %s", a.status, a.body)
		}
	}
}

// TestVIFsOfAGroup: a portgroup of which a port has a VIF of its own is used
// port by port.
func TestVIFsOfAGroup(t *testing.T) {
	s := newService(t)
	id := s.enrol("n1")
	group := s.want(201, "115", "POST", "/v1/portgroups", `{"node_uuid": "`+id+`"}`).object["uuid"].(string)
	for i, address := range []string{"52:54:00:00:00:01", "52:54:00:00:00:02"} {
		port := s.want(201, "115", "POST", "/v1/ports", `{"node_uuid": "`+id+`", "address": "`+address+`", "portgroup_uuid": "`+group+`"}`).object["uuid"].(string)
		if i > 0 {
			continue
		}
		p, err := s.store.Port(t.Context(), port)
		if err != nil {
			t.Fatal(err)
		}
		p.InternalInfo["tenant_vif_port_id"] = "old"
		if err := s.store.SavePort(t.Context(), p); err != nil {
			t.Fatal(err)
		}
	}
	s.want(204, "67", "POST", "/v1/nodes/n1/vifs", `{"id": "new"}`)
	s.want(400, "67", "POST", "/v1/nodes/n1/vifs", `{"id": "newer"}`)
	if got := s.want(200, "67", "GET", "/v1/nodes/n1/vifs", "").body; got != `{"vifs":[{"id":"old"},{"id":"new"}]}` {
		t.Errorf("VIFs are %s", got)
	}
}
