package hwmtest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"ferric/api/ipa"
	"ferric/hwmanager"
)

// Limits of what travels, in bytes.
const (
	maxResult = 1 << 20
	maxState  = 64 << 10
	maxError  = 16 << 10
	// maxReboots is how often a step is taken up after a reboot.
	maxReboots = 8
)

// trial is one run of a step.
type trial struct {
	step      phaseStep
	result    any
	err       error // a *fault if it panicked or did not return
	cut       bool  // it was still running when its context ended
	progress  []ipa.Progress
	lateTalk  bool // progress was reported after the end
	untried   []string
	reboots   int
	rebooting error // what is wrong with a reboot that it asked for
}

// again is the step as the machine's manager lists it now, as the agent does
// before each run.
func (x *exam) again(m hwmanager.Manager, f *Fake, step phaseStep) (phaseStep, error) {
	steps, err := x.list(m, f, step.phase)
	if err != nil {
		return step, fmt.Errorf("%s steps cannot be listed: %w", step.phase, err)
	}
	at := slices.IndexFunc(steps, func(s phaseStep) bool { return s.Declaration.Step == step.Declaration.Step })
	if at < 0 {
		return step, fmt.Errorf("%s is not offered any more", step)
	}
	return steps[at], nil
}

// runStep runs a step; its context ends when it should be over.
func (x *exam) runStep(f *Fake, step phaseStep, args map[string]any, resume json.RawMessage) trial {
	t := trial{step: step}
	if step.Run == nil {
		t.err = errors.New("it has no function")
		return t
	}
	ctx, cancel := context.WithTimeout(x.ctx, x.settle)
	defer cancel()
	var mu sync.Mutex
	over := false
	call := hwmanager.StepCall{
		Node: withSecret(x.node, x.secret), Ports: []map[string]any{{"uuid": "0d5f7a9e-5a0e-4a94-8d6d-2f3f0d1c7b11", "address": "02:00:5e:00:53:01", "pxe_enabled": true}},
		Args: args, Resume: resume,
		Progress: func(p ipa.Progress) {
			mu.Lock()
			defer mu.Unlock()
			t.lateTalk = t.lateTalk || over
			if len(t.progress) < 1000 {
				t.progress = append(t.progress, p)
			}
		},
	}
	if call.Args == nil {
		call.Args = map[string]any{}
	}
	err := x.call(ctx, step.String(), func(ctx context.Context) error {
		result, err := step.Run(ctx, f.Host, call)
		mu.Lock()
		defer mu.Unlock()
		t.result = result
		return err
	})
	t.cut = ctx.Err() != nil
	mu.Lock()
	over = true
	seen := t
	mu.Unlock()
	seen.err = err
	x.tellError(err)
	x.tell("a result", fmt.Sprintf("%s %+v", encoded(seen.result), seen.result))
	return seen
}

// tryAll runs each step once, with good arguments where they are known, on a
// machine of its own, and takes it up after the reboots that it asks for.
func (x *exam) tryAll() []trial {
	if x.ran {
		return x.trials
	}
	x.ran = true
	for _, step := range x.look().steps {
		if x.ctx.Err() != nil {
			break
		}
		if t, done := x.try(step); done {
			x.trials = append(x.trials, t)
		}
		x.closeHosts()
	}
	return x.trials
}

func (x *exam) try(step phaseStep) (trial, bool) {
	args := maps.Clone(x.args[step.Declaration.Step])
	t := trial{step: step}
	for _, name := range sortedNames(step.Declaration.ArgsInfo) {
		if _, given := args[name]; step.Declaration.ArgsInfo[name].Required && !given {
			t.untried = append(t.untried, name)
		}
	}
	if len(t.untried) > 0 {
		return t, true
	}
	f, err := x.host()
	if err != nil {
		return t, false
	}
	var resume json.RawMessage
	for reboots := 0; ; reboots++ {
		// A ramdisk forgets everything: each boot has a manager of its own.
		m, err := x.prepare(f)
		if err != nil {
			return t, false
		}
		listed, err := x.again(m, f, step)
		if err != nil {
			return t, false
		}
		t = x.runStep(f, listed, args, resume)
		t.reboots = reboots
		reboot := new(hwmanager.Reboot)
		if !errors.As(t.err, &reboot) {
			return t, true
		}
		state, err := json.Marshal(reboot.State)
		x.tell("the state for after a reboot", string(state))
		switch {
		case err != nil:
			t.rebooting = fmt.Errorf("its state does not encode as JSON: %w", err)
		case len(state) > maxState:
			t.rebooting = fmt.Errorf("its state has %d bytes", len(state))
		case reboots == maxReboots:
			t.rebooting = fmt.Errorf("it asks for a reboot for the %dth time", reboots+1)
		default:
			resume = state
			continue
		}
		return t, true
	}
}

// tried tells whether there are trials to look at; if not, a verdict why.
func (x *exam) tried() ([]trial, *verdict) {
	var ran []trial
	var untried []string
	for _, t := range x.tryAll() {
		if len(t.untried) == 0 {
			ran = append(ran, t)
		} else {
			untried = append(untried, fmt.Sprintf("%s (%s)", t.step, strings.Join(t.untried, ", ")))
		}
	}
	if len(ran) > 0 {
		return ran, nil
	}
	why := skipped("%s", x.look().why)
	if len(untried) > 0 {
		why = skipped("no step was run, each one needs arguments: %s; give good ones (--step-args STEP=JSON, WithArgs)", some(untried))
	} else if x.look().why == "" {
		why = skipped("no step could be run")
	}
	return nil, &why
}

