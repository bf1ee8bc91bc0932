package execplugin

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"ferric/api/ipa"
	"ferric/api/plugin"
	"ferric/hwmanager"
)

// FuzzReply feeds the reader of standard output: whatever comes, it ends, and
// what it takes can be told to a conductor.
func FuzzReply(f *testing.F) {
	for _, line := range []string{
		`{"progress":{"phase":"x","percent":5}}` + "\n" + `{"result":{"a":[1,2.5,null,true,"x"]}}` + "\n",
		`{"error":{"type":"CleaningError","message":"x"}}`, `{"reboot":{"to":"1"}}`, "\n\n{}", `{"result":1}{"result":2}`,
		`{"result":"\ud800"}`, `{"result":1e400}`, `{"result":` + strings.Repeat("[", 70) + strings.Repeat("]", 70) + `}`, "\xff", `{"result":"` + "\x00",
		`{"result":1,"result":2}`, `{"progress":{"percent":null}}`, `{"progress":{"percent":1e308,"done":9223372036854775808}}`,
	} {
		f.Add([]byte(line))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		var r reply
		err := r.read(bytes.NewReader(text), func(report progressReport) {
			p := report.progress()
			if p.Done < 0 || p.Total < 0 || p.Written < 0 || report.fraction() < 0 || report.fraction() > 1 {
				t.Errorf("progress %+v", p)
			}
		})
		if err != nil || r.wrong != "" {
			return
		}
		for _, value := range [][]byte{r.result, r.reboot} {
			var any any
			if value != nil && decode(value, &any) != nil {
				t.Errorf("%s was taken", value)
			}
		}
		if (r.ended == "") != (r.result == nil && r.failed == nil && r.reboot == nil) {
			t.Errorf("it ended with %q: %+v", r.ended, r)
		}
	})
}

// stepOf runs the step of a plugin that answers so.
func stepOf(t *testing.T, answer string, call hwmanager.StepCall) (any, error) {
	t.Helper()
	p, err := Open(t.Context(), place(t, "acme", script("acme", answer)), Options{})
	check(t, err)
	return p.runner(hwmanager.Clean, declaration{Step: "update"})(t.Context(), quietHost(), call)
}

// TestOwnErrors: the errors of a plugin are those of the protocol where it says
// so; the message is its own in any case.
func TestOwnErrors(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		answer string
		kind   string
		words  string
	}{
		{`echo '{"error":{"type":"SoftwareRAIDError","message":"disk 3 is too small"}}'`, "SoftwareRAIDError", "plugin acme, step update: disk 3 is too small"},
		{`echo '{"error":{"type":"BlockDeviceEraseError","message":"frozen"}}'; exit 1`, "BlockDeviceEraseError", "frozen"},
		{`echo '{"error":{"type":"VersionMismatch","message":"list again"}}'`, "", "VersionMismatch: list again"},
		{`echo '{"error":{"type":"AcmeError","message":"E42"}}'; echo log >&2`, "", "AcmeError: E42; it said: log"},
		{`echo '{"error":{"message":"\u001b[31mred"}}'`, "", "step update: [31mred"},
	} {
		_, err := stepOf(t, test.answer, hwmanager.StepCall{})
		var known *ipa.Error
		kind := ""
		if errors.As(err, &known) {
			kind = known.Type
		}
		if err == nil || kind != test.kind || !strings.Contains(err.Error(), test.words) {
			t.Errorf("%s: %q of type %q; want %q of type %q", test.answer, err, kind, test.words, test.kind)
		}
	}
	for _, passes := range []string{`exit 3`, `echo '{"error":{"type":"IncompatibleHardwareMethodError","message":"not mine"}}'`} {
		_, err := stepOf(t, passes, hwmanager.StepCall{})
		if !errors.Is(err, hwmanager.ErrNotHandled) && !ipa.IncompatibleMethod.Is(err) {
			t.Errorf("%s: %v; want it to pass", passes, err)
		}
	}
}

// TestReboot has a step ask for a reboot and go on with what it left.
func TestReboot(t *testing.T) {
	t.Parallel()
	const step = `if grep -q '"resume":{"before":"1.1"}'; then echo '{"result":"updated"}'; else echo '{"reboot":{"before":"1.1"},"warm":true}'; fi`
	_, err := stepOf(t, step, hwmanager.StepCall{})
	var reboot *hwmanager.Reboot
	if !errors.As(err, &reboot) || !reboot.Warm {
		t.Fatalf("the first run ends with %v; want a warm reboot", err)
	}
	state, err := plain(reboot.State)
	if diff := cmp.Diff(map[string]any{"before": "1.1"}, state); err != nil || diff != "" {
		t.Fatalf("the state is %v (%v)", state, err)
	}
	result, err := stepOf(t, step, hwmanager.StepCall{Resume: []byte(`{"before":"1.1"}`)})
	if err != nil || result != "updated" {
		t.Errorf("the second run ends with %v, %v", result, err)
	}
}

