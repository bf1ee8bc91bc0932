package restapi_test

import (
	"testing"

	"ferric/conductor/provision"
	"ferric/conductor/restapi"
	"ferric/conductor/store"
)

func TestPortgroupFields(t *testing.T) {
	s := newService(t)
	id := s.enrol("n1")
	contractResource{
		path: "/v1/portgroups", key: "portgroups", since: 23, links: []string{"links"},
		body: `{"node_uuid": "` + id + `"}`,
		rows: []nodeField{
			{"uuid", 23, true, false, true, `"` + uuid1 + `"`},
			{"node_uuid", 23, true, true, false, `"` + id + `"`},
			{"name", 23, true, true, true, `"bond0"`},
			{"address", 23, true, true, true, `"52:54:00:00:00:02"`},
			{"extra", 23, true, true, false, `{"a": 1}`},
			{"internal_info", 23, false, false, false, `{}`},
			{"standalone_ports_supported", 23, true, true, true, `false`},
			{"mode", 26, true, true, true, `"802.3ad"`},
			{"properties", 26, true, true, false, `{"miimon": "100"}`},
			{"physical_network", 102, true, true, true, `"p"`},
			{"category", 103, true, true, true, `"c"`},
			{"dynamic_portgroup", 111, false, false, true, `true`},
			{"ports", 23, false, false, false, `[]`},
			{"created_at", 23, false, false, true, ""},
			{"updated_at", 23, false, false, true, ""},
		},
	}.check(t, s)
}

func TestPortgroupSample(t *testing.T) {
	s := newService(t)
	s.want(201, "115", "POST", "/v1/nodes", `{"driver": "fake-hardware", "uuid": "6d85703a-565d-469a-96ce-30b6de53079d"}`)
	roundTrip(t, s, "/v1/portgroups", `{"uuid": "6eb02b44-18a3-4659-8c0b-8d2802581ae4", "node_uuid": "6d85703a-565d-469a-96ce-30b6de53079d",
		"name": "bond0", "address": "11:11:11:11:11:11", "extra": {}, "internal_info": {}, "standalone_ports_supported": true,
		"mode": "active-backup", "properties": {}, "physical_network": null, "category": null, "dynamic_portgroup": false,
		"ports": [{}, {}], "links": [{}, {}], "created_at": "2026-08-20T09:00:01+00:00", "updated_at": null}`,
		"uuid", "node_uuid", "name", "address", "extra", "standalone_ports_supported", "mode", "properties")
}

func TestPortgroups(t *testing.T) {
	s := newService(t)
	id, other := s.enrol("n1"), s.enrol("n2")
	s.edit("n2", func(n *store.Node) { n.Shard, n.ConductorGroup = ptr("s"), "g" })
	node := `"node_uuid": "` + id + `"`
	s.attempts([]attempt{
		{"115", "POST", "/v1/portgroups", `{` + node + `, "name": "bond0", "address": "52:54:00:00:00:0A"}`, 201, ""},
		{"115", "POST", "/v1/portgroups", `{"node_uuid": "` + other + `", "name": "bond1"}`, 201, ""},
		{"115", "POST", "/v1/portgroups", `{` + node + `, "name": "bond0"}`, 409, "A portgroup with name bond0 already exists."},
		{"115", "POST", "/v1/portgroups", `{` + node + `, "address": "52:54:00:00:00:0a"}`, 409, "A portgroup with MAC address 52:54:00:00:00:0a already exists."},
		{"115", "POST", "/v1/portgroups", `{` + node + `, "name": "a b"}`, 400, "a b"},
		{"115", "POST", "/v1/portgroups", `{` + node + `, "address": "x"}`, 400, "MAC"},
		{"115", "POST", "/v1/portgroups", `{"name": "x"}`, 400, "node_uuid"},
		{"115", "POST", "/v1/portgroups", `{"node_uuid": "` + uuid1 + `"}`, 400, uuid1},
		{"115", "GET", "/v1/portgroups/bond0", "", 200, ""},
		{"115", "GET", "/v1/portgroups/bond9", "", 404, "Portgroup bond9 could not be found."},
		{"115", "GET", "/v1/portgroups/a:b", "", 400, ""},
		{"115", "PATCH", "/v1/portgroups/bond1", op("replace", "/name", `"bond0"`), 409, "bond0"},
		{"115", "PATCH", "/v1/portgroups/bond1", op("replace", "/address", `"52:54:00:00:00:0a"`), 409, "52:54:00:00:00:0a"},
		{"115", "PATCH", "/v1/portgroups/bond0", op("replace", "/name", `"a b"`), 400, "a b"},
		{"115", "PATCH", "/v1/portgroups/bond0", op("remove", "/mode", ""), 400, "mandatory"},
		{"115", "PATCH", "/v1/portgroups/bond0", op("remove", "/address", ""), 200, ""},
		{"115", "GET", "/v1/nodes/n1/portgroups/bond0", "", 400, "not permitted"},
		{"115", "POST", "/v1/nodes/n1/portgroups", `{}`, 400, "not permitted"},
		{"115", "POST", "/v1/portgroups/bond0/ports", `{}`, 400, "not permitted"},
		{"23", "GET", "/v1/nodes/n1/portgroups", "", 404, ""},
		{"115", "GET", "/v1/portgroups?node=n1&shard=s", "", 403, ""},
		{"115", "GET", "/v1/portgroups?node=n1&address=52:54:00:00:00:0a", "", 400, ""},
		{"105", "GET", "/v1/portgroups?shard=s", "", 406, ""},
		{"98", "GET", "/v1/portgroups?conductor_groups=g", "", 406, ""},
	})
	for path, want := range map[string]string{
		"/v1/portgroups?sort_key=name": "bond0,bond1", "/v1/portgroups/detail?sort_key=name&sort_dir=desc": "bond1,bond0",
		"/v1/portgroups?node=n2": "bond1", "/v1/portgroups?shard=s": "bond1", "/v1/portgroups?conductor_groups=g": "bond1",
		"/v1/nodes/n1/portgroups": "bond0", "/v1/nodes/n1/portgroups/detail": "bond0", "/v1/portgroups?address=52:54:00:00:00:0b": "",
	} {
		if got := s.want(200, "115", "GET", path, "").values("portgroups", "name"); got != want {
			t.Errorf("%s lists %q, want %q", path, got, want)
		}
	}
}

