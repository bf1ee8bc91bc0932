package hwmtest

import (
	"context"
	"fmt"
	"reflect"
	"regexp"
	"strings"
	"time"

	"ferric/hwmanager"
)

// plainName is what keys may look like that conductors keep and operators type.
var plainName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$`)

// names asks for what keys a manager; a panic is an error.
func (x *exam) names(m hwmanager.Manager) ([3]string, error) {
	var names [3]string
	err := x.ask("Name, ClassName or Version", func(context.Context) error {
		names = [3]string{m.Name(), m.ClassName(), m.Version()}
		return nil
	})
	return names, err
}

func checkIdentity(x *exam) verdict {
	names, err := x.names(x.factory())
	if err != nil {
		return failed("%v", err)
	}
	for i, what := range []string{"name", "class name", "version"} {
		if !plainName.MatchString(names[i]) && !(i == 2 && plainVersion.MatchString(names[i])) {
			return failed("the %s is %.80q", what, names[i])
		}
	}
	return ok("name %s, class %s, version %s", names[0], names[1], names[2])
}

// plainVersion allows for build metadata in a version.
var plainVersion = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9.+_-]{0,63}$`)

func checkStable(x *exam) verdict {
	m := x.factory()
	first, err := x.names(m)
	if err != nil {
		return skipped("%v", err)
	}
	f, err := x.same()
	if err != nil {
		return failed("%v", err)
	}
	_, _ = x.evaluate(x.ctx, m, f) // has a check of its own
	for _, phase := range phases() {
		_, _ = x.list(m, f, phase) // these, too
	}
	for _, other := range []hwmanager.Manager{m, x.factory()} {
		again, err := x.names(other)
		if err != nil {
			return failed("%v", err)
		}
		if again != first {
			return failed("name, class, version were %s, then %s", strings.Join(first[:], " "), strings.Join(again[:], " "))
		}
	}
	return ok("the same after its use, and of another instance")
}

// most is the level above which a manager outranks what a site may have.
const most = 1000

func checkEvaluate(x *exam) verdict {
	f, err := x.same()
	if err != nil {
		return failed("%v", err)
	}
	began := time.Now()
	level, err := x.evaluate(x.ctx, x.factory(), f)
	switch {
	case err != nil:
		return failed("%v", err)
	case level < hwmanager.None:
		return failed("the level is %d", level)
	case level > most:
		return warned("the level is %d: no manager of the site can go before it", level)
	case level == hwmanager.None:
		return ok("level 0: it knows none of this host's hardware")
	}
	return ok("level %d, in %s", level, time.Since(began).Round(time.Millisecond))
}

func checkEvaluateAgain(x *exam) verdict {
	f, err := x.same()
	if err != nil {
		return failed("%v", err)
	}
	m := x.factory()
	first, err := x.evaluate(x.ctx, m, f)
	if err != nil {
		return skipped("evaluate fails")
	}
	for _, again := range []hwmanager.Manager{m, x.factory()} {
		level, err := x.evaluate(x.ctx, again, f)
		if err != nil || level != first {
			return failed("the level is %d, then %d (%v)", first, level, err)
		}
	}
	return ok("level %d each time", first)
}

func checkEvaluateReadOnly(x *exam) verdict {
	f, err := x.host()
	if err != nil {
		return failed("%v", err)
	}
	changes := watch(f)
	_, _ = x.evaluate(x.ctx, x.factory(), f) // has a check of its own
	if changed := changes(); len(changed) > 0 {
		return failed("evaluate changes %s", some(changed))
	}
	return ok("sys, proc, dev and etc are as before")
}

func checkEvaluateCancelled(x *exam) verdict {
	f, err := x.same()
	if err != nil {
		return failed("%v", err)
	}
	// Once before it begins, once in its midst.
	for _, after := range []time.Duration{0, x.settle / 4} {
		ctx, cancel := context.WithCancel(x.ctx)
		stop := time.AfterFunc(after, cancel)
		if after == 0 {
			cancel()
		}
		_, err := x.evaluate(ctx, x.factory(), f)
		stop.Stop()
		cancel()
		if isFault(err) {
			return failed("%v", err)
		}
	}
	return ok("it returns")
}

func checkNoHardware(x *exam) verdict {
	f, err := x.empty()
	if err != nil {
		return failed("%v", err)
	}
	changes := watch(f)
	level, err := x.evaluate(x.ctx, x.factory(), f)
	switch changed := changes(); {
	case err != nil:
		return failed("on an empty host evaluate fails: %v", err)
	case len(changed) > 0 && level <= hwmanager.None:
		return failed("on an empty host evaluate changes %s", some(changed))
	case level > hwmanager.None && !x.any:
		return warned("on an empty host the level is %d: if it is for every machine, say so (--any-machine, AnyMachine); else it takes over machines that it does not know", level)
	case level > hwmanager.None:
		return ok("level %d, for any machine", level)
	}
	return ok("level 0")
}

