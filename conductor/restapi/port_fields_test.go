package restapi_test

import (
	"encoding/json"
	"fmt"
	"testing"

	"ferric/conductor/provision"
	"ferric/conductor/store"
)

func TestPortFields(t *testing.T) {
	s := newService(t)
	id := s.enrol("n1")
	group := s.want(201, "115", "POST", "/v1/portgroups", `{"node_uuid": "`+id+`"}`).object["uuid"].(string)
	contractResource{
		path: "/v1/ports", key: "ports", since: 1, links: []string{"links"},
		body: `{"node_uuid": "` + id + `", "address": "52:54:00:00:00:01"}`,
		rows: []nodeField{
			{"uuid", 1, true, false, true, `"` + uuid1 + `"`},
			{"address", 1, true, true, true, `"52:54:00:00:00:02"`},
			{"node_uuid", 1, true, true, false, `"` + id + `"`},
			{"extra", 1, true, true, false, `{"a": 1}`},
			{"internal_info", 18, false, false, false, `{}`},
			{"local_link_connection", 19, true, true, false, `{"port_id": "p", "switch_id": "0a:1b:2c:3d:4e:5f"}`},
			{"pxe_enabled", 19, true, true, true, `false`},
			{"physical_network", 34, true, true, true, `"p"`},
			{"portgroup_uuid", 24, true, true, false, `"` + group + `"`},
			{"is_smartnic", 53, true, true, true, `false`},
			{"name", 88, true, true, true, `"eth0"`},
			{"description", 97, true, true, true, `"d"`},
			{"vendor", 100, true, true, true, `"v"`},
			{"category", 101, true, true, true, `"c"`},
			{"available_for_dynamic_portgroup", 111, true, true, true, `false`},
			{"created_at", 1, false, false, true, ""},
			{"updated_at", 1, false, false, true, ""},
		},
	}.check(t, s)
}

func TestPortSample(t *testing.T) {
	s := newService(t)
	s.want(201, "115", "POST", "/v1/nodes", `{"driver": "fake-hardware", "uuid": "6d85703a-565d-469a-96ce-30b6de53079d"}`)
	roundTrip(t, s, "/v1/ports", `
{"uuid": "d2b30520-907d-46c8-bfee-c5586e6fb3a1", "address": "52:54:00:90:35:d6", "node_uuid": "6d85703a-565d-469a-96ce-30b6de53079d",
 "name": null, "description": null, "vendor": null, "category": null, "portgroup_uuid": null, "pxe_enabled": true, "is_smartnic": false,
 "physical_network": null, "local_link_connection": {}, "internal_info": {}, "extra": {}, "available_for_dynamic_portgroup": true,
 "created_at": "2026-08-20T09:00:01+00:00", "updated_at": null,
 "links": [{"href": "http://host:6385/v1/ports/d2b30520-907d-46c8-bfee-c5586e6fb3a1", "rel": "self"},
           {"href": "http://host:6385/ports/d2b30520-907d-46c8-bfee-c5586e6fb3a1", "rel": "bookmark"}]}`,
		"uuid", "address", "node_uuid", "name", "description", "vendor", "category", "portgroup_uuid", "pxe_enabled", "is_smartnic",
		"physical_network", "local_link_connection", "extra", "available_for_dynamic_portgroup")
}

