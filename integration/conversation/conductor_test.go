package conversation_test

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"ferric/integration/conversation"
)

// TestConductorIsStrict holds the scripted conductor to what the real API accepts and refuses.
func TestConductorIsStrict(t *testing.T) {
	const mac, uuid = "52:54:00:77:00:01", "1be26c0b-03f2-4d2e-ae87-c02d7f33c123"
	c, err := conversation.New(conversation.Ironic29(), mac)
	must(t, err)
	server := httptest.NewServer(c)
	defer server.Close()
	ask := func(method, path, version, body string) (int, string) {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), method, server.URL+path, strings.NewReader(body))
		must(t, err)
		if version != "" {
			req.Header.Set("X-OpenStack-Ironic-API-Version", version)
		}
		res, err := http.DefaultClient.Do(req)
		must(t, err)
		defer res.Body.Close()
		text, err := io.ReadAll(res.Body)
		must(t, err)
		return res.StatusCode, string(text)
	}
	token := func() string {
		t.Helper()
		status, text := ask("GET", "/v1/lookup?addresses=52:54:00:00:00:99,"+mac, "1.62", "")
		var answer struct {
			Config struct {
				Token string `json:"agent_token"`
			} `json:"config"`
		}
		if err := json.Unmarshal([]byte(text), &answer); err != nil || status != 200 {
			t.Fatalf("lookup: %d %s", status, text)
		}
		return answer.Config.Token
	}
	c.Refuse(conversation.Lookup, 409)
	beat := func(url, token, ca string) string {
		body, err := json.Marshal(map[string]string{"callback_url": url, "agent_version": "12.0.0", "agent_token": token, "agent_verify_ca": ca})
		must(t, err)
		return string(body)
	}
	const there, lookup, heartbeat = "https://192.168.77.100:9999", "/v1/lookup?addresses=" + mac, "/v1/heartbeat/" + uuid
	for _, tt := range []struct {
		what, method, path, version, body string
		status                            int
	}{
		{"a locked node", "GET", lookup, "1.62", "", 409},
		{"an old version", "GET", lookup, "1.1", "", 404},
		{"a version to come", "GET", lookup, "1.97", "", 406},
		{"another machine", "GET", "/v1/lookup?addresses=52:54:00:00:00:99", "1.62", "", 404},
		{"a heartbeat before lookup", "POST", heartbeat, "1.68", beat(there, "", "CA"), 400},
		{"inspection data of another machine", "POST", conversation.Inspect, "", `{"inventory": {"interfaces": []}}`, 404},
		{"inspection data", "POST", conversation.Inspect, "", `{"inventory": {"interfaces": [{"mac_address": "` + mac + `"}]}}`, 202},
	} {
		if status, text := ask(tt.method, tt.path, tt.version, tt.body); status != tt.status {
			t.Errorf("%s: %d %s; want %d", tt.what, status, text, tt.status)
		}
	}
	given := token()
	if len(given) < 32 || token() != "******" {
		t.Errorf("token %q, and then not masked", given)
	}
	for _, tt := range []struct {
		what, path, version, body string
		status                    int
	}{
		{"a wrong token", heartbeat, "1.68", beat(there, "x", "CA"), 400},
		{"plain HTTP", heartbeat, "1.68", beat("http://192.168.77.100:9999", given, "CA"), 400},
		{"a certificate before its version", heartbeat, "1.67", beat(there, given, "CA"), 400},
		{"an unknown member", heartbeat, "1.68", `{"callback_url": "` + there + `", "agent_version": "1", "agent_token": "` + given + `", "agent_mac": ""}`, 400},
		{"no version of the agent", heartbeat, "1.68", `{"callback_url": "` + there + `", "agent_token": "` + given + `"}`, 400},
		{"another node", "/v1/heartbeat/other", "1.68", beat(there, given, "CA"), 404},
		{"the first", heartbeat, "1.68", beat(there, given, "CA"), 202},
		{"another address", heartbeat, "1.68", beat("https://192.168.77.101:9999", given, "CA"), 400},
		{"another certificate", heartbeat, "1.68", beat(there, given, "other"), 400},
		{"the next", heartbeat, "1.68", beat(there, given, "CA"), 202},
	} {
		if status, text := ask("POST", tt.path, tt.version, tt.body); status != tt.status {
			t.Errorf("heartbeat, %s: %d %s; want %d", tt.what, status, text, tt.status)
		}
	}
	if _, err := c.NextHeartbeat(t.Context()); err != nil || c.Beat().CallbackURL != there || c.Token() != given {
		t.Errorf("recorded %+v, %v", c.Beat(), err)
	}
	c.Forget()
	if again := token(); again == given || len(again) < 32 {
		t.Errorf("the token of the next boot is %q", again)
	}
}
