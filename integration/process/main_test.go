package process_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"ferric/integration/crash"
	"ferric/integration/lab"
)

// TestMain runs the tests in namespaces of their own: whatever a test starts
// ends with them, and all ports are free. `make test-ipa` makes them, without one
// of users, in which the kernel does not read partition tables.
func TestMain(m *testing.M) {
	crash.ServeIfAsked()
	serveFlasherIfAsked()
	serveRAIDIfAsked()
	if os.Getenv("FERRIC_IPA") != "" {
		os.Exit(tidy{m}.Run())
	}
	lab.Main(tidy{m})
}

// tidy runs tests whose temporary files, those that several share included,
// are gone at the end.
type tidy struct{ *testing.M }

func (m tidy) Run() int {
	dir, err := os.MkdirTemp("", "process")
	if err == nil {
		err = os.Setenv("TMPDIR", dir)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	code := m.M.Run()
	if err := os.RemoveAll(dir); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return code
}

// patience bounds every wait of these tests; the machine may be busy.
const patience = 60 * time.Second

// programs are the paths of ferric and ferric-agent: those that `make` has
// built (FERRIC_BIN), or built here.
var programs = sync.OnceValues(func() (dir string, err error) {
	if dir := os.Getenv("FERRIC_BIN"); dir != "" {
		return dir, nil
	}
	if dir, err = os.MkdirTemp("", "ferric-process"); err != nil {
		return "", err
	}
	for name, cgo := range map[string]string{"ferric": "1", "ferric-agent": "0"} {
		build := exec.Command("go", "build", "-o", filepath.Join(dir, name), "ferric/cmd/"+name)
		build.Env = append(os.Environ(), "CGO_ENABLED="+cgo)
		if out, err := build.CombinedOutput(); err != nil {
			return "", fmt.Errorf("build %s: %w\n%s", name, err, out)
		}
	}
	return dir, nil
})

func program(t *testing.T, name string) string {
	t.Helper()
	dir, err := programs()
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Join(dir, name)
}

// lastPort is the port that was given out last. Nobody else is in the
// namespace, and the range is below that of ephemeral ports.
var lastPort atomic.Int32

func newPort() int { return 20000 + int(lastPort.Add(1)) }

// process is a running program whose output goes to a file.
type process struct {
	cmd   *exec.Cmd
	log   string
	ended chan struct{}
	err   error // once ended
}

func launch(t *testing.T, log, name string, args ...string) *process {
	t.Helper()
	return launchCommand(t, log, exec.Command(name, args...))
}

func launchCommand(t *testing.T, log string, cmd *exec.Cmd) *process {
	t.Helper()
	out, err := os.OpenFile(log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	p := &process{cmd: cmd, log: log, ended: make(chan struct{})}
	p.cmd.Stdout, p.cmd.Stderr = out, out
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		p.err = p.cmd.Wait()
		close(p.ended)
	}()
	return p
}

// signal sends s; to a process that has ended it does nothing.
func (p *process) signal(t *testing.T, s syscall.Signal) {
	if err := p.cmd.Process.Signal(s); err != nil && !errors.Is(err, os.ErrProcessDone) {
		t.Errorf("signal %s: %v", s, err)
	}
}

// kill ends the process as a power failure does.
func (p *process) kill(t *testing.T) {
	p.signal(t, syscall.SIGKILL)
	<-p.ended
}

// eventually polls until ok, for what a test cannot be notified of.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !ok(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s did not happen within %s", what, patience)
		}
	}
}

// run runs a tool that the test needs and returns its output.
func run(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	if errors.Is(err, exec.ErrNotFound) && os.Getenv("CI") != "true" {
		t.Skipf("%s is missing", name)
	}
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

// tail logs the end of a file of a failed test.
func tail(t *testing.T, path string) {
	const most = 6000
	text, err := os.ReadFile(path)
	if err != nil {
		t.Log(err)
		return
	}
	t.Logf("%s ends with:\n%s", path, bytes.TrimSpace(text[max(0, len(text)-most):]))
}
