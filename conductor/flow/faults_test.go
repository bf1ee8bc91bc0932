package flow_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"

	"ferric/api/ipa"
	"ferric/conductor/driver"
	"ferric/conductor/flow"
	"ferric/conductor/provision"
	"ferric/conductor/store"
	"ferric/conductor/task"
)

// waits are the ways into each state in which a node waits for its agent, and
// where the node ends when that never comes.
var waits = []struct {
	state  provision.State
	begin  func(r *rig)
	failed provision.State
}{
	{provision.CleanWait, func(r *rig) { r.must("manage", provision.Manageable); r.must("provide", provision.CleanWait) }, provision.CleanFailed},
	{provision.WaitCallback, func(r *rig) { r.change(in(provision.Available)); r.must("active", provision.WaitCallback) }, provision.DeployFailed},
	{provision.InspectWait, func(r *rig) {
		r.change(byAgent)
		r.must("manage", provision.Manageable)
		r.must("inspect", provision.InspectWait)
	}, provision.InspectFailed},
	{provision.RescueWait, func(r *rig) {
		r.change(byAgent)
		r.change(in(provision.Active))
		if err := r.do("rescue", flow.ProvisionRequest{RescuePassword: "correct horse"}); err != nil {
			r.t.Fatal(err)
		}
		r.reach(provision.RescueWait)
	}, provision.RescueFailed},
	{provision.ServiceWait, func(r *rig) {
		r.change(byAgent)
		r.change(in(provision.Active))
		r.change(func(n *store.Node) { n.DriverInternalInfo = store.Object{}; n.PowerState = set(driver.PowerOn) })
		if err := r.do("service", work); err != nil {
			r.t.Fatal(err)
		}
		r.reach(provision.ServiceWait)
	}, provision.ServiceFailed},
}

// limits sets every wait's.
func limits(limit time.Duration, now func() time.Time) func(*flow.Config) {
	return func(c *flow.Config) {
		c.CleanCallbackTimeout, c.DeployCallbackTimeout, c.InspectWaitTimeout = limit, limit, limit
		c.RescueCallbackTimeout, c.ServiceCallbackTimeout = limit, limit
		c.Now = now
	}
}

func (r *rig) checkTimeouts() {
	r.t.Helper()
	if err := r.flow.CheckTimeouts(r.t.Context()); err != nil {
		r.t.Fatal(err)
	}
	r.tasks.Wait()
}

// TestAgentVanishes loses the agent in each state that waits for one.
func TestAgentVanishes(t *testing.T) {
	for _, tt := range waits {
		t.Run(string(tt.state), func(t *testing.T) {
			t.Parallel()
			r := newRig(t, limits(50*time.Millisecond, nil))
			tt.begin(r)
			for r.row().ProvisionState == tt.state {
				r.checkTimeouts()
			}
			n := r.reach(tt.failed)
			if n.LastError == nil || !strings.Contains(*n.LastError, fmt.Sprintf("no agent was heard for 50ms in state %q", tt.state)) {
				t.Errorf("last_error %v; want how long it waited, and where", n.LastError)
			}
			if n.DriverInternalInfo.String(driver.KeyAgentToken) != "" {
				t.Error("the token of the lost agent is left")
			}
		})
	}
}

// TestBMCOfAnother: the timeout tells that another node has the BMC.
func TestBMCOfAnother(t *testing.T) {
	r := newRig(t, limits(time.Nanosecond, nil))
	bmc := store.Object{"ipmi_address": "192.0.2.10", "ipmi_port": float64(623)}
	r.change(func(n *store.Node) { n.DriverInfo = bmc })
	for name, port := range map[string]float64{"neighbour": 6230, "twin": 623} {
		other := &store.Node{UUID: uuid.NewString(), Name: set(name), Driver: "fake-hardware", DriverInfo: store.Object{"ipmi_address": "192.0.2.10", "ipmi_port": port}}
		if err := r.flow.CreateNode(t.Context(), other); err != nil {
			t.Fatal(err)
		}
	}
	r.must("manage", provision.Manageable)
	r.must("provide", provision.CleanWait)
	r.checkTimeouts()
	n := r.reach(provision.CleanFailed)
	if !strings.Contains(*n.LastError, "Node twin has the same BMC address, 192.0.2.10") {
		t.Errorf("last_error %q; want the other node", *n.LastError)
	}
}

