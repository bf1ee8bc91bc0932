package hwmtest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"

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
	lateTalk  *atomic.Bool // progress was reported after the end
	untried   []string     // arguments for which there is no good value
	madeUp    bool         // it ran with arguments that were found by trying
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
	t := trial{step: step, lateTalk: new(atomic.Bool)}
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
			if over {
				t.lateTalk.Store(true)
			} else if len(t.progress) < 1000 {
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
	t := trial{step: step}
	args, unknown := x.arguments(step)
	if len(unknown) > 0 {
		t.untried = unknown
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
		t.reboots, t.madeUp = reboots, len(args) > len(x.args[step.Declaration.Step])
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
