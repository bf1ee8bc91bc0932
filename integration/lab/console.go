package lab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"sync"
	"time"
)

const (
	maxLines      = 50000 // kept in memory, the file has all
	maxLineLength = 4096  // bytes; longer lines are cut into several
)

// Line is a line of a console, without terminal control sequences.
type Line struct {
	Number int       // from 0, across all boots since the rack is up
	Time   time.Time // arrival of its first byte
	Text   string
}

// Console is a machine's serial console: firmware, boot loader and operating system, through all power cycles.
// All methods may be called concurrently.
type Console struct {
	file *os.File

	mu      sync.Mutex
	lines   []Line // the last one is still growing
	growing []byte // its text
	dropped int    // lines no longer in memory
	size    int64
	strip   stripper
	changed chan struct{} // closed and replaced whenever something arrives
	input   io.Writer     // nil while the machine is off
}

func newConsole(path string) (*Console, error) {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o644)
	if err != nil {
		return nil, fmt.Errorf("open console log: %w", err)
	}
	return &Console{file: file, changed: make(chan struct{})}, nil
}

// Path returns the file that holds all bytes of the console as they came.
func (c *Console) Path() string { return c.file.Name() }

// Size returns the number of bytes that came so far.
func (c *Console) Size() int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.size
}

// Mark returns the number that the next new line will have, for use as "since".
func (c *Console) Mark() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := c.dropped + len(c.lines)
	if len(c.lines) > 0 && c.lines[len(c.lines)-1].Text == "" {
		n-- // an empty line has not begun
	}
	return n
}

// Lines returns the lines with numbers of at least since.
func (c *Console) Lines(since int) []Line {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]Line(nil), c.from(since)...)
}

func (c *Console) from(since int) []Line {
	return c.lines[min(max(since-c.dropped, 0), len(c.lines)):]
}

// WaitFor returns the first line numbered since or higher that matches, as soon as there is one; the line may still be
// incomplete (a prompt). When ctx ends first, the error quotes the last lines.
func (c *Console) WaitFor(ctx context.Context, since int, re *regexp.Regexp) (Line, error) {
	for {
		c.mu.Lock()
		lines, changed := c.from(since), c.changed
		for _, l := range lines {
			if re.MatchString(l.Text) {
				c.mu.Unlock()
				return l, nil
			}
		}
		if len(lines) > 0 {
			since = lines[len(lines)-1].Number // the last one may go on
		}
		c.mu.Unlock()
		select {
		case <-ctx.Done():
			return Line{}, fmt.Errorf("wait for %q on the console: %w; last lines: %q", re, ctx.Err(), c.tail(5))
		case <-changed:
		}
	}
}

// tail returns the text of the last n lines that are not empty.
func (c *Console) tail(n int) []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	var out []string
	for i := len(c.lines) - 1; i >= 0 && len(out) < n; i-- {
		if c.lines[i].Text != "" {
			out = append([]string{c.lines[i].Text}, out...)
		}
	}
	return out
}

// Each calls f with every complete line numbered since or higher, as they come, until ctx ends or f returns false.
func (c *Console) Each(ctx context.Context, since int, f func(Line) bool) {
	for {
		c.mu.Lock()
		lines := append([]Line(nil), c.from(since)...)
		changed := c.changed
		c.mu.Unlock()
		if len(lines) > 0 {
			lines = lines[:len(lines)-1]
		}
		for _, l := range lines {
			since = l.Number + 1
			if !f(l) {
				return
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-changed:
		}
	}
}

// Write types on the console; it fails while the machine is off.
func (c *Console) Write(p []byte) (int, error) {
	c.mu.Lock()
	input := c.input
	c.mu.Unlock()
	if input == nil {
		return 0, errors.New("type on the console: the machine is off")
	}
	return input.Write(p)
}

// pump takes in what the machine prints until it is off.
func (c *Console) pump(serial io.ReadWriter) {
	c.mu.Lock()
	c.input = serial
	c.mu.Unlock()
	buf := make([]byte, 16<<10)
	for {
		n, err := serial.Read(buf)
		c.take(buf[:n], time.Now())
		if err != nil {
			break
		}
	}
	c.mu.Lock()
	if c.input == serial {
		c.input = nil
	}
	c.mu.Unlock()
}

func (c *Console) take(p []byte, now time.Time) {
	if len(p) == 0 {
		return
	}
	_, _ = c.file.Write(p) // the lines in memory do without the file
	c.mu.Lock()
	defer c.mu.Unlock()
	c.size += int64(len(p))
	if len(c.lines) == 0 {
		c.lines = []Line{{}}
	}
	for _, b := range p {
		switch text := c.strip.next(b); {
		case text == '\n':
			c.endLine()
		case text != 0:
			if len(c.growing) == 0 {
				c.lines[len(c.lines)-1].Time = now
			}
			if c.growing = append(c.growing, text); len(c.growing) >= maxLineLength {
				c.endLine()
			}
		}
	}
	c.lines[len(c.lines)-1].Text = string(c.growing)
	close(c.changed)
	c.changed = make(chan struct{})
}

func (c *Console) endLine() {
	last := &c.lines[len(c.lines)-1]
	last.Text = string(c.growing)
	c.growing = c.growing[:0]
	next := last.Number + 1
	if c.lines = append(c.lines, Line{Number: next}); len(c.lines) > maxLines {
		drop := maxLines / 10
		c.lines = append([]Line(nil), c.lines[drop:]...)
		c.dropped += drop
	}
}

// stripper removes terminal control sequences. Firmware places text with cursor movements instead of line ends, so a
// movement to another place ends the line.
type stripper struct {
	state byte // 0 text, 'e' after escape, '[' within a control sequence
	began bool // the line has text
}

// next returns the byte to keep, '\n' at the end of a line, or 0.
func (s *stripper) next(b byte) byte {
	switch s.state {
	case 'e':
		s.state = 0
		if b == '[' {
			s.state = '['
		}
		return 0
	case '[':
		if b >= 0x40 && b <= 0x7e {
			s.state = 0
			if (b == 'H' || b == 'J') && s.began {
				s.began = false
				return '\n'
			}
		}
		return 0
	}
	switch {
	case b == 0x1b:
		s.state = 'e'
	case b == '\n':
		s.began = false
		return '\n'
	case b == '\t' || b >= 0x20 && b != 0x7f:
		s.began = true
		return b
	}
	return 0
}

// CopyTo writes the console's bytes from the given offset to w, the past and what comes, until ctx ends or w fails.
func (c *Console) CopyTo(ctx context.Context, w io.Writer, offset int64) error {
	file, err := os.Open(c.Path())
	if err != nil {
		return fmt.Errorf("read the console log: %w", err)
	}
	defer file.Close()
	for {
		c.mu.Lock()
		size, changed := c.size, c.changed
		c.mu.Unlock()
		n, err := io.Copy(w, io.NewSectionReader(file, offset, size-offset))
		offset += n
		if err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-changed:
		}
	}
}
