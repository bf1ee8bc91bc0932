package arch

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// never is what the agent must not contain: it runs from an initramfs without a C library or a database. The
// interfaces of database/sql/driver, which google/uuid implements, are no database.
func never() []string {
	return []string{module + "/conductor/...", module + "/integration/...", "database/sql", "github.com/mattn/go-sqlite3/..."}
}

// list is "go list -deps" for patterns, in the module's root.
func list(t *testing.T, env []string, patterns ...string) []Package {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", append([]string{"list", "-deps", "-json=ImportPath,Name,Standard,Imports,CgoFiles"}, patterns...)...)
	cmd.Dir, cmd.Env = root(t), append(os.Environ(), env...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: %v: %s", cmd.Args, err, stderr.Bytes())
	}
	var packages []Package
	for d := json.NewDecoder(bytes.NewReader(out)); ; {
		var p Package
		err := d.Decode(&p)
		if errors.Is(err, io.EOF) {
			return packages
		}
		if err != nil {
			t.Fatal(err)
		}
		packages = append(packages, p)
	}
}

// root is the directory of go.mod, two above this package.
func root(t *testing.T) string {
	t.Helper()
	dir, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(dir, "go.mod")); err != nil {
		t.Fatal(err)
	}
	return dir
}

func report(t *testing.T, faults []string) {
	t.Helper()
	for _, fault := range faults {
		t.Error(fault)
	}
}

func TestImports(t *testing.T) {
	packages := list(t, nil, "./...")
	ours := 0
	for _, p := range packages {
		if within(p.ImportPath, module) {
			ours++
		}
	}
	if ours < 10 {
		t.Fatalf("go list found only %d packages of ours", ours)
	}
	report(t, ImportFaults(packages))
	report(t, NameFaults(packages))
}

func TestAgentBinary(t *testing.T) {
	report(t, BinaryFaults(list(t, []string{"CGO_ENABLED=0"}, "./cmd/ferric-agent"), module+"/cmd/ferric-agent", never()))
	// With cgo allowed, as somebody's plain "go build" has it, no package of ours or of third parties may use it.
	report(t, BinaryFaults(list(t, []string{"CGO_ENABLED=1"}, "./cmd/ferric-agent"), module+"/cmd/ferric-agent", never()))
}

func TestSources(t *testing.T) {
	top, files := root(t), 0
	err := filepath.WalkDir(top, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && path != top && (strings.HasPrefix(d.Name(), ".") || d.Name() == "testdata"):
			return fs.SkipDir
		case d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go"):
			return nil
		}
		source, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		files++
		name, err := filepath.Rel(top, path)
		report(t, SourceFaults(name, source))
		return err
	})
	if err != nil || files < 10 {
		t.Fatalf("%d files, %v", files, err)
	}
}

// The rules are held against made-up packages, so that a rule that finds nothing is seen.

func TestImportRules(t *testing.T) {
	tests := []struct{ from, to, fault string }{
		{"ferric/api/client", "ferric/api", ""},
		{"ferric/api", "ferric/images", "ferric/api must not import ferric/images"},
		{"ferric/api", "github.com/sirupsen/logrus", "ferric/api must not import github.com/sirupsen/logrus"},
		{"ferric/api", "github.com/labstack/echo/v4", "ferric/api must not import github.com/labstack/echo/v4"},
		{"ferric/images", "ferric/api/ipa", ""},
		{"ferric/images", "log/slog", "ferric/images must not import log/slog"},
		{"ferric/images/source", "ferric/hwmanager", "ferric/images/source must not import ferric/hwmanager"},
		{"ferric/hwmanager/generic", "ferric/images", ""},
		{"ferric/hwmanager", "ferric/agent", "ferric/hwmanager must not import ferric/agent"},
		{"ferric/agent", "ferric/hwmanager/generic", ""},
		{"ferric/agent", "ferric/conductor/store", "ferric/agent must not import ferric/conductor/store"},
		{"ferric/agent", "database/sql", "ferric/agent must not import database/sql"},
		{"ferric/conductor/flow", "ferric/images", ""},
		{"ferric/conductor", "ferric/hwmanager", "ferric/conductor must not import ferric/hwmanager"},
		{"ferric/conductor", "ferric/agent", "ferric/conductor must not import ferric/agent"},
		{"ferric/conductor", "ferric/integration/lab", "ferric/conductor must not import ferric/integration/lab"},
		{"ferric/ramdisk", "ferric/images", "ferric/ramdisk must not import ferric/images"},
		{"ferric/integration/lab", "ferric/conductor", ""},
		{"ferric/integration/lab", "ferric/cmd/ferric", "ferric/integration/lab must not import ferric/cmd/ferric"},
		{"ferric/cmd/ferric", "ferric/integration/lab", ""},
		{"ferric/cmd/ferric-agent", "ferric/agent", ""},
		{"ferric/cmd/ferric-agent", "ferric/integration/lab", "ferric/cmd/ferric-agent must not import ferric/integration/lab"},
		{"ferric/cmd/ferric-agent", "ferric/conductor", "ferric/cmd/ferric-agent must not import ferric/conductor"},
		{"ferric/apical", "fmt", "ferric/apical is in no room of the architecture"},
		{"example.org/other", "ferric/conductor", ""},
	}
	for _, tt := range tests {
		var want []string
		if tt.fault != "" {
			want = []string{tt.fault}
		}
		got := ImportFaults([]Package{{ImportPath: tt.from, Imports: []string{"fmt", tt.to}}})
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s → %s (-want +got):\n%s", tt.from, tt.to, diff)
		}
	}
}

