// Package lifecycle tests from outside how racks begin and end: as which user, and what is left behind.
package lifecycle

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"ferric/integration/lab"
)

// dirVar makes this test binary run a rack in the directory that it names; modeVar says how.
const (
	dirVar  = "FERRIC_TEST_RACK"
	modeVar = "FERRIC_TEST_RACK_MODE" // "", or "exit7"

	limit = 60 * time.Second
)

func TestMain(m *testing.M) {
	dir := os.Getenv(dirVar)
	if dir == "" {
		os.Exit(m.Run())
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	options := lab.Options{Forwards: []lab.Forward{{Listen: "127.0.0.1:0", To: lab.Address + ":6385"}}}
	err := lab.Run(ctx, options, func(ctx context.Context, ns *lab.Namespace) error { return rack(ctx, ns, dir) })
	var exit *lab.ExitError
	if err != nil && !errors.As(err, &exit) {
		fmt.Fprintln(os.Stderr, err)
	}
	os.Exit(lab.ExitCode(err))
}

// rack runs a rack with a machine that is on and an HTTP server, says so, and waits for the end.
func rack(ctx context.Context, ns *lab.Namespace, dir string) error {
	if os.Getenv(modeVar) == "exit7" {
		return &lab.ExitError{Code: 7}
	}
	r, err := lab.Up(ctx, lab.Config{Dir: dir, Accel: "tcg", Nodes: []lab.NodeConfig{{Name: "n1", MemoryMiB: 128}}})
	if err != nil {
		return err
	}
	if _, err := r.Nodes[0].BMC.Tool(ctx, "chassis", "power", "on"); err != nil {
		return err
	}
	if _, err := r.Nodes[0].Agree(ctx); err != nil {
		return err
	}
	l, err := net.Listen("tcp", lab.Address+":6385")
	if err != nil {
		return err
	}
	go func() {
		_ = http.Serve(l, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "from inside") }))
	}()
	fmt.Printf("up %s uid=%d\n", ns.Listening[0], os.Getuid())
	<-ctx.Done()
	err = r.Close()
	fmt.Println("closed")
	return err
}

// running is a rack's outermost process.
type running struct {
	cmd   *exec.Cmd
	out   *bufio.Reader
	ended chan error
}

// who runs a rack.
type who struct {
	uid  uint32
	sudo bool // root, called by that user through sudo
}

// begin starts a rack.
func begin(t *testing.T, as who, mode string) *running {
	t.Helper()
	dir, err := os.MkdirTemp("", "rack")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	program := os.Args[0]
	if as.uid != 0 { // go test's own directories are closed to others
		program = filepath.Join(dir, "lab.test")
		data, err := os.ReadFile(os.Args[0])
		if err == nil {
			err = os.WriteFile(program, data, 0o755)
		}
		if err == nil {
			err = os.Chmod(program, 0o755)
		}
		if err == nil {
			err = os.Chown(dir, int(as.uid), int(as.uid))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command(program)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), dirVar+"="+dir, modeVar+"="+mode, "HOME="+dir)
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	switch {
	case as.sudo: // what sudo leaves in the environment, and what the lab puts there before
		cmd.Env = append(cmd.Env, "FERRIC_LAB_SUDO=1", fmt.Sprintf("SUDO_UID=%d", as.uid))
	case as.uid != 0:
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: as.uid, Gid: as.uid}
	}
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stdout = write
	err = cmd.Start()
	write.Close()
	if err != nil {
		t.Fatal(err)
	}
	r := &running{cmd: cmd, out: bufio.NewReader(read), ended: make(chan error, 1)}
	go func() { r.ended <- cmd.Wait() }()
	timer := time.AfterFunc(limit, func() { _ = cmd.Process.Kill() })
	t.Cleanup(func() {
		timer.Stop()
		_ = cmd.Process.Kill()
		read.Close()
	})
	return r
}

func (r *running) line(t *testing.T) string {
	t.Helper()
	line, err := r.out.ReadString('\n')
	if err != nil {
		t.Fatalf("the rack ended without a word: %v", err)
	}
	return strings.TrimSpace(line)
}

func (r *running) wait(t *testing.T) error {
	t.Helper()
	select {
	case err := <-r.ended:
		return err
	case <-time.After(limit):
		t.Fatal("the rack's outermost process does not end")
		return nil
	}
}

// family returns the descendants of a process, parents first.
func family(t *testing.T, root int) []int {
	t.Helper()
	entries, err := os.ReadDir("/proc")
	if err != nil {
		t.Fatal(err)
	}
	children := map[int][]int{}
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		stat, err := os.ReadFile(filepath.Join("/proc", e.Name(), "stat"))
		if err != nil {
			continue
		}
		_, rest, _ := strings.Cut(string(stat), ") ") // state, parent
		if fields := strings.Fields(rest); len(fields) > 1 {
			parent, _ := strconv.Atoi(fields[1])
			children[parent] = append(children[parent], pid)
		}
	}
	var out []int
	for queue := children[root]; len(queue) > 0; queue = queue[1:] {
		out = append(out, queue[0])
		queue = append(queue, children[queue[0]]...)
	}
	return out
}

