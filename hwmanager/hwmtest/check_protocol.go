package hwmtest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"ferric/hwmanager"
)

type described struct {
	Name    string   `json:"name"`
	Version string   `json:"version"`
	SDK     string   `json:"sdk"`
	Methods []string `json:"methods"`
}

func (x *protocolExam) describe() (described, error) {
	f, err := x.empty()
	if err != nil {
		return described{}, err
	}
	var d described
	result, err := x.do(f, request{method: "describe"}).result()
	if err != nil {
		return d, err
	}
	if err := json.Unmarshal(result, &d); err != nil {
		return d, fmt.Errorf("its result is not name, version, sdk, methods: %.200s", result)
	}
	return d, nil
}

func checkDescribe(x *protocolExam) verdict {
	d, err := x.describe()
	switch {
	case err != nil:
		return failed("%v", err)
	case d.Name == "" || d.Version == "" || d.SDK == "":
		return failed("it lacks name, version or sdk: %+v", d)
	case !slices.Contains(d.Methods, "evaluate_hardware_support"):
		return failed("evaluate_hardware_support is not in methods: %s", strings.Join(d.Methods, ", "))
	}
	again, err := x.describe()
	if err != nil || !slices.Equal(again.Methods, d.Methods) || again.Name != d.Name || again.Version != d.Version {
		return failed("it says another thing the second time: %+v, then %+v (%v)", d, again, err)
	}
	return ok("%s %s, %d methods", d.Name, d.Version, len(d.Methods))
}

func checkUnknownMethod(x *protocolExam) verdict {
	f, err := x.host()
	if err != nil {
		return failed("%v", err)
	}
	a := x.do(f, request{method: "hwmtest_no_such_method"})
	switch {
	case a.err != nil:
		return failed("%v", a.err)
	case a.status != 3:
		return failed("it ends with exit status %d%s", a.status, a.said())
	case len(bytes.TrimSpace(a.stdout)) > 0:
		return failed("it writes %.80q", bytes.TrimSpace(a.stdout))
	}
	return ok("exit status 3")
}

// everything puts all questions to the executable that do no harm, and runs its
// steps that need no arguments, on a machine each.
func (x *protocolExam) everything() []answered {
	d, err := x.describe()
	if err != nil {
		return nil
	}
	f, err := x.host()
	if err != nil {
		return nil
	}
	var all []answered
	ask := func(f *Fake, r request) answered {
		a := x.do(f, r)
		all = append(all, a)
		return a
	}
	level, err := ask(f, request{method: "evaluate_hardware_support"}).result()
	fits := err == nil && string(level) != "0"
	if slices.Contains(d.Methods, "collect") {
		ask(f, request{method: "collect"})
	}
	for _, phase := range phases() {
		list := "get_" + string(phase) + "_steps"
		if !slices.Contains(d.Methods, list) {
			continue
		}
		result, err := ask(f, request{method: list, args: map[string]any{"node": x.node}}).result()
		var steps []struct {
			Step     string `json:"step"`
			ArgsInfo map[string]struct {
				Required bool   `json:"required"`
				Default  any    `json:"default"`
				Type     string `json:"type"`
				Enum     []any  `json:"enum"`
			} `json:"argsinfo"`
		}
		if err != nil || json.Unmarshal(result, &steps) != nil || !fits {
			continue
		}
	steps:
		for _, step := range steps {
			args := map[string]any{}
			for name, info := range step.ArgsInfo {
				if value, given := x.args[step.Step][name]; given {
					args[name] = value
				} else if info.Default != nil {
					args[name] = info.Default
				} else if info.Required && len(info.Enum) > 0 {
					args[name] = info.Enum[0]
				} else if sample, known := sampleOf(name, info.Type); info.Required && known {
					args[name] = sample
				} else if info.Required {
					continue steps
				}
			}
			own, err := x.host()
			if err != nil {
				continue
			}
			ask(own, request{method: "execute_step", limit: 5 * x.settle, args: map[string]any{
				"phase": phase, "step": step.Step, "args": args, "node": x.node, "ports": []any{},
			}})
		}
	}
	return all
}

// sampleOf is a value of a type that arguments may have.
func sampleOf(name, kind string) (any, bool) {
	switch kind {
	case "string":
		for _, g := range guesses() {
			if g.name.MatchString(name) {
				return g.value, true
			}
		}
		return "hwmtest", true
	case "integer", "number":
		return 1, true
	case "boolean":
		return true, true
	}
	return nil, false
}

func checkLines(x *protocolExam) verdict {
	all := x.everything()
	if len(all) == 0 {
		return skipped("it does not describe itself")
	}
	count := 0
	for _, a := range all {
		if a.status < 0 {
			continue // it was cut off
		}
		lines, err := a.lines()
		if err != nil {
			return failed("%s: %v", a.method, err)
		}
		if _, err := a.result(); a.status != 0 && a.status != 3 && len(lines) == 0 && strings.TrimSpace(a.stderr) == "" {
			return failed("%s: it fails without a word: %v", a.method, err)
		}
		count += len(lines)
	}
	return ok("%d lines of %d calls", count, len(all))
}

func checkProgressLines(x *protocolExam) verdict {
	count := 0
	for _, a := range x.answers {
		lines, _ := a.lines() // has a check of its own
		for _, line := range lines {
			report, has := line["progress"]
			if !has {
				continue
			}
			count++
			var p struct {
				Phase       *string  `json:"phase"`
				Percent     *float64 `json:"percent"`
				Done        *int64   `json:"done"`
				Total       *int64   `json:"total"`
				Written     *int64   `json:"written"`
				BytesPerSec *float64 `json:"bytes_per_second"`
				SecondsLeft *float64 `json:"seconds_left"`
			}
			d := json.NewDecoder(bytes.NewReader(report))
			d.DisallowUnknownFields()
			if err := d.Decode(&p); err != nil {
				return failed("%s: %.80s: %v", a.method, report, err)
			}
			if p.Percent != nil && (*p.Percent < 0 || *p.Percent > 100) || p.Done != nil && *p.Done < 0 || p.Total != nil && *p.Total < 0 || p.Written != nil && *p.Written < 0 {
				return failed("%s: %.80s", a.method, report)
			}
		}
	}
	if count == 0 {
		return skipped("no call reported any")
	}
	return ok("%d reports", count)
}

