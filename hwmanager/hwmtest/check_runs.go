package hwmtest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"ferric/api/ipa"
	"ferric/hwmanager"
)

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
	if len(untried) > 0 && !x.explained {
		x.explained = true
		why = skipped("no step was run, each one needs arguments that were not found by trying: %s; give good ones (--step-args STEP=JSON, WithArgs)", some(untried))
	} else if x.look().why == "" {
		why = skipped("no step was run")
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

// untriedHint names what was not run as it could be, for those who can give arguments.
func (x *exam) untriedHint() string {
	var untried, madeUp []string
	for _, t := range x.trials {
		if len(t.untried) > 0 {
			untried = append(untried, t.step.Declaration.Step)
		} else if t.madeUp {
			madeUp = append(madeUp, t.step.Declaration.Step)
		}
	}
	hint := ""
	for i, names := range [][]string{untried, madeUp} {
		slices.Sort(names)
		if names = slices.Compact(names); len(names) > 0 {
			hint += fmt.Sprintf("; %s arguments for %s", []string{"without", "with made-up"}[i], some(names))
		}
	}
	if hint == "" {
		return ""
	}
	return hint + " (--step-args STEP=JSON, WithArgs)"
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
	}
	// Those that were over too soon begin once more with a context that has ended.
	f, err := x.host()
	if err != nil {
		return failed("%v", err)
	}
	for _, t := range trials {
		if t.cut || isFault(t.err) {
			continue
		}
		if err := x.runCancelled(f, t.step); err != nil {
			return failed("%v", err)
		}
	}
	for _, t := range trials {
		if t.lateTalk.Load() {
			return failed("%s reported progress after it had returned", t.step)
		}
	}
	return ok("%d were running when they were cancelled", cut)
}

// runCancelled begins a step with a context that has ended.
func (x *exam) runCancelled(f *Fake, step phaseStep) error {
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
	args, unknown := x.arguments(step)
	if len(unknown) > 0 {
		return nil
	}
	t := late.runStep(f, step, args, nil)
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
