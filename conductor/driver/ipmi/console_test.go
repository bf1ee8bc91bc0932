package ipmi

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"ferric/conductor/console"
	"ferric/conductor/driver"
	"ferric/conductor/store"
	"ferric/conductor/task"
)

// consoleNode is a stored node with the BMC of a simulator.
func consoleNode(t *testing.T, info Info) *task.Task {
	t.Helper()
	node, _ := newNode(t, func(n *store.Node) {
		n.DriverInfo = store.Object{"ipmi_address": info.Address, "ipmi_port": float64(info.Port), "ipmi_username": info.Username, "ipmi_password": string(info.Password)}
	})
	return node
}

func tcpPort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

func newConsoles(t *testing.T, edit func(*ConsoleConfig)) *Consoles {
	t.Helper()
	cfg := DefaultConsoleConfig()
	cfg.SocatAddress = "127.0.0.1"
	if edit != nil {
		edit(&cfg)
	}
	if err := cfg.Validate(); err != nil {
		t.Fatal(err)
	}
	c := NewConsoles(newBMCs(t, nil), cfg, quiet())
	t.Cleanup(c.Close)
	return c
}

// TestConsole has two look at one machine, one by TCP and one as the API does; what each types reaches it; what it
// says is in the log. The BMC goes away and comes back.
func TestConsole(t *testing.T) {
	sim, machine := startSerialSimulator(t)
	port, dir := tcpPort(t), t.TempDir()
	consoles := newConsoles(t, func(c *ConsoleConfig) {
		c.PortRange = fmt.Sprintf("%d:%d", port, port)
		c.Log.Directory = dir
	})
	node, socat := consoleNode(t, sim.info), consoles.Socat()
	if err := socat.StartConsole(t.Context(), node); err != nil {
		t.Fatal(err)
	}
	where, err := socat.GetConsole(t.Context(), node.Node)
	if want := fmt.Sprintf("tcp://127.0.0.1:%d", port); err != nil || where["type"] != "socat" || where["url"] != want {
		t.Fatalf("console %v, %v; want %s", where, err, want)
	}
	viewer, err := socat.AttachConsole(node.Node, true)
	if err != nil {
		t.Fatal(err)
	}
	defer viewer.Close()
	state := waitState(t, viewer, true)
	if state.Error != "" {
		t.Errorf("state %+v", state)
	}
	conn, err := net.Dial("tcp", "127.0.0.1:"+strconv.Itoa(port))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	byTCP, byAPI := gather(conn), gather(viewerReader{t, viewer})
	fmt.Fprint(conn, "typed by TCP\r")
	waitUntil(t, "it is typed", func() bool { return machine.input() == "typed by TCP\r" })
	if _, err := viewer.Write([]byte("typed by the API\r")); err != nil {
		t.Error(err)
	}
	waitUntil(t, "it is typed", func() bool { return strings.HasSuffix(machine.input(), "typed by the API\r") })
	machine.say(t, []byte("login: \r\n"))
	for name, seen := range map[string]*reader{"TCP": byTCP, "the API": byAPI} {
		waitUntil(t, name+" shows it", func() bool { return seen.String() == "login: \r\n" })
	}
	log := func() string {
		b, err := os.ReadFile(filepath.Join(dir, node.Node.UUID+".log"))
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	if text := log(); !strings.Contains(text, "login: \r\n") || !strings.Contains(text, " connected ---") {
		t.Errorf("log %q", text)
	}
	late, err := socat.AttachConsole(node.Node, true)
	if err != nil {
		t.Fatal(err)
	}
	past := gather(viewerReader{t, late})
	waitUntil(t, "who comes late sees what was said", func() bool { return past.String() == "login: \r\n" })
	late.Close()

	// Somebody takes the line and leaves it: it is taken back then.
	sim.ipmitool(t, "sol", "deactivate")
	consoles.bmcs.solQuiet = 100 * time.Millisecond
	if err := socat.StopConsole(t.Context(), node); err != nil {
		t.Fatal(err)
	}
	waitUntil(t, "viewers are sent away", func() bool { return byTCP.ended() != nil && byAPI.ended() != nil })
	if _, err := socat.AttachConsole(node.Node, true); !errors.Is(err, console.ErrStopped) {
		t.Errorf("a console that is off: %v", err)
	}
	if err := socat.StartConsole(t.Context(), node); err != nil { // the port is free again
		t.Fatal(err)
	}
	if viewer, err = socat.AttachConsole(node.Node, false); err != nil {
		t.Fatal(err)
	}
	waitState(t, viewer, true)
	sim.ipmitool(t, "sol", "deactivate")
	if s := waitState(t, viewer, false); !strings.Contains(s.Error, "ended the serial console") {
		t.Errorf("after it was deactivated: %+v", s)
	}
	waitState(t, viewer, true)
	viewer.Close()
}

func waitState(t *testing.T, v *console.Viewer, connected bool) console.State {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	for {
		item, err := v.Read(ctx)
		if err != nil {
			t.Fatalf("waiting for connected=%t: %v", connected, err)
		}
		if item.State != nil && item.State.Connected == connected {
			return *item.State
		}
	}
}

// viewerReader reads text only.
type viewerReader struct {
	t *testing.T
	v *console.Viewer
}

func (r viewerReader) Read(b []byte) (int, error) {
	item, err := r.v.Read(r.t.Context())
	if err != nil {
		return 0, io.EOF
	}
	return copy(b, item.Text), nil
}

// TestConsoleValidation has nodes that cannot have a console, and ports that are taken.
func TestConsoleValidation(t *testing.T) {
	consoles := newConsoles(t, nil)
	node := func(more map[string]any) *store.Node {
		info := store.Object{"ipmi_address": "192.0.2.1"}
		for k, v := range more {
			info[k] = v
		}
		return &store.Node{UUID: "u", DriverInfo: info, DriverInternalInfo: store.Object{}}
	}
	var missing *driver.MissingParameterError
	var invalid *driver.InvalidParameterError
	if err := consoles.Socat().Validate(t.Context(), node(nil)); !errors.As(err, &missing) || !strings.Contains(err.Error(), "ipmi_terminal_port") {
		t.Errorf("without a port: %v", err)
	}
	if err := consoles.WebSocket().Validate(t.Context(), node(nil)); err != nil {
		t.Errorf("WebSocket without a port: %v", err)
	}
	if err := consoles.WebSocket().Validate(t.Context(), node(map[string]any{"ipmi_protocol_version": "1.5"})); !errors.As(err, &invalid) {
		t.Errorf("IPMI 1.5: %v", err)
	}
	if where, err := consoles.WebSocket().GetConsole(t.Context(), node(nil)); err != nil || where["url"] != "/ferric/v1/nodes/u/console" {
		t.Errorf("WebSocket: %v, %v", where, err)
	}
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	busy := consoleNode(t, parse(t, map[string]any{"ipmi_address": "127.0.0.1", "ipmi_port": 9}))
	busy.Node.DriverInfo["ipmi_terminal_port"] = taken.Addr().(*net.TCPAddr).Port
	if err := consoles.Socat().StartConsole(t.Context(), busy); err == nil || !strings.Contains(err.Error(), "in use") {
		t.Errorf("a port that is taken: %v", err)
	}
	for _, text := range []string{"x", "1", "5:4", "0:9", "1:70000"} {
		c := DefaultConsoleConfig()
		c.PortRange = text
		if err := c.Validate(); err == nil {
			t.Errorf("port_range %q is taken", text)
		}
	}
}
