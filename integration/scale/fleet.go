package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"golang.org/x/sync/errgroup"

	"ferric/api/client"
	"ferric/api/ironic"
)

// enrollers is how many clients enrol nodes at a time.
const enrollers = 32

// node is a machine and its node.
type node struct {
	number     int
	uuid, name string

	mu       sync.Mutex
	token    string    // of the agent that waits for work; "" before its lookup
	busy     bool      // it is deployed, or runs an instance: no agent waits
	eligible []ofTime  // when its power is to be compared
	since    time.Time // when the last of them began; zero outside
}

// ofTime is from one time to another.
type ofTime struct{ from, to time.Time }

func (n *node) mac() string {
	return fmt.Sprintf("52:54:%02x:%02x:%02x:%02x", n.number>>24, n.number>>16&0xff, n.number>>8&0xff, n.number&0xff)
}

// address is where the machine calls from: loopback is wide enough for all.
func (n *node) address() string {
	return fmt.Sprintf("127.%d.%d.%d", 16+n.number>>16, n.number>>8&0xff, n.number&0xff)
}

// compare says from when on, or until when, the node's power is to be compared.
func (n *node) compare(on bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	now := time.Now()
	if !n.since.IsZero() {
		n.eligible = append(n.eligible, ofTime{n.since, now})
	}
	n.since = time.Time{}
	if on {
		n.since = now
	}
}

// fleet is all machines, and what happens to them.
type fleet struct {
	o     options
	api   *client.Client
	url   string
	nodes []*node
	idle  chan *node // available, to be deployed

	certificate certificate
	calls       calls
	flying      atomic.Int64 // deployments
	deployed    counter
	undeployed  counter
	heartbeats  counter
	refused     atomic.Int64 // verbs that were refused for want of a worker or by a limit, and asked for again

	mu       sync.Mutex
	failures []string
}

func newFleet(o options, base string) (*fleet, error) {
	api, err := client.New(base, &http.Transport{MaxIdleConnsPerHost: 512, IdleConnTimeout: time.Minute})
	if err != nil {
		return nil, err
	}
	f := &fleet{o: o, api: api.Patient(2 * time.Minute), url: base, idle: make(chan *node, o.nodes)}
	f.api = f.api.OnLocked(func(error) { f.refused.Add(1) })
	if f.certificate, err = newCertificate(); err != nil {
		return nil, err
	}
	f.calls.f = f
	return f, nil
}

// fail notes what went wrong with a machine; the load goes on.
func (f *fleet) fail(n *node, what string, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.failures = append(f.failures, fmt.Sprintf("%s: %s: %v", n.name, what, err))
}

// enrol makes the nodes and brings them to available, as an operator does.
func (f *fleet) enrol(ctx context.Context) error {
	for i := range f.o.nodes {
		f.nodes = append(f.nodes, &node{number: i + 1, uuid: uuid.NewString(), name: fmt.Sprintf("rack%02d-node%05d", i/100, i+1)})
	}
	each := func(fn func(ctx context.Context, n *node) error) error {
		group, ctx := errgroup.WithContext(ctx)
		group.SetLimit(enrollers)
		for _, n := range f.nodes {
			group.Go(func() error {
				if err := fn(ctx, n); err != nil {
					return fmt.Errorf("enrol %s: %w", n.name, err)
				}
				return nil
			})
		}
		return group.Wait()
	}
	if err := each(f.create); err != nil {
		return err
	}
	for _, step := range []struct{ verb, state string }{{"manage", "manageable"}, {"provide", "available"}} {
		err := each(func(ctx context.Context, n *node) error {
			return f.api.SetProvisionState(ctx, n.uuid, ironic.ProvisionRequest{Target: step.verb})
		})
		if err != nil {
			return err
		}
		if err := f.allIn(ctx, step.state); err != nil {
			return err
		}
	}
	for _, i := range rand.Perm(len(f.nodes)) {
		f.idle <- f.nodes[i]
	}
	return nil
}

func (f *fleet) create(ctx context.Context, n *node) error {
	_, err := f.api.CreateNode(ctx, map[string]any{
		"uuid": n.uuid, "name": n.name, "driver": "fake-hardware", "deploy_interface": "direct", "resource_class": "baremetal",
		"properties":  map[string]any{"cpu_arch": "x86_64", "cpus": 64, "memory_mb": 262144, "local_gb": 960, "capabilities": "boot_mode:uefi"},
		"driver_info": map[string]any{"ipmi_address": n.address(), "ipmi_username": "admin", "ipmi_password": "secret", "deploy_kernel": "http://images.test/kernel", "deploy_ramdisk": "http://images.test/ramdisk"},
		"extra":       map[string]any{"rack": n.number / 100, "serial": fmt.Sprintf("SN%08d", n.number)},
		"description": "a simulated machine",
	})
	if err != nil {
		return err
	}
	_, err = f.api.CreatePort(ctx, map[string]any{"node_uuid": n.uuid, "address": n.mac(), "physical_network": "provisioning",
		"local_link_connection": map[string]any{"switch_id": "00:11:22:33:44:55", "port_id": fmt.Sprintf("Eth1/%d", n.number%48+1), "switch_info": fmt.Sprintf("tor%d", n.number/48)}})
	return err
}

