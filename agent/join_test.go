package agent

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ferric/agent/config"
	"ferric/agent/ironic"
	"ferric/api/ipa"
	"ferric/hwmanager"
)

// oneCard is a manager with a network card.
type oneCard struct{ slowBus }

func (oneCard) Interfaces(context.Context, *hwmanager.Host) ([]ipa.Interface, error) {
	return []ipa.Interface{{Name: "eth0", MACAddress: "52:54:00:00:00:01"}}, nil
}

// withCard is an agent with that manager, the defaults and args.
func withCard(t *testing.T, log io.Writer, args ...string) *Agent {
	t.Helper()
	none := func(string) (string, error) { return "", nil }
	cfg, warnings, err := config.Parse(append([]string{"--etc", t.TempDir(), "--state-dir", t.TempDir()}, args...), config.Sources{Cmdline: none}, io.Discard)
	if err != nil || len(warnings) > 0 {
		t.Fatal(warnings, err)
	}
	a := New(cfg, nil, log)
	if a.set, err = hwmanager.Load(t.Context(), a.host, []hwmanager.Manager{oneCard{}}); err != nil {
		t.Fatal(err)
	}
	return a
}

func TestRefreshNode(t *testing.T) {
	asked := 0
	uuid := "u"
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/v1/lookup" {
			http.NotFound(w, r)
			return
		}
		asked++
		if got := r.URL.Query(); got.Get("node_uuid") != "u" || got.Get("addresses") != "52:54:00:00:00:01" {
			t.Errorf("lookup of %v", got)
		}
		fmt.Fprintf(w, `{"node":{"uuid":%q,"properties":{"root_device":{"wwn":"x"}}},"config":{"heartbeat_timeout":1,"agent_token":"******"}}`, uuid)
	}))
	defer s.Close()
	a := withCard(t, io.Discard, "--api-url", s.URL)
	bare := map[string]any{"uuid": "u", "properties": map[string]any{"root_device": map[string]any{}}}
	a.setNode(bare)
	a.refreshNode(t.Context())
	if asked != 0 {
		t.Error("an agent without an API looked up")
	}
	var err error
	if a.api, err = ironic.NewClient(a.apiOptions()); err != nil {
		t.Fatal(err)
	}
	uuid = "another"
	a.refreshNode(t.Context())
	if diff := cmp.Diff(hwmanager.Node(bare), a.currentNode()); diff != "" || asked != 1 {
		t.Errorf("%d lookups; the node of another machine was taken (-want +got):\n%s", asked, diff)
	}
	uuid = "u"
	a.refreshNode(t.Context())
	if !hasRootHints(a.currentNode()) || asked != 2 {
		t.Errorf("after %d lookups the node is %v; want it with hints", asked, a.currentNode())
	}
	a.refreshNode(t.Context())
	if asked != 2 {
		t.Error("a node with hints was looked up again")
	}
}

func TestApplyLookup(t *testing.T) {
	var log bytes.Buffer
	a := withCard(t, &log)
	no, suites := false, "ECDHE-RSA-AES256-GCM-SHA384"
	a.applyLookup(ipa.LookupConfig{
		AgentMD5ChecksumEnable: &no, PermittedImageFormats: []string{"raw"}, AgentSkipBMCDetect: true, EnableBIOSBootloaderInstall: true,
		TLSMinVersion: "1.3", TLSCipherSuites: &suites,
		AgentContainers: map[string]any{"allow_arbitrary_containers": true, "runner": "docker", "run_options": []any{"--rm", "--label=a,b"}, "colour": "red", "pull_options": 1.5},
	})
	s := a.host.Settings
	got := []any{s.MD5Enabled, s.DisableDeepImageInspection, s.PermittedImageFormats, s.SkipBMCDetect, s.EnableBIOSBootloaderInstall, a.cfg.TLSMinVersion, a.cfg.TLSCipherSuites}
	want := []any{false, false, []string{"raw"}, true, true, "1.3", suites}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("settings (-want +got):\n%s", diff)
	}
	wantContainer := hwmanager.Container{
		AllowArbitrary: true, Runner: "docker", RunOptions: []string{"--rm", "--label=a,b"}, PullOptions: []string{"1.5"},
		StepsFile: "/etc/ironic-python-agent.d/mysteps.yaml",
	}
	if diff := cmp.Diff(wantContainer, s.Container); diff != "" || !strings.Contains(log.String(), "colour") {
		t.Errorf("containers (-want +got):\n%s\nlog:\n%s", diff, log.String())
	}
	a.applyLookup(ipa.LookupConfig{TLSMinVersion: "1.0"})
	if a.cfg.TLSMinVersion != "1.3" || a.host.Settings.MD5Enabled {
		t.Errorf("TLS from %s, MD5 %t; want what was before", a.cfg.TLSMinVersion, a.host.Settings.MD5Enabled)
	}
}

