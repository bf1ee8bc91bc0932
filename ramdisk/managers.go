package ramdisk

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"go/format"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"text/template"

	"golang.org/x/mod/modfile"
	"golang.org/x/mod/module"
)

// Manager is a hardware manager that the agent was built with.
type Manager struct {
	Name    string `json:"name"`    // keys its version on the wire
	Class   string `json:"class"`   // keys its steps on the wire
	Version string `json:"version"` // of the manager
	// Of those that were added: where they come from. The module's version is "local" for a
	// directory.
	Package       string `json:"package,omitempty"`
	Module        string `json:"module,omitempty"`
	ModuleVersion string `json:"module_version,omitempty"`
}

// plainAgent is the agent with the built-in managers alone.
const plainAgent = "ferric/cmd/ferric-agent"

// vendored is a package with a hardware manager, as it was asked for.
type vendored struct {
	asked   string
	path    string // import path
	module  string // of a directory, "" else
	dir     string // of the module, absolute
	version string // that was asked for, "" for the latest
}

// parseManager reads what --with takes: DIR, PATH or PATH@VERSION.
func parseManager(asked string) (vendored, error) {
	if asked == "." || asked == ".." || strings.HasPrefix(asked, "./") || strings.HasPrefix(asked, "../") || filepath.IsAbs(asked) {
		return localManager(asked)
	}
	v := vendored{asked: asked}
	v.path, v.version, _ = strings.Cut(asked, "@")
	if err := module.CheckImportPath(v.path); err != nil {
		return v, fmt.Errorf("hardware manager %q: %w", asked, err)
	}
	if info, err := os.Stat(asked); err == nil && info.IsDir() && !strings.Contains(asked, "@") && !strings.HasPrefix(asked, ferricModule+"/") {
		return v, fmt.Errorf("hardware manager %q: for the directory of that name write ./%s", asked, asked)
	}
	return v, nil
}

// localManager finds the module that a directory belongs to.
func localManager(asked string) (vendored, error) {
	v := vendored{asked: asked}
	dir, err := filepath.Abs(asked)
	if err != nil {
		return v, fmt.Errorf("hardware manager %s: %w", asked, err)
	}
	if info, err := os.Stat(dir); err != nil {
		return v, fmt.Errorf("hardware manager %s: %w", asked, err)
	} else if !info.IsDir() {
		return v, fmt.Errorf("hardware manager %s is not a directory: an executable is added by --plugin", asked)
	}
	inside := ""
	for root, parent := dir, ""; root != parent; root, parent = filepath.Dir(root), root {
		text, err := os.ReadFile(filepath.Join(root, "go.mod"))
		if errors.Is(err, fs.ErrNotExist) {
			inside = path.Join(filepath.Base(root), inside)
			continue
		}
		if err != nil {
			return v, fmt.Errorf("hardware manager %s: %w", asked, err)
		}
		file, err := modfile.ParseLax(filepath.Join(root, "go.mod"), text, nil)
		if err != nil || file.Module == nil {
			return v, fmt.Errorf("hardware manager %s: %s is no go.mod of a module: %v", asked, filepath.Join(root, "go.mod"), err)
		}
		v.module, v.dir = file.Module.Mod.Path, root
		v.path = path.Join(v.module, inside)
		if err := module.CheckImportPath(v.path); err != nil {
			return v, fmt.Errorf("hardware manager %s: %w", asked, err)
		}
		return v, nil
	}
	return v, fmt.Errorf("hardware manager %s: no go.mod there or above: make one with \"go mod init example.org/%s\"", asked, filepath.Base(dir))
}

// The module that a program with vendors' packages is built in. Its requirements are those
// of ferric, and so all but the vendors' own are in the caches already.
const (
	agentModule   = "ferric-agent"
	ferricVersion = "v0.0.0"
	programFile   = "main.go"
)

// writeModule writes a module in dir that has ferric and the vendors' modules, and in it
// the program that text, a template, is with the packages.
func (t toolchain) writeModule(ctx context.Context, dir string, vendors []vendored, text string) error {
	own, err := os.ReadFile(filepath.Join(t.dir, "go.mod"))
	if err != nil {
		return fmt.Errorf("read ferric's go.mod: %w", err)
	}
	file, err := modfile.Parse("go.mod", own, nil)
	if err != nil {
		return fmt.Errorf("read ferric's go.mod: %w", err)
	}
	sums, err := os.ReadFile(filepath.Join(t.dir, "go.sum"))
	if err != nil {
		return fmt.Errorf("read ferric's go.sum: %w", err)
	}
	problems := []error{
		file.AddModuleStmt(agentModule),
		file.AddRequire(ferricModule, ferricVersion),
		file.AddReplace(ferricModule, "", t.dir, ""),
	}
	for _, v := range vendors {
		if v.module == "" || v.module == ferricModule {
			continue
		}
		problems = append(problems, file.AddRequire(v.module, ferricVersion), file.AddReplace(v.module, "", v.dir, ""))
		theirs, err := os.ReadFile(filepath.Join(v.dir, "go.sum"))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			problems = append(problems, err)
		}
		sums = append(append(sums, '\n'), theirs...)
	}
	program, err := renderProgram(text, vendors)
	problems = append(problems, err)
	var mod []byte
	if err := errors.Join(problems...); err == nil {
		file.Cleanup()
		mod, err = file.Format()
		problems = append(problems, err)
	}
	if err := errors.Join(problems...); err != nil {
		return fmt.Errorf("write the module of the agent: %w", err)
	}
	for name, content := range map[string][]byte{"go.mod": mod, "go.sum": sums, programFile: program} {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o644); err != nil {
			return fmt.Errorf("write the module of the agent: %w", err)
		}
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
			return fmt.Errorf("hardware manager %s: %w", v.asked, err)
		}
	}
	return nil
}

