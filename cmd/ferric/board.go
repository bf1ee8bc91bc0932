package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/term"
)

// board shows what happens to nodes: on a terminal one line for each, which
// changes; elsewhere a new line for whatever has changed.
type board struct {
	mu     sync.Mutex
	out    io.Writer
	width  func() int // of the terminal; nil without one
	start  time.Time
	idents []string
	states []string
	moving []string // transfers
	drawn  bool
}

func newBoard(out io.Writer, idents []string) *board {
	b := &board{out: out, start: time.Now(), idents: idents, states: make([]string, len(idents)), moving: make([]string, len(idents))}
	file, ok := out.(*os.File)
	if !ok || !term.IsTerminal(int(file.Fd())) || os.Getenv("TERM") == "dumb" {
		return b
	}
	if _, height, err := term.GetSize(int(file.Fd())); err != nil || height <= len(idents) {
		return b
	}
	b.width = func() int {
		width, _, err := term.GetSize(int(file.Fd()))
		if err != nil || width < 20 {
			return 80
		}
		return width
	}
	return b
}

// state tells what a node is.
func (b *board) state(i int, text string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.states[i], b.moving[i] = text, ""
	b.show(i, text)
}

// transfer tells how far a node's transfer is, "" when there is none.
func (b *board) transfer(i int, text string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.moving[i] != text || b.width != nil {
		b.moving[i] = text
		b.show(i, text)
	}
}

func (b *board) show(i int, news string) {
	if b.width == nil {
		if news != "" {
			fmt.Fprintf(b.out, "%6.1fs  %s: %s\n", time.Since(b.start).Seconds(), b.idents[i], printable(news))
		}
		return
	}
	var text strings.Builder
	if b.drawn {
		fmt.Fprintf(&text, "\x1b[%dA", len(b.idents)) // back to the first line
	}
	b.drawn = true
	width := b.width()
	for i, ident := range b.idents {
		line := fmt.Sprintf("%s: %s", ident, first(b.states[i], "asked"))
		if b.moving[i] != "" {
			line += ", " + b.moving[i]
		}
		line = fmt.Sprintf("%5.0fs  %s", time.Since(b.start).Seconds(), printable(line))
		if letters := []rune(line); len(letters) > width {
			line = string(letters[:width-1]) + "…"
		}
		text.WriteString("\r\x1b[2K" + line + "\n")
	}
	io.WriteString(b.out, text.String())
}
