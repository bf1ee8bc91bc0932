package lab

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// A rack that runs by itself ("ferric lab up") is asked and told through a Unix socket in its directory: paths, unlike
// addresses, mean the same inside and outside its network namespace. A client sends one line of JSON and gets one back;
// after "console" the connection carries the console's bytes, both ways.
const (
	socketName     = "control"
	controlTimeout = 10 * time.Second
	consoleTail    = 4096 // bytes of the past shown on attaching
)

// ErrNotRunning reports that no rack runs in a directory.
var ErrNotRunning = errors.New("no rack is running")

// Status is what "ferric lab status" shows.
type Status struct {
	Dir         string
	Accel       string
	API         []string // addresses on the host that lead into the rack
	ThroughSudo bool     // root made the namespaces, so only root can enter them
	Nodes       []NodeStatus
	Processes   []ProcessStatus

	PID int `json:"-"` // a process inside, as numbered on the client's side
}

// NodeStatus is a machine's part of Status.
type NodeStatus struct {
	Name     string
	Firmware Firmware
	MAC      string
	BMC      string
	User     string
	Powered  bool
	Selector Selector
	Console  string // file
	Bytes    int64  // in Console
}

// ProcessStatus is a program's part of Status.
type ProcessStatus struct {
	Name  string
	Ended string // how it ended, "" while it runs
	Log   string
}

type request struct {
	Do   string // status, down, console
	Node string
}

type answer struct {
	Error  string
	Status *Status
}

// control serves a rack's socket.
type control struct {
	rack     *Rack
	status   Status
	listener *net.UnixListener
	down     chan struct{} // closed by the request to take the rack down
	once     sync.Once
}

func newControl(ctx context.Context, r *Rack, listening []string) (*control, error) {
	path := filepath.Join(r.Dir, socketName)
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("serve the rack's socket: %w", err)
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err == nil {
		err = os.Chmod(path, 0o600)
	}
	if err != nil {
		return nil, fmt.Errorf("serve the rack's socket: %w", err)
	}
	c := &control{rack: r, listener: l, down: make(chan struct{}),
		status: Status{Dir: r.Dir, Accel: r.Accel, API: listening, ThroughSudo: os.Getenv(sudoVar) != ""}}
	go c.serve(ctx)
	return c, nil
}

func (c *control) serve(ctx context.Context) {
	for {
		conn, err := c.listener.AcceptUnix()
		if err != nil {
			return
		}
		go func() {
			defer conn.Close()
			_ = conn.SetDeadline(time.Now().Add(controlTimeout))
			line, err := bufio.NewReader(io.LimitReader(conn, 4096)).ReadBytes('\n')
			var req request
			if err == nil {
				err = json.Unmarshal(line, &req)
			}
			if err == nil {
				err = c.do(ctx, conn, req)
			}
			if err != nil {
				_ = json.NewEncoder(conn).Encode(answer{Error: err.Error()})
			}
		}()
	}
}

func (c *control) do(ctx context.Context, conn *net.UnixConn, req request) error {
	switch req.Do {
	case "status":
		return json.NewEncoder(conn).Encode(answer{Status: c.look()})
	case "down":
		c.once.Do(func() { close(c.down) })
		return json.NewEncoder(conn).Encode(answer{})
	case "console":
		node := c.rack.Node(req.Node)
		if node == nil {
			return fmt.Errorf("the rack has no machine %q", req.Node)
		}
		if err := json.NewEncoder(conn).Encode(answer{}); err != nil {
			return nil
		}
		_ = conn.SetDeadline(time.Time{})
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		go func() {
			defer cancel() // the client has gone
			buf := make([]byte, 256)
			for {
				n, err := conn.Read(buf)
				if err != nil {
					return
				}
				_, _ = node.Console.Write(buf[:n]) // nobody reads keys while the machine is off
			}
		}()
		_ = node.Console.CopyTo(ctx, conn, max(0, node.Console.Size()-consoleTail))
		return nil
	}
	return fmt.Errorf("unknown request %q", req.Do)
}

func (c *control) look() *Status {
	s := c.status
	for _, n := range c.rack.Nodes {
		s.Nodes = append(s.Nodes, NodeStatus{Name: n.Config.Name, Firmware: n.Config.Firmware, MAC: n.Config.MAC,
			BMC: n.Config.BMC.Address, User: n.Config.BMC.User, Powered: n.Powered(), Selector: n.Selector(),
			Console: n.Console.Path(), Bytes: n.Console.Size()})
	}
	c.rack.mu.Lock()
	defer c.rack.mu.Unlock()
	for _, p := range c.rack.processes {
		ps := ProcessStatus{Name: p.Name, Log: p.LogPath}
		select {
		case <-p.Done():
			ps.Ended = "status 0"
			if err := p.Err(); err != nil {
				ps.Ended = err.Error()
			}
		default:
		}
		s.Processes = append(s.Processes, ps)
	}
	return &s
}