// TestLocalLinkConnection: the forms of section 4, each from its version on.
func TestLocalLinkConnection(t *testing.T) {
	s := newService(t)
	id := s.enrol("n1")
	const vtep = `{"port_id": "p", "vtep-logical-switch": "l", "vtep-physical-switch": "q"}`
	mac := 0
	for _, tc := range []struct {
		minor, link string
		status      int
		shown       string // "" is what was given
	}{
		{"115", `{}`, 201, ""},
		{"115", `{"port_id": "p", "switch_id": "0A:1B:2C:3D:4E:5F", "switch_info": "i"}`, 201, `{"port_id":"p","switch_id":"0a:1b:2c:3d:4e:5f","switch_info":"i"}`},
		{"115", `{"port_id": "p", "switch_id": "0000000ABCDEF012"}`, 201, `{"port_id":"p","switch_id":"0000000abcdef012"}`},
		{"115", `{"port_id": "p", "switch_id": "switch"}`, 400, ""},
		{"115", `{"port_id": "p"}`, 400, ""},
		{"115", `{"port_id": "p", "switch_id": "0a:1b:2c:3d:4e:5f", "more": "m"}`, 400, ""},
		{"115", `{"port_id": 1, "switch_id": "0a:1b:2c:3d:4e:5f"}`, 400, ""},
		{"115", `{"port_id": "p", "hostname": "h"}`, 201, ""},
		{"115", `{"hostname": "h"}`, 400, ""},
		{"64", `{"network_type": "unmanaged"}`, 201, ""},
		{"63", `{"network_type": "unmanaged"}`, 406, ""},
		{"115", `{"network_type": "managed"}`, 400, ""},
		{"115", `{"network_type": "managed", "port_id": "p", "switch_id": "0a:1b:2c:3d:4e:5f"}`, 201, ""},
		{"115", `{"network_type": "other", "port_id": "p", "switch_id": "0a:1b:2c:3d:4e:5f"}`, 400, ""},
		{"89", vtep, 406, ""},
		{"90", vtep, 201, ""},
		{"104", vtep, 201, ""},
		{"105", vtep, 406, ""},
		{"104", `{"port_id": "p", "vtep-logical-switch": "l"}`, 400, ""},
		{"115", `"text"`, 400, ""},
	} {
		mac++
		a := s.call(tc.minor, "POST", "/v1/ports", fmt.Sprintf(`{"node_uuid": %q, "address": "52:54:00:00:00:%02x", "local_link_connection": %s}`, id, mac, tc.link))
		if a.status != tc.status {
			t.Errorf("%s at 1.%s: %d %s, want %d", tc.link, tc.minor, a.status, a.body, tc.status)
		}
		if tc.shown == "" {
			tc.shown = must(compact(tc.link))
		}
		if got := string(must(json.Marshal(a.object["local_link_connection"]))); a.status == 201 && got != tc.shown {
			t.Errorf("%s is shown as %s, want %s", tc.link, got, tc.shown)
		}
		if a.status == 201 && tc.link == vtep {
			for minor, want := range map[string]string{"89": `{}`, "104": tc.shown, "105": `{}`} {
				a := s.want(200, minor, "GET", "/v1/ports/"+a.object["uuid"].(string), "")
				if got := string(must(json.Marshal(a.object["local_link_connection"]))); got != want {
					t.Errorf("VTEP link at 1.%s is %s, want %s", minor, got, want)
				}
			}
		}
	}
	node := `"node_uuid": "` + id + `"`
	s.attempts([]attempt{
		{"115", "POST", "/v1/ports", `{` + node + `, "address": "52:54:00:00:01:01", "is_smartnic": true, "local_link_connection": {}}`, 400, "hostname"},
		{"115", "POST", "/v1/ports", `{` + node + `, "address": "52:54:00:00:01:00", "is_smartnic": true}`, 201, ""}, // it is said later
		{"115", "POST", "/v1/ports", `{` + node + `, "address": "52:54:00:00:01:01", "is_smartnic": true, "local_link_connection": {"port_id": "p", "hostname": "h"}}`, 201, ""},
		{"115", "POST", "/v1/ports", `{` + node + `, "address": "52:54:00:00:01:02", "physical_network": ""}`, 400, "non-empty"},
	})
}

// TestPortParent: node_uuid, or its name since 1.94.
func TestPortParent(t *testing.T) {
	s := newService(t)
	id := s.enrol("n1")
	const mac = `"address": "52:54:00:00:00:01"`
	s.attempts([]attempt{
		{"93", "POST", "/v1/ports", `{"node_ident": "n1", ` + mac + `}`, 406, "node_ident"},
		{"94", "POST", "/v1/ports", `{"node_ident": "n1", ` + mac + `}`, 201, ""},
		{"94", "POST", "/v1/ports", `{"node_ident": "` + id + `", "address": "52:54:00:00:00:02"}`, 201, ""},
		{"94", "POST", "/v1/ports", `{"node_ident": "n1", "node_uuid": "` + id + `", "address": "52:54:00:00:00:03"}`, 400, "Only one"},
		{"94", "POST", "/v1/ports", `{"node_ident": "nobody", "address": "52:54:00:00:00:03"}`, 400, "nobody"},
		{"94", "POST", "/v1/ports", `{"node_ident": 7, "address": "52:54:00:00:00:03"}`, 400, "UUID"},
		{"94", "POST", "/v1/ports", `{"node_uuid": "n1", "address": "52:54:00:00:00:03"}`, 400, "UUID"},
		{"94", "POST", "/v1/ports", `{"address": "52:54:00:00:00:03"}`, 400, "node_uuid"},
		{"115", "GET", "/v1/ports?fields=node_ident", "", 400, "node_ident"},
		{"115", "POST", "/v1/nodes/n1/ports", `{"address": "52:54:00:00:00:03"}`, 400, "not permitted"},
		{"115", "GET", "/v1/nodes/n1/ports/" + uuid1, "", 400, "not permitted"},
		{"115", "PATCH", "/v1/nodes/n1/ports/" + uuid1, `[]`, 400, ""},
		{"115", "DELETE", "/v1/nodes/n1/ports/" + uuid1, "", 400, "not permitted"},
	})
}

