package server

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"io"
	"math"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/sirupsen/logrus"

	"ferric/agent/command"
	"ferric/api/ipa"
)

const token = "0123456789abcdef0123456789abcdef"

func quiet() *logrus.Entry {
	log := logrus.New()
	log.SetOutput(io.Discard)
	return logrus.NewEntry(log)
}

func newServer(opts Options) *Server {
	table := command.Table{"test": {
		"text": {Run: func(context.Context, map[string]any, func(ipa.Progress)) (any, error) { return "hello", nil }},
		"step": {Run: func(context.Context, map[string]any, func(ipa.Progress)) (any, error) {
			return map[string]any{"deploy_result": 7, "deploy_step": map[string]any{"step": "write_image", "interface": "deploy", "args": map[string]any{"configdrive": "secret"}}}, nil
		}},
		"odd": {Validate: func(map[string]any) error { panic("oh no") }},
		"big": {Run: func(_ context.Context, p map[string]any, _ func(ipa.Progress)) (any, error) { return nil, nil }, Extra: true},
	}}
	opts.Log, opts.Version = quiet(), "1.2.3"
	return New(command.New(context.Background(), table, command.Options{Ended: func() {}, Log: quiet()}), opts)
}

func ask(s *Server, method, path, body string) (int, map[string]any) {
	w := httptest.NewRecorder()
	s.ServeHTTP(w, httptest.NewRequest(method, path, strings.NewReader(body)))
	var answer map[string]any
	if err := json.Unmarshal(w.Body.Bytes(), &answer); err != nil {
		answer = map[string]any{"not JSON": w.Body.String()}
	}
	return w.Code, answer
}

