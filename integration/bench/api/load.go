package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"ferric/api/ironic"
)

const (
	connections = 8
	// agents is how many nodes have an agent that looks up and heartbeats.
	agents = 50
	// ports are created in this number.
	portCount = 400
	// version is the newest that both servers speak.
	version = "1.82"
)

// work is what a client does all the time.
type work string

const (
	createNodes work = "create nodes"
	createPorts work = "create ports"
	oneNode     work = "one node"
	listNodes   work = "list of nodes"
	listDetails work = "detailed list of nodes"
	patchNodes  work = "patch nodes"
	lookUp      work = "lookup"
	heartbeat   work = "heartbeat"
)

// works in the order in which they are done: what one makes, later ones use.
var works = []work{createNodes, createPorts, listNodes, listDetails, oneNode, lookUp, heartbeat, patchNodes}

// fixture is what is known of the server's nodes.
type fixture struct {
	Nodes  []string // UUIDs
	Tokens []string // of the agents, by node
}

// job is what a client process is told.
type job struct {
	URL     string
	Work    work
	Time    time.Duration // how long; creations go by number
	Nodes   int
	Fixture fixture
}

// rate is what is measured.
type rate struct {
	Count     int
	PerSecond float64
	P50, P99  time.Duration
}

// report is what a client process answers.
type report struct {
	rate
	Fixture fixture
}

// request number i of a work.
type request struct {
	method, path string
	body         any
}

func beClient(ctx context.Context, in io.Reader, out io.Writer) error {
	var j job
	if err := json.NewDecoder(in).Decode(&j); err != nil {
		return err
	}
	c := &client{job: j, http: &http.Client{Transport: &http.Transport{
		MaxIdleConnsPerHost: connections, MaxConnsPerHost: connections, DisableCompression: true,
	}, Timeout: time.Minute}}
	r, err := c.run(ctx)
	if err != nil {
		return err
	}
	return json.NewEncoder(out).Encode(r)
}

type client struct {
	job
	http *http.Client
	mu   sync.Mutex // of Fixture
}

// run does the work on all connections at once and measures it.
func (c *client) run(ctx context.Context) (report, error) {
	if c.Work == heartbeat {
		if err := c.makeTokens(ctx); err != nil {
			return report{}, err
		}
	}
	limit := int64(1) << 62
	switch c.Work {
	case createNodes:
		limit = int64(c.Nodes)
	case createPorts:
		limit = portCount
	}
	measureCtx := ctx
	if limit > portCount+int64(c.Nodes) {
		var cancel context.CancelFunc
		measureCtx, cancel = context.WithTimeout(ctx, c.Time)
		defer cancel()
		if err := c.once(ctx, 0); err != nil { // warm, and tells what is wrong
			return report{}, err
		}
	}
	var next atomic.Int64
	times := make([][]time.Duration, connections)
	errs := make([]error, connections)
	begin := time.Now()
	var wg sync.WaitGroup
	for i := range connections {
		wg.Go(func() {
			for measureCtx.Err() == nil {
				n := next.Add(1) - 1
				if n >= limit {
					return
				}
				start := time.Now()
				if errs[i] = c.once(ctx, int(n)); errs[i] != nil {
					return
				}
				times[i] = append(times[i], time.Since(start))
			}
		})
	}
	wg.Wait()
	took := time.Since(begin)
	for _, err := range errs {
		if err != nil {
			return report{}, err
		}
	}
	all := slices.Concat(times...)
	slices.Sort(all)
	return report{rate: rate{Count: len(all), PerSecond: float64(len(all)) / took.Seconds(),
		P50: all[len(all)/2], P99: all[len(all)*99/100]}, Fixture: c.Fixture}, nil
}