// clock is the host's; its hand can be moved.
type clock struct{ set atomic.Int64 }

func (c *clock) now() time.Time { return time.Now().Round(0).Add(time.Duration(c.set.Load())) }

// TestClockSet sets the host's clock by a day while nodes wait: none fails
// before its time, and none waits for longer than its time.
func TestClockSet(t *testing.T) {
	const limit = 400 * time.Millisecond
	for name, by := range map[string]time.Duration{"forward": 24 * time.Hour, "back": -24 * time.Hour} {
		for _, when := range []string{"before the first check", "between two checks", "before the wait"} {
			for _, tt := range waits {
				if os.Getenv("FERRIC_FAULTS") == "" && tt.state != provision.CleanWait && tt.state != provision.InspectWait {
					continue // those with clocks of their own; the others are like the first
				}
				t.Run(name+"/"+when+"/"+string(tt.state), func(t *testing.T) {
					t.Parallel()
					var c clock
					began := time.Now() // up to the last check before the wait it may be too old
					r := newRig(t, limits(limit, c.now))
					if when == "before the wait" {
						r.checkTimeouts()
						c.set.Store(int64(by))
					}
					tt.begin(r)
					if when == "between two checks" {
						r.checkTimeouts()
					}
					c.set.Store(int64(by))
					for r.row().ProvisionState == tt.state {
						if time.Since(began) > 20*limit {
							t.Fatalf("it waits for %v already", time.Since(began))
						}
						r.checkTimeouts()
					}
					if took := time.Since(began); took < limit {
						t.Errorf("it waited for %v; want %v", took, limit)
					}
					r.reach(tt.failed)
				})
			}
		}
	}
}

// TestWaitAfterStart: what waited when the conductor started waits for long
// enough that its agent is heard, whatever the clock says.
func TestWaitAfterStart(t *testing.T) {
	for name, ago := range map[string]time.Duration{"long ago": 48 * time.Hour, "in the future": -48 * time.Hour} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, nil)
			r.must("manage", provision.Manageable)
			r.must("provide", provision.CleanWait)
			r.change(func(n *store.Node) { at := time.Now().UTC().Add(-ago); n.ProvisionUpdatedAt = &at })
			r.kill()
			r.db.Close()
			r.start()
			if err := r.flow.Recover(t.Context()); err != nil {
				t.Fatal(err)
			}
			r.checkTimeouts()
			r.reach(provision.CleanWait)
			r.clean()
		})
	}
}