func checkPanics(x *exam) verdict {
	trials, none := x.tried()
	if none != nil {
		return *none
	}
	for _, t := range trials {
		if f := new(fault); errors.As(t.err, &f) && f.panics {
			return failed("%v", f)
		}
	}
	return ok("%d of %d steps were run%s", len(trials), len(x.trials), x.untriedHint())
}

// untriedHint names what was not run, for those who can give arguments.
func (x *exam) untriedHint() string {
	var names []string
	for _, t := range x.trials {
		if len(t.untried) > 0 {
			names = append(names, t.step.Declaration.Step)
		}
	}
	slices.Sort(names)
	if names = slices.Compact(names); len(names) == 0 {
		return ""
	}
	return fmt.Sprintf("; without arguments for %s (--step-args STEP=JSON, WithArgs)", some(names))
}

func checkCancelled(x *exam) verdict {
	trials, none := x.tried()
	if none != nil {
		return *none
	}
	cut := 0
	for _, t := range trials {
		if f := new(fault); errors.As(t.err, &f) && !f.panics {
			return failed("%v", f)
		}
		if t.cut {
			cut++
		}
		if t.lateTalk {
			return failed("%s reported progress after it had returned", t.step)
		}
	}
	// Those that were over too soon begin once more with a context that has ended.
	for _, t := range trials {
		if t.cut || isFault(t.err) {
			continue
		}
		if err := x.runCancelled(t.step); err != nil {
			return failed("%v", err)
		}
	}
	return ok("%d were running when they were cancelled", cut)
}

func (x *exam) runCancelled(step phaseStep) error {
	f, err := x.host()
	if err != nil {
		return err
	}
	defer x.closeHosts()
	m, err := x.prepare(f)
	if err != nil {
		return nil // has a check of its own
	}
	if step, err = x.again(m, f, step); err != nil {
		return nil // this, too
	}
	cancelled, cancel := context.WithCancel(x.ctx)
	cancel()
	late := *x
	late.ctx = cancelled
	t := late.runStep(f, step, x.args[step.Declaration.Step], nil)
	x.hung, x.said = late.hung, late.said
	if fault := new(fault); errors.As(t.err, &fault) && !fault.panics {
		return fault
	}
	return nil
}

func checkProgress(x *exam) verdict {
	trials, none := x.tried()
	if none != nil {
		return *none
	}
	count := 0
	for _, t := range trials {
		for _, p := range t.progress {
			count++
			switch {
			case p.Done < 0 || p.Total < 0 || p.Written < 0 || p.BytesPerSec < 0:
				return failed("%s reports %+v", t.step, p)
			case p.Total > 0 && p.Done > p.Total:
				return failed("%s reports that %d of %d are done", t.step, p.Done, p.Total)
			}
			if _, err := json.Marshal(p); err != nil {
				return failed("%s: %v", t.step, err)
			}
		}
	}
	return ok("%d reports", count)
}

func checkResults(x *exam) verdict {
	trials, none := x.tried()
	if none != nil {
		return *none
	}
	count := 0
	for _, t := range trials {
		if t.err != nil {
			continue
		}
		count++
		text, err := json.Marshal(t.result)
		if err != nil {
			return failed("%s: its result does not encode as JSON: %v", t.step, err)
		}
		if len(text) > maxResult {
			return failed("%s: its result has %d bytes", t.step, len(text))
		}
	}
	return ok("%d of %d steps succeeded on this host", count, len(trials))
}

func checkReboots(x *exam) verdict {
	trials, none := x.tried()
	if none != nil {
		return *none
	}
	var rebooted []string
	for _, t := range trials {
		if t.rebooting != nil {
			return failed("%s: %v", t.step, t.rebooting)
		}
		if t.reboots == 0 {
			continue
		}
		if !t.step.Declaration.RebootRequested {
			return warned("%s asks for a reboot without saying so in its declaration (reboot_requested): it fails under conductors that do not know how to go on with it", t.step)
		}
		rebooted = append(rebooted, fmt.Sprintf("%s (%d)", t.step, t.reboots))
	}
	if len(rebooted) == 0 {
		return skipped("no step asked for a reboot")
	}
	return ok("%s", some(rebooted))
}

func checkErrors(x *exam) verdict {
	trials, none := x.tried()
	if none != nil {
		return *none
	}
	count := 0
	for _, t := range trials {
		if t.err == nil || isFault(t.err) || t.rebooting != nil {
			continue
		}
		count++
		switch text := strings.TrimSpace(t.err.Error()); {
		case text == "" || bare(t.err):
			return failed("%s fails without a word", t.step)
		case len(text) > maxError:
			return failed("%s fails with %d bytes of text", t.step, len(text))
		}
	}
	return ok("%d of %d steps failed on this host, with a reason", count, len(trials))
}

// bare is an error of the agent's kinds without anything but the kind.
func bare(err error) bool {
	e, plain := err.(*ipa.Error)
	return plain && strings.TrimSpace(e.Details) == ""
}

func checkSecrets(x *exam) verdict {
	x.tryAll()
	if s := x.look(); s.level <= hwmanager.None {
		return skipped("%s", s.why)
	}
	if len(x.said) > 0 {
		return failed("a credential of node.driver_info is in %s", some(x.said))
	}
	return ok("none is in results, errors, logs, arguments or environments")
}

// grace is how long what was started may take to end after its call.
func (x *exam) grace() time.Time { return time.Now().Add(min(x.patience, 2*time.Second)) }
