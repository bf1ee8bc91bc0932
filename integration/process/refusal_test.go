package process_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"ferric/api/ironic"
)

// TestRefusals asks for what cannot be: the answer says why, and the node
// stays as it was.
func TestRefusals(t *testing.T) {
	t.Parallel()
	c := newConductor(t)
	m := newMachine(t, c, spec{})
	before := m.node(t)

	_, err := c.api.CreateNode(t.Context(), map[string]any{"driver": "no-such-driver"})
	refused(t, err, http.StatusBadRequest, "no-such-driver", "fake-hardware", "ipmi")
	other, err := c.api.CreateNode(t.Context(), map[string]any{"name": "other", "driver": "fake-hardware"})
	if err != nil {
		t.Fatal(err)
	}
	_, err = c.api.CreatePort(t.Context(), map[string]any{"node_uuid": other.UUID, "address": strings.ToUpper(m.mac)})
	refused(t, err, http.StatusConflict, m.mac, "already exists")

	tests := []struct {
		name, method, path, version, body string
		status                            int
		reasons                           []string
	}{
		{"patch that is no JSON", "PATCH", "/v1/nodes/" + m.name, "1.82", `[{"op": "add", `, 400, []string{"JSON"}},
		{"patch that is no list", "PATCH", "/v1/nodes/" + m.name, "1.82", `{"op": "add"}`, 400, []string{"array"}},
		{"patch with an unknown operation", "PATCH", "/v1/nodes/" + m.name, "1.82", `[{"op": "move", "path": "/extra/a", "value": 1}]`, 400, []string{"move"}},
		{"patch of what is not there", "PATCH", "/v1/nodes/" + m.name, "1.82", `[{"op": "remove", "path": "/extra/nothing"}]`, 400, []string{"/extra/nothing"}},
		{"patch of a read-only field", "PATCH", "/v1/nodes/" + m.name, "1.82", `[{"op": "replace", "path": "/provision_state", "value": "active"}]`, 400, []string{"provision_state"}},
		{"transition that is not there", "PUT", "/v1/nodes/" + m.name + "/states/provision", "1.82", `{"target": "active"}`, 400, []string{"active", "manageable"}},
		{"verb that is not there", "PUT", "/v1/nodes/" + m.name + "/states/provision", "1.82", `{"target": "explode"}`, 400, []string{"explode"}},
		{"microversion beyond all", "GET", "/v1/nodes", "1.9999", "", 406, []string{"1.9999"}},
		{"microversion that is none", "GET", "/v1/nodes", "one", "", 406, []string{"X-OpenStack-Ironic-API-Version"}},
		{"lookup in a state that expects no agent", "GET", "/v1/lookup?addresses=" + m.mac, "1.82", "", 404, []string{"lookup"}},
		{"lookup of an unknown machine", "GET", "/v1/lookup?addresses=52:54:00:00:00:00", "1.82", "", 404, []string{"lookup"}},
		{"lookup without an address", "GET", "/v1/lookup?addresses=nonsense", "1.82", "", 400, []string{"address"}},
		{"heartbeat without a token", "POST", "/v1/heartbeat/" + before.UUID, "1.82", `{"callback_url": "https://127.0.0.1:1", "agent_version": "1"}`, 400, []string{"token"}},
		{"heartbeat of no agent", "POST", "/v1/heartbeat/" + before.UUID, "1.82", `{"callback_url": "https://127.0.0.1:1", "agent_version": "1", "agent_token": "guess"}`, 400, []string{"token"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			status, text := c.raw(t, tt.method, tt.path, tt.version, tt.body)
			if status != tt.status {
				t.Errorf("status %d %q; want %d", status, text, tt.status)
			}
			for _, reason := range tt.reasons {
				if !strings.Contains(text, reason) {
					t.Errorf("refusal %q does not say %q", text, reason)
				}
			}
		})
	}
	after := m.node(t)
	if after.ProvisionState != before.ProvisionState || after.Reservation != nil || after.LastError != nil || len(after.Extra) > 0 {
		t.Errorf("after the refusals the node is %s, reservation %v, last_error %v, extra %v; want it unchanged",
			after.ProvisionState, after.Reservation, after.LastError, after.Extra)
	}
}

// raw makes a request that no client of ours would make and returns status
// and reason.
func (c *conductor) raw(t *testing.T, method, path, version, body string) (status int, reason string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, c.url+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set(ironic.HeaderVersion, version)
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	// The reason is text inside JSON inside text inside JSON.
	var outer struct {
		Message string `json:"error_message"`
	}
	var inner struct {
		Reason string `json:"faultstring"`
	}
	if err := json.Unmarshal(answer, &outer); err != nil {
		t.Fatalf("%s %s: %v in %q", method, path, err, answer)
	}
	if err := json.Unmarshal([]byte(outer.Message), &inner); err != nil || inner.Reason == "" || strings.Contains(inner.Reason, "\n") {
		t.Fatalf("%s %s: no reason of one line in %q (%v)", method, path, outer.Message, err)
	}
	t.Logf("%d %s", resp.StatusCode, inner.Reason)
	return resp.StatusCode, inner.Reason
}

// TestWrongToken sends heartbeats in the name of an agent that is at work: it
// is not disturbed.
func TestWrongToken(t *testing.T) {
	t.Parallel()
	c, images := newConductor(t), newShop(t)
	m := newMachine(t, c, spec{})
	m.provision(t, ironic.VerbProvide, ironic.StateAvailable)
	m.setImage(t, images.URL+"/slow/good.raw", "raw", digestOf(t, imageFile(t, "good.raw")))
	m.verb(t, ironic.ProvisionRequest{Target: ironic.VerbActive})
	images.waitHalf(t)

	before := m.node(t)
	status, reason := c.raw(t, "POST", "/v1/heartbeat/"+before.UUID, "1.82",
		`{"callback_url": "https://127.0.0.1:1", "agent_version": "1", "agent_token": "wrong"}`)
	if status != http.StatusBadRequest || !strings.Contains(reason, "token") || !strings.Contains(reason, before.UUID) {
		t.Errorf("heartbeat with a wrong token: %d %q; want 400 and the node", status, reason)
	}
	// The token is given once: a second machine with this MAC gets none.
	var found struct {
		Config struct {
			Token string `json:"agent_token"`
		}
	}
	resp, err := http.DefaultClient.Do(c.request(t, "/v1/lookup?addresses="+m.mac))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if err := json.NewDecoder(resp.Body).Decode(&found); err != nil || strings.Trim(found.Config.Token, "*") != "" {
		t.Errorf("a second lookup: token %q, %v; want it masked", found.Config.Token, err)
	}
	url := fmt.Sprintf("https://127.0.0.1:%d", m.port)
	if n := m.node(t); n.DriverInternalInfo["agent_url"] != url || n.ProvisionState != ironic.StateDeployWait {
		t.Errorf("%s with agent at %v; want it to wait for %s", n.ProvisionState, n.DriverInternalInfo["agent_url"], url)
	}
	images.open()
	m.wait(t, ironic.StateActive)
	m.holds(t)
}

func (c *conductor) request(t *testing.T, path string) *http.Request {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, c.url+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set(ironic.HeaderVersion, "1.82")
	return req
}
