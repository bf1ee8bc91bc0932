package rescue

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/sys/unix"
)

// lastWords is how long the output of a program that has ended is still read: a program
// that it left behind may hold it.
const lastWords = 5 * time.Second

// termForm are the names of terminal types.
var termForm = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9.+_-]{0,63}$`)

// session is one program, with or without a terminal, over a channel (RFC 4254, section 6).
type session struct {
	channel ssh.Channel
	master  *os.File // of the terminal, nil without one
	slave   *os.File
	term    string
	started bool
	ended   func() error // waits for the program
}

func newSession(c ssh.Channel) *session { return &session{channel: c} }

// Requests of a session, as they are encoded.
type (
	ptyRequest struct {
		Term                         string
		Columns, Rows, Width, Height uint32
		Modes                        string
	}
	windowChange struct{ Columns, Rows, Width, Height uint32 }
	execRequest  struct{ Command string }
	exitStatus   struct{ Status uint32 }
	exitSignal   struct {
		Signal   string // without SIG
		CoreDump bool
		Message  string
		Language string
	}
)

// serve answers requests until the channel or ctx ends. A program ends with it.
func (s *session) serve(ctx context.Context, requests <-chan *ssh.Request) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer s.closeTerminal()
	defer s.channel.Close()
	for r := range requests {
		err := s.answer(ctx, r)
		if r.WantReply {
			if r.Reply(err == nil, nil) != nil {
				return
			}
		}
		if wait := s.ended; wait != nil { // the answer comes before the end
			s.ended = nil
			go func() {
				s.report(wait())
				s.channel.Close()
			}()
		}
	}
}

var errRefused = errors.New("refused")

func (s *session) answer(ctx context.Context, r *ssh.Request) error {
	switch r.Type {
	case "pty-req":
		var p ptyRequest
		if err := ssh.Unmarshal(r.Payload, &p); err != nil {
			return err
		}
		return s.openTerminal(p)
	case "window-change":
		var w windowChange
		if err := ssh.Unmarshal(r.Payload, &w); err != nil {
			return err
		}
		return s.resize(w)
	case "shell":
		return s.start(ctx)
	case "exec":
		var e execRequest
		if err := ssh.Unmarshal(r.Payload, &e); err != nil {
			return err
		}
		return s.start(ctx, "-c", e.Command)
	}
	return errRefused
}

// openTerminal makes a pseudo terminal.
func (s *session) openTerminal(p ptyRequest) error {
	if s.started || s.master != nil {
		return errRefused
	}
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		return err
	}
	slave, err := openSlave(master)
	if err != nil {
		master.Close()
		return err
	}
	s.master, s.slave, s.term = master, slave, "vt220"
	if termForm.MatchString(p.Term) {
		s.term = p.Term
	}
	return s.resize(windowChange{p.Columns, p.Rows, p.Width, p.Height})
}

func openSlave(master *os.File) (*os.File, error) {
	raw, err := master.SyscallConn() // Fd would make reads block the closing
	if err != nil {
		return nil, err
	}
	number, failed := 0, error(nil)
	err = raw.Control(func(fd uintptr) {
		if failed = unix.IoctlSetPointerInt(int(fd), unix.TIOCSPTLCK, 0); failed == nil {
			number, failed = unix.IoctlGetInt(int(fd), unix.TIOCGPTN)
		}
	})
	if err := errors.Join(err, failed); err != nil {
		return nil, fmt.Errorf("make a terminal: %w", err)
	}
	return os.OpenFile("/dev/pts/"+strconv.Itoa(number), os.O_RDWR|unix.O_NOCTTY, 0)
}

func (s *session) resize(w windowChange) error {
	if s.master == nil {
		return errRefused
	}
	raw, err := s.master.SyscallConn()
	if err != nil {
		return err
	}
	size := unix.Winsize{Row: clamp(w.Rows), Col: clamp(w.Columns), Xpixel: clamp(w.Width), Ypixel: clamp(w.Height)}
	var failed error
	err = raw.Control(func(fd uintptr) { failed = unix.IoctlSetWinsize(int(fd), unix.TIOCSWINSZ, &size) })
	return errors.Join(err, failed)
}

func clamp(n uint32) uint16 { return uint16(min(n, 1<<16-1)) }

func (s *session) closeTerminal() {
	if s.master != nil {
		s.master.Close() // hangs up on the programs at the terminal
		s.slave.Close()
	}
}

// start runs the shell.
func (s *session) start(ctx context.Context, args ...string) error {
	if s.started {
		return errRefused
	}
	shells := scripted[:]
	if s.master != nil && len(args) == 0 {
		shells = interactive[:]
	}
	sh, err := firstOf(shells)
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, sh, args...)
	cmd.Dir = home()
	cmd.Env = environment(s.term)
	cmd.WaitDelay = lastWords
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	// The whole session of the program hears that the peer has left.
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGHUP) }
	run := s.withoutTerminal
	if s.master != nil {
		run = s.withTerminal
	}
	s.ended, err = run(cmd)
	s.started = err == nil
	return err
}

// home is the directory that sessions begin in.
func home() string {
	if unix.Access("/root", unix.X_OK) != nil {
		return "/"
	}
	return "/root"
}

func (s *session) withTerminal(cmd *exec.Cmd) (wait func() error, err error) {
	cmd.Stdin, cmd.Stdout, cmd.Stderr = s.slave, s.slave, s.slave
	cmd.SysProcAttr.Setctty = true
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	s.slave.Close() // or its end would not be seen
	go io.Copy(s.master, s.channel)
	copied := make(chan struct{})
	go func() {
		defer close(copied)
		_, _ = io.Copy(s.channel, s.master) // ends with EIO when nobody holds the terminal
	}()
	return func() error {
		err := cmd.Wait()
		select {
		case <-copied:
		case <-time.After(lastWords):
		}
		return err
	}, nil
}

func (s *session) withoutTerminal(cmd *exec.Cmd) (wait func() error, err error) {
	cmd.Stdout, cmd.Stderr = s.channel, s.channel.Stderr()
	stdin, err := cmd.StdinPipe() // Wait is not to wait for the peer's input
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		_, _ = io.Copy(stdin, s.channel)
		stdin.Close()
	}()
	return cmd.Wait, nil
}

// report tells the peer how the program ended (RFC 4254, section 6.10).
func (s *session) report(err error) {
	status := exitStatus{}
	var exit *exec.ExitError
	switch {
	case err == nil || errors.Is(err, exec.ErrWaitDelay):
	case !errors.As(err, &exit):
		status.Status = 255
	default:
		if w, ok := exit.Sys().(syscall.WaitStatus); ok && w.Signaled() {
			name := unix.SignalName(w.Signal())
			_, _ = s.channel.SendRequest("exit-signal", false, ssh.Marshal(exitSignal{Signal: name[min(len("SIG"), len(name)):], CoreDump: w.CoreDump()}))
			return
		}
		status.Status = uint32(exit.ExitCode())
	}
	_, _ = s.channel.SendRequest("exit-status", false, ssh.Marshal(status))
}