func TestPortNames(t *testing.T) {
	s := newService(t)
	node := `"node_uuid": "` + s.enrol("n1") + `"`
	s.attempts([]attempt{
		{"88", "POST", "/v1/ports", `{` + node + `, "address": "52:54:00:00:00:01", "name": "eth0"}`, 201, ""},
		{"88", "POST", "/v1/ports", `{` + node + `, "address": "52:54:00:00:00:02", "name": "eth0"}`, 409, "A port with name eth0 already exists."},
		{"88", "POST", "/v1/ports", `{` + node + `, "address": "52:54:00:00:00:02", "name": "a.json"}`, 201, ""},
		{"87", "GET", "/v1/ports/eth0", "", 404, "Port eth0 could not be found."},
		{"88", "GET", "/v1/ports/eth0", "", 200, ""},
		{"88", "GET", "/v1/ports/eth0/detail", "", 404, ""},
		{"88", "GET", "/v1/ports/eth1", "", 404, "Port eth1 could not be found."},
		{"88", "GET", "/v1/ports/a.json", "", 200, ""},
		{"91", "GET", "/v1/ports/a.json", "", 200, ""},
		{"88", "PATCH", "/v1/ports/a.json", op("add", "/name", `"eth0"`), 409, "eth0 already exists"},
		{"88", "PATCH", "/v1/ports/eth0", op("remove", "/name", ""), 200, ""},
		{"88", "PATCH", "/v1/ports/a.json", op("replace", "/name", `"eth0"`), 200, ""},
		{"88", "DELETE", "/v1/ports/eth0", "", 400, "Expected UUID for port_uuid: eth0"},
		{"115", "POST", "/v1/ports", `{` + node + `, "address": "52:54:00:00:00:04", "uuid": "` + uuid1 + `"}`, 201, ""},
		{"115", "POST", "/v1/ports", `{` + node + `, "address": "52:54:00:00:00:05", "uuid": "` + uuid1 + `"}`, 409, uuid1},
	})
}

func TestPortFilters(t *testing.T) {
	s := newService(t)
	n1, n2 := s.enrol("n1"), s.enrol("n2")
	s.edit("n2", func(n *store.Node) { n.Shard, n.ConductorGroup = ptr("s"), "g" })
	group := s.want(201, "115", "POST", "/v1/portgroups", `{"node_uuid": "`+n1+`", "name": "bond0"}`).object["uuid"].(string)
	s.want(201, "115", "POST", "/v1/ports", `{"node_uuid": "`+n1+`", "address": "52:54:00:00:00:01", "portgroup_uuid": "`+group+`", "description": "left side"}`)
	s.want(201, "115", "POST", "/v1/ports", `{"node_uuid": "`+n1+`", "address": "52:54:00:00:00:02", "description": "right side"}`)
	s.want(201, "115", "POST", "/v1/ports", `{"node_uuid": "`+n2+`", "address": "52:54:00:00:00:03"}`)
	for _, tc := range []struct {
		minor, query string
		status       int
		want         string
	}{
		{"24", "portgroup=" + group, 200, "01"},
		{"23", "portgroup=" + group, 406, ""},
		{"115", "portgroup=bond0", 200, "01"},
		{"115", "portgroup=bond1", 404, ""},
		{"115", "portgroup=", 400, ""},
		{"115", "node=", 400, ""},
		{"115", "node_uuid=", 400, ""},
		{"115", "portgroup=bond0&node=n1", 403, ""},
		{"115", "portgroup=bond0&shard=s", 403, ""},
		{"115", "node_uuid=" + n1 + "&shard=s", 403, ""},
		{"115", "node_uuid=" + n1 + "&node=n2", 200, "01,02"},
		{"82", "shard=s,t", 200, "03"},
		{"81", "shard=s", 406, ""},
		{"96", "description_contains=side", 406, ""},
		{"97", "description_contains=side", 200, "01,02"},
		{"97", "description_contains=%25", 200, ""},
		{"97", "description_contains=left&node=n1", 200, "01"},
		{"98", "conductor_groups=g", 406, ""},
		{"99", "conductor_groups=g,h", 200, "03"},
		{"99", "conductor_groups=g&node=n1", 400, ""},
		{"99", "conductor_groups=g&portgroup=bond0", 400, ""},
		{"99", "conductor_groups=g&address=52:54:00:00:00:01", 400, ""},
		{"115", "address=52:54:00:00:00:01&node=n2", 200, ""},
		{"115", "nonsense=1", 400, ""},
		{"42", "detail=true", 400, ""},
		{"43", "detail=true", 200, "01,02,03"},
		{"115", "detail=true&fields=uuid", 400, ""},
		{"7", "fields=address", 406, ""},
		{"8", "fields=address", 200, "01,02,03"},
	} {
		if a := s.call(tc.minor, "GET", "/v1/ports?"+tc.query, ""); a.status != tc.status || addresses(a) != tc.want {
			t.Errorf("?%s at 1.%s: %d %s, want %d %q", tc.query, tc.minor, a.status, a.body, tc.status, tc.want)
		}
	}
	for path, want := range map[string]string{
		"/v1/portgroups/bond0/ports": "01", "/v1/portgroups/" + group + "/ports/detail": "01", "/v1/nodes/n2/ports?fields=address": "03",
	} {
		if got := addresses(s.want(200, "115", "GET", path, "")); got != want {
			t.Errorf("%s lists %q, want %q", path, got, want)
		}
	}
	if a := s.want(200, "115", "GET", "/v1/ports?address=52:54:00:00:00:01", ""); len(a.object["ports"].([]any)[0].(map[string]any)) != 3 {
		t.Errorf("a list shows %s, want uuid, address and links", a.body)
	}
	s.attempts([]attempt{
		{"23", "GET", "/v1/portgroups/bond0/ports", "", 404, ""},
		{"115", "GET", "/v1/nodes/n1/ports?portgroup=bond0", "", 403, ""},
		{"115", "GET", "/v1/ports/detail?detail=true", "", 400, "Unexpected arguments"},
	})
}

