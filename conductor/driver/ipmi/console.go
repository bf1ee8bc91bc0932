package ipmi

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/sirupsen/logrus"

	"ferric/conductor/console"
	"ferric/conductor/driver"
	"ferric/conductor/store"
	"ferric/conductor/task"
)

// ConsoleConfig holds the options of ironic.conf that concern consoles.
type ConsoleConfig struct {
	// PortRange is where consoles of nodes without ipmi_terminal_port get theirs from, like 10000:20000; empty is nowhere.
	PortRange string `ini:"console.port_range"`
	// SocatAddress is where the ports of consoles are opened, and told to be; empty is [DEFAULT]my_ip.
	SocatAddress string `ini:"console.socat_address"`
	// TerminalTimeout closes a connection to a console's port over which nothing was typed for so long; 0 is never.
	TerminalTimeout time.Duration `ini:"console.terminal_timeout"`
	Log             console.LogConfig
}

// DefaultConsoleConfig has Ironic's defaults.
func DefaultConsoleConfig() ConsoleConfig {
	return ConsoleConfig{TerminalTimeout: 600 * time.Second, Log: console.DefaultLogConfig()}
}

// Validate names an option that cannot work.
func (c ConsoleConfig) Validate() error {
	if _, _, err := c.ports(); err != nil {
		return err
	}
	if c.TerminalTimeout < 0 {
		return fmt.Errorf("[console]terminal_timeout is %s, must not be negative", c.TerminalTimeout)
	}
	return c.Log.Validate()
}

// ports is the range, 0 and 0 if there is none.
func (c ConsoleConfig) ports() (first, last int, err error) {
	if c.PortRange == "" {
		return 0, 0, nil
	}
	low, high, _ := strings.Cut(c.PortRange, ":")
	first, err = strconv.Atoi(strings.TrimSpace(low))
	if err == nil {
		last, err = strconv.Atoi(strings.TrimSpace(high))
	}
	if err != nil || first < 1 || last > 65535 || first > last {
		return 0, 0, fmt.Errorf("[console]port_range is %q, must be two ports like 10000:20000", c.PortRange)
	}
	return first, last, nil
}

// keyTerminalPort is where a port out of the range is kept.
const keyTerminalPort = "allocated_ipmi_terminal_port"

// Consoles are the consoles of all nodes that have theirs switched on, under whatever interface.
type Consoles struct {
	bmcs *BMCs
	cfg  ConsoleConfig
	log  *logrus.Entry

	mu    sync.Mutex
	lines map[string]*console.Line // by the node's UUID
	ports map[int]string           // that are open, and for which node
}

// NewConsoles makes them; cfg must be valid.
func NewConsoles(bmcs *BMCs, cfg ConsoleConfig, log *logrus.Entry) *Consoles {
	return &Consoles{bmcs: bmcs, cfg: cfg, log: log, lines: map[string]*console.Line{}, ports: map[int]string{}}
}

// Close stops all consoles. Their nodes keep them switched on.
func (c *Consoles) Close() {
	c.mu.Lock()
	lines := c.lines
	c.lines, c.ports = map[string]*console.Line{}, map[int]string{}
	c.mu.Unlock()
	var all sync.WaitGroup
	for _, l := range lines {
		all.Go(l.Stop)
	}
	all.Wait()
}

// Console is a console interface: "ipmitool-socat" has a TCP port for each node, "ipmitool-shellinabox" has the
// WebSocket of the API only, which all have.
type Console struct {
	consoles *Consoles
	hasPort  bool
}

// Socat returns the interface "ipmitool-socat".
func (c *Consoles) Socat() *Console { return &Console{c, true} }

// WebSocket returns the interface "ipmitool-shellinabox".
func (c *Consoles) WebSocket() *Console { return &Console{c, false} }

// Properties describes the driver_info keys.
func (c *Console) Properties() map[string]string { return Properties() }

// Validate checks driver_info.
func (c *Console) Validate(_ context.Context, n *store.Node) error {
	info, err := nodeInfo(n)
	switch {
	case err != nil:
		return err
	case info.Version15:
		return driver.Invalid("Serial-over-LAN needs IPMI 2.0. Check the 'ipmi_protocol_version' parameter in node's driver_info.")
	case info.Bridge.Kind != "":
		return driver.Invalid("Serial-over-LAN is of the BMC that is logged in on, and not bridged. Check the 'ipmi_bridging' parameter in node's driver_info.")
	case c.hasPort && info.TerminalPort == 0 && c.consoles.cfg.PortRange == "":
		return driver.Missing("Either set 'ipmi_terminal_port' in node's driver_info or [console]port_range in the configuration.")
	}
	return nil
}