func (c *client) once(ctx context.Context, i int) error {
	answer, err := c.send(ctx, c.request(i), c.Work == createNodes)
	if err != nil {
		return err
	}
	if c.Work == createNodes {
		var node struct{ UUID string }
		if err := json.Unmarshal(answer, &node); err != nil {
			return err
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		c.Fixture.Nodes = append(c.Fixture.Nodes, node.UUID)
	}
	return nil
}

// mac is the address of a node's port.
func mac(i int) string { return fmt.Sprintf("52:54:00:%02x:%02x:%02x", i>>16&255, i>>8&255, i&255) }

// request makes request number i.
func (c *client) request(i int) request {
	nodes := c.Fixture.Nodes
	switch c.Work {
	case createNodes:
		return request{"POST", "/v1/nodes", map[string]any{
			"driver": "fake-hardware", "name": fmt.Sprintf("node-%05d", i), "resource_class": "baremetal",
			"driver_info": map[string]any{"ipmi_address": fmt.Sprintf("192.0.2.%d", i%250), "ipmi_username": "admin", "ipmi_password": "secret",
				"deploy_kernel": "http://192.0.2.1/kernel", "deploy_ramdisk": "http://192.0.2.1/initrd"},
			"properties": map[string]any{"cpus": 8, "memory_mb": 65536, "local_gb": 900, "cpu_arch": "x86_64", "capabilities": "boot_mode:uefi"},
			"extra":      map[string]any{"rack": i / 40, "slot": i % 40},
		}}
	case createPorts: // one for each node
		return request{"POST", "/v1/ports", map[string]any{"node_uuid": nodes[i%len(nodes)], "address": mac(i)}}
	case listNodes:
		return request{method: "GET", path: fmt.Sprintf("/v1/nodes?limit=%d", c.Nodes)}
	case listDetails:
		return request{method: "GET", path: fmt.Sprintf("/v1/nodes/detail?limit=%d", c.Nodes)}
	case oneNode:
		return request{method: "GET", path: "/v1/nodes/" + nodes[i%len(nodes)]}
	case patchNodes: // far from each other, so that no two meet
		return request{"PATCH", "/v1/nodes/" + nodes[i%len(nodes)], []map[string]any{{"op": "add", "path": "/extra/number", "value": i}}}
	case lookUp:
		return request{method: "GET", path: "/v1/lookup?addresses=" + mac(i%agents)}
	case heartbeat:
		return request{"POST", "/v1/heartbeat/" + nodes[agents+i%agents], map[string]any{
			"callback_url": "http://192.0.2.9:9999", "agent_version": "12.0.0", "agent_token": c.Fixture.Tokens[i%agents]}}
	}
	panic("no such work: " + c.Work)
}

// makeTokens looks up the nodes that heartbeat, which makes their tokens.
func (c *client) makeTokens(ctx context.Context) error {
	for i := range agents {
		answer, err := c.send(ctx, request{method: "GET", path: "/v1/lookup?node_uuid=" + c.Fixture.Nodes[agents+i]}, true)
		if err != nil {
			return err
		}
		var found struct {
			Config struct {
				Token string `json:"agent_token"`
			}
		}
		if err := json.Unmarshal(answer, &found); err != nil {
			return err
		}
		c.Fixture.Tokens = append(c.Fixture.Tokens, found.Config.Token)
	}
	return nil
}

// send sends a request until it is not refused because the node is busy, and
// reads the whole answer.
func (c *client) send(ctx context.Context, r request, keep bool) ([]byte, error) {
	var body []byte
	if r.body != nil {
		var err error
		if body, err = json.Marshal(r.body); err != nil {
			return nil, err
		}
	}
	for {
		req, err := http.NewRequestWithContext(ctx, r.method, c.URL+r.path, bytes.NewReader(body))
		if err != nil {
			return nil, err
		}
		req.Header.Set(ironic.HeaderVersion, version)
		if body != nil {
			req.Header.Set("Content-Type", "application/json")
		}
		resp, err := c.http.Do(req)
		if err != nil {
			return nil, err
		}
		var answer bytes.Buffer
		to := io.Discard
		if keep || resp.StatusCode >= 300 {
			to = &answer
		}
		_, err = io.Copy(to, resp.Body)
		resp.Body.Close()
		switch {
		case err != nil:
			return nil, err
		case resp.StatusCode == http.StatusConflict: // the peer locks a node at its heartbeat
			continue
		case resp.StatusCode >= 300:
			return nil, fmt.Errorf("%s %s: %s: %.300s", r.method, r.path, resp.Status, answer.Bytes())
		}
		return answer.Bytes(), nil
	}
}
