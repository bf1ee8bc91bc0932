package conductor

import (
	"bytes"
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"reflect"
	"sort"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the rendered page")

const optionsPage = "../docs/configuration.md"

// TestOptionsPage renders the reference of all options from the fields of the
// Config structs and their comments.
func TestOptionsPage(t *testing.T) {
	got := renderOptions(t)
	if *update {
		if err := os.WriteFile(optionsPage, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(optionsPage)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("%s is not what the structs say, run `make generate` (-page +structs):\n%s", optionsPage, diff)
	}
}

func renderOptions(t *testing.T) []byte {
	cfg := DefaultConfig()
	comments := map[string]string{}
	for _, dir := range []string{".", "flow", "restapi", "restapi/auth", "netboot", "inspection", "driver", "driver/agent", "driver/builtin", "driver/direct", "driver/fake", "driver/ipmi", "console", "driver/pxe", "plugins"} {
		collectComments(t, dir, comments)
	}
	type row struct{ name, kind, def string }
	var rows []row
	seen := map[string]bool{}
	for _, f := range fields(&cfg) {
		if !seen[f.name] {
			seen[f.name] = true
			rows = append(rows, row{f.name, kindOf(f.value), show(f.value)})
		}
	}
	sort.Slice(rows, func(i, j int) bool { return rows[i].name < rows[j].name })
	var out bytes.Buffer
	out.WriteString("# Options of the conductor\n\nRendered from the `Config` structs by `make generate`; do not edit. The format is that of `ironic.conf`. Sections `[netboot]` are ferric's own.\n")
	section := ""
	for _, r := range rows {
		s, name, _ := strings.Cut(r.name, ".")
		if s != section {
			fmt.Fprintf(&out, "\n## [%s]\n\n| option | type | default | meaning |\n|---|---|---|---|\n", s)
			section = s
		}
		if comments[r.name] == "" {
			t.Errorf("option %s has no comment", r.name)
		}
		fmt.Fprintf(&out, "| %s | %s | %s | %s |\n", name, r.kind, r.def, comments[r.name])
	}
	return out.Bytes()
}

// collectComments reads the comments of all tagged fields of a package. A field
// without one shares that of the field before it.
func collectComments(t *testing.T, dir string, comments map[string]string) {
	set := token.NewFileSet()
	packages, err := parser.ParseDir(set, dir, func(i fs.FileInfo) bool { return !strings.HasSuffix(i.Name(), "_test.go") }, parser.ParseComments)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range packages {
		ast.Inspect(p, func(n ast.Node) bool {
			s, ok := n.(*ast.StructType)
			if !ok {
				return true
			}
			last := ""
			for _, f := range s.Fields.List {
				if text := strings.Join(strings.Fields(f.Doc.Text()), " "); text != "" {
					last = strings.ReplaceAll(text, "|", `\|`)
				}
				if f.Tag != nil {
					if name := reflect.StructTag(strings.Trim(f.Tag.Value, "`")).Get("ini"); name != "" && name != "-" && comments[name] == "" {
						comments[name] = last
					}
				}
			}
			return true
		})
	}
}

func kindOf(v reflect.Value) string {
	switch v.Type().String() {
	case "time.Duration":
		return "seconds"
	case "[]string":
		return "list"
	case "[]int":
		return "list of numbers"
	case "map[string]string":
		return "key:value list"
	case "int", "int64", "*int":
		return "number"
	case "bool", "*bool":
		return "boolean"
	}
	return "text"
}
