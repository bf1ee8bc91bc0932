package ironic

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/sirupsen/logrus"

	"ferric/api/ipa"
)

func quiet() *logrus.Entry {
	log := logrus.New()
	log.SetOutput(io.Discard)
	return logrus.NewEntry(log)
}

func newClient(t *testing.T, opts Options) *Client {
	t.Helper()
	if opts.Timeout == 0 {
		opts.Timeout = 10 * time.Second
	}
	c, err := NewClient(opts)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// api is a server of the given version that records requests.
func api(t *testing.T, version string, answer http.HandlerFunc) string {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/" {
			io.WriteString(w, `{"default_version":{"version":"`+version+`"}}`)
			return
		}
		answer(w, r)
	}))
	t.Cleanup(s.Close)
	return s.URL
}

func TestVersions(t *testing.T) {
	tests := []struct {
		server            string
		lookup, heartbeat string
		members           []string
	}{
		{"1.106", "1.62", "1.68", []string{"agent_token", "agent_verify_ca", "agent_version", "callback_url"}},
		{"1.62", "1.62", "1.62", []string{"agent_token", "agent_version", "callback_url"}},
		{"1.40", "1.40", "1.40", []string{"agent_version", "callback_url"}},
		{"nonsense", "1.31", "1.31", []string{"callback_url"}},
	}
	for _, test := range tests {
		t.Run(test.server, func(t *testing.T) {
			base := api(t, test.server, func(w http.ResponseWriter, r *http.Request) {
				version := r.Header.Get("X-OpenStack-Ironic-API-Version")
				switch {
				case r.URL.Path == "/v1/lookup":
					if version != test.lookup || r.URL.RawQuery != "addresses="+url.QueryEscape("aa:bb,cc:dd") {
						t.Errorf("lookup %s with version %s; want %s", r.URL, version, test.lookup)
					}
					io.WriteString(w, `{"node":{"uuid":"u"},"config":{"heartbeat_timeout":300}}`)
				case r.URL.Path == "/v1/heartbeat/u" && r.Method == "POST":
					var body map[string]any
					if err := json.NewDecoder(r.Body).Decode(&body); err != nil {
						t.Error(err)
					}
					var members []string
					for _, m := range []string{"agent_token", "agent_verify_ca", "agent_version", "callback_url"} {
						if _, ok := body[m]; ok {
							members = append(members, m)
						}
					}
					if diff := cmp.Diff(test.members, members); diff != "" || version != test.heartbeat || len(body) != len(members) {
						t.Errorf("heartbeat with version %s; want %s; members (-want +got):\n%s", version, test.heartbeat, diff)
					}
					w.WriteHeader(http.StatusAccepted)
				}
			})
			c := newClient(t, Options{URLs: []string{base}})
			if _, err := c.Lookup(context.Background(), []string{"aa:bb", "cc:dd"}, ""); err != nil {
				t.Fatal(err)
			}
			if err := c.Heartbeat(context.Background(), "u", ipa.Heartbeat{CallbackURL: "x", AgentVersion: "1", AgentToken: "t", AgentVerifyCA: "p"}); err != nil {
				t.Fatal(err)
			}
		})
	}
}

func TestWaitForVersion(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		asked, failures := 0, 0
		c := newClient(t, Options{URLs: []string{"http://api"}})
		c.http.Transport = roundTrip(func(*http.Request) (*http.Response, error) {
			if asked++; asked <= failures {
				return nil, errors.New("no route")
			}
			return &http.Response{StatusCode: 200, Body: io.NopCloser(strings.NewReader(`{"default_version":{"version":"1.82"}}`))}, nil
		})
		failures = 1000
		if v, err := c.WaitForVersion(t.Context(), 5*time.Second); err == nil || asked != 6 {
			t.Errorf("version %v, %v after %d questions; want none after 6", v, err, asked)
		}
		failures = asked + 3
		if v, err := c.WaitForVersion(t.Context(), 5*time.Second); err != nil || v != 82 {
			t.Errorf("version %v, %v; want 1.82 once the server tells", v, err)
		}
	})
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func TestSecondURL(t *testing.T) {
	base := api(t, "1.82", func(w http.ResponseWriter, _ *http.Request) {
		io.WriteString(w, `{"node":{"uuid":"u"},"config":{"heartbeat_timeout":300}}`)
	})
	dead := httptest.NewServer(http.NotFoundHandler())
	dead.Close()
	c := newClient(t, Options{URLs: []string{dead.URL, base}})
	if _, err := c.Lookup(context.Background(), []string{"m"}, ""); err != nil {
		t.Fatal(err)
	}
	if got := c.URLs()[0]; got != base {
		t.Errorf("first URL is %s; want the one that works", got)
	}
}

