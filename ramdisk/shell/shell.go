// Package shell is a small interactive shell for people at a console or over SSH: lines
// are edited with cursor keys and history, which needs no answers of the terminal, and
// the programs that it runs find the terminal as it was before.
package shell

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/term"
	"mvdan.cc/sh/v3/interp"
	"mvdan.cc/sh/v3/syntax"
)

// killTime is what a program has to end after an interrupt before it is killed.
const killTime = 5 * time.Second

// Run is the shell with the arguments of sh(1): a command after -c, the file of a script,
// or nothing, when it works for the person at the terminal on standard input, or reads a
// script there. It returns the status to exit with.
func Run(args []string) (int, error) {
	command := false
	var options []string
	for len(args) > 0 && strings.HasPrefix(args[0], "-") && args[0] != "-" {
		if args[0] == "--" {
			args = args[1:]
			break
		}
		flags := strings.TrimLeft(args[0], "-")
		command = command || strings.Contains(flags, "c")
		if rest := strings.NewReplacer("c", "", "i", "", "l", "", "s", "").Replace(flags); rest != "" {
			options = append(options, "-"+rest)
		}
		args = args[1:]
	}
	first, rest := "", []string(nil)
	if len(args) > 0 {
		first, rest = args[0], args[1:]
	}
	if command && len(rest) > 0 {
		rest = rest[1:] // the name of the command
	}
	runner, err := interp.New(
		interp.StdIO(os.Stdin, os.Stdout, os.Stderr),
		interp.Interactive(len(args) == 0),
		interp.Params(append(append(options, "--"), rest...)...),
		interp.ExecHandlers(func(interp.ExecHandlerFunc) interp.ExecHandlerFunc { return interp.DefaultExecHandler(killTime) }),
	)
	if err != nil {
		return 2, fmt.Errorf("start the shell: %w", err)
	}
	switch {
	case command:
		return script(runner, strings.NewReader(first), "")
	case len(args) > 0:
		f, err := os.Open(first)
		if err != nil {
			return 127, err
		}
		defer f.Close()
		return script(runner, f, first)
	case !term.IsTerminal(int(os.Stdin.Fd())):
		return script(runner, os.Stdin, "")
	}
	return interactive(runner)
}

// script runs a whole program.
func script(runner *interp.Runner, text io.Reader, name string) (int, error) {
	program, err := syntax.NewParser().Parse(text, name)
	if err != nil {
		return 2, err
	}
	err = runner.Run(context.Background(), program)
	if code, ended := interp.IsExitStatus(err); ended {
		return int(code), nil
	}
	if err != nil {
		return 1, err
	}
	return 0, nil
}

// interactive works for a person until that one leaves.
func interactive(runner *interp.Runner) (int, error) {
	ed := newEditor(os.Stdin, os.Stdout)
	interrupts := make(chan os.Signal, 1)
	signal.Notify(interrupts, os.Interrupt)
	status := 0
	for !runner.Exited() {
		_ = os.Chdir(runner.Dir) // for completion; the runner keeps a directory of its own
		program, err := read(ed, prompt(runner.Dir))
		switch {
		case errors.Is(err, io.EOF):
			return status, nil
		case errors.Is(err, errInterrupted):
			continue
		case err != nil && ed.failed:
			return 1, err
		case err != nil:
			fmt.Fprintln(os.Stderr, err)
			continue
		}
		err = runUntil(interrupts, func(ctx context.Context) error { return runAll(ctx, runner, program.Stmts) })
		code, ended := interp.IsExitStatus(err)
		switch {
		case err == nil:
			status = 0
		case ended:
			status = int(code)
		case !errors.Is(err, context.Canceled):
			status = 1
			fmt.Fprintln(os.Stderr, err)
		}
	}
	return status, nil
}

// runAll runs statements one by one: a whole program would be the end of the shell.
func runAll(ctx context.Context, runner *interp.Runner, statements []*syntax.Stmt) error {
	var err error
	for _, s := range statements {
		if err = runner.Run(ctx, s); runner.Exited() || ctx.Err() != nil {
			break
		}
	}
	return err
}

