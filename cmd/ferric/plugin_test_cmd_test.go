package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const acmePlugin = `#!/bin/sh
case $1 in
describe) echo '{"result": {"name": "acme", "version": "1.0.0", "sdk": "1.0", "methods": ["evaluate_hardware_support", "get_clean_steps", "execute_step"]}}' ;;
evaluate_hardware_support) command -v acmectl >/dev/null && echo '{"result": 3}' || echo '{"result": 0}' ;;
get_clean_steps) echo '{"result": [{"step": "acme_update", "interface": "management", "priority": 0, "reboot_requested": true, "argsinfo": {"wanted": {"description": "which version", "type": "string", "required": true}}}]}' ;;
execute_step)
	case $(cat) in *'"step":"acme_update"'*) ;; *) exit 3 ;; esac
	now=$(acmectl version)
	echo "it has $now" >&2
	if [ "$now" = "$FERRIC_ARG_WANTED" ]; then echo '{"result": {"version": "'"$now"'"}}'; exit; fi
	echo '{"progress": {"percent": 40}}'
	acmectl flash "$FERRIC_ARG_WANTED" || exit 1
	echo '{"reboot": {"before": "'"$now"'"}}' ;;
*) exit 3 ;;
esac
`

const acmePackage = `// Package acme is a hardware manager.
package acme

import (
	"context"

	"ferric/api/ipa"
	"ferric/hwmanager"
)

type manager struct{}

func New() hwmanager.Manager      { return manager{} }
func (manager) Name() string      { return "acme" }
func (manager) ClassName() string { return "AcmeHardwareManager" }
func (manager) Version() string   { return "1.0" }

func (manager) Evaluate(ctx context.Context, h *hwmanager.Host) (hwmanager.Support, error) {
	if _, err := h.Run.Run(ctx, "acmectl", "version"); hwmanager.NoProgram(err) {
		return hwmanager.None, nil
	}
	return hwmanager.ServiceProvider, nil
}

func (manager) CleanSteps(context.Context, *hwmanager.Host, hwmanager.Node) ([]hwmanager.Step, error) {
	return []hwmanager.Step{{Declaration: ipa.Step{Step: "acme_label", Interface: "management"}, Run: label}}, nil
}

func label(_ context.Context, _ *hwmanager.Host, call hwmanager.StepCall) (any, error) {
	return call.Args, nil
}
`

// TestPluginTest: what can be tested, and what comes of it.
func TestPluginTest(t *testing.T) {
	source, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("TMPDIR", t.TempDir())
	t.Chdir(t.TempDir())
	put := func(path, text string, mode os.FileMode) {
		t.Helper()
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
	}
	put("acme-raid/acme", acmePlugin, 0o755)
	put("acme-raid/plugin.json", `{"name": "acme", "version": "1.0.0", "sdk": "1.0", "executable": "acme"}`, 0o644)
	put("loud", strings.Replace(acmePlugin, "*) exit 3 ;;\nesac\n", "*) echo what; exit 1 ;;\nesac\n", 1), 0o755)
	put("goacme/go.mod", "module example.org/goacme\n\ngo 1.26\n\nrequire ferric v0.0.0\n\nreplace ferric => "+source+"\n", 0o644)
	put("goacme/acme.go", acmePackage, 0o644)
	put("exits/go.mod", "module example.org/exits\n\ngo 1.26\n\nrequire ferric v0.0.0\n\nreplace ferric => "+source+"\n", 0o644)
	put("exits/acme.go", strings.Replace(strings.Replace(acmePackage, "return call.Args, nil", "os.Exit(0)\n\treturn nil, nil", 1), "\"context\"\n", "\"context\"\n\t\"os\"\n", 1), 0o644)
	put("broken/go.mod", "module example.org/broken\n\ngo 1.26\n", 0o644)
	put("broken/acme.go", "package acme\n\nfunc New() int { return none }\n", 0o644)
	put("host/bin/acmectl", "#!/bin/sh\ncase $1 in flash) echo \"$2\" > \"$FAKE_HOST/version\" ;; *) cat \"$FAKE_HOST/version\" ;; esac\n", 0o755)
	put("host/version", "1.0\n", 0o644)
	for _, test := range []struct {
		args string
		code int
		says []string // on standard output or standard error
	}{
		{"keygen site", 0, nil},
		{"sign acme-raid --key site.key --output acme.plugin", 0, nil},
		{"test acme-raid --host host", 0, []string{"acme-raid on the fake host host", "ok       protocol: describe ", "ok       reboots ", "39 checks: ", " 0 failed, 0 warnings"}},
		{"test acme-raid/acme", 0, []string{"built-in fake server", "skipped  step names ", "--write-host DIR", " 0 failed, 0 warnings"}},
		{"test acme.plugin --plugin-key site.pub --host host", 0, []string{" 0 failed, 0 warnings"}},
		{"test acme.plugin --host host", 2, []string{"--plugin-key"}},
		{"test loud --host host", 1, []string{"FAILED   protocol: unknown methods  ", "-> exit with status 3", ", 1 failed, "}},
		{"test goacme --source " + source + " --host host", 1, []string{"FAILED   unknown arguments are refused", "NewStep does", ", 1 failed, "}},
		{"test exits --source " + source + " --host host", 1, []string{"the package ended the program, as it would end the agent (exit status 0)"}},
		{"test broken --source " + source, 1, []string{"broken/acme.go:3:", "undefined: none"}},
		{"test nowhere", 1, []string{"no such file"}},
		{"test acme-raid --host nowhere", 1, []string{"make a fake host: ", "nowhere"}},
		{"test acme-raid --host host --step acme_update --args {\"wanted\":\"2.0\"} -v", 0, []string{
			"step      clean acme_update of acme 1.0.0", "progress  40 %", "ran       acmectl flash 2.0", `reboot    after `, `{"before":"1.0"}`, `"version": "2.0"`, "it has 1.0",
		}},
		{"test acme-raid --host host --step acme_update", 1, []string{"FAILED ", "wanted", "-> its arguments, for --args: wanted (which version, required)"}},
		{"test acme-raid --host host --step acme_wipe", 1, []string{"offers no step acme_wipe; it offers: clean acme_update"}},
		{"test acme-raid --host host --step acme_update --phase deploy", 1, []string{"it offers: none"}},
		{"test acme-raid --step acme_update", 1, []string{"finds none of its hardware on the built-in fake server"}},
		{"test acme-raid --args {}", 2, []string{"--step"}},
		{"test acme-raid --step x --args [", 2, []string{"not a JSON object"}},
		{"test acme-raid --step x --phase verify", 2, []string{"clean, deploy, service"}},
		{"test --write-host mine", 0, []string{"--host mine"}},
		{"test --write-host mine", 1, []string{"is not empty"}},
		{"test acme-raid --host mine", 0, []string{" 0 failed"}},
	} {
		var out, fault strings.Builder
		code := run(t.Context(), append([]string{"plugin"}, strings.Fields(test.args)...), strings.NewReader(""), &out, &fault)
		all := out.String() + fault.String()
		if code != test.code {
			t.Errorf("plugin %s: exit status %d, want %d:\n%s", test.args, code, test.code, all)
		}
		for _, text := range test.says {
			if !strings.Contains(all, text) {
				t.Errorf("plugin %s: want %q in:\n%s", test.args, text, all)
			}
		}
	}
	if left, err := filepath.Glob(filepath.Join(os.TempDir(), "ferric-*")); err != nil || len(left) > 0 {
		t.Errorf("left in the temporary directory: %v, %v", left, err)
	}
}
