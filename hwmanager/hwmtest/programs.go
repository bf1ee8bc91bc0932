package hwmtest

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"ferric/hwmanager"
)

// ProgramRun is one run of a program on a fake host.
type ProgramRun struct {
	Name string
	Args []string
	// Stdin is what the program was given on standard input by whoever ran it;
	// nil if nothing, or what its caller has there himself.
	Stdin []byte
	Env   []string
}

// String is the command line.
func (r ProgramRun) String() string { return strings.Join(append([]string{r.Name}, r.Args...), " ") }

// Runs are the runs of programs so far, in their order: those by the runner of
// the host, and those by executables that found them on their PATH.
func (f *Fake) Runs() []ProgramRun {
	var runs []ProgramRun
	log, err := os.ReadFile(filepath.Join(f.runs, "log"))
	if err != nil {
		return nil // none yet
	}
	for name := range strings.Lines(string(log)) {
		record := filepath.Join(f.runs, strings.TrimSpace(name))
		argv := strings.Split(strings.TrimSuffix(text(record, "argv"), "\x00"), "\x00")
		run := ProgramRun{Name: argv[0], Args: argv[1:], Env: strings.Split(strings.TrimSuffix(text(record, "environ"), "\x00"), "\x00")}
		if given, err := os.ReadFile(filepath.Join(record, "stdin")); err == nil {
			run.Stdin = given
		}
		runs = append(runs, run)
	}
	return runs
}

func text(dir, name string) string {
	content, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		return ""
	}
	return string(content)
}

// runner runs the programs of a fake host, and no others.
type runner struct {
	dir   string
	known []string
}

// Run implements hwmanager.Runner.
func (r runner) Run(ctx context.Context, name string, args ...string) ([]byte, error) {
	base := filepath.Base(name)
	if !slices.Contains(r.known, base) {
		return nil, fmt.Errorf("run %s: %w", name, &exec.Error{Name: name, Err: exec.ErrNotFound})
	}
	return hwmanager.Exec{}.Run(ctx, filepath.Join(r.dir, base), args...)
}

// install makes the directory of programs: for each one of the host a shim that
// writes down the run and then is what the host has. It returns their names.
func (f *Fake) install(dir string) ([]string, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	answers, err := readAnswers(filepath.Join(f.root, commandsFile))
	if err != nil {
		return nil, err
	}
	programs := map[string]string{} // name → the path of what is in bin, "" for answers only
	for _, a := range answers {
		if a.file != "" {
			if _, err := os.Stat(filepath.Join(f.root, a.file)); err != nil {
				return nil, fmt.Errorf("%s: answer to %q: %w", commandsFile, a.program+" "+a.pattern, err)
			}
		}
		programs[a.program] = ""
	}
	entries, err := os.ReadDir(filepath.Join(f.root, programsDir))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	for _, e := range entries {
		path := filepath.Join(f.root, programsDir, e.Name())
		if info, err := os.Stat(path); err != nil || info.IsDir() {
			continue
		} else if info.Mode()&0o111 == 0 {
			return nil, fmt.Errorf("%s/%s is not executable: chmod +x it", programsDir, e.Name())
		}
		programs[e.Name()] = path
	}
	var known []string
	for name, path := range programs {
		if err := f.shim(dir, name, f.scripted(name, path, answers)); err != nil {
			return nil, err
		}
		known = append(known, name)
	}
	return known, nil
}

// shim writes the program that stands in for name: a record, then what is done.
func (f *Fake) shim(dir, name, does string) error {
	script := `#!/bin/sh
path=$PATH; PATH=/usr/bin:/bin:$PATH
run=$(mktemp -d ` + quote(f.runs) + `/XXXXXXXXXX) || exit 126
printf '%s\0' ` + quote(name) + ` "$@" > "$run/argv"
cat "/proc/$$/environ" > "$run/environ"
# What the caller has as its own standard input is not for this program.
if [ ! /proc/$$/fd/0 -ef "/proc/$PPID/fd/0" ] && { [ -p /proc/$$/fd/0 ] || [ -f /proc/$$/fd/0 ]; }; then
	cat > "$run/stdin"; exec < "$run/stdin"
fi
echo "${run##*/}" >> ` + quote(filepath.Join(f.runs, "log")) + `
FAKE_HOST=` + quote(f.root) + `; export FAKE_HOST
` + does
	return writeProgram(filepath.Join(dir, name), script)
}

