package ramdisk

import (
	"go/parser"
	"go/token"
	"slices"
	"strconv"
	"testing"

	"github.com/google/go-cmp/cmp"
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