// TestHeartbeatsDoubled sends each heartbeat many times at once: every step is
// started once.
func TestHeartbeatsDoubled(t *testing.T) {
	r := newRig(t, nil)
	r.must("manage", provision.Manageable)
	r.must("provide", provision.CleanWait)
	r.boot()
	r.reach(provision.CleanWait)
	for step := range 2 {
		if got := r.agent.count("execute_clean_step"); got != step+1 {
			t.Fatalf("%d steps were started; want %d", got, step+1)
		}
		r.agent.finish(ipa.StatusSucceeded, nil)
		var wg sync.WaitGroup
		uuid, beat := r.row().UUID, r.heartbeat()
		for range 20 {
			wg.Go(func() {
				// The last of them may come when the node has no agent any more, or no worker is free.
				if err := r.flow.Heartbeat(t.Context(), uuid, beat); err != nil && !errors.Is(err, flow.ErrAgentToken) && !errors.Is(err, task.ErrNoFreeWorker) {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		r.tasks.Wait()
	}
	if n := r.reach(provision.Available); n.LastError != nil {
		t.Errorf("last_error %q", *n.LastError)
	}
	if got := r.agent.count("execute_clean_step"); got != 2 {
		t.Errorf("%d steps were started; want 2", got)
	}
}

// TestHeartbeatOfAnEarlierBoot: what an agent of the boot before sends, or who
// pretends to be the agent at another address, changes nothing.
func TestHeartbeatOfAnEarlierBoot(t *testing.T) {
	r := newRig(t, nil)
	r.must("manage", provision.Manageable)
	r.must("provide", provision.CleanWait)
	r.boot()
	old := r.heartbeat()
	r.must("abort", provision.CleanFailed)
	r.must("manage", provision.Manageable)
	r.must("provide", provision.CleanWait)
	if err := r.flow.Heartbeat(t.Context(), r.row().UUID, old); !errors.Is(err, flow.ErrAgentToken) {
		t.Errorf("before the new agent: %v; want %v", err, flow.ErrAgentToken)
	}
	r.boot()
	before := r.row()
	other := r.heartbeat()
	other.CallbackURL = "https://192.0.2.66:9999"
	refusals := map[string]struct {
		beat ipa.Heartbeat
		want error
	}{
		"token of the boot before": {old, flow.ErrAgentToken},
		"another address":          {other, flow.ErrInvalid},
	}
	for name, tt := range refusals {
		if err := r.flow.Heartbeat(t.Context(), before.UUID, tt.beat); !errors.Is(err, tt.want) {
			t.Errorf("%s: %v; want %v", name, err, tt.want)
		}
	}
	r.tasks.Wait()
	if n := r.row(); n.Revision != before.Revision || n.DriverInternalInfo.String(driver.KeyAgentURL) != r.agent.URL {
		t.Errorf("the row has changed: %v", n.DriverInternalInfo)
	}
	r.agent.finish(ipa.StatusSucceeded, nil)
	r.beat()
	if got, want := r.agent.last(), "execute_clean_step deploy.erase_devices"; got != want {
		t.Errorf("agent was told %q; want %q", got, want)
	}
}

// TestHeartbeatWithoutWorker: with all workers busy the agent is told to come
// again, and its node does not time out meanwhile.
func TestHeartbeatWithoutWorker(t *testing.T) {
	r := newRig(t, nil)
	r.must("manage", provision.Manageable)
	r.must("provide", provision.CleanWait)
	r.boot()
	r.agent.finish(ipa.StatusSucceeded, nil)
	hold := make(chan struct{})
	for range 4 {
		if err := r.tasks.Go("busy", func(context.Context) error { <-hold; return nil }); err != nil {
			t.Fatal(err)
		}
	}
	before := r.row()
	err := r.flow.Heartbeat(t.Context(), before.UUID, r.heartbeat())
	if !errors.Is(err, task.ErrNoFreeWorker) {
		t.Errorf("heartbeat: %v; want %v", err, task.ErrNoFreeWorker)
	}
	if n := r.row(); !n.ProvisionUpdatedAt.After(*before.ProvisionUpdatedAt) || n.Reservation != nil {
		t.Errorf("heard at %v, before at %v, reservation %v; want the heartbeat to count", n.ProvisionUpdatedAt, before.ProvisionUpdatedAt, n.Reservation)
	}
	close(hold)
	r.tasks.Wait()
	r.beat()
	if got, want := r.agent.last(), "execute_clean_step deploy.erase_devices"; got != want {
		t.Errorf("agent was told %q; want %q", got, want)
	}
}

// TestAgentAnswersRubbish: an agent whose answers are none does not move its
// node, nor hold it: the wait ends with a reason, or goes on when it recovers.
func TestAgentAnswersRubbish(t *testing.T) {
	endless := func(w http.ResponseWriter, r *http.Request) {
		w.Write([]byte(`{"commands": [{"id": "`))
		for chunk := []byte(strings.Repeat("x", 1<<20)); r.Context().Err() == nil; {
			if _, err := w.Write(chunk); err != nil {
				return
			}
		}
	}
	answers := map[string]http.HandlerFunc{
		"a page":         func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "<html>captive portal</html>") },
		"nothing":        func(http.ResponseWriter, *http.Request) {},
		"half an answer": func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `{"commands": [{"id": "1", "command_na`) },
		"other types":    func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `{"commands": {"id": 7}}`) },
		"status 500":     func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusInternalServerError) },
		"without end":    endless,
		"a redirect": func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "http://192.0.2.1/", http.StatusFound)
		},
		"cut connection": func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
	}
	for name, answer := range answers {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, limits(time.Hour, nil))
			r.must("manage", provision.Manageable)
			r.must("provide", provision.CleanWait)
			r.boot()
			r.agent.finish(ipa.StatusSucceeded, nil)
			right := r.agent.Config.Handler
			r.agent.mu.Lock()
			r.agent.Config.Handler = answer
			r.agent.mu.Unlock()
			before := *r.row().ProvisionUpdatedAt
			r.beat()
			n := r.reach(provision.CleanWait)
			if !n.ProvisionUpdatedAt.Equal(before) {
				t.Error("the timeout was put off by an agent that says nothing")
			}
			events, err := r.db.Events(t.Context(), r.node)
			if err != nil {
				t.Fatal(err)
			}
			last := events[len(events)-1]
			if !strings.Contains(last.Detail, "the agent sends heartbeats but cannot be asked") || len(last.Detail) > 600 {
				t.Errorf("last event %s %.700q; want that the agent cannot be asked", last.Kind, last.Detail)
			}
			r.agent.mu.Lock()
			r.agent.Config.Handler = right
			r.agent.mu.Unlock()
			r.beat()
			if got, want := r.agent.last(), "execute_clean_step deploy.erase_devices"; got != want {
				t.Errorf("when it answers again, the agent was told %q; want %q", got, want)
			}
		})
	}
}

