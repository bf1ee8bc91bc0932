package hwmtest

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"ferric/api/ipa"
	"ferric/hwmanager"
)

// Command is what `ferric plugin test` was asked for. It goes as JSON to a program
// that was made of a Go package.
type Command struct {
	Target     string                    // what is tested, for people
	Host       string                    // directory of the fake host, "" for the built-in one
	AnyMachine bool                      // as AnyMachine
	StepArgs   map[string]map[string]any // as WithArgs
	Node       map[string]any            // as WithNode
	Verbose    bool                      // show what is logged
	// Step, if set, is run alone, on the fake host, to its end.
	Step    string
	Phase   string // of Step; "" for the first that has it
	Args    map[string]any
	Timeout time.Duration // of Step; 0 for an hour
	// Executable is set for executable plugins.
	Executable *Executable
}

// What Main returns.
const (
	Passed   = 100
	Failure  = 101 // of a check or a step
	Untested = 102 // why is on standard error
)

// Main is the program that `ferric plugin test` makes of a Go package: it reads a
// Command from standard input and returns the exit status, Passed, Failure or
// Untested: no others, for those may be a manager's that ends the program.
func Main(factory func() hwmanager.Manager) int {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	var c Command
	err := json.NewDecoder(os.Stdin).Decode(&c)
	if err == nil {
		err = c.Run(ctx, factory, os.Stdout, os.Stderr)
	}
	switch {
	case errors.Is(err, ErrFailed):
		return Failure
	case err != nil:
		fmt.Fprintf(os.Stderr, "%v\n", err)
		return Untested
	}
	return Passed
}

// ErrFailed is what Command.Run returns where a check or the step has failed; what
// is wrong was written out then.
var ErrFailed = errors.New("the hardware manager has failed")

// Run tests a manager or runs one of its steps.
func (c Command) Run(ctx context.Context, factory func() hwmanager.Manager, stdout, stderr io.Writer) error {
	undo, err := withholding()
	if err != nil {
		return fmt.Errorf("prepare the test: %w", err)
	}
	defer undo()
	if c.Step != "" {
		return c.runStep(ctx, factory, stdout, stderr)
	}
	newHost := func() (*Fake, error) {
		f, err := Open(c.Host)
		if err == nil && c.Verbose {
			f.logs.copy = stderr
		}
		return f, err
	}
	// What is wrong with the host is no fault of the manager's.
	f, err := newHost()
	if err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return fmt.Errorf("remove the fake host: %w", err)
	}
	// An interpreter takes a while to begin.
	opts := []Option{WithNode(c.Node), func(o *options) { o.alone, o.any, o.settle = true, c.AnyMachine, 2*time.Second }}
	for step, args := range c.StepArgs {
		opts = append(opts, WithArgs(step, args))
	}
	fmt.Fprintf(stdout, "%s on %s\n\n", c.Target, c.hostName())
	var outcomes []Outcome
	if c.Executable != nil {
		outcomes = CheckExecutable(ctx, *c.Executable, newHost, opts...)
	}
	outcomes = append(outcomes, Check(ctx, factory, newHost, opts...)...)
	if !Report(stdout, outcomes) {
		return ErrFailed
	}
	return context.Cause(ctx)
}

func (c Command) hostName() string {
	if c.Host == "" {
		return "the built-in fake server"
	}
	return "the fake host " + filepath.Clean(c.Host)
}

// Report writes a line for each outcome, what to do below those that are not well,
// and a summary. It is true if no check has failed.
func Report(w io.Writer, outcomes []Outcome) bool {
	count := map[Status]int{}
	widest := 0
	for _, o := range outcomes {
		widest = max(widest, len(o.Check))
	}
	for _, o := range outcomes {
		count[o.Status]++
		detail := strings.ReplaceAll(o.Detail, "\n", "\n"+strings.Repeat(" ", widest+11))
		fmt.Fprintf(w, "%-8s %-*s  %s\n", o.Status, widest, o.Check, detail)
		if o.Advice != "" {
			fmt.Fprintf(w, "%-8s %-*s  -> %s\n", "", widest, "", o.Advice)
		}
	}
	fmt.Fprintf(w, "\n%d checks: %d ok, %d failed, %d warnings, %d skipped\n", len(outcomes), count[OK], count[Failed], count[Warning], count[Skipped])
	return count[Failed] == 0
}

