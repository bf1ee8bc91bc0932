package process_test

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"ferric/api/client"
	"ferric/api/ironic"
	"ferric/integration/crash"
)

// conductor is a conductor with a database of its own, which outlives its
// processes.
type conductor struct {
	*process
	api    *client.Client
	url    string
	dir    string
	config string
	mortal bool // it can be armed to end around one of its commits
}

// Heartbeats come after 0.3 to 0.6 of this many seconds.
const heartbeatTimeout = 2

// newConductor starts a conductor; settings are further lines of its
// configuration, sections included, and win over those here.
func newConductor(t *testing.T, settings ...string) *conductor {
	t.Helper()
	dir, port := t.TempDir(), newPort()
	c := &conductor{dir: dir, url: fmt.Sprintf("http://127.0.0.1:%d", port), config: filepath.Join(dir, "ferric.conf")}
	text := fmt.Sprintf(`[DEFAULT]
host = process-test
enabled_hardware_types = ipmi,fake-hardware
graceful_shutdown_timeout = 5
[database]
connection = sqlite:///%s/ferric.sqlite
[api]
host_ip = 127.0.0.1
port = %d
ramdisk_heartbeat_timeout = %d
[conductor]
sync_power_state_interval = 0
check_provision_state_interval = 1
[deploy]
http_url = http://127.0.0.1:%[4]d
erase_devices_priority = 0
[agent]
deploy_logs_local_path = %[1]s/logs
post_deploy_get_power_state_retries = 1
post_deploy_get_power_state_retry_interval = 1
[netboot]
tftp_port = 0
http_listen = 127.0.0.1:%[4]d
[ipmi]
min_command_interval = 0
command_retry_timeout = 3
%[5]s`, dir, port, heartbeatTimeout, newPort(), strings.Join(settings, "\n"))
	if err := os.WriteFile(c.config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	var err error
	if c.api, err = client.New(c.url, nil); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.stop(t) })
	c.start(t)
	return c
}

// start starts a process and waits until it answers.
func (c *conductor) start(t *testing.T) {
	t.Helper()
	if c.mortal {
		c.process = launch(t, filepath.Join(c.dir, "conductor.log"), "env", crash.ConfigVar+"="+c.config, os.Args[0])
	} else {
		c.process = launch(t, filepath.Join(c.dir, "conductor.log"), program(t, "ferric"), "conductor", "--config", c.config)
	}
	eventually(t, "the answer of the API", func() bool {
		select {
		case <-c.ended:
			tail(t, c.log)
			t.Fatalf("the conductor ended: %v", c.err)
		default:
		}
		_, err := c.api.Version(t.Context())
		return err == nil
	})
}

// restart is a crash and a new start on the same database.
func (c *conductor) restart(t *testing.T) {
	t.Helper()
	c.kill(t)
	c.start(t)
}

// stop ends the process politely and checks that it obeys.
func (c *conductor) stop(t *testing.T) {
	c.signal(t, syscall.SIGTERM)
	<-c.ended
	text, _ := os.ReadFile(c.log)
	if c.err != nil || strings.Contains(string(text), "panic") || strings.Contains(string(text), "DATA RACE") {
		t.Errorf("the conductor ended with %v; want status 0 and no panic or race in its log", c.err)
	}
	if t.Failed() {
		tail(t, c.log)
	}
}

// send makes a request once, as it is: clients repeat some.
func (c *conductor) send(t *testing.T, method, path, version, body string) (status int, answer []byte) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, c.url+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set(ironic.HeaderVersion, version)
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if answer, err = io.ReadAll(resp.Body); err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, answer
}

// TestStoppedAtOnce stops conductors while they are still beginning.
func TestStoppedAtOnce(t *testing.T) {
	t.Parallel()
	for range 8 {
		newConductor(t).stop(t)
	}
}