func writeProgram(path, script string) error {
	file, err := create(path, 0o755)
	if err != nil {
		return err
	}
	defer file.close()
	_, err = file.WriteString(script)
	return err
}

// scripted is the part of a shim that answers, or becomes the program at path.
func (f *Fake) scripted(name, path string, answers []answer) string {
	var s strings.Builder
	s.WriteString(`answer() { # key, then file and status of each answer
	count=` + quote(f.runs) + `/count-$1; shift
	n=$(cat "$count" 2>/dev/null) || n=0
	echo $((n + 1)) > "$count"
	while [ "$n" -gt 0 ] && [ $# -gt 2 ]; do shift 2; n=$((n - 1)); done
	[ -z "$1" ] || cat "$FAKE_HOST/$1"
	exit "$2"
}
case "$*" in
`)
	done := map[string]bool{}
	for i, a := range answers {
		if a.program != name || done[a.pattern] {
			continue
		}
		done[a.pattern] = true
		fmt.Fprintf(&s, "%s) answer %s-%d", casePattern(a.pattern), quote(name), i)
		for _, same := range answers {
			if same.program == name && same.pattern == a.pattern {
				fmt.Fprintf(&s, " %s %d", quote(same.file), same.status)
			}
		}
		s.WriteString(" ;;\n")
	}
	s.WriteString("esac\nPATH=$path\n")
	if path != "" {
		s.WriteString("exec " + quote(path) + " \"$@\"\n")
	} else {
		s.WriteString("echo \"the fake host has no answer to: " + name + " $*\" >&2\nexit 125\n")
	}
	return s.String()
}

// answer is a line of commands.txt.
type answer struct {
	program, pattern string
	status           int
	file             string // relative to the host's directory; "" for none
}

func readAnswers(path string) ([]answer, error) {
	file, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer file.Close()
	var answers []answer
	lines := bufio.NewScanner(file)
	for n := 1; lines.Scan(); n++ {
		line := strings.TrimSpace(lines.Text())
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		a, err := parseAnswer(line)
		if err != nil {
			return nil, fmt.Errorf("%s:%d: %w", commandsFile, n, err)
		}
		answers = append(answers, a)
	}
	return answers, lines.Err()
}

func parseAnswer(line string) (answer, error) {
	command, says, ok := strings.Cut(line, "->")
	words := strings.Fields(command)
	if !ok || len(words) == 0 {
		return answer{}, fmt.Errorf("%q is not of the form COMMAND -> [exit N] FILE", line)
	}
	a := answer{program: words[0], pattern: strings.Join(words[1:], " ")}
	if strings.ContainsAny(a.program, "/*?") {
		return a, fmt.Errorf("%q is not the name of a program", a.program)
	}
	rest := strings.Fields(says)
	if len(rest) >= 2 && rest[0] == "exit" {
		status, err := strconv.ParseUint(rest[1], 10, 8)
		if err != nil {
			return a, fmt.Errorf("%q is no exit status", rest[1])
		}
		a.status, rest = int(status), rest[2:]
	} else if len(rest) == 0 {
		return a, fmt.Errorf("%q names no answer", line)
	}
	switch {
	case len(rest) > 1:
		return a, fmt.Errorf("%q names more than one file", line)
	case len(rest) == 1:
		a.file = rest[0]
		if !filepath.IsLocal(a.file) {
			return a, fmt.Errorf("%s is not in the host's directory", a.file)
		}
	}
	return a, nil
}

// casePattern is a pattern as the shell has it in case: all but * and ? quoted.
func casePattern(pattern string) string {
	var s strings.Builder
	for rest := pattern; rest != ""; {
		at := strings.IndexAny(rest, "*?")
		switch {
		case at < 0:
			return s.String() + quote(rest)
		case at > 0:
			s.WriteString(quote(rest[:at]))
		}
		s.WriteByte(rest[at])
		rest = rest[at+1:]
	}
	if s.Len() == 0 {
		return "''"
	}
	return s.String()
}

// quote is s as one word of the shell.
func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

// written is a file that is being written, and may be a program: as long as it is
// open no other process is begun that would have it open for writing, too, and so
// keep it from being run.
type written struct{ *os.File }

func create(path string, mode os.FileMode) (written, error) {
	syscall.ForkLock.RLock()
	file, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, mode)
	if err != nil {
		syscall.ForkLock.RUnlock()
		return written{}, err
	}
	return written{file}, nil
}

func (w written) close() {
	_ = w.Close() // nothing that was written is to last
	syscall.ForkLock.RUnlock()
}
