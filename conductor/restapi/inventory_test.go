package restapi_test

import (
	"net/http"
	"strings"
	"testing"

	"ferric/conductor/provision"
	"ferric/conductor/store"
)

const machineData = `{"inventory": {"interfaces": [{"name": "eth0", "mac_address": "52:54:00:00:00:A1", "ipv4_address": "192.0.2.1"}], "cpu": {"architecture": "aarch64"}}, "error": null, "extra": {"a": 1}}`

// awaiting makes a node with a port that waits for inspection data.
func (s *service) awaiting(name string) string {
	s.Helper()
	id := s.enrol(name)
	s.want(201, "82", "POST", "/v1/ports", `{"node_uuid": "`+id+`", "address": "52:54:00:00:00:a1"}`)
	s.edit(id, in(provision.InspectWait))
	return id
}

func TestContinueInspection(t *testing.T) {
	const path = "/v1/continue_inspection"
	s := newService(t)
	id := s.awaiting("n1")
	s.want(404, "80", "GET", "/v1/nodes/n1/inventory", "")
	s.want(404, "115", "GET", "/v1/nodes/n1/inventory", "")
	for _, tc := range []struct {
		minor, query, body string
		status             int
	}{
		{"83", "", machineData, 404},
		{"2", "", machineData, 404},
		{"1", "?node_uuid=" + id, machineData, 404},
		{"84", "?node_uuid=11111111-2222-4333-8444-555555555555", machineData, 404},
		{"84", "?node_uuid=x", machineData, 400},
		{"84", "", `{}`, 400},
		{"84", "", `[]`, 400},
		{"84", "", `{"inventory": {"interfaces": []}}`, 400},
		{"84", "", `{"inventory": {"interfaces": [{"name": "eth0"}]}}`, 400},
		{"84", "", `{"inventory": {"interfaces": [{"mac_address": "52:54:00:00:00:a2"}]}}`, 404},
		{"84", "", `{"inventory": ` + strings.Repeat("[", 30) + strings.Repeat("]", 30) + `}`, 400},
		{"84", "", `{"x": "` + strings.Repeat("x", 17<<20) + `"}`, 413},
	} {
		if a := s.call(tc.minor, "POST", path+tc.query, tc.body); a.status != tc.status {
			t.Errorf("1.%s %s %.80s: %d %.200s, want %d", tc.minor, tc.query, tc.body, a.status, a.body, tc.status)
		}
	}

	// An agent names no version and gets the least of an answer.
	a := s.callWith(http.Header{}, "POST", path, machineData)
	if a.status != 202 || a.object["uuid"] != id || len(a.object) != 1 {
		t.Fatalf("by an agent: %d %s", a.status, a.body)
	}
	s.until(id, provision.Manageable)
	s.tasks.Wait()
	inv := s.want(200, "81", "GET", "/v1/nodes/n1/inventory", "").object
	cpu := inv["inventory"].(map[string]any)["cpu"].(map[string]any)
	plugin := inv["plugin_data"].(map[string]any)
	if len(inv) != 2 || cpu["architecture"] != "aarch64" || plugin["extra"] == nil || plugin["valid_interfaces"] == nil || plugin["inventory"] != nil {
		t.Errorf("inventory %v", inv)
	}
	n := s.want(200, "115", "GET", "/v1/nodes/n1", "").object
	if n["properties"].(map[string]any)["cpu_arch"] != "aarch64" || n["inspection_finished_at"] == nil || n["power_state"] != "power off" {
		t.Errorf("node after inspection: %v", n)
	}

	s.edit(id, in(provision.InspectWait))
	a = s.call("84", "POST", path+"?node_uuid="+id, machineData)
	config, _ := a.object["config"].(map[string]any)
	if token, _ := config["agent_token"].(string); a.status != 202 || len(token) < 32 || a.object["node"].(map[string]any)["uuid"] != id {
		t.Errorf("by UUID: %d %s", a.status, a.body)
	}
	s.until(id, provision.Manageable)
	s.tasks.Wait()
	s.edit(id, in(provision.InspectWait))
	s.edit(id, func(n *store.Node) { n.DriverInternalInfo["agent_secret_token"] = "known" })
	a = s.call("84", "POST", path, machineData)
	if config, _ = a.object["config"].(map[string]any); config["agent_token"] != "******" {
		t.Errorf("token that was shown before: %s", a.body)
	}
	s.until(id, provision.Manageable)
}

// TestVerbsByAPI walks a node through the verbs beyond a plain life.
func TestVerbsByAPI(t *testing.T) {
	s := newService(t)
	s.enrol("n1")
	for _, step := range []struct {
		body string
		then provision.State
	}{
		{`{"target": "manage"}`, provision.Manageable},
		{`{"target": "inspect"}`, provision.Manageable},
		{`{"target": "adopt"}`, provision.Active},
		{`{"target": "rescue", "rescue_password": "pass"}`, provision.Rescue},
		{`{"target": "unrescue"}`, provision.Active},
		{`{"target": "service", "service_steps": [{"interface": "deploy", "step": "hold"}]}`, provision.ServiceHold},
		{`{"target": "unhold"}`, provision.Active},
		{`{"target": "service", "service_steps": [{"interface": "deploy", "step": "hold"}], "disable_ramdisk": true}`, provision.ServiceHold},
		{`{"target": "abort"}`, provision.Active},
		{`{"target": "deleted"}`, provision.Available},
		{`{"target": "deploy", "deploy_steps": [{"interface": "deploy", "step": "hold", "args": {}, "priority": 10}]}`, provision.DeployHold},
		{`{"target": "abort"}`, provision.DeployFailed},
		{`{"target": "undeploy"}`, provision.Available},
		{`{"target": "manage"}`, provision.Manageable},
		{`{"target": "clean", "clean_steps": [{"interface": "power", "step": "power_on"}, {"interface": "deploy", "step": "hold"}, {"interface": "power", "step": "reboot"}]}`, provision.CleanHold},
		{`{"target": "unhold"}`, provision.Manageable},
		{`{"target": "clean", "clean_steps": [{"interface": "bios", "step": "factory_reset"}], "disable_ramdisk": true}`, provision.Manageable},
	} {
		s.want(202, "115", "PUT", "/v1/nodes/n1/states/provision", step.body)
		s.until("n1", step.then)
		s.tasks.Wait()
		if text := s.want(200, "115", "GET", "/v1/nodes/n1", "").body; strings.Contains(text, `"pass"`) || strings.Contains(text, "$5$") {
			t.Errorf("after %s the node shows the password or its hash: %s", step.body, text)
		}
	}
}