func TestErrors(t *testing.T) {
	tests := []struct {
		name, method, path, body string
		code                     int
		fault                    string
	}{
		{"no token", "POST", "/v1/commands/", `{}`, 401, "401 Unauthorized: Token invalid."},
		{"wrong token", "POST", "/v1/commands/?agent_token=x", `{}`, 401, "401 Unauthorized: Token invalid."},
		{"list without token", "GET", "/v1/commands", "", 401, "401 Unauthorized: Token invalid."},
		{"get without token", "GET", "/commands/x", "", 401, "401 Unauthorized: Token invalid."},
		{"the token comes before the body", "POST", "/commands/", "no JSON", 401, "401 Unauthorized: Token invalid."},
		{"no JSON", "POST", "/v1/commands/?agent_token=" + token, "no JSON", 400, "400 Bad Request: Missing or invalid name or params"},
		{"a list", "POST", "/v1/commands/?agent_token=" + token, "[]", 400, "400 Bad Request: Missing or invalid name or params"},
		{"no params", "POST", "/v1/commands/?agent_token=" + token, `{"name":"test.text"}`, 400, "400 Bad Request: Missing or invalid name or params"},
		{"params null", "POST", "/v1/commands/?agent_token=" + token, `{"name":"test.text","params":null}`, 400, "400 Bad Request: Missing or invalid name or params"},
		{"params a list", "POST", "/v1/commands/?agent_token=" + token, `{"name":"test.text","params":[]}`, 400, "400 Bad Request: Missing or invalid name or params"},
		{"name a number", "POST", "/v1/commands/?agent_token=" + token, `{"name":1,"params":{}}`, 400, "400 Bad Request: Missing or invalid name or params"},
		{"panic", "POST", "/v1/commands/?agent_token=" + token, `{"name":"test.odd","params":{}}`, 500, "Command execution failed: the request panicked: oh no"},
		{"two documents", "POST", "/v1/commands/?agent_token=" + token, `{"name":"test.text","params":{}} {}`, 400, "400 Bad Request: Missing or invalid name or params"},
		{"no dot", "POST", "/v1/commands/?agent_token=" + token, `{"name":"text","params":{}}`, 400, "Invalid command: Command name must be of the form <extension>.<name>"},
		{"no extension", "POST", "/commands?agent_token=" + token, `{"name":"iscsi.start","params":{}}`, 404, "Not found: Extension with id iscsi not found."},
		{"no command", "POST", "/commands?agent_token=" + token, `{"name":"test.start","params":{}}`, 400, "Invalid command: Unknown command: start"},
		{"unknown id", "GET", "/v1/commands/abc?agent_token=" + token, "", 404, "Not found: Command with id abc not found."},
		{"unknown path", "GET", "/v2", "", 404, "404 Not Found: Not Found"},
		{"status with a slash", "GET", "/v1/status/", "", 404, "404 Not Found: Not Found"},
		{"HEAD is not GET", "HEAD", "/v1/status", "", 405, "405 Method Not Allowed: Method Not Allowed"},
		{"OPTIONS", "OPTIONS", "/v1/commands/", "", 405, "405 Method Not Allowed: Method Not Allowed"},
		{"OPTIONS of nothing", "OPTIONS", "/v2", "", 404, "404 Not Found: Not Found"},
		{"a verb of its own", "BREW", "/v1/commands/", "", 405, "405 Method Not Allowed: Method Not Allowed"},
		{"put", "PUT", "/v1/commands/x?agent_token=" + token, "", 405, "405 Method Not Allowed: Method Not Allowed"},
		{"no logs", "GET", "/ferric/v1/logs?agent_token=" + token, "", 404, "Not found: there are no logs"},
		{"logs without token", "GET", "/ferric/v1/logs", "", 401, "401 Unauthorized: Token invalid."},
		{"cancel without token", "DELETE", "/ferric/v1/commands/x", "", 401, "401 Unauthorized: Token invalid."},
		{"cancel of nothing", "DELETE", "/ferric/v1/commands/x?agent_token=" + token, "", 404, "Not found: Command with id x not found."},
		{"stream of nothing", "GET", "/ferric/v1/progress/stream?agent_token=" + token, "", 404, "Not found: no command is running"},
		{"a token that is no UTF-8", "GET", "/v1/commands/?agent_token=%ff%00", "", 401, "401 Unauthorized: Token invalid."},
		{"wrong verb", "DELETE", "/v1/commands/?agent_token=" + token, "", 405, "405 Method Not Allowed: Method Not Allowed"},
		{"no progress", "GET", "/ferric/v1/progress?agent_token=" + token, "", 404, "Not found: no transfer is in flight"},
		{"progress without token", "GET", "/ferric/v1/progress", "", 401, "401 Unauthorized: Token invalid."},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			code, answer := ask(newServer(Options{Token: token}), test.method, test.path, test.body)
			want := map[string]any{"faultcode": "Client", "faultstring": test.fault}
			if test.code >= 500 {
				want["faultcode"] = "Server"
			}
			if diff := cmp.Diff(want, answer); code != test.code || diff != "" {
				t.Errorf("status %d; want %d; body (-want +got):\n%s", code, test.code, diff)
			}
		})
	}
}

