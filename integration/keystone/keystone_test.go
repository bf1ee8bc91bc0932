package keystone_test

import (
	"bytes"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

const ferricConf = `[DEFAULT]
host = keystone
auth_strategy = keystone
%[5]s
graceful_shutdown_timeout = 5
[database]
connection = sqlite:///%[1]s/ferric.sqlite
[api]
host_ip = 127.0.0.1
port = %[2]d
[netboot]
tftp_port = 0
http_listen = 127.0.0.1:0
[keystone_authtoken]
www_authenticate_uri = %[3]s
auth_url = %[3]s
auth_type = password
username = ironic
password = %[4]s
project_name = service
user_domain_name = Default
project_domain_name = Default
token_cache_time = 2
`

// startFerric starts a conductor that asks Keystone, with further options of the
// DEFAULT section, until the test ends.
func startFerric(t *testing.T, authURL, options string) (url string) {
	t.Helper()
	dir := t.TempDir()
	program := filepath.Join(os.Getenv("FERRIC_BIN"), "ferric")
	config := filepath.Join(dir, "ferric.conf")
	if err := os.WriteFile(config, fmt.Appendf(nil, ferricConf, dir, ferricPort, authURL, password, options), 0o600); err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	cmd := exec.Command(program, "conductor", "--config", config)
	cmd.Stdout, cmd.Stderr = &log, &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM) // it may have ended already
		if err := cmd.Wait(); err != nil {
			t.Errorf("the conductor ended with %v", err)
		}
		if strings.Contains(log.String(), password) {
			t.Error("the conductor's log has a password")
		}
		if t.Failed() {
			t.Logf("the conductor's log:\n%s", &log)
		}
	})
	url = fmt.Sprintf("http://127.0.0.1:%d", ferricPort)
	await(t, url)
	return url
}

// get asks ferric with a token.
func get(t *testing.T, url, token string) *http.Response {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), "GET", url, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("X-Auth-Token", token)
	req.Header.Set("X-OpenStack-Ironic-API-Version", "latest")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	return resp
}

