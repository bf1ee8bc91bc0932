package ramdisk

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"golang.org/x/mod/modfile"
)

// ErrNoGo is wrapped by errors about a missing or unsuitable Go.
var ErrNoGo = errors.New("building a ramdisk needs Go")

// ErrNoSource is wrapped where ferric's source, from which the programs of the ramdisk are
// built, is not found.
var ErrNoSource = errors.New("ferric's source is not found")

// SourceVariable is the environment variable that names the directory of ferric's source.
const SourceVariable = "FERRIC_SOURCE"

// ferricModule is the module of ferric's source.
const ferricModule = "ferric"

// toolchain runs the go command in the module that holds ferric's source.
type toolchain struct {
	dir     string // the module's root
	version string // as in "go1.26.0"
	root    string // GOROOT
}

// findToolchain checks that Go is there, and where ferric's source is.
func findToolchain(ctx context.Context, source string) (toolchain, error) {
	if _, err := exec.LookPath("go"); err != nil {
		return toolchain{}, fmt.Errorf("%w 1.26 or newer: install it from https://go.dev/dl/ and put it on the PATH", ErrNoGo)
	}
	t := toolchain{}
	var err error
	if t.dir, err = FindSource(source); err != nil {
		return t, err
	}
	if t.version, err = t.run(ctx, "env", "GOVERSION"); err != nil {
		return t, fmt.Errorf("%w: %w", ErrNoGo, err)
	}
	if t.root, err = t.run(ctx, "env", "GOROOT"); err != nil {
		return t, fmt.Errorf("%w: %w", ErrNoGo, err)
	}
	return t, nil
}

// FindSource is the root of ferric's source: the directory named, else that of
// FERRIC_SOURCE, else the one that the current directory is in, else the one that this
// program lies in, as bin/ferric does after "make build". The error wraps ErrNoSource.
func FindSource(named string) (string, error) {
	if named == "" {
		named = os.Getenv(SourceVariable)
	}
	if named != "" {
		dir, err := filepath.Abs(named)
		if err == nil && !isSource(dir) {
			err = fmt.Errorf("%w: %s has no go.mod of the module %s", ErrNoSource, named, ferricModule)
		}
		return dir, err
	}
	var starts []string
	if dir, err := os.Getwd(); err == nil {
		starts = append(starts, dir)
	}
	if program, err := os.Executable(); err == nil {
		starts = append(starts, filepath.Dir(program))
	}
	for _, dir := range starts {
		for parent := ""; dir != parent; dir, parent = filepath.Dir(dir), dir {
			if isSource(dir) {
				return dir, nil
			}
		}
	}
	return "", fmt.Errorf("%w in this directory or where this program lies: name it by --source or %s", ErrNoSource, SourceVariable)
}

func isSource(dir string) bool {
	text, err := os.ReadFile(filepath.Join(dir, "go.mod"))
	return err == nil && modfile.ModulePath(text) == ferricModule
}

// run runs the go command in ferric's source and returns what it printed.
func (t toolchain) run(ctx context.Context, args ...string) (string, error) {
	return runGo(ctx, t.dir, args...)
}

func runGo(ctx context.Context, dir string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir = dir
	// What the user set for builds of his own, such as -mod=vendor, is not meant for this.
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOWORK=off", "GOFLAGS=", "GOTOOLCHAIN=local")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return "", &goError{dir: dir, verb: args[0], err: err, text: stderr.String()}
	}
	return strings.TrimSpace(string(out)), nil
}

// goError is a failed go command with what it said.
type goError struct {
	dir, verb string
	err       error
	text      string
}

func (e *goError) Error() string {
	return fmt.Sprintf("go %s: %v: %s", e.verb, e.err, lastBytes(e.text, 2000))
}

func (e *goError) Unwrap() error { return e.err }

func lastBytes(s string, n int) string {
	s = strings.TrimSpace(s)
	return s[max(0, len(s)-n):]
}

// build makes a static program of a package of ferric and returns its bytes.
func (t toolchain) build(ctx context.Context, pkg, tempDir string) ([]byte, error) {
	out := filepath.Join(tempDir, "program")
	_, err := t.run(ctx, "build", "-trimpath", "-buildvcs=false", "-ldflags", linkFlags, "-o", out, pkg)
	if err != nil {
		return nil, fmt.Errorf("build %s: %w", pkg, err)
	}
	content, err := os.ReadFile(out)
	if err != nil {
		return nil, fmt.Errorf("build %s: %w", pkg, err)
	}
	return content, nil
}