// runStep runs one step to its end, over the reboots that it asks for.
func (c Command) runStep(ctx context.Context, factory func() hwmanager.Manager, stdout, stderr io.Writer) error {
	ctx, cancel := context.WithTimeout(ctx, cmp.Or(c.Timeout, time.Hour))
	defer cancel()
	f, err := Open(c.Host)
	if err != nil {
		return err
	}
	defer f.Close()
	var mu sync.Mutex
	say := func(what, format string, args ...any) {
		mu.Lock()
		defer mu.Unlock()
		fmt.Fprintf(stdout, "%-9s %s\n", what, fmt.Sprintf(format, args...))
	}
	if c.Verbose {
		f.logs.copy = stderr
	}
	x := &exam{options: collectOptions([]Option{WithNode(c.Node)}), ctx: ctx, factory: factory}
	x.begin()
	x.patience = time.Minute // for questions
	var resume json.RawMessage
	var shown int
	for boot := 0; ; boot++ {
		m, step, err := c.find(x, f)
		if err != nil {
			return err
		}
		if boot == 0 {
			say("step", "%s %s of %s %s on %s", step.phase, c.Step, m.Name(), m.Version(), c.hostName())
		}
		last := ""
		call := hwmanager.StepCall{
			Node: x.node, Ports: []map[string]any{}, Args: c.Args, Resume: resume,
			Progress: func(p ipa.Progress) {
				if line := progressLine(p); line != last {
					last = line
					say("progress", "%s", line)
				}
			},
		}
		if call.Args == nil {
			call.Args = map[string]any{}
		}
		shown = len(f.Runs()) // what was run to evaluate and to list is another matter
		began := time.Now()
		var result any
		err = x.call(ctx, step.String(), func(ctx context.Context) (err error) {
			result, err = step.Run(ctx, f.Host, call)
			return err
		})
		for runs := f.Runs(); shown < len(runs); shown++ {
			say("ran", "%s", runs[shown])
		}
		reboot := new(hwmanager.Reboot)
		if errors.As(err, &reboot) && boot < maxReboots {
			if resume, err = json.Marshal(reboot.State); err != nil {
				return fmt.Errorf("the state for after the reboot: %w", err)
			}
			kind := "reboot"
			if reboot.Warm {
				kind = "warm reboot"
			}
			say(kind, "after %s; the step goes on with the state %s", time.Since(began).Round(time.Millisecond), resume)
			continue
		}
		if err != nil {
			say("FAILED", "after %s: %v", time.Since(began).Round(time.Millisecond), err)
			if ipa.InvalidCommandParams.Is(err) {
				say("", "-> %s", argumentsHint(step))
			}
			return ErrFailed
		}
		var text bytes.Buffer
		if err := json.Indent(&text, []byte(encoded(result)), "", "  "); err != nil {
			say("FAILED", "the result does not encode as JSON: %v", err)
			return ErrFailed
		}
		say("result", "after %s:\n%s", time.Since(began).Round(time.Millisecond), text.String())
		return nil
	}
}

// find loads the manager and finds the step in it.
func (c Command) find(x *exam, f *Fake) (hwmanager.Manager, phaseStep, error) {
	m := x.factory()
	level, err := x.evaluate(x.ctx, m, f)
	if err != nil {
		return nil, phaseStep{}, fmt.Errorf("evaluate: %w", err)
	}
	if level <= hwmanager.None {
		return nil, phaseStep{}, fmt.Errorf("%s finds none of its hardware on %s: make a host that has it (--write-host DIR, edit it, --host DIR)", m.Name(), c.hostName())
	}
	if m, err = x.prepare(f); err != nil {
		return nil, phaseStep{}, err
	}
	if reason, aside := f.Set.SetAside()[m.Name()]; aside {
		return nil, phaseStep{}, fmt.Errorf("%s is set aside: %s", m.Name(), reason)
	}
	var offered []string
	for _, phase := range phases() {
		if c.Phase != "" && c.Phase != string(phase) {
			continue
		}
		steps, err := x.list(m, f, phase)
		if err != nil {
			return nil, phaseStep{}, fmt.Errorf("list %s steps: %w", phase, err)
		}
		for _, s := range steps {
			if s.Declaration.Step == c.Step {
				return m, s, nil
			}
			offered = append(offered, string(phase)+" "+s.Declaration.Step)
		}
	}
	return nil, phaseStep{}, fmt.Errorf("%s offers no step %s; it offers: %s", m.Name(), strings.TrimSpace(c.Phase+" "+c.Step), cmp.Or(strings.Join(offered, ", "), "none"))
}

func argumentsHint(step phaseStep) string {
	if len(step.Declaration.ArgsInfo) == 0 {
		return "the step takes no arguments"
	}
	var words []string
	for _, name := range sortedNames(step.Declaration.ArgsInfo) {
		info := step.Declaration.ArgsInfo[name]
		required := ""
		if info.Required {
			required = ", required"
		}
		words = append(words, fmt.Sprintf("%s (%s%s)", name, info.Description, required))
	}
	return "its arguments, for --args: " + strings.Join(words, "; ")
}

// progressLine is a report for people.
func progressLine(p ipa.Progress) string {
	var words []string
	if p.Phase != "" {
		words = append(words, p.Phase)
	}
	switch {
	case p.Total == 100:
		words = append(words, fmt.Sprintf("%d %%", p.Done))
	case p.Total > 0:
		words = append(words, fmt.Sprintf("%d of %d bytes (%d %%)", p.Done, p.Total, 100*p.Done/p.Total))
	case p.Done > 0:
		words = append(words, fmt.Sprintf("%d bytes", p.Done))
	}
	if p.Written > 0 {
		words = append(words, fmt.Sprintf("%d bytes written", p.Written))
	}
	if p.SecondsLeft > 0 {
		words = append(words, fmt.Sprintf("%.0f s left", p.SecondsLeft))
	}
	return cmp.Or(strings.Join(words, ", "), "begun")
}
