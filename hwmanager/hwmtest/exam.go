package hwmtest

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"runtime/pprof"
	"slices"
	"strings"
	"time"

	"ferric/api/ipa"
	"ferric/hwmanager"
)

// exam is one manager under examination.
type exam struct {
	options
	ctx     context.Context
	factory func() hwmanager.Manager
	newHost func() (*Fake, error)

	id     string // marks the goroutines that belong to it
	secret string // stands in the node
	before []int  // children of this process
	hosts  []*Fake
	roots  []string          // of all hosts so far, in the environment of what was run there
	hung   []string          // calls that did not return
	dead   map[string]*fault // of these, the ones that had all their time
	said   []string          // everything that the manager told, for the search for secrets

	subject *subject // prepared once
	trials  []trial  // the steps as they were run
	ran     bool
	// explained is set when it was said why no step was run.
	explained bool
	shared    *Fake     // for what changes nothing; what does has a check
	refusing  *refusals // runs steps that refuse their arguments
}

// subject is the manager on a machine that should have its hardware.
type subject struct {
	level hwmanager.Support
	steps []phaseStep
	why   string // it has no steps to look at, "" if it has
}

// phaseStep is a step as it was listed.
type phaseStep struct {
	phase hwmanager.Phase
	hwmanager.Step
}

func (s phaseStep) String() string { return fmt.Sprintf("%s step %s", s.phase, s.Declaration.Step) }

func (x *exam) begin() {
	random := make([]byte, 8)
	_, _ = rand.Read(random) // never fails
	x.id = hex.EncodeToString(random)
	x.secret = "hwmtest-secret-" + x.id
	x.node = withSecret(x.node, x.secret)
	x.before = children()
	x.dead = map[string]*fault{}
}

func (x *exam) end() {
	if x.shared != nil {
		x.hosts = append(x.hosts, x.shared)
	}
	if x.refusing != nil {
		x.hosts = append(x.hosts, x.refusing.f)
	}
	x.closeHosts()
}

// same is a machine for several checks.
func (x *exam) same() (*Fake, error) {
	if x.shared != nil {
		return x.shared, nil
	}
	f, err := x.newHost()
	if err == nil {
		x.shared = f
		x.roots = append(x.roots, f.root)
	}
	return f, err
}

// host is a new machine for the check that runs.
func (x *exam) host() (*Fake, error) { return x.keep(x.newHost()) }

func (x *exam) empty() (*Fake, error) { return x.keep(Empty()) }

func (x *exam) keep(f *Fake, err error) (*Fake, error) {
	if err == nil {
		x.hosts = append(x.hosts, f)
		x.roots = append(x.roots, f.root)
	}
	return f, err
}

// closeHosts removes the machines of a check, after it has noted what was told there.
func (x *exam) closeHosts() {
	for _, f := range x.hosts {
		x.hear(f)
		_ = f.Close() // in the temporary directory
	}
	x.hosts = nil
}

// hear notes what a machine has seen: its log, and how programs were run.
func (x *exam) hear(f *Fake) {
	x.tell("the log", f.Logged())
	for _, run := range f.Runs() {
		x.tell("the arguments of "+run.Name, strings.Join(run.Args, " "))
		x.tell("the environment of "+run.Name, strings.Join(run.Env, "\n"))
	}
}

// tell notes where the secret was seen.
func (x *exam) tell(where, text string) {
	if strings.Contains(text, x.secret) && !slices.Contains(x.said, where) {
		x.said = append(x.said, where)
	}
}

// fault is why a call has no answer: it panicked, or did not return.
type fault struct {
	panics bool
	text   string
}

func (f *fault) Error() string { return f.text }

// call runs f, which is the manager's, until patience ends after the context.
func (x *exam) call(ctx context.Context, what string, f func(ctx context.Context) error) error {
	if f := x.dead[what]; f != nil {
		return f // it would cost the same time again
	}
	done := make(chan error, 1)
	pprof.Do(ctx, pprof.Labels("hwmtest", x.id), func(ctx context.Context) {
		go func() {
			defer func() {
				if value := recover(); value != nil {
					done <- &fault{true, fmt.Sprintf("%s panics: %v", what, value)}
				}
			}()
			done <- f(ctx)
		}()
	})
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
	}
	select {
	case err := <-done:
		return err
	case <-time.After(x.patience):
		x.hung = append(x.hung, what)
		f := &fault{false, fmt.Sprintf("%s did not return within %s after its context had ended", what, x.patience)}
		if errors.Is(ctx.Err(), context.DeadlineExceeded) {
			x.dead[what] = f
		}
		return f
	}
}

// ask is call with the time that a question may take.
func (x *exam) ask(what string, f func(ctx context.Context) error) error {
	ctx, cancel := context.WithTimeout(x.ctx, 2*x.patience)
	defer cancel()
	return x.call(ctx, what, f)
}

func isFault(err error) bool { return errors.As(err, new(*fault)) }