// TestAgentOfAnotherCertificate: somebody else who answers at the agent's
// address is not spoken to, and is not shown the token.
func TestAgentOfAnotherCertificate(t *testing.T) {
	r := newRig(t, limits(300*time.Millisecond, nil))
	r.must("manage", provision.Manageable)
	r.must("provide", provision.CleanWait)
	r.tasks.Wait()
	asked := atomic.Int32{}
	thief := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked.Add(1) }))
	thief.TLS = ownCertificate(t)
	thief.StartTLS()
	defer thief.Close()
	_, token, err := r.flow.Lookup(t.Context(), []string{"52:54:00:77:00:01"}, "", true)
	if err != nil {
		t.Fatal(err)
	}
	beat := ipa.Heartbeat{CallbackURL: thief.URL, AgentVersion: "1.0", AgentToken: token, AgentVerifyCA: r.agent.certificate()}
	if err := r.flow.Heartbeat(t.Context(), r.row().UUID, beat); err != nil {
		t.Fatal(err)
	}
	r.tasks.Wait()
	if n := r.row(); n.ProvisionState == provision.CleanWait {
		for r.row().ProvisionState == provision.CleanWait {
			r.checkTimeouts()
		}
	}
	n := r.reach(provision.CleanFailed)
	if !strings.Contains(*n.LastError, "certificate") || asked.Load() != 0 {
		t.Errorf("last_error %q after %d requests; want that the certificate is another's, and no request", *n.LastError, asked.Load())
	}
}

// TestDeletedWhileItBoots: the agent of a node that is gone is told nothing,
// and a new node with its MAC address starts afresh.
func TestDeletedWhileItBoots(t *testing.T) {
	r := newRig(t, nil)
	r.must("manage", provision.Manageable)
	r.must("provide", provision.CleanWait)
	r.boot()
	old := r.row()
	beat := r.heartbeat()
	if err := r.flow.SetMaintenance(t.Context(), r.node, true, nil); err != nil {
		t.Fatal(err)
	}
	if err := r.flow.DeleteNode(t.Context(), r.node); err != nil {
		t.Fatal(err)
	}
	if err := r.flow.Heartbeat(t.Context(), old.UUID, beat); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("heartbeat: %v; want %v", err, store.ErrNotFound)
	}
	if _, _, err := r.flow.Lookup(t.Context(), []string{"52:54:00:77:00:01"}, "", true); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("lookup: %v; want %v", err, store.ErrNotFound)
	}
	if err := r.flow.CheckTimeouts(t.Context()); err != nil {
		t.Error(err)
	}
	again := &store.Node{UUID: uuid.NewString(), Driver: "fake-hardware", ProvisionState: provision.Enroll}
	if err := r.flow.CreateNode(t.Context(), again); err != nil {
		t.Fatal(err)
	}
	if err := r.flow.CreatePort(t.Context(), &store.Port{UUID: uuid.NewString(), Address: "52:54:00:77:00:01", NodeID: again.ID, PXEEnabled: true}); err != nil {
		t.Fatal(err)
	}
	r.node = again.ID
	r.must("manage", provision.Manageable)
}

// ownCertificate makes a certificate for 127.0.0.1 that nobody knows.
func ownCertificate(t *testing.T) *tls.Config {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(2), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}
}
