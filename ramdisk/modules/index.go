// Package modules knows the kernel modules of one kernel: which there are, what each
// needs, and which serve a device. It reads depmod's text files, as the builder of the
// ramdisk and the ramdisk's first process both do, so both agree about what is needed.
package modules

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"
)

// ErrUnknown is wrapped by errors about a module that the kernel does not have.
var ErrUnknown = errors.New("no such kernel module")

// Module is one loadable module.
type Module struct {
	Name string   // canonical: base name without suffixes, '-' written as '_'
	Path string   // relative to /lib/modules/RELEASE, as in modules.dep
	Deps []string // canonical names of all it needs, direct or not, first needed first
}

// Step is one module of a load plan. A failure of an optional one (a soft dependency)
// does not keep the later ones from being loaded.
type Step struct {
	Module   Module
	Optional bool
}

// Index holds depmod's files of one kernel.
type Index struct {
	modules map[string]Module
	builtin map[string]bool
	aliases []alias // in the order of the file
	soft    map[string]softdep
}

type alias struct {
	pattern string // normalised
	literal string // the pattern up to its first wildcard
	module  string
}

type softdep struct{ pre, post []string }

// Read reads modules.dep, modules.builtin, modules.alias and modules.softdep from the
// root of dir, a kernel's /lib/modules/RELEASE. Only modules.dep must exist.
func Read(dir fs.FS) (*Index, error) {
	x := &Index{modules: map[string]Module{}, builtin: map[string]bool{}, soft: map[string]softdep{}}
	files := []struct {
		name     string
		required bool
		line     func(string) error
	}{
		{"modules.dep", true, x.addDep},
		{"modules.builtin", false, x.addBuiltin},
		{"modules.alias", false, x.addAlias},
		{"modules.softdep", false, x.addSoft},
	}
	for _, f := range files {
		err := eachLine(dir, f.name, f.line)
		if errors.Is(err, fs.ErrNotExist) && !f.required {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", f.name, err)
		}
	}
	return x, nil
}

func eachLine(dir fs.FS, name string, line func(string) error) error {
	f, err := dir.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	s := bufio.NewScanner(f)
	s.Buffer(nil, 1<<20)
	for n := 1; s.Scan(); n++ {
		text := strings.TrimSpace(s.Text())
		if text == "" || strings.HasPrefix(text, "#") {
			continue
		}
		if err := line(text); err != nil {
			return fmt.Errorf("line %d: %w", n, err)
		}
	}
	return s.Err()
}

// addDep takes "kernel/a/x.ko: kernel/b/y.ko kernel/c/z.ko"; the last is needed first.
func (x *Index) addDep(line string) error {
	file, needs, ok := strings.Cut(line, ":")
	if !ok {
		return fmt.Errorf("%q has no colon", line)
	}
	m := Module{Name: Name(file), Path: file}
	paths := strings.Fields(needs)
	for i := len(paths) - 1; i >= 0; i-- {
		m.Deps = append(m.Deps, Name(paths[i]))
	}
	x.modules[m.Name] = m
	return nil
}

func (x *Index) addBuiltin(line string) error {
	x.builtin[Name(line)] = true
	return nil
}

// addAlias takes "alias pci:v00008086d* e1000e".
func (x *Index) addAlias(line string) error {
	f := strings.Fields(line)
	if len(f) != 3 || f[0] != "alias" {
		return nil // depmod writes nothing else, and modprobe ignores what it does not know
	}
	pattern := normalise(f[1])
	literal := pattern
	if i := strings.IndexAny(pattern, "*?["); i >= 0 {
		literal = pattern[:i]
	}
	x.aliases = append(x.aliases, alias{pattern: pattern, literal: literal, module: Name(f[2])})
	return nil
}

// addSoft takes "softdep ext4 pre: crypto-crc32c post: x"; words before "pre:" mean nothing.
func (x *Index) addSoft(line string) error {
	f := strings.Fields(line)
	if len(f) < 3 || f[0] != "softdep" {
		return nil
	}
	name := Name(f[1])
	dep := x.soft[name]
	list := &[]string{}
	for _, word := range f[2:] {
		switch word {
		case "pre:":
			list = &dep.pre
		case "post:":
			list = &dep.post
		default:
			*list = append(*list, word)
		}
	}
	x.soft[name] = dep
	return nil
}

// Name is the canonical name of a module given by file or by either spelling.
func Name(file string) string {
	name := path.Base(file)
	if i := strings.Index(name, ".ko"); i >= 0 {
		name = name[:i]
	}
	return strings.ReplaceAll(name, "-", "_")
}

// Lookup finds a loadable module by name.
func (x *Index) Lookup(name string) (Module, bool) {
	m, ok := x.modules[Name(name)]
	return m, ok
}

// Builtin tells whether the module is part of the kernel itself.
func (x *Index) Builtin(name string) bool { return x.builtin[Name(name)] }

// Under lists the names of the modules whose file is below a directory such as
// "kernel/drivers/ata/".
func (x *Index) Under(dir string) []string {
	var names []string
	for name, m := range x.modules {
		if strings.HasPrefix(m.Path, dir) {
			names = append(names, name)
		}
	}
	return names
}

// Resolve finds the modules that answer to a module name or a device alias, as modprobe
// does: a module of that name, else all whose alias patterns match, in the file's order.
func (x *Index) Resolve(nameOrAlias string) []string {
	if m, ok := x.modules[Name(nameOrAlias)]; ok && !strings.Contains(nameOrAlias, ":") {
		return []string{m.Name}
	}
	want := normalise(nameOrAlias)
	var names []string
	seen := map[string]bool{}
	for _, a := range x.aliases {
		if strings.HasPrefix(want, a.literal) && !seen[a.module] && match(a.pattern, want) {
			seen[a.module] = true
			names = append(names, a.module)
		}
	}
	return names
}

// Plan is the order in which to load the named modules and all they need. A builtin
// module adds nothing; an unknown one is an error that wraps ErrUnknown.
func (x *Index) Plan(names ...string) ([]Step, error) {
	p := planner{index: x, seen: map[string]bool{}}
	for _, name := range names {
		if err := p.add(Name(name), false); err != nil {
			return nil, err
		}
	}
	return p.steps, nil
}

type planner struct {
	index *Index
	seen  map[string]bool
	steps []Step
}

func (p *planner) add(name string, optional bool) error {
	if p.seen[name] {
		return nil
	}
	p.seen[name] = true
	m, ok := p.index.modules[name]
	if !ok {
		if p.index.builtin[name] {
			return nil
		}
		return fmt.Errorf("%w: %s", ErrUnknown, name)
	}
	soft := p.index.soft[name]
	p.addSoft(soft.pre)
	for _, dep := range m.Deps {
		if err := p.add(dep, optional); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	p.steps = append(p.steps, Step{Module: m, Optional: optional})
	p.addSoft(soft.post)
	return nil
}

// addSoft adds soft dependencies; what does not resolve, or lacks a part, is left out.
func (p *planner) addSoft(aliases []string) {
	for _, a := range aliases {
		for _, name := range p.index.Resolve(a) {
			before := len(p.steps)
			if err := p.add(name, true); err != nil {
				p.steps = p.steps[:before]
			}
		}
	}
}
