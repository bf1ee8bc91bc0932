package rescue

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// failPause is the wait after a wrong password on a console, as of login(1).
const failPause = 3 * time.Second

// Login asks at the terminal on standard input, which controls the session, for user and
// password until they are right, and becomes a shell then. It returns only with an error.
func Login() error {
	password, err := ReadPassword(PasswordFile)
	if err != nil {
		return err
	}
	tty, err := newTerminal(os.Stdin)
	if err != nil {
		return err
	}
	p := prompter{in: os.Stdin, out: os.Stdout, terminal: tty, match: password.Match, pause: func() { time.Sleep(failPause) }}
	host, err := os.Hostname()
	if err != nil {
		return fmt.Errorf("ask for the host name: %w", err)
	}
	if err := p.run(host); err != nil {
		return fmt.Errorf("log in: %w", err)
	}
	fmt.Fprintf(os.Stdout, "\n%s", welcome)
	sh, err := firstOf(interactive[:])
	if err != nil {
		return err
	}
	if err := os.Chdir("/root"); err != nil {
		return err
	}
	return fmt.Errorf("start %s: %w", sh, syscall.Exec(sh, []string{sh}, environment(terminalType(os.Stdin))))
}

const welcome = "You are root in the rescue system. The machine's disks are not mounted.\n"

// The shells that the ramdisk may have, the best first: for people at a terminal, and for
// commands.
var (
	interactive = [...]string{"/bin/bash", ShellProgram, "/bin/sh", "/bbin/gosh"}
	scripted    = [...]string{"/bin/bash", "/bin/sh", "/bbin/gosh"}
)

// ShellProgram is the ramdisk's own shell.
const ShellProgram = "/sbin/shell"

func firstOf(shells []string) (string, error) {
	for _, path := range shells {
		if _, err := os.Stat(path); err == nil {
			return path, nil
		}
	}
	return "", errors.New("the ramdisk has no shell")
}

// environment of a session on a type of terminal, "" for none.
func environment(term string) []string {
	env := []string{"HOME=/root", "USER=root", "LOGNAME=root", "SHELL=/bin/sh", "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/bbin"}
	if term != "" {
		env = append(env, "TERM="+term)
	}
	return env
}

// terminalType is that of a console: the kernel's own, or what every emulator at the other
// end of a serial line understands.
func terminalType(f *os.File) string {
	name, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", f.Fd()))
	if base := filepath.Base(name); err == nil && strings.HasPrefix(base, "tty") && strings.Trim(base[3:], "0123456789") == "" {
		return "linux"
	}
	return "vt220"
}

// prompter asks for user and password.
type prompter struct {
	in       io.Reader
	out      io.Writer
	terminal interface {
		echo(on bool) error
		forget() error // drops what was typed ahead
	}
	match func(user, password string) bool
	pause func()
}

// run returns nil when user and password are right.
func (p *prompter) run(host string) error {
	for {
		if err := p.terminal.echo(true); err != nil {
			return err
		}
		fmt.Fprintf(p.out, "\n%s rescue login: ", host)
		user, err := readLine(p.in, maxLine)
		if err != nil {
			return err
		}
		if user == "" {
			continue
		}
		if err := p.terminal.echo(false); err != nil {
			return err
		}
		fmt.Fprint(p.out, "Password: ")
		password, err := readLine(p.in, maxLine)
		if err := errors.Join(err, p.terminal.echo(true)); err != nil {
			return err
		}
		if p.match(user, password) {
			return nil
		}
		p.pause()
		fmt.Fprint(p.out, "\nLogin incorrect\n")
		if err := p.terminal.forget(); err != nil {
			return err
		}
	}
}

// readLine reads a line byte by byte, so that what follows is left for the shell. A line
// longer than limit comes cut off. An end before a line is io.EOF.
func readLine(r io.Reader, limit int) (string, error) {
	var line []byte
	for b := []byte{0}; ; {
		switch n, err := r.Read(b); {
		case n == 0 && err != nil:
			return "", err
		case n == 0:
		case b[0] == '\n' || b[0] == '\r':
			return string(line), nil
		case len(line) < limit:
			line = append(line, b[0])
		}
	}
}

// terminal is a real one.
type terminal struct{ fd int }

// newTerminal makes a terminal behave as a fresh one, whatever a shell before has left.
func newTerminal(f *os.File) (*terminal, error) {
	t := &terminal{fd: int(f.Fd())}
	return t, t.change(func(s *unix.Termios) {
		s.Iflag |= unix.ICRNL | unix.IXON
		s.Iflag &^= unix.INLCR | unix.IGNCR | unix.ISTRIP
		s.Oflag |= unix.OPOST | unix.ONLCR
		s.Lflag |= unix.ISIG | unix.ICANON | unix.ECHO | unix.ECHOE | unix.ECHOK | unix.IEXTEN
		s.Cc[unix.VINTR], s.Cc[unix.VERASE], s.Cc[unix.VKILL], s.Cc[unix.VEOF] = 'C'-'@', 0x7f, 'U'-'@', 'D'-'@'
	})
}

func (t *terminal) echo(on bool) error {
	return t.change(func(s *unix.Termios) {
		if s.Lflag &^= unix.ECHO; on {
			s.Lflag |= unix.ECHO
		}
	})
}

func (t *terminal) forget() error {
	if err := unix.IoctlSetInt(t.fd, unix.TCFLSH, unix.TCIFLUSH); err != nil {
		return fmt.Errorf("flush the terminal: %w", err)
	}
	return nil
}

func (t *terminal) change(how func(*unix.Termios)) error {
	settings, err := unix.IoctlGetTermios(t.fd, unix.TCGETS)
	if err == nil {
		how(settings)
		err = unix.IoctlSetTermios(t.fd, unix.TCSETS, settings)
	}
	if err != nil {
		return fmt.Errorf("set up the terminal: %w", err)
	}
	return nil
}
