package hwmanager

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"syscall"
	"time"
)

// Limits of what is kept of a program's output, in bytes.
const (
	maxStdout = 32 << 20
	maxStderr = 2 << 10
)

// programTime bounds a program whose caller set no deadline. What may take
// longer (secure erase, installing a container) brings a deadline of its own.
const programTime = time.Hour

// Exec runs programs of the machine. Every program gets a process group of
// its own, which is killed as a whole when the context ends.
type Exec struct {
	// Limit bounds programs for which the context has no deadline; 0 is an hour.
	Limit time.Duration
}

// Run implements Runner.
func (e Exec) Run(ctx context.Context, name string, args ...string) ([]byte, error) {
	if _, limited := ctx.Deadline(); !limited {
		limit := cmp.Or(e.Limit, programTime)
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, limit, fmt.Errorf("it ran for more than %s: %w", limit, context.DeadlineExceeded))
		defer cancel()
	}
	stdout := &boundedBuffer{limit: maxStdout}
	stderr := &tail{limit: maxStderr}
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Stdout, cmd.Stderr = stdout, stderr
	cmd.Env = append(cmd.Environ(), "LC_ALL=C")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = 5 * time.Second

	err := cmd.Run()
	switch {
	case err == nil && stdout.truncated:
		return nil, fmt.Errorf("run %s: output is longer than %d bytes", name, maxStdout)
	case err == nil:
		return stdout.Bytes(), nil
	case ctx.Err() != nil:
		return stdout.Bytes(), fmt.Errorf("run %s: %w", name, context.Cause(ctx))
	}
	if text := strings.TrimSpace(string(stderr.data)); text != "" {
		return stdout.Bytes(), fmt.Errorf("run %s: %w: %s", name, err, text)
	}
	return stdout.Bytes(), fmt.Errorf("run %s: %w", name, err)
}

// NoProgram reports whether err of a Runner says that the program is not
// installed.
func NoProgram(err error) bool { return errors.Is(err, exec.ErrNotFound) }

// boundedBuffer keeps the beginning of what is written to it.
type boundedBuffer struct {
	bytes.Buffer
	limit     int
	truncated bool
}

func (b *boundedBuffer) Write(p []byte) (int, error) {
	room := b.limit - b.Len()
	if len(p) <= room {
		return b.Buffer.Write(p)
	}
	b.truncated = true
	b.Buffer.Write(p[:room])
	return len(p), nil
}

// tail keeps the end of what is written to it.
type tail struct {
	data  []byte
	limit int
}

func (t *tail) Write(p []byte) (int, error) {
	t.data = append(t.data, p...)
	if extra := len(t.data) - t.limit; extra > 0 {
		t.data = append(t.data[:0], t.data[extra:]...)
	}
	return len(p), nil
}
