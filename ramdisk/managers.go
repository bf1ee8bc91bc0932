package ramdisk

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/mod/modfile"
	"golang.org/x/mod/module"
	"golang.org/x/mod/semver"
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
	if v.version == "none" {
		return v, fmt.Errorf("hardware manager %q: %q is not a version", asked, v.version)
	}
	if info, err := os.Stat(asked); err == nil && info.IsDir() && !strings.Contains(asked, "@") && !strings.HasPrefix(asked, ferricModule+"/") {
		return v, fmt.Errorf("hardware manager %q: for the directory of that name write ./%s", asked, asked)
	}
	return v, nil
}

// globQuoted has a path mean itself in filepath.Glob.
var globQuoted = strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`)

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
	if files, err := filepath.Glob(filepath.Join(globQuoted.Replace(dir), "*.go")); err == nil && len(files) == 0 {
		return v, fmt.Errorf("hardware manager %s: it has no Go files; an executable is added by --plugin", asked)
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

// listTime is what New of all managers may take.
const listTime = 30 * time.Second

// listManagers asks the agent that was built what managers it has. That runs what vendors'
// packages do when they are made.
func listManagers(ctx context.Context, program string, vendors []vendored) ([]Manager, error) {
	what := "the agent"
	if len(vendors) > 0 {
		what += " with " + strings.Join(askedFor(vendors), ", ")
	}
	ctx, cancel := context.WithTimeout(ctx, listTime)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, "managers")
	cmd.WaitDelay = time.Second
	out, err := cmd.Output()
	if ctx.Err() != nil {
		return nil, fmt.Errorf("%s does not tell its hardware managers within %s: New, and what the package does before, must not wait", what, listTime)
	}
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		said := lastBytes(string(exit.Stderr), 2000)
		if said == "" {
			said = "New, and what the package does before, must not end the program"
		}
		return nil, fmt.Errorf("%s does not start: %w: %s", what, err, atSource(said, vendors))
	}
	if err != nil {
		return nil, fmt.Errorf("list the hardware managers of %s: %w", what, err)
	}
	// The last line: a package may print what it wants.
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	var managers []Manager
	if err := json.Unmarshal([]byte(lines[len(lines)-1]), &managers); err != nil {
		return nil, fmt.Errorf("%s ends before it tells its hardware managers: New, and what the package does before, must not end the program", what)
	}
	return managers, checkNames(managers, vendors)
}

// checkNames refuses what the agent would set aside. The last managers are the vendors'.
func checkNames(managers []Manager, vendors []vendored) error {
	if len(managers) < len(vendors) {
		return fmt.Errorf("the agent has %d hardware managers, fewer than the %d that were added", len(managers), len(vendors))
	}
	taken := map[string]string{}
	for i, m := range managers {
		origin := "a built-in hardware manager"
		if added := i - (len(managers) - len(vendors)); added >= 0 {
			origin = vendors[added].asked
		}
		switch other, isTaken := taken[m.Name]; {
		case m.Name == "" || m.Class == "" || m.Version == "":
			return fmt.Errorf("hardware manager %s: Name %q, ClassName %q, Version %q: none of them may be empty", origin, m.Name, m.Class, m.Version)
		case isTaken:
			return fmt.Errorf("two hardware managers have the name %q: %s and %s", m.Name, other, origin)
		}
		taken[m.Name] = origin
	}
	return nil
}

// addOrigins says of the last managers, which are the vendors', where they come from.
func addOrigins(ctx context.Context, moduleDir string, managers []Manager, vendors []vendored) error {
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
		if v.version != "" && semver.Canonical(v.version) == v.version && v.version != added[i].ModuleVersion {
			return fmt.Errorf("hardware manager %s: something else that was added needs %s of it", v.asked, added[i].ModuleVersion)
		}
	}
	return nil
}
