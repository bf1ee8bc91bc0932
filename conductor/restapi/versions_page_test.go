package restapi

import (
	"bytes"
	flags "flag" // flag is a kind of column here
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ferric/api/ironic"
	"ferric/conductor/provision"
)

const versionsPage = "../../docs/microversions.md"

// TestVersionsPage renders what each microversion brought from the tables that
// serve it. A microversion that no code names is missing from the API.
func TestVersionsPage(t *testing.T) {
	got := renderVersions(t)
	if flags.Lookup("update").Value.String() == "true" {
		if err := os.WriteFile(versionsPage, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(versionsPage)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("%s is not what the tables say, run `make generate` (-page +tables):\n%s", versionsPage, diff)
	}
}

func renderVersions(t *testing.T) []byte {
	brought := map[ironic.Version][]string{}
	add := func(v ironic.Version, format string, args ...any) {
		if v > 1 {
			brought[v] = append(brought[v], fmt.Sprintf(format, args...))
		}
	}
	for _, r := range (&Server{}).routes() {
		add(r.since, "`%s %s`", r.method, r.wirePath())
		for _, a := range r.args {
			if a.since > r.since {
				add(a.since, "`%s` of `%s %s`", a.name, r.method, r.wirePath())
			}
		}
	}
	for _, r := range describedResources {
		for name, property := range r.shown(ironic.VersionLatest).Properties {
			if text, ok := property.Value.Extensions[extensionSince].(string); ok {
				v, err := ironic.ParseVersion(text)
				if err != nil {
					t.Fatal(err)
				}
				add(v, "`%s` of %s", name, r.name)
			}
		}
	}
	for _, verb := range provision.Verbs {
		add(verb.Since, "verb `%s`", verb.Target)
	}
	var out bytes.Buffer
	out.WriteString("# Microversions\n\nRendered from the tables that serve the API by `make generate`; do not edit. What a route brings is not listed again for it.\n\n| 1.N | brought | routes, arguments, attributes, verbs |\n|---|---|---|\n")
	for _, v := range versionConstants(t) {
		fmt.Fprintf(&out, "| %d | %s | %s |\n", v.number, v.comment, strings.Join(sorted(brought[v.number]), ", "))
	}
	return out.Bytes()
}

func sorted(list []string) []string {
	seen := map[string]int{}
	for _, item := range list {
		seen[item]++
	}
	out := slices.Sorted(maps.Keys(seen))
	if len(out) > 12 {
		return append(out[:12:12], fmt.Sprintf("and %d more", len(out)-12))
	}
	return out
}

type versionConstant struct {
	name, comment string
	number        ironic.Version
}

// versionConstants reads the one table of microversions, and fails for those
// that neither the API nor the state machine names.
func versionConstants(t *testing.T) []versionConstant {
	set := token.NewFileSet()
	table, err := parser.ParseFile(set, "../../api/ironic/version.go", nil, parser.ParseComments)
	if err != nil {
		t.Fatal(err)
	}
	var list []versionConstant
	ast.Inspect(table, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok || len(spec.Values) != 1 {
			return true
		}
		if value, ok := spec.Values[0].(*ast.BasicLit); ok {
			number, err := strconv.Atoi(value.Value)
			if err != nil {
				t.Fatal(err)
			}
			list = append(list, versionConstant{spec.Names[0].Name, strings.TrimSpace(spec.Comment.Text()), ironic.Version(number)})
		}
		return true
	})
	var code strings.Builder
	for _, dir := range []string{".", "../provision", ".."} {
		err := fs.WalkDir(os.DirFS(dir), ".", func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() && path != "." {
				return fs.SkipDir
			}
			if strings.HasSuffix(path, ".go") && !strings.HasSuffix(path, "_test.go") {
				text, err := fs.ReadFile(os.DirFS(dir), path)
				if err != nil {
					return err
				}
				code.Write(text)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	for i, c := range list {
		if c.number != ironic.Version(i+1) {
			t.Errorf("%s is 1.%d, in line %d of the table", c.name, c.number, i+1)
		}
		if unseen[c.number] == "" && !strings.Contains(code.String(), "ironic."+c.name) {
			t.Errorf("nothing names ironic.%s", c.name)
		}
	}
	if len(list) != int(ironic.VersionLatest) {
		t.Errorf("the table has %d microversions, the newest is %s", len(list), ironic.VersionLatest)
	}
	return list
}

// unseen are microversions at which no request is answered differently here.
var unseen = map[ironic.Version]string{
	ironic.VersionMin:            "is where everything begins",
	ironic.VersionScopes:         "marks that scopes of tokens are honoured, which they always are",
	ironic.VersionAllocationName: "a node of the allocation's name goes before others at any version, as in Ironic",
	ironic.VersionOwnNodes:       "depends on [api]project_admin_can_manage_own_nodes only, as in Ironic",
	ironic.VersionRequestID:      "the header is always sent",
}
