package main

import (
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/term"
)

// board shows what happens to nodes: on a terminal one line for each, which
// changes, and a line that counts them; elsewhere a new line for whatever has
// changed. Where there are more nodes than lines, those that changed last are shown.
type board struct {
	mu     sync.Mutex
	out    io.Writer
	width  func() int // of the terminal; nil without one
	lines  int        // of the terminal for nodes
	start  time.Time
	idents []string
	states []string
	moving []string    // transfers
	news   []time.Time // of each node
	drawn  bool
}

func newBoard(out io.Writer, idents []string) *board {
	b := &board{out: out, start: time.Now(), idents: idents, states: make([]string, len(idents)), moving: make([]string, len(idents)), news: make([]time.Time, len(idents))}
	file, ok := out.(*os.File)
	if !ok || !term.IsTerminal(int(file.Fd())) || os.Getenv("TERM") == "dumb" {
		return b
	}
	_, height, err := term.GetSize(int(file.Fd()))
	if err != nil || height < 4 {
		return b
	}
	b.lines = min(len(idents), height-2)
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
	b.news[i] = time.Now()
	var text strings.Builder
	if b.drawn {
		fmt.Fprintf(&text, "\x1b[%dA", b.height()) // back to the first line
	}
	b.drawn = true
	for _, line := range b.render() {
		text.WriteString("\r\x1b[2K" + line + "\n")
	}
	io.WriteString(b.out, text.String())
}

// height is the number of lines that are drawn.
func (b *board) height() int {
	if len(b.idents) == 1 {
		return 1
	}
	return b.lines + 1
}

// render makes the lines, cut to the terminal's width.
func (b *board) render() []string {
	var lines []string
	seconds := time.Since(b.start).Seconds()
	if len(b.idents) > 1 {
		lines = append(lines, fmt.Sprintf("%5.0fs  %s", seconds, b.summary()))
	}
	for _, i := range b.shown() {
		line := fmt.Sprintf("%s: %s", b.idents[i], first(b.states[i], "waiting for its turn"))
		if b.moving[i] != "" {
			line += ", " + b.moving[i]
		}
		lines = append(lines, fmt.Sprintf("%5.0fs  %s", seconds, printable(line)))
	}
	width := b.width()
	for i, line := range lines {
		if letters := []rune(line); len(letters) > width {
			lines[i] = string(letters[:width-1]) + "…"
		}
	}
	return lines
}

// shown are the nodes that have a line, in their order.
func (b *board) shown() []int {
	all := make([]int, len(b.idents))
	for i := range all {
		all[i] = i
	}
	slices.SortStableFunc(all, func(x, y int) int { return b.news[y].Compare(b.news[x]) })
	all = all[:b.lines]
	slices.Sort(all)
	return all
}

// summary counts the nodes by their state.
func (b *board) summary() string {
	counts := map[string]int{}
	for _, state := range b.states {
		word, _, _ := strings.Cut(first(state, "waiting"), ",")
		word, _, _ = strings.Cut(word, ":")
		counts[printable(word)]++
	}
	var parts []string
	for _, word := range sortedKeys(counts) {
		parts = append(parts, fmt.Sprintf("%d %s", counts[word], word))
	}
	return fmt.Sprintf("%d machines: %s", len(b.idents), strings.Join(parts, ", "))
}
