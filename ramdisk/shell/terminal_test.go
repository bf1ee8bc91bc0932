package shell

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

const (
	asShell  = "FERRIC_TEST_SHELL" // makes this test binary a shell
	patience = 60 * time.Second
)

func TestMain(m *testing.M) {
	if os.Getenv(asShell) == "" {
		os.Exit(m.Run())
	}
	status, err := Run(os.Args[1:])
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
	os.Exit(status)
}

// person sits at a terminal with the shell.
type person struct {
	t      *testing.T
	master *os.File
	cmd    *exec.Cmd

	mu   sync.Mutex
	seen []byte
	news chan struct{}
}

func sitDown(t *testing.T) *person {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { master.Close() })
	if err := unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	number, err := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	slave, err := os.OpenFile("/dev/pts/"+strconv.Itoa(number), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer slave.Close()
	p := &person{t: t, master: master, cmd: exec.Command(os.Args[0]), news: make(chan struct{}, 1)}
	p.cmd.Env = append(os.Environ(), asShell+"=1")
	p.cmd.Dir = t.TempDir()
	p.cmd.Stdin, p.cmd.Stdout, p.cmd.Stderr = slave, slave, slave
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.cmd.Process.Kill() })
	go func() {
		_, _ = io.Copy(p, master)
	}()
	return p
}

// Write takes what the terminal shows.
func (p *person) Write(text []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.seen = append(p.seen, text...)
	select {
	case p.news <- struct{}{}:
	default:
	}
	return len(text), nil
}

// do types keys and waits until the terminal shows want after what it showed before.
func (p *person) do(keys, want string) {
	p.t.Helper()
	if _, err := io.WriteString(p.master, keys); err != nil {
		p.t.Fatal(err)
	}
	deadline := time.After(patience)
	for {
		p.mu.Lock()
		i := bytes.Index(p.seen, []byte(want))
		if i >= 0 {
			p.seen = p.seen[i+len(want):]
			p.mu.Unlock()
			return
		}
		text := string(p.seen)
		p.mu.Unlock()
		select {
		case <-p.news:
		case <-deadline:
			p.t.Fatalf("%q shows %q, want %q in it", keys, text, want)
		}
	}
}

// TestScripts compares with another shell what commands, scripts and their input do.
func TestScripts(t *testing.T) {
	file := filepath.Join(t.TempDir(), "script")
	if err := os.WriteFile(file, []byte("echo $# $1; exit 4\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		stdin string
		args  []string
	}{
		{"", []string{"-c", "echo a; exit 3"}},
		{"", []string{"-c", "echo $1-$2 $#", "name", "x", "y z"}},
		{"", []string{"-ec", "false; echo not reached"}},
		{"input", []string{"-c", "cat; kill -9 $$"}},
		{"", []string{file, "one", "two"}},
		{"echo from input; false\n", nil},
		{"", []string{"-c", "echo whole; nothing-of-the-kind 2>/dev/null"}},
	} {
		run := func(path string) string {
			cmd := exec.Command(path, c.args...)
			cmd.Env = append(os.Environ(), asShell+"=1")
			cmd.Stdin = strings.NewReader(c.stdin)
			out, err := cmd.Output()
			return fmt.Sprintf("%q, %v", out, err)
		}
		if got, want := run(os.Args[0]), run("/bin/sh"); got != want {
			t.Errorf("%q: %s, another shell %s", c.args, got, want)
		}
	}
}

// TestTerminal works at a terminal: with history, interrupts and programs that read from
// it, which find it as it was.
func TestTerminal(t *testing.T) {
	p := sitDown(t)
	const prompt = "# "
	p.do("", prompt)
	p.do("echo one-$((1+1))\r", "one-2\r\n")
	p.do("", prompt)
	p.do("\x1b[A\x7f\x7f\x7f2))\r", "one-3\r\n") // the line before, edited
	p.do("", prompt)
	p.do("cd /; pwd\r", "\r\n/\r\n")
	p.do("", ":/# ")
	p.do("ls -d et\t\r", "\r\netc/\r\n")
	p.do("", prompt)
	p.do("echo r$((1)); read x; echo got-$x\r", "r1\r\n") // from here on the terminal is the program's
	p.do("hello\r", "got-hello\r\n")
	p.do("", prompt)
	p.do("echo r$((2)); sleep 600\r", "r2\r\n")
	p.do("\x03", prompt)
	p.do("echo r$((3)); while true; do :; done\r", "r3\r\n")
	p.do("\x03", prompt)
	p.do("half a line\x03", prompt)
	p.do("echo )\r", "encountered )")
	p.do("", prompt)
	p.do("for i in a b; do\r", "> ")
	p.do("echo $i-$i; done\r", "b-b\r\n")
	p.do("", prompt)
	p.do("nonexistent-program\r", "nonexistent-program")
	p.do("", prompt)
	if _, err := io.WriteString(p.master, "exit 7\r"); err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Wait(); p.cmd.ProcessState == nil || p.cmd.ProcessState.ExitCode() != 7 {
		t.Errorf("the shell ends with %v, want status 7", err)
	}
}
