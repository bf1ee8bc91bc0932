package console

import (
	"context"
	"fmt"
	"sync"
)

// Viewer looks at a line and types. One goroutine reads from it at a time.
type Viewer struct {
	line *Line

	mu    sync.Mutex
	text  []byte
	lost  int     // characters that were dropped since it read
	state []State // that it has not read
	err   error
	ready chan struct{} // of one: something is there to read
}

// Item is what a viewer reads: text of the machine, or what became of the line.
type Item struct {
	Text  []byte
	State *State
	// Lost is how many characters before this the viewer was too slow for.
	Lost int
}

// Attach makes a viewer, which sees first what was said lately if wanted, and
// the state of the line.
func (l *Line) Attach(withRecent bool) (*Viewer, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.stopped:
		return nil, ErrStopped
	case len(l.viewers) >= maxViewers:
		return nil, ErrFull
	}
	v := &Viewer{line: l, ready: make(chan struct{}, 1)}
	l.viewers[v] = struct{}{}
	v.tell(l.state)
	if withRecent {
		v.give(l.recent[max(0, len(l.recent)-recentSize):])
	}
	return v, nil
}

// Close sends the viewer away.
func (v *Viewer) Close() {
	v.line.mu.Lock()
	delete(v.line.viewers, v)
	v.line.mu.Unlock()
	v.end(ErrStopped)
}

// Read waits for the next item. What came before the end of the line is read
// before its error.
func (v *Viewer) Read(ctx context.Context) (Item, error) {
	for {
		if item, ok, err := v.next(); ok || err != nil {
			return item, err
		}
		select {
		case <-v.ready:
		case <-ctx.Done():
			return Item{}, ctx.Err()
		}
	}
}

func (v *Viewer) next() (item Item, ok bool, err error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	switch {
	case len(v.state) > 0:
		item.State, v.state = &v.state[0], v.state[1:]
		return item, true, nil
	case len(v.text) > 0:
		item.Text, v.text = v.text, nil
		item.Lost, v.lost = v.lost, 0
		return item, true, nil
	}
	return Item{}, false, v.err
}

// Write types text. It returns when the machine's BMC has it.
func (v *Viewer) Write(text []byte) (int, error) {
	if err := v.line.write(text); err != nil {
		return 0, fmt.Errorf("type on the console: %w", err)
	}
	return len(text), nil
}

// Break holds the line low for a moment.
func (v *Viewer) Break() error { return v.line.use(Port.Break) }

// give hands text over. Who is too far behind loses the oldest.
func (v *Viewer) give(text []byte) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.text = append(v.text, text...)
	if over := len(v.text) - viewerBuffer; over > 0 {
		v.text = append([]byte(nil), v.text[over:]...)
		v.lost += over
	}
	v.wake()
}

// tell hands a state over; of many that nobody has read, the last count.
func (v *Viewer) tell(s State) {
	const unread = 8
	v.mu.Lock()
	defer v.mu.Unlock()
	v.state = append(v.state, s)
	v.state = v.state[max(0, len(v.state)-unread):]
	v.wake()
}

func (v *Viewer) end(err error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.err = err
	v.wake()
}

func (v *Viewer) wake() {
	select {
	case v.ready <- struct{}{}:
	default:
	}
}
