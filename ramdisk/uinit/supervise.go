package main

import (
	"context"
	"os"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	agentPath = "/bin/ferric-agent"
	shellPath = "/bbin/gosh"

	// The agent is restarted always, after at most 30 s (agent contract 11.6); the first
	// restarts come sooner, and a run that lasted this long makes them soon again.
	firstRestart = time.Second
	lastRestart  = 30 * time.Second
	goodRun      = time.Minute
	// lastWords is how long the output of an agent that has ended is still read: nearly
	// always it ends at once, but a program that the agent left behind may hold it.
	lastWords = time.Second
)

// keepAgent runs the agent and starts it again whenever it ends; it returns with ctx.
func keepAgent(ctx context.Context, c *children, out *console) {
	delay := firstRestart
	for ctx.Err() == nil {
		out.printf("uinit: starting agent")
		began := time.Now()
		out.printf("uinit: agent ended: %s", runAgent(c, out, agentPath))
		if time.Since(began) >= goodRun {
			delay = firstRestart
		}
		pause(ctx, delay)
		delay = min(2*delay, lastRestart)
	}
}

// runAgent runs the agent once, its output going to the console to the last line, and
// says how it ended.
func runAgent(c *children, out *console, path string) string {
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
		out.copy("agent: ", r)
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

func runShell(c *children) string {
	tty, err := os.OpenFile(consoleTTY(), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		return err.Error()
	}
	defer tty.Close()
	done, err := c.start(shellPath, []string{shellPath}, &syscall.ProcAttr{
		Dir:   "/root",
		Env:   append(os.Environ(), "HOME=/root", "TERM=vt102"),
		Files: []uintptr{tty.Fd(), tty.Fd(), tty.Fd()},
		Sys:   &syscall.SysProcAttr{Setsid: true, Setctty: true, Ctty: 0},
	})
	if err != nil {
		return err.Error()
	}
	return ending(<-done)
}

// consoleTTY is the terminal behind /dev/console, which itself cannot control a session.
func consoleTTY() string {
	text, err := os.ReadFile("/sys/class/tty/console/active")
	if names := strings.Fields(string(text)); err == nil && len(names) > 0 {
		return "/dev/" + names[len(names)-1]
	}
	return "/dev/console"
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
