package hwmanager_test

import (
	"errors"
	"flag"
	"fmt"
	"go/importer"
	"go/token"
	"go/types"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"ferric/hwmanager"
)

var update = flag.Bool("update", false, "take the interface as it is, where its version allows")

// TestAPI holds the promise of the package documentation: what is exported, here
// and in the types of other packages that are in signatures, does not disappear
// or change without a new major version, and nothing is added without a new
// minor one.
func TestAPI(t *testing.T) {
	t.Parallel()
	current := render(t)
	golden := filepath.Join("testdata", "api.txt")
	header := func(version string) string { return "# The interface of version " + version + "\n" }
	text, err := os.ReadFile(golden)
	if err != nil && !*update {
		t.Fatal(err)
	}
	first, rest, _ := strings.Cut(string(text), "\n")
	version := strings.TrimPrefix(first, strings.TrimSpace(header("")))
	if err == nil {
		before := strings.Split(strings.TrimSpace(rest), "\n")
		changed, err := judge(before, current, strings.TrimSpace(version), hwmanager.SDKVersion)
		switch {
		case err != nil:
			t.Fatal(err)
		case !changed:
			return
		case !*update:
			t.Fatal("the interface has changed as its new version allows: write testdata/api.txt with -update")
		}
	}
	content := header(hwmanager.SDKVersion) + strings.Join(current, "\n") + "\n"
	if err := errors.Join(os.MkdirAll("testdata", 0o755), os.WriteFile(golden, []byte(content), 0o644)); err != nil {
		t.Fatal(err)
	}
}

// judge tells whether an interface differs from that of an earlier version, and
// what the version does not allow.
func judge(before, now []string, earlier, later string) (changed bool, err error) {
	var gone, added []string
	for _, line := range before {
		if !slices.Contains(now, line) {
			gone = append(gone, line)
		}
	}
	for _, line := range now {
		if !slices.Contains(before, line) {
			added = append(added, line)
		}
	}
	oldMajor, oldMinor, err := numbers(earlier)
	if err != nil {
		return false, err
	}
	major, minor, err := numbers(later)
	if err != nil {
		return false, err
	}
	switch {
	case major < oldMajor || major == oldMajor && minor < oldMinor:
		return false, fmt.Errorf("SDKVersion goes back from %s to %s", earlier, later)
	case len(gone) > 0 && major == oldMajor:
		return false, fmt.Errorf("what vendors build on has gone or has changed since version %s, and SDKVersion %s has no new major version:\n%s\nnow there is:\n%s",
			earlier, later, strings.Join(gone, "\n"), strings.Join(added, "\n"))
	case len(added) > 0 && major == oldMajor && minor == oldMinor:
		return false, fmt.Errorf("this is new since version %s: make SDKVersion %d.%d.0 and run this test with -update\n%s", earlier, major, minor+1, strings.Join(added, "\n"))
	}
	return len(gone)+len(added) > 0 || earlier != later, nil
}

func numbers(version string) (major, minor int, err error) {
	var patch int
	if _, err := fmt.Sscanf(version, "%d.%d.%d", &major, &minor, &patch); err != nil {
		return 0, 0, fmt.Errorf("version %q is not MAJOR.MINOR.PATCH: %w", version, err)
	}
	return major, minor, nil
}

