package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"
)

// stopWait is how long a process gets between SIGTERM and SIGKILL.
const stopWait = 10 * time.Second

// Process is a program started in the rack, such as the conductor.
type Process struct {
	Name    string
	LogPath string // its standard output and error

	cmd  *exec.Cmd
	done chan struct{}
	err  error
}

// StartProcess starts a program inside the rack; its output goes to DIR/NAME.log. It gets SIGTERM when ctx ends or the
// rack is closed, and SIGKILL ten seconds later.
func (r *Rack) StartProcess(ctx context.Context, name string, argv ...string) (*Process, error) {
	if len(argv) == 0 {
		return nil, fmt.Errorf("start %s: no command", name)
	}
	p := &Process{Name: name, LogPath: filepath.Join(r.Dir, name+".log"), done: make(chan struct{})}
	log, err := os.OpenFile(p.LogPath, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	defer log.Close()
	p.cmd = exec.CommandContext(ctx, argv[0], argv[1:]...)
	p.cmd.Stdout, p.cmd.Stderr = log, log
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	p.cmd.Cancel = func() error { return p.cmd.Process.Signal(syscall.SIGTERM) }
	p.cmd.WaitDelay = stopWait
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	go func() {
		p.err = p.cmd.Wait()
		close(p.done)
	}()
	r.mu.Lock()
	r.processes = append(r.processes, p)
	r.mu.Unlock()
	return p, nil
}

// PID returns the process number.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Done is closed when the process has ended.
func (p *Process) Done() <-chan struct{} { return p.done }

// Err waits for the end of the process and returns how it ended (nil: status 0).
func (p *Process) Err() error {
	<-p.done
	return p.err
}

// Kill ends the process at once (SIGKILL) and waits for its end.
func (p *Process) Kill() {
	_ = p.cmd.Process.Kill()
	<-p.done
}

// Stop asks the process to end (SIGTERM), kills it after ten seconds, and waits for its end. It returns an error if it
// had to be killed.
func (p *Process) Stop() error {
	if err := p.cmd.Process.Signal(syscall.SIGTERM); errors.Is(err, os.ErrProcessDone) {
		<-p.done
		return nil
	}
	select {
	case <-p.done:
		return nil
	case <-time.After(stopWait):
		p.Kill()
		return fmt.Errorf("stop %s: it did not end within %s of SIGTERM and was killed", p.Name, stopWait)
	}
}
