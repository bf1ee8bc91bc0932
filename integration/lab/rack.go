package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
)

// Rack is a running rack: its network is up, its BMCs answer, its machines are off until switched on.
type Rack struct {
	Dir   string
	Accel string // "tcg" or "kvm"
	Nodes []*Node

	network    *network
	advertiser *advertiser
	chassis    *chassis

	mu        sync.Mutex
	processes []*Process
	closed    bool
}

// programs that the rack runs, and the Debian packages that have them.
var programs = [...][2]string{
	{"qemu-system-x86_64", "qemu-system-x86"},
	{"ipmi_sim", "openipmi"},
	{"ipmitool", "ipmitool"},
	{"bash", "bash"},
}

// Up builds a rack. It works inside the namespaces only, see [Run]; there can be one at a time.
func Up(ctx context.Context, config Config) (_ *Rack, err error) {
	if !Inside() {
		return nil, fmt.Errorf("build the rack: %w", ErrOutside)
	}
	config, err = config.complete()
	if err != nil {
		return nil, err
	}
	if err := checkPrograms(); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(config.Dir, 0o755); err != nil {
		return nil, fmt.Errorf("build the rack: %w", err)
	}
	r := &Rack{Dir: config.Dir, Accel: config.Accel}
	defer func() {
		if err != nil {
			err = errors.Join(err, r.Close())
		}
	}()
	if r.Accel == "" {
		if r.Accel, err = chooseAccel(ctx, config.Dir); err != nil {
			return nil, err
		}
	}
	if r.network, err = newNetwork(config.Nodes); err != nil {
		return nil, err
	}
	if r.advertiser, err = newAdvertiser(); err != nil {
		return nil, err
	}
	if r.chassis, err = newChassis(); err != nil {
		return nil, err
	}
	for i, nc := range config.Nodes {
		node, err := newNode(nc, i, config.Dir, r.Accel)
		if err != nil {
			return nil, err
		}
		r.Nodes = append(r.Nodes, node)
		r.chassis.nodes[nc.Name] = node
	}
	go r.chassis.serve()
	for i, node := range r.Nodes {
		if node.BMC, err = startBMC(ctx, node, firstKCS+i, r.chassis.script()); err != nil {
			return nil, err
		}
	}
	return r, nil
}

func newNode(config NodeConfig, index int, dir, accel string) (*Node, error) {
	n := &Node{Config: config, selector: SelectNone, machine: machine{
		NodeConfig: config,
		dir:        filepath.Join(dir, "nodes", config.Name),
		tap:        tapName(index),
		kcsPort:    firstKCS + index,
		accel:      accel,
	}}
	if err := n.machine.prepare(); err != nil {
		return nil, err
	}
	var err error
	n.Console, err = newConsole(filepath.Join(n.machine.dir, "console.log"))
	return n, err
}

// Node returns the machine with the given name, nil if there is none.
func (r *Rack) Node(name string) *Node {
	for _, n := range r.Nodes {
		if n.Config.Name == name {
			return n
		}
	}
	return nil
}

// Close takes the rack down: its processes, machines, BMCs and network devices are gone when it returns. Files stay.
func (r *Rack) Close() error {
	r.mu.Lock()
	processes, closed := r.processes, r.closed
	r.closed = true
	r.mu.Unlock()
	if closed {
		return nil
	}
	errs := make([]error, len(processes))
	var wg sync.WaitGroup
	for i, p := range processes {
		wg.Go(func() { errs[i] = p.Stop() })
	}
	wg.Wait()
	for _, n := range r.Nodes {
		if n.BMC != nil {
			n.BMC.close()
		}
		n.close()
	}
	if r.chassis != nil {
		r.chassis.close()
	}
	if r.advertiser != nil {
		r.advertiser.close()
	}
	if r.network != nil {
		r.network.close()
	}
	return errors.Join(errs...)
}

func checkPrograms() error {
	var missing, packages []string
	for _, p := range programs {
		if _, err := exec.LookPath(p[0]); err != nil {
			missing, packages = append(missing, p[0]), append(packages, p[1])
		}
	}
	if len(missing) > 0 {
		return fmt.Errorf("build the rack: %s not found, install %s", strings.Join(missing, ", "), strings.Join(packages, " "))
	}
	return nil
}
