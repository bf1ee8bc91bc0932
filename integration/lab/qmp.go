package lab

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"
)

// qmpTimeout bounds one command to QEMU's monitor.
const qmpTimeout = 5 * time.Second

// monitor speaks QMP, QEMU's machine protocol (docs/interop/qmp-spec.txt), with one QEMU process.
type monitor struct {
	conn   io.ReadWriteCloser
	ready  chan struct{} // closed when commands may be sent
	closed chan struct{} // closed when the connection has ended
	events chan qmpEvent // closed with the connection

	mu      sync.Mutex
	id      int
	pending map[int]chan qmpMessage
}

type qmpEvent struct {
	Name string
	Data struct {
		Guest  bool   `json:"guest"`
		Reason string `json:"reason"`
	}
}

type qmpMessage struct {
	Greeting json.RawMessage `json:"QMP"`
	Event    string          `json:"event"`
	Data     json.RawMessage `json:"data"`
	ID       int             `json:"id"`
	Return   json.RawMessage `json:"return"`
	Error    *struct {
		Class string `json:"class"`
		Desc  string `json:"desc"`
	} `json:"error"`
}

func newMonitor(conn io.ReadWriteCloser) *monitor {
	m := &monitor{conn: conn, ready: make(chan struct{}), closed: make(chan struct{}), events: make(chan qmpEvent, 64), pending: map[int]chan qmpMessage{}}
	go m.read()
	return m
}

func (m *monitor) read() {
	defer close(m.events)
	defer close(m.closed)
	decoder := json.NewDecoder(m.conn)
	for {
		var msg qmpMessage
		if err := decoder.Decode(&msg); err != nil {
			return
		}
		switch {
		case msg.Greeting != nil:
			go func() {
				if m.command(context.Background(), "qmp_capabilities", nil) == nil {
					close(m.ready)
				}
			}()
		case msg.Event != "":
			event := qmpEvent{Name: msg.Event}
			_ = json.Unmarshal(msg.Data, &event.Data) // other events have data of other shapes
			select {
			case m.events <- event:
			default: // far behind: only reset and shutdown matter, and they come seldom
			}
		default:
			m.mu.Lock()
			answer := m.pending[msg.ID]
			delete(m.pending, msg.ID)
			m.mu.Unlock()
			if answer != nil {
				answer <- msg
			}
		}
	}
}

// command executes one command and waits for its answer.
func (m *monitor) command(ctx context.Context, name string, arguments map[string]any) error {
	ctx, cancel := context.WithTimeout(ctx, qmpTimeout)
	defer cancel()
	answer := make(chan qmpMessage, 1)
	m.mu.Lock()
	m.id++
	id := m.id
	m.pending[id] = answer
	request := map[string]any{"execute": name, "id": id}
	if arguments != nil {
		request["arguments"] = arguments
	}
	data, err := json.Marshal(request)
	if err == nil {
		_, err = m.conn.Write(append(data, '\n'))
	}
	m.mu.Unlock()
	if err != nil {
		return fmt.Errorf("QEMU command %s: %w", name, err)
	}
	select {
	case msg := <-answer:
		if msg.Error != nil {
			return fmt.Errorf("QEMU command %s: %s", name, msg.Error.Desc)
		}
		return nil
	case <-m.closed:
		return fmt.Errorf("QEMU command %s: %w", name, errors.New("QEMU has ended"))
	case <-ctx.Done():
		return fmt.Errorf("QEMU command %s: %w", name, ctx.Err())
	}
}
