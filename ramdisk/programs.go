package ramdisk

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/u-root/gobusybox/src/pkg/golang"
	"github.com/u-root/mkuimage/uimage"
	"github.com/u-root/uio/llog"
)

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

// commandsEnv is where the packages of the commands are looked up: in ferric's module,
// whatever the current directory.
func (t toolchain) commandsEnv() []golang.Opt {
	return []golang.Opt{
		golang.DisableCGO(), golang.WithGOOS("linux"), golang.WithGOROOT(t.root), golang.WithBuildTag(plainShell), golang.WithWorkingDir(t.dir),
	}
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
		uimage.WithEnv(t.commandsEnv()...),
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
