package hwmtest

import (
	"maps"
	"regexp"
	"strings"

	"ferric/api/ipa"
)

// arguments finds arguments for a step: those that were given, and for what it needs
// beyond them values that it does not refuse. unknown are those for which none was found.
// Nothing of what a step refuses was run: there is a check for that.
func (x *exam) arguments(step phaseStep) (args map[string]any, unknown []string) {
	args = map[string]any{}
	maps.Copy(args, x.args[step.Declaration.Step])
	tried := map[string][]any{} // what is left to try, the first is in args
	for _, name := range sortedNames(step.Declaration.ArgsInfo) {
		info := step.Declaration.ArgsInfo[name]
		if _, given := args[name]; info.Required && !given {
			tried[name] = candidates(name, info)
			args[name] = tried[name][0]
		}
	}
	if len(tried) == 0 {
		return args, nil
	}
	r, err := x.refusals()
	if err != nil {
		return nil, sortedNames(tried)
	}
	for range maxTries {
		again, err := x.again(r.m, r.f, step)
		if err != nil {
			return nil, sortedNames(tried)
		}
		t := x.runStep(r.f, again, maps.Clone(args), nil)
		if !ipa.InvalidCommandParams.Is(t.err) {
			return args, nil
		}
		// It names one or more of those that are made up, or nothing that helps.
		moved := false
		for name, left := range tried {
			if choices := choicesOf(t.err.Error(), name); len(choices) > 0 && args[name] != choices[0] {
				left = append([]any{nil}, append(choices, left[1:]...)...)
			}
			if named(t.err.Error(), name) && len(left) > 1 {
				tried[name], args[name], moved = left[1:], left[1], true
			}
		}
		if !moved {
			break
		}
	}
	return nil, sortedNames(tried)
}

// maxTries bounds how often arguments are tried for a step.
const maxTries = 60

// choicesOf are the values that an error allows for an argument, as in "mode: want
// one of fast, slow".
func choicesOf(text, name string) []any {
	for part := range strings.SplitSeq(text, ";") {
		if !named(part, name) {
			continue
		}
		if match := choice.FindStringSubmatch(part); match != nil {
			return choicesIn(match[1])
		}
	}
	return nil
}

func choicesIn(list string) []any {
	var all []any
	for value := range strings.SplitSeq(list, ",") {
		all = append(all, strings.Trim(value, " \"'[]"))
	}
	return all
}

// named tells whether a text has a name as a word of its own.
func named(text, name string) bool {
	return regexp.MustCompile(`(?i)(^|[^A-Za-z0-9_])` + regexp.QuoteMeta(name) + `($|[^A-Za-z0-9_])`).MatchString(text)
}

// choice are the values that a description names.
var choice = regexp.MustCompile(`[Oo]ne of ([^;).]+)`)

// guesses are values that arguments with some names are likely to take.
func guesses() []guess {
	return []guess{
		{regexp.MustCompile(`(?i)ur[li]|source|image|href`), nobody},
		{regexp.MustCompile(`(?i)sum|digest|sha|hash`), "sha256:" + zeros},
		{regexp.MustCompile(`(?i)version|release`), "1.0.0"},
		{regexp.MustCompile(`(?i)device|disk|drive`), "/dev/sda"},
	}
}

type guess struct {
	name  *regexp.Regexp
	value any
}

const (
	nobody = "http://192.0.2.1/hwmtest" // an address that is nobody's
	zeros  = "0000000000000000000000000000000000000000000000000000000000000000"
)

// candidates are values for an argument of which only name and description are known.
func candidates(name string, info ipa.Arg) []any {
	var all []any
	if match := choice.FindStringSubmatch(info.Description); match != nil {
		all = choicesIn(match[1])
	}
	for _, g := range guesses() {
		if g.name.MatchString(name) {
			all = append(all, g.value)
		}
	}
	return append(all,
		1, "hwmtest", "1.0.0", true, nobody, "sha256:"+zeros, zeros, "/dev/sda", "60s", 64,
		[]any{"hwmtest"}, map[string]any{}, []any{},
		[]any{map[string]any{"url": nobody, "checksum": "sha256:" + zeros}}, []any{map[string]any{"url": nobody, "checksum": zeros, "component": "hwmtest"}},
	)
}
