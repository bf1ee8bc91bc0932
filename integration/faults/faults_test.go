package faults

import (
	"bufio"
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write docs/failure-modes.md")

const root = "../.."

// TestModes: every mode is told whole, and every test of it is there.
func TestModes(t *testing.T) {
	seen := map[string]bool{}
	functions := map[string]map[string]bool{}
	for _, m := range Modes() {
		if seen[m.ID] || m.ID == "" {
			t.Errorf("mode %q is there twice, or has no name", m.ID)
		}
		seen[m.ID] = true
		if slices.Contains([]string{m.Area, m.Wrong, m.Does, m.Sees, m.Do}, "") || len(m.Tests) == 0 {
			t.Errorf("mode %s is not told whole, or has no test", m.ID)
		}
		for _, test := range m.Tests {
			dir, name := split(test)
			if functions[dir] == nil {
				functions[dir] = testsIn(t, dir)
			}
			if !functions[dir][name] {
				t.Errorf("mode %s: there is no test %s", m.ID, test)
			}
		}
	}
}

// split parts "conductor/flow.TestX" into directory and function.
func split(test string) (dir, name string) {
	i := strings.LastIndex(test, ".")
	return test[:i], test[i+1:]
}

// testsIn are the tests of a package.
func testsIn(t *testing.T, dir string) map[string]bool {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(root, dir, "*_test.go"))
	if err != nil || len(files) == 0 {
		t.Errorf("no tests in %s (%v)", dir, err)
	}
	names := map[string]bool{}
	for _, file := range files {
		parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range parsed.Decls {
			if f, ok := d.(*ast.FuncDecl); ok && f.Recv == nil && strings.HasPrefix(f.Name.Name, "Test") {
				names[f.Name.Name] = true
			}
		}
	}
	return names
}

// TestPage compares docs/failure-modes.md with the table.
func TestPage(t *testing.T) {
	var page bytes.Buffer
	page.WriteString(`# Failure modes

What can go wrong, what ferric does then, what there is to see and to do. Every row has tests; ` + "`make faults`" + ` runs them all.
The page is rendered from the table in integration/faults.
`)
	for area := range areas() {
		fmt.Fprintf(&page, "\n## %s\n\n| | what goes wrong | what ferric does | what the operator sees | what to do | tests |\n|---|---|---|---|---|---|\n", area)
		for _, m := range Modes() {
			if m.Area == area {
				fmt.Fprintf(&page, "| %s | %s | %s | %s | %s | %s |\n", m.ID, m.Wrong, m.Does, m.Sees, m.Do, strings.Join(m.Tests, ", "))
			}
		}
	}
	path := filepath.Join(root, "docs/failure-modes.md")
	if *update {
		if err := os.WriteFile(path, page.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if have, err := os.ReadFile(path); err != nil || !bytes.Equal(have, page.Bytes()) {
		t.Errorf("%s is not what the table says (%v): run `make generate`", path, err)
	}
}

// areas are in the order of the table.
func areas() func(yield func(string) bool) {
	return func(yield func(string) bool) {
		last := ""
		for _, m := range Modes() {
			if m.Area != last && !yield(m.Area) {
				return
			}
			last = m.Area
		}
	}
}

// TestAll runs the tests of all modes, and prints how many there are, where
// `make faults` asks for it. A test that is skipped shows nothing.
func TestAll(t *testing.T) {
	if os.Getenv("FERRIC_FAULTS") == "" {
		return // the tests run where they are
	}
	packages := map[string]map[string]bool{}
	for _, m := range Modes() {
		for _, test := range m.Tests {
			dir, name := split(test)
			if packages[dir] == nil {
				packages[dir] = map[string]bool{}
			}
			packages[dir][name] = true
		}
	}
	outcomes := map[string]string{}
	for _, dir := range slices.Sorted(maps.Keys(packages)) {
		names := slices.Sorted(maps.Keys(packages[dir]))
		args := []string{"test", "-json", "-count=1", "-timeout", "30m", "-run", "^(" + strings.Join(names, "|") + ")$", "./" + dir}
		if dir == "images" && os.Getuid() != 0 { // which has loop devices
			args = slices.Insert(args, 1, "-exec", "sudo -E")
		}
		cmd := exec.CommandContext(t.Context(), "go", args...)
		cmd.Dir = root
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		out, err := cmd.StdoutPipe()
		if err == nil {
			err = cmd.Start()
		}
		if err != nil {
			t.Fatal(err)
		}
		var said bytes.Buffer
		lines := bufio.NewScanner(out)
		lines.Buffer(nil, 1<<20)
		for lines.Scan() {
			var e struct{ Action, Test, Output string }
			if json.Unmarshal(lines.Bytes(), &e) != nil {
				continue
			}
			said.WriteString(e.Output)
			if packages[dir][e.Test] && slices.Contains([]string{"pass", "fail", "skip"}, e.Action) {
				outcomes[dir+"."+e.Test] = e.Action
			}
		}
		if err := cmd.Wait(); err != nil {
			text := said.Bytes()
			t.Errorf("%s: %v\n%s%s", dir, err, stderr.Bytes(), text[max(0, len(text)-8000):])
		}
	}
	shown, tests, passed := 0, 0, 0
	for _, dir := range slices.Sorted(maps.Keys(packages)) {
		for name := range packages[dir] {
			tests++
			if outcomes[dir+"."+name] == "pass" {
				passed++
			} else {
				t.Errorf("%s.%s: %q", dir, name, outcomes[dir+"."+name])
			}
		}
	}
	for _, m := range Modes() {
		if !slices.ContainsFunc(m.Tests, func(test string) bool { return outcomes[test] != "pass" }) {
			shown++
		}
	}
	fmt.Printf("failure modes: %d of %d shown, by %d tests, of which %d passed\n", shown, len(Modes()), tests, passed)
}
