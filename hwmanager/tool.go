package hwmanager

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"ferric/api/ipa"
)

// Tool is a program to run, with what vendors' tools need beyond Runner.
type Tool struct {
	Name  string // looked for on the PATH if it has no slash
	Args  []string
	Stdin io.Reader // nil: nothing to read
	Dir   string    // to run in; "": where the agent does
	Env   []string  // "NAME=value", beside the agent's own
	// Limit is how long it may run; 0 is what is left of the context, at most an
	// hour if that has no deadline.
	Limit time.Duration
	// MaxOutput bounds its standard output in bytes; 0 is 32 MiB. One that writes
	// more is killed.
	MaxOutput int
	// Line, if set, is told each line of standard output and standard error at
	// once, without the blanks around it; a carriage return ends a line, too.
	// It is not called by two at a time, and not after Tool has returned.
	Line func(line string)

	alone bool // nothing of its process group may outlive it
}

// toolRunner is a Runner that can run tools with all that Tool has.
type toolRunner interface {
	RunTool(ctx context.Context, t Tool) (stdout []byte, err error)
}

// Tool runs a program and returns its standard output. It gets a process group
// of its own, which is killed when the limit is reached and when it has ended.
// The error of a failed run carries the end of standard error, or of standard
// output if there was nothing on the other; with it comes the output so far.
// NoProgram tells whether it is not installed.
//
// On a host that is made up (Host.Programs) its programs come first.
func (h *Host) Tool(ctx context.Context, t Tool) ([]byte, error) {
	if h.Programs != "" {
		t.Env = append([]string{"PATH=" + h.Programs + string(os.PathListSeparator) + os.Getenv("PATH")}, t.Env...)
		own := filepath.Join(h.Programs, filepath.Base(t.Name))
		if _, err := exec.LookPath(own); err == nil {
			stdout, err := Exec{}.RunTool(ctx, t.at(own))
			return stdout, err
		}
	}
	if able, ok := h.Run.(toolRunner); ok {
		return able.RunTool(ctx, t)
	}
	return t.plainly(ctx, h.Run)
}

// percentage is a number before a percent sign.
var percentage = regexp.MustCompile(`(?:^|[^\d.])(\d{1,3})(?:\.\d+)?\s*%`)

// Percent is for Tool.Line: it reports the percentages in the lines of a tool, as
// what is done of a hundred.
func (c StepCall) Percent(phase string) func(line string) {
	last := int64(-1)
	return func(line string) {
		found := percentage.FindAllStringSubmatch(line, -1)
		if len(found) == 0 || c.Progress == nil {
			return
		}
		percent, err := strconv.ParseInt(found[len(found)-1][1], 10, 64)
		if err != nil || percent > 100 || percent == last {
			return
		}
		last = percent
		c.Progress(ipa.Progress{Phase: phase, Done: percent, Total: 100, SecondsLeft: -1})
	}
}

func (t Tool) at(path string) Tool {
	t.Name = path
	return t
}

// plainly runs the tool on a runner that can do no more than Run.
func (t Tool) plainly(ctx context.Context, run Runner) ([]byte, error) {
	if run == nil {
		return nil, fmt.Errorf("run %s: %w", t.Name, exec.ErrNotFound)
	}
	if t.Limit > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, t.Limit)
		defer cancel()
	}
	stdout, err := run.Run(ctx, t.Name, t.Args...)
	switch {
	case NoProgram(err):
		return nil, err
	case t.Stdin != nil:
		return nil, errors.Join(err, fmt.Errorf("run %s: this runner has no standard input for it", t.Name))
	case t.MaxOutput > 0 && len(stdout) > t.MaxOutput:
		return stdout[:t.MaxOutput], fmt.Errorf("run %s: output is longer than %d bytes", t.Name, t.MaxOutput)
	}
	if t.Line != nil {
		for line := range bytes.FieldsFuncSeq(stdout, func(r rune) bool { return r == '\n' || r == '\r' }) {
			if text := strings.TrimSpace(string(line)); text != "" {
				t.Line(text)
			}
		}
	}
	return stdout, err
}