func TestJudge(t *testing.T) {
	a, b, c := "func A()", "func B()", "func B(int)"
	for _, test := range []struct {
		name           string
		before, now    []string
		earlier, later string
		changed        bool
		want           string
	}{
		{"nothing", []string{a, b}, []string{b, a}, "1.0.0", "1.0.0", false, ""},
		{"a repair", []string{a}, []string{a}, "1.0.0", "1.0.1", true, ""},
		{"gone", []string{a, b}, []string{a}, "1.2.0", "1.3.0", false, "no new major version:\nfunc B()"},
		{"changed", []string{a, b}, []string{a, c}, "1.2.0", "1.3.0", false, "no new major version:\nfunc B()\nnow there is:\nfunc B(int)"},
		{"gone in a new major version", []string{a, b}, []string{a, c}, "1.2.0", "2.0.0", true, ""},
		{"added", []string{a}, []string{a, b}, "1.2.0", "1.2.1", false, "make SDKVersion 1.3.0"},
		{"added in a new minor version", []string{a}, []string{a, b}, "1.2.0", "1.3.0", true, ""},
		{"back", []string{a}, []string{a}, "1.2.0", "1.1.0", false, "goes back"},
		{"no version", []string{a}, []string{a}, "1.2.0", "new", false, "MAJOR.MINOR.PATCH"},
	} {
		changed, err := judge(test.before, test.now, test.earlier, test.later)
		if changed != test.changed || (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: changed %v, %v; want %v, %q", test.name, changed, err, test.changed, test.want)
		}
	}
}

// renderer writes an interface down, a line for what may be added alone. An
// interface is one line: who implements it notices each method that is added.
type renderer struct {
	lines []string
	seen  map[*types.TypeName]bool
	queue []*types.TypeName // types of other packages of ferric, in signatures
}

func render(t *testing.T) []string {
	t.Helper()
	out, err := exec.Command("go", "list", "-export", "-deps", "-f", "{{.ImportPath}}={{.Export}}", ".").Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	exports := map[string]string{}
	for line := range strings.Lines(string(out)) {
		path, file, _ := strings.Cut(strings.TrimSpace(line), "=")
		exports[path] = file
	}
	load := importer.ForCompiler(token.NewFileSet(), "gc", func(path string) (io.ReadCloser, error) { return os.Open(exports[path]) })
	pkg, err := load.Import("ferric/hwmanager")
	if err != nil {
		t.Fatal(err)
	}
	r := &renderer{seen: map[*types.TypeName]bool{}}
	for _, name := range pkg.Scope().Names() {
		if token.IsExported(name) {
			r.object(pkg.Scope().Lookup(name))
		}
	}
	errorKinds, err := load.Import("ferric/api/ipa")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range errorKinds.Scope().Names() {
		if v, ok := errorKinds.Scope().Lookup(name).(*types.Var); ok && v.Exported() && strings.HasSuffix(v.Type().String(), ".Kind") {
			r.object(v)
		}
	}
	for len(r.queue) > 0 {
		next := r.queue[0]
		r.queue = r.queue[1:]
		r.object(next)
	}
	slices.Sort(r.lines)
	return r.lines
}

func (r *renderer) add(format string, args ...any) {
	r.lines = append(r.lines, fmt.Sprintf(format, args...))
}

// write is a type as text, without the names of parameters, which bind nobody.
func (r *renderer) write(t types.Type) string {
	return types.TypeString(nameless(t), func(p *types.Package) string { return strings.TrimPrefix(p.Path(), "ferric/") })
}

func (r *renderer) object(o types.Object) {
	where := strings.TrimPrefix(o.Pkg().Path(), "ferric/")
	switch o := o.(type) {
	case *types.Const:
		value := " = " + o.Val().ExactString()
		if o.Name() == "SDKVersion" {
			value = ""
		}
		r.add("%s: const %s %s%s", where, o.Name(), r.write(o.Type()), value)
	case *types.Var:
		r.mention(o.Type())
		r.add("%s: var %s %s", where, o.Name(), r.write(o.Type()))
	case *types.Func:
		r.mention(o.Type())
		r.add("%s: func %s%s%s", where, o.Name(), r.parameters(o.Signature().TypeParams()), strings.TrimPrefix(r.write(o.Type()), "func"))
	case *types.TypeName:
		if !r.seen[o] {
			r.seen[o] = true
			r.typeName(where, o)
		}
	}
}

