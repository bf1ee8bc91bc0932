package main

import (
	"bytes"
	"context"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/crypto/bcrypt"
)

// faulty serves an API that answers all alike.
func faulty(t *testing.T, status int, header map[string]string, body string) string {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for name, value := range header {
			w.Header().Set(name, value)
		}
		w.WriteHeader(status)
		io.WriteString(w, body)
	}))
	t.Cleanup(s.Close)
	return s.URL
}

// TestFaults holds what is said of each fault against what helps an operator.
func TestFaults(t *testing.T) {
	secure := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, `{"nodes": []}`) }))
	t.Cleanup(secure.Close)
	secure.Config.ErrorLog = log.New(io.Discard, "", 0) // of refused handshakes
	secure.StartTLS()
	trusted := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(trusted, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: secure.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	plain := faulty(t, 200, nil, `{"nodes": []}`)
	refusing := faulty(t, 401, nil, `{"error": {"message": "Authorization required"}}`)
	forbidding := faulty(t, 403, nil, `{"error_message": {"faultstring": "Access was denied"}}`)
	old := faulty(t, 406, map[string]string{"X-OpenStack-Ironic-API-Maximum-Version": "1.82", "X-OpenStack-Ironic-API-Minimum-Version": "1.1"}, `{"error_message": {"faultstring": "too new"}}`)
	held := faulty(t, 409, nil, `{"error_message": {"faultstring": "Node n is locked by host elsewhere, please retry after the current operation is completed."}}`)
	for _, tt := range []struct {
		line   string
		status int
		want   []string
	}{
		{"node list --api http://127.0.0.1:1", 1, []string{"cannot reach the API at http://127.0.0.1:1", "$OS_ENDPOINT"}},
		{"node list --api http://user:secret@127.0.0.1:1", 1, []string{"cannot reach the API at http://127.0.0.1:1:"}},
		{"node list --api gopher://user:secret@x", 1, []string{"is not an http or https url"}},
		{"node list --api " + secure.URL, 1, []string{"certificate", "--cacert"}},
		{"node list --cacert " + trusted + " --api " + secure.URL, 0, nil},
		{"node list --insecure --api " + secure.URL, 0, nil},
		{"node list --cacert nowhere.pem --api " + secure.URL, 1, []string{"nowhere.pem"}},
		{"node list --api " + strings.Replace(plain, "http:", "https:", 1), 1, []string{"http://"}},
		{"node list --api " + refusing, 1, []string{"Authorization required", "$OS_USERNAME", "$OS_PASSWORD", "$OS_CLOUD"}},
		{"node list --api " + forbidding, 1, []string{"Access was denied", "roles"}},
		{"node list --api-version 1.100 --api " + old, 1, []string{"1.100", "1.82"}},
		{"node list --api-version one --api " + old, 2, []string{"one"}},
		{"node manage n --max-retries 0 --api " + held, 1, []string{"locked by host elsewhere"}},
		{"node manage n --max-retries 1 --api " + held, 1, []string{"Trying again.", "locked by host elsewhere", "tried again"}},
		{"node list --long --fields uuid --api " + plain, 2, []string{"long", "fields"}},
		{"node list --associated --unassociated --api " + plain, 2, []string{"associated", "unassociated"}},
		{"node set n --power-interface a --reset-power-interface --api " + plain, 2, []string{"reset-power-interface"}},
		{"node list --debug --api " + strings.Replace(plain, "//", "//user:secret@", 1), 0, []string{"GET http://user:xxxxx@", "200 OK"}},
	} {
		var failures bytes.Buffer
		status := run(t.Context(), split(tt.line), strings.NewReader(""), io.Discard, &failures)
		if status != tt.status {
			t.Errorf("ferric %s: status %d, %s", tt.line, status, &failures)
		}
		for _, want := range tt.want {
			if !strings.Contains(failures.String(), want) {
				t.Errorf("ferric %s says\n%s\nwant %q in it", tt.line, &failures, want)
			}
		}
		if strings.Contains(failures.String(), "secret") {
			t.Errorf("ferric %s tells a secret: %s", tt.line, &failures)
		}
	}
}

