package restapi_test

import (
	"strings"
	"testing"
)

func TestEvents(t *testing.T) {
	s := newService(t)
	s.want(201, "115", "POST", "/v1/ports", `{"node_uuid": "`+s.enrol("n1")+`", "address": "52:54:00:00:00:01"}`)
	event := func(members string) string { return `{"events": [{` + members + `}]}` }
	const usual = `"event": "network.bind_port", "port_id": "` + uuid1 + `", "mac_address": "52:54:00:00:00:01", "status": "ACTIVE"`
	s.attempts([]attempt{
		{"53", "POST", "/v1/events", event(usual), 404, ""},
		{"54", "POST", "/v1/events", event(usual), 204, ""},
		{"54", "POST", "/v1/events", event(usual + `, "device_id": "` + uuid2 + `", "binding:host_id": "` + uuid1 + `", "binding:vnic_type": "baremetal"`), 204, ""},
		{"54", "POST", "/v1/events", event(usual + `, "device_id": null, "binding:host_id": null, "binding:vnic_type": null`), 204, ""},
		{"54", "POST", "/v1/events", event(strings.Replace(usual, "bind_port", "unbind_port", 1)), 204, ""},
		{"54", "POST", "/v1/events", event(strings.Replace(usual, "bind_port", "delete_port", 1)), 204, ""},
		{"54", "POST", "/v1/events", event(strings.Replace(usual, "00:01", "00:99", 1)), 204, ""}, // of a port that is not here
		{"54", "POST", "/v1/events", event(strings.Replace(usual, "bind_port", "other", 1)), 400, "event has to be"},
		{"54", "POST", "/v1/events", event(strings.Replace(usual, uuid1, "x", 1)), 400, "port_id"},
		{"54", "POST", "/v1/events", event(strings.Replace(usual, "52:54", "5254", 1)), 400, "mac_address"},
		{"54", "POST", "/v1/events", event(strings.Replace(usual, `"ACTIVE"`, "1", 1)), 400, "status"},
		{"54", "POST", "/v1/events", event(usual + `, "device_id": "x"`), 400, "device_id"},
		{"54", "POST", "/v1/events", event(usual + `, "binding:host_id": "x"`), 400, "binding:host_id"},
		{"54", "POST", "/v1/events", event(usual + `, "more": 1`), 400, "not known"},
		{"54", "POST", "/v1/events", event(`"event": "network.bind_port"`), 400, "port_id"},
		{"54", "POST", "/v1/events", event(``), 400, "event"},
		{"54", "POST", "/v1/events", `{"events": []}`, 400, "events"},
		{"54", "POST", "/v1/events", `{"events": ["x"]}`, 400, "object"},
		{"54", "POST", "/v1/events", `{}`, 400, "events"},
		{"54", "POST", "/v1/events", `{"events": [{` + usual + `}], "more": 1}`, 400, "more"},
		{"54", "POST", "/v1/events", `[]`, 400, "object"},
		{"54", "GET", "/v1/events", "", 405, ""},
	})
	if got := strings.Count(s.want(200, "115", "GET", "/ferric/v1/nodes/n1/events", "").body, "network."); got < 5 {
		t.Errorf("%d events were recorded of the node that has the port, want 5", got)
	}
}
