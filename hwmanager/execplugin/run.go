package execplugin

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/sirupsen/logrus"
	"golang.org/x/sys/unix"

	"ferric/hwmanager"
)

// end is how a process ended and what it said until then.
type end struct {
	reply  reply
	status int
	signal string   // that killed it, "" for none
	reason string   // why it was killed, or could not be run; "" for neither
	cause  error    // of a context that ended
	left   []string // processes that outlived it
	said   string   // the end of its standard error
}

// Patience with processes.
const (
	watchInterval = 100 * time.Millisecond
	lastBreath    = 500 * time.Millisecond // for children after the plugin itself
	killPatience  = 10 * time.Second       // a process may be inside a device that does not answer
	drainPatience = time.Second            // for output of processes that are gone
)

// running is a process that was started.
type running struct {
	p      *Plugin
	cmd    *exec.Cmd
	box    box
	files  scratch
	stdin  *os.File
	stdout *os.File
	stderr *os.File
	log    *logrus.Entry
}

// run runs one process to its end. Nothing of it is left then.
func (p *Plugin) run(ctx context.Context, h *hwmanager.Host, c call, request []byte) end {
	if err := ctx.Err(); err != nil {
		return end{reason: "it was not started: " + context.Cause(ctx).Error(), cause: context.Cause(ctx)}
	}
	log := logOf(h, p, c)
	r, err := p.start(h, c)
	if err != nil {
		return end{reason: "it cannot be run: " + err.Error(), cause: err}
	}
	r.log = log
	e := r.finish(ctx, p.limits, p.limits.timeOf(c.method), c.progress, request)
	if err := errors.Join(r.box.close(), r.files.remove()); err != nil {
		log.WithError(err).Warn("something of a plugin is left")
	}
	return e
}

func logOf(h *hwmanager.Host, p *Plugin, c call) *logrus.Entry {
	log := h.Log
	if log == nil {
		silent := logrus.New()
		silent.SetOutput(io.Discard)
		log = logrus.NewEntry(silent)
	}
	return log.WithField("plugin", p.Name()).WithField("call", c.what())
}

// start starts the process of a call, in a control group if possible.
func (p *Plugin) start(h *hwmanager.Host, c call) (*running, error) {
	if err := runnable(p.executable); err != nil {
		return nil, err
	}
	mark := newMark()
	files, err := newScratch(p.opts.Scratch, mark, p.limits)
	if err != nil {
		return nil, err
	}
	var r *running
	// A file that was written a moment ago is busy as long as a program that was
	// started meanwhile has not let go of it.
	until(time.Second, func() bool {
		r, err = p.startIn(h, c, mark, files, true)
		return !errors.Is(err, syscall.ETXTBSY)
	})
	if err != nil && p.boxes.cgroup != "" {
		// Old kernels and filters of system calls do not start a process in a group.
		r, err = p.startIn(h, c, mark, files, false)
	}
	if err != nil {
		return nil, errors.Join(explained(p.executable, err), files.remove())
	}
	return r, nil
}

