package crash_test

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"ferric/api/client"
	"ferric/integration/crash"
)

func TestMain(m *testing.M) {
	crash.ServeIfAsked()
	os.Exit(m.Run())
}

// patience bounds every wait; the machine may be busy.
const patience = 60 * time.Second

// process is a conductor over the database in dir.
type process struct {
	dir   string
	api   *client.Client
	cmd   *exec.Cmd
	ended chan struct{}
	err   error // once ended
}

// start starts a conductor and waits until it answers.
func start(t *testing.T, dir string) *process {
	t.Helper()
	port, served := freePort(t), freePort(t)
	config := filepath.Join(dir, "ferric.conf")
	text := fmt.Sprintf(`[DEFAULT]
host = crash-test
enabled_hardware_types = fake-hardware
graceful_shutdown_timeout = 5
[database]
connection = sqlite:///%s/ferric.sqlite
[api]
host_ip = 127.0.0.1
port = %d
[conductor]
sync_power_state_interval = 0
check_provision_state_interval = 1
heartbeat_interval = 3600
[deploy]
http_url = http://127.0.0.1:%[3]d
[netboot]
tftp_port = 0
http_listen = 127.0.0.1:%[3]d
`, dir, port, served)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	log, err := os.OpenFile(filepath.Join(dir, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	p := &process{dir: dir, cmd: exec.Command(program), ended: make(chan struct{})}
	p.cmd.Env = append(os.Environ(), crash.ConfigVar+"="+config)
	p.cmd.Stdout, p.cmd.Stderr = log, log
	if p.api, err = client.New(fmt.Sprintf("http://127.0.0.1:%d", port), nil); err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { p.err = p.cmd.Wait(); close(p.ended) }()
	t.Cleanup(func() { _ = p.cmd.Process.Kill(); <-p.ended })
	eventually(t, "the answer of the API", func() bool {
		select {
		case <-p.ended:
			text, _ := os.ReadFile(filepath.Join(dir, "log"))
			t.Fatalf("the conductor ended: %v\n%s", p.err, text)
		default:
		}
		_, err := p.api.Version(t.Context())
		return err == nil
	})
	return p
}

// stop ends the process politely.
func (p *process) stop(t *testing.T) {
	t.Helper()
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	<-p.ended
	if p.err != nil {
		text, _ := os.ReadFile(filepath.Join(p.dir, "log"))
		t.Fatalf("the conductor ended with %v\n%s", p.err, text)
	}
}

// arm has the process end around its commit number n from now on.
func (p *process) arm(t *testing.T, n int, when string) {
	t.Helper()
	if err := crash.Arm(p.dir, n, when); err != nil {
		t.Fatal(err)
	}
}

// disarm ends that and tells how many commits there were.
func disarm(t *testing.T, dir string) int {
	t.Helper()
	n, err := crash.Disarm(dir)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func (p *process) dead() bool {
	select {
	case <-p.ended:
		return true
	default:
		return false
	}
}

func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

// eventually polls until ok, for what a test cannot be notified of.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !ok(); time.Sleep(3 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s did not happen within %s", what, patience)
		}
	}
}