// stuck serves a node that stays as it is.
func stuck(t *testing.T, node string) string {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.Method == http.MethodPut:
			w.WriteHeader(http.StatusAccepted)
		case strings.HasSuffix(r.URL.Path, "/progress"):
			io.WriteString(w, `{"step": "deploy.write_image", "phase": "write", "done": 1073741824, "total": 2147483648, "bytes_per_second": 104857600, "seconds_left": 10}`)
		default:
			io.WriteString(w, node)
		}
	}))
	t.Cleanup(s.Close)
	return s.URL
}

// TestWaitEnds: how a wait ends that does not end well.
func TestWaitEnds(t *testing.T) {
	deploying := `{"provision_state": "deploying", "target_provision_state": "active"}`
	for _, tt := range []struct {
		name, node, line string
		interrupt        time.Duration
		status           int
		want             []string
	}{
		{"time is over", deploying, "node deploy n --wait 1", 0, 1, []string{"node n is still deploying after 1s, and the conductor goes on", "ferric node show n"}},
		{"interrupt", deploying, "node deploy n m --wait", 300 * time.Millisecond, 130, []string{"interrupted, but the conductor goes on: node n is deploying", "node m is deploying"}},
		{"failure", `{"provision_state": "deploy failed", "target_provision_state": "active", "last_error": "no such image"}`, "node deploy n --wait", 0, 1,
			[]string{"no such image", "ferric node history list n", "ferric node undeploy n"}},
		{"transfer", deploying, "node deploy n --wait 3", 0, 1, []string{"deploy.write_image write: 1024 MiB of 2048 MiB (50 %)", "10s left"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			if tt.interrupt > 0 {
				time.AfterFunc(tt.interrupt, cancel)
			}
			var failures bytes.Buffer
			status := run(ctx, append(split(tt.line), "--api", stuck(t, tt.node)), strings.NewReader(""), io.Discard, &failures)
			if status != tt.status {
				t.Errorf("status %d, want %d", status, tt.status)
			}
			for _, want := range tt.want {
				if !strings.Contains(failures.String(), want) {
					t.Errorf("it says\n%s\nwant %q in it", &failures, want)
				}
			}
		})
	}
}

// TestBoardOnTerminal: nodes have a line each, which is written anew, as many as
// there is room for, below one that counts them all.
func TestBoardOnTerminal(t *testing.T) {
	var out bytes.Buffer
	b := newBoard(&out, []string{"a", "b", "c"})
	b.width, b.lines = func() int { return 40 }, 2
	b.state(0, "deploying, power on")
	b.transfer(2, strings.Repeat("x", 100))
	lines := strings.Split(out.String(), "\n")
	const anew = "\r\x1b[2K    0s  "
	want := []string{
		anew + "3 machines: 1 deploying, 2 wait…", anew + "a: deploying, power on", anew + "b: waiting for its turn",
		"\x1b[3A" + anew + "3 machines: 1 deploying, 2 wait…", anew + "a: deploying, power on", anew + "c: waiting for its turn, xxxxxx…", "",
	}
	if diff := cmp.Diff(want, lines); diff != "" {
		t.Errorf("drawn (-want +got):\n%s", diff)
	}
}

