// Package lab is a virtual rack: QEMU machines on a bridge, each with a BMC that really switches it, all inside user,
// network, mount and PID namespaces of their own. Nothing of the host's network or disks is touched, no privilege is
// needed, and when the rack's first process ends, everything in it ends.
//
// A program that uses the lab calls [Run] (tests: [Main] from TestMain). Run executes the program again inside the
// namespaces, where it gets to the same call of Run and goes on with the function given to it; there [Up] builds a rack.
package lab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// stageVar tells a re-executed program which part it plays. Processes started inside inherit "inside".
const (
	stageVar  = "FERRIC_LAB_STAGE"
	stageInit = "init"   // process 1 of the PID namespace
	stageIn   = "inside" // the caller's function

	listenersVar = "FERRIC_LAB_LISTENERS" // number of inherited listening sockets
)

// File descriptors handed down: the outside process gives process 1 the first three kinds, process 1 gives the inside
// process the listeners only.
const (
	fdAlive      = 3 // read end; end of file means that the outside process is gone
	fdReady      = 4 // process 1 reports "ok" or why it could not set the namespaces up
	fdListeners  = 5 // first listener in process 1
	fdInsideBase = 3 // first listener in the inside process
)

// grace is how long the inside function may take to clean up after the outside context has ended.
const grace = 30 * time.Second

// ErrForbidden reports that the system lets neither this user nor root (through sudo) create the namespaces.
var ErrForbidden = errors.New("the system forbids the namespaces that the rack lives in")

// ErrOutside reports a call that works only within [Run].
var ErrOutside = errors.New("not inside the rack's namespaces")

// Forward makes an address inside the namespace reachable on the host: connections to Listen, a host:port on the host
// (loopback, normally), are relayed to To inside.
type Forward struct {
	Listen string
	To     string
}

// Options of [Run].
type Options struct {
	Forwards []Forward
}

// Namespace is what the inside function knows about its surroundings.
type Namespace struct {
	// Listening holds the host's address of each forward, in the order of Options.Forwards (useful with port 0).
	Listening []string
}

// ExitError is returned by [Run] outside when the inside process ended unsuccessfully; it has already said why.
type ExitError struct {
	Code int // exit status, or 128 + signal number
}

func (e *ExitError) Error() string {
	return fmt.Sprintf("the process inside the rack ended with status %d", e.Code)
}

// ExitCode returns the status with which a program should end when Run returned err.
func ExitCode(err error) int {
	var exit *ExitError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &exit):
		return exit.Code
	}
	return 1
}

// Inside reports whether this process runs within the rack's namespaces.
func Inside() bool { return os.Getenv(stageVar) == stageIn }

// Run runs inside in new namespaces, in another process: it executes the program again with the same arguments, and in
// that process Run calls inside and returns its error. In the calling process Run passes signals on, keeps the
// forwards, and returns when all is over: nil, *ExitError, or why the namespaces could not be had. When ctx ends
// outside, the inside process gets SIGTERM and half a minute. Called inside already, Run only calls the function (and
// makes no forwards).
//
// Code before Run is executed in all processes, so it must be cheap and free of effects.
func Run(ctx context.Context, opts Options, inside func(context.Context, *Namespace) error) error {
	switch os.Getenv(stageVar) {
	case stageInit:
		os.Exit(processOne())
		return nil
	case stageIn:
		listeners, err := inheritedListeners()
		if err != nil {
			return err
		}
		ns := &Namespace{}
		for i, l := range listeners {
			defer l.Close()
			if i < len(opts.Forwards) {
				ns.Listening = append(ns.Listening, l.Addr().String())
				go relay(l, opts.Forwards[i].To)
			}
		}
		return inside(ctx, ns)
	default:
		return outside(ctx, opts)
	}
}

// Main is the whole TestMain of a test package whose tests use the lab: it runs them inside the namespaces and exits.
func Main(m interface{ Run() int }) {
	err := Run(context.Background(), Options{}, func(context.Context, *Namespace) error {
		if code := m.Run(); code != 0 {
			return &ExitError{Code: code}
		}
		return nil
	})
	var exit *ExitError
	if err != nil && !errors.As(err, &exit) {
		fmt.Fprintln(os.Stderr, err)
	}
	os.Exit(ExitCode(err))
}

// outside starts process 1 and waits for it.
func outside(ctx context.Context, opts Options) error {
	if NeedsSudo() {
		return throughSudo(ctx, userNamespacesForbidden())
	}
	listeners, err := listen(ctx, opts.Forwards)
	if err != nil {
		return err
	}
	defer closeAll(listeners)
	err = start(ctx, listeners)
	var denied *deniedError
	if errors.As(err, &denied) {
		if errors.Is(err, unix.ENOSPC) { // for root, too
			return fmt.Errorf("%w: %w: see user.max_user_namespaces", ErrForbidden, denied.err)
		}
		if os.Geteuid() == 0 {
			return fmt.Errorf("%w: %w", ErrForbidden, denied.err)
		}
		closeAll(listeners)
		return throughSudo(ctx, denied.err.Error())
	}
	return err
}

// deniedError says that the namespaces could not be created or used.
type deniedError struct{ err error }

func (e *deniedError) Error() string { return e.err.Error() }
func (e *deniedError) Unwrap() error { return e.err }