func TestTokenlessGET(t *testing.T) {
	s := newServer(Options{Token: token, TokenlessGET: true})
	steps := []struct {
		method, path string
		code         int
	}{
		{"GET", "/v1/commands/", 200},
		{"GET", "/v1/commands/?agent_token=wrong", 401},
		{"GET", "/v1/commands/?agent_token=", 401},
		{"POST", "/v1/commands/", 401},
		{"GET", "/v1/commands/", 200},
		{"GET", "/v1/commands/?agent_token=" + token, 200},
		{"GET", "/v1/commands/", 401}, // the conductor knows tokens
		{"GET", "/v1/commands/x", 401},
	}
	for i, step := range steps {
		if code, _ := ask(s, step.method, step.path, `{"name":"test.text","params":{}}`); code != step.code {
			t.Errorf("request %d, %s %s: status %d; want %d", i, step.method, step.path, code, step.code)
		}
	}
	// Who does not prove who it is does not see the arguments of steps.
	s = newServer(Options{Token: token, TokenlessGET: true})
	_, step := ask(s, "POST", "/v1/commands/?agent_token="+token, `{"name":"test.step","params":{}}`)
	id, _ := step["id"].(string)
	without := map[string]any{"deploy_result": 7.0, "deploy_step": map[string]any{"step": "write_image", "interface": "deploy"}}
	for _, path := range []string{"/v1/commands/", "/v1/commands/" + id} {
		_, answer := ask(s, "GET", path, "")
		if list, ok := answer["commands"].([]any); ok {
			answer, _ = list[0].(map[string]any)
		}
		if diff := cmp.Diff(without, answer["command_result"]); diff != "" {
			t.Errorf("GET %s without a token (-want +got):\n%s", path, diff)
		}
	}
	with := map[string]any{"step": "write_image", "interface": "deploy", "args": map[string]any{"configdrive": "secret"}}
	_, answer := ask(s, "GET", "/v1/commands/"+id+"?agent_token="+token, "")
	if result, _ := answer["command_result"].(map[string]any); !cmp.Equal(with, result["deploy_step"]) {
		t.Errorf("GET with the token: %v; want the step as received", answer)
	}

	noToken := newServer(Options{TokenlessGET: true})
	for _, path := range []string{"/v1/commands/", "/v1/commands/?agent_token="} {
		if code, _ := ask(noToken, "GET", path, ""); code != 401 {
			t.Errorf("GET %s of an agent without a token: status %d; want 401", path, code)
		}
	}
}

func TestDocuments(t *testing.T) {
	s := newServer(Options{Token: token})
	for _, path := range []string{"/", "/v1", "/v1/", "/v1/status", "/status"} {
		if code, answer := ask(s, "GET", path, ""); code != 200 || answer["not JSON"] != nil {
			t.Errorf("GET %s = %d %v; want 200 and JSON", path, code, answer)
		}
	}
	_, v1 := ask(s, "GET", "/v1/", "")
	commands := []any{map[string]any{"href": "http://example.com/v1/commands", "rel": "self"}, map[string]any{"href": "http://example.com/commands", "rel": "bookmark"}}
	if diff := cmp.Diff(commands, v1["commands"]); diff != "" {
		t.Errorf("commands of /v1/ (-want +got):\n%s", diff)
	}
	_, status := ask(s, "GET", "/v1/status", "")
	if at, ok := status["started_at"].(float64); !ok || at < 1e9 || status["version"] != "1.2.3" {
		t.Errorf("status = %v; want started_at in seconds and the version", status)
	}
}

func TestCommand(t *testing.T) {
	s := newServer(Options{Token: token})
	code, answer := ask(s, "POST", "/v1/commands/?wait=TRUE&agent_token="+token, `{"name":"test.text","params":{}}`)
	id, _ := answer["id"].(string)
	want := map[string]any{"id": id, "command_name": "text", "command_status": "SUCCEEDED", "command_error": nil, "command_result": map[string]any{"result": "hello"}}
	if diff := cmp.Diff(want, answer); code != 200 || id == "" || diff != "" {
		t.Errorf("status %d, body (-want +got):\n%s", code, diff)
	}
	if _, one := ask(s, "GET", "/v1/commands/"+id+"?agent_token="+token, ""); !cmp.Equal(want, one) {
		t.Errorf("GET by id = %v; want %v", one, want)
	}
	if _, list := ask(s, "GET", "/v1/commands?agent_token="+token, ""); !cmp.Equal(map[string]any{"commands": []any{want}}, list) {
		t.Errorf("list = %v; want one %v", list, want)
	}
}