// StartConsole opens the line and keeps it open. That the BMC does not answer is no failure: it is tried again for as
// long as the console is on.
func (c *Console) StartConsole(ctx context.Context, t *task.Task) error {
	if err := c.Validate(ctx, t.Node); err != nil {
		return err
	}
	if err := c.StopConsole(ctx, t); err != nil {
		return err
	}
	all, uuid := c.consoles, t.Node.UUID
	log := all.log.WithField("node", uuid)
	line := console.Start(all.opener(t.Store, t.Node.ID), all.cfg.Log.Open(uuid, log), log)
	if c.hasPort {
		port, err := all.listen(line, t.Node)
		if err != nil {
			line.Stop()
			return err
		}
		t.Node.DriverInternalInfo[keyTerminalPort] = port
		if err := t.Save(ctx); err != nil {
			all.forget(uuid)
			line.Stop()
			return err
		}
	}
	all.mu.Lock()
	all.lines[uuid] = line
	all.mu.Unlock()
	t.Event(ctx, "console", "console started")
	return nil
}

// StopConsole closes the line.
func (c *Console) StopConsole(ctx context.Context, t *task.Task) error {
	line := c.consoles.forget(t.Node.UUID)
	if line == nil {
		return nil
	}
	line.Stop()
	t.Event(ctx, "console", "console stopped")
	return nil
}

// GetConsole tells where the console is.
func (c *Console) GetConsole(_ context.Context, n *store.Node) (map[string]any, error) {
	if !c.hasPort {
		return map[string]any{"type": "websocket", "url": "/ferric/v1/nodes/" + n.UUID + "/console"}, nil
	}
	port, err := c.consoles.portOf(n)
	if err != nil {
		return nil, err
	}
	return map[string]any{"type": "socat", "url": "tcp://" + net.JoinHostPort(c.consoles.cfg.SocatAddress, strconv.Itoa(port))}, nil
}

// AttachConsole looks at the node's console.
func (c *Console) AttachConsole(n *store.Node, withRecent bool) (*console.Viewer, error) {
	c.consoles.mu.Lock()
	line := c.consoles.lines[n.UUID]
	c.consoles.mu.Unlock()
	if line == nil {
		return nil, fmt.Errorf("node %s: %w", n.UUID, console.ErrStopped)
	}
	return line.Attach(withRecent)
}

// opener opens a node's line, with the node's credentials of the moment. A line that somebody else took is not taken
// back from them, but when they have left it.
func (c *Consoles) opener(s *store.Store, id int64) console.Opener {
	return func(ctx context.Context, lost error) (console.Port, error) {
		n, err := s.NodeByID(ctx, id)
		if err != nil {
			return nil, err
		}
		info, err := nodeInfo(n)
		if err != nil {
			return nil, err
		}
		line, err := c.bmcs.OpenSOL(ctx, info, !errors.Is(lost, ErrConsoleTaken) && !errors.Is(lost, errLineEnded))
		if err != nil {
			return nil, err
		}
		return line, nil
	}
}

// forget takes a node's line, and its port, off the books.
func (c *Consoles) forget(uuid string) *console.Line {
	c.mu.Lock()
	defer c.mu.Unlock()
	line := c.lines[uuid]
	delete(c.lines, uuid)
	for port, of := range c.ports {
		if of == uuid {
			delete(c.ports, port)
		}
	}
	return line
}

// portOf is the port that the node has: its own, or the one that it was given.
func (c *Consoles) portOf(n *store.Node) (int, error) {
	info, err := nodeInfo(n)
	if err != nil || info.TerminalPort != 0 {
		return info.TerminalPort, err
	}
	port, err := integer(n.DriverInternalInfo[keyTerminalPort])
	if err != nil {
		return 0, fmt.Errorf("node %s has no port for its console yet", n.UUID)
	}
	return port, nil
}

// listen opens the node's port: its own, the one that it had before, or one of the range that is free.
func (c *Consoles) listen(line *console.Line, n *store.Node) (int, error) {
	first, last, err := c.cfg.ports()
	if err != nil {
		return 0, err
	}
	info, err := nodeInfo(n)
	if err != nil {
		return 0, err
	}
	if info.TerminalPort != 0 {
		return info.TerminalPort, c.listenAt(line, info.TerminalPort, n.UUID)
	}
	if before, err := integer(n.DriverInternalInfo[keyTerminalPort]); err == nil && before >= first && before <= last && c.listenAt(line, before, n.UUID) == nil {
		return before, nil
	}
	for port := first; port <= last; port++ {
		if err = c.listenAt(line, port, n.UUID); err == nil {
			return port, nil
		}
	}
	return 0, fmt.Errorf("no port of [console]port_range %s is free: %w", c.cfg.PortRange, err)
}

// listenAt opens a port. One whose earlier line was stopped a moment ago may not be free yet.
func (c *Consoles) listenAt(line *console.Line, port int, uuid string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if of, taken := c.ports[port]; taken {
		return fmt.Errorf("port %d is that of node %s", port, of)
	}
	if err := line.Listen(net.JoinHostPort(c.cfg.SocatAddress, strconv.Itoa(port)), c.cfg.TerminalTimeout); err != nil {
		return err
	}
	c.ports[port] = uuid
	return nil
}

var (
	_ driver.Console       = (*Console)(nil)
	_ driver.ConsoleViewer = (*Console)(nil)
	_ console.Port         = (*SOL)(nil)
)
