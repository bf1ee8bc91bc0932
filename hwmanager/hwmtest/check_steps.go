package hwmtest

import (
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"ferric/api/ipa"
	"ferric/hwmanager"
)

// flat is what goes over the wire of a step, comparable as text.
func flat(s phaseStep) string {
	encoded, err := json.Marshal(s.Declaration)
	if err != nil {
		return err.Error()
	}
	return string(encoded)
}

func checkStepNames(x *exam) verdict {
	s := x.look()
	if len(s.steps) == 0 {
		return skipped("%s", s.why)
	}
	seen := map[string]bool{}
	for _, step := range s.steps {
		name := step.Declaration.Step
		if !plainName.MatchString(name) && !underscored.MatchString(name) {
			return failed("%s: the name %.80q", step.phase, name)
		}
		if key := string(step.phase) + " " + name; seen[key] {
			return failed("%s is offered twice", step)
		} else {
			seen[key] = true
		}
	}
	return ok("%d names", len(seen))
}

// underscored names begin with an underscore.
var underscored = regexp.MustCompile(`^_[A-Za-z0-9._-]{1,63}$`)

func checkInterfaces(x *exam) verdict {
	s := x.look()
	if len(s.steps) == 0 {
		return skipped("%s", s.why)
	}
	known := []string{"bios", "deploy", "firmware", "management", "power", "raid", "vendor"}
	var firmware []string
	for _, step := range s.steps {
		if !slices.Contains(known, step.Declaration.Interface) {
			return failed("%s: the interface is %q", step, step.Declaration.Interface)
		}
		if step.Declaration.Interface == "firmware" {
			firmware = append(firmware, step.String())
		}
	}
	if len(firmware) > 0 {
		return warned("%s: conductors before Ironic 2023.2 know no interface firmware and fail on it; management is known to all", some(firmware))
	}
	return ok("each one is known")
}

// destructive are words in the names of steps that destroy what disks hold.
var destructive = regexp.MustCompile(`(?i)(erase|wipe|format|delete|destroy|clear|purge|sanitize|shred|secure|reset|create_configuration|apply_configuration)`)

func checkPriorities(x *exam) verdict {
	s := x.look()
	if len(s.steps) == 0 {
		return skipped("%s", s.why)
	}
	var automatic, dangerous []string
	for _, step := range s.steps {
		priority := step.Declaration.Priority
		switch {
		case priority < 0:
			return failed("%s: the priority is %d", step, priority)
		case priority > 0 && destructive.MatchString(step.Declaration.Step):
			dangerous = append(dangerous, fmt.Sprintf("%s (%d)", step, priority))
		case priority > 0:
			automatic = append(automatic, step.String())
		}
	}
	if len(dangerous) > 0 {
		return warned("run on every node without being asked for: %s", some(dangerous))
	}
	if len(automatic) > 0 {
		return ok("automatic: %s", some(automatic))
	}
	return ok("none is automatic")
}

func checkDescriptions(x *exam) verdict {
	s := x.look()
	if len(s.steps) == 0 {
		return skipped("%s", s.why)
	}
	count := 0
	for _, step := range s.steps {
		for _, name := range sortedNames(step.Declaration.ArgsInfo) {
			count++
			switch {
			case !plainName.MatchString(name) && !underscored.MatchString(name):
				return failed("%s: the name of argument %.80q", step, name)
			case slices.Contains([]string{"node", "ports", "step", "agent_token", "resume"}, name):
				return failed("%s: %s is a parameter of the command that runs steps, and no argument", step, name)
			case strings.TrimSpace(step.Declaration.ArgsInfo[name].Description) == "":
				return failed("%s: argument %s has no description", step, name)
			}
		}
		if step.Declaration.Args != nil {
			return failed("%s: the declaration has args, which are what an operator gives", step)
		}
	}
	if count == 0 {
		return skipped("no step takes arguments")
	}
	return ok("%d arguments", count)
}

// refusals runs steps with arguments that they must refuse, on one machine.
type refusals struct {
	x *exam
	f *Fake
	m hwmanager.Manager
}

func (x *exam) refusals() (*refusals, error) {
	if x.refusing != nil {
		return x.refusing, nil
	}
	f, err := x.newHost()
	if err != nil {
		return nil, err
	}
	x.roots = append(x.roots, f.root)
	m, err := x.prepare(f)
	if err != nil {
		return nil, err
	}
	x.refusing = &refusals{x, f, m}
	return x.refusing, nil
}