func TestCertificate(t *testing.T) {
	dir := t.TempDir()
	o := CertificateOptions{Dir: dir, Address: netip.MustParseAddr("127.0.0.1"), Hostname: "node-1", Curve: "p384", ClockSkew: time.Hour, Now: time.Now()}
	cert, text, err := Certificate(o)
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode([]byte(text))
	parsed, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	critical := false
	for _, e := range parsed.Extensions {
		critical = critical || e.Id.Equal(oidSubjectAltName) && e.Critical
	}
	if !critical || parsed.SignatureAlgorithm != x509.ECDSAWithSHA512 || parsed.Subject.CommonName != "node-1" || parsed.Issuer.CommonName != "node-1" {
		t.Errorf("SAN critical %v, signature %v, subject %v, issuer %v", critical, parsed.SignatureAlgorithm, parsed.Subject, parsed.Issuer)
	}
	if got := parsed.NotAfter.Sub(parsed.NotBefore); got != validity+time.Hour {
		t.Errorf("valid for %s; want %s", got, validity+time.Hour)
	}
	info, err := os.Stat(filepath.Join(dir, "agent.key"))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("key: %v, %v; want mode 0600", info, err)
	}

	if _, again, err := Certificate(o); err != nil || again != text {
		t.Errorf("a second life got another certificate, %v", err)
	}
	for name, change := range map[string]func(*CertificateOptions){
		"another address": func(o *CertificateOptions) { o.Address = netip.MustParseAddr("127.0.0.2") },
		"expired":         func(o *CertificateOptions) { o.Now = o.Now.Add(validity + time.Hour) },
	} {
		changed := o
		change(&changed)
		if _, other, err := Certificate(changed); err != nil || other == text {
			t.Errorf("%s: the old certificate is used, %v", name, err)
		}
	}
	serveTLS(t, cert, text)
}

// serveTLS checks the versions and that a client which pins the certificate
// accepts it.
func serveTLS(t *testing.T, cert tls.Certificate, text string) {
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM([]byte(text))
	for _, test := range []struct {
		least   string
		offered uint16
		ok      bool
	}{{"1.2", tls.VersionTLS12, true}, {"1.2", tls.VersionTLS13, true}, {"1.3", tls.VersionTLS13, true}, {"1.3", tls.VersionTLS12, false}, {"1.2", tls.VersionTLS11, false}} {
		conf, err := TLSConfig(cert, test.least, "")
		if err != nil {
			t.Fatal(err)
		}
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		s := newServer(Options{Token: token, TLS: conf})
		go s.Serve(l)
		client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool, MaxVersion: test.offered, MinVersion: tls.VersionTLS11}}}
		resp, err := client.Get("https://" + l.Addr().String() + "/v1/status")
		if (err == nil) != test.ok {
			t.Errorf("least %s, offered %s: %v; want success %v", test.least, tls.VersionName(test.offered), err, test.ok)
		}
		if err == nil {
			resp.Body.Close()
		}
		if err := s.Shutdown(context.Background()); err != nil {
			t.Error(err)
		}
	}
	if _, err := TLSConfig(cert, "1.2", "NONE:SUCH"); err == nil {
		t.Error("unknown cipher suites were accepted")
	}
}

// TestLargeCommand decodes a config drive in a machine of little memory.
func TestLargeCommand(t *testing.T) {
	const size = 16 << 20
	body := `{"name":"a.b","params":{"configdrive":"` + strings.Repeat("x", size) + `"}}`
	used := uint64(math.MaxUint64) // the least of some, for others allocate as well
	for range 3 {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		req, err := DecodeRequest(strings.NewReader(body), int64(len(body)))
		runtime.ReadMemStats(&after)
		if drive, _ := req.Params["configdrive"].(string); err != nil || len(drive) != size {
			t.Fatalf("config drive of %d bytes, %v; want %d", len(drive), err, size)
		}
		used = min(used, after.TotalAlloc-before.TotalAlloc)
	}
	if used > 5*size/2 {
		t.Errorf("decoding %d bytes took %d; want the text and the value", size, used)
	}
	endless := `{"name":"a.b","params":{"configdrive":"` + strings.Repeat("x", maxBody)
	code, answer := ask(newServer(Options{Token: token}), "POST", "/v1/commands/?agent_token="+token, endless)
	if fault, _ := answer["faultstring"].(string); code != 413 || !strings.Contains(fault, "config drive") {
		t.Errorf("a body of more than 96 MiB: %d %v; want 413 and the limit", code, answer)
	}
}