// TestPortgroupMembers: what ports and their portgroup ask of each other.
func TestPortgroupMembers(t *testing.T) {
	s := newService(t)
	id, other := s.enrol("n1"), s.enrol("n2")
	node := `"node_uuid": "` + id + `"`
	group := s.want(201, "115", "POST", "/v1/portgroups", `{`+node+`, "name": "bond0"}`).object["uuid"].(string)
	lone := s.want(201, "115", "POST", "/v1/portgroups", `{`+node+`, "name": "lone", "standalone_ports_supported": false}`).object["uuid"].(string)
	foreign := s.want(201, "115", "POST", "/v1/portgroups", `{"node_uuid": "`+other+`", "name": "foreign"}`).object["uuid"].(string)
	member := func(mac, more, group string) string {
		return `{` + node + `, "address": "52:54:00:00:00:` + mac + `", ` + more + `"portgroup_uuid": "` + group + `"}`
	}
	first := "/v1/ports/" + s.want(201, "115", "POST", "/v1/ports", member("01", `"physical_network": "p", `, group)).object["uuid"].(string)
	free := "/v1/ports/" + s.want(201, "115", "POST", "/v1/ports", `{`+node+`, "address": "52:54:00:00:00:07"}`).object["uuid"].(string)
	s.attempts([]attempt{
		{"115", "POST", "/v1/ports", member("02", `"physical_network": "q", `, group), 409, "physical network"},
		{"115", "POST", "/v1/ports", member("02", "", group), 409, "physical network"},
		{"115", "POST", "/v1/ports", member("02", "", foreign), 400, "different node"},
		{"115", "POST", "/v1/ports", member("02", "", uuid1), 400, "Portgroup " + uuid1 + " could not be found."},
		{"115", "POST", "/v1/ports", member("02", `"pxe_enabled": true, `, lone), 409, "standalone"},
		{"115", "POST", "/v1/ports", member("02", `"pxe_enabled": false, `, lone), 201, ""},
		{"115", "PATCH", free, op("add", "/portgroup_uuid", `"`+uuid1+`"`), 400, "could not be found"},
		{"115", "PATCH", free, op("add", "/portgroup_uuid", `"`+foreign+`"`), 400, "different node"},
		{"115", "PATCH", free, op("add", "/portgroup_uuid", `"`+group+`"`), 409, "physical network"},
		{"115", "PATCH", free, op("add", "/portgroup_uuid", `"`+lone+`"`), 200, ""}, // noop does not care
		{"115", "PATCH", first, op("replace", "/physical_network", `"q"`), 400, "belongs to a portgroup"},
		{"101", "PATCH", first, op("replace", "/physical_network", `"q"`), 200, ""},
		{"115", "PATCH", "/v1/portgroups/bond0", op("replace", "/physical_network", `"r"`), 200, ""},
		{"115", "PATCH", "/v1/portgroups/bond0", op("replace", "/node_uuid", `"`+other+`"`), 400, "contains ports"},
		{"115", "DELETE", "/v1/portgroups/bond0", "", 400, "contains ports"},
	})
	if got := s.want(200, "115", "GET", first, "").object["physical_network"]; got != "r" {
		t.Errorf("the portgroup's network is not its port's, which is %v", got)
	}
	s.edit("n1", func(n *store.Node) { n.NetworkInterface = ptr("flat") })
	s.attempts([]attempt{
		{"115", "PATCH", free, op("replace", "/pxe_enabled", `false`), 200, ""},
		{"115", "PATCH", free, op("replace", "/pxe_enabled", `true`), 409, "standalone"},
		{"115", "PATCH", "/v1/portgroups/bond0", op("replace", "/standalone_ports_supported", `false`), 409, "pxe_enabled"},
		{"115", "DELETE", first, "", 204, ""},
		{"115", "DELETE", "/v1/portgroups/bond0", "", 204, ""},
		{"115", "DELETE", "/v1/portgroups/bond0", "", 404, ""},
	})
}