func TestLookupRefusesNonsense(t *testing.T) {
	for name, body := range map[string]string{
		"no node":     `{"config":{"heartbeat_timeout":300}}`,
		"no timeout":  `{"node":{"uuid":"u"},"config":{}}`,
		"bad timeout": `{"node":{"uuid":"u"},"config":{"heartbeat_timeout":-1}}`,
		"no JSON":     `<html>`,
		"wrong types": `{"node":[],"config":{}}`,
		"too long":    `{"node":{"uuid":"u"},"config":{"heartbeat_timeout":300}}` + strings.Repeat(" ", maxAnswer),
	} {
		base := api(t, "1.82", func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, body) })
		if _, err := newClient(t, Options{URLs: []string{base}}).Lookup(context.Background(), []string{"m"}, ""); err == nil {
			t.Errorf("%s: the lookup succeeded", name)
		}
	}
}

func TestWaitForLookup(t *testing.T) {
	var asked atomic.Int32
	present := []string{"m1"}
	cards := func(context.Context) ([]string, error) {
		now := slices.Clone(present)
		present = append(present, fmt.Sprintf("m%d", len(present)+1)) // one more at the next attempt
		return now, nil
	}
	base := api(t, "1.82", func(w http.ResponseWriter, r *http.Request) {
		if n := asked.Add(1); n < 3 || n == 3 && (r.URL.Query().Get("addresses") != "m1,m2,m3" || r.URL.Query().Get("node_uuid") != "n") {
			http.Error(w, "locked", http.StatusConflict)
			return
		}
		io.WriteString(w, `{"node":{"uuid":"u"},"config":{"heartbeat_timeout":300}}`)
	})
	c := newClient(t, Options{URLs: []string{base}})
	got, err := c.WaitForLookup(context.Background(), Lookup{cards, "n", time.Millisecond, time.Minute, quiet()})
	if err != nil || got.Node["uuid"] != "u" || asked.Load() != 3 {
		t.Errorf("lookup = %v, %v after %d requests; want u after 3", got, err, asked.Load())
	}
	asked.Store(-1 << 20)
	_, err = c.WaitForLookup(context.Background(), Lookup{cards, "n", time.Millisecond, 20 * time.Millisecond, quiet()})
	if !ipa.LookupNode.Is(err) || !strings.Contains(err.Error(), "409") {
		t.Errorf("error = %v; want LookupNodeError with the last answer", err)
	}
}

// TestBlindLookup: a server that does not tell its version is asked without
// one, and gives no token then. That counts only if it stays so.
func TestBlindLookup(t *testing.T) {
	for _, test := range []struct {
		name                   string
		silent, token, lookups int
	}{
		{"one answer is lost", 1, 62, 2},
		{"a server that never tells", 1 << 20, 62, 1 + blindLookups},
		{"a server that does not hand out tokens", 0, 1 << 20, 1},
		{"a token in any case", 1, 0, 1},
	} {
		synctest.Test(t, func(t *testing.T) {
			silent, lookups := test.silent, 0
			c := newClient(t, Options{URLs: []string{"http://api"}})
			c.http.Transport = roundTrip(func(r *http.Request) (*http.Response, error) {
				answer := `{"default_version":{"version":"1.82"}}`
				switch {
				case r.URL.Path == "/" && silent > 0:
					silent--
					return nil, errors.New("lost")
				case r.URL.Path == "/v1/lookup":
					lookups++
					asked, err := ParseVersion(r.Header.Get("X-OpenStack-Ironic-API-Version"))
					answer = `{"node":{"uuid":"u"},"config":{"heartbeat_timeout":300}}`
					if err == nil && int(asked) >= test.token {
						answer = `{"node":{"uuid":"u"},"config":{"heartbeat_timeout":300,"agent_token":"t"}}`
					}
				}
				return &http.Response{StatusCode: 200, Body: io.NopCloser(strings.NewReader(answer))}, nil
			})
			macs := func(context.Context) ([]string, error) { return []string{"m"}, nil }
			got, err := c.WaitForLookup(t.Context(), Lookup{macs, "", time.Second, 10 * time.Minute, quiet()})
			wanted := ""
			if test.token <= 62 && test.silent < 1<<20 {
				wanted = "t"
			}
			if err != nil || lookups != test.lookups || got.Config.AgentToken != wanted {
				t.Errorf("%s: %+v, %v after %d lookups; want the token %q after %d", test.name, got, err, lookups, wanted, test.lookups)
			}
		})
	}
}

