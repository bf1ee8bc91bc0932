package main

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"
)

// conductor is the process under test.
type conductor struct {
	url, dir, log, database string

	cmd   *exec.Cmd
	ended chan struct{}
}

// startLimit and stopLimit are for a machine that is busy.
const startLimit, stopLimit = time.Minute, 90 * time.Second

func startConductor(ctx context.Context, o options, dir string) (*conductor, error) {
	binary := o.binary
	if binary == "" {
		binary = filepath.Join(dir, "ferric")
		if text, err := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags", "-s -w", "-o", binary, "ferric/cmd/ferric").CombinedOutput(); err != nil {
			return nil, fmt.Errorf("build ferric: %w: %s", err, text)
		}
	}
	ports, err := freePorts(2)
	if err != nil {
		return nil, err
	}
	c := &conductor{url: fmt.Sprintf("http://127.0.0.1:%d", ports[0]), dir: dir,
		log: filepath.Join(dir, "ferric.log"), database: filepath.Join(dir, "ferric.sqlite"), ended: make(chan struct{})}
	config := filepath.Join(dir, "ferric.conf")
	// debug logs each comparison of the power sync, which the syncs are counted by.
	text := fmt.Sprintf(`[DEFAULT]
host = scale
auth_strategy = noauth
debug = true
log_file = %s
enabled_hardware_types = fake-hardware
enabled_deploy_interfaces = direct,fake
[database]
connection = sqlite:///%s
[api]
host_ip = 127.0.0.1
port = %d
restrict_lookup = false
[conductor]
automated_clean = false
sync_power_state_interval = %d
[agent]
post_deploy_get_power_state_retries = %d
[fake]
power_delay = %[6]s
management_delay = %[6]s
[deploy]
http_url = http://127.0.0.1:%[7]d
[netboot]
tftp_port = 0
http_listen = 127.0.0.1:%[7]d
`, c.log, c.database, ports[0], int(o.sync.Seconds()), o.powerOff, o.power, ports[1])
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		return nil, err
	}
	args := []string{"conductor", "--config", config}
	if o.config != "" {
		args = append(args, "--config", o.config)
	}
	output, err := os.Create(filepath.Join(dir, "ferric.out"))
	if err != nil {
		return nil, err
	}
	defer output.Close()
	c.cmd = exec.Command(binary, args...) // ended by stop, politely
	c.cmd.Stdout, c.cmd.Stderr = output, output
	if err := c.cmd.Start(); err != nil {
		return nil, err
	}
	go func() { _ = c.cmd.Wait(); close(c.ended) }() // whoever waits for ended says what it means
	if err := c.answers(ctx); err != nil {
		c.stop()
		text, _ := os.ReadFile(output.Name()) // the error is known without it
		return nil, fmt.Errorf("start the conductor: %w: %s", err, text)
	}
	return c, nil
}

func (c *conductor) answers(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	for {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.url+"/v1/nodes?limit=1", nil)
		if err != nil {
			return err
		}
		if resp, err := http.DefaultClient.Do(req); err == nil {
			resp.Body.Close()
			return nil
		}
		select {
		case <-c.ended:
			return fmt.Errorf("it ended at once")
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func (c *conductor) pid() int { return c.cmd.Process.Pid }

// stop ends the process if it has not ended.
func (c *conductor) stop() {
	kill := time.AfterFunc(stopLimit, func() { _ = c.cmd.Process.Kill() })
	defer kill.Stop()
	_ = c.cmd.Process.Signal(syscall.SIGTERM) // unless it has ended already
	<-c.ended
}

// freePorts finds TCP ports that are free now.
func freePorts(n int) ([]int, error) {
	var ports []int
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		defer l.Close()
		ports = append(ports, l.Addr().(*net.TCPAddr).Port)
	}
	return ports, nil
}
