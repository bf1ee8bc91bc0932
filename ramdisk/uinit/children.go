package main

import (
	"fmt"
	"os"
	"os/signal"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// children starts processes and collects all that end, also the orphans that fall to
// the first process; those that are stopped go on at once. os/exec would race with that for the exit states.
type children struct {
	mu      sync.Mutex
	waiting map[int]chan syscall.WaitStatus
}

func newChildren() *children {
	c := &children{waiting: map[int]chan syscall.WaitStatus{}}
	ended := make(chan os.Signal, 1)
	signal.Notify(ended, unix.SIGCHLD)
	go func() {
		for range ended {
			c.reap()
		}
	}()
	return c
}

func (c *children) reap() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for {
		var status syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &status, syscall.WNOHANG|syscall.WUNTRACED, nil)
		if err == syscall.EINTR {
			continue
		}
		if err != nil || pid <= 0 {
			return
		}
		if status.Stopped() {
			// Nobody else would let an agent go on, and it would never end.
			_ = syscall.Kill(pid, syscall.SIGCONT)
			continue
		}
		if done, ok := c.waiting[pid]; ok {
			done <- status
			delete(c.waiting, pid)
		}
	}
}

// start starts a program; the channel gives its state when it has ended.
func (c *children) start(path string, args []string, attr *syscall.ProcAttr) (<-chan syscall.WaitStatus, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	pid, err := syscall.ForkExec(path, args, attr)
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", path, err)
	}
	done := make(chan syscall.WaitStatus, 1)
	c.waiting[pid] = done
	return done, nil
}

// ending says how a process ended, as in "exit status 1".
func ending(s syscall.WaitStatus) string {
	if s.Signaled() {
		return "killed by " + s.Signal().String()
	}
	return fmt.Sprintf("exit status %d", s.ExitStatus())
}
