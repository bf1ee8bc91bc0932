package ramdisk

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"go/format"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"text/template"

	"github.com/u-root/gobusybox/src/pkg/golang"
	"github.com/u-root/mkuimage/uimage"
	"github.com/u-root/uio/llog"
	"golang.org/x/mod/module"
)

// ErrNoGo is wrapped by errors about a missing or unsuitable Go.
var ErrNoGo = errors.New("building a ramdisk needs Go")

const (
	uroot    = "github.com/u-root/u-root"
	mkuimage = "github.com/u-root/mkuimage"
	// Static and stripped. Without a build ID and with the paths trimmed, the same source
	// gives the same bytes in every directory.
	linkFlags = "-s -w -buildid="
	// plainShell is the build tag for a shell without an editor of its own: /sbin/shell is
	// for people. The usual editor asks the terminal for its colours, which takes what is
	// typed meanwhile on a serial line.
	plainShell = "goshsmall"
)

// applets are u-root's commands for the shell, in u-root's cmds.
var applets = [...]string{
	"core/gosh", "core/ls", "core/cat", "core/ip", "core/dmesg", "core/ps", "core/mount",
	"core/umount", "core/lsmod", "core/ping", "core/grep", "core/head", "core/tail",
	"core/df", "core/free", "core/kill", "core/uname", "core/hexdump", "core/pci",
	"core/blkid", "core/cp", "core/mkdir", "core/rm", "core/find", "core/sync", "core/echo",
	// What people need who rescue a machine.
	"core/chmod", "core/chroot", "core/date", "core/du", "core/ln", "core/more",
	"core/mv", "core/scp", "core/sleep", "core/stty", "core/tar", "core/touch", "core/wc",
}

// toolchain runs the go command in the module that holds ferric's source.
type toolchain struct {
	dir     string // the module's root
	version string // as in "go1.26.0"
	root    string // GOROOT
}

// findToolchain checks that Go is there and that the current directory is in ferric's
// source, from which the ramdisk's programs are built.
func findToolchain(ctx context.Context) (toolchain, error) {
	if _, err := exec.LookPath("go"); err != nil {
		return toolchain{}, fmt.Errorf("%w 1.26 or newer: install it from https://go.dev/dl/ and put it on the PATH", ErrNoGo)
	}
	t := toolchain{}
	version, err := t.run(ctx, "env", "GOVERSION")
	if err != nil {
		return t, fmt.Errorf("%w: %w", ErrNoGo, err)
	}
	t.version = version
	if t.root, err = t.run(ctx, "env", "GOROOT"); err != nil {
		return t, fmt.Errorf("%w: %w", ErrNoGo, err)
	}
	if t.dir, err = t.run(ctx, "list", "-m", "-f", "{{.Dir}}", "ferric"); err != nil {
		return t, fmt.Errorf("find ferric's source, from which the ramdisk is built (run in it): %w", err)
	}
	return t, nil
}

func (t toolchain) run(ctx context.Context, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir = t.dir
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOWORK=off")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("go %s: %w: %s", args[0], err, lastBytes(stderr.String(), 2000))
	}
	return strings.TrimSpace(string(out)), nil
}

func lastBytes(s string, n int) string {
	s = strings.TrimSpace(s)
	return s[max(0, len(s)-n):]
}

// build makes a static program of a package, or of a Go file, and returns its bytes.
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

// agentMain is the agent's program with a choice of hardware managers.
const agentMain = `package main

import (
	"os"

	"ferric/agent"
	"ferric/hwmanager"
{{range $i, $path := .}}	m{{$i}} "{{$path}}"
{{end}})

func main() {
	os.Exit(agent.Main([]hwmanager.Manager{ {{- range $i, $path := .}}{{if $i}}, {{end}}m{{$i}}.New(){{end -}} }))
}
`

// writeAgent writes the agent's program and returns its path, which build takes. Managers
// are import paths of packages that export "func New() hwmanager.Manager".
func writeAgent(dir string, managers []string) (string, error) {
	for _, m := range managers {
		if err := module.CheckImportPath(m); err != nil {
			return "", fmt.Errorf("hardware manager: %w", err)
		}
	}
	var text bytes.Buffer
	if err := template.Must(template.New("agent").Parse(agentMain)).Execute(&text, managers); err != nil {
		return "", fmt.Errorf("write the agent's program: %w", err)
	}
	source, err := format.Source(text.Bytes())
	if err != nil {
		return "", fmt.Errorf("write the agent's program: %w", err)
	}
	file := filepath.Join(dir, "main.go")
	if err := os.WriteFile(file, source, 0o644); err != nil {
		return "", fmt.Errorf("write the agent's program: %w", err)
	}
	return file, nil
}

// moduleVersion is the version of a module that ferric is built with.
func (t toolchain) moduleVersion(ctx context.Context, module string) (string, error) {
	v, err := t.run(ctx, "list", "-m", "-f", "{{.Version}}{{with .Replace}} => {{.Path}} {{.Version}}{{end}}", module)
	if err != nil {
		return "", fmt.Errorf("version of %s: %w", module, err)
	}
	return v, nil
}

// commands gives the archive with u-root's commands as one program. mkuimage takes most
// of a minute for it, so the result is kept in the cache under a name made of all that
// it depends on.
func (t toolchain) commands(ctx context.Context, versions map[string]string, cacheDir, tempDir string) ([]byte, error) {
	key := sha256.New()
	fmt.Fprintln(key, "commands 1", versions["go"], versions[uroot], versions[mkuimage], linkFlags, plainShell, applets)
	cached := filepath.Join(cacheDir, "commands-"+hex.EncodeToString(key.Sum(nil)[:16])+".cpio")
	data, err := os.ReadFile(cached)
	if err == nil {
		return data, nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("read cached commands: %w", err)
	}
	built := filepath.Join(tempDir, "commands.cpio")
	if err := t.buildCommands(built, tempDir); err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if data, err = os.ReadFile(built); err != nil {
		return nil, fmt.Errorf("read built commands: %w", err)
	}
	return data, writeFile(cached, data)
}

// buildCommands is told where Go is: this program, when it was built with
// -trimpath, does not know.
func (t toolchain) buildCommands(output, tempDir string) error {
	packages := make([]string, len(applets))
	for i, a := range applets {
		packages[i] = uroot + "/cmds/" + a
	}
	var log bytes.Buffer
	logger := &llog.Logger{Sink: llog.SinkFor(func(format string, v ...any) { fmt.Fprintf(&log, format+"\n", v...) })}
	err := uimage.Create(logger,
		uimage.WithEnv(golang.DisableCGO(), golang.WithGOOS("linux"), golang.WithGOROOT(t.root), golang.WithBuildTag(plainShell)),
		uimage.WithTempDir(tempDir),
		uimage.WithCPIOOutput(output),
		uimage.WithBusyboxCommands(packages...),
		uimage.WithBusyboxBuildOpts(&golang.BuildOpts{ExtraArgs: []string{"-ldflags", linkFlags}}),
		uimage.WithShell("gosh"),
	)
	if err != nil {
		return fmt.Errorf("build the debug shell's commands: %w: %s", err, lastBytes(log.String(), 2000))
	}
	return nil
}

// writeFile replaces a file at once, so that nobody reads half of it.
func writeFile(name string, data []byte) error {
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	f, err := os.CreateTemp(filepath.Dir(name), ".new-*")
	if err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	defer os.Remove(f.Name())
	_, err = f.Write(data)
	err = errors.Join(err, f.Chmod(0o644), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), name)
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	return nil
}