// evaluate asks for the level on a machine.
func (x *exam) evaluate(ctx context.Context, m hwmanager.Manager, f *Fake) (hwmanager.Support, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*x.patience)
	defer cancel()
	var level hwmanager.Support
	err := x.call(ctx, "evaluate", func(ctx context.Context) (err error) {
		level, err = m.Evaluate(ctx, f.Host)
		return err
	})
	x.tellError(err)
	if err != nil && errors.Is(ctx.Err(), context.DeadlineExceeded) {
		x.dead["evaluate"] = &fault{false, err.Error()}
	}
	return level, err
}

func (x *exam) tellError(err error) {
	if err != nil {
		x.tell("an error", err.Error())
	}
}

// prepare makes a manager that has been loaded, as an agent does, on the machine.
func (x *exam) prepare(f *Fake) (hwmanager.Manager, error) {
	m := x.factory()
	err := x.ask("loading", func(ctx context.Context) error {
		set, err := hwmanager.Load(ctx, f.Host, []hwmanager.Manager{m, ground{}})
		if err != nil {
			return err
		}
		f.Set = set
		return nil
	})
	return m, err
}

// list asks for the steps of a phase.
func (x *exam) list(m hwmanager.Manager, f *Fake, phase hwmanager.Phase) ([]phaseStep, error) {
	var steps []hwmanager.Step
	err := x.ask(fmt.Sprintf("listing %s steps", phase), func(ctx context.Context) (err error) {
		switch phase {
		case hwmanager.Clean:
			if able, has := m.(hwmanager.CleanStepper); has {
				steps, err = able.CleanSteps(ctx, f.Host, x.node)
			}
		case hwmanager.Deploy:
			if able, has := m.(hwmanager.DeployStepper); has {
				steps, err = able.DeploySteps(ctx, f.Host, x.node)
			}
		case hwmanager.Service:
			if able, has := m.(hwmanager.ServiceStepper); has {
				steps, err = able.ServiceSteps(ctx, f.Host, x.node)
			}
		}
		return err
	})
	if passes(err) {
		return nil, nil
	}
	x.tellError(err)
	var listed []phaseStep
	for _, s := range steps {
		listed = append(listed, phaseStep{phase, s})
	}
	return listed, err
}

func passes(err error) bool {
	return errors.Is(err, hwmanager.ErrNotHandled) || ipa.IncompatibleMethod.Is(err)
}

// phases of steps, in an order.
func phases() []hwmanager.Phase {
	return []hwmanager.Phase{hwmanager.Clean, hwmanager.Deploy, hwmanager.Service}
}

// look is the subject: what the manager says of the machine, and its steps there.
func (x *exam) look() *subject {
	if x.subject != nil {
		return x.subject
	}
	x.subject = &subject{}
	f, err := x.same()
	if err != nil {
		x.subject.why = err.Error()
		return x.subject
	}
	level, err := x.evaluate(x.ctx, x.factory(), f)
	switch {
	case err != nil:
		x.subject.why = "evaluate fails"
		return x.subject
	case level <= hwmanager.None:
		x.subject.why = "evaluate says that this host has none of its hardware: make one that has (--write-host DIR, edit it, --host DIR)"
		return x.subject
	}
	x.subject.level = level
	m, err := x.prepare(f)
	if err != nil {
		x.subject.why = fmt.Sprintf("it cannot be loaded: %v", err)
		return x.subject
	}
	for _, phase := range phases() {
		steps, err := x.list(m, f, phase)
		if err != nil {
			x.subject.why = fmt.Sprintf("its %s steps cannot be listed", phase)
			return x.subject
		}
		for _, step := range steps {
			if step.Check() == nil || !faultOfItsOwn(step) {
				x.subject.steps = append(x.subject.steps, step)
			}
		}
	}
	if len(x.subject.steps) == 0 {
		x.subject.why = "it offers no steps"
	}
	return x.subject
}

// ground is the manager below all others: a set with nothing else is none.
type ground struct{}

func (ground) Name() string      { return "hwmtest_ground" }
func (ground) ClassName() string { return "HwmtestGround" }
func (ground) Version() string   { return "1" }
func (ground) Evaluate(context.Context, *hwmanager.Host) (hwmanager.Support, error) {
	return hwmanager.Generic, nil
}

// sampleNode is the node that steps are told of.
func sampleNode() hwmanager.Node {
	return hwmanager.Node{
		"uuid": "5c9f2b1e-8a34-4f0e-9d27-1b6f0c3a7e55", "name": "hwmtest", "driver": "ipmi",
		"provision_state": "cleaning", "resource_class": "baremetal",
		"properties": map[string]any{}, "instance_info": map[string]any{}, "extra": map[string]any{},
		"driver_info": map[string]any{}, "driver_internal_info": map[string]any{},
		"target_raid_config": nil, "raid_config": nil, "traits": []any{},
	}
}

// withSecret is the node with credentials in driver_info.
func withSecret(node hwmanager.Node, secret string) hwmanager.Node {
	info := map[string]any{}
	if given, isMap := node["driver_info"].(map[string]any); isMap {
		for key, value := range given {
			info[key] = value
		}
	}
	for _, key := range []string{"ipmi_password", "redfish_password", "raid_controller_password", "vendor_api_token"} {
		info[key] = secret
	}
	copied := hwmanager.Node{}
	for key, value := range node {
		copied[key] = value
	}
	copied["driver_info"] = info
	return copied
}
