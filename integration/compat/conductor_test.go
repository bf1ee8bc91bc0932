package compat_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"ferric/api/client"
)

// programDir holds the program: what `make` has built (FERRIC_BIN), or built here.
var programDir = sync.OnceValues(func() (string, error) {
	if dir := os.Getenv("FERRIC_BIN"); dir != "" {
		return dir, nil
	}
	dir, err := os.MkdirTemp("", "ferric-compat")
	if err != nil {
		return "", err
	}
	if out, err := exec.Command("go", "build", "-o", dir, "ferric/cmd/ferric").CombinedOutput(); err != nil {
		return "", fmt.Errorf("build ferric: %w\n%s", err, out)
	}
	return dir, nil
})

// lastPort counts the ports given out, two a conductor; nobody else is in the namespace.
var lastPort atomic.Int32

// startPatience is how long a conductor may take to answer.
const startPatience = 60 * time.Second

// startConductor starts a conductor on loopback, without netboot's DHCP and
// TFTP, that ends with the test. It returns the address of its API.
func startConductor(t *testing.T) string {
	t.Helper()
	programs, err := programDir()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	port := 20000 + int(lastPort.Add(2))
	endpoint := fmt.Sprintf("http://127.0.0.1:%d", port)
	config := fmt.Sprintf(`[DEFAULT]
host = compat
enabled_hardware_types = ipmi,fake-hardware
graceful_shutdown_timeout = 5
[database]
connection = sqlite:///%[1]s/ferric.sqlite
[api]
host_ip = 127.0.0.1
port = %[2]d
[conductor]
deploy_kernel = %[1]s/vmlinuz
deploy_ramdisk = %[1]s/initramfs.img
[deploy]
http_url = http://127.0.0.1:%[3]d
[netboot]
tftp_port = 0
http_listen = 127.0.0.1:%[3]d
[ipmi]
min_command_interval = 0
command_retry_timeout = 2
`, dir, port, port+1)
	path := filepath.Join(dir, "ferric.conf")
	if err := os.WriteFile(path, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	cmd := exec.Command(filepath.Join(programs, "ferric"), "conductor", "--config", path)
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
	api, err := client.New(endpoint, nil)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), startPatience)
	defer cancel()
	for {
		_, err := api.Version(ctx)
		if err == nil {
			return endpoint
		}
		select {
		case err := <-ended:
			ended <- err
			t.Fatalf("the conductor ended at once: %v", err)
		case <-ctx.Done():
			t.Fatalf("the conductor does not answer: %v", err)
		case <-time.After(20 * time.Millisecond):
		}
	}
}
