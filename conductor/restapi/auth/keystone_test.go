package auth

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/sirupsen/logrus"

	"ferric/api"
)

// fakeKeystone answers as Keystone does, with faults at will. That the real
// one is understood is for integration/compat to find out.
type fakeKeystone struct {
	*httptest.Server
	mu     sync.Mutex
	tokens map[string]string // documents by token
	fault  func(w http.ResponseWriter, r *http.Request) bool
	own    int // serial number of the service's token
	logins atomic.Int32
	asked  atomic.Int32
}

func newFakeKeystone(t *testing.T) *fakeKeystone {
	k := &fakeKeystone{tokens: map[string]string{}}
	k.Server = httptest.NewServer(http.HandlerFunc(k.serve))
	t.Cleanup(k.Close)
	return k
}

func (k *fakeKeystone) serve(w http.ResponseWriter, r *http.Request) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.fault != nil && k.fault(w, r) {
		return
	}
	switch {
	case r.URL.Path != "/identity/v3/auth/tokens":
		w.WriteHeader(http.StatusNotFound)
	case r.Method == "POST":
		body, _ := io.ReadAll(r.Body)
		var login struct {
			Auth struct {
				Identity struct {
					Password struct {
						User struct{ Name, Password string }
					}
				}
				Scope struct{ Project struct{ Name string } }
			}
		}
		if json.Unmarshal(body, &login) != nil || login.Auth.Identity.Password.User.Password != "s3cret" || login.Auth.Scope.Project.Name != "service" {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		k.logins.Add(1)
		k.own++
		w.Header().Set("X-Subject-Token", fmt.Sprint("own-", k.own))
		w.WriteHeader(http.StatusCreated)
		_, _ = io.WriteString(w, document("ironic", "service", time.Hour, "service"))
	case r.Header.Get("X-Auth-Token") != fmt.Sprint("own-", k.own):
		w.WriteHeader(http.StatusUnauthorized)
	default:
		k.asked.Add(1)
		name := r.Header.Get("X-Subject-Token")
		if r.URL.Query().Has("allow_expired") {
			name += " expired"
		}
		doc, ok := k.tokens[name]
		if !ok {
			w.WriteHeader(http.StatusNotFound)
			return
		}
		_, _ = io.WriteString(w, doc)
	}
}

// document is a token's; project "" is the system.
func document(user, project string, life time.Duration, roles ...string) string {
	scope := map[string]any{"system": map[string]any{"all": true}}
	if project != "" {
		scope = map[string]any{"project": map[string]any{"id": project + "-id", "name": project, "domain": map[string]any{"id": "default", "name": "Default"}}}
	}
	scope["user"] = map[string]any{"id": user + "-id", "name": user, "domain": map[string]any{"id": "default", "name": "Default"}}
	scope["expires_at"] = time.Now().Add(life).UTC().Format("2006-01-02T15:04:05.000000Z")
	list := []map[string]string{}
	for _, r := range roles {
		list = append(list, map[string]string{"id": r + "-id", "name": r})
	}
	scope["roles"] = list
	b, err := json.Marshal(map[string]any{"token": scope})
	if err != nil {
		panic(err)
	}
	return string(b)
}

