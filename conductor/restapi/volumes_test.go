package restapi_test

import (
	"testing"

	"ferric/conductor/store"
)

// off makes a node's volumes changeable.
func off(n *store.Node) { n.PowerState = ptr("power off") }

func TestVolumeConnectorFields(t *testing.T) {
	s := newService(t)
	id := s.enrol("n1")
	s.edit("n1", off)
	contractResource{
		path: "/v1/volume/connectors", key: "connectors", since: 32, links: []string{"links"},
		body: `{"node_uuid": "` + id + `", "type": "iqn", "connector_id": "iqn.2017-07.org.openstack:01:d9a51732c3f"}`,
		rows: []nodeField{
			{"uuid", 32, true, false, true, `"` + uuid1 + `"`},
			{"node_uuid", 32, true, true, false, `"` + id + `"`},
			{"type", 32, true, true, true, `"wwpn"`},
			{"connector_id", 32, true, true, true, `"c"`},
			{"extra", 32, true, true, false, `{"a": 1}`},
			{"created_at", 32, false, false, true, ""},
			{"updated_at", 32, false, false, true, ""},
		},
	}.check(t, s)
}

func TestVolumeTargetFields(t *testing.T) {
	s := newService(t)
	id := s.enrol("n1")
	s.edit("n1", off)
	contractResource{
		path: "/v1/volume/targets", key: "targets", since: 32, links: []string{"links"},
		body: `{"node_uuid": "` + id + `", "volume_type": "iscsi", "boot_index": 0, "volume_id": "04452bed"}`,
		rows: []nodeField{
			{"uuid", 32, true, false, true, `"` + uuid1 + `"`},
			{"node_uuid", 32, true, true, false, `"` + id + `"`},
			{"volume_type", 32, true, true, true, `"fibre_channel"`},
			{"boot_index", 32, true, true, true, `1`},
			{"volume_id", 32, true, true, true, `"v"`},
			{"properties", 32, true, true, false, `{"a": 1}`},
			{"extra", 32, true, true, false, `{"a": 1}`},
			{"created_at", 32, false, false, true, ""},
			{"updated_at", 32, false, false, true, ""},
		},
	}.check(t, s)
}

func TestVolumeConnectors(t *testing.T) {
	s := newService(t)
	id := s.enrol("n1")
	node := `"node_uuid": "` + id + `"`
	const path = "/v1/volume/connectors"
	s.want(201, "115", "POST", path, `{`+node+`, "uuid": "`+uuid1+`", "type": "ip", "connector_id": "10.0.0.1"}`)
	s.want(201, "115", "POST", path, `{"node_uuid": "`+s.enrol("n2")+`", "uuid": "`+uuid2+`", "type": "ip", "connector_id": "10.0.0.2"}`)
	one := path + "/" + uuid1
	s.attempts([]attempt{
		{"115", "POST", path, `{` + node + `, "type": "ip", "connector_id": "10.0.0.1"}`, 409, "A volume connector with type ip and connector ID 10.0.0.1 already exists."},
		{"115", "POST", path, `{` + node + `, "type": "iqn", "connector_id": "10.0.0.1"}`, 201, ""},
		{"115", "POST", path, `{` + node + `, "uuid": "` + uuid1 + `", "type": "ip", "connector_id": "b"}`, 409, uuid1},
		{"115", "POST", path, `{` + node + `, "type": "tape", "connector_id": "b"}`, 400, "wwpn"},
		{"115", "POST", path, `{` + node + `, "type": "ip"}`, 400, "connector_id"},
		{"115", "POST", path, `{` + node + `, "connector_id": "b"}`, 400, "type"},
		{"115", "POST", path, `{"type": "ip", "connector_id": "b"}`, 400, "node_uuid"},
		{"115", "POST", path, `{"node_uuid": "` + uuid2 + `", "type": "ip", "connector_id": "b"}`, 400, uuid2},
		{"115", "GET", path + "/x", "", 400, "UUID"},
		{"115", "GET", path + "/" + id, "", 404, "Volume connector " + id + " could not be found."},
		{"115", "PATCH", one, op("add", "/extra/a", `1`), 400, "power state"},
		{"115", "DELETE", one, "", 400, "power state"},
		{"32", "GET", path + "?detail=true", "", 200, ""},
		{"115", "GET", path + "?detail=true&fields=uuid", "", 400, ""},
		{"115", "GET", path + "?node=nobody", "", 404, "nobody"},
		{"115", "GET", path + "?node=", "", 400, ""},
		{"115", "GET", "/v1/nodes/n1/volume/connectors/" + uuid1, "", 400, "not permitted"},
	})
	for list, want := range map[string]string{
		path + "?node=n2": "10.0.0.2", "/v1/nodes/n1/volume/connectors?sort_key=type": "10.0.0.1,10.0.0.1", path + "?limit=1": "10.0.0.1",
	} {
		if got := s.want(200, "115", "GET", list, "").values("connectors", "connector_id"); got != want {
			t.Errorf("%s lists %q, want %q", list, got, want)
		}
	}
	s.edit("n1", off)
	s.attempts([]attempt{
		{"115", "PATCH", one, op("replace", "/connector_id", `"10.0.0.2"`), 409, "10.0.0.2 already exists"},
		{"115", "PATCH", one, op("replace", "/type", `"tape"`), 400, "wwpn"},
		{"115", "PATCH", one, op("replace", "/type", `"mac"`), 200, ""},
		{"115", "PATCH", one, op("remove", "/type", ""), 400, ""},
	})
	s.reserve("n1")
	s.attempts([]attempt{
		{"115", "PATCH", one, op("add", "/extra/a", `1`), 409, "is locked by host elsewhere"},
		{"115", "DELETE", one, "", 409, "is locked by host elsewhere"},
	})
}

