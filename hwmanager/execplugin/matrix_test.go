package execplugin

import (
	"bytes"
	"context"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/sirupsen/logrus"

	"ferric/api/ipa"
	"ferric/api/plugin"
	"ferric/hwmanager"
)

// rogueProgram is the name under which this test is a program that does what
// shells do not do well.
const rogueProgram = "rogue"

func TestMain(m *testing.M) {
	if filepath.Base(os.Args[0]) == rogueProgram {
		rogue(os.Args[1], os.Args[2:])
		return
	}
	os.Exit(m.Run())
}

func rogue(misdeed string, args []string) {
	switch misdeed {
	case "daemon": // with nothing that tells whose it is
		child := exec.Command(args[1], args[2:]...)
		child.Env = []string{}
		child.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
		child.Stdout, child.Stderr = os.Stdout, os.Stderr
		if err := child.Start(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		fmt.Println(`{"result":"started"}`)
	case "deep":
		fmt.Println(`{"result":` + strings.Repeat("[", 100000) + strings.Repeat("]", 100000) + `}`)
	case "large":
		fmt.Println(`{"result":"` + strings.Repeat("x", maxStepResult) + `"}`)
	}
}

// script is a plugin that answers well, but does as it likes in a step.
func script(name, step string) string {
	return `#!/bin/sh
case $1 in
describe) echo '{"result":{"name":"` + name + `","version":"1","sdk":"1.0","methods":["evaluate_hardware_support","get_clean_steps","execute_step"]}}';;
evaluate_hardware_support) echo '{"result":3}';;
get_clean_steps) echo '{"result":[{"step":"` + name + `_step","interface":"deploy","priority":0,"argsinfo":{"text":{"description":"any","type":"string"}}}]}';;
execute_step)
` + step + `
;;
esac
`
}

// place makes a plugin's directory with an executable.
func place(t testing.TB, name, text string) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), name)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

func quietHost() *hwmanager.Host {
	log := logrus.New()
	log.SetOutput(io.Discard)
	return &hwmanager.Host{Sys: "/sys", Proc: "/proc", Dev: "/dev", Etc: "/etc", Log: logrus.NewEntry(log)}
}

// misdeed is one row of the matrix.
type misdeed struct {
	name string
	// step is what the shell does in the step. $TOKEN is a number that no other
	// process has as an argument, so that what is left is found.
	step   string
	words  []string // all of them in the error; none: the step succeeds
	time   float64  // seconds that a step has; 0 for plenty
	memory int64    // MiB
	spoil  func(t *testing.T, file string)
	cancel bool // the step is cancelled when it has begun
	quick  bool // it is over within a second
	// groupOnly is what may go unseen where there are no control groups.
	groupOnly bool
	root      bool // a mount takes root
	// check looks at what else has to be.
	check func(t *testing.T, dir string)
}

