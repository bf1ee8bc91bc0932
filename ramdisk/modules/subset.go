package modules

import (
	"fmt"
	"slices"
	"strings"
)

// Subset renders depmod's text files for a selection of modules: file name to content,
// sorted, so that the same selection always gives the same bytes. Modules are named
// by shipped paths (see Shipped). modules.softdep keeps a line whose module is shipped.
func (x *Index) Subset(steps []Step) map[string]string {
	keep := map[string]Module{}
	for _, s := range steps {
		keep[s.Module.Name] = s.Module
	}
	var dep, aliases, soft, builtin []string
	for name, m := range keep {
		line := Shipped(m.Path) + ":"
		for i := len(m.Deps) - 1; i >= 0; i-- {
			line += " " + Shipped(x.modules[m.Deps[i]].Path)
		}
		dep = append(dep, line)
		if s, ok := x.soft[name]; ok {
			soft = append(soft, softLine(name, s))
		}
	}
	for _, a := range x.aliases {
		if _, ok := keep[a.module]; ok {
			aliases = append(aliases, fmt.Sprintf("alias %s %s", a.pattern, a.module))
		}
	}
	for name := range x.builtin {
		builtin = append(builtin, "kernel/"+name+".ko")
	}
	files := map[string]string{}
	for name, lines := range map[string][]string{
		"modules.dep": dep, "modules.softdep": soft, "modules.builtin": builtin,
	} {
		slices.Sort(lines)
		files[name] = join(lines)
	}
	files["modules.alias"] = join(aliases) // the file's order decides who is asked first
	return files
}

func softLine(name string, s softdep) string {
	line := "softdep " + name
	if len(s.pre) > 0 {
		line += " pre: " + strings.Join(s.pre, " ")
	}
	if len(s.post) > 0 {
		line += " post: " + strings.Join(s.post, " ")
	}
	return line
}

func join(lines []string) string {
	if len(lines) == 0 {
		return ""
	}
	return strings.Join(lines, "\n") + "\n"
}

// Shipped is the path of a module in the ramdisk, where modules are not compressed:
// decompressing them in the booting machine takes longer than reading them.
func Shipped(path string) string {
	if i := strings.LastIndex(path, ".ko"); i >= 0 {
		return path[:i] + ".ko"
	}
	return path
}
