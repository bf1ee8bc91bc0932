package restapi_test

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sirupsen/logrus"

	"ferric/conductor/driver"
	"ferric/conductor/driver/builtin"
	"ferric/conductor/driver/fake"
	"ferric/conductor/flow"
	"ferric/conductor/plugins"
	"ferric/conductor/provision"
	"ferric/conductor/restapi"
	"ferric/conductor/store"
	"ferric/conductor/task"
)

var update = flag.Bool("update", false, "write the golden files")

const host = "test-conductor"

// service is the API over the real flows and a real database, with the fake
// hardware type, served over real HTTP.
type service struct {
	*testing.T
	url   string
	store *store.Store
	tasks *task.Manager
}

func newService(t *testing.T, configure ...func(*restapi.Config)) *service {
	t.Helper()
	handler, db, tasks := newAPI(t, configure...)
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return &service{t, server.URL, db, tasks}
}

// newAPI is what a service serves.
func newAPI(t testing.TB, configure ...func(*restapi.Config)) (http.Handler, *store.Store, *task.Manager) {
	t.Helper()
	db, err := store.Open(t.Context(), filepath.Join(t.TempDir(), "ferric.sqlite"))
	if err != nil {
		t.Fatal(err)
	}
	logger := logrus.New()
	logger.SetOutput(io.Discard)
	log := logrus.NewEntry(logger)
	drivers := builtin.DefaultConfig()
	drivers.EnabledHardwareTypes = []string{"fake-hardware"}
	types, err := builtin.New(drivers)
	if err != nil {
		t.Fatal(err)
	}
	types.Add(builtin.Implementations{
		Deploy:     map[string]driver.Deploy{"direct": fake.Deploy{}}, // an interface to change to
		Management: map[string]driver.Management{"drives": &drives{}},
	})
	base, stop := context.WithCancel(context.Background())
	tasks := task.NewManager(base, task.Config{Host: host, WorkersPoolSize: 4, LockRetryAttempts: 1, LockRetryInterval: time.Millisecond, History: &store.HistoryLimits{Max: 300}}, db, log)
	flowConfig := flow.DefaultConfig()
	flowConfig.Host = host
	flowConfig.NodeView, flowConfig.PortView = restapi.AgentNode, restapi.AgentPort
	flows := flow.New(flowConfig, db, tasks, types, log)
	if err := db.RegisterConductor(t.Context(), host, "", []string{"fake-hardware"}); err != nil {
		t.Fatal(err)
	}
	cfg := restapi.DefaultConfig()
	bundles := plugins.DefaultConfig()
	bundles.Directory = t.TempDir()
	if cfg.Plugins, err = plugins.Open(t.Context(), bundles, db, log); err != nil {
		t.Fatal(err)
	}
	for _, c := range configure {
		c(&cfg)
	}
	api, err := restapi.New(cfg, db, flows, log)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		stop()
		tasks.Wait()
		db.Close()
	})
	return api.Handler(), db, tasks
}

// answer is what came back; object is the decoded body.
type answer struct {
	status int
	header http.Header
	body   string
	object map[string]any
}

// fault is the text of an error, from whichever of its shapes.
func (a answer) fault() string {
	object := a.object
	if inner, ok := object["error_message"].(string); ok {
		object = nil
		if json.Unmarshal([]byte(inner), &object) != nil {
			return "inner document is not JSON: " + inner
		}
	}
	text, _ := object["faultstring"].(string)
	return text
}

// call makes a request at microversion 1.<minor>; body is JSON text or "".
func (s *service) call(minor, method, path, body string) answer {
	s.Helper()
	return s.callWith(http.Header{"X-Openstack-Ironic-Api-Version": {"1." + minor}}, method, path, body)
}

func (s *service) callWith(header http.Header, method, path, body string) answer {
	s.Helper()
	req, err := http.NewRequestWithContext(s.Context(), method, s.url+path, strings.NewReader(body))
	if err != nil {
		s.Fatal(err)
	}
	req.Header = header
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		s.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		s.Fatal(err)
	}
	a := answer{status: resp.StatusCode, header: resp.Header, body: string(b)}
	if bytes.HasPrefix(b, []byte("{")) {
		if err := json.Unmarshal(b, &a.object); err != nil {
			s.Fatalf("%s %s: body is not JSON: %s", method, path, b)
		}
	}
	return a
}

// want makes a request that has to be answered with status.
func (s *service) want(status int, minor, method, path, body string) answer {
	s.Helper()
	a := s.call(minor, method, path, body)
	if a.status != status {
		s.Fatalf("%s %s at 1.%s with %.200s: status %d, want %d: %s", method, path, minor, body, a.status, status, a.body)
	}
	return a
}

// enrol makes a node by the API and gives its UUID.
func (s *service) enrol(name string) string {
	s.Helper()
	return s.want(201, "82", "POST", "/v1/nodes", `{"driver": "fake-hardware", "name": "`+name+`"}`).object["uuid"].(string)
}

// edit changes the row of a node behind the API's back, to bring it into a
// state that takes long to reach.
func (s *service) edit(ident string, change func(n *store.Node)) {
	s.Helper()
	n, err := s.store.Node(s.Context(), ident)
	if err != nil {
		s.Fatal(err)
	}
	change(n)
	if err := s.store.SaveNode(s.Context(), n); err != nil {
		s.Fatal(err)
	}
}

// in puts the node into a provision state.
func in(state provision.State) func(n *store.Node) {
	return func(n *store.Node) {
		n.ProvisionState, n.TargetProvisionState = state, nil
		if a, ok := provision.Of(state); ok && a.Target != "" {
			n.TargetProvisionState = &a.Target
		}
	}
}

// reserve locks the node as another conductor would.
func (s *service) reserve(ident string) {
	s.Helper()
	n, err := s.store.Node(s.Context(), ident)
	if err != nil {
		s.Fatal(err)
	}
	if _, err := s.store.Reserve(s.Context(), "elsewhere", n.ID); err != nil {
		s.Fatal(err)
	}
}

// until asks for the node until its state is the wanted one.
func (s *service) until(ident string, state provision.State) {
	s.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for {
		a := s.want(200, "82", "GET", "/v1/nodes/"+ident+"/states", "")
		if a.object["provision_state"] == string(state) {
			return
		}
		if time.Now().After(deadline) {
			s.Fatalf("node %s is %v, want %s: %s", ident, a.object["provision_state"], state, a.body)
		}
	}
}

func ptr[T any](v T) *T { return &v }