func matrix() []misdeed {
	const hang = 1
	full := []string{"exit status 1", "cannot unpack"}
	if os.Geteuid() != 0 { // nobody can mount a file system of limited size
		full = []string{"wrote more than 32 MiB into its scratch directory"}
	}
	return []misdeed{
		{name: "crashes", step: `echo "controller 3 is gone" >&2; exit 7`, words: []string{"exit status 7", "controller 3 is gone"}},
		{name: "killed by a signal", step: `echo "about to fail" >&2; kill -SEGV $$; sleep 60.$TOKEN`, words: []string{"segmentation fault", "about to fail"}},
		{name: "hangs", step: `echo "waiting for the card" >&2; sleep 60.$TOKEN`, time: hang, words: []string{"ran for more than 1s", "waiting for the card"}},
		{name: "hangs with its children", step: `sleep 61.$TOKEN & sleep 60.$TOKEN | sleep 62.$TOKEN`, time: hang, words: []string{"ran for more than"}},
		{name: "ends on SIGTERM", step: `trap 'echo "cache flushed" >&2; exit 0' TERM; sleep 60.$TOKEN & wait`, time: hang, words: []string{"ran for more than", "cache flushed"}},
		{name: "ignores SIGTERM", step: `trap '' TERM; echo deaf >&2; while :; do sleep 0.1; : $TOKEN; done`, time: hang, words: []string{"ran for more than", "deaf"}},
		{name: "is cancelled", step: `trap '' TERM; echo '{"progress":{"phase":"begun"}}'; sleep 60.$TOKEN; sleep 61.$TOKEN`, cancel: true, quick: true, words: []string{"was stopped", "the operator has had enough"}},
		{name: "leaves a child that holds its output", step: `sleep 60.$TOKEN & echo '{"result":1}'`, words: []string{"left processes behind", "(sleep)"}},
		{name: "becomes a daemon", step: `(setsid sh -c 'sleep 60.'$TOKEN' & exec sleep 61.'$TOKEN &) ; echo '{"result":1}'`, words: []string{"left processes behind", "(sleep)"}},
		{name: "becomes a daemon without a trace", step: `exec $FERRIC_PLUGIN_DIR/rogue daemon $TOKEN sleep 60.$TOKEN`, groupOnly: true, words: []string{"left processes behind", "(sleep)"}},
		{name: "a child ends a moment later", step: `sleep 0.2 & echo '{"result":1}'`},
		{name: "fails and leaves a child", step: `sleep 60.$TOKEN & echo '{"error":{"message":"no battery"}}'`, words: []string{"no battery", "left processes behind"}},
		{name: "floods standard output", step: `yes '{"progress":{"phase":"'$(printf %01000d 0)'"}}'`, words: []string{"wrote more than 32 MiB to standard output"}},
		{name: "floods standard error", step: `yes "the disk is on fire" >&2`, words: []string{"wrote more than 32 MiB to standard error", "the disk is on fire"}},
		{name: "writes an endless line", step: `tr '\0' x </dev/zero`, words: []string{"wrote a line of more than 8 MiB"}},
		{name: "writes rubbish", step: `echo "Controller 0: OK"; echo "see above" >&2`, words: []string{"is not JSON", "Controller 0: OK", "see above"}},
		{name: "writes rubbish and hangs", step: `echo "Controller 0: OK"; sleep 60.$TOKEN`, time: hang, words: []string{"ran for more than", "Controller 0: OK"}},
		{name: "writes no object", step: `echo '[1]'`, words: []string{"is not a JSON object"}},
		{name: "writes an unknown line", step: `echo '{"Result":1}'`, words: []string{`none of "progress", "result", "error", "reboot"`}},
		{name: "writes two in one", step: `echo '{"result":1,"error":{"message":"x"}}'`, words: []string{"both result and error"}},
		{name: "writes two results", step: `echo '{"result":1}'; echo '{"result":2}'`, words: []string{"further line after its result"}},
		{name: "goes on after its result", step: `echo '{"result":1}'; sleep 60.$TOKEN`, time: hang, words: []string{"ran for more than"}},
		{name: "has no result", step: `echo '{"progress":{}}'; echo "nothing to do" >&2`, words: []string{"ended without a result", "nothing to do"}},
		{name: "half a line", step: `printf '{"result":'`, words: []string{"is not JSON"}},
		{name: "a result in many lines", step: `printf '{\n "result": 1\n}\n'`, words: []string{"an object has to be on one line"}},
		{name: "fails after its result", step: `echo '{"result":1}'; echo "sync failed" >&2; exit 1`, words: []string{"exit status 1 although it had written a result", "sync failed"}},
		{name: "passes after its result", step: `echo '{"result":1}'; exit 3`, words: []string{"exit status 3 although"}},
		{name: "progress of a wrong type", step: `echo '{"progress":{"percent":"ten"}}'; echo "erased 10%" >&2; echo '{"result":1}'`, words: []string{"progress that is wrong: percent is a string, want a number", "erased 10%"}},
		{name: "error of a wrong type", step: `echo '{"error":"broken"}'`, words: []string{"error that is wrong", "want an object"}},
		{name: "error without a message", step: `echo '{"error":{"type":"CleaningError"}}'`, words: []string{"error without a message"}},
		{name: "reboot of a wrong type", step: `echo '{"reboot":true}'`, words: []string{"reboot that is not an object"}},
		{name: "JSON nested deeply", step: `exec $FERRIC_PLUGIN_DIR/rogue deep`, words: []string{"more than 64 arrays and objects in each other"}},
		{name: "no UTF-8", step: `printf '{"result":"\377\376"}\n'`, words: []string{"is not UTF-8"}},
		{name: "not a number", step: `echo '{"result":NaN}'`, words: []string{"is not JSON"}},
		{name: "a number beyond numbers", step: `echo '{"result":{"size":1e999}}'`, words: []string{"nobody can read", "1e999"}},
		{name: "a result without end", step: `exec $FERRIC_PLUGIN_DIR/rogue large`, words: []string{"its result has", "want at most 1048576"}},
		{name: "eats memory", step: `dd if=/dev/zero of=/dev/null bs=512M count=1000000 || exit 1; : $TOKEN`, memory: 192, words: []string{"memory"}},
		{name: "eats memory by many", step: `for i in 1 2 3 4 5 6 7 8; do (x=$(head -c 24000000 /dev/zero | tr '\0' x); sleep 60.$TOKEN; echo $x) & done; wait`, memory: 144, words: []string{"used more than 144 MiB of memory"}},
		{name: "forks without end", step: `b() { sleep 0.0$TOKEN; [ $1 -gt 0 ] && { b $(($1-1)) & b $(($1-1)) & }; sleep 60.$TOKEN; }; b 9`, words: []string{"had more than 48 processes"}},
		{name: "fills its directory", step: `head -c 67108864 /dev/zero >fill || { echo "cannot unpack" >&2; exit 1; }`, memory: 64, words: full},
		{name: "closes its output", step: `exec >&- 2>&-; sleep 60.$TOKEN`, time: hang, words: []string{"ran for more than"}},
		{name: "closes its output and succeeds", step: `echo '{"result":1}'; exec >&- <&-; sleep 0.2`},
		{name: "mounts something in its directory", root: true, step: `mkdir m && mount --bind $FERRIC_PLUGIN_DIR m && echo "mounted" >&2; kill -9 $$`, words: []string{"killed", "mounted"},
			check: func(t *testing.T, dir string) {
				if _, err := os.Stat(filepath.Join(dir, "bad")); err != nil {
					t.Errorf("what was mounted has lost a file: %v", err)
				}
			}},
		{name: "is not executable any more", spoil: func(t *testing.T, file string) { check(t, os.Chmod(file, 0o644)) }, words: []string{"bad is not executable"}},
		{name: "has lost its interpreter", spoil: func(t *testing.T, file string) { replace(t, file, "#!/opt/acme/bin/perl -w\n") }, words: []string{`wants the interpreter "/opt/acme/bin/perl"`}},
		{name: "comes from a PC", spoil: func(t *testing.T, file string) { replace(t, file, "#!/bin/sh\r\necho\r\n") }, words: []string{`wants the interpreter "/bin/sh\r"`}},
		{name: "is for another machine", spoil: foreign, words: []string{"neither a program for this machine nor a script"}},
		{name: "is empty", spoil: func(t *testing.T, file string) { replace(t, file, "") }, words: []string{"neither a program for this machine"}},
		{name: "is gone", spoil: func(t *testing.T, file string) { check(t, os.Remove(file)) }, words: []string{"no such file"}},
		{name: "lists something else", spoil: func(t *testing.T, file string) {
			replace(t, file, "#!/bin/sh\necho '{\"result\":{\"step\":\"x\"}}'\n")
		}, words: []string{"get_clean_steps: its result is wrong", "want an array"}},
		{name: "passes on its steps", spoil: func(t *testing.T, file string) { replace(t, file, "#!/bin/sh\nexit 3\n") }, words: []string{"Could not find method: bad_step"}},
		{name: "describes itself otherwise", spoil: func(t *testing.T, file string) {
			text, err := os.ReadFile(file)
			check(t, err)
			replace(t, file, strings.Replace(string(text), `"version":"1"`, `"version":"2"`, 1))
		}, step: `echo '{"result":1}'`},
	}
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func replace(t *testing.T, file, text string) {
	t.Helper()
	check(t, os.Remove(file))
	check(t, os.WriteFile(file, []byte(text), 0o755))
}

// foreign puts the header of a program for IBM mainframes there.
func foreign(t *testing.T, file string) {
	header := make([]byte, 64)
	copy(header, elf.ELFMAG)
	header[elf.EI_CLASS], header[elf.EI_DATA], header[elf.EI_VERSION] = byte(elf.ELFCLASS64), byte(elf.ELFDATA2MSB), byte(elf.EV_CURRENT)
	header[17], header[19] = byte(elf.ET_EXEC), byte(elf.EM_S390)
	replace(t, file, string(header))
}

// modes are the ways to hold a plugin's processes.
func modes(t *testing.T) map[string]Options {
	t.Helper()
	m := map[string]Options{"watched": {NoCgroup: true}}
	group, err := newCgroup(ownCgroup(), newMark(), limits{memory: 1 << 30, processes: 100})
	switch {
	case err == nil:
		check(t, group.close())
		m["control group"] = Options{}
	case os.Getenv("CI") == "true":
		t.Fatalf("control groups cannot be made here: %v", err)
	default:
		t.Logf("control groups cannot be made here: %v", err)
	}
	return m
}

// TestMisbehaviour: whatever a plugin does fails its own step with its own
// words, a good one beside it answers, and nothing is left.
func TestMisbehaviour(t *testing.T) {
	t.Parallel()
	for mode, opts := range modes(t) {
		for i, m := range matrix() {
			if m.groupOnly && opts.NoCgroup {
				continue
			}
			t.Run(mode+"/"+m.name, func(t *testing.T) {
				t.Parallel()
				m.test(t, opts, fmt.Sprintf("%d%03d%d", 1+len(mode)%7, i, os.Getpid()))
			})
		}
	}
}

func (m misdeed) test(t *testing.T, opts Options, token string) {
	if m.root && os.Geteuid() != 0 {
		if os.Getenv("CI") == "true" {
			t.Fatal("this takes root")
		}
		t.Skip("this takes root")
	}
	opts.Scratch, opts.Grace = t.TempDir(), 2*time.Second
	h := quietHost()
	good, err := Open(t.Context(), place(t, "good", script("good", `echo '{"result":"well done"}'`)), opts)
	check(t, err)
	opts.Limits = plugin.Limits{Step: m.time, Memory: m.memory}
	dir := place(t, "bad", script("bad", strings.ReplaceAll(m.step, "$TOKEN", token)))
	self, err := os.Executable()
	check(t, err)
	check(t, os.Symlink(self, filepath.Join(dir, rogueProgram)))
	bad, err := Open(t.Context(), dir, opts)
	check(t, err)
	bad.limits.processes = 48
	set, err := hwmanager.Load(t.Context(), h, []hwmanager.Manager{good, bad})
	check(t, err)
	if m.spoil != nil {
		m.spoil(t, filepath.Join(dir, "bad"))
	}

	ctx, cancel := context.WithCancelCause(t.Context())
	defer cancel(nil)
	call := hwmanager.StepCall{Node: hwmanager.Node{"uuid": "1"}, Args: map[string]any{"text": strings.Repeat("unread ", 50000)}}
	began := time.Now()
	call.Progress = reportOnce(func() {
		if m.cancel {
			began = time.Now()
			cancel(errors.New("the operator has had enough"))
		}
	})
	result, err := set.RunStep(ctx, h, hwmanager.Clean, "bad_step", call)
	if took := time.Since(began); m.quick && took > time.Second {
		t.Errorf("it took %s", took)
	}
	switch {
	case len(m.words) == 0 && err != nil:
		t.Errorf("it failed: %v", err)
	case len(m.words) > 0 && err == nil:
		t.Errorf("it succeeded with %v", result)
	}
	for _, words := range m.words {
		if err != nil && !strings.Contains(err.Error(), words) {
			t.Errorf("error %q lacks %q", err, words)
		}
	}
	nothingLeft(t, token, dir, opts.Scratch)
	if m.check != nil {
		m.check(t, dir)
	}
	if answer, err := set.RunStep(t.Context(), h, hwmanager.Clean, "good_step", hwmanager.StepCall{}); err != nil || answer != "well done" {
		t.Errorf("the good manager answers %v, %v", answer, err)
	}
	if set.Versions()["good"] != "1" {
		t.Errorf("versions are %v", set.Versions())
	}
}

// nothingLeft looks for processes, directories and mounts of a plugin.
func nothingLeft(t *testing.T, token, dir, scratch string) {
	t.Helper()
	for _, pid := range processes() {
		p, there := readProcess(pid)
		if !there || p.ended() || pid == os.Getpid() {
			continue
		}
		argv, _ := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "cmdline"))
		environ, _ := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "environ"))
		if bytes.Contains(argv, []byte(token)) || bytes.Contains(environ, []byte(dir)) {
			t.Errorf("process %s is left: %q", name(pid), argv)
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
	}
	entries, err := os.ReadDir(scratch)
	check(t, err)
	for _, entry := range entries {
		t.Errorf("%s is left in the scratch directory", entry.Name())
	}
	if mounts, err := mountsBelow(scratch); err != nil || len(mounts) > 0 {
		t.Errorf("mounts %v are left (%v)", mounts, err)
	}
}

