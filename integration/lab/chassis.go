package lab

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"time"
)

// chassisScript is the program that ipmi_sim runs for each power and boot-device request. It only carries the request
// to the rack, which owns the QEMU processes: thus there is one truth about power, and no process that ipmi_sim could
// leave behind. bash speaks TCP by itself and starts in milliseconds. Its first argument is the machine's name.
const chassisScript = `#!/bin/bash
exec 3<>/dev/tcp/127.0.0.1/%d || exit 1
printf '%%s\n' "$*" >&3
status=lost
read -r -t 15 status <&3
while IFS= read -r -t 15 line <&3; do printf '%%s\n' "$line"; done
[ "$status" = ok ]
`

// chassisTimeout bounds one request of the chassis program.
const chassisTimeout = 10 * time.Second

// chassis answers the chassis programs of all BMCs.
type chassis struct {
	listener net.Listener
	nodes    map[string]*Node
}

func newChassis() (*chassis, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("listen for chassis requests: %w", err)
	}
	return &chassis{listener: l, nodes: map[string]*Node{}}, nil
}

func (c *chassis) script() string {
	return fmt.Sprintf(chassisScript, c.listener.Addr().(*net.TCPAddr).Port)
}

// serve answers until close.
func (c *chassis) serve() {
	for {
		conn, err := c.listener.Accept()
		if err != nil {
			return
		}
		go func() {
			defer conn.Close()
			_ = conn.SetDeadline(time.Now().Add(chassisTimeout))
			line, err := bufio.NewReader(io.LimitReader(conn, 1024)).ReadString('\n')
			if err != nil {
				return
			}
			ctx, cancel := context.WithTimeout(context.Background(), chassisTimeout)
			defer cancel()
			reply, err := c.answer(ctx, strings.Fields(line))
			if err != nil {
				fmt.Fprintf(conn, "failed\n%s\n", err)
				return
			}
			fmt.Fprintf(conn, "ok\n%s", reply)
		}()
	}
}

// answer executes "NAME get power|boot…" or "NAME set power|boot|reset|shutdown VALUE…" (ipmi_lan(5), chassis_control).
func (c *chassis) answer(ctx context.Context, words []string) (string, error) {
	if len(words) < 3 {
		return "", fmt.Errorf("chassis request %q is too short", words)
	}
	node := c.nodes[words[0]]
	if node == nil {
		return "", fmt.Errorf("chassis request for unknown machine %q", words[0])
	}
	switch words[1] {
	case "get":
		var out strings.Builder
		for _, parameter := range words[2:] {
			value, err := get(node, parameter)
			if err != nil {
				return "", err
			}
			fmt.Fprintf(&out, "%s:%s\n", parameter, value)
		}
		return out.String(), nil
	case "set":
		if words[2] == "identify" { // a lamp that nobody sees
			return "", nil
		}
		for i := 2; i+1 < len(words); i += 2 {
			if err := set(ctx, node, words[i], words[i+1]); err != nil {
				return "", err
			}
		}
		return "", nil
	case "check":
		return "", nil
	}
	return "", fmt.Errorf("chassis request %q is neither get nor set", words[1])
}

func get(node *Node, parameter string) (string, error) {
	switch parameter {
	case "power":
		if node.Powered() {
			return "1", nil
		}
		return "0", nil
	case "boot":
		if s := node.Selector(); s != SelectDisk {
			return string(s), nil
		}
		return "default", nil // ipmi_sim's word for "force boot from default hard drive"
	}
	return "", fmt.Errorf("unknown chassis parameter %q", parameter)
}

func set(ctx context.Context, node *Node, parameter, value string) error {
	switch parameter + "=" + value {
	case "power=1":
		return node.PowerOn()
	case "power=0":
		node.PowerOff()
		return nil
	case "reset=1":
		return node.Reset(ctx)
	case "shutdown=1":
		if err := node.Shutdown(ctx); !errors.Is(err, ErrOff) {
			return err
		}
		return nil
	case "boot=none", "boot=pxe", "boot=cdrom", "boot=bios":
		return node.SetSelector(Selector(value))
	case "boot=default":
		return node.SetSelector(SelectDisk)
	}
	return fmt.Errorf("chassis parameter %s cannot be set to %q", parameter, value)
}

func (c *chassis) close() { c.listener.Close() }
