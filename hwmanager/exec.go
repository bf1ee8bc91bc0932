package hwmanager

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Limits of what is kept of a program's output, in bytes.
const (
	maxStdout = 32 << 20
	maxStderr = 2 << 10
	maxLine   = 4 << 10
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
	return e.run(ctx, Tool{Name: name, Args: args})
}

// RunTool runs a program with all that Tool has; nothing of its process group
// outlives it. Host.Tool calls it.
func (e Exec) RunTool(ctx context.Context, t Tool) ([]byte, error) {
	t.alone = true
	return e.run(ctx, t)
}

func (e Exec) run(ctx context.Context, t Tool) ([]byte, error) {
	limit := t.Limit
	if _, limited := ctx.Deadline(); !limited && limit == 0 {
		limit = cmp.Or(e.Limit, programTime)
	}
	if limit > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, limit, fmt.Errorf("it ran for more than %s: %w", limit, context.DeadlineExceeded))
		defer cancel()
	}
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	lines := &lineTeller{tell: t.Line, stop: stop}
	stdout := &boundedBuffer{limit: cmp.Or(t.MaxOutput, maxStdout), stop: stop}
	stderr := &tail{limit: maxStderr}
	cmd := exec.CommandContext(ctx, t.Name, t.Args...)
	cmd.Stdin, cmd.Dir = t.Stdin, t.Dir
	cmd.Stdout, cmd.Stderr = stdout, stderr
	if t.Line != nil {
		cmd.Stdout, cmd.Stderr = io.MultiWriter(stdout, lines.stream()), io.MultiWriter(stderr, lines.stream())
	}
	cmd.Env = append(append(cmd.Environ(), "LC_ALL=C"), t.Env...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	kill := func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.Cancel = kill
	cmd.WaitDelay = 5 * time.Second

	err := cmd.Run()
	if t.alone && cmd.Process != nil {
		_ = kill() // what is left of the group; mostly there is nothing
		if errors.Is(err, exec.ErrWaitDelay) {
			err = nil // it ended, and left somebody behind who kept its output open
		}
	}
	lines.end()
	switch {
	case context.Cause(ctx) != nil:
		return stdout.data, fmt.Errorf("run %s: %w", t.Name, context.Cause(ctx))
	case err == nil:
		return stdout.data, nil
	}
	const shown = 500
	said := stdout.data
	said = said[max(0, len(said)-shown):] // there are tools that know no standard error
	for _, text := range [][]byte{stderr.data, said} {
		if text := strings.TrimSpace(strings.ToValidUTF8(string(text), "?")); text != "" {
			return stdout.data, fmt.Errorf("run %s: %w: %s", t.Name, err, text)
		}
	}
	return stdout.data, fmt.Errorf("run %s: %w", t.Name, err)
}

// NoProgram reports whether err of a Runner says that the program is not
// installed.
func NoProgram(err error) bool { return errors.Is(err, exec.ErrNotFound) }

// boundedBuffer keeps what is written to it and stops who writes too much. It
// has no ReadFrom, which would know no bounds.
type boundedBuffer struct {
	data  []byte
	limit int
	stop  context.CancelCauseFunc
}

func (b *boundedBuffer) Write(p []byte) (int, error) {
	room := b.limit - len(b.data)
	if len(p) > room {
		b.stop(fmt.Errorf("output is longer than %d bytes", b.limit))
		b.data = append(b.data, p[:room]...)
		return len(p), nil
	}
	b.data = append(b.data, p...)
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

// lineTeller tells the lines of several streams, one after the other.
type lineTeller struct {
	tell    func(string)
	stop    context.CancelCauseFunc
	mu      sync.Mutex
	streams []*lineStream
}

func (l *lineTeller) stream() *lineStream {
	s := &lineStream{all: l}
	l.streams = append(l.streams, s)
	return s
}

// say tells a line. Whoever is told may be a vendor's code, in a goroutine where
// its panic would end the agent.
func (l *lineTeller) say(line []byte) {
	text := strings.TrimSpace(strings.ToValidUTF8(string(line), "?"))
	if text == "" || l.tell == nil {
		return
	}
	if err := recovered(func() error { l.tell(text); return nil }); err != nil {
		l.tell = nil
		l.stop(fmt.Errorf("telling its output: %w", err))
	}
}

// end tells the last lines, which lack their ends. Nobody writes any more.
func (l *lineTeller) end() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, s := range l.streams {
		s.rest = s.flush(s.rest)
	}
}

// lineStream cuts a stream into lines. A carriage return ends one, too: so do
// programs that write how far they are. Long lines lose their ends.
type lineStream struct {
	all  *lineTeller
	rest []byte
}

func (s *lineStream) Write(p []byte) (int, error) {
	s.all.mu.Lock()
	defer s.all.mu.Unlock()
	for rest := p; len(rest) > 0; {
		at := bytes.IndexAny(rest, "\r\n")
		part := rest
		if at >= 0 {
			part = rest[:at]
		}
		s.rest = append(s.rest, part[:min(len(part), maxLine-len(s.rest))]...)
		if at < 0 {
			break
		}
		s.rest = s.flush(s.rest)
		rest = rest[at+1:]
	}
	return len(p), nil
}

func (s *lineStream) flush(line []byte) []byte {
	s.all.say(line)
	return line[:0]
}