// TestBasicAuthentication asks a real conductor with and without a password.
func TestBasicAuthentication(t *testing.T) {
	hash, err := bcrypt.GenerateFromPassword([]byte("p w"), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	users := filepath.Join(t.TempDir(), "htpasswd")
	if err := os.WriteFile(users, fmt.Appendf(nil, "admin:%s\n", hash), 0o600); err != nil {
		t.Fatal(err)
	}
	s := shell{t, startConductor(t, "auth_strategy = http_basic\nhttp_basic_auth_user_file = "+users)}
	if status, _, failure := s.run("", "node list"); status != 1 || !strings.Contains(failure, "$OS_USERNAME") {
		t.Errorf("without a user: status %d, %s", status, failure)
	}
	t.Setenv("OS_AUTH_TYPE", "http_basic")
	t.Setenv("OS_USERNAME", "admin")
	t.Setenv("OS_PASSWORD", "p w")
	s.ok("node create --driver fake-hardware --name n1")
	t.Setenv("OS_PASSWORD", "wrong")
	if status, _, failure := s.run("", "node list"); status != 1 || strings.Contains(failure, "wrong") {
		t.Errorf("with a wrong password: status %d, %s", status, failure)
	}
}

// TestCompletion asks what a shell would be offered.
func TestCompletion(t *testing.T) {
	s := shell{t, startConductor(t)}
	s.ok("node create --driver fake-hardware --name n1")
	t.Setenv("OS_ENDPOINT", s.api)
	for line, want := range map[string]string{
		"__complete node show ''":                            "n1\n",
		"__complete node d":                                  "deploy\t",
		"__complete vol":                                     "volume\t",
		"__complete node list --provision-state ''":          "wait call-back\n",
		"__complete node list -f ''":                         "yaml\n",
		"__complete node boot device set n1 ''":              "cdrom\n",
		"__complete node create --driver ''":                 "fake-hardware\n",
		"__complete node set n1 --power-interface ''":        "fake\n",
		"__complete port create 52:54:00:00:00:01 --node ''": "n1\n",
		"__complete node list --fields ''":                   "power_state\n",
	} {
		var out bytes.Buffer
		if run(t.Context(), split(line), strings.NewReader(""), &out, io.Discard); !strings.Contains(out.String(), want) {
			t.Errorf("ferric %s offers\n%s\nwant %q", line, &out, want)
		}
	}
	for _, shell := range []string{"bash", "zsh", "fish"} {
		if out := s.ok("completion " + shell); len(out) < 1000 {
			t.Errorf("completion of %s: %s", shell, out)
		}
	}
}

// TestCreateFromFiles creates all that can be nested.
func TestCreateFromFiles(t *testing.T) {
	s := shell{t, startConductor(t)}
	dir := t.TempDir()
	file := func(name, text string) string {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return filepath.Join(dir, name)
	}
	s.ok("create " + file("a.yaml", `
chassis:
- description: rack
  nodes:
  - {name: n1, driver: fake-hardware, traits: [CUSTOM_A], ports: [{address: '52:54:00:00:00:01'}],
     portgroups: [{name: bond, ports: [{address: '52:54:00:00:00:02'}]}]}
nodes: [{name: n2, driver: fake-hardware}]
`))
	for line, want := range map[string]string{
		"node list -f value -c name":                      "n1\nn2\n",
		"port list --node n1 -f value -c address":         "52:54:00:00:00:01\n",
		"port list --port-group bond -f value -c address": "52:54:00:00:00:02\n",
		"node trait list n1 -f value":                     "CUSTOM_A\n",
		"chassis list -f value -c description":            "rack\n",
	} {
		if out := s.ok(line); !strings.Contains(out, want) {
			t.Errorf("ferric %s prints %q, want %q", line, out, want)
		}
	}
	for _, tt := range []struct {
		text, want string
		status     int
	}{
		{`{"nodes": [{"name": "n3", "driver": "none"}, {"name": "n4", "driver": "fake-hardware"}]}`, "create the node n3", 1},
		{`{"machines": []}`, `"machines"`, 2},
		{`{"nodes": 1}`, "nodes is not a list", 1},
		{`{`, "b.json", 2},
	} {
		if status, _, failure := s.run("", "create "+file("b.json", tt.text)); status != tt.status || !strings.Contains(failure, tt.want) {
			t.Errorf("create of %s: status %d, %s", tt.text, status, failure)
		}
	}
	s.ok("node show n4")
}
