package main

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// logLimit bounds the log in memory; the half before the last is kept in a second file.
	logLimit = 1 << 20
	// maxLine bounds what one line of the agent may hold back.
	maxLine = 16 << 10
)

// console writes lines with the seconds since the kernel started, as the kernel's own
// have them, to /dev/console and to a log file that the agent can collect.
type console struct {
	mu   sync.Mutex
	tty  *os.File
	log  *os.File
	size int
}

func openConsole() *console {
	c := &console{}
	c.reopen()
	return c
}

// reopen opens the console anew: a line that hung up makes every write fail.
func (c *console) reopen() {
	if c.tty != nil {
		c.tty.Close()
	}
	c.tty, _ = os.OpenFile("/dev/console", os.O_WRONLY|unix.O_NOCTTY, 0)
}

// keep begins to copy all lines to a file.
func (c *console) keep(path string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if os.MkdirAll(filepath.Dir(path), 0o755) == nil {
		c.log, _ = os.Create(path)
	}
}

func (c *console) printf(format string, args ...any) {
	line := fmt.Sprintf("[%12.6f] ", sinceKernelStart().Seconds()) + fmt.Sprintf(format, args...)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.tty != nil {
		if _, err := c.tty.WriteString(line + "\r\n"); err != nil {
			c.reopen()
		}
	} else {
		c.reopen()
	}
	if c.log == nil {
		return
	}
	n, _ := c.log.WriteString(line + "\n")
	if c.size += n; c.size > logLimit {
		path := c.log.Name()
		c.log.Close()
		os.Rename(path, path+".1")
		c.log, _ = os.Create(path)
		c.size = 0
	}
}

// copy prints every line of r after a prefix, until r ends. Longer lines are cut in pieces.
func (c *console) copy(prefix string, r io.Reader) {
	in := bufio.NewReaderSize(r, maxLine)
	for {
		line, _, err := in.ReadLine()
		if err != nil {
			return
		}
		c.printf("%s%s", prefix, line)
	}
}

// sinceKernelStart is the time that the kernel's own messages count in.
func sinceKernelStart() time.Duration {
	var ts unix.Timespec
	if unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts) != nil {
		return 0
	}
	return time.Duration(ts.Nano())
}