func (r *renderer) typeName(where string, o *types.TypeName) {
	if o.IsAlias() {
		r.mention(o.Type())
		r.add("%s: type %s = %s", where, o.Name(), r.write(types.Unalias(o.Type())))
		return
	}
	named, _ := o.Type().(*types.Named)
	if s, ok := named.Underlying().(*types.Struct); ok {
		comparable := ""
		if types.Comparable(named) && allExported(s) { // a value, not something to hold
			comparable = ", comparable"
		}
		r.add("%s: type %s struct%s", where, o.Name()+r.parameters(named.TypeParams()), comparable)
		for i := range s.NumFields() {
			f := s.Field(i)
			if f.Exported() {
				r.mention(f.Type())
				r.add("%s: type %s struct, %s %s %s", where, o.Name(), f.Name(), r.write(f.Type()), s.Tag(i))
			}
		}
	} else {
		r.mention(named.Underlying())
		r.add("%s: type %s %s", where, o.Name()+r.parameters(named.TypeParams()), r.write(named.Underlying()))
	}
	for method := range named.Methods() {
		if !method.Exported() {
			continue
		}
		receiver := o.Name()
		if _, ok := method.Signature().Recv().Type().(*types.Pointer); ok {
			receiver = "*" + receiver
		}
		r.mention(method.Type())
		r.add("%s: method (%s) %s%s", where, receiver, method.Name(), strings.TrimPrefix(r.write(method.Type()), "func"))
	}
}

func (r *renderer) parameters(list *types.TypeParamList) string {
	var texts []string
	for p := range list.TypeParams() {
		texts = append(texts, p.Obj().Name()+" "+r.write(p.Constraint()))
	}
	if len(texts) == 0 {
		return ""
	}
	return "[" + strings.Join(texts, ", ") + "]"
}

func allExported(s *types.Struct) bool {
	for f := range s.Fields() {
		if !f.Exported() {
			return false
		}
	}
	return true
}

// nameless is a type without the names of parameters in it.
func nameless(t types.Type) types.Type {
	switch t := t.(type) {
	case *types.Pointer:
		return types.NewPointer(nameless(t.Elem()))
	case *types.Slice:
		return types.NewSlice(nameless(t.Elem()))
	case *types.Map:
		return types.NewMap(nameless(t.Key()), nameless(t.Elem()))
	case *types.Signature:
		return types.NewSignatureType(nil, nil, nil, namelessAll(t.Params()), namelessAll(t.Results()), t.Variadic())
	case *types.Interface:
		var methods []*types.Func
		for m := range t.Methods() {
			signature, ok := nameless(m.Signature()).(*types.Signature)
			if !ok {
				return t
			}
			methods = append(methods, types.NewFunc(token.NoPos, m.Pkg(), m.Name(), signature))
		}
		if len(methods) > 0 && t.NumMethods() == len(methods) {
			return types.NewInterfaceType(methods, nil).Complete()
		}
	}
	return t
}

func namelessAll(list *types.Tuple) *types.Tuple {
	var vars []*types.Var
	for v := range list.Variables() {
		vars = append(vars, types.NewParam(token.NoPos, nil, "", nameless(v.Type())))
	}
	return types.NewTuple(vars...)
}

// mention notes the types of ferric that a type is made of.
func (r *renderer) mention(t types.Type) {
	switch t := types.Unalias(t).(type) {
	case *types.Named:
		if pkg := t.Obj().Pkg(); pkg != nil && strings.HasPrefix(pkg.Path(), "ferric/") && !r.seen[t.Obj()] {
			r.queue = append(r.queue, t.Obj())
		}
		for argument := range t.TypeArgs().Types() {
			r.mention(argument)
		}
	case *types.Pointer:
		r.mention(t.Elem())
	case *types.Slice:
		r.mention(t.Elem())
	case *types.Array:
		r.mention(t.Elem())
	case *types.Chan:
		r.mention(t.Elem())
	case *types.Map:
		r.mention(t.Key())
		r.mention(t.Elem())
	case *types.Signature:
		for v := range t.Params().Variables() {
			r.mention(v.Type())
		}
		for v := range t.Results().Variables() {
			r.mention(v.Type())
		}
	case *types.Struct:
		for f := range t.Fields() {
			if f.Exported() {
				r.mention(f.Type())
			}
		}
	case *types.Interface:
		for m := range t.Methods() {
			r.mention(m.Type())
		}
	}
}