// refused runs a step that must say what is wrong with one of the arguments named,
// before it does anything. It answers with what is wrong with that, "" for nothing;
// again says that the step took the arguments or failed over something else.
func (r *refusals) refused(step phaseStep, args map[string]any, named ...string) (problem string) {
	step, err := r.x.again(r.m, r.f, step)
	if err != nil {
		return err.Error()
	}
	// Evaluating and listing may run programs; a step that refuses may not.
	runs, changes := len(r.f.Runs()), watch(r.f)
	t := r.x.runStep(r.f, step, args, nil)
	err = t.err
	ran, changed := r.f.Runs()[runs:], changes()
	switch {
	case err == nil:
		return fmt.Sprintf("is accepted, the result is %.80s", encoded(t.result))
	case isFault(err):
		return err.Error()
	case !ipa.InvalidCommandParams.Is(err):
		return fmt.Sprintf("ends in another error than InvalidCommandParams: %s", firstLine(err.Error()))
	case len(ran) > 0:
		return fmt.Sprintf("is refused after %q was run", ran[0])
	case len(changed) > 0:
		return fmt.Sprintf("is refused after %s was changed", some(changed))
	case !slices.ContainsFunc(named, func(n string) bool { return strings.Contains(err.Error(), n) }):
		return fmt.Sprintf("is refused without the argument's name: %s", firstLine(err.Error()))
	}
	return ""
}

func checkUnknownArguments(x *exam) verdict {
	s := x.look()
	if len(s.steps) == 0 {
		return skipped("%s", s.why)
	}
	r, err := x.refusals()
	if err != nil {
		return skipped("it cannot be loaded: %v", err)
	}
	const surplus = "hwmtest_no_such_argument"
	for _, step := range s.steps {
		args := maps.Clone(x.args[step.Declaration.Step])
		if args == nil {
			args = map[string]any{}
		}
		args[surplus] = "x"
		// A step may name what is missing first.
		named := []string{surplus}
		for name, info := range step.Declaration.ArgsInfo {
			if _, given := args[name]; info.Required && !given {
				named = append(named, name)
			}
		}
		if problem := r.refused(step, args, named...); problem != "" {
			return failed("%s: an argument %s %s", step, surplus, problem)
		}
	}
	return ok("%d steps", len(s.steps))
}

func checkMissingArguments(x *exam) verdict {
	s := x.look()
	if len(s.steps) == 0 {
		return skipped("%s", s.why)
	}
	r, err := x.refusals()
	if err != nil {
		return skipped("it cannot be loaded: %v", err)
	}
	count := 0
	for _, step := range s.steps {
		var required []string
		for _, name := range sortedNames(step.Declaration.ArgsInfo) {
			if step.Declaration.ArgsInfo[name].Required {
				required = append(required, name)
			}
		}
		if len(required) == 0 {
			continue
		}
		count++
		if problem := r.refused(step, nil, required...); problem != "" {
			return failed("%s: a call without %s %s", step, strings.Join(required, ", "), problem)
		}
		sample := x.args[step.Declaration.Step]
		for _, name := range required {
			if _, known := sample[name]; !known || len(required) == 1 {
				continue
			}
			args := maps.Clone(sample)
			delete(args, name)
			if problem := r.refused(step, args, name); problem != "" {
				return failed("%s: a call without %s %s", step, name, problem)
			}
		}
	}
	if count == 0 {
		return skipped("no step needs arguments")
	}
	return ok("%d steps", count)
}

// wrong are values of all kinds; no argument is all of these.
func wrong() []any {
	return []any{
		map[string]any{"hwmtest_no_such_member": []any{[]any{nil}}},
		[]any{[]any{map[string]any{"hwmtest": 1.5}}},
		true, -1.5, "hwmtest \x01 no such value",
	}
}

func checkWrongTypes(x *exam) verdict {
	s := x.look()
	if len(s.steps) == 0 {
		return skipped("%s", s.why)
	}
	r, err := x.refusals()
	if err != nil {
		return skipped("it cannot be loaded: %v", err)
	}
	count := 0
	for _, step := range s.steps {
		for _, name := range sortedNames(step.Declaration.ArgsInfo) {
			count++
			if problem := r.wrongType(step, name); problem != "" {
				return failed("%s: %s of the wrong type %s", step, name, problem)
			}
		}
	}
	if count == 0 {
		return skipped("no step takes arguments")
	}
	return ok("%d arguments", count)
}

// wrongType gives one argument values of all kinds, until one is refused. What
// else the step needs is given as it should be, if that is known, or just as wrong:
// then any of these may be what it names.
func (r *refusals) wrongType(step phaseStep, name string) string {
	var problem string
	for _, value := range wrong() {
		args, named := map[string]any{}, []string{name}
		maps.Copy(args, r.x.args[step.Declaration.Step])
		for other, info := range step.Declaration.ArgsInfo {
			if _, given := args[other]; info.Required && !given && other != name {
				args[other], named = value, append(named, other)
			}
		}
		args[name] = value
		if problem = r.refused(step, args, named...); problem == "" {
			return ""
		}
	}
	return problem
}

func firstLine(s string) string {
	line, _, _ := strings.Cut(s, "\n")
	return fmt.Sprintf("%.200s", line)
}

func encoded(value any) string {
	text, err := json.Marshal(value)
	if err != nil {
		return err.Error()
	}
	return string(text)
}

func sortedNames[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
