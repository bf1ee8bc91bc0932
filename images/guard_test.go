package images_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// writers are the only files that may open something for writing: everything
// that destroys goes through a disk.Target, which its caller was
// given, or to the firmware's variables.
var writers = []string{"disk/device.go", "efi/store.go"}

// TestGuard keeps destructive code from choosing its own target: no file of
// the package names a device, and none but writers opens files for writing.
func TestGuard(t *testing.T) {
	seen := map[string]bool{}
	err := filepath.WalkDir(".", func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") || strings.HasPrefix(path, "disk/disktest/") {
			return err
		}
		fset := token.NewFileSet()
		file, err := parser.ParseFile(fset, path, nil, 0)
		if err != nil {
			return err
		}
		ast.Inspect(file, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.BasicLit:
				if n.Kind == token.STRING && strings.Contains(n.Value, "/dev") && !strings.Contains(n.Value, "/sys/dev/block") {
					t.Errorf("%s names a device: %s", fset.Position(n.Pos()), n.Value)
				}
			case *ast.SelectorExpr:
				pkg, ok := n.X.(*ast.Ident)
				if !ok || pkg.Name != "os" && pkg.Name != "unix" && pkg.Name != "syscall" {
					break
				}
				opens := []string{"OpenFile", "Create", "WriteFile", "Truncate", "Remove", "RemoveAll", "Rename", "Open", "Openat", "StartProcess"}
				if pkg.Name == "os" {
					opens = slices.DeleteFunc(opens, func(s string) bool { return s == "Open" }) // reads
				}
				if !slices.Contains(opens, n.Sel.Name) {
					break
				}
				seen[path] = true
				if !slices.Contains(writers, path) {
					t.Errorf("%s opens files by itself: %s.%s", fset.Position(n.Pos()), pkg.Name, n.Sel.Name)
				}
			}
			return true
		})
		for _, imp := range file.Imports {
			if imp.Path.Value == `"os/exec"` {
				t.Errorf("%s runs programs", path)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, w := range writers {
		if !seen[w] {
			t.Errorf("%s does not open anything: the list is out of date", w)
		}
	}
}