// TestEnvironment: a plugin gets nothing of the agent's environment, and its
// host's programs before the machine's.
func TestEnvironment(t *testing.T) {
	t.Setenv("IPA_TOKEN", "secret of the agent")
	bin := t.TempDir()
	check(t, os.WriteFile(filepath.Join(bin, "ls"), []byte("#!/bin/sh\necho made up\n"), 0o755))
	dir := place(t, "acme", script("acme", `env >&2; cat >&2; echo "$PWD $(ls)" >&2; exit 1`))
	p, err := Open(t.Context(), dir, Options{})
	check(t, err)
	h := quietHost()
	h.Programs = bin
	_, err = p.runner(hwmanager.Clean, declaration{Step: "x"})(t.Context(), h, hwmanager.StepCall{Node: hwmanager.Node{
		"uuid": "1", "driver_internal_info": map[string]any{"agent_secret_token": "secret of the agent", "agent_url": "http://a"},
	}})
	if err == nil {
		t.Fatal("the step succeeds")
	}
	said := err.Error()
	for _, words := range []string{"FERRIC_PLUGIN_DIR=" + dir + "\n", "LC_ALL=C\n", "PATH=" + bin + ":", " made up", `"driver_internal_info":{"agent_url":"http://a"}`} {
		if !strings.Contains(said, words) {
			t.Errorf("%q is not in %s", words, said)
		}
	}
	if strings.Contains(said, "secret") {
		t.Errorf("the environment of the agent is in %s", said)
	}
}

// TestSettle checks arguments against declarations.
func TestSettle(t *testing.T) {
	t.Parallel()
	one := 1.0
	declared := map[string]argument{
		"level":  {Type: "string", Enum: raw(`"1"`, `"10"`), Required: true},
		"disks":  {Type: "integer", Minimum: &one, Default: raw(`2`)[0]},
		"ratio":  {Type: "number"},
		"force":  {Type: "boolean"},
		"list":   {Type: "array"},
		"map":    {Type: "object"},
		"any":    {},
		"choice": {Enum: raw(`1`, `null`)},
	}
	for _, test := range []struct {
		name  string
		given map[string]any
		want  map[string]any // nil: an error
		words []string
	}{
		{"defaults", map[string]any{"level": "1"}, map[string]any{"level": "1", "disks": json.Number("2")}, nil},
		{"all", map[string]any{"level": "10", "disks": 3.0, "ratio": 1.5, "force": true, "list": []string{"a"}, "map": map[string]int{"a": 1}, "any": 1, "choice": json.Number("1.0")},
			map[string]any{"level": "10", "disks": json.Number("3"), "ratio": json.Number("1.5"), "force": true, "list": []any{"a"}, "map": map[string]any{"a": json.Number("1")}, "any": json.Number("1"), "choice": json.Number("1.0")}, nil},
		{"null is not given", map[string]any{"level": "1", "disks": nil, "force": nil}, map[string]any{"level": "1", "disks": json.Number("2")}, nil},
		{"nothing", nil, nil, []string{"level: it is required"}},
		{"all wrong", map[string]any{"level": 1, "disks": 1.5, "ratio": "1", "force": "yes", "list": map[string]any{}, "map": []any{}, "choice": 2, "disk": 1}, nil, []string{
			"level: want a string, not 1", "disks: want an integer, not 1.5", `ratio: want a number, not "1"`, `force: want a boolean, not "yes"`,
			"list: want an array, not {}", "map: want an object, not []", "choice: want one of 1, null, not 2", "disk: there is no such argument; there are any, choice, disks",
		}},
		{"not in the list", map[string]any{"level": "5"}, nil, []string{`level: want one of "1", "10", not "5"`}},
		{"too small", map[string]any{"level": "1", "disks": 0}, nil, []string{"disks: want at least 1, not 0"}},
		{"huge", map[string]any{"level": "1", "ratio": json.Number("1e999999999")}, nil, []string{"ratio: 1e999999999 is out of range"}},
		{"long", map[string]any{"level": strings.Repeat("é", 1000)}, nil, []string{"…"}},
		{"no JSON", map[string]any{"level": "1", "any": func() {}}, nil, []string{"any: "}},
	} {
		got, err := settle(declared, test.given)
		if (err == nil) != (test.want != nil) {
			t.Errorf("%s: %v, %v", test.name, got, err)
			continue
		}
		for _, words := range test.words {
			if !strings.Contains(err.Error(), words) {
				t.Errorf("%s: error %q lacks %q", test.name, err, words)
			}
		}
		if diff := cmp.Diff(test.want, got); test.want != nil && diff != "" {
			t.Errorf("%s: arguments (-want +got):\n%s", test.name, diff)
		}
	}
	for _, bad := range []argument{{Type: "integer", Default: raw(`"1"`)[0]}, {Default: raw(`3`)[0], Enum: raw(`1`)}, {Type: "int"}} {
		if checkArguments(map[string]argument{"x": bad}) == nil {
			t.Errorf("%+v is taken", bad)
		}
	}
}

