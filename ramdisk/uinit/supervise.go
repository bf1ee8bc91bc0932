package main

import (
	"context"
	"os"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"ferric/ramdisk/rescue"
)

const (
	agentPath = "/bin/ferric-agent"

	// The agent is restarted always, after at most 30 s (agent contract 11.6); the first
	// restarts come sooner, and a run that lasted this long makes them soon again.
	firstRestart = time.Second
	lastRestart  = 30 * time.Second
	goodRun      = time.Minute
	// lastWords is how long the output of an agent that has ended is still read: nearly
	// always it ends at once, but a program that the agent left behind may hold it.
	lastWords = time.Second
)

// keepAgent runs the agent and starts it again whenever it ends; it returns with ctx, or
// when the agent has handed the machine over for a rescue: it would do nothing more.
func keepAgent(ctx context.Context, c *children, out *console, rescued func() bool) {
	delay := firstRestart
	for ctx.Err() == nil && !rescued() {
		out.printf("uinit: starting agent")
		began := time.Now()
		out.printf("uinit: agent ended: %s", run(c, out, agentPath, "agent: "))
		if time.Since(began) >= goodRun {
			delay = firstRestart
		}
		if rescued() {
			return
		}
		pause(ctx, delay)
		delay = min(2*delay, lastRestart)
	}
}

// run runs a program once, its output going to the console to the last line after a
// prefix, and says how it ended.
func run(c *children, out *console, path, prefix string) string {
	null, err := os.Open(os.DevNull)
	if err != nil {
		return err.Error()
	}
	defer null.Close()
	r, w, err := os.Pipe()
	if err != nil {
		return err.Error()
	}
	defer r.Close()
	done, err := c.start(path, []string{path}, &syscall.ProcAttr{
		Dir:   "/",
		Env:   append(os.Environ(), "HOME=/root"),
		Files: []uintptr{null.Fd(), w.Fd(), w.Fd()},
		Sys:   &syscall.SysProcAttr{Setsid: true},
	})
	w.Close()
	if err != nil {
		return err.Error()
	}
	copied := make(chan struct{})
	go func() {
		defer close(copied)
		out.copy(prefix, r)
	}()
	end := ending(<-done)
	select {
	case <-copied:
	case <-time.After(lastWords):
	}
	return end
}

// keepShell offers a shell on the console for as long as the machine runs.
func keepShell(ctx context.Context, c *children, out *console) {
	for ctx.Err() == nil {
		out.printf("uinit: debug shell on %s: %s", consoleTTY(), runShell(c))
		pause(ctx, time.Second)
	}
}

func runShell(c *children) string { return runAt(c, consoleTTY(), rescue.ShellProgram, "TERM=vt102") }

// runAt runs a program in a session of its own at a terminal, which it controls, and says
// how it ended.
func runAt(c *children, terminal, path string, env ...string) string {
	tty, err := os.OpenFile(terminal, os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		return err.Error()
	}
	defer tty.Close()
	done, err := c.start(path, []string{path}, &syscall.ProcAttr{
		Dir:   "/root",
		Env:   append(append(os.Environ(), "HOME=/root"), env...),
		Files: []uintptr{tty.Fd(), tty.Fd(), tty.Fd()},
		Sys:   &syscall.SysProcAttr{Setsid: true, Setctty: true, Ctty: 0},
	})
	if err != nil {
		return err.Error()
	}
	return ending(<-done)
}

// activeConsoles names the terminals behind /dev/console, the preferred one last.
const activeConsoles = "/sys/class/tty/console/active"

// consoleTTY is the terminal behind /dev/console, which itself cannot control a session.
func consoleTTY() string {
	ttys := consoleTTYs()
	return ttys[len(ttys)-1]
}

// consoleTTYs are all terminals that the kernel writes to, at least one.
func consoleTTYs() []string {
	text, _ := os.ReadFile(activeConsoles)
	return ttysOf(string(text))
}

// ttysOf are the devices of terminals by name. The one with number 0 is a name for
// whichever virtual terminal is shown; that is the first one, as nobody switches.
func ttysOf(active string) []string {
	var ttys []string
	for _, name := range strings.Fields(active) {
		if name == "tty0" {
			name = "tty1"
		}
		ttys = append(ttys, "/dev/"+name)
	}
	if len(ttys) == 0 {
		return []string{"/dev/console"}
	}
	return ttys
}

// pause waits unless ctx ends first.
func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}
