// Package conversation is a conductor of Ironic as far as an agent meets one: the API that the agent calls, with the
// checks of the real one, and the calls that the conductor makes, with its bodies, order, waits and polling. It drives
// ferric-agent in a machine of the virtual rack, without a state machine behind it: a test says what comes next.
//
// Reading order: release.go, conductor.go and api.go (what the agent calls), agent.go and flows.go (what it is told),
// transcript.go (what was said), site.go (the machine).
package conversation

import (
	"context"
	"crypto/rand"
	_ "embed"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"net/url"
	"sync"
	"time"
)

// Paths that the agent calls, for use with [Conductor.Refuse] and [Conductor.Calls].
const (
	Root      = "/"
	Lookup    = "/v1/lookup"
	Heartbeat = "/v1/heartbeat/"
	Inspect   = "/v1/continue_inspection"
)

// Call is one request of the agent and how it was answered.
type Call struct {
	Time    time.Time
	Method  string
	Path    string
	Query   url.Values
	Version string // the header X-OpenStack-Ironic-API-Version
	TLS     bool
	Body    json.RawMessage
	Status  int
	Fault   string // why it was refused
}

// Beat is the body of a heartbeat.
type Beat struct {
	CallbackURL   string `json:"callback_url"`
	AgentVersion  string `json:"agent_version"`
	AgentToken    string `json:"agent_token"`
	AgentVerifyCA string `json:"agent_verify_ca"`
}

// Conductor is a conductor with one node. All methods may be called concurrently.
type Conductor struct {
	Release Release
	// Node and Ports are as the conductor's database has them. They are read at every call and must not be changed while
	// one is under way.
	Node  map[string]any
	Ports []map[string]any
	// Config is added to the config of a lookup's answer.
	Config map[string]any
	// HeartbeatTimeout is [api]ramdisk_heartbeat_timeout.
	HeartbeatTimeout time.Duration

	mu       sync.Mutex
	token    string // of this boot, "" before lookup
	beat     Beat   // as recorded for this boot
	beats    int    // accepted ones
	handled  int    // of them
	versions map[string]any
	calls    []Call
	refusals map[string][]int
	changed  chan struct{} // closed and replaced at each call
	talk     []Exchange
}

//go:embed node.json
var nodeJSON []byte

// New makes a conductor whose one node has the port with that MAC address.
func New(release Release, mac string) (*Conductor, error) {
	c := &Conductor{Release: release, HeartbeatTimeout: 300 * time.Second, refusals: map[string][]int{}, changed: make(chan struct{})}
	if err := json.Unmarshal(nodeJSON, &c.Node); err != nil {
		return nil, fmt.Errorf("node of the conversation: %w", err)
	}
	c.Ports = []map[string]any{{
		"id": 1, "uuid": "d2b3a4f0-6f0a-4c0e-9d0f-3f6f0e6a1a01", "node_id": 1, "address": mac, "pxe_enabled": true, "extra": map[string]any{},
		"local_link_connection": map[string]any{}, "portgroup_id": nil, "internal_info": map[string]any{}, "physical_network": nil,
		"is_smartnic": false, "name": nil, "created_at": "2026-08-07T09:00:00.000000", "updated_at": nil,
	}}
	return c, nil
}

// Refuse answers the next calls of path with these statuses, before any is looked at.
func (c *Conductor) Refuse(path string, statuses ...int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.refusals[path] = append(c.refusals[path], statuses...)
}

// Calls returns what the agent asked of path so far.
func (c *Conductor) Calls(path string) []Call {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.callsOf(path)
}

func (c *Conductor) callsOf(path string) []Call {
	var out []Call
	for _, call := range c.calls {
		if endpoint(call.Path) == path {
			out = append(out, call)
		}
	}
	return out
}

// Beat returns what the node's agent said of itself in this boot.
func (c *Conductor) Beat() Beat {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.beat
}

// Token returns the token of this boot, "" before lookup.
func (c *Conductor) Token() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.token
}

// Pregenerate makes the token before the boot, as for virtual media, and returns it; lookups show it masked.
func (c *Conductor) Pregenerate() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.token = newToken()
	return c.token
}

// Upgrade makes it a conductor of another release, between two boots of its node.
func (c *Conductor) Upgrade(to Release) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.Release = to
}

// Forget wipes what a conductor wipes when it switches the node off or reboots it (deploy flow 3.1).
func (c *Conductor) Forget() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.token, c.beat, c.versions = "", Beat{}, nil
	c.handled = c.beats
}

// NextHeartbeat waits for a heartbeat that was not waited for yet, accepted or made meanwhile, and returns what it said.
func (c *Conductor) NextHeartbeat(ctx context.Context) (Beat, error) {
	err := c.until(ctx, func() bool { return c.beats > c.handled })
	c.mu.Lock()
	defer c.mu.Unlock()
	if err != nil {
		return Beat{}, fmt.Errorf("wait for a heartbeat: %w; the last call was %s", err, c.last())
	}
	c.handled = c.beats
	return c.beat, nil
}

// WaitCall waits until a call of path was answered with status and returns the first such.
func (c *Conductor) WaitCall(ctx context.Context, path string, status int) (Call, error) {
	var found Call
	err := c.until(ctx, func() bool {
		for _, call := range c.callsOf(path) {
			if call.Status == status {
				found = call
				return true
			}
		}
		return false
	})
	if err != nil {
		c.mu.Lock()
		defer c.mu.Unlock()
		return Call{}, fmt.Errorf("wait for %s answered with %d: %w; the last call was %s", path, status, err, c.last())
	}
	return found, nil
}

// until waits for a condition on what calls change; ok runs with the lock held.
func (c *Conductor) until(ctx context.Context, ok func() bool) error {
	for {
		c.mu.Lock()
		met, changed := ok(), c.changed
		c.mu.Unlock()
		if met {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-changed:
		}
	}
}

// last describes the newest call; the lock is held.
func (c *Conductor) last() string {
	if len(c.calls) == 0 {
		return "none at all"
	}
	l := c.calls[len(c.calls)-1]
	return fmt.Sprintf("%s %s, %s ago, answered with %d %s", l.Method, l.Path, time.Since(l.Time).Round(time.Second), l.Status, l.Fault)
}

func newToken() string {
	random := make([]byte, 32)
	rand.Read(random)
	return base64.RawURLEncoding.EncodeToString(random)
}

// nodeWith is the node as sent in a command: secrets are masked, but an instance's config drive only where the command
// does not need it.
func (c *Conductor) nodeWith(configDrive string) map[string]any {
	node := maps.Clone(c.Node)
	if configDrive != "" {
		info, _ := node["instance_info"].(map[string]any)
		info = maps.Clone(info)
		info["configdrive"] = configDrive
		node["instance_info"] = info
	}
	return node
}