// TestMovePort: to another node only where both are in a state for it.
func TestMovePort(t *testing.T) {
	s := newService(t)
	id, other := s.enrol("n1"), s.enrol("n2")
	group := s.want(201, "115", "POST", "/v1/portgroups", `{"node_uuid": "`+id+`"}`).object["uuid"].(string)
	port := "/v1/ports/" + s.want(201, "115", "POST", "/v1/ports", `{"node_uuid": "`+id+`", "address": "52:54:00:00:00:01", "portgroup_uuid": "`+group+`"}`).object["uuid"].(string)
	move := op("replace", "/node_uuid", `"`+other+`"`)
	s.attempts([]attempt{
		{"115", "PATCH", port, move, 400, "different node"},
		{"115", "PATCH", port, op("replace", "/node_uuid", `"`+uuid1+`"`), 400, uuid1},
		{"115", "PATCH", port, op("remove", "/portgroup_uuid", ""), 200, ""},
	})
	s.edit("n2", in(provision.Active))
	s.attempts([]attempt{{"115", "PATCH", port, move, 409, "active"}})
	s.edit("n2", func(n *store.Node) { n.Maintenance = true })
	s.reserve("n2")
	s.attempts([]attempt{{"115", "PATCH", port, move, 409, "is locked by host"}})
	n, err := s.store.Node(t.Context(), "n2")
	if err != nil {
		t.Fatal(err)
	}
	if err := s.store.Release(t.Context(), "elsewhere", n.ID); err != nil {
		t.Fatal(err)
	}
	if got := s.want(200, "115", "PATCH", port, move).object["node_uuid"]; got != other {
		t.Errorf("port is of node %v, want %s", got, other)
	}
	if got := addresses(s.want(200, "115", "GET", "/v1/nodes/n2/ports", "")); got != "01" {
		t.Errorf("n2 has ports %q", got)
	}
}

func TestPortLocksAndStates(t *testing.T) {
	s := newService(t)
	id := s.enrol("n1")
	port := "/v1/ports/" + s.want(201, "115", "POST", "/v1/ports", `{"node_uuid": "`+id+`", "address": "52:54:00:00:00:01"}`).object["uuid"].(string)
	s.edit("n1", in(provision.Inspecting))
	s.attempts([]attempt{
		{"39", "PATCH", port, op("add", "/extra/a", `1`), 409, "inspecting"},
		{"38", "PATCH", port, op("add", "/extra/a", `1`), 200, ""},
	})
	s.edit("n1", in(provision.Available))
	s.attempts([]attempt{
		{"115", "PATCH", port, op("replace", "/pxe_enabled", `true`), 200, ""}, // which changes nothing
		{"115", "PATCH", port, op("replace", "/pxe_enabled", `false`), 409, "available"},
	})
	s.reserve("n1")
	s.attempts([]attempt{
		{"115", "PATCH", port, op("add", "/extra/a", `2`), 409, "is locked by host elsewhere"},
		{"115", "DELETE", port, "", 409, "is locked by host elsewhere"},
		{"115", "POST", "/v1/ports", `{"node_uuid": "` + id + `", "address": "52:54:00:00:00:02"}`, 201, ""},
	})
}