// runUntil runs what an interrupt ends: a program gets it from the terminal itself.
func runUntil(interrupts chan os.Signal, run func(context.Context) error) error {
	select {
	case <-interrupts: // came before
	default:
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- run(ctx) }()
	for {
		select {
		case err := <-done:
			return err
		case <-interrupts:
			cancel()
			fmt.Println() // the terminal shows ^C
		}
	}
}

// prompt names machine and directory, as in "node-7:/mnt# ".
func prompt(dir string) string {
	host, err := os.Hostname()
	if err != nil {
		host = "rescue"
	}
	return host + ":" + dir + "# "
}

// lineReader gives one line, without its end.
type lineReader interface {
	line(prompt string) (string, error)
}

// read reads lines until they are whole statements.
func read(r lineReader, prompt string) (*syntax.File, error) {
	parser := syntax.NewParser()
	text := ""
	for {
		line, err := r.line(prompt)
		if err != nil {
			return nil, err
		}
		text += line + "\n"
		program, err := parser.Parse(strings.NewReader(text), "")
		if err == nil || !syntax.IsIncomplete(err) {
			return program, err
		}
		prompt = "> "
	}
}

var errInterrupted = errors.New("interrupted")

// editor edits lines at a terminal, which is raw only meanwhile.
type editor struct {
	tty         *os.File
	terminal    *term.Terminal
	pending     []byte // to be read before the terminal
	interrupted bool
	failed      bool
}

func newEditor(in, out *os.File) *editor {
	e := &editor{tty: in}
	e.terminal = term.NewTerminal(struct {
		io.Reader
		io.Writer
	}{e, out}, "")
	e.terminal.AutoCompleteCallback = func(line string, pos int, key rune) (string, int, bool) {
		if key != '\t' {
			return "", 0, false
		}
		line, pos = complete(line, pos)
		return line, pos, true
	}
	return e
}

// An interrupt, which would be the end of all input for package term, is replaced by
// these keys: go to the end of the line, delete it, and enter it.
const (
	interrupt  = 'C' - '@'
	emptyEnter = "\x05\x15\r"
)

// Read reads a byte at a time: what follows the line is for the program that it starts.
func (e *editor) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	if len(e.pending) == 0 {
		n, err := e.tty.Read(p[:1])
		if n == 0 || p[0] != interrupt {
			return n, err
		}
		e.interrupted, e.pending = true, []byte(emptyEnter)
	}
	p[0] = e.pending[0]
	e.pending = e.pending[1:]
	return 1, nil
}

func (e *editor) line(prompt string) (string, error) {
	fd := int(e.tty.Fd())
	state, err := term.MakeRaw(fd)
	if err != nil {
		e.failed = true
		return "", fmt.Errorf("edit a line: %w", err)
	}
	defer term.Restore(fd, state)
	if width, height, err := term.GetSize(fd); err == nil && width > 0 && height > 0 {
		_ = e.terminal.SetSize(width, height) // never fails
	}
	e.terminal.SetPrompt(prompt)
	e.interrupted = false
	line, err := e.terminal.ReadLine()
	switch {
	case err == nil && e.interrupted:
		return "", errInterrupted
	case err == nil || errors.Is(err, term.ErrPasteIndicator):
		return line, nil
	case errors.Is(err, io.EOF):
		fmt.Fprint(e.tty, "\r\n")
		return "", io.EOF
	}
	e.failed = true
	return "", fmt.Errorf("edit a line: %w", err)
}

// complete completes the name of a file before pos as far as it is the only one.
func complete(line string, pos int) (string, int) {
	start := strings.LastIndexAny(line[:pos], " \t=:;|&<>(\"'") + 1
	word := line[start:pos]
	found, err := filepath.Glob(word + "*")
	if err != nil || len(found) == 0 || strings.ContainsAny(word, "*?[\\$") {
		return line, pos
	}
	common := found[0]
	for _, f := range found[1:] {
		for !strings.HasPrefix(f, common) {
			common = common[:len(common)-1]
		}
	}
	if len(found) == 1 {
		if info, err := os.Stat(common); err == nil && info.IsDir() {
			common += "/"
		} else {
			common += " "
		}
	}
	if len(common) < len(word) {
		return line, pos
	}
	return line[:start] + common + line[pos:], start + len(common)
}