func (k *fakeKeystone) strategy(t *testing.T, configure ...func(*Config)) Strategy {
	t.Helper()
	cfg := DefaultConfig()
	cfg.Strategy, cfg.AuthURL, cfg.AuthURI = "keystone", k.URL+"/identity", "http://public.example/identity"
	cfg.Username, cfg.Password, cfg.ProjectName, cfg.MaxRetries = "ironic", "s3cret", "service", 1
	for _, c := range configure {
		c(&cfg)
	}
	log := logrus.New()
	log.SetOutput(io.Discard)
	s, err := New(cfg, logrus.NewEntry(log))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func tokenRequest(headers ...string) *http.Request {
	r := httptest.NewRequest("GET", "/v1/nodes", nil)
	for i := 0; i+1 < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	return r
}

func TestKeystone(t *testing.T) {
	k := newFakeKeystone(t)
	k.tokens = map[string]string{
		"member":         document("ann", "blue", time.Hour, "member", "reader"),
		"system":         document("root", "", time.Hour, "admin", "manager", "member", "reader"),
		"late":           document("ann", "blue", -time.Minute, "member"),
		"gone expired":   document("ann", "blue", -time.Hour, "member"),
		"service":        document("nova", "service", time.Hour, "service"),
		"nobody":         `{"token": {}}`,
		"no end":         `{"token": {"user": {"id": "x"}}}`,
		"not a document": `<html>`,
	}
	s := k.strategy(t)
	for _, c := range []struct {
		name   string
		header []string
		status int
		want   *Identity
	}{
		{"project", []string{"X-Auth-Token", "member"}, 0, &Identity{UserID: "ann-id", UserName: "ann", ProjectID: "blue-id", ProjectName: "blue", Roles: []string{"member", "reader"}}},
		{"system", []string{"X-Auth-Token", "system"}, 0, &Identity{UserID: "root-id", UserName: "root", Roles: []string{"admin", "manager", "member", "reader"}, System: true}},
		{"none", nil, 401, nil},
		{"basic", []string{"Authorization", "Basic YTpi"}, 401, nil},
		{"unknown", []string{"X-Auth-Token", "guess"}, 401, nil},
		{"too long", []string{"X-Auth-Token", strings.Repeat("x", maxToken+1)}, 401, nil},
		{"expired, whatever Keystone thinks", []string{"X-Auth-Token", "late"}, 401, nil},
		{"expired", []string{"X-Auth-Token", "gone"}, 401, nil},
		{"expired, a service vouches", []string{"X-Auth-Token", "gone", "X-Service-Token", "service"}, 0, &Identity{UserID: "ann-id", UserName: "ann", ProjectID: "blue-id", ProjectName: "blue", Roles: []string{"member"}}},
		{"expired, somebody else vouches", []string{"X-Auth-Token", "gone", "X-Service-Token", "member"}, 401, nil},
		{"service token unknown", []string{"X-Auth-Token", "member", "X-Service-Token", "guess"}, 401, nil},
		{"document without a user", []string{"X-Auth-Token", "nobody"}, 503, nil},
		{"document without an end", []string{"X-Auth-Token", "no end"}, 503, nil},
		{"no document", []string{"X-Auth-Token", "not a document"}, 503, nil},
	} {
		got, err := s.Authenticate(tokenRequest(c.header...))
		if status(t, err) != c.status {
			t.Errorf("%s: %v, want status %d", c.name, err, c.status)
			continue
		}
		if err != nil {
			if refusal := err.(*api.Error); c.status == 401 && refusal.Challenge != `Keystone uri="http://public.example/identity"` {
				t.Errorf("%s: challenge %q", c.name, refusal.Challenge)
			}
			continue
		}
		if diff := cmp.Diff(c.want, got, cmp.AllowUnexported(Identity{})); diff != "" {
			t.Errorf("%s: -want +got:\n%s", c.name, diff)
		}
	}
	if n := k.logins.Load(); n != 1 {
		t.Errorf("logged in %d times, want once", n)
	}
}

func TestKeystoneCache(t *testing.T) {
	k := newFakeKeystone(t)
	k.tokens["member"] = document("ann", "blue", time.Hour, "member")
	s := k.strategy(t, func(c *Config) { c.TokenCacheTime = time.Hour })
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() {
			if _, err := s.Authenticate(tokenRequest("X-Auth-Token", "member")); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if n := k.asked.Load(); n != 1 {
		t.Errorf("Keystone was asked %d times about one token, want once", n)
	}
	for range 5 {
		if _, err := s.Authenticate(tokenRequest("X-Auth-Token", "guess")); status(t, err) != 401 {
			t.Error(err)
		}
	}
	if n := k.asked.Load(); n != 2 {
		t.Errorf("Keystone was asked %d times, want once more for the unknown token", n)
	}

	none := k.strategy(t, func(c *Config) { c.TokenCacheTime = 0 })
	before := k.asked.Load()
	for range 3 {
		if _, err := none.Authenticate(tokenRequest("X-Auth-Token", "member")); err != nil {
			t.Error(err)
		}
	}
	if n := k.asked.Load() - before; n != 3 {
		t.Errorf("without a cache Keystone was asked %d times, want 3", n)
	}
}

// TestKeystoneFaults: what Keystone does wrong is 503, never "unauthorised",
// which would make clients throw good tokens away.
func TestKeystoneFaults(t *testing.T) {
	k := newFakeKeystone(t)
	k.tokens["member"] = document("ann", "blue", time.Hour, "member")
	always := func(status int) func(http.ResponseWriter, *http.Request) bool {
		return func(w http.ResponseWriter, _ *http.Request) bool { w.WriteHeader(status); return true }
	}
	once := func(status int) func(http.ResponseWriter, *http.Request) bool {
		done := false
		return func(w http.ResponseWriter, r *http.Request) bool {
			if done || r.Method == "POST" {
				return false
			}
			done = true
			w.WriteHeader(status)
			return true
		}
	}
	for _, c := range []struct {
		name   string
		fault  func(http.ResponseWriter, *http.Request) bool
		status int
	}{
		{"500", always(500), 503},
		{"503", always(503), 503},
		{"redirected", func(w http.ResponseWriter, r *http.Request) bool { http.Redirect(w, r, "/elsewhere", 302); return true }, 503},
		{"our token never good", func(w http.ResponseWriter, r *http.Request) bool {
			if r.Method == "GET" {
				w.WriteHeader(401)
			}
			return r.Method == "GET"
		}, 503},
		{"our token not good any more", once(401), 0},
		{"one failure", once(502), 0},
		{"an endless answer", func(w http.ResponseWriter, r *http.Request) bool {
			if r.Method == "GET" {
				_, _ = io.WriteString(w, `{"token":"`+strings.Repeat("x", maxTokenDocument)+`"}`)
			}
			return r.Method == "GET"
		}, 503},
		{"silence", func(_ http.ResponseWriter, r *http.Request) bool {
			_, _ = io.Copy(io.Discard, r.Body) // until then the server does not notice that the client goes
			<-r.Context().Done()
			return true
		}, 503},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := k.strategy(t, func(c *Config) { c.ConnectTimeout = 300 * time.Millisecond })
			k.mu.Lock()
			k.fault = c.fault
			k.mu.Unlock()
			_, err := s.Authenticate(tokenRequest("X-Auth-Token", "member"))
			if status(t, err) != c.status {
				t.Errorf("%v, want status %d", err, c.status)
			}
		})
	}
	t.Run("nobody there", func(t *testing.T) {
		s := k.strategy(t)
		k.Close()
		if _, err := s.Authenticate(tokenRequest("X-Auth-Token", "member")); status(t, err) != 503 {
			t.Errorf("%v, want 503", err)
		}
	})
}