func checkInitialize(x *exam) verdict {
	m := x.factory()
	init, able := m.(hwmanager.Initializer)
	if !able {
		return skipped("it has nothing to initialise")
	}
	f, err := x.host()
	if err != nil {
		return failed("%v", err)
	}
	if level, err := x.evaluate(x.ctx, m, f); err != nil || level <= hwmanager.None {
		return skipped("it does not fit this host")
	}
	f.Set, err = hwmanager.Load(x.ctx, f.Host, []hwmanager.Manager{ground{}})
	if err != nil {
		return failed("%v", err)
	}
	for _, time := range []string{"first", "second"} {
		err := x.ask("initialize", func(ctx context.Context) error { return init.Initialize(ctx, f.Host) })
		x.tellError(err)
		if err != nil && !passes(err) {
			return failed("the %s time: %v", time, err)
		}
	}
	return ok("twice")
}

func checkListing(x *exam) verdict {
	s := x.look()
	if x.subject.level <= hwmanager.None {
		return skipped("%s", s.why)
	}
	f, err := x.same()
	if err != nil {
		return failed("%v", err)
	}
	m, err := x.prepare(f)
	if err != nil {
		return failed("it cannot be loaded: %v", err)
	}
	var counts []string
	for _, phase := range phases() {
		steps, err := x.list(m, f, phase)
		if err != nil {
			return failed("%s steps: %v", phase, err)
		}
		for _, step := range steps {
			if err := step.Check(); err != nil && faultOfItsOwn(step) {
				return failed("%v", err)
			}
		}
		counts = append(counts, fmt.Sprintf("%d %s", len(steps), phase))
	}
	return ok("%s", strings.Join(counts, ", "))
}

// faultOfItsOwn says that no other check looks for what is wrong with the step.
func faultOfItsOwn(s phaseStep) bool {
	return s.Declaration.Interface != "" && s.Declaration.Priority >= 0 && s.Declaration.Step != ""
}

// listAll lists the steps of the phases in the order given.
func (x *exam) listAll(m hwmanager.Manager, f *Fake, order []hwmanager.Phase) (map[hwmanager.Phase][]string, error) {
	listed := map[hwmanager.Phase][]string{}
	for _, phase := range order {
		steps, err := x.list(m, f, phase)
		if err != nil {
			return nil, err
		}
		listed[phase] = nil
		for _, s := range steps {
			listed[phase] = append(listed[phase], fmt.Sprintf("%+v", flat(s)))
		}
	}
	return listed, nil
}

func checkListingAgain(x *exam) verdict {
	if s := x.look(); len(s.steps) == 0 {
		return skipped("%s", s.why)
	}
	f, err := x.same()
	if err != nil {
		return failed("%v", err)
	}
	m, err := x.prepare(f)
	if err != nil {
		return skipped("it cannot be loaded: %v", err)
	}
	order := phases()
	first, err := x.listAll(m, f, order)
	if err != nil {
		return failed("%v", err)
	}
	again, err := x.listAll(m, f, order)
	if err != nil {
		return failed("the second time: %v", err)
	}
	if phase, differs := difference(first, again); differs {
		return failed("%s steps differ the second time", phase)
	}
	// Another one, which nobody has asked for the phases before.
	other, err := x.prepare(f)
	if err != nil {
		return failed("a second instance cannot be loaded: %v", err)
	}
	reversed, err := x.listAll(other, f, []hwmanager.Phase{hwmanager.Service, hwmanager.Deploy, hwmanager.Clean})
	if err != nil {
		return failed("in the order service, deploy, clean: %v", err)
	}
	if phase, differs := difference(first, reversed); differs {
		return failed("%s steps of a new instance differ when service and deploy are asked for before clean", phase)
	}
	return ok("the same steps three times")
}

func difference(a, b map[hwmanager.Phase][]string) (hwmanager.Phase, bool) {
	for _, phase := range phases() {
		if !reflect.DeepEqual(a[phase], b[phase]) {
			return phase, true
		}
	}
	return "", false
}

func checkListingReadOnly(x *exam) verdict {
	if s := x.look(); len(s.steps) == 0 {
		return skipped("%s", s.why)
	}
	f, err := x.host()
	if err != nil {
		return failed("%v", err)
	}
	m, err := x.prepare(f)
	if err != nil {
		return skipped("it cannot be loaded: %v", err)
	}
	changes := watch(f)
	for _, phase := range phases() {
		_, _ = x.list(m, f, phase) // has a check of its own
	}
	if changed := changes(); len(changed) > 0 {
		return failed("listing changes %s", some(changed))
	}
	return ok("sys, proc, dev and etc are as before")
}

// some are the first few of many.
func some(list []string) string {
	const few = 3
	if len(list) <= few {
		return strings.Join(list, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(list[:few], ", "), len(list)-few)
}
