// Package console keeps serial lines of machines open: it connects again when a
// line is lost, hands what a machine says to all who look on and to a log, and
// passes on what they type. It knows nothing of nodes, nor of how a line comes
// about. Start reading at Line.
package console

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"github.com/sirupsen/logrus"
)

// Port is an open serial line. Reading and writing may go on at once.
type Port interface {
	io.ReadWriteCloser
	// Break holds the line low for a moment.
	Break() error
}

// Opener opens the line. lost is why it is not open any more, or why it could
// not be opened; nil is that somebody has asked for the console now.
type Opener func(ctx context.Context, lost error) (Port, error)

// State is what is known of a line.
type State struct {
	Connected bool      `json:"connected"`
	Since     time.Time `json:"since"`
	Error     string    `json:"error,omitempty"` // why it is not connected
}

// Limits of a line.
const (
	maxViewers   = 16
	recentSize   = 16 << 10 // what a viewer sees of the past
	viewerBuffer = 4 << 20  // what a viewer may be behind
	firstPause   = time.Second
	longestPause = time.Minute
	openLimit    = 3 * time.Minute
)

// ErrStopped means that the line was stopped, ErrFull that too many look on.
var (
	ErrStopped = errors.New("the console is stopped")
	ErrFull    = fmt.Errorf("the console has %d viewers already", maxViewers)
)

// errNotConnected is a line that is being opened.
var errNotConnected = errors.New("the console is not connected")

// Line is a serial line that is kept open until Stop. It is safe for
// concurrent use.
type Line struct {
	open Opener
	file *Log // nil is none
	log  *logrus.Entry
	stop context.CancelFunc
	done chan struct{}

	typing sync.Mutex // one writes at a time

	mu      sync.Mutex
	port    Port // nil while it is not connected
	state   State
	recent  []byte
	viewers map[*Viewer]struct{}
	stopped bool

	listeners []net.Listener
}

// Start opens the line, and again whenever it is lost. file may be nil.
func Start(open Opener, file *Log, log *logrus.Entry) *Line {
	ctx, cancel := context.WithCancel(context.Background())
	l := &Line{open: open, file: file, log: log, stop: cancel, done: make(chan struct{}), viewers: map[*Viewer]struct{}{},
		state: State{Since: time.Now().UTC(), Error: "connecting"}}
	go l.run(ctx)
	return l
}

// Stop closes the line and sends its viewers away.
func (l *Line) Stop() {
	l.stop()
	l.mu.Lock()
	port := l.port
	l.mu.Unlock()
	if port != nil {
		port.Close()
	}
	<-l.done
}

// State is what is known of the line now.
func (l *Line) State() State {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.state
}

func (l *Line) run(ctx context.Context) {
	defer close(l.done)
	defer l.sendAway()
	defer l.file.close()
	wait, err := firstPause, error(nil)
	for ctx.Err() == nil {
		var port Port
		opening, cancel := context.WithTimeout(ctx, openLimit)
		port, err = l.open(opening, err)
		cancel()
		if err == nil {
			began := time.Now()
			err = l.serve(ctx, port)
			if time.Since(began) > longestPause {
				wait = firstPause
			}
		}
		if ctx.Err() != nil {
			return
		}
		if l.State().Error != err.Error() {
			l.log.WithError(err).Warn("serial console is not connected, trying again")
		}
		l.change(nil, err)
		select {
		case <-time.After(wait):
		case <-ctx.Done():
		}
		wait = min(2*wait, longestPause)
	}
}

// serve passes on what the machine says until the line ends.
func (l *Line) serve(ctx context.Context, port Port) error {
	defer port.Close()
	l.change(port, nil)
	l.log.Info("serial console is connected")
	if ctx.Err() != nil { // Stop did not see the port
		return ctx.Err()
	}
	buf := make([]byte, 16<<10)
	for {
		n, err := port.Read(buf)
		if n > 0 {
			l.say(buf[:n])
		}
		if err != nil {
			return err
		}
	}
}

// change notes the state, and tells the viewers and the log.
func (l *Line) change(port Port, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	was := l.state
	l.port, l.state = port, State{Connected: port != nil, Since: time.Now().UTC()}
	if err != nil {
		l.state.Error = err.Error()
	}
	if was.Connected == l.state.Connected && was.Error == l.state.Error {
		l.state.Since = was.Since
		return
	}
	note := "connected"
	if err != nil {
		note = "not connected: " + l.state.Error
	}
	l.file.note(l.state.Since, note)
	for v := range l.viewers {
		v.tell(l.state)
	}
}

func (l *Line) say(text []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.file.write(text)
	l.recent = append(l.recent, text...)
	if n := len(l.recent) - recentSize; n > recentSize {
		l.recent = append([]byte(nil), l.recent[n:]...)
	}
	for v := range l.viewers {
		v.give(text)
	}
}

func (l *Line) sendAway() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.stopped = true
	l.port, l.state = nil, State{Since: time.Now().UTC(), Error: ErrStopped.Error()}
	for v := range l.viewers {
		v.end(ErrStopped)
	}
	clear(l.viewers)
	for _, listener := range l.listeners {
		listener.Close()
	}
}

// write types text; all viewers' go one after another.
func (l *Line) write(text []byte) error {
	return l.use(func(p Port) error { _, err := p.Write(text); return err })
}

func (l *Line) use(do func(Port) error) error {
	l.typing.Lock()
	defer l.typing.Unlock()
	l.mu.Lock()
	port := l.port
	l.mu.Unlock()
	if port == nil {
		return errNotConnected
	}
	return do(port)
}
