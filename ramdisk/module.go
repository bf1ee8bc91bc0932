package ramdisk

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"go/format"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"text/template"

	"golang.org/x/mod/modfile"
	"golang.org/x/mod/module"
)

const (
	agentModule   = "ferric-agent"
	ferricVersion = "v0.0.0"
	programFile   = "main.go"
	linkDir       = "linked-modules"
)

// program is a module that a program with vendors' packages is built in. Its requirements
// are those of ferric, and so all but the vendors' own are in the caches already. Modules in
// directories are reached by links with numbers: what is built tells the paths of go.mod,
// and must not tell where on this machine something lies.
type program struct {
	dir      string
	mod      *modfile.File
	sums     []byte
	links    []string                  // what they point to
	replaced map[module.Version]string // by whom
}

// newProgram makes a module in dir that has ferric and the vendors' modules, and in it the
// program that text, a template, is with the packages.
func (t toolchain) newProgram(ctx context.Context, dir string, vendors []vendored, text string) (*program, error) {
	own, err := os.ReadFile(filepath.Join(t.dir, "go.mod"))
	if err != nil {
		return nil, fmt.Errorf("read ferric's go.mod: %w", err)
	}
	p := &program{dir: dir, replaced: map[module.Version]string{}}
	if p.mod, err = modfile.Parse("go.mod", own, nil); err != nil {
		return nil, fmt.Errorf("read ferric's go.mod: %w", err)
	}
	for _, r := range p.mod.Replace {
		p.replaced[r.Old] = "ferric"
	}
	problem := p.mod.AddModuleStmt(agentModule)
	if problem == nil {
		problem = p.module("ferric", ferricModule, t.dir)
	}
	if problem != nil {
		return nil, fmt.Errorf("write the module of the agent: %w", problem)
	}
	for _, v := range vendors {
		if err := p.vendor(v, t.dir); err != nil {
			return nil, fmt.Errorf("hardware manager %s: %w", v.asked, err)
		}
	}
	if err := p.write(text, vendors); err != nil {
		return nil, fmt.Errorf("write the module of the agent: %w", err)
	}
	for _, v := range vendors {
		if v.module != "" || strings.HasPrefix(v.path, ferricModule+"/") {
			continue
		}
		query := v.path + "@" + v.version
		if v.version == "" {
			query = v.path + "@latest"
		}
		if _, err := runGo(ctx, dir, "get", query); err != nil {
			return nil, fmt.Errorf("hardware manager %s: %w", v.asked, err)
		}
	}
	return p, nil
}

// module requires the module in a directory.
func (p *program) module(who, name, dir string) error {
	if err := p.mod.AddRequire(name, ferricVersion); err != nil {
		return err
	}
	return p.replace(who, module.Version{Path: name}, module.Version{Path: dir})
}

// vendor adds the module that a vendor's package is in, unless it comes from elsewhere, and
// what its go.mod, and the workspace that it belongs to, put in the place of other modules:
// in a build with another main module, which this is, Go does not look at that.
func (p *program) vendor(v vendored, source string) error {
	switch {
	case v.module == "":
		return nil
	case v.module == ferricModule && !sameDir(v.dir, source):
		return fmt.Errorf("its module is named %s, as ferric itself, whose source is %s", ferricModule, source)
	case v.module == ferricModule:
		return nil
	case v.module == agentModule:
		return fmt.Errorf("its module is named %s, as the program that it is built into", agentModule)
	}
	if err := p.module(v.asked, v.module, v.dir); err != nil {
		return err
	}
	name := filepath.Join(v.dir, "go.mod")
	text, err := os.ReadFile(name)
	if err != nil {
		return err
	}
	file, err := modfile.Parse(name, text, nil)
	if err != nil {
		return err
	}
	if err := p.replaceAll(v, v.dir, file.Replace); err != nil {
		return err
	}
	return p.workspace(v)
}

func (p *program) replaceAll(v vendored, dir string, replaces []*modfile.Replace) error {
	for _, r := range replaces {
		by := r.New
		if by.Version == "" && !filepath.IsAbs(by.Path) {
			by.Path = filepath.Join(dir, by.Path)
		}
		if r.Old.Path == ferricModule || r.Old.Path == v.module {
			continue
		}
		if err := p.replace(v.asked, r.Old, by); err != nil {
			return err
		}
	}
	return nil
}

// workspace has the modules of the workspace that a vendor's module is one of.
func (p *program) workspace(v vendored) error {
	name := os.Getenv("GOWORK")
	for root, parent := v.dir, ""; name == "" && root != parent; root, parent = filepath.Dir(root), root {
		if _, err := os.Stat(filepath.Join(root, "go.work")); err == nil {
			name = filepath.Join(root, "go.work")
		}
	}
	if name == "" || name == "off" {
		return nil
	}
	text, err := os.ReadFile(name)
	if err != nil {
		return err
	}
	work, err := modfile.ParseWork(name, text, nil)
	if err != nil {
		return err
	}
	root := filepath.Dir(name)
	var others []string
	for _, use := range work.Use {
		dir := use.Path
		if !filepath.IsAbs(dir) {
			dir = filepath.Join(root, dir)
		}
		others = append(others, dir)
	}
	mine := slices.IndexFunc(others, func(dir string) bool { return sameDir(dir, v.dir) })
	if mine < 0 {
		return nil
	}
	for _, dir := range slices.Delete(others, mine, mine+1) {
		text, err := os.ReadFile(filepath.Join(dir, "go.mod"))
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		if other := modfile.ModulePath(text); other != ferricModule {
			if err := p.replace(v.asked, module.Version{Path: other}, module.Version{Path: dir}); err != nil {
				return err
			}
		}
	}
	sums, err := os.ReadFile(name + ".sum")
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	p.sums = append(append(p.sums, '\n'), sums...)
	return p.replaceAll(v, root, work.Replace)
}