func TestLookupWait(t *testing.T) {
	locked, unknown, broken := &StatusError{Code: 409}, &StatusError{Code: 404}, errors.New("refused")
	tests := []struct {
		attempt int
		err     error
		u       float64
		want    time.Duration
	}{
		{1, broken, 0.9, time.Second},
		{3, broken, 0, time.Second},
		{3, broken, 0.5, 2500 * time.Millisecond},
		{1000, broken, 1, time.Minute},
		{1000, locked, 1, 5 * time.Second},
		{1000, unknown, 1, 5 * time.Second},
	}
	for _, test := range tests {
		if got := lookupWait(test.attempt, time.Second, test.err, test.u); got != test.want {
			t.Errorf("wait after failure %d (%v) = %s; want %s", test.attempt, test.err, got, test.want)
		}
	}
}

func TestConflictWait(t *testing.T) {
	for n, want := range map[int]time.Duration{1: 0, promptConflicts: 0, promptConflicts + 1: 5 * time.Second, promptConflicts + 2: 10 * time.Second, promptConflicts + 9: 30 * time.Second} {
		if got := conflictWait(n); got != want {
			t.Errorf("added after conflict %d: %s; want %s", n, got, want)
		}
	}
}

func TestOldLookup(t *testing.T) {
	got, err := parseLookup([]byte(`{"heartbeat_timeout":120,"node":{"uuid":"u"}}`))
	if err != nil || got.Config.HeartbeatTimeout != 120 {
		t.Errorf("answer of an old server: %+v, %v", got, err)
	}
}