// TestDevices: what a plugin says of a device goes over what is known of it.
func TestDevices(t *testing.T) {
	t.Parallel()
	p, err := Open(t.Context(), place(t, "acme", `#!/bin/sh
case $1 in
describe) echo '{"result":{"name":"acme","version":"1","sdk":"1.0","methods":["evaluate_hardware_support","filter_device","get_os_install_device","list_block_devices","erase_block_device"]}}';;
evaluate_hardware_support) echo '{"result":3}';;
list_block_devices) echo '{"result":[{"name":"/dev/sda","size":7},{"name":"/dev/sdb","size":8}]}';;
get_os_install_device) echo '{"result":"/dev/sdb"}';;
erase_block_device) echo '{"progress":{"percent":25,"written":10}}'; echo '{"progress":{"done":3,"total":4}}'; echo '{"result":{"method":"Acme"}}';;
filter_device) case $(cat) in *sdc*) echo '{"result":null}';; *) echo '{"result":{"model":"Acme 9"}}';; esac;;
esac
`), Options{})
	check(t, err)
	h := oneDisk(t)
	_, err = hwmanager.Load(t.Context(), h, []hwmanager.Manager{p})
	check(t, err)
	old := "old"
	device := ipa.BlockDevice{Name: "/dev/sda", Model: &old, Size: 5, Identity: "of 10 sectors"}
	filtered, err := p.FilterDevice(t.Context(), h, device)
	model := "Acme 9"
	if diff := cmp.Diff(ipa.BlockDevice{Name: "/dev/sda", Model: &model, Size: 5, Identity: "of 10 sectors"}, filtered); err != nil || diff != "" || old != "old" {
		t.Errorf("the device (%v, model of the first %s) differs (-want +got):\n%s", err, old, diff)
	}
	if hidden, err := p.FilterDevice(t.Context(), h, ipa.BlockDevice{Name: "/dev/sdc"}); err != nil || hidden != nil {
		t.Errorf("the device to hide is %v, %v", hidden, err)
	}
	if root, err := p.InstallDevice(t.Context(), h, nil); err != nil || root.Size != 8 {
		t.Errorf("the root device is %+v, %v; want the one of 8 bytes", root, err)
	}
	var reports []hwmanager.EraseProgress
	report := func(p hwmanager.EraseProgress) { reports = append(reports, p) }
	done, err := p.EraseBlockDevice(t.Context(), h, nil, ipa.BlockDevice{Name: "/dev/sda"}, report)
	if diff := cmp.Diff([]hwmanager.EraseProgress{{Fraction: 0.25, Written: 10}, {Fraction: 0.75}}, reports); err != nil || done.Method != "Acme" || diff != "" {
		t.Errorf("erasing says %+v, %v and (-want +got):\n%s", done, err, diff)
	}
	h.Guard = hwmanager.DeviceGuard{}
	if _, err := p.EraseBlockDevice(t.Context(), h, nil, ipa.BlockDevice{Name: "/dev/sda"}, report); !ipa.ProtectedDevice.Is(err) {
		t.Errorf("a device that must not be written to: %v", err)
	}
	if _, err := p.CPUs(t.Context(), h); !errors.Is(err, hwmanager.ErrNotHandled) {
		t.Errorf("what is not in methods is answered: %v", err)
	}
}

// TestLogsOfPlugin are found in a directory of their own.
func TestLogsOfPlugin(t *testing.T) {
	t.Parallel()
	p, err := Open(t.Context(), place(t, "acme", `#!/bin/sh
case $1 in
describe) echo '{"result":{"name":"acme","version":"1","sdk":"1.0","methods":["evaluate_hardware_support","collect_system_logs"]}}';;
*) echo '{"result":{"text":"a","bytes":{"base64":"/wA="}}}';;
esac
`), Options{})
	check(t, err)
	logs := map[string]string{}
	check(t, p.Logs(t.Context(), quietHost(), func(name string, r io.Reader) error {
		text, err := io.ReadAll(r)
		logs[name] = string(text)
		return err
	}))
	if diff := cmp.Diff(map[string]string{"acme/text": "a", "acme/bytes": "\xff\x00"}, logs); diff != "" {
		t.Errorf("logs (-want +got):\n%s", diff)
	}
}

