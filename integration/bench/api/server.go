package main

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"ferric/integration/compat/ironicd"
)

// server is a conductor with a database that outlives its processes.
type server interface {
	name() string
	url() string
	// start answers how long it took until the first answer of the API.
	start(ctx context.Context) (time.Duration, error)
	pid() int
	// stop ends the process if there is one.
	stop() error
}

// startLimit is for the slower one.
const startLimit = 2 * time.Minute

// process is a server that is a program.
type process struct {
	title string
	base  string
	argv  []string
	log   string
	cmd   *exec.Cmd
	ended chan struct{}
}

func (p *process) name() string { return p.title }
func (p *process) url() string  { return p.base }
func (p *process) pid() int     { return p.cmd.Process.Pid }

func (p *process) start(ctx context.Context) (time.Duration, error) {
	log, err := os.OpenFile(p.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return 0, err
	}
	defer log.Close()
	cmd, ended := exec.Command(p.argv[0], p.argv[1:]...), make(chan struct{}) // ended by stop, politely
	cmd.Stdout, cmd.Stderr = log, log
	begin := time.Now()
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	p.cmd, p.ended = cmd, ended
	ctx, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	go func() { _ = cmd.Wait(); close(ended) }() // how the peer ends does not matter
	for {
		if answers(ctx, p.base) {
			return time.Since(begin), nil
		}
		select {
		case <-ended:
			text, _ := os.ReadFile(p.log)
			return 0, fmt.Errorf("it ended at once: %s", text[max(0, len(text)-1000):])
		case <-ctx.Done():
			return 0, fmt.Errorf("no answer: %w", ctx.Err())
		case <-time.After(2 * time.Millisecond):
		}
	}
}

// answers asks for a list, so that the database has to be there.
func answers(ctx context.Context, base string) bool {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, base+"/v1/nodes?limit=1", nil)
	if err != nil {
		return false
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return false
	}
	resp.Body.Close()
	return resp.StatusCode == http.StatusOK
}

func (p *process) stop() error {
	if p.cmd == nil {
		return nil
	}
	cmd := p.cmd
	p.cmd = nil
	kill := time.AfterFunc(30*time.Second, func() { _ = cmd.Process.Kill() })
	defer kill.Stop()
	_ = cmd.Process.Signal(syscall.SIGTERM) // unless it has ended already
	<-p.ended
	return nil
}

func newFerric(ctx context.Context, dir, binary string) (server, error) {
	if binary == "" {
		binary = filepath.Join(dir, "ferric")
		if out, err := exec.CommandContext(ctx, "go", "build", "-o", binary, "ferric/cmd/ferric").CombinedOutput(); err != nil {
			return nil, fmt.Errorf("build ferric: %w: %s", err, out)
		}
	}
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	httpPort, err := freePort()
	if err != nil {
		return nil, err
	}
	config := filepath.Join(dir, "ferric.conf")
	text := fmt.Sprintf(`[DEFAULT]
host = bench
auth_strategy = noauth
enabled_hardware_types = fake-hardware
[database]
connection = sqlite:///%s/ferric.sqlite
[api]
host_ip = 127.0.0.1
port = %d
restrict_lookup = false
[agent]
require_tls = false
[deploy]
http_url = http://127.0.0.1:%[3]d
[netboot]
tftp_port = 0
http_listen = 127.0.0.1:%[3]d
`, dir, port, httpPort)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		return nil, err
	}
	return &process{title: "ferric", base: fmt.Sprintf("http://127.0.0.1:%d", port), argv: []string{binary, "conductor", "--config", config}, log: filepath.Join(dir, "ferric.log")}, nil
}

func newIronic(ctx context.Context, dir, python string) (server, error) {
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	release, argv, err := ironicd.Alone(ctx, filepath.Join(dir, "ironic"), python, port)
	if err != nil {
		return nil, err
	}
	return &process{title: "Ironic " + release, base: fmt.Sprintf("http://127.0.0.1:%d", port), argv: argv, log: filepath.Join(dir, "ironic.log")}, nil
}

// freePort finds a TCP port that is free now.
func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port, nil
}

// settle lets a server finish what it does at its start.
func settle(ctx context.Context) error { return pause(ctx, 3*time.Second) }

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}

// memory is what of a process is resident, in bytes.
func memory(pid int) (int64, error) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	_, rest, _ := strings.Cut(string(status), "VmRSS:")
	var kib int64
	if _, err := fmt.Sscan(rest, &kib); err != nil {
		return 0, fmt.Errorf("resident memory of process %d: %w", pid, err)
	}
	return kib << 10, nil
}

// load is the share of a processor that a process takes for a while.
func load(ctx context.Context, pid int) (float64, error) {
	const ticks, while = 100, 10 * time.Second // USER_HZ on all platforms of Go
	before, err := processorTime(pid)
	if err != nil {
		return 0, err
	}
	if err := pause(ctx, while); err != nil {
		return 0, err
	}
	after, err := processorTime(pid)
	return float64(after-before) / ticks / while.Seconds(), err
}

// processorTime is in ticks, of user and system.
func processorTime(pid int) (int64, error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	// pid (name) state ...; the name may hold anything.
	fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
	if len(fields) < 13 {
		return 0, fmt.Errorf("/proc/%d/stat has %d fields", pid, len(fields))
	}
	user, err := strconv.ParseInt(fields[11], 10, 64)
	if err != nil {
		return 0, err
	}
	system, err := strconv.ParseInt(fields[12], 10, 64)
	return user + system, err
}