// agentProgram is the agent with the built-in hardware managers and others.
const agentProgram = `package main

import (
	"os"

	"ferric/agent"
	"ferric/hwmanager/builtin"
{{range $i, $path := .}}	m{{$i}} "{{$path}}"
{{end}})

func main() {
	managers := builtin.Managers()
{{range $i, $path := .}}	managers = append(managers, m{{$i}}.New())
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
	if err := t.writeModule(ctx, dir, vendors, text); err != nil {
		return "", err
	}
	out := filepath.Join(dir, "program")
	_, err = runGo(ctx, dir, "build", "-mod=mod", "-trimpath", "-buildvcs=false", "-ldflags", linkFlags, "-o", out, ".")
	var failed *goError
	if errors.As(err, &failed) {
		return "", fmt.Errorf("build the agent with %s:\n%s", strings.Join(askedFor(vendors), ", "), explainBuild(failed, vendors))
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

// goLine is a message of the compiler about a line of a file.
var goLine = regexp.MustCompile(`^((?:\./|\.\./)?[^\s:]*\.go):(\d+):(.*)$`)

// importedAs is how the generated program names a vendor's package.
var importedAs = regexp.MustCompile(`\bm(\d+)\.New\b`)

// explainBuild says what is wrong in a vendor's file, or in what it exports: the program
// around it is nothing that he has seen.
func explainBuild(failed *goError, vendors []vendored) string {
	var lines []string
	for line := range strings.Lines(strings.TrimSpace(failed.text)) {
		line = strings.TrimRight(line, "\n")
		match := goLine.FindStringSubmatch(line)
		switch {
		case match == nil:
		case filepath.Clean(match[1]) == programFile:
			if number := importedAs.FindStringSubmatch(line); number != nil {
				i, _ := strconv.Atoi(number[1])
				line = fmt.Sprintf("%s: package %s has to export \"func New() hwmanager.Manager\":%s", vendors[i].asked, vendors[i].path, match[3])
			}
		default:
			file := match[1]
			if !filepath.IsAbs(file) {
				file = filepath.Join(failed.dir, file)
			}
			line = fmt.Sprintf("%s:%s:%s", fromHere(file), match[2], match[3])
		}
		lines = append(lines, line)
	}
	return lastBytes(strings.Join(lines, "\n"), 4000)
}

// fromHere is a path as seen from the current directory, if it lies below it.
func fromHere(path string) string {
	here, err := os.Getwd()
	if err != nil {
		return path
	}
	if rel, err := filepath.Rel(here, path); err == nil && filepath.IsLocal(rel) {
		return rel
	}
	return path
}

// listManagers asks the agent that was built what managers it has.
func listManagers(ctx context.Context, program string) ([]Manager, error) {
	out, err := exec.CommandContext(ctx, program, "managers").Output()
	if err != nil {
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			err = fmt.Errorf("%w: %s", err, lastBytes(string(exit.Stderr), 2000))
		}
		return nil, fmt.Errorf("list the hardware managers of the agent: %w", err)
	}
	var managers []Manager
	if err := json.Unmarshal(out, &managers); err != nil {
		return nil, fmt.Errorf("list the hardware managers of the agent: %w", err)
	}
	return managers, nil
}

// addOrigins says of the last managers, which are the vendors', where they come from.
func addOrigins(ctx context.Context, moduleDir string, managers []Manager, vendors []vendored) error {
	if len(managers) < len(vendors) {
		return fmt.Errorf("the agent has %d hardware managers, fewer than the %d that were added", len(managers), len(vendors))
	}
	added := managers[len(managers)-len(vendors):]
	for i, v := range vendors {
		added[i].Package = v.path
		if v.module != "" || strings.HasPrefix(v.path, ferricModule+"/") {
			added[i].Module, added[i].ModuleVersion = v.module, "local"
			continue
		}
		found, err := runGo(ctx, moduleDir, "list", "-mod=mod", "-f", "{{.Module.Path}} {{.Module.Version}}", v.path)
		if err != nil {
			return fmt.Errorf("hardware manager %s: %w", v.asked, err)
		}
		added[i].Module, added[i].ModuleVersion, _ = strings.Cut(found, " ")
	}
	return nil
}
