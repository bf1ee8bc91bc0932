package ramdisk

import (
	"go/parser"
	"go/token"
	"slices"
	"strconv"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/u-root/gobusybox/src/pkg/golang"
)

// TestCommandsAreRequired: what mkuimage builds has to be in go.sum also where
// the module cache is empty.
func TestCommandsAreRequired(t *testing.T) {
	file, err := parser.ParseFile(token.NewFileSet(), "commands.go", nil, parser.ImportsOnly)
	if err != nil {
		t.Fatal(err)
	}
	var got, want []string
	for _, i := range file.Imports {
		path, err := strconv.Unquote(i.Path.Value)
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, path)
	}
	for _, a := range applets {
		want = append(want, uroot+"/cmds/"+a)
	}
	slices.Sort(got)
	slices.Sort(want)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("commands.go (-applets +imports):\n%s", diff)
	}
}

// TestCommandsFromElsewhere looks up the commands while the current directory is a vendor's.
func TestCommandsFromElsewhere(t *testing.T) {
	source, err := FindSource("")
	if err != nil {
		t.Fatal(err)
	}
	t.Chdir(t.TempDir())
	tools, err := findToolchain(t.Context(), source)
	if err != nil {
		t.Fatal(err)
	}
	const names = 1 // packages.NeedName
	found, err := golang.Default(tools.commandsEnv()...).Lookup(names, uroot+"/cmds/"+applets[0])
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range found {
		if p.Name != "main" || len(p.Errors) > 0 {
			t.Errorf("%s: %v", p.ID, p.Errors)
		}
	}
	if len(found) != 1 {
		t.Errorf("%d packages; want 1", len(found))
	}
}