func FuzzLookup(f *testing.F) {
	f.Add([]byte(`{"node":{"uuid":"u","properties":{}},"config":{"heartbeat_timeout":300,"agent_token":"x","tls_cipher_suites":null,"agent_containers":{"run_options":["--rm"]}}}`))
	f.Add([]byte(`{"heartbeat_timeout":1e300,"node":{"uuid":1},"config":null}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		answer, err := parseLookup(text)
		if err != nil {
			return
		}
		if uuid, _ := answer.Node["uuid"].(string); uuid == "" || time.Duration(answer.Config.HeartbeatTimeout*float64(time.Second)) < 0 {
			t.Errorf("%q gave %+v", text, answer)
		}
	})
}

// TestClientCertificate: a server that insists on one gets it.
func TestClientCertificate(t *testing.T) {
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, `{"default_version":{"version":"1.%d"}}`, len(r.TLS.PeerCertificates))
	}))
	s.TLS = &tls.Config{ClientAuth: tls.RequireAnyClientCert}
	s.StartTLS()
	defer s.Close()
	dir := t.TempDir()
	key, err := x509.MarshalPKCS8PrivateKey(s.TLS.Certificates[0].PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	cert, keyFile := filepath.Join(dir, "crt"), filepath.Join(dir, "key")
	if err := errors.Join(
		os.WriteFile(cert, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw}), 0o600),
		os.WriteFile(keyFile, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key}), 0o600)); err != nil {
		t.Fatal(err)
	}
	c := newClient(t, Options{URLs: []string{s.URL}, CAFile: cert, CertFile: cert, KeyFile: keyFile})
	if v, err := c.WaitForVersion(t.Context(), 0); err != nil || v != 1 {
		t.Errorf("with a certificate: %v, %v", v, err)
	}
	c = newClient(t, Options{URLs: []string{s.URL}, CAFile: cert})
	if v, err := c.WaitForVersion(t.Context(), 0); err == nil {
		t.Errorf("without a certificate: %v", v)
	}
	if _, err := NewClient(Options{URLs: []string{s.URL}, CertFile: cert, KeyFile: cert}); err == nil {
		t.Error("a key file without a key was taken")
	}
	if _, err := NewClient(Options{URLs: []string{s.URL}, Version: "2.0"}); err == nil {
		t.Error("version 2.0 was taken")
	}
}

// beats runs a Heartbeater in a bubble of fake time and records when it sends.
func beats(t *testing.T, outcome func(n int) error, drive func(h *Heartbeater)) []time.Duration {
	var sent []time.Duration
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(context.Background())
		start := time.Now()
		h := NewHeartbeater(func(context.Context) error {
			sent = append(sent, time.Since(start))
			return outcome(len(sent))
		}, 100*time.Second, 5*time.Second, quiet())
		go h.Run(ctx)
		drive(h)
		cancel()
		synctest.Wait()
	})
	return sent
}

func between(t *testing.T, what string, got, least, most time.Duration) {
	t.Helper()
	if got < least || got > most {
		t.Errorf("%s after %s; want from %s to %s", what, got, least, most)
	}
}

func TestHeartbeatRhythm(t *testing.T) {
	sent := beats(t, func(int) error { return nil }, func(*Heartbeater) { time.Sleep(200 * time.Second) })
	if len(sent) < 3 || sent[0] != 0 {
		t.Fatalf("heartbeats at %v; want one at once and more", sent)
	}
	for i := 1; i < len(sent); i++ {
		between(t, "next heartbeat", sent[i]-sent[i-1], 30*time.Second, 60*time.Second)
	}
}

func TestHeartbeatRetries(t *testing.T) {
	failing := func(n int) error {
		if n <= 3 {
			return &StatusError{Code: 409}
		}
		return nil
	}
	sent := beats(t, failing, func(*Heartbeater) { time.Sleep(60 * time.Second) })
	if len(sent) < 4 {
		t.Fatalf("heartbeats at %v; want at least 4", sent)
	}
	for i := 1; i <= 3; i++ {
		between(t, "repeated heartbeat", sent[i]-sent[i-1], 5*time.Second, 10*time.Second)
	}
}

func TestForcedHeartbeat(t *testing.T) {
	sent := beats(t, func(int) error { return nil }, func(h *Heartbeater) {
		time.Sleep(time.Second)
		h.Force() // too early: 5 s after the first
		h.Force() // the same one
		time.Sleep(20 * time.Second)
		h.Force() // late enough: at once
		time.Sleep(time.Second)
	})
	want := []time.Duration{0, 5 * time.Second, 21 * time.Second}
	if diff := cmp.Diff(want, sent); diff != "" {
		t.Errorf("heartbeats (-want +got):\n%s", diff)
	}
}

func TestForcedHeartbeatIsRepeatedUntilAccepted(t *testing.T) {
	failing := func(n int) error {
		if n == 2 || n == 3 {
			return errors.New("refused")
		}
		return nil
	}
	sent := beats(t, failing, func(h *Heartbeater) {
		time.Sleep(10 * time.Second)
		h.Force()
		time.Sleep(25 * time.Second)
	})
	want := []time.Duration{0, 10 * time.Second, 15 * time.Second, 20 * time.Second}
	if diff := cmp.Diff(want, sent); diff != "" {
		t.Errorf("heartbeats, 5 s after each other until one is accepted (-want +got):\n%s", diff)
	}
}

func TestAddress(t *testing.T) {
	base := api(t, "1.82", http.NotFound)
	dead := httptest.NewServer(http.NotFoundHandler())
	dead.Close()
	addr, err := WaitForAddress(t.Context(), Addressing{URLs: []string{dead.URL, base}, Attempts: 1, Timeout: time.Second})
	if err != nil || addr != netip.MustParseAddr("127.0.0.1") {
		t.Errorf("address = %s, %v; want 127.0.0.1", addr, err)
	}
	host := strings.TrimPrefix(dead.URL, "http://")
	_, err = WaitForAddress(t.Context(), Addressing{URLs: []string{"http://me:swordfish@" + host}, Attempts: 2, Sleep: time.Millisecond, Timeout: time.Second})
	if !ipa.LookupAgentIP.Is(err) || !strings.Contains(err.Error(), host) || strings.Contains(err.Error(), "swordfish") {
		t.Errorf("error = %v; want LookupAgentIPError naming the URL without its password", err)
	}
	addr, err = WaitForAddress(t.Context(), Addressing{Interface: "lo", URLs: []string{dead.URL}})
	if err != nil || addr != netip.MustParseAddr("127.0.0.1") {
		t.Errorf("address of an interface = %s, %v; want 127.0.0.1", addr, err)
	}
	_, err = WaitForAddress(t.Context(), Addressing{Interface: "nosuch0", Attempts: 2, Sleep: time.Millisecond})
	if !ipa.LookupAgentIP.Is(err) || !strings.Contains(err.Error(), "nosuch0") {
		t.Errorf("error = %v; want LookupAgentIPError naming the interface", err)
	}
}
