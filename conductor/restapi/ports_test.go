package restapi_test

import (
	"strings"
	"testing"

	"ferric/conductor/provision"
	"ferric/conductor/store"
)

func TestCreatePort(t *testing.T) {
	s := newService(t)
	id := s.enrol("n1")
	node := `"node_uuid": "` + id + `"`
	s.want(201, "82", "POST", "/v1/ports", `{`+node+`, "address": "52:54:00:00:00:01"}`)
	for _, tc := range []struct {
		minor, body string
		status      int
		fault       string
	}{
		{"82", `{` + node + `, "address": "52:54:00:AA:BB:CC", "pxe_enabled": false, "physical_network": "p"}`, 201, ""},
		{"82", `{` + node + `, "address": "52:54:00:00:00:02", "local_link_connection": {"switch_id": "0a:1b:2c:3d:4e:5f", "port_id": "b", "switch_info": "c"}}`, 201, ""},
		{"82", `{` + node + `, "address": "52:54:00:00:00:03", "local_link_connection": {"network_type": "unmanaged"}}`, 201, ""},
		{"63", `{` + node + `, "address": "52:54:00:00:00:04", "local_link_connection": {"network_type": "unmanaged"}}`, 406, "local_link_connection"},
		{"82", `{` + node + `, "address": "52:54:00:00:00:04", "local_link_connection": {"network_type": "managed"}}`, 400, "network_type"},
		{"82", `{` + node + `, "address": "52:54:00:00:00:04", "local_link_connection": {"switch_id": "a"}}`, 400, "local_link_connection"},
		{"82", `{` + node + `, "address": "52:54:00:00:00:01"}`, 409, "A port with MAC address 52:54:00:00:00:01 already exists."},
		{"82", `{` + node + `, "address": "52:54:00:AA:bb:cc"}`, 409, "52:54:00:aa:bb:cc already exists"},
		{"82", `{` + node + `, "address": "52:54:00:00:00"}`, 400, "expected a MAC address"},
		{"82", `{` + node + `, "address": "52-54-00-00-00-01"}`, 400, "expected a MAC address"},
		{"82", `{` + node + `, "address": 7}`, 400, "expected a MAC address"},
		{"82", `{` + node + `}`, 400, "address"},
		{"82", `{"address": "52:54:00:00:00:05"}`, 400, "node_uuid"},
		{"82", `{"node_uuid": "` + uuid1 + `", "address": "52:54:00:00:00:05"}`, 400, "Node " + uuid1 + " could not be found."},
		{"82", `{` + node + `, "address": "52:54:00:00:00:05", "portgroup_uuid": "` + uuid1 + `"}`, 400, "Portgroup"},
		{"82", `{` + node + `, "address": "52:54:00:00:00:05", "name": "eth0"}`, 406, `"name"`},
		{"18", `{` + node + `, "address": "52:54:00:00:00:05", "pxe_enabled": true}`, 406, "1.19"},
	} {
		a := s.call(tc.minor, "POST", "/v1/ports", tc.body)
		if a.status != tc.status || !strings.Contains(a.fault(), tc.fault) {
			t.Errorf("port at 1.%s with %s: %d %s, want %d %q", tc.minor, tc.body, a.status, a.body, tc.status, tc.fault)
		}
		if a.status == 201 && a.header.Get("Location") != s.url+"/v1/ports/"+a.object["uuid"].(string) {
			t.Errorf("Location is %q", a.header.Get("Location"))
		}
	}
}

func addresses(a answer) string {
	var list []string
	ports, _ := a.object["ports"].([]any)
	for _, p := range ports {
		mac, _ := p.(map[string]any)["address"].(string)
		list = append(list, strings.TrimPrefix(mac, "52:54:00:00:00:"))
	}
	return strings.Join(list, ",")
}

func TestListPorts(t *testing.T) {
	s := newService(t)
	n1, n2 := s.enrol("n1"), s.enrol("n2")
	s.edit("n2", func(n *store.Node) { n.Shard = ptr("s") })
	for mac, node := range map[string]string{"01": n1, "02": n1, "03": n2} {
		s.want(201, "82", "POST", "/v1/ports", `{"node_uuid": "`+node+`", "address": "52:54:00:00:00:`+mac+`"}`)
	}
	for _, tc := range []struct {
		minor, path, want string
		status            int
		fault             string
	}{
		{"82", "/v1/ports?sort_key=address", "01,02,03", 200, ""},
		{"82", "/v1/ports?sort_key=address&sort_dir=desc", "03,02,01", 200, ""},
		{"82", "/v1/ports?node=n2", "03", 200, ""},
		{"5", "/v1/ports?node=n2", "", 406, "1.6"},
		{"1", "/v1/ports?node_uuid=" + n2, "03", 200, ""},
		{"82", "/v1/ports?node=nobody", "", 404, "nobody"},
		{"82", "/v1/ports?address=52:54:00:00:00:02", "02", 200, ""},
		{"82", "/v1/ports?address=x", "", 400, "MAC"},
		{"82", "/v1/ports?fields=node_uuid,uuid,address&address=52:54:00:00:00:02&node_uuid=" + n1, "02", 200, ""},
		{"82", "/v1/ports?shard=s", "03", 200, ""},
		{"82", "/v1/ports?shard=s&node=n1", "", 403, "exclude each other"},
		{"82", "/v1/ports?fields=name", "", 406, `"name"`},
		{"33", "/v1/ports?fields=physical_network", "", 406, "1.34"},
		{"82", "/v1/ports?sort_key=extra", "", 400, "extra"},
		{"82", "/v1/ports?marker=" + uuid1, "", 404, uuid1},
		{"82", "/v1/ports/detail?sort_key=address", "01,02,03", 200, ""},
		{"82", "/v1/ports/detail?fields=uuid", "", 400, "Unexpected arguments: fields"},
		{"82", "/v1/nodes/n1/ports?sort_key=address", "01,02", 200, ""},
		{"82", "/v1/nodes/n1/ports/detail?sort_key=address", "01,02", 200, ""},
		{"82", "/v1/nodes/n1/ports/x", "", 400, "not permitted"},
		{"82", "/v1/ports/52:54:00:00:00:02", "", 400, "UUID"},
		{"82", "/v1/ports/" + uuid1, "", 404, uuid1},
	} {
		a := s.call(tc.minor, "GET", tc.path, "")
		if a.status != tc.status || !strings.Contains(a.fault(), tc.fault) || addresses(a) != tc.want {
			t.Errorf("%s at 1.%s: %d %s, want %d %q %q", tc.path, tc.minor, a.status, a.body, tc.status, tc.want, tc.fault)
		}
	}
	for _, order := range []string{"", "&sort_dir=desc", "&sort_key=address&sort_dir=desc", "&sort_key=pxe_enabled"} {
		seen := map[string]bool{}
		next := "/v1/ports?limit=1" + order
		for pages := 0; next != "" && pages < 5; pages++ {
			a := s.want(200, "82", "GET", next, "")
			if mac := addresses(a); mac != "" {
				if seen[mac] {
					t.Errorf("%s twice by ?limit=1%s", mac, order)
				}
				seen[mac] = true
			}
			next, _ = a.object["next"].(string)
			next = strings.TrimPrefix(next, s.url)
		}
		if len(seen) != 3 {
			t.Errorf("?limit=1%s leads to %v", order, seen)
		}
	}
}

