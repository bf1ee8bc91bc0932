package agent_test

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ferric/api/ipa"
	"ferric/hwmanager"
)

// bare runs the agent on the machine h, with nothing configured but the
// arguments and what is in etc.
func bare(t *testing.T, h *hwmanager.Host, etc string, args ...string) *exec.Cmd {
	t.Helper()
	path, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	return exec.Command(path, append([]string{
		"--etc", etc, "--listen-host", "127.0.0.1", "--listen-port", "0", "--cmdline", filepath.Join(h.Proc, "cmdline"),
		"--sys", h.Sys, "--proc", h.Proc, "--dev", h.Dev, "--state-dir", t.TempDir(),
	}, args...)...)
}

// insert makes files a CD in the drive sr0 of h.
func insert(t *testing.T, h *hwmanager.Host, label string, files map[string]string) {
	t.Helper()
	program, err := exec.LookPath("genisoimage")
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	dir, drive := t.TempDir(), filepath.Join(h.Sys, "block/sr0")
	files["filler"] = ""
	for name, text := range files {
		write(t, filepath.Join(dir, name), text)
	}
	if text, err := exec.Command(program, "-quiet", "-R", "-V", label, "-o", filepath.Join(h.Dev, "sr0"), dir).CombinedOutput(); err != nil {
		t.Fatalf("genisoimage: %v: %s", err, text)
	}
	info, err := os.Stat(filepath.Join(h.Dev, "sr0"))
	if err != nil {
		t.Fatal(err)
	}
	// The fixture may have a link to an empty drive there.
	if err := os.RemoveAll(drive); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(drive, "size"), fmt.Sprintln(info.Size()/512))
	write(t, filepath.Join(drive, "device/model"), "Virtual Media CD\n")
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// TestVirtualMedia: nothing but a CD tells where the API is, whose authority to
// trust, and the token. A restart does not need it any more.
func TestVirtualMedia(t *testing.T) {
	c := newConductor(t)
	c.with(func() { c.token = ipa.MaskedToken }) // handed out by the CD
	secure := httptest.NewTLSServer(http.HandlerFunc(c.answer))
	defer secure.Close()
	h, _ := machine(t)
	etc := t.TempDir()
	write(t, filepath.Join(h.Proc, "cmdline"), "quiet boot_method=vmedia\n")
	insert(t, h, "VMEDIA_BOOT_ISO", map[string]string{
		"parameters.txt":                        "ipa-api-url=" + secure.URL + " ipa-agent-token=" + agentToken,
		"etc/ironic-python-agent/ironic.crt":    string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: secure.Certificate().Raw})),
		"etc/ironic-python-agent.d/ironic.conf": "[DEFAULT]\ncafile = " + etc + "/ironic-python-agent/ironic.crt\n",
	})
	state := t.TempDir()
	p := run(t, bare(t, h, etc, "--state-dir", state))
	beat := c.beat(t)
	if beat.AgentToken != agentToken {
		t.Errorf("heartbeat with the token %q", beat.AgentToken)
	}
	if log := p.log.String(); !strings.Contains(log, "configured from virtual media") || strings.Contains(log, agentToken) {
		t.Errorf("the log does not tell of virtual media, or tells the token:\n%s", log)
	}
	p.stop(t)
	if err := os.RemoveAll(filepath.Join(h.Sys, "block/sr0")); err != nil {
		t.Fatal(err)
	}
	run(t, bare(t, h, etc, "--state-dir", state))
	if again := c.beat(t); again.AgentToken != agentToken || again.AgentVerifyCA != beat.AgentVerifyCA {
		t.Errorf("heartbeat %+v after a restart without the medium; want that of before", again)
	}
}

// TestNoVirtualMedia: an agent that knows nothing ends, with the error of the
// contract.
func TestNoVirtualMedia(t *testing.T) {
	t.Parallel()
	h, _ := machine(t)
	write(t, filepath.Join(h.Proc, "cmdline"), "boot_method=vmedia\n")
	out, err := bare(t, h, t.TempDir()).CombinedOutput()
	if err == nil || !strings.Contains(string(out), "Configuring agent from virtual media failed") {
		t.Errorf("%v: %s", err, out)
	}
}

// TestStaticTLS: the certificate of files is served and none is sent to be
// pinned.
func TestStaticTLS(t *testing.T) {
	c := newConductor(t)
	server := httptest.NewTLSServer(http.NotFoundHandler()) // for its certificate, of 127.0.0.1
	defer server.Close()
	key, err := x509.MarshalPKCS8PrivateKey(server.TLS.Certificates[0].PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	etc := t.TempDir()
	crt, keyFile := filepath.Join(etc, "tls.crt"), filepath.Join(etc, "tls.key")
	write(t, crt, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})))
	write(t, keyFile, string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key})))
	write(t, filepath.Join(etc, "ironic-python-agent.d/tls.conf"),
		"[DEFAULT]\nlisten_tls = true\nadvertise_protocol = https\ntls_cert_file = "+crt+"\ntls_key_file = "+keyFile+"\n")
	h, _ := machine(t)
	start(t, h, c, t.TempDir(), "--etc", etc)
	beat := c.beat(t)
	if beat.AgentVerifyCA != "" {
		t.Error("a certificate was sent to be pinned")
	}
	pool := x509.NewCertPool()
	pool.AddCert(server.Certificate())
	for name, test := range map[string]struct {
		conf *tls.Config
		ok   bool
	}{
		"TLS 1.3": {&tls.Config{RootCAs: pool}, true},
		// The lookup wants 1.3 as the lowest.
		"TLS 1.2": {&tls.Config{RootCAs: pool, MaxVersion: tls.VersionTLS12}, false},
	} {
		client := &http.Client{Timeout: patience, Transport: &http.Transport{TLSClientConfig: test.conf}}
		resp, err := client.Get(beat.CallbackURL + "/v1/status")
		if (err == nil) != test.ok {
			t.Errorf("%s: %v", name, err)
		}
		if err == nil {
			resp.Body.Close()
		}
	}
}

