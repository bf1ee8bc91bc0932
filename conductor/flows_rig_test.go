package conductor_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"testing"
	"time"

	"github.com/sirupsen/logrus"

	"ferric/conductor/driver"
	"ferric/conductor/driver/builtin"
	"ferric/conductor/driver/fake"
	"ferric/conductor/flow"
	"ferric/conductor/provision"
	"ferric/conductor/restapi"
	"ferric/conductor/steps"
	"ferric/conductor/store"
	"ferric/conductor/task"
)

// stand is a conductor without its listeners and periodic jobs, which the tests
// call themselves: the API over real flows, database and locks, and hardware
// that does what it is told but for what a test breaks in it.
type stand struct {
	t        *testing.T
	db       *store.Store
	tasks    *task.Manager
	flows    *flow.Flow
	api      http.Handler
	hardware func(*driver.Interfaces)
	node     int64
	uuid     string
}

// breakable are the interfaces of fake-hardware as the test wants them.
type breakable struct {
	driver.Resolver
	s *stand
}

func (b breakable) Interfaces(n *store.Node) (driver.Interfaces, error) {
	ifs, err := b.Resolver.Interfaces(n)
	if err == nil && b.s.hardware != nil {
		b.s.hardware(&ifs)
	}
	return ifs, err
}

// newStand enrols one node of type fake-hardware. Every wait for an agent is
// over as soon as somebody looks.
func newStand(t *testing.T, hardware func(*driver.Interfaces)) *stand {
	t.Helper()
	s := &stand{t: t, hardware: hardware}
	var err error
	if s.db, err = store.Open(t.Context(), filepath.Join(t.TempDir(), "ferric.sqlite")); err != nil {
		t.Fatal(err)
	}
	log := logrus.New()
	log.SetOutput(io.Discard)
	registry, err := builtin.New(builtin.Config{EnabledHardwareTypes: []string{"fake-hardware"}, Fake: fake.DefaultConfig()})
	if err != nil {
		t.Fatal(err)
	}
	base, stop := context.WithCancel(context.Background())
	s.tasks = task.NewManager(base, task.Config{Host: "test", WorkersPoolSize: 4, LockRetryAttempts: 1, LockRetryInterval: time.Millisecond,
		History: &store.HistoryLimits{Max: 300}}, s.db, logrus.NewEntry(log))
	cfg := flow.DefaultConfig()
	cfg.Host, cfg.NodeView, cfg.PortView = "test", restapi.AgentNode, restapi.AgentPort
	cfg.Logs.Collect = "never"
	for _, limit := range []*time.Duration{&cfg.DeployCallbackTimeout, &cfg.CleanCallbackTimeout, &cfg.InspectWaitTimeout, &cfg.RescueCallbackTimeout, &cfg.ServiceCallbackTimeout} {
		*limit = time.Nanosecond
	}
	s.flows = flow.New(cfg, s.db, s.tasks, breakable{registry, s}, logrus.NewEntry(log))
	api, err := restapi.New(restapi.DefaultConfig(), s.db, s.flows, logrus.NewEntry(log))
	if err != nil {
		t.Fatal(err)
	}
	s.api = api.Handler()
	t.Cleanup(func() { stop(); s.tasks.Wait(); s.db.Close() })
	if err := s.db.RegisterConductor(t.Context(), "test", "", []string{"fake-hardware"}); err != nil {
		t.Fatal(err)
	}
	status, body := s.call("POST", "/v1/nodes", `{"driver": "fake-hardware"}`)
	var made struct{ UUID string }
	if err := json.Unmarshal(body, &made); err != nil || status != http.StatusCreated {
		t.Fatalf("enrol: %d %s", status, body)
	}
	s.uuid = made.UUID
	s.node = s.row().ID
	return s
}

// call makes a request with the newest microversion.
func (s *stand) call(method, path, body string) (status int, answer []byte) {
	req := httptest.NewRequestWithContext(s.t.Context(), method, path, bytes.NewBufferString(body))
	req.Header.Set("X-OpenStack-Ironic-API-Version", "latest")
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	w := httptest.NewRecorder()
	s.api.ServeHTTP(w, req)
	return w.Code, w.Body.Bytes()
}

// verb asks for a provision state; body is all of the request.
func (s *stand) verb(body string) (status int, answer []byte) {
	return s.call("PUT", "/v1/nodes/"+s.uuid+"/states/provision", body)
}

// must asks for a provision state and lets what follows from it end.
func (s *stand) must(body string) {
	s.t.Helper()
	if status, answer := s.verb(body); status != http.StatusAccepted {
		s.t.Fatalf("%s: %d %s", body, status, answer)
	}
	s.tasks.Wait()
}