// TestNoGroupLeft runs calls one after the other and finds none of their groups.
func TestNoGroupLeft(t *testing.T) {
	parent := ownCgroup()
	p, err := Open(t.Context(), place(t, "good", script("good", `sleep 60 & echo '{"result":1}'`)), Options{Scratch: t.TempDir()})
	check(t, err)
	if parent == "" {
		if os.Getenv("CI") == "true" {
			t.Fatal("no control groups here")
		}
		t.Skip("no control groups here")
	}
	_, err = p.runner(hwmanager.Clean, declaration{Step: "x"})(t.Context(), quietHost(), hwmanager.StepCall{})
	if err == nil || !strings.Contains(err.Error(), "left processes behind") {
		t.Errorf("step: %v", err)
	}
	groups, err := filepath.Glob(filepath.Join(parent, markPrefix+pidNamespace()+"-"+strconv.Itoa(os.Getpid())+"-*"))
	if err != nil || len(groups) > 0 {
		t.Errorf("groups %v are left (%v)", groups, err)
	}
}

// reportOnce calls f at the first report of a plugin's own.
func reportOnce(f func()) func(ipa.Progress) {
	var once sync.Once
	return func(p ipa.Progress) {
		if p.Phase == "begun" {
			once.Do(f)
		}
	}
}