func TestPortgroupMode(t *testing.T) {
	s := newService(t, func(c *restapi.Config) { c.DefaultPortgroupMode = "802.3ad" })
	node := `"node_uuid": "` + s.enrol("n1") + `"`
	for body, want := range map[string]string{"": "802.3ad", `, "mode": null`: "802.3ad", `, "mode": "balance-rr"`: "balance-rr"} {
		made := s.want(201, "115", "POST", "/v1/portgroups", `{`+node+body+`}`).object
		if made["mode"] != want {
			t.Errorf("mode is %v, want %s", made["mode"], want)
		}
		for _, patch := range []string{op("replace", "/mode", `null`), op("replace", "/mode", `"`+want+`"`)} {
			if got := s.want(200, "115", "PATCH", "/v1/portgroups/"+made["uuid"].(string), patch).object["mode"]; got != want {
				t.Errorf("mode becomes %v, want %s", got, want)
			}
		}
	}
}

func TestPortgroupStates(t *testing.T) {
	s := newService(t)
	id, other := s.enrol("n1"), s.enrol("n2")
	s.want(201, "115", "POST", "/v1/portgroups", `{"node_uuid": "`+id+`", "name": "bond0"}`)
	move := op("replace", "/node_uuid", `"`+other+`"`)
	s.edit("n2", in(provision.Active))
	s.attempts([]attempt{{"115", "PATCH", "/v1/portgroups/bond0", move, 409, "active"}})
	s.edit("n1", in(provision.Inspecting))
	s.attempts([]attempt{
		{"39", "PATCH", "/v1/portgroups/bond0", op("add", "/extra/a", `1`), 409, "inspecting"},
		{"38", "PATCH", "/v1/portgroups/bond0", op("add", "/extra/a", `1`), 200, ""},
	})
	s.edit("n1", in(provision.Manageable))
	s.edit("n2", in(provision.Enroll))
	s.attempts([]attempt{{"115", "PATCH", "/v1/portgroups/bond0", move, 200, ""}})
	s.reserve("n2")
	s.attempts([]attempt{
		{"115", "PATCH", "/v1/portgroups/bond0", op("add", "/extra/a", `1`), 409, "is locked by host elsewhere"},
		{"115", "DELETE", "/v1/portgroups/bond0", "", 409, "is locked by host elsewhere"},
	})
}

// TestDeletedNodeTakesAll: nothing of a deleted node is left.
func TestDeletedNodeTakesAll(t *testing.T) {
	s := newService(t)
	id := s.enrol("n1")
	group := s.want(201, "115", "POST", "/v1/portgroups", `{"node_uuid": "`+id+`"}`).object["uuid"].(string)
	made := []string{"/v1/portgroups/" + group}
	for path, body := range map[string]string{
		"/v1/ports":             `"address": "52:54:00:00:00:01", "portgroup_uuid": "` + group + `"`,
		"/v1/volume/connectors": `"type": "ip", "connector_id": "a"`,
		"/v1/volume/targets":    `"volume_type": "iscsi", "boot_index": 0, "volume_id": "v"`,
	} {
		made = append(made, path+"/"+s.want(201, "115", "POST", path, `{"node_uuid": "`+id+`", `+body+`}`).object["uuid"].(string))
	}
	s.want(204, "115", "DELETE", "/v1/nodes/n1", "")
	for _, path := range made {
		s.want(404, "115", "GET", path, "")
	}
}
