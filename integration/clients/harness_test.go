package clients_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"ferric/api/client"
	"ferric/integration/lab"
)

// TestMain runs the tests in namespaces of their own: ports are free, and what
// a test starts ends with them.
func TestMain(m *testing.M) { lab.Main(m) }

// startPatience is how long a conductor may take to answer, on a busy host.
const startPatience = 60 * time.Second

// suites is the folder in which `make test-clients` has installed what it runs
// beside Debian's client; without it the tests of these do nothing.
func suites() string { return os.Getenv("FERRIC_CLIENTS") }

// programDir holds the program: what `make` has built (FERRIC_BIN), or built here.
var programDir = sync.OnceValues(func() (string, error) {
	if dir := os.Getenv("FERRIC_BIN"); dir != "" {
		return dir, nil
	}
	dir, err := os.MkdirTemp("", "ferric-clients")
	if err != nil {
		return "", err
	}
	if out, err := exec.Command("go", "build", "-o", dir, "ferric/cmd/ferric").CombinedOutput(); err != nil {
		return "", fmt.Errorf("build ferric: %w\n%s", err, out)
	}
	return dir, nil
})

// lastPort counts the ports given out; nobody else is in the namespace.
var lastPort atomic.Int32

func freePort() int { return 20000 + int(lastPort.Add(1)) }

// conductor is a running one.
type conductor struct {
	t        *testing.T
	endpoint string
}

// settings of all conductors here: every hardware interface that suites ask
// for is enabled, as in the gates of OpenStack. The options of a test follow.
const settings = `[DEFAULT]
host = clients
graceful_shutdown_timeout = 5
enabled_hardware_types = fake-hardware,ipmi
enabled_bios_interfaces = fake,no-bios
enabled_boot_interfaces = fake,ipxe
enabled_console_interfaces = fake,no-console
enabled_deploy_interfaces = fake,direct
enabled_firmware_interfaces = fake,no-firmware
enabled_inspect_interfaces = fake,agent,no-inspect
enabled_management_interfaces = fake,ipmitool
enabled_network_interfaces = noop
enabled_power_interfaces = fake,ipmitool
enabled_raid_interfaces = fake,agent,no-raid
enabled_rescue_interfaces = fake,agent,no-rescue
enabled_storage_interfaces = fake,noop
enabled_vendor_interfaces = fake,ipmitool,no-vendor
%[4]s
[database]
connection = sqlite:///%[1]s/ferric.sqlite
[api]
host_ip = 127.0.0.1
port = %[2]d
[conductor]
deploy_kernel = %[1]s/vmlinuz
deploy_ramdisk = %[1]s/initramfs.img
rescue_kernel = %[1]s/vmlinuz
rescue_ramdisk = %[1]s/initramfs.img
[deploy]
http_url = http://127.0.0.1:%[3]d
[netboot]
tftp_port = 0
http_listen = 127.0.0.1:%[3]d
[ipmi]
min_command_interval = 0
command_retry_timeout = 2
`

// startConductor starts a conductor on loopback, without netboot's DHCP and
// TFTP, that ends with the test. Options of the DEFAULT section can be added.
func startConductor(t *testing.T, options string) *conductor {
	t.Helper()
	programs, err := programDir()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	port := freePort()
	config := filepath.Join(dir, "ferric.conf")
	if err := os.WriteFile(config, fmt.Appendf(nil, settings, dir, port, freePort(), options), 0o600); err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	cmd := exec.Command(filepath.Join(programs, "ferric"), "conductor", "--config", config)
	cmd.Stdout, cmd.Stderr = &log, &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	t.Cleanup(func() {
		if err := cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
			t.Error(err)
		}
		if err := <-ended; err != nil || bytes.Contains(log.Bytes(), []byte("panic")) {
			t.Errorf("the conductor ended with %v; want status 0 and no panic in its log", err)
		}
		if t.Failed() {
			t.Logf("the conductor's log:\n%s", &log)
		}
	})
	c := &conductor{t: t, endpoint: fmt.Sprintf("http://127.0.0.1:%d", port)}
	c.waitFor(ended)
	return c
}

// waitFor waits until the conductor answers.
func (c *conductor) waitFor(ended chan error) {
	c.t.Helper()
	api, err := client.New(c.endpoint, nil)
	if err != nil {
		c.t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(c.t.Context(), startPatience)
	defer cancel()
	for {
		_, err := api.Version(ctx)
		if err == nil {
			return
		}
		select {
		case err := <-ended:
			ended <- err
			c.t.Fatalf("the conductor ended at once: %v", err)
		case <-ctx.Done():
			c.t.Fatalf("the conductor does not answer: %v", err)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// get asks for an object at the newest version, past any client: its status and content.
func (c *conductor) get(path string) (status int, content any) {
	c.t.Helper()
	req, err := http.NewRequestWithContext(c.t.Context(), http.MethodGet, c.endpoint+"/v1/"+path, nil)
	if err != nil {
		c.t.Fatal(err)
	}
	req.Header.Set("X-OpenStack-Ironic-API-Version", "latest")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		c.t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		c.t.Fatal(err)
	}
	if len(body) > 0 {
		if err := json.Unmarshal(body, &content); err != nil {
			c.t.Fatalf("GET %s: %v in %q", path, err, body)
		}
	}
	return resp.StatusCode, content
}

func writeFile(t *testing.T, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}