// TestOpen refuses what is no plugin.
func TestOpen(t *testing.T) {
	t.Parallel()
	describes := func(description string) string { return "#!/bin/sh\necho '{\"result\":" + description + "}'\n" }
	for words, text := range map[string]string{
		`name "a b"`:                 describes(`{"name":"a b","version":"1","sdk":"1.0","methods":["evaluate_hardware_support"]}`),
		`version ""`:                 describes(`{"name":"a","sdk":"1.0","methods":["evaluate_hardware_support"]}`),
		"it needs 2.1":               describes(`{"name":"a","version":"1","sdk":"2.1","methods":["evaluate_hardware_support"]}`),
		"SDK version":                describes(`{"name":"a","version":"1","sdk":"one","methods":["evaluate_hardware_support"]}`),
		"lack evaluate_hardware":     describes(`{"name":"a","version":"1","sdk":"1.0","methods":[]}`),
		"but not execute_step":       describes(`{"name":"a","version":"1","sdk":"1.0","methods":["evaluate_hardware_support","get_clean_steps"]}`),
		"want an array":              describes(`{"name":"a","version":"1","sdk":"1.0","methods":"all"}`),
		"not handled":                "#!/bin/sh\nexit 3\n",
		"exit status 1; it said: no": "#!/bin/sh\necho no >&2\nexit 1\n",
		"ran for more than 500ms":    "#!/bin/sh\nsleep 60\n",
	} {
		_, err := Open(t.Context(), place(t, "acme", text), Options{Limits: plugin.Limits{Query: 0.5}, Grace: time.Millisecond})
		slow := words != "ran for more than 500ms" && err != nil && strings.Contains(err.Error(), "ran for more than")
		if err == nil || !slow && !strings.Contains(err.Error(), words) {
			t.Errorf("%v; want %q", err, words)
		}
	}
	if _, err := Open(t.Context(), filepath.Join(t.TempDir(), "none"), Options{}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("nothing there: %v", err)
	}
}

// TestSweep ends what an agent has left that was killed, and nothing else.
func TestSweep(t *testing.T) {
	dead := exec.Command("true")
	check(t, dead.Start())
	ended, _ := readProcess(dead.Process.Pid)
	check(t, dead.Wait())
	former := pidNamespace() + "-" + strconv.Itoa(dead.Process.Pid) + "-" + strconv.FormatUint(ended.start, 10) + "-00"
	elsewhere := "1-" + strings.SplitN(former, "-", 2)[1]
	dir := t.TempDir()
	type leftover struct {
		mark string
		ends bool
	}
	for _, c := range []leftover{{former, true}, {newMark(), false}, {elsewhere, false}} {
		check(t, os.MkdirAll(filepath.Join(dir, markPrefix+c.mark, "sub"), 0o755))
		stray := exec.Command("sleep", "60")
		stray.Env = []string{markVariable + "=" + c.mark}
		stray.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
		check(t, stray.Start())
		exited := make(chan struct{})
		go func() { _ = stray.Wait(); close(exited) }()
		check(t, Sweep(Options{Scratch: dir}))
		if c.ends {
			select {
			case <-exited:
			case <-time.After(10 * time.Second):
				t.Errorf("the process of %s is left", c.mark)
			}
		} else {
			if p, there := readProcess(stray.Process.Pid); !there || p.ended() {
				t.Errorf("the process of %s was ended", c.mark)
			}
			check(t, stray.Process.Kill())
			<-exited
		}
		_, err := os.Stat(filepath.Join(dir, markPrefix+c.mark))
		if os.IsNotExist(err) != c.ends {
			t.Errorf("the directory of %s: %v", c.mark, err)
		}
	}
}

func raw(texts ...string) []json.RawMessage {
	var all []json.RawMessage
	for _, text := range texts {
		all = append(all, json.RawMessage(text))
	}
	return all
}

// BenchmarkCall is the price of one question to a shell script.
func BenchmarkCall(b *testing.B) {
	for name, opts := range map[string]Options{"group": {}, "watched": {NoCgroup: true}} {
		p, err := Open(b.Context(), place(b, "acme", script("acme", "")), opts)
		if err != nil {
			b.Fatal(err)
		}
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				if _, err := p.Evaluate(b.Context(), quietHost()); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
