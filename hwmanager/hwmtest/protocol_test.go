package hwmtest

import (
	"os"
	"path/filepath"
	"testing"
	"time"
)

// shellPlugin is an executable that keeps to the protocol. Where a test breaks it,
// it has code for one of the places.
func shellPlugin(t *testing.T, breaks map[string]string) Executable {
	t.Helper()
	at := func(place, instead string) string {
		if code, broken := breaks[place]; broken {
			return code
		}
		return instead
	}
	script := `#!/bin/sh
` + at("first", "") + `
case $1 in
describe)
	` + at("describe", `echo '{"result": {"name": "acme", "version": "1.0.0", "sdk": "1.0", "methods": ["evaluate_hardware_support", "get_clean_steps", "execute_step", "collect"]}}'`) + ` ;;
evaluate_hardware_support)
	` + at("evaluate", `echo '{"result": 3}'`) + ` ;;
get_clean_steps)
	` + at("steps", `echo '{"result": [{"step": "acme_label", "interface": "raid", "priority": 0}]}'`) + ` ;;
execute_step)
	request=$(cat)
	case $request in
	*'"step":"acme_label"'*)
		` + at("step", `echo '{"progress": {"percent": 50}}'; acmectl label; echo '{"result": {"labelled": true}}'`) + ` ;;
	*) ` + at("foreign", "exit 3") + ` ;;
	esac ;;
collect) echo '{"result": {"slots": 8}}' ;;
*) ` + at("unknown", "exit 3") + ` ;;
esac
`
	dir := t.TempDir()
	path := filepath.Join(dir, "acme")
	if err := writeProgram(path, script); err != nil {
		t.Fatal(err)
	}
	return Executable{Path: path, Dir: dir, Own: true}
}

// TestBadExecutables: each check of the protocol is failed by who does what it is
// there for, and by nobody else.
func TestBadExecutables(t *testing.T) {
	t.Parallel()
	dir := hostDir(t, map[string]string{
		"host.machine": "sys/block/sda/size = 8\\n\ndev/sda : 4096\n",
		"bin/acmectl":  "#!/bin/sh\necho state > \"$FAKE_HOST/dev/label\"\n",
	})
	covered := map[string]bool{}
	for _, test := range []struct {
		name, check string
		status      Status
		detail      string
		place, code string
	}{
		{"keeps to it", "", OK, "", "", ""},
		{"describes nothing", "protocol: describe", Failed, `lacks name, version or sdk`, "describe", `echo '{"result": {"methods": ["evaluate_hardware_support"]}}'`},
		{"describes in words", "protocol: describe", Failed, `not name, version, sdk, methods`, "describe", `echo '{"result": "acme 1.0"}'`},
		{"without evaluate", "protocol: describe", Failed, `evaluate_hardware_support is not in methods`, "describe", `echo '{"result": {"name": "acme", "version": "1.0.0", "sdk": "1.0", "methods": []}}'`},
		{"fails for unknown methods", "protocol: unknown methods", Failed, "exit status 1; it said: what?", "unknown", "echo 'what?' >&2; exit 1"},
		{"talks about unknown methods", "protocol: unknown methods", Failed, `it writes "usage: acme"`, "unknown", "echo usage: acme; exit 3"},
		{"a log on standard output", "protocol: lines", Failed, `execute_step: a line is not a JSON object: "labelling"`, "step", `echo labelling; echo '{"result": null}'`},
		{"goes on after the result", "protocol: lines", Failed, "there is a line after the result", "step", `echo '{"result": null}'; echo '{"progress": {}}'`},
		{"no result", "protocol: lines", Failed, "the last line is neither", "step", `echo '{"progress": {"percent": 1}}'`},
		{"two in a line", "protocol: lines", Failed, "has not one of", "step", `echo '{"result": null, "progress": {}}'`},
		{"fails silently", "protocol: lines", Failed, "it fails without a word", "step", "exit 1"},
		{"more than all", "protocol: progress", Failed, `{"percent": 150}`, "step", `echo '{"progress": {"percent": 150}}'; echo '{"result": null}'`},
		{"progress in words", "protocol: progress", Failed, `"half"`, "step", `echo '{"progress": {"percent": "half"}}'; echo '{"result": null}'`},
		{"progress of its own", "protocol: progress", Failed, `unknown field`, "step", `echo '{"progress": {"done_percent": 5}}'; echo '{"result": null}'`},
		{"runs any step", "protocol: foreign steps", Failed, "hwmtest_no_such_step changes dev/label (new)", "foreign", `acmectl label; echo '{"result": null}'`},
		{"runs any step, to no end", "protocol: foreign steps", Warning, "has the result null", "foreign", `echo '{"result": null}'`},
		{"request as an argument", "protocol: large requests", Failed, "fails, or answers another thing", "steps", `request=$(cat); env request="$request" true || exit 1; echo '{"result": []}'`},
		{"a variable of the shell", "protocol: environment", Failed, "evaluate_hardware_support depends on the environment", "evaluate", `echo "{\"result\": ${HWMTEST_LEVEL:-0}}"`},
		{"keeps state beside itself", "protocol: directories", Failed, "its own files have changed: state (new)", "evaluate", `touch "$FERRIC_PLUGIN_DIR/state"; echo '{"result": 3}'`},
		{"takes its time", "protocol: time", Warning, "evaluate_hardware_support took", "evaluate", `sleep 2.5; echo '{"result": 3}'`},
		{"leaves a process", "protocol: no processes are left", Failed, "execute_step leaves s", "step", `setsid sleep 1000 >/dev/null 2>&1 & echo '{"result": null}'`},
	} {
		covered[test.check] = true
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			breaks := map[string]string{}
			if test.place != "" {
				breaks[test.place] = test.code
			}
			only(t, CheckExecutable(t.Context(), shellPlugin(t, breaks), nil, OnHost(dir), Patience(10*time.Second), func(o *options) { o.settle = time.Second }),
				test.check, test.status, test.detail)
		})
	}
	for _, c := range protocol() {
		if !covered[c.name] {
			t.Errorf("no executable here fails %q", c.name)
		}
	}
}

// TestMain gives the executables something in the environment to rely on.
func TestMain(m *testing.M) {
	if err := os.Setenv("HWMTEST_LEVEL", "3"); err != nil {
		panic(err)
	}
	os.Exit(m.Run())
}