// TestTokens: which token an agent has (agent contract, section "Lookup").
func TestTokens(t *testing.T) {
	long, other := strings.Repeat("a", minToken), strings.Repeat("b", minToken)
	for _, test := range []struct {
		name, preset, kept, offered string
		want                        string
		err                         error
	}{
		{"offered", "", "", long, long, nil},
		{"offered anew", other, other, long, long, nil},
		{"masked, preset", long, "", ipa.MaskedToken, long, nil},
		{"masked, kept", "", long, ipa.MaskedToken, long, nil},
		{"masked, kept after one that was out of date", other, long, ipa.MaskedToken, long, nil},
		{"masked, lost", "", "", ipa.MaskedToken, "", errNoToken},
		{"too short to be one", long, "", "short", long, nil},
		{"none", "", "", "", "", nil},
	} {
		a := withCard(t, io.Discard, "--agent-token", test.preset)
		if test.kept != "" {
			if err := a.storeIdentity(identity{Node: "u", Token: test.kept}); err != nil {
				t.Fatal(err)
			}
		}
		got, err := a.adoptToken("u", test.offered)
		if got != test.want || !errors.Is(err, test.err) {
			t.Errorf("%s: token %q, %v; want %q, %v", test.name, got, err, test.want, test.err)
		}
	}
	a := withCard(t, io.Discard)
	if err := a.storeIdentity(identity{Node: "another", Token: long}); err != nil {
		t.Fatal(err)
	}
	if token, err := a.adoptToken("u", ipa.MaskedToken); !errors.Is(err, errNoToken) {
		t.Errorf("the token of another node: %q, %v", token, err)
	}
}

// TestFormerBoot: what an agent left serves the next one of the same boot, and
// no other.
func TestFormerBoot(t *testing.T) {
	proc := t.TempDir()
	a := withCard(t, io.Discard, "--proc", proc)
	bootID := filepath.Join(proc, "sys/kernel/random/boot_id")
	if err := os.MkdirAll(filepath.Dir(bootID), 0o755); err != nil {
		t.Fatal(err)
	}
	begin := func(id string) (left int) {
		t.Helper()
		if err := os.WriteFile(bootID, []byte(id), 0o644); err != nil {
			t.Fatal(err)
		}
		if err := forgetFormerBoot(a.cfg); err != nil {
			t.Fatal(err)
		}
		files, err := filepath.Glob(filepath.Join(a.cfg.StateDir, "agent.*"))
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{"agent.key", "agent.crt", "agent.commands", "agent.identity"} {
			if err := os.WriteFile(filepath.Join(a.cfg.StateDir, name), []byte("x"), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		return len(files)
	}
	for i, test := range []struct {
		id   string
		want int
	}{{"one", 0}, {"one", 4}, {"two", 0}, {"two", 4}, {"one", 0}} {
		if got := begin(test.id); got != test.want {
			t.Errorf("start %d, boot %s: %d files are left; want %d", i, test.id, got, test.want)
		}
	}
}

// TestClockIsNotOurs: outside a ramdisk the clock is left alone, which is fatal
// only if that was wanted.
func TestClockIsNotOurs(t *testing.T) {
	var log bytes.Buffer
	a := withCard(t, &log, "--ntp-server", "192.0.2.1")
	a.host.Guard.InRamdisk = false
	if err := a.syncClock(t.Context()); err != nil || !strings.Contains(log.String(), errNotOurs.Error()) {
		t.Errorf("%v; log %s", err, log.String())
	}
	a.cfg.FailIfClockNotSet = true
	if err := a.syncClock(t.Context()); !ipa.ClockSync.Is(err) {
		t.Errorf("%v; want ClockSyncError", err)
	}
	a.cfg.NTPServer = ""
	if err := a.syncClock(t.Context()); err != nil {
		t.Errorf("without a server: %v", err)
	}
}

func TestAdvertised(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	listening := fmt.Sprint(l.Addr().(*net.TCPAddr).Port)
	for _, test := range []struct{ host, port, want string }{
		{"192.0.2.1", "0", "192.0.2.1:" + listening}, {"2001:db8::1", "8080", "[2001:db8::1]:8080"},
		{"[2001:db8::1]", "1", "[2001:db8::1]:1"}, {"machine.example", "9999", "machine.example:9999"},
	} {
		a := withCard(t, io.Discard, "--advertise-host", test.host, "--advertise-port", test.port)
		address, host, err := a.address(t.Context(), nil)
		if got := a.hostPort(host, l); err != nil || got != test.want {
			t.Errorf("%s: %q, %v; want %q", test.host, got, err, test.want)
		}
		if _, _, err := a.certificate(address); (err == nil) != address.IsValid() {
			t.Errorf("%s: certificate for %s: %v", test.host, address, err)
		}
	}
}

func TestUnknownCipherSuites(t *testing.T) {
	var log bytes.Buffer
	a := withCard(t, &log, "--tls-cipher-suites", "RC4-MD5")
	conf, _, err := a.certificate(netip.MustParseAddr("192.0.2.1"))
	if err != nil || len(conf.CipherSuites) == 0 || !strings.Contains(log.String(), "RC4-MD5") {
		t.Errorf("%+v, %v; log %s", conf, err, log.String())
	}
}
