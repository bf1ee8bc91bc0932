package ramdisk

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// tellVersion is a program that tells the version of a manager.
const tellVersion = `package main

import (
	"fmt"
{{range $i, $path := .}}	m{{$i}} "{{$path}}"
{{end}})

func main() { fmt.Print(m0.New().Version()) }
`

// library is what a vendor's manager takes its version from.
const library = "package lib\n\nconst Version = \"of the library\"\n"

// withLibrary is a manager that imports it.
func withLibrary() string {
	text := strings.Replace(acme, `return "1.0"`, `return lib.Version`, 1)
	return strings.Replace(text, `"ferric/hwmanager"`, `"ferric/hwmanager"`+"\n\t\"example.org/lib\"", 1)
}

// TestModulesOfVendor builds with modules that a vendor's go.mod, or his workspace, has in
// directories, wherever they lie. The same program comes out.
func TestModulesOfVendor(t *testing.T) {
	const mod = "module example.org/acme\n\ngo 1.26\n\nrequire ferric v0.0.0\n"
	files := map[string]string{
		"replace/acme/go.mod": mod + "require example.org/lib v0.0.0\nreplace example.org/lib => ../lib\n", "replace/acme/acme.go": withLibrary(),
		"replace/lib/go.mod": "module example.org/lib\n", "replace/lib/lib.go": library,
		"work/go.work": "go 1.26\n\nuse (\n\t./acme\n\t\"./some where/lib\"\n)\n", "work/acme/go.mod": mod, "work/acme/acme.go": withLibrary(),
		"work/some where/lib/go.mod": "module example.org/lib\n", "work/some where/lib/lib.go": library,
	}
	source, err := FindSource("")
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("GOPROXY", "off")
	programs := map[string][]byte{}
	for _, root := range []string{t.TempDir(), filepath.Join(t.TempDir(), "a b")} {
		write(t, root, files)
		for _, kind := range []string{"replace", "work"} {
			program, err := BuildProgram(t.Context(), source, filepath.Join(root, kind, "acme"), t.TempDir(), tellVersion)
			if err != nil {
				t.Fatalf("%s: %v", kind, err)
			}
			if out, err := exec.Command(program).Output(); err != nil || string(out) != "of the library" {
				t.Errorf("%s: it tells %q, %v", kind, out, err)
			}
			content, err := os.ReadFile(program)
			if err != nil {
				t.Fatal(err)
			}
			if before := programs[kind]; before != nil && !bytes.Equal(before, content) {
				t.Errorf("%s: another directory gives other bytes", kind)
			}
			programs[kind] = content
		}
	}
}

// TestModulesRefused says what is wrong with modules, before anything is built.
func TestModulesRefused(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, map[string]string{
		"a/go.mod": "module example.org/acme\n", "a/acme.go": acme, "b/go.mod": "module example.org/acme\n", "b/acme.go": acme,
		"lost/go.mod": "module example.org/lost\nreplace example.org/lib => ../nowhere\n", "lost/acme.go": acme,
		"one/go.mod": "module example.org/one\nreplace example.org/lib => example.org/fork v1.0.0\n", "one/acme.go": acme,
		"two/go.mod": "module example.org/two\nreplace example.org/lib => example.org/fork v1.1.0\n", "two/acme.go": acme,
		"copy/go.mod": "module ferric\n", "copy/acme.go": acme, "agent/go.mod": "module ferric-agent\n", "agent/acme.go": acme,
		"cgo/go.mod": "module example.org/cgo\n", "cgo/acme.go": strings.Replace(acme, "import (", "import \"C\"\n\nimport (", 1),
		"program/go.mod": "module example.org/program\n", "program/acme.go": strings.Replace(acme, "package acme", "package main", 1),
	})
	source, err := FindSource("")
	if err != nil {
		t.Fatal(err)
	}
	t.Chdir(dir)
	tools := toolchain{dir: source}
	t.Setenv("GOPROXY", "off")
	tests := []struct {
		asked []string
		says  string
	}{
		{[]string{"./a", "./b"}, "module example.org/acme is to be taken from b, but ./a has it from a"},
		{[]string{"./a", "./a"}, "are one package"},
		{[]string{"./lost"}, "nowhere: no such file"},
		{[]string{"./one", "./two"}, "module example.org/lib is to be taken from example.org/fork@v1.1.0, but ./one has it from example.org/fork@v1.0.0"},
		{[]string{"./copy"}, "its module is named ferric"},
		{[]string{"./agent"}, "its module is named ferric-agent"},
		{[]string{"./cgo"}, "built without cgo"},
		{[]string{"./program"}, `import "example.org/program" is a program`},
	}
	for _, test := range tests {
		var vendors []vendored
		for _, asked := range test.asked {
			v, err := parseManager(asked)
			if err != nil {
				t.Fatal(err)
			}
			vendors = append(vendors, v)
		}
		if _, err := tools.buildWith(t.Context(), t.TempDir(), vendors, tellVersion); err == nil || !strings.Contains(err.Error(), test.says) {
			t.Errorf("%v: error %v; want one that says %q", test.asked, err, test.says)
		}
	}
}

// TestNames refuses managers that conductors could not tell apart.
func TestNames(t *testing.T) {
	vendors := []vendored{{asked: "./acme"}, {asked: "./other"}}
	tests := []struct {
		managers []Manager
		says     string
	}{
		{[]Manager{{Name: "generic", Class: "G", Version: "1"}, {Name: "acme", Class: "A", Version: "1"}, {Name: "acme", Class: "B", Version: "1"}}, `the name "acme": ./acme and ./other`},
		{[]Manager{{Name: "acme", Class: "G", Version: "1"}, {Name: "acme", Class: "A", Version: "1"}, {Name: "b", Class: "B", Version: "1"}}, `the name "acme": a built-in hardware manager and ./acme`},
		{[]Manager{{Name: "a", Class: "", Version: "1"}, {Name: "b", Class: "B", Version: "1"}}, `hardware manager ./acme: Name "a", ClassName ""`},
		{[]Manager{{Name: "a", Class: "A", Version: "1"}}, "fewer than the 2"},
	}
	for _, test := range tests {
		text, err := json.Marshal(test.managers)
		if err != nil {
			t.Fatal(err)
		}
		dir := t.TempDir()
		write(t, dir, map[string]string{"agent": "#!/bin/sh\necho '" + string(text) + "'\n"})
		if _, err := listManagers(t.Context(), filepath.Join(dir, "agent"), vendors); err == nil || !strings.Contains(err.Error(), test.says) {
			t.Errorf("%+v: error %v; want one that says %q", test.managers, err, test.says)
		}
	}
}