// allIn waits until all nodes are in a state.
func (f *fleet) allIn(ctx context.Context, state string) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	for {
		in, err := f.api.Nodes(ctx, url.Values{"provision_state": {state}, "fields": {"uuid"}})
		if err != nil {
			return err
		}
		if len(in) == len(f.nodes) {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%d of %d nodes are %s: %w", len(in), len(f.nodes), state, ctx.Err())
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// fly keeps a deployment in flight until landing ends, and brings the last one
// to its end. Instances are removed by a goroutine of their own, for which
// group waits.
func (f *fleet) fly(ctx, landing context.Context, group *sync.WaitGroup) {
	for landing.Err() == nil {
		var n *node
		select {
		case n = <-f.idle:
		case <-landing.Done():
			return
		}
		if err := f.deploy(ctx, n); err != nil {
			f.fail(n, "deploy", err)
			continue // it is not used again
		}
		group.Go(func() {
			if err := f.undeploy(ctx, landing, n); err != nil {
				f.fail(n, "undeploy", err)
			}
		})
	}
}

// deploy takes the node from available to active.
func (f *fleet) deploy(ctx context.Context, n *node) error {
	n.mu.Lock()
	n.busy, n.token = true, ""
	n.mu.Unlock()
	_, err := f.api.UpdateNode(ctx, n.uuid, ironic.Patch{
		{Op: "add", Path: "/instance_uuid", Value: uuid.NewString()},
		{Op: "add", Path: "/instance_info", Value: map[string]any{
			"image_source": "http://images.test/os.qcow2", "image_disk_format": "qcow2",
			"image_os_hash_algo": "sha256", "image_os_hash_value": strings.Repeat("ab", 32), "root_gb": 10,
		}},
	})
	if err != nil {
		return err
	}
	n.compare(false)
	if err := f.api.SetProvisionState(ctx, n.uuid, ironic.ProvisionRequest{Target: "active", ConfigDrive: map[string]any{"meta_data": map[string]any{"hostname": n.name}}}); err != nil {
		return err
	}
	f.flying.Add(1)
	defer f.flying.Add(-1)
	machine, err := f.boot(ctx, n)
	if err != nil {
		return err
	}
	err = machine.run(ctx)
	time.AfterFunc(time.Second, machine.close) // its last answer is still on the way
	if err != nil {
		return err
	}
	if err := f.reach(ctx, n, "active"); err != nil {
		return err
	}
	n.compare(true)
	f.deployed.add()
	return nil
}

// undeploy removes the instance after a while, or at once in the end.
func (f *fleet) undeploy(ctx, landing context.Context, n *node) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-landing.Done():
	case <-time.After(f.o.dwell.random()):
	}
	n.compare(false)
	if err := f.api.SetProvisionState(ctx, n.uuid, ironic.ProvisionRequest{Target: "deleted"}); err != nil {
		return err
	}
	if err := f.reach(ctx, n, "available"); err != nil {
		return err
	}
	n.compare(true)
	n.mu.Lock()
	n.busy = false
	n.mu.Unlock()
	f.undeployed.add()
	f.idle <- n
	return nil
}

// reachLimit is how long a node may take to a state once all else is done.
const reachLimit = 5 * time.Minute

// reach waits for a provision state.
func (f *fleet) reach(ctx context.Context, n *node, want string) error {
	ctx, cancel := context.WithTimeout(ctx, reachLimit)
	defer cancel()
	for {
		var got struct {
			State string  `json:"provision_state"`
			Error *string `json:"last_error"`
		}
		err := f.api.Do(ctx, http.MethodGet, "/v1/nodes/"+n.uuid, url.Values{"fields": {"provision_state,last_error"}}, nil, &got)
		switch {
		case err != nil:
			return fmt.Errorf("wait for state %s: %w", want, err)
		case got.State == want:
			return nil
		case strings.HasSuffix(got.State, "failed") || got.State == "error":
			return fmt.Errorf("node is %q instead of %s: %s", got.State, want, *got.Error)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("node is %q instead of %s: %w", got.State, want, ctx.Err())
		case <-time.After(min(time.Second, f.o.heartbeat/10)):
		}
	}
}

func (s span) random() time.Duration {
	return s.least + time.Duration(rand.Int64N(int64(s.most-s.least)+1))
}
