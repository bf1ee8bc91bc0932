package restapi_test

import (
	"strings"
	"testing"

	"ferric/conductor/driver"
	"ferric/conductor/provision"
	"ferric/conductor/restapi"
	"ferric/conductor/store"
)

// TestLookup holds section 8.1.
func TestLookup(t *testing.T) {
	s := newService(t)
	n1, n2 := s.enrol("n1"), s.enrol("n2")
	for mac, node := range map[string]string{"01": n1, "02": n1, "03": n2} {
		s.want(201, "82", "POST", "/v1/ports", `{"node_uuid": "`+node+`", "address": "52:54:00:00:00:`+mac+`"}`)
	}
	s.edit("n1", in(provision.CleanWait))
	const generic = "Node could not be found for the given lookup."
	for _, tc := range []struct {
		minor, query string
		status       int
		fault        string
	}{
		{"61", "addresses=52:54:00:00:00:01", 200, ""},
		{"61", "addresses=52:54:00:00:00:02,52:54:00:00:00:ff,garbage", 200, ""},
		{"61", "addresses=52:54:00:00:00:01&addresses=52:54:00:00:00:02", 200, ""},
		{"61", "node_uuid=" + n1, 200, ""},
		{"61", "node_uuid=" + n1 + "&addresses=52:54:00:00:00:03", 200, ""},
		{"61", "addresses=52:54:00:00:00:01,52:54:00:00:00:03", 404, generic}, // two nodes
		{"61", "addresses=52:54:00:00:00:ff", 404, generic},
		{"61", "node_uuid=" + uuid1, 404, generic},
		{"61", "node_uuid=" + n2, 404, generic}, // enroll expects no agent
		{"61", "", 400, "node_uuid"},
		{"61", "addresses=garbage", 400, "valid MAC"},
		{"61", "node_uuid=x", 400, "Expected UUID"},
		{"61", "mac=52:54:00:00:00:01", 400, "Unexpected arguments"},
		{"21", "node_uuid=" + n1, 404, "1.22"},
	} {
		a := s.call(tc.minor, "GET", "/v1/lookup?"+tc.query, "")
		if a.status != tc.status || !strings.Contains(a.fault(), tc.fault) {
			t.Errorf("?%s at 1.%s: %d %s, want %d %q", tc.query, tc.minor, a.status, a.body, tc.status, tc.fault)
		}
		if a.status == 200 && a.object["node"].(map[string]any)["uuid"] != n1 {
			t.Errorf("?%s leads to %s", tc.query, a.body)
		}
	}

	first := s.want(200, "62", "GET", "/v1/lookup?node_uuid="+n1, "")
	config := first.object["config"].(map[string]any)
	if token, _ := config["agent_token"].(string); len(token) != 43 {
		t.Errorf("token of the first lookup is %v", config["agent_token"])
	}
	if config["heartbeat_timeout"] != 300.0 || config["agent_token_required"] != true {
		t.Errorf("config %v", config)
	}
	node := first.object["node"].(map[string]any)
	if len(node) != 5 || node["links"] == nil {
		t.Errorf("node has %v, want uuid, properties, instance_info, driver_internal_info and links", node)
	}
	second := s.want(200, "62", "GET", "/v1/lookup?node_uuid="+n1, "").object["config"].(map[string]any)
	if second["agent_token"] != "******" {
		t.Errorf("token of the second lookup is %v", second["agent_token"])
	}

	s.edit("n2", in(provision.CleanWait))
	s.reserve("n2")
	s.want(409, "62", "GET", "/v1/lookup?node_uuid="+n2, "")
}

// TestHeartbeat holds section 8.2.
func TestHeartbeat(t *testing.T) {
	s := newService(t)
	id := s.enrol("n1")
	s.edit("n1", func(n *store.Node) {
		in(provision.Active)(n) // expects no heartbeat: it is recorded only
		n.DriverInternalInfo = store.Object{driver.KeyAgentToken: "the-token"}
	})
	good := `"callback_url": "https://127.0.0.1:9999", "agent_version": "1"`
	for _, tc := range []struct {
		minor, ident, body string
		status             int
		fault              string
	}{
		{"82", id, `{"agent_version": "1", "agent_token": "the-token"}`, 400, "callback_url"},
		{"82", id, `{"callback_url": "ftp://x/", "agent_version": "1", "agent_token": "the-token"}`, 400, "callback_url"},
		{"82", id, `{"callback_url": "http://127.0.0.1:9999", "agent_version": "1", "agent_token": "the-token"}`, 400, "TLS"},
		{"82", id, `{` + good + `}`, 400, "agent_token"},
		{"82", id, `{` + good + `, "agent_token": "wrong"}`, 400, "invalid agent token"},
		{"82", id, `{"callback_url": "https://127.0.0.1:9999", "agent_token": "the-token"}`, 400, "version"},
		{"82", id, `{` + good + `, "agent_token": "the-token", "agent_status": "bored"}`, 400, "agent_status"},
		{"61", id, `{` + good + `, "agent_token": "the-token"}`, 400, "1.62"},
		{"67", id, `{` + good + `, "agent_token": "the-token", "agent_verify_ca": "x"}`, 400, "1.68"},
		{"71", id, `{` + good + `, "agent_token": "the-token", "agent_status": "end"}`, 400, "1.72"},
		{"82", id, `{` + good + `, "agent_token": "the-token", "mood": "good"}`, 400, "Unexpected arguments: mood"},
		{"82", "nobody", `{` + good + `, "agent_token": "the-token"}`, 404, "nobody"},
		{"21", id, `{` + good + `}`, 404, "1.22"},
		{"82", id, `{` + good + `, "agent_token": "the-token"}`, 202, ""},
		{"82", "n1", `{` + good + `, "agent_token": "the-token"}`, 202, ""},
		{"82", id, `{"callback_url": "https://127.0.0.2:9999", "agent_version": "1", "agent_token": "the-token"}`, 400, "callback_url"},
	} {
		a := s.call(tc.minor, "POST", "/v1/heartbeat/"+tc.ident, tc.body)
		if a.status != tc.status || !strings.Contains(a.fault(), tc.fault) {
			t.Errorf("heartbeat at 1.%s with %s: %d %s, want %d %q", tc.minor, tc.body, a.status, a.body, tc.status, tc.fault)
		}
		if strings.Contains(a.body, "the-token") {
			t.Errorf("answer %s shows the token", a.body)
		}
	}
	info := s.want(200, "82", "GET", "/v1/nodes/n1", "").object["driver_internal_info"].(map[string]any)
	if info["agent_url"] != "https://127.0.0.1:9999" || info["agent_secret_token"] != "******" {
		t.Errorf("driver_internal_info %v", info)
	}
	s.reserve("n1")
	s.want(202, "82", "POST", "/v1/heartbeat/"+id, `{`+good+`, "agent_token": "the-token"}`) // busy, and known
}

func TestRamdiskEndpointsDisabled(t *testing.T) {
	s := newService(t, func(c *restapi.Config) { c.EnableRamdiskEndpoints = false })
	s.want(403, "82", "GET", "/v1/lookup?node_uuid="+uuid1, "")
	s.want(403, "82", "POST", "/v1/heartbeat/"+uuid1, "{}")
}
