package ramdisk

import (
	"fmt"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/u-root/mkuimage/ldd"
)

// Tool is a program to be added with its shared libraries.
type Tool struct {
	Source string // on this machine
	Target string // in the ramdisk
}

// searchPath is the PATH in the ramdisk (see uinit).
var searchPath = [...]string{"usr/sbin", "usr/bin", "sbin", "bin", "bbin"}

// toolDir is where tools go that lie somewhere in this machine.
const toolDir = "/usr/sbin"

// ParseTool reads a tool as "SOURCE:TARGET" or "SOURCE", which is a name on the PATH or a
// file. Programs of the system, and those below /opt, where vendors install theirs, keep
// their paths; others go to /usr/sbin.
func ParseTool(text string) (Tool, error) {
	source, target, given := strings.Cut(text, ":")
	if source == "" || given && !path.IsAbs(target) {
		return Tool{}, fmt.Errorf("tool %q is not of the form SOURCE or SOURCE:/TARGET", text)
	}
	var err error
	if !strings.Contains(source, "/") {
		name := source
		if source = findProgram(name); source == "" {
			if source, err = exec.LookPath(name); err != nil {
				return Tool{}, fmt.Errorf("tool %s: %w", name, err)
			}
		}
	}
	if source, err = filepath.Abs(source); err != nil {
		return Tool{}, fmt.Errorf("tool %s: %w", text, err)
	}
	if err := executable(source); err != nil {
		return Tool{}, fmt.Errorf("tool %s: %w", text, err)
	}
	if given {
		return Tool{Source: source, Target: target}, nil
	}
	for _, dir := range []string{"/usr/sbin/", "/usr/bin/", "/sbin/", "/bin/", "/opt/"} {
		if strings.HasPrefix(source, dir) {
			return Tool{Source: source, Target: source}, nil
		}
	}
	return Tool{Source: source, Target: path.Join(toolDir, filepath.Base(source))}, nil
}

// programsOfHost adds the profile's programs, as far as they are installed, and the tools
// that were asked for.
func (b *builder) programsOfHost() error {
	tools := b.options.Tools
	for _, name := range b.options.Profile.programs() {
		if path := findProgram(name); path != "" {
			tools = append(tools, Tool{Source: path, Target: path})
		} else {
			b.manifest.AbsentPrograms = append(b.manifest.AbsentPrograms, name)
		}
	}
	for _, tool := range tools {
		if err := b.tool(tool); err != nil {
			return err
		}
	}
	return nil
}

// tool adds a program with what it needs to run.
func (b *builder) tool(t Tool) error {
	if t.Source == t.Target {
		if link := linkTarget(t.Source); link != "" && !b.archive.has(t.Source) {
			// What it is called may decide on what it does.
			b.archive.symlink(strings.TrimPrefix(t.Source, "/"), link)
			return b.tool(Tool{Source: link, Target: link})
		}
	}
	if err := b.archive.hostFile(t.Source, t.Target); err != nil {
		return err
	}
	return b.interpreter(t.Source, "")
}

// libraries adds the shared libraries of a program, under the paths they have here, but not
// those below the directory own, if any.
func (b *builder) libraries(program, own string) error {
	needs, err := ldd.FList(program)
	if err != nil {
		return fmt.Errorf("libraries of %s: %w", program, err)
	}
	for _, file := range needs {
		if file == program || own != "" && strings.HasPrefix(filepath.Clean(file), own+"/") {
			continue
		}
		if target := linkTarget(file); slices.Contains(needs, target) {
			b.archive.symlink(strings.TrimPrefix(file, "/"), target)
			continue
		}
		if err := b.archive.hostFile(file, file); err != nil {
			return err
		}
	}
	return nil
}

// linkTarget is where a symbolic link leads, "" if the file is none.
func linkTarget(file string) string {
	target, err := os.Readlink(file)
	if err != nil {
		return ""
	}
	if !filepath.IsAbs(target) {
		target = filepath.Join(filepath.Dir(file), target)
	}
	return target
}

// findProgram is the path of a program of this machine, "" without it. Ordinary users
// often lack the directories of these on their PATH.
func findProgram(name string) string {
	for _, dir := range []string{"/usr/sbin", "/sbin", "/usr/bin", "/bin"} {
		path := filepath.Join(dir, name)
		if info, err := os.Stat(path); err == nil && info.Mode().IsRegular() {
			return path
		}
	}
	return ""
}