func TestVolumeTargets(t *testing.T) {
	s := newService(t)
	id, other := s.enrol("n1"), s.enrol("n2")
	const path = "/v1/volume/targets"
	target := func(node, index, more string) string {
		return `{"node_uuid": "` + node + `", "boot_index": ` + index + `, "volume_type": "iscsi", "volume_id": "v"` + more + `}`
	}
	made := s.want(201, "115", "POST", path, target(id, "0", `, "uuid": "`+uuid1+`", "properties": {"auth_password": "x", "target_lun": 1}`)).object
	if p := made["properties"].(map[string]any); p["auth_password"] != "******" || p["target_lun"] != 1.0 {
		t.Errorf("properties are shown as %v", p)
	}
	one := path + "/" + uuid1
	s.attempts([]attempt{
		{"115", "POST", path, target(id, "0", ""), 409, "A volume target with boot index '0' for the same node already exists."},
		{"115", "POST", path, target(id, "1", ""), 201, ""},
		{"115", "POST", path, target(other, "0", ""), 201, ""},
		{"115", "POST", path, target(other, "7", `, "uuid": "`+uuid1+`"`), 409, uuid1},
		{"115", "POST", path, target(id, `"2"`, ""), 400, "integer"},
		{"115", "POST", path, target(id, "2.5", ""), 400, "integer"},
		{"115", "POST", path, target(id, "null", ""), 400, "boot_index"},
		{"115", "POST", path, target(uuid2, "2", ""), 400, uuid2},
		{"115", "PATCH", one, op("add", "/extra/a", `1`), 400, "power state"},
		{"115", "DELETE", one, "", 400, "power state"},
		{"115", "GET", path + "/" + uuid2, "", 404, "Volume target " + uuid2 + " could not be found."},
	})
	s.edit("n1", off)
	s.attempts([]attempt{
		{"115", "PATCH", one, op("replace", "/boot_index", `1`), 409, "boot index '1'"},
		{"115", "PATCH", one, op("replace", "/node_uuid", `"`+other+`"`), 400, "power state"},
		{"115", "PATCH", one, op("replace", "/properties/target_lun", `2`), 200, ""},
		{"115", "DELETE", one, "", 204, ""},
		{"115", "GET", one, "", 404, ""},
	})
	if got := s.want(200, "115", "GET", "/v1/nodes/n2/volume/targets", "").values("targets", "boot_index"); got != "0" {
		t.Errorf("targets of n2 are %q", got)
	}
}

func TestVolume(t *testing.T) {
	s := newService(t)
	id := s.enrol("n1")
	s.want(404, "31", "GET", "/v1/volume", "")
	s.want(404, "31", "GET", "/v1/nodes/n1/volume", "")
	for path, below := range map[string]string{"/v1/volume": "/v1/volume/", "/v1/nodes/n1/volume": "/v1/nodes/" + id + "/volume/"} {
		object := s.want(200, "32", "GET", path, "").object
		for name, want := range map[string]string{"links": below, "connectors": below + "connectors", "targets": below + "targets"} {
			all, _ := object[name].([]any)
			if len(all) != 2 || all[0].(map[string]any)["href"] != s.url+want {
				t.Errorf("%s: %s is %v, want %s", path, name, object[name], want)
			}
		}
	}
}
