package console

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"
)

// writeLimit is how long a viewer over TCP may take nothing.
const writeLimit = 30 * time.Second

// Listen offers the line at a TCP address until Stop: all that is sent is
// typed, all that the machine says comes back, and nothing else. A connection
// over which nothing was sent for idle is closed, 0 is never.
func (l *Line) Listen(address string, idle time.Duration) error {
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return fmt.Errorf("listen for the console: %w", err)
	}
	l.mu.Lock()
	if l.stopped {
		listener.Close()
	}
	l.listeners = append(l.listeners, listener)
	l.mu.Unlock()
	go func() {
		for {
			conn, err := listener.Accept()
			if errors.Is(err, net.ErrClosed) {
				return
			}
			if err != nil { // out of descriptors, as a rule
				time.Sleep(100 * time.Millisecond)
				continue
			}
			go l.converse(conn, idle)
		}
	}()
	return nil
}

// converse serves one connection.
func (l *Line) converse(conn net.Conn, idle time.Duration) {
	defer conn.Close()
	v, err := l.Attach(false)
	if err != nil {
		return
	}
	defer v.Close()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() {
		defer cancel()
		buf := make([]byte, 4096)
		for {
			if idle > 0 {
				conn.SetReadDeadline(time.Now().Add(idle))
			}
			n, err := conn.Read(buf)
			if n > 0 {
				_, _ = v.Write(buf[:n]) // what a line that is lost did not take, nobody types again
			}
			if err != nil {
				return
			}
		}
	}()
	for {
		item, err := v.Read(ctx)
		if err != nil {
			return
		}
		conn.SetWriteDeadline(time.Now().Add(writeLimit))
		if _, err := conn.Write(item.Text); err != nil {
			return
		}
	}
}