func (p *Plugin) startIn(h *hwmanager.Host, c call, mark string, files scratch, inCgroup bool) (*running, error) {
	r := &running{p: p, files: files, box: p.boxes.make(mark, p.limits, inCgroup)}
	var theirs []*os.File
	defer func() {
		for _, f := range theirs {
			f.Close()
		}
	}()
	fail := func(err error) (*running, error) {
		r.closePipes()
		return nil, errors.Join(err, r.box.close())
	}
	pipe := func(write bool) (ours, other *os.File, err error) {
		in, out, err := os.Pipe()
		if err != nil {
			return nil, nil, err
		}
		if write {
			in, out = out, in
		}
		theirs = append(theirs, out)
		return in, out, nil
	}
	cmd := exec.Command(p.executable, c.method)
	var err error
	var in, out, errs *os.File
	if r.stdin, in, err = pipe(true); err != nil {
		return fail(err)
	}
	if r.stdout, out, err = pipe(false); err != nil {
		return fail(err)
	}
	if r.stderr, errs, err = pipe(false); err != nil {
		return fail(err)
	}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = in, out, errs
	cmd.Dir = files.path
	cmd.Env = append(p.environment(h, mark, files.path), c.env...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	r.box.enter(cmd.SysProcAttr)
	if err := cmd.Start(); err != nil {
		return fail(err)
	}
	r.cmd = cmd
	restrain(cmd.Process.Pid, p.limits, r.box.limitsMemory()) // before it starts others
	r.box.started(cmd.Process.Pid)
	return r, nil
}

// environment is all that a plugin finds in its environment: nothing of the
// agent's, but for where programs are.
func (p *Plugin) environment(h *hwmanager.Host, mark, scratch string) []string {
	path := cmp.Or(os.Getenv("PATH"), "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
	if h.Programs != "" {
		path = absolute(h.Programs) + ":" + path
	}
	return []string{
		"PATH=" + path, "LC_ALL=C", "HOME=" + scratch, "TMPDIR=" + scratch, "PWD=" + scratch,
		"FERRIC_PLUGIN_DIR=" + p.dir, markVariable + "=" + mark,
		"PYTHONDONTWRITEBYTECODE=1", // beside the plugin, whose files are held against their digests
	}
}

// restrain sets what no control group does: a plugin dies before the agent
// where memory is short, and it leaves no core behind. Where the kernel does not
// limit the memory of all its processes it does that of each.
func restrain(pid int, l limits, limited bool) {
	_ = unix.Prlimit(pid, unix.RLIMIT_CORE, &unix.Rlimit{}, nil)
	if !limited {
		_ = unix.Prlimit(pid, unix.RLIMIT_DATA, &unix.Rlimit{Cur: uint64(l.memory), Max: uint64(l.memory)}, nil)
	}
	_ = os.WriteFile(fmt.Sprintf("/proc/%d/oom_score_adj", pid), []byte("1000"), 0)
}

// explained is the error of starting an executable, in words.
func explained(path string, err error) error {
	name := filepath.Base(path)
	switch {
	case errors.Is(err, syscall.ENOEXEC):
		return fmt.Errorf("%s is neither a program for this machine nor a script that begins with #!: %w", name, err)
	case errors.Is(err, syscall.ENOENT):
		return fmt.Errorf("the interpreter or the loader that %s wants is not on this machine: %w", name, err)
	}
	return err
}

func (r *running) closePipes() {
	for _, f := range []*os.File{r.stdin, r.stdout, r.stderr} {
		if f != nil {
			f.Close()
		}
	}
}

// finish serves a process and waits for its end, and for that of all that it
// started.
func (r *running) finish(ctx context.Context, l limits, most time.Duration, progress func(progressReport), request []byte) end {
	var e end
	var transfers sync.WaitGroup
	misdeeds := make(chan string, 2)
	report, muted := mutable(progress)
	defer muted()

	transfers.Go(func() {
		_, _ = r.stdin.Write(request) // who does not read it knows why
		r.stdin.Close()
	})
	transfers.Go(func() {
		if err := e.reply.read(r.stdout, report); err != nil {
			misdeeds <- "it " + err.Error()
			_, _ = io.Copy(io.Discard, r.stdout)
		}
	})
	said := &record{log: r.log}
	transfers.Go(func() {
		if n, _ := io.Copy(said, io.LimitReader(r.stderr, maxOutput)); n == maxOutput {
			misdeeds <- fmt.Sprintf("it wrote more than %d MiB to standard error", maxOutput>>20)
			_, _ = io.Copy(io.Discard, r.stderr)
		}
	})
	exited := make(chan struct{})
	go func() {
		_ = r.cmd.Wait() // its state tells
		close(exited)
	}()

	gone := r.watch(ctx, l, most, exited, misdeeds, &e)
	if gone && e.reason == "" {
		e.left = r.stragglers()
	}
	r.box.kill(killPatience)
	if !gone {
		// It is inside the kernel, which waits for a device.
		select {
		case <-exited:
			gone = true
		default:
			e.reason += "; it cannot be killed, as it waits for a device"
		}
	}
	// All that could write is gone, unless it hid.
	deadline := time.Now().Add(drainPatience)
	_ = r.stdin.SetWriteDeadline(time.Now())
	_ = r.stdout.SetReadDeadline(deadline)
	_ = r.stderr.SetReadDeadline(deadline)
	transfers.Wait()
	r.closePipes()
	said.flush()
	e.said = said.end()
	switch {
	case e.reason == "":
		e.reason = r.after(l, misdeeds)
	case e.reply.wrong != "":
		e.reason += "; it " + e.reply.wrong
	}
	if !gone {
		return e
	}
	if status, ok := r.cmd.ProcessState.Sys().(syscall.WaitStatus); ok {
		e.status = status.ExitStatus()
		if status.Signaled() {
			e.signal = status.Signal().String()
		}
	}
	return e
}

// after is what came to light when the process had ended already.
func (r *running) after(l limits, misdeeds <-chan string) string {
	select {
	case reason := <-misdeeds:
		return reason
	default:
		return r.misbehaves(l)
	}
}

// watch waits for the end of the process, or brings it about; it is false if
// the process outlives that. e gets the reason.
func (r *running) watch(ctx context.Context, l limits, most time.Duration, exited <-chan struct{}, misdeeds <-chan string, e *end) bool {
	timeUp := time.NewTimer(most)
	defer timeUp.Stop()
	watch := time.NewTicker(watchInterval)
	defer watch.Stop()
	var graceOver <-chan time.Time
	for {
		select {
		case <-exited:
			return true
		case <-ctx.Done():
			e.cause = context.Cause(ctx)
			e.reason = cmp.Or(e.reason, "it was stopped: "+e.cause.Error())
		case reason := <-misdeeds:
			e.reason = cmp.Or(e.reason, reason)
		case <-timeUp.C:
			e.reason = fmt.Sprintf("it ran for more than %s", most)
			r.box.signal(syscall.SIGTERM)
			graceOver = time.After(l.grace)
			continue
		case <-graceOver:
		case <-watch.C:
			began := time.Now()
			reason := r.misbehaves(l)
			// Looking takes a fifth of the time at most, but on a very busy machine.
			watch.Reset(min(max(watchInterval, 4*time.Since(began)), time.Second))
			if reason == "" {
				continue
			}
			e.reason = cmp.Or(e.reason, reason)
		}
		r.box.kill(killPatience)
		select {
		case <-exited:
			return true
		case <-time.After(killPatience):
			return false
		}
	}
}

// misbehaves says which limit the process exceeds now, "" for none.
func (r *running) misbehaves(l limits) string {
	size, memory := r.files.size()
	if !memory && size > l.scratch {
		return fmt.Sprintf("it wrote more than %d MiB into its scratch directory", l.scratch>>20)
	}
	if !memory {
		size = 0
	}
	return r.box.exceeded(l, size)
}

// stragglers are the processes that are still there a moment after the plugin
// itself has ended.
func (r *running) stragglers() []string {
	var pids []int
	if until(lastBreath, func() bool { pids = r.box.alive(); return len(pids) == 0 }) {
		return nil
	}
	const most = 5
	var names []string
	for i, pid := range pids {
		if i == most {
			names = append(names, fmt.Sprintf("%d more", len(pids)-most))
			break
		}
		names = append(names, name(pid))
	}
	return names
}

// mutable makes a function that does nothing any more once it was muted: what
// is left of a plugin reports nothing.
func mutable(progress func(progressReport)) (report func(progressReport), mute func()) {
	var mu sync.Mutex
	report = func(p progressReport) {
		mu.Lock()
		defer mu.Unlock()
		if progress != nil {
			progress(p)
		}
	}
	return report, func() {
		mu.Lock()
		defer mu.Unlock()
		progress = nil
	}
}
