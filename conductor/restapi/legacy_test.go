package restapi_test

import (
	"fmt"
	"testing"

	"ferric/conductor/driver"
	"ferric/conductor/provision"
	"ferric/conductor/restapi"
	"ferric/conductor/store"
)

// TestClassicDrivers: the names of old scripts make nodes with hardware types.
func TestClassicDrivers(t *testing.T) {
	s := newService(t)
	for _, name := range []string{"fake", "fake_soft_power"} {
		a := s.want(201, "82", "POST", "/v1/nodes", `{"driver": "`+name+`"}`)
		if a.object["driver"] != "fake-hardware" || a.object["power_interface"] != "fake" {
			t.Errorf("%s: %s", name, a.body)
		}
	}
	uuid := s.enrol("n")
	if a := s.want(200, "82", "PATCH", "/v1/nodes/"+uuid, `[{"op": "replace", "path": "/driver", "value": "fake"}]`); a.object["driver"] != "fake-hardware" {
		t.Error(a.body)
	}
	if a := s.want(400, "82", "POST", "/v1/nodes", `{"driver": "pxe_ilo"}`); a.fault() == "" {
		t.Error(a.body)
	}
	n := &store.Node{Driver: "agent_ipmitool", DeployInterface: ptr("ramdisk")}
	if was, ok := driver.Modernise(n); !ok || was != "agent_ipmitool" || n.Driver != "ipmi" || *n.PowerInterface != "ipmitool" || *n.DeployInterface != "ramdisk" {
		t.Errorf("%q %+v", was, n)
	}
}

// TestTokenlessAgents: the first agents look up and heartbeat at their paths,
// if they are let in.
func TestTokenlessAgents(t *testing.T) {
	const mac = "52:54:00:00:00:01"
	lookup := `{"version": 2, "inventory": {"interfaces": [{"name": "eth0", "mac_address": "52:54:00:00:00:01"}, {"name": "ib0", "mac_address": "x"}], "memory": {}}}`
	for _, allowed := range []bool{false, true} {
		s := newService(t, withKeystone(t), func(c *restapi.Config) { c.Edge.TokenlessAgents = allowed })
		uuid := s.as(systemAdmin, "POST", "/v1/nodes", `{"driver": "fake-hardware", "name": "n"}`).object["uuid"].(string)
		s.as(systemAdmin, "POST", "/v1/ports", `{"address": "`+mac+`", "node_uuid": "`+uuid+`"}`)
		s.edit(uuid, in(provision.WaitCallback))
		want := func(status int, path, body string) answer {
			t.Helper()
			a := s.callWith(map[string][]string{}, "POST", path, body)
			if !allowed {
				status = 401
			}
			if a.status != status {
				t.Errorf("allowed %t, %s with %s: %d %s, want %d", allowed, path, body, a.status, a.body, status)
			}
			return a
		}
		for _, path := range []string{"/v1/drivers/agent_ipmitool/vendor_passthru/lookup", "/v1/drivers/agent_ipmitool/vendor_passthru?method=lookup", "/drivers/agent_ssh/vendor_passthru/lookup"} {
			a := want(200, path, lookup)
			if !allowed {
				continue
			}
			node, _ := a.object["node"].(map[string]any)
			if node["uuid"] != uuid || a.object["heartbeat_timeout"] != 300.0 || a.object["config"] != nil {
				t.Errorf("%s: %s", path, a.body)
			}
		}
		want(404, "/v1/drivers/agent_ipmitool/vendor_passthru/lookup", `{"inventory": {"interfaces": [{"mac_address": "52:54:00:00:00:99"}]}}`)
		want(400, "/v1/drivers/agent_ipmitool/vendor_passthru/lookup", `{"inventory": {"interfaces": 3}}`)
		want(404, "/v1/drivers/fake-hardware/vendor_passthru/lookup", lookup)
		heartbeats := []string{"/v1/nodes/" + uuid + "/vendor_passthru/heartbeat", "/v1/nodes/" + uuid + "/vendor_passthru?method=heartbeat"}
		want(400, heartbeats[0], `{"agent_url": "ftp://192.0.2.1"}`)
		for _, path := range heartbeats {
			want(202, path, `{"agent_url": "https://192.0.2.1:9999"}`)
		}
		if allowed {
			n, err := s.store.Node(t.Context(), uuid)
			if err != nil || n.DriverInternalInfo.String(driver.KeyAgentURL) != "https://192.0.2.1:9999" {
				t.Errorf("%v %v", n.DriverInternalInfo, err)
			}
		}
		// Other methods of drivers, and other drivers, are not opened with it.
		for _, path := range []string{"/v1/drivers/agent_ipmitool/vendor_passthru?method=other", "/v1/drivers/fake-hardware/vendor_passthru?method=lookup", "/v1/nodes/" + uuid + "/vendor_passthru/other"} {
			if a := s.callWith(map[string][]string{}, "POST", path, "{}"); a.status != 401 {
				t.Errorf("allowed %t, %s: %d %s", allowed, path, a.status, a.body)
			}
		}
		if !allowed {
			continue
		}
		// Once an agent has been given a token, none without one is heard.
		s.edit(uuid, func(n *store.Node) { n.DriverInternalInfo[driver.KeyAgentToken] = "x" })
		want(400, heartbeats[0], fmt.Sprintf(`{"agent_url": %q}`, "https://192.0.2.1:9999"))
	}
}