func TestKeystoneWrongPassword(t *testing.T) {
	k := newFakeKeystone(t)
	s := k.strategy(t, func(c *Config) { c.Password = "wrong" })
	if _, err := s.Authenticate(tokenRequest("X-Auth-Token", "x")); status(t, err) != 503 {
		t.Errorf("%v, want 503: it is not the client's fault", err)
	}
}

func TestNewRefuses(t *testing.T) {
	for name, change := range map[string]func(*Config){
		"auth_strategy": func(c *Config) { c.Strategy = "kerberos" },
		"auth_url":      func(c *Config) { c.AuthURL = "keystone:5000" },
		"auth_type":     func(c *Config) { c.AuthType = "v3token" },
		"username":      func(c *Config) { c.Username = "" },
		"cafile":        func(c *Config) { c.CAFile = "/nonexistent" },
	} {
		cfg := DefaultConfig()
		cfg.Strategy, cfg.AuthURL, cfg.Username, cfg.Password = "keystone", "http://localhost:5000", "u", "p"
		change(&cfg)
		if _, err := New(cfg, nil); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestPolicyTable(t *testing.T) {
	p := NewPolicy()
	var names []string
	for _, r := range rules {
		names = append(names, r.name)
	}
	if len(p) != len(rules) {
		slices.Sort(names)
		t.Errorf("%d rules, %d names: one stands there twice: %v", len(rules), len(p), names)
	}
	if p.Allows(&Identity{Roles: []string{"admin"}, System: true}, "baremetal:no:such", Target{}) {
		t.Error("a rule that does not exist allows something")
	}
	if p.Allows(&Identity{Roles: []string{"admin", "reader"}}, "baremetal:node:list", Target{}) {
		t.Error("roles without a scope count")
	}
	empty := ""
	if p.Allows(&Identity{Roles: []string{"reader"}}, "baremetal:node:get", Target{Owner: &empty}) {
		t.Error("nobody's project owns what nobody owns")
	}
}

func FuzzTokenDocument(f *testing.F) {
	f.Add(document("ann", "blue", time.Hour, "member"))
	f.Add(document("root", "", time.Hour, "admin"))
	f.Add(`{"token":{"user":{"id":"x"},"expires_at":"2026-01-01T00:00:00Z","system":{"all":true},"project":{"id":"p"}}}`)
	f.Fuzz(func(t *testing.T, text string) {
		tok, err := parseToken([]byte(text))
		if err != nil {
			return
		}
		if tok.userID == "" || tok.expires.IsZero() || tok.system && tok.projectID != "" {
			t.Errorf("%q is taken for %+v", text, tok)
		}
	})
}