// command returns the name of a process's program, "" when it is gone.
func command(pid int) string {
	name, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(name))
}

// gone waits until none of the processes is there any more.
func gone(t *testing.T, pids []int) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		var left []string
		for _, pid := range pids {
			if !errors.Is(unix.Kill(pid, 0), unix.ESRCH) {
				left = append(left, fmt.Sprintf("%d (%s)", pid, command(pid)))
			}
		}
		if len(left) == 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("left behind: %s", strings.Join(left, ", "))
		}
	}
}

// members checks that the rack has all that it should, and returns its processes: process 1, the inside process, and
// ipmi_sim and QEMU among the rest.
func members(t *testing.T, r *running) []int {
	t.Helper()
	pids := family(t, r.cmd.Process.Pid)
	var names []string
	for _, pid := range pids {
		names = append(names, command(pid))
	}
	all := strings.Join(names, " ")
	if len(pids) < 4 || !strings.Contains(all, "ipmi_sim") || !strings.Contains(all, "qemu-system") {
		t.Fatalf("the rack has the processes %q, want ipmi_sim and QEMU among them", all)
	}
	return pids
}

func TestNothingIsLeft(t *testing.T) {
	for name, kill := range map[string]struct {
		signal syscall.Signal
		which  int // -1 the outermost process, 0 process 1, 1 the inside process
		clean  bool
	}{
		"terminated outside":       {syscall.SIGTERM, -1, true},
		"killed outside":           {syscall.SIGKILL, -1, false},
		"killed process 1":         {syscall.SIGKILL, 0, false},
		"killed inside":            {syscall.SIGKILL, 1, false},
		"interrupted from outside": {syscall.SIGINT, -1, true},
	} {
		t.Run(name, func(t *testing.T) {
			r := begin(t, who{}, "")
			r.line(t)
			pids := members(t, r)
			victim := r.cmd.Process.Pid
			if kill.which >= 0 {
				victim = pids[kill.which]
			}
			if err := unix.Kill(victim, kill.signal); err != nil {
				t.Fatal(err)
			}
			err := r.wait(t)
			if kill.clean {
				if line := r.line(t); line != "closed" || err != nil {
					t.Errorf("it said %q and ended with %v, want a clean end", line, err)
				}
			} else if err == nil {
				t.Error("killed, but it reports success")
			}
			gone(t, pids)
		})
	}
}

func TestForwardAndUser(t *testing.T) {
	users := []who{{}}
	if os.Geteuid() == 0 {
		const nobody = 65534 // an ordinary user
		users = append(users, who{uid: nobody}, who{uid: nobody, sudo: true})
	} // else the test runs as an ordinary user already
	for _, as := range users {
		t.Run(fmt.Sprintf("%+v", as), func(t *testing.T) {
			r := begin(t, as, "")
			fields := strings.Fields(r.line(t))
			if len(fields) != 3 || fields[2] != "uid=0" {
				t.Fatalf("it said %q, want an address and uid=0 inside", fields)
			}
			client := http.Client{Timeout: 10 * time.Second}
			response, err := client.Get("http://" + fields[1])
			if err != nil {
				t.Fatal(err)
			}
			defer response.Body.Close()
			if body, err := io.ReadAll(response.Body); err != nil || string(body) != "from inside" {
				t.Errorf("through the forward came %q, %v", body, err)
			}
			pids := members(t, r)
			if as.uid != 0 {
				for _, pid := range pids {
					info, err := os.Stat(fmt.Sprintf("/proc/%d", pid))
					if err != nil {
						continue // a chassis program that has ended
					}
					if owner := info.Sys().(*syscall.Stat_t).Uid; owner != as.uid {
						t.Errorf("process %d (%s) belongs to user %d", pid, command(pid), owner)
					}
				}
			}
			if _, err := net.InterfaceByName(lab.Bridge); err == nil {
				t.Errorf("%s exists on the host", lab.Bridge)
			}
			_ = r.cmd.Process.Signal(syscall.SIGTERM)
			if err := r.wait(t); err != nil {
				t.Errorf("ended with %v", err)
			}
			gone(t, pids)
		})
	}
}

func TestExitStatus(t *testing.T) {
	r := begin(t, who{}, "exit7")
	var exit *exec.ExitError
	if err := r.wait(t); !errors.As(err, &exit) || exit.ExitCode() != 7 {
		t.Errorf("ended with %v, want status 7", err)
	}
}

func TestOutsideIsRefused(t *testing.T) {
	_, err := lab.Up(t.Context(), lab.Config{Dir: t.TempDir()})
	if !errors.Is(err, lab.ErrOutside) {
		t.Errorf("Up on the host: %v, want ErrOutside", err)
	}
}
