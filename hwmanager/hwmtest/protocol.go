package hwmtest

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"ferric/api/plugin"
	"ferric/hwmanager"
)

// Executable is an executable plugin by its files.
type Executable struct {
	Path string // of the executable
	Dir  string // of the plugin's files
	Own  bool   // nothing else is in Dir
}

// executableCheck is a check of the protocol of executables.
type executableCheck struct {
	name, advice string
	run          func(*protocolExam) verdict
}

// protocol are the checks of an executable beyond those of all managers.
func protocol() []executableCheck {
	return []executableCheck{
		{"protocol: describe", `describe needs no hardware and answers {"result":{"name":…,"version":…,"sdk":…,"methods":[…]}}; only what is in methods is ever asked`, checkDescribe},
		{"protocol: unknown methods", "exit with status 3 and write nothing for methods that are not known: later agents ask more", checkUnknownMethod},
		{"protocol: lines", "standard output is for lines of JSON alone, the last one a result, an error or a reboot; everything else belongs on standard error", checkLines},
		{"protocol: progress", `a report on progress is {"progress":{…}} with numbers that are not negative, percent from 0 to 100`, checkProgressLines},
		{"protocol: foreign steps", "run nothing for a step that was not offered: exit with status 3", checkForeignStep},
		{"protocol: large requests", "read the request from standard input to its end; it does not fit into an argument or the environment of a program (a config drive is in it)", checkLargeRequest},
		{"protocol: environment", "rely on nothing in the environment but PATH, LC_ALL, HOME, TMPDIR and FERRIC_PLUGIN_DIR: in the ramdisk there is nothing else", checkEnvironment},
		{"protocol: directories", "the working directory is a new one in each call, what is written there is gone afterwards; the plugin's own files are found by FERRIC_PLUGIN_DIR and must not change (sys.dont_write_bytecode in Python), or the bundle is refused", checkDirectories},
		{"protocol: time", "the agent asks every plugin when it starts, and describe is the first question: answer at once", checkTime},
		{"protocol: no processes are left", "wait for what was started before the end: what is left is killed, and fails the call", checkLeftBehind},
	}
}

// CheckExecutable has an executable plugin pass the checks of the protocol, by
// running it as an agent does; what it is as a manager, Check finds out.
func CheckExecutable(ctx context.Context, e Executable, newHost func() (*Fake, error), opts ...Option) []Outcome {
	o := collectOptions(opts)
	if newHost == nil {
		newHost = func() (*Fake, error) { return Open(o.dir) }
	}
	x := &protocolExam{exam: &exam{options: o, ctx: ctx, newHost: newHost}, Executable: e}
	x.begin()
	x.files, x.filesErr = snapshot(e.own()) // before it has run once
	var outcomes []Outcome
	for _, c := range protocol() {
		outcomes = append(outcomes, x.check(check{c.name, c.advice, func(*exam) verdict { return c.run(x) }}))
	}
	x.end()
	return outcomes
}

// own is what belongs to the plugin and must not change.
func (e Executable) own() string {
	if e.Own {
		return e.Dir
	}
	return e.Path
}

// protocolExam is an executable under examination.
type protocolExam struct {
	*exam
	Executable
	files    tree
	filesErr error
	answers  []answered // all calls so far
}

// answered is a call with what came of it.
type answered struct {
	method string
	status int // exit status; -1 if it was killed
	stdout []byte
	stderr string
	took   time.Duration
	err    error    // it could not be run, or did not end
	left   []string // processes
}

// Said is the end of standard error, for reports.
func (a answered) said() string {
	text := strings.TrimSpace(a.stderr)
	if text == "" {
		return ""
	}
	return "; it said: " + text[max(0, len(text)-200):]
}