// TestInspectionOnly: without an API the inventory is sent and commands are
// refused.
func TestInspectionOnly(t *testing.T) {
	documents := make(chan map[string]any, 1)
	inspector := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var document map[string]any
		if err := json.NewDecoder(r.Body).Decode(&document); err != nil || r.Header.Get("X-OpenStack-Ironic-API-Version") != "" {
			http.Error(w, "no", http.StatusBadRequest)
			return
		}
		fmt.Fprint(w, `{"uuid":"some"}`)
		documents <- document
	}))
	defer inspector.Close()
	etc := t.TempDir()
	write(t, filepath.Join(etc, "ironic-python-agent/x.conf"),
		"[DEFAULT]\ninspection_callback_url = "+inspector.URL+"\ninspection_collectors = default\ninspection_dhcp_wait_timeout = 0\n")
	h, _ := machine(t)
	p := run(t, bare(t, h, etc))
	document := <-documents
	if inventory, _ := document["inventory"].(map[string]any); len(inventory) == 0 || document["error"] != nil {
		t.Errorf("document %v", document)
	}
	if status, _ := command(t, listeningAt(t, p), "", "standby.sync", map[string]any{}); status != http.StatusUnauthorized {
		t.Errorf("a command was answered with %d", status)
	}
}

// TestStandalone: an agent without an API takes commands from whoever has the
// token that it was given, and the node from a command.
func TestStandalone(t *testing.T) {
	const token = "a token that was given to it in advance"
	etc := t.TempDir()
	write(t, filepath.Join(etc, "ironic-python-agent/x.conf"), "[DEFAULT]\nagent_token = "+token+"\n")
	h, _ := machine(t)
	base := listeningAt(t, run(t, bare(t, h, etc)))
	if status, _ := command(t, base, "", "standby.sync", map[string]any{}); status != http.StatusUnauthorized {
		t.Errorf("a command without the token was answered with %d", status)
	}
	info := map[string]any{"node_info": map[string]any{"node": map[string]any{"uuid": "u"}, "config": map[string]any{"heartbeat_timeout": 300}}}
	for _, c := range []struct {
		name   string
		params map[string]any
	}{{"poll.set_node_info", info}, {"poll.get_hardware_info", map[string]any{}}} {
		status, result := command(t, base, token, c.name, c.params)
		if status != http.StatusOK || result.Status != ipa.StatusSucceeded {
			t.Errorf("%s was answered with %d, %+v", c.name, status, result)
		}
	}
}

// listeningAt is the URL of an agent without an API.
func listeningAt(t *testing.T, p *process) string {
	t.Helper()
	var address string
	eventually(t, "serving", func() bool {
		_, rest, ok := strings.Cut(p.log.String(), `msg="server listening" address="`)
		if ok {
			address, _, ok = strings.Cut(rest, `"`)
		}
		return ok
	})
	return "http://" + address
}

// command posts one and waits for its end.
func command(t *testing.T, base, token, name string, params map[string]any) (int, ipa.Result) {
	t.Helper()
	body, err := json.Marshal(ipa.Request{Name: name, Params: params})
	if err != nil {
		t.Fatal(err)
	}
	query := url.Values{"wait": {"true"}}
	if token != "" {
		query.Set("agent_token", token)
	}
	resp, err := http.Post(base+"/v1/commands/?"+query.Encode(), "application/json", bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var result ipa.Result
	if err := json.NewDecoder(resp.Body).Decode(&result); err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, result
}

// TestInspectionThenLookup: the node that the inspection told is asked for, at
// the second of two URLs.
func TestInspectionThenLookup(t *testing.T) {
	c := newConductor(t)
	asked := make(chan string, 10)
	api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked <- r.Method + " " + r.URL.Path + " " + r.URL.Query().Get("node_uuid")
		if r.URL.Path == "/v1/continue_inspection" {
			fmt.Fprintf(w, `{"uuid":%q}`, nodeUUID)
			return
		}
		c.answer(w, r)
	}))
	defer api.Close()
	// No address is looked for behind a URL that has failed before.
	tried := make(chan string, 10)
	dead := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		tried <- r.URL.Path
		panic(http.ErrAbortHandler)
	}))
	defer dead.Close()
	h, _ := machine(t)
	start(t, h, c, t.TempDir(), "--etc", t.TempDir(), "--api-url", dead.URL+","+api.URL+"/", "--ironic-api-version", "1.96",
		"--inspection-collectors", "default", "--inspection-dhcp-wait-timeout", "0")
	c.beat(t)
	want := []string{"POST /v1/continue_inspection ", "GET /v1/lookup " + nodeUUID, "GET / ", "POST /v1/heartbeat/" + nodeUUID + " "}
	var got []string
	for range want {
		got = append(got, <-asked)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("requests (-want +got):\n%s", diff)
	}
	for len(tried) > 0 {
		if <-tried == "/" {
			t.Error("the URL that failed was asked again, for the address")
		}
	}
}