func TestBinaryRules(t *testing.T) {
	graph := []Package{
		{ImportPath: "good", Imports: []string{"net"}},
		{ImportPath: "net", Standard: true, CgoFiles: []string{"cgo_unix.go"}},
		{ImportPath: "stores", Imports: []string{"middle"}},
		{ImportPath: "middle", Imports: []string{"database/sql", "net"}},
		{ImportPath: "database/sql", Standard: true},
		{ImportPath: "binds", Imports: []string{"wraps"}},
		{ImportPath: "wraps", CgoFiles: []string{"c.go"}},
		{ImportPath: "conducts", Imports: []string{"ferric/conductor/store"}},
		{ImportPath: "ferric/conductor/store"},
	}
	tests := map[string][]string{
		"good":     nil,
		"stores":   {"stores → middle → database/sql"},
		"binds":    {"cgo: binds → wraps"},
		"conducts": {"conducts → ferric/conductor/store"},
		"nowhere":  {"nowhere does not exist"},
	}
	for root, want := range tests {
		if diff := cmp.Diff(want, BinaryFaults(graph, root, never())); diff != "" {
			t.Errorf("%s (-want +got):\n%s", root, diff)
		}
	}
}

func TestNameRules(t *testing.T) {
	tests := []struct {
		p     Package
		fault string
	}{
		{Package{ImportPath: "ferric/conductor/driver/ipmi", Name: "ipmi"}, ""},
		{Package{ImportPath: "ferric/conductor/driver/ipmi/wire", Name: "wire"}, "4 directories deep"},
		{Package{ImportPath: "ferric/images/util", Name: "util"}, "called util"},
		{Package{ImportPath: "ferric/common/x", Name: "x"}, "called common"},
		{Package{ImportPath: "ferric/agent/x", Name: "helpers"}, "called helpers"},
		{Package{ImportPath: "example.org/a/b/c/d/util", Name: "util"}, ""},
	}
	for _, tt := range tests {
		got := strings.Join(NameFaults([]Package{tt.p}), "; ")
		if (tt.fault == "") != (got == "") || !strings.Contains(got, tt.fault) {
			t.Errorf("%s %s: %q; want %q", tt.p.ImportPath, tt.p.Name, got, tt.fault)
		}
	}
}

func TestSourceRules(t *testing.T) {
	long := strings.Repeat("// line\n", maxLines)
	tests := []struct{ name, source, fault string }{
		{"plain", "package p\n\nfunc initial() {}\n\ntype t struct{}\n\nfunc (t) init() {}\n", ""},
		{"init", "package p\n\nfunc init() {}\n", "init function"},
		{"long", "package p\n" + long, "601 lines"},
		{"just short enough", "package p\n" + long[len("// line\n"):], ""},
		{"long table", TableMark + "\n\npackage p\n" + long, ""},
		{"no Go", "package\n", "expected"},
	}
	for _, tt := range tests {
		got := strings.Join(SourceFaults("f.go", []byte(tt.source)), "; ")
		if (tt.fault == "") != (got == "") || !strings.Contains(got, tt.fault) {
			t.Errorf("%s: %q; want %q", tt.name, got, tt.fault)
		}
	}
}