// dial sends a request to the rack in dir and returns the connection after its answer, and the process at its end.
func dial(ctx context.Context, dir string, req request) (*net.UnixConn, answer, int, error) {
	var d net.Dialer
	c, err := d.DialContext(ctx, "unix", filepath.Join(dir, socketName))
	if err != nil {
		return nil, answer{}, 0, fmt.Errorf("%w in %s", ErrNotRunning, dir)
	}
	conn := c.(*net.UnixConn)
	pid, a, err := ask(conn, req)
	if err != nil {
		conn.Close()
		return nil, a, 0, fmt.Errorf("ask the rack in %s: %w", dir, err)
	}
	return conn, a, pid, nil
}

func ask(conn *net.UnixConn, req request) (pid int, a answer, err error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return 0, a, err
	}
	var peer *unix.Ucred
	var peerErr error
	if err := raw.Control(func(fd uintptr) {
		peer, peerErr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	}); err != nil || peerErr != nil {
		return 0, a, errors.Join(err, peerErr)
	}
	_ = conn.SetDeadline(time.Now().Add(controlTimeout))
	if err := json.NewEncoder(conn).Encode(req); err != nil {
		return 0, a, err
	}
	// byte by byte to the end of the line: what follows it belongs to the console
	var line []byte
	for b := make([]byte, 1); ; {
		if _, err := conn.Read(b); err != nil {
			return 0, a, err
		}
		if b[0] == '\n' {
			break
		}
		if line = append(line, b[0]); len(line) > 1<<20 {
			return 0, a, errors.New("its answer is too long")
		}
	}
	if err := json.Unmarshal(line, &a); err != nil {
		return 0, a, err
	}
	if a.Error != "" {
		return 0, a, errors.New(a.Error)
	}
	_ = conn.SetDeadline(time.Time{})
	return int(peer.Pid), a, nil
}

// QueryStatus asks the rack that runs in dir; ErrNotRunning if there is none.
func QueryStatus(ctx context.Context, dir string) (*Status, error) {
	conn, a, pid, err := dial(ctx, dir, request{Do: "status"})
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	if a.Status == nil {
		return nil, fmt.Errorf("ask the rack in %s: it gave no status", dir)
	}
	a.Status.PID = pid
	return a.Status, nil
}

// Down takes the rack that runs in dir down and returns when it is gone. What does not end in time is killed: with
// the process inside, everything else in its namespace dies.
func Down(ctx context.Context, dir string) error {
	conn, _, pid, err := dial(ctx, dir, request{Do: "down"})
	if err != nil {
		return err
	}
	defer conn.Close()
	process, err := unix.PidfdOpen(pid, 0)
	if errors.Is(err, unix.ESRCH) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("take the rack in %s down: %w", dir, err)
	}
	defer unix.Close(process)
	for _, kill := range []bool{false, true} {
		if kill {
			if err := unix.PidfdSendSignal(process, unix.SIGKILL, nil, 0); err != nil && !errors.Is(err, unix.ESRCH) {
				return fmt.Errorf("kill the rack in %s: %w", dir, err)
			}
		}
		gone, err := ended(ctx, process, grace)
		if gone || err != nil {
			return err
		}
	}
	return fmt.Errorf("take the rack in %s down: process %d does not end", dir, pid)
}

// ended waits until the process of a pidfd has ended.
func ended(ctx context.Context, pidfd int, limit time.Duration) (bool, error) {
	for deadline := time.Now().Add(limit); time.Now().Before(deadline); {
		poll := []unix.PollFd{{Fd: int32(pidfd), Events: unix.POLLIN}}
		n, err := unix.Poll(poll, 200)
		if n > 0 {
			return true, nil
		}
		if err != nil && !errors.Is(err, unix.EINTR) {
			return false, err
		}
		if ctx.Err() != nil {
			return false, ctx.Err()
		}
	}
	return false, nil
}

// Attach shows the console of a machine of the rack in dir on out, its last lines and what comes, and types what is read
// from in, which may be nil; until in or ctx ends, or the rack is gone.
func Attach(ctx context.Context, dir, node string, in io.Reader, out io.Writer) error {
	conn, _, _, err := dial(ctx, dir, request{Do: "console", Node: node})
	if err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	if in != nil {
		go func() {
			_, _ = io.Copy(conn, in)
			conn.Close()
		}()
	}
	_, err = io.Copy(out, conn)
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}