func TestUpdatePort(t *testing.T) {
	s := newService(t)
	id, other := s.enrol("n1"), s.enrol("n2")
	s.want(201, "82", "POST", "/v1/ports", `{"node_uuid": "`+other+`", "address": "52:54:00:00:00:02"}`)
	port := s.want(201, "82", "POST", "/v1/ports", `{"node_uuid": "`+id+`", "address": "52:54:00:00:00:01"}`).object["uuid"].(string)
	active := in(provision.Active)
	for _, tc := range []struct {
		name, minor, patch string
		row                func(n *store.Node)
		status             int
		fault              string
	}{
		{"address", "82", op("add", "/address", `"52:54:00:00:00:0A"`), in(provision.Enroll), 200, ""},
		{"address back", "82", op("replace", "/address", `"52:54:00:00:00:01"`), in(provision.Available), 200, ""},
		{"address taken", "82", op("add", "/address", `"52:54:00:00:00:02"`), in(provision.Enroll), 409, "52:54:00:00:00:02 already exists"},
		{"address removed", "82", op("remove", "/address", ""), in(provision.Enroll), 400, "MAC"},
		{"address of active", "82", op("add", "/address", `"52:54:00:00:00:0b"`), active, 409, "address"},
		{"extra of active", "82", op("add", "/extra/a", `1`), active, 200, ""},
		{"wiring of active", "82", op("add", "/pxe_enabled", `false`), active, 409, "pxe_enabled"},
		{"wiring of available", "82", op("add", "/physical_network", `"p"`), in(provision.Available), 409, "physical_network"},
		{"wiring of manageable", "82", op("add", "/physical_network", `"p"`), in(provision.Manageable), 200, ""},
		{"wiring in maintenance", "82", op("add", "/pxe_enabled", `false`), func(n *store.Node) { active(n); n.Maintenance = true }, 200, ""},
		{"reset", "82", op("remove", "/pxe_enabled", ""), func(n *store.Node) { in(provision.Enroll)(n); n.Maintenance = false }, 200, ""},
		{"link connection", "82", op("add", "/local_link_connection", `{"switch_id": "a"}`), in(provision.Enroll), 400, "local_link_connection"},
		{"read only", "82", op("add", "/internal_info/a", `1`), in(provision.Enroll), 400, "Cannot patch /internal_info"},
		{"too new", "18", op("add", "/pxe_enabled", `true`), in(provision.Enroll), 406, "1.19"},
		{"malformed", "82", `{}`, in(provision.Enroll), 400, "Invalid patch"},
	} {
		s.edit("n1", tc.row)
		a := s.call(tc.minor, "PATCH", "/v1/ports/"+port, tc.patch)
		if a.status != tc.status || !strings.Contains(a.fault(), tc.fault) {
			t.Errorf("%s: %d %s, want %d %q", tc.name, a.status, a.body, tc.status, tc.fault)
		}
	}
	got := s.want(200, "82", "GET", "/v1/ports/"+port, "").object
	if got["address"] != "52:54:00:00:00:01" || got["pxe_enabled"] != true || got["physical_network"] != "p" || got["node_uuid"] != id {
		t.Errorf("port ends as %v", got)
	}
	s.edit("n1", func(n *store.Node) { active(n); n.InstanceUUID = ptr(uuid1) })
	s.want(204, "82", "POST", "/v1/nodes/n1/vifs", `{"id": "vif1"}`)
	if a := s.call("82", "DELETE", "/v1/ports/"+port, ""); a.status != 409 || !strings.Contains(a.fault(), "vif1") {
		t.Errorf("delete of a bound port: %d %s", a.status, a.body)
	}
	s.want(204, "82", "DELETE", "/v1/nodes/n1/vifs/vif1", "")
	s.want(204, "82", "DELETE", "/v1/ports/"+port, "")
	s.want(404, "82", "GET", "/v1/ports/"+port, "")
}