func (s *stand) row() *store.Node {
	s.t.Helper()
	n, err := s.db.Node(context.Background(), s.uuid)
	if err != nil {
		s.t.Fatal(err)
	}
	return n
}

// change edits the row behind the conductor's back.
func (s *stand) change(change func(*store.Node)) {
	s.t.Helper()
	n := s.row()
	change(n)
	if err := s.db.SaveNode(s.t.Context(), n); err != nil {
		s.t.Fatal(err)
	}
}

// in puts the node into a state as it is when nothing goes on in it.
func in(state provision.State) func(n *store.Node) {
	return func(n *store.Node) {
		a, _ := provision.Of(state)
		n.ProvisionState, n.TargetProvisionState = state, nil
		if a.Target != "" {
			n.TargetProvisionState = &a.Target
		}
		on := driver.PowerOn
		n.PowerState = &on
	}
}

// timeOut ends the wait of the node as the periodic job does.
func (s *stand) timeOut() {
	s.t.Helper()
	if err := s.flows.CheckTimeouts(s.t.Context()); err != nil {
		s.t.Fatal(err)
	}
	s.tasks.Wait()
}

// history is what the node's history tells, oldest first.
func (s *stand) history() (lines []string) {
	s.t.Helper()
	entries, err := s.db.NodeHistory(s.t.Context(), s.node, store.Query{})
	if err != nil {
		s.t.Fatal(err)
	}
	for _, h := range entries {
		lines = append(lines, fmt.Sprintf("%s %s in %s", h.Severity, *h.EventType, *h.State))
	}
	return lines
}

var errBroken = errors.New("the hardware is broken")

// deadPower does not answer.
type deadPower struct{ driver.Power }

func (deadPower) PowerState(context.Context, *store.Node) (string, error) { return "", errBroken }

// deployment is a deploy interface whose parts fail, wait or boot an agent that
// never comes.
type deployment struct {
	driver.Deploy
	prepare, cleaning, tearDown error
	agent                       bool // is booted for cleaning and service
	steps                       []driver.Step
	cleanSteps, serviceSteps    []driver.Step
}

func (d deployment) Prepare(context.Context, *task.Task) error  { return d.prepare }
func (d deployment) TearDown(context.Context, *task.Task) error { return d.tearDown }
func (d deployment) PrepareCleaning(context.Context, *task.Task) (bool, error) {
	return d.agent, d.cleaning
}
func (d deployment) UsesAgent() bool             { return d.agent }
func (d deployment) CleanSteps() []driver.Step   { return d.cleanSteps }
func (d deployment) ServiceSteps() []driver.Step { return d.serviceSteps }
func (d deployment) Steps() []driver.Step {
	return append(d.Deploy.Steps(), d.steps...)
}

// deploys drives nodes by such an interface.
func deploys(d deployment) func(*driver.Interfaces) {
	return func(ifs *driver.Interfaces) {
		d.Deploy = ifs.Deploy
		ifs.Deploy = d
	}
}

// step makes a list of one step of the deploy interface that ends like that.
func step(outcome driver.Outcome, err error, abortable bool) []driver.Step {
	return []driver.Step{{Interface: "deploy", Name: "polish", Priority: 50, Abortable: abortable,
		Run: func(context.Context, *task.Task, map[string]any) (driver.Outcome, error) { return outcome, err }}}
}

// inspector ends an inspection, or its abort, like that.
type inspector struct {
	driver.Inspect
	state provision.State
	err   error
}

func (i inspector) InspectHardware(context.Context, *task.Task) (provision.State, error) {
	return i.state, i.err
}
func (inspector) Abort(context.Context, *task.Task) error { return nil }

func inspects(state provision.State, err error) func(*driver.Interfaces) {
	return func(ifs *driver.Interfaces) { ifs.Inspect = inspector{ifs.Inspect, state, err} }
}

// real is what is broken by a rescuer.
type real = driver.Rescue

// rescuer ends its parts like that.
type rescuer struct {
	real
	outcome                driver.Outcome
	rescueErr, unrescueErr error
	cleanUpErr             error
}

func (r rescuer) Rescue(context.Context, *task.Task) (driver.Outcome, error) {
	return r.outcome, r.rescueErr
}
func (r rescuer) Unrescue(context.Context, *task.Task) (driver.Outcome, error) {
	return driver.Finished, r.unrescueErr
}
func (r rescuer) CleanUp(context.Context, *task.Task) error { return r.cleanUpErr }

func rescues(r rescuer) func(*driver.Interfaces) {
	return func(ifs *driver.Interfaces) {
		r.real = ifs.Rescue
		ifs.Rescue = r
	}
}

// stepKinds are all there are.
var stepKinds = []steps.Kind{steps.Clean, steps.Deploy, steps.Service}