// TestKeystone: users of three projects and of the system get their tokens from
// the real Keystone, and may do with the nodes of two of the projects what
// Ironic lets them.
func TestKeystone(t *testing.T) {
	if os.Getenv("FERRIC_KEYSTONE") == "" {
		return // no Keystone: `make test-keystone` has one
	}
	k := startKeystone(t)
	roles := k.roleIDs("admin", "member", "reader", "service")
	projects := map[string]string{}
	for _, name := range []string{"blue", "green", "red", "service"} {
		projects[name] = k.create("project", object{"name": name, "domain_id": "default"})
	}
	k.enrol("ironic", roles["service"], projects["service"])
	k.enrol("watcher", roles["reader"], "")
	for _, project := range []string{"blue", "green", "red"} {
		for _, role := range []string{"admin", "member", "reader"} {
			k.enrol(project+"-"+role, roles[role], projects[project])
		}
	}
	ferric := startFerric(t, k.url, "enabled_hardware_types = fake-hardware")
	k.publish(ferric)

	root := k.as("admin", "")
	root.do("node", "create", "--driver", "fake-hardware", "--name", "n-blue", "--driver-info", "a=b")
	root.do("node", "create", "--driver", "fake-hardware", "--name", "n-red")
	root.do("node", "set", "n-blue", "--owner", projects["blue"], "--lessee", projects["green"])
	root.do("node", "set", "n-red", "--owner", projects["red"])

	for _, c := range []struct {
		user, project string
		sees          []string
		maintain      string // "" is allowed, else the text of the refusal
	}{
		{"admin", "", []string{"n-blue", "n-red"}, ""},
		{"watcher", "", []string{"n-blue", "n-red"}, "HTTP 403"},
		{"blue-admin", "blue", []string{"n-blue"}, ""},
		{"blue-member", "blue", []string{"n-blue"}, ""},
		{"blue-reader", "blue", []string{"n-blue"}, "HTTP 403"},
		{"green-admin", "green", []string{"n-blue"}, ""},
		{"green-member", "green", []string{"n-blue"}, "HTTP 403"},
		{"green-reader", "green", []string{"n-blue"}, "HTTP 403"},
		{"red-admin", "red", []string{"n-red"}, "HTTP 404"},
		{"red-reader", "red", []string{"n-red"}, "HTTP 404"},
	} {
		who := k.as(c.user, c.project)
		got := strings.Fields(who.do("node", "list", "-f", "value", "-c", "Name"))
		slices.Sort(got)
		if !slices.Equal(got, c.sees) {
			t.Errorf("%s sees %v, want %v", c.user, got, c.sees)
		}
		out, status := who.run("node", "maintenance", "set", "n-blue")
		if c.maintain == "" && status != 0 || c.maintain != "" && (status == 0 || !strings.Contains(out, c.maintain)) {
			t.Errorf("%s sets maintenance: status %d, %s; want %q", c.user, status, out, c.maintain)
		}
	}
	if out := k.as("green-reader", "green").do("node", "show", "n-blue", "-f", "json"); !strings.Contains(out, "requires baremetal:node:get:driver_info permission") {
		t.Errorf("the lessee sees the owner's secrets: %s", out)
	}
	k.as("red-admin", "red").do("node", "create", "--driver", "fake-hardware", "--name", "n-red-2")
	if out := root.do("node", "show", "n-red-2", "-f", "value", "-c", "owner"); strings.TrimSpace(out) != projects["red"] {
		t.Errorf("owner of what a project's administrator made: %q", out)
	}

	// Our own command line, with Keystone's catalog for the address.
	for user, sees := range map[string]string{"blue-reader": "n-blue\n", "red-reader": "n-red\nn-red-2\n"} {
		who := k.as(user, strings.TrimSuffix(user, "-reader"))
		who.program = filepath.Join(os.Getenv("FERRIC_BIN"), "ferric")
		if out := who.do("node", "list", "-f", "value", "-c", "Name"); out != sees {
			t.Errorf("%s sees by ferric %q, want %q", user, out, sees)
		}
		out, status := who.run("node", "maintenance", "set", strings.Fields(sees)[0])
		if status != 1 || !strings.Contains(out, "your roles do not allow this") {
			t.Errorf("%s sets maintenance by ferric: status %d, %s", user, status, out)
		}
		who.env = append(who.env, "OS_PASSWORD=wrong")
		if out, status := who.run("node", "list"); status != 1 || !strings.Contains(out, "$OS_PASSWORD") || strings.Contains(out, password) {
			t.Errorf("%s with a wrong password: status %d, %s", user, status, out)
		}
	}

	// Without a token, with nonsense, and with one that is revoked.
	for _, token := range []string{"", "nonsense"} {
		if resp := get(t, ferric+"/v1/nodes", token); resp.StatusCode != 401 || resp.Header.Get("WWW-Authenticate") != fmt.Sprintf("Keystone uri=%q", k.url) {
			t.Errorf("token %q: %s %v", token, resp.Status, resp.Header)
		}
	}
	revoked := k.login("blue-member", "blue", "")
	if resp := get(t, ferric+"/v1/nodes", revoked); resp.StatusCode != 200 {
		t.Errorf("good token: %s", resp.Status)
	}
	req, err := http.NewRequestWithContext(t.Context(), "DELETE", k.url+"/auth/tokens", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("X-Auth-Token", k.token)
	req.Header.Set("X-Subject-Token", revoked)
	resp, err := http.DefaultClient.Do(req)
	if err != nil || resp.StatusCode != 204 {
		t.Fatalf("revoke: %v %v", resp, err)
	}
	resp.Body.Close()
	deadline := time.Now().Add(20 * time.Second)
	for get(t, ferric+"/v1/nodes", revoked).StatusCode != 401 {
		if time.Now().After(deadline) {
			t.Fatal("a token that was revoked is good for longer than it is cached")
		}
		time.Sleep(100 * time.Millisecond)
	}

	late := k.login("blue-member", "blue", "")
	k.stop()
	if resp := get(t, ferric+"/v1/nodes", late); resp.StatusCode != 503 {
		t.Errorf("without Keystone: %s, want 503", resp.Status)
	}
	if resp := get(t, ferric+"/v1", ""); resp.StatusCode != 200 {
		t.Errorf("discovery without Keystone: %s", resp.Status)
	}
}
