package agent_test

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"ferric/api/ipa"
	"ferric/hwmanager"
)

// patience bounds every wait of these tests; the machine may be slow.
const patience = 60 * time.Second

const (
	nodeUUID   = "1be26c0b-03f2-4d2e-ae87-c02d7f33c123"
	agentToken = "0123456789abcdef0123456789abcdef01234567890"
)

// binary is the agent as it is shipped, built once.
var binary = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "ferric-agent")
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, "ferric-agent")
	build := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", path, "ferric/cmd/ferric-agent")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build ferric-agent: %w\n%s", err, out)
	}
	return path, nil
})

func TestMain(m *testing.M) {
	code := m.Run()
	if path, err := binary(); err == nil {
		os.RemoveAll(filepath.Dir(path))
	}
	os.Exit(code)
}

// conductor is the other side: it follows the contract as far as the agent
// can tell.
type conductor struct {
	*httptest.Server
	version string // of the API

	mu      sync.Mutex
	refuse  []int  // statuses of the first lookups
	mute    int    // questions for the version that are not answered
	token   string // handed out next
	macs    string
	beats   chan ipa.Heartbeat
	strange []string // requests that nobody should make
}

func newConductor(t *testing.T) *conductor {
	c := &conductor{version: "1.96", token: agentToken, beats: make(chan ipa.Heartbeat, 100)}
	c.Server = httptest.NewServer(http.HandlerFunc(c.answer))
	t.Cleanup(c.Close)
	return c
}

// with changes or reads what answer uses.
func (c *conductor) with(use func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	use()
}

func (c *conductor) answer(w http.ResponseWriter, r *http.Request) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case r.Method == "GET" && r.URL.Path == "/" && c.mute > 0:
		c.mute--
		http.Error(w, "overloaded", http.StatusServiceUnavailable)
	case r.Method == "GET" && r.URL.Path == "/":
		fmt.Fprintf(w, `{"default_version":{"version":%q}}`, c.version)
	case r.Method == "GET" && r.URL.Path == "/v1/lookup":
		if len(c.refuse) > 0 {
			status := c.refuse[0]
			c.refuse = c.refuse[1:]
			http.Error(w, "not yet", status)
			return
		}
		c.macs = r.URL.Query().Get("addresses")
		fmt.Fprintf(w, `{"node":{"uuid":%q,"properties":{}},"config":{"heartbeat_timeout":300,"agent_token":%q,"tls_min_version":"1.3"}}`, nodeUUID, c.token)
		c.token = ipa.MaskedToken
	case r.Method == "POST" && r.URL.Path == "/v1/heartbeat/"+nodeUUID:
		var beat ipa.Heartbeat
		if err := json.NewDecoder(r.Body).Decode(&beat); err != nil || beat.AgentToken != agentToken {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		w.WriteHeader(http.StatusAccepted)
		c.beats <- beat
	default:
		c.strange = append(c.strange, r.Method+" "+r.URL.String())
		http.NotFound(w, r)
	}
}

// beat waits for the next heartbeat.
func (c *conductor) beat(t *testing.T) ipa.Heartbeat {
	t.Helper()
	select {
	case beat := <-c.beats:
		return beat
	case <-time.After(patience):
		t.Fatal("no heartbeat")
		return ipa.Heartbeat{}
	}
}

// process is a running agent.
type process struct {
	cmd    *exec.Cmd
	log    *logBuffer
	exited chan error
}

type logBuffer struct {
	mu   sync.Mutex
	data bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.data.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.data.String()
}

// start runs the agent on the machine h. It can write to nothing but the
// files of that machine: it is not in a ramdisk, and these are allowed.
func start(t *testing.T, h *hwmanager.Host, c *conductor, state string, args ...string) *process {
	t.Helper()
	path, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	args = append([]string{
		"--api-url", c.URL, "--listen-host", "127.0.0.1", "--listen-port", "0", "--cmdline", filepath.Join(h.Proc, "cmdline"),
		"--sys", h.Sys, "--proc", h.Proc, "--dev", h.Dev, "--allow-devices", strings.Join(h.Guard.Allowed, ","),
		"--state-dir", state, "--forced-heartbeat-gap", "0",
	}, args...)
	return run(t, exec.Command(path, args...))
}

// run starts an agent and ends it with the test.
func run(t *testing.T, cmd *exec.Cmd) *process {
	t.Helper()
	p := &process{cmd: cmd, log: &logBuffer{}, exited: make(chan error, 1)}
	p.cmd.Stderr = p.log
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { p.exited <- p.cmd.Wait() }()
	t.Cleanup(func() {
		p.stop(t)
		if t.Failed() {
			t.Logf("log of the agent:\n%s", p.log)
		}
	})
	return p
}

// stop ends the agent politely and checks that it obeys.
func (p *process) stop(t *testing.T) {
	if p.cmd.Process == nil || p.cmd.ProcessState != nil {
		return
	}
	p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case err := <-p.exited:
		if err != nil {
			t.Errorf("agent ended with %v; want status 0", err)
		}
	case <-time.After(patience):
		p.cmd.Process.Kill()
		t.Error("agent did not end on SIGTERM")
	}
}

// eventually polls until ok, for what a test cannot be notified of.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !ok(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s did not happen within %s", what, patience)
		}
	}
}

// caller speaks to the agent as a conductor does: certificate pinned, TLS 1.3.
type caller struct {
	url    string
	client *http.Client
}

func callerOf(t *testing.T, beat ipa.Heartbeat) *caller {
	t.Helper()
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM([]byte(beat.AgentVerifyCA)) || !strings.HasPrefix(beat.CallbackURL, "https://127.0.0.1:") {
		t.Fatalf("heartbeat %+v holds no certificate or no https URL", beat)
	}
	return &caller{url: beat.CallbackURL, client: &http.Client{
		Timeout:   patience,
		Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS13}},
	}}
}

func (c *caller) do(t *testing.T, method, path string, body any, out any) int {
	t.Helper()
	encoded, err := json.Marshal(body)
	if err != nil {
		t.Fatal(err)
	}
	req, err := http.NewRequest(method, c.url+path, bytes.NewReader(encoded))
	if err != nil {
		t.Fatal(err)
	}
	resp, err := c.client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if err := json.NewDecoder(resp.Body).Decode(out); err != nil {
		t.Fatalf("%s %s: %v", method, path, err)
	}
	return resp.StatusCode
}

// run submits a command and waits for its end.
func (c *caller) run(t *testing.T, name string, params map[string]any) ipa.Result {
	t.Helper()
	var result ipa.Result
	if status := c.do(t, "POST", "/v1/commands/?wait=true&agent_token="+agentToken, ipa.Request{Name: name, Params: params}, &result); status != 200 {
		t.Fatalf("%s: status %d, %+v", name, status, result)
	}
	return result
}

// succeed is run for a command that must not fail; out takes its result.
func (c *caller) succeed(t *testing.T, name string, params map[string]any, out any) {
	t.Helper()
	result := c.run(t, name, params)
	if result.Status != ipa.StatusSucceeded {
		t.Fatalf("%s: %s %v", name, result.Status, result.Error)
	}
	if out == nil {
		return
	}
	if err := json.Unmarshal(result.Result, out); err != nil {
		t.Fatalf("%s: %v in %s", name, err, result.Result)
	}
}

type object = map[string]any