// lines are the lines of standard output, with what is wrong with them.
func (a answered) lines() ([]map[string]json.RawMessage, error) {
	var lines []map[string]json.RawMessage
	ended := ""
	for text := range bytes.Lines(a.stdout) {
		if text = bytes.TrimSpace(text); len(text) == 0 {
			continue
		}
		if ended != "" {
			return lines, fmt.Errorf("there is a line after the %s: %.80q", ended, text)
		}
		var line map[string]json.RawMessage
		if err := json.Unmarshal(text, &line); err != nil {
			return lines, fmt.Errorf("a line is not a JSON object: %.80q", text)
		}
		known := 0
		for _, kind := range []string{"progress", "result", "error", "reboot"} {
			if _, has := line[kind]; has {
				known++
				if kind != "progress" {
					ended = kind
				}
			}
		}
		if known != 1 {
			return lines, fmt.Errorf("a line has not one of progress, result, error, reboot: %.80q", text)
		}
		lines = append(lines, line)
	}
	if ended == "" && (a.status == 0 || len(lines) > 0) && a.status != 3 {
		return lines, errors.New("the last line is neither a result nor an error nor a reboot")
	}
	return lines, nil
}

// result is the result of a call.
func (a answered) result() (json.RawMessage, error) {
	switch {
	case a.err != nil:
		return nil, a.err
	case a.status == 3:
		return nil, hwmanager.ErrNotHandled
	}
	lines, err := a.lines()
	if err != nil {
		return nil, err
	}
	for _, line := range lines {
		if result, has := line["result"]; has {
			if a.status != 0 {
				return nil, fmt.Errorf("it has a result and the exit status %d%s", a.status, a.said())
			}
			return result, nil
		}
		if failure, has := line["error"]; has {
			return nil, fmt.Errorf("it answers with the error %.200s", failure)
		}
	}
	return nil, fmt.Errorf("it ended with exit status %d and no result%s", a.status, a.said())
}

// request is one call of the executable.
type request struct {
	method string
	args   map[string]any
	env    []string // further environment
	limit  time.Duration
}

// do runs the executable on a machine, as an agent does.
func (x *protocolExam) do(f *Fake, r request) answered {
	a := answered{method: r.method, status: -1}
	scratch, err := os.MkdirTemp(filepath.Dir(f.root), "scratch-")
	if err != nil {
		a.err = err
		return a
	}
	question := map[string]any{"sdk": hwmanager.SDKVersion, "method": r.method}
	if r.method != "describe" {
		question["host"] = map[string]string{"sys": f.Sys, "proc": f.Proc, "dev": f.Dev, "etc": f.Etc}
	}
	for name, value := range r.args {
		question[name] = value
	}
	stdin, err := json.Marshal(question)
	if err != nil {
		a.err = err
		return a
	}
	ctx, cancel := context.WithTimeout(x.ctx, cmp.Or(r.limit, 2*x.patience))
	defer cancel()
	var stdout, stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, x.Path, r.method)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(stdin), &bounded{&stdout, maxLogs}, &bounded{&stderr, maxLogs}
	cmd.Dir = scratch
	cmd.Env = append([]string{
		"PATH=" + f.Programs + ":" + os.Getenv("PATH"), "LC_ALL=C", "HOME=" + scratch, "TMPDIR=" + scratch, "PWD=" + scratch, "FERRIC_PLUGIN_DIR=" + x.Dir, "PYTHONDONTWRITEBYTECODE=1",
	}, r.env...)
	cmd.Env = append(cmd.Env, plugin.Variables(question)...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = time.Second
	began := time.Now()
	err = cmd.Run()
	a.took = time.Since(began)
	a.stdout, a.stderr = stdout.Bytes(), stderr.String()
	exit := new(exec.ExitError)
	switch {
	case ctx.Err() != nil && r.limit != 0:
		// It is known that it may take longer.
	case ctx.Err() != nil:
		a.err = fmt.Errorf("%s did not end within %s", r.method, 2*x.patience)
	case errors.As(err, &exit):
		a.status = exit.ExitCode()
	case err != nil && !errors.Is(err, exec.ErrWaitDelay) && !errors.Is(err, syscall.EPIPE):
		a.err = err
	case cmd.ProcessState != nil:
		a.status = cmd.ProcessState.ExitCode()
	}
	if ctx.Err() == nil {
		for pid, name := range x.processes() {
			a.left = append(a.left, name)
			_ = syscall.Kill(pid, syscall.SIGKILL) // it was started by this call
		}
	}
	x.answers = append(x.answers, a)
	return a
}

// bounded keeps the beginning of what is written to it.
type bounded struct {
	to   *bytes.Buffer
	most int
}

// Write implements io.Writer.
func (b *bounded) Write(p []byte) (int, error) {
	b.to.Write(p[:max(0, min(len(p), b.most-b.to.Len()))])
	return len(p), nil
}