// replace puts a module, or a directory, in the place of another module, for all.
func (p *program) replace(who string, old, by module.Version) error {
	if by.Version == "" {
		var err error
		if by.Path, err = p.link(by.Path); err != nil {
			return fmt.Errorf("module %s: %w", old.Path, err)
		}
	}
	for _, r := range p.mod.Replace {
		if r.Old.Path != old.Path || r.Old.Version != "" && old.Version != "" && r.Old.Version != old.Version {
			continue
		}
		if r.New == by {
			return nil
		}
		return fmt.Errorf("module %s is to be taken from %s, but %s has it from %s", old.Path, p.readable(by), p.replaced[r.Old], p.readable(r.New))
	}
	p.replaced[old] = who
	return p.mod.AddReplace(old.Path, old.Version, by.Path, by.Version)
}

func (p *program) readable(v module.Version) string {
	if v.Version != "" {
		return v.String()
	}
	i, _ := strconv.Atoi(path.Base(v.Path))
	return fromHere(p.links[i])
}

// link is the path of a directory in the module, and takes in its checksums.
func (p *program) link(target string) (string, error) {
	i := slices.IndexFunc(p.links, func(dir string) bool { return sameDir(dir, target) })
	if i < 0 {
		if info, err := os.Stat(target); err != nil {
			return "", err
		} else if !info.IsDir() {
			return "", fmt.Errorf("%s is not a directory", target)
		}
		sums, err := os.ReadFile(filepath.Join(target, "go.sum"))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return "", err
		}
		i = len(p.links)
		p.sums = append(append(p.sums, '\n'), sums...)
		p.links = append(p.links, target)
	}
	return "./" + path.Join(linkDir, strconv.Itoa(i)), nil
}

func sameDir(a, b string) bool {
	one, err := os.Stat(a)
	if err != nil {
		return false
	}
	other, err := os.Stat(b)
	return err == nil && os.SameFile(one, other)
}

func (p *program) write(text string, vendors []vendored) error {
	main, err := renderProgram(text, vendors)
	if err != nil {
		return err
	}
	p.mod.Cleanup()
	mod, err := p.mod.Format()
	if err != nil {
		return err
	}
	for name, content := range map[string][]byte{"go.mod": mod, "go.sum": p.sums, programFile: main} {
		if err := os.WriteFile(filepath.Join(p.dir, name), content, 0o644); err != nil {
			return err
		}
	}
	if err := os.Mkdir(filepath.Join(p.dir, linkDir), 0o755); err != nil {
		return err
	}
	for i, target := range p.links {
		if err := os.Symlink(target, filepath.Join(p.dir, linkDir, strconv.Itoa(i))); err != nil {
			return err
		}
	}
	return nil
}

// agentProgram is the agent with the built-in hardware managers and others.
const agentProgram = `package main

import (
	"os"

	"ferric/agent"
	"ferric/hwmanager"
	"ferric/hwmanager/builtin"
{{range $i, $path := .}}	m{{$i}} "{{$path}}"
{{end}})

func main() {
	managers := builtin.Managers()
{{range $i, $path := .}}	managers = append(managers, agent.Make("{{$path}}", func() hwmanager.Manager { return m{{$i}}.New() }))
{{end}}	os.Exit(agent.Main(managers))
}
`

func renderProgram(text string, vendors []vendored) ([]byte, error) {
	paths := make([]string, len(vendors))
	for i, v := range vendors {
		paths[i] = v.path
	}
	var out bytes.Buffer
	if err := template.Must(template.New(programFile).Parse(text)).Execute(&out, paths); err != nil {
		return nil, err
	}
	return format.Source(out.Bytes())
}

// buildWith builds the program that text is with the vendors' packages and returns where it
// lies. Errors of the compiler name the vendors' files as seen from the current directory.
func (t toolchain) buildWith(ctx context.Context, tempDir string, vendors []vendored, text string) (string, error) {
	dir, err := os.MkdirTemp(tempDir, "module-")
	if err != nil {
		return "", fmt.Errorf("write the module of the agent: %w", err)
	}
	for i, v := range vendors {
		if first := slices.IndexFunc(vendors, func(other vendored) bool { return other.path == v.path }); first < i && (v.module == "" || sameDir(v.dir, vendors[first].dir)) {
			return "", fmt.Errorf("hardware managers %s and %s are one package", vendors[first].asked, v.asked)
		}
	}
	p, err := t.newProgram(ctx, dir, vendors, text)
	if err != nil {
		return "", err
	}
	out := filepath.Join(dir, "program")
	_, err = runGo(ctx, dir, "build", "-mod=mod", "-trimpath", "-buildvcs=false", "-ldflags", linkFlags, "-o", out, ".")
	var failed *goError
	if errors.As(err, &failed) {
		return "", fmt.Errorf("build the agent with %s:\n%s", strings.Join(askedFor(vendors), ", "), p.explain(failed.text, vendors))
	}
	return out, err
}

func askedFor(vendors []vendored) []string {
	var names []string
	for _, v := range vendors {
		names = append(names, v.asked)
	}
	return names
}