func start(ctx context.Context, listeners []*os.File) error {
	exe, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find the program to run inside the rack: %w", err)
	}
	aliveRead, aliveWrite, err := os.Pipe()
	if err != nil {
		return fmt.Errorf("start the rack's first process: %w", err)
	}
	defer aliveWrite.Close()
	readyRead, readyWrite, err := os.Pipe()
	if err != nil {
		aliveRead.Close()
		return fmt.Errorf("start the rack's first process: %w", err)
	}
	defer readyRead.Close()

	uid, gid, err := hostIdentity()
	if err != nil {
		return err
	}
	cmd := exec.Command(exe, os.Args[1:]...)
	cmd.Args[0] = os.Args[0]
	cmd.Env = append(os.Environ(), stageVar+"="+stageInit, listenersVar+"="+strconv.Itoa(len(listeners)))
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.ExtraFiles = append([]*os.File{aliveRead, readyWrite}, listeners...)
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  unix.CLONE_NEWUSER | unix.CLONE_NEWNET | unix.CLONE_NEWNS | unix.CLONE_NEWPID,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: uid, Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: gid, Size: 1}},
		Credential:  &syscall.Credential{Uid: 0, Gid: 0, NoSetGroups: true},
		// a group of its own, so that Ctrl-C arrives once, by way of the signals passed on below
		Setpgid: true,
	}
	err = cmd.Start()
	aliveRead.Close()
	readyWrite.Close()
	if err != nil {
		return &deniedError{fmt.Errorf("create user, network, mount and PID namespaces: %w", err)}
	}
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, unix.SIGINT, unix.SIGTERM, unix.SIGHUP, unix.SIGQUIT)
	defer signal.Stop(signals)

	ended := make(chan error, 1)
	report, _ := io.ReadAll(io.LimitReader(readyRead, 4096))
	go func() { ended <- cmd.Wait() }()
	done := ctx.Done()
	var kill <-chan time.Time
	for {
		select {
		case s := <-signals:
			_ = cmd.Process.Signal(s)
		case <-done:
			done = nil
			_ = cmd.Process.Signal(unix.SIGTERM)
			kill = time.After(grace)
		case <-kill:
			_ = cmd.Process.Kill()
		case err := <-ended:
			if text := string(report); text != "ok" && text != "" {
				return &deniedError{errors.New(text)}
			}
			return exitError(err)
		}
	}
}

// exitError turns what exec.Cmd.Wait returned into an *ExitError.
func exitError(err error) error {
	var exit *exec.ExitError
	if !errors.As(err, &exit) {
		return err
	}
	if status, ok := exit.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		return &ExitError{Code: 128 + int(status.Signal())}
	}
	return &ExitError{Code: exit.ExitCode()}
}

// listen opens the host's side of the forwards. A socket belongs to the network namespace in which it was made, so the
// inside process can accept on it without any process of ours staying between.
func listen(ctx context.Context, forwards []Forward) ([]*os.File, error) {
	var files []*os.File
	for _, f := range forwards {
		var lc net.ListenConfig
		l, err := lc.Listen(ctx, "tcp", f.Listen)
		if err != nil {
			closeAll(files)
			return nil, fmt.Errorf("forward %s into the rack: %w", f.Listen, err)
		}
		file, err := l.(*net.TCPListener).File()
		l.Close()
		if err != nil {
			closeAll(files)
			return nil, fmt.Errorf("forward %s into the rack: %w", f.Listen, err)
		}
		files = append(files, file)
	}
	return files, nil
}

func closeAll(files []*os.File) {
	for _, f := range files {
		f.Close()
	}
}

// inheritedListeners takes over the listening sockets, once: processes started later must not find them.
func inheritedListeners() ([]net.Listener, error) {
	n, _ := strconv.Atoi(os.Getenv(listenersVar))
	if err := os.Unsetenv(listenersVar); err != nil {
		return nil, err
	}
	var out []net.Listener
	for i := range n {
		unix.CloseOnExec(fdInsideBase + i)
		file := os.NewFile(uintptr(fdInsideBase+i), "forward")
		l, err := net.FileListener(file)
		file.Close()
		if err != nil {
			return nil, fmt.Errorf("take over forward %d: %w", i, err)
		}
		out = append(out, l)
	}
	return out, nil
}

// relay passes each connection of l on to an address inside the namespace, until l is closed.
func relay(l net.Listener, to string) {
	for {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		go func() {
			defer conn.Close()
			target, err := net.DialTimeout("tcp", to, 5*time.Second)
			if err != nil {
				return
			}
			defer target.Close()
			go func() {
				_, _ = io.Copy(target, conn)
				_ = target.(*net.TCPConn).CloseWrite()
			}()
			_, _ = io.Copy(conn, target)
		}()
	}
}

// NeedsSudo reports whether [Run] will call sudo, which may ask for a password.
func NeedsSudo() bool { return os.Geteuid() != 0 && userNamespacesForbidden() != "" }

// userNamespacesForbidden names the setting by which a distribution forbids unprivileged user namespaces, or "".
// Ubuntu 24.04 lets them be created but gives them no rights, which would show only later and less clearly.
func userNamespacesForbidden() string {
	for _, s := range []struct{ path, forbids string }{
		{"kernel/apparmor_restrict_unprivileged_userns", "1"},
		{"kernel/unprivileged_userns_clone", "0"},
	} {
		data, err := os.ReadFile("/proc/sys/" + s.path)
		if err == nil && strings.TrimSpace(string(data)) == s.forbids {
			return strings.ReplaceAll(s.path, "/", ".") + "=" + s.forbids
		}
	}
	return ""
}