func checkForeignStep(x *protocolExam) verdict {
	d, err := x.describe()
	if err != nil || !slices.Contains(d.Methods, "execute_step") {
		return skipped("it runs no steps")
	}
	for _, phase := range phases() {
		f, err := x.host()
		if err != nil {
			return failed("%v", err)
		}
		changes := watch(f)
		a := x.do(f, request{method: "execute_step", args: map[string]any{
			"phase": phase, "step": "hwmtest_no_such_step", "args": map[string]any{}, "node": x.node, "ports": []any{},
		}})
		result, err := a.result()
		switch changed := changes(); {
		case a.err != nil:
			return failed("%v", a.err)
		case len(changed) > 0:
			return failed("the %s step hwmtest_no_such_step changes %s", phase, some(changed))
		case len(f.Runs()) > 0:
			return failed("the %s step hwmtest_no_such_step runs %s", phase, f.Runs()[0])
		case err == nil:
			// Nothing came of it here; agents ask for steps only that were listed.
			return warned("the %s step hwmtest_no_such_step has the result %.80s: look at the name of the step", phase, result)
		}
	}
	return ok("none is run")
}

// largeRequest is more than fits into one argument of a program, in bytes.
const largeRequest = 400 << 10

func checkLargeRequest(x *protocolExam) verdict {
	d, err := x.describe()
	if err != nil {
		return skipped("it does not describe itself")
	}
	f, err := x.host()
	if err != nil {
		return failed("%v", err)
	}
	large := hwmanager.Node{}
	for key, value := range x.node {
		large[key] = value
	}
	large["instance_info"] = map[string]any{"configdrive": strings.Repeat("H4sIAAAA", largeRequest/8)}
	asked := 0
	for _, phase := range phases() {
		list := "get_" + string(phase) + "_steps"
		if !slices.Contains(d.Methods, list) {
			continue
		}
		small, err := x.do(f, request{method: list, args: map[string]any{"node": x.node}}).result()
		if err != nil {
			continue
		}
		asked++
		a := x.do(f, request{method: list, args: map[string]any{"node": large}})
		if result, err := a.result(); err != nil || !sameJSON(small, result) {
			return failed("%s fails, or answers another thing, when the node has %d KiB: %v%s", list, largeRequest>>10, err, a.said())
		}
	}
	if asked == 0 {
		return skipped("it lists no steps on this host")
	}
	return ok("%d KiB", largeRequest>>10)
}

func sameJSON(a, b json.RawMessage) bool {
	var left, right bytes.Buffer
	return json.Compact(&left, a) == nil && json.Compact(&right, b) == nil && bytes.Equal(left.Bytes(), right.Bytes())
}

func checkEnvironment(x *protocolExam) verdict {
	f, err := x.host()
	if err != nil {
		return failed("%v", err)
	}
	for _, method := range []string{"describe", "evaluate_hardware_support"} {
		plain := x.do(f, request{method: method})
		if plain.err != nil {
			return skipped("%v", plain.err)
		}
		result, err := plain.result()
		full := x.do(f, request{method: method, env: otherEnviron()})
		other, otherErr := full.result()
		if (err == nil) != (otherErr == nil) || err == nil && !sameJSON(result, other) {
			return failed("%s depends on the environment: %.80s (%v) without, %.80s (%v) with that of this shell%s", method, result, err, other, otherErr, plain.said())
		}
		if err != nil {
			return skipped("%s fails", method)
		}
	}
	return ok("it needs none of this shell's")
}

// otherEnviron is what this process has in its environment beyond what is documented.
func otherEnviron() []string {
	documented := []string{"PATH", "LC_ALL", "HOME", "TMPDIR", "PWD", "FERRIC_PLUGIN_DIR"}
	var others []string
	for _, variable := range os.Environ() {
		if name, _, _ := strings.Cut(variable, "="); !slices.Contains(documented, name) {
			others = append(others, variable)
		}
	}
	return others
}

func checkDirectories(x *protocolExam) verdict {
	if x.filesErr != nil {
		return failed("%v", x.filesErr)
	}
	after, err := snapshot(x.own())
	if err != nil {
		return failed("%v", err)
	}
	if changed := x.files.changes(after); len(changed) > 0 {
		return failed("its own files have changed: %s", some(changed))
	}
	return ok("its own files are as before, after %d calls", len(x.answers))
}

// promptly is how long the questions may take that an agent has when it starts.
const promptly = 2 * time.Second

func checkTime(x *protocolExam) verdict {
	var slowest answered
	for _, a := range x.answers {
		if (a.method == "describe" || a.method == "evaluate_hardware_support") && a.took > slowest.took {
			slowest = a
		}
	}
	if slowest.took > min(promptly, x.patience) {
		return warned("%s took %s", slowest.method, slowest.took.Round(time.Millisecond))
	}
	return ok("%s took %s at most", slowest.method, slowest.took.Round(time.Millisecond))
}

func checkLeftBehind(x *protocolExam) verdict {
	for _, a := range x.answers {
		if len(a.left) > 0 {
			return failed("%s leaves %s", a.method, some(a.left))
		}
	}
	return ok("none after %d calls", len(x.answers))
}
