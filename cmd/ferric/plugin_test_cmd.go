package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/sirupsen/logrus"
	"github.com/spf13/cobra"

	"ferric/api/plugin"
	"ferric/hwmanager"
	"ferric/hwmanager/execplugin"
	"ferric/hwmanager/hwmtest"
	"ferric/ramdisk"
)

// pluginTest is `ferric plugin test`.
type pluginTest struct {
	hwmtest.Command
	source, key, nodeFile, args string
	stepArgs                    []string
	writeHost                   string
}

func newPluginTestCommand() *cobra.Command {
	var p pluginTest
	cmd := &cobra.Command{
		Use:   "test TARGET",
		Short: "Check a hardware manager on this computer, without hardware",
		Long: `Check a hardware manager on a fake host, without hardware and without a conductor.

TARGET is an executable, the directory of a plugin, a bundle that was signed, or the
directory of a Go package that exports New. A line is written for each check, with what
to do about those that fail; the exit status is 1 if one does. With --step one step is run
instead, to its end, with its progress, the programs that it runs, and its result.

The fake host is a server that is built in, or a directory: files as in sys, proc, dev and
etc, programs in bin, and what programs answer in commands.txt. --write-host writes the
one that is built in, to be edited.`,
		Example: `  ferric plugin test ./acme-raid
  ferric plugin test --write-host host
  ferric plugin test ./acme-raid --host host
  ferric plugin test ./acme --host host --step update_firmware --args '{"version": "2.1"}' -v`,
		Args: func(cmd *cobra.Command, args []string) error {
			if p.writeHost != "" {
				return cobra.NoArgs(cmd, args)
			}
			return cobra.ExactArgs(1)(cmd, args)
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if p.writeHost != "" {
				if err := hwmtest.WriteHost(p.writeHost); err != nil {
					return err
				}
				fmt.Fprintf(cmd.OutOrStdout(), "%s: edit host.machine and commands.txt, put programs into bin, and test with --host %s\n", p.writeHost, p.writeHost)
				return nil
			}
			return p.run(cmd.Context(), args[0], cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
	f := cmd.Flags()
	f.StringVar(&p.Host, "host", "", "fake host: a `directory` with sys, proc, dev, etc, bin, commands.txt, host.machine (default: one that is built in)")
	f.StringVar(&p.writeHost, "write-host", "", "write the fake host that is built in to a new `directory`, to be edited")
	f.BoolVar(&p.AnyMachine, "any-machine", false, "the manager is for every machine, whatever its hardware")
	f.StringArrayVar(&p.stepArgs, "step-args", nil, "good arguments for a step that the checks cannot run without, as `STEP=JSON`; may be repeated")
	f.StringVar(&p.nodeFile, "node", "", "JSON `file` with members of the node that steps are told of, such as target_raid_config")
	f.StringVar(&p.Step, "step", "", "run this `step` alone, and show what it does")
	f.StringVar(&p.Phase, "phase", "", "phase of --step: clean, deploy or service (default: the first that has it)")
	f.StringVar(&p.args, "args", "", "arguments of --step, as a `JSON` object")
	f.DurationVar(&p.Timeout, "timeout", time.Hour, "how long --step may take")
	f.BoolVarP(&p.Verbose, "verbose", "v", false, "show what the manager logs, and standard error of executables")
	f.StringVar(&p.source, "source", "", "`directory` of ferric's source, which Go packages are built with (default: found by "+ramdisk.SourceVariable+", the current directory, or where this program lies)")
	f.StringVar(&p.key, "plugin-key", "", "`file` with the public key that a bundle is signed with")
	return cmd
}

// run finds out what the target is, and tests that.
func (p *pluginTest) run(ctx context.Context, target string, stdout, stderr io.Writer) error {
	if err := p.read(); err != nil {
		return err
	}
	p.Target = target
	info, err := os.Stat(target)
	if err != nil {
		return fmt.Errorf("test %s: %w", target, err)
	}
	temp, err := os.MkdirTemp("", "ferric-test-")
	if err != nil {
		return fmt.Errorf("test %s: %w", target, err)
	}
	defer os.RemoveAll(temp)
	switch {
	case info.IsDir() && !hasManifest(target) && hasGo(target):
		err = p.testPackage(ctx, target, temp, stdout, stderr)
	case info.IsDir():
		err = p.testExecutable(ctx, target, temp, true, stdout, stderr)
	case isBundle(target):
		var dir string
		if dir, err = p.unpack(target, temp); err == nil {
			err = p.testExecutable(ctx, dir, temp, true, stdout, stderr)
		}
	default:
		err = p.testExecutable(ctx, target, temp, false, stdout, stderr)
	}
	if err != nil && !errors.Is(err, hwmtest.ErrFailed) {
		return fmt.Errorf("test %s: %w", target, err)
	}
	return err
}

// read takes in what flags have as JSON.
func (p *pluginTest) read() error {
	if p.Phase != "" && p.Phase != "clean" && p.Phase != "deploy" && p.Phase != "service" {
		return usage{fmt.Errorf("--phase %q is none of clean, deploy, service", p.Phase)}
	}
	if p.Step == "" && (p.args != "" || p.Phase != "") {
		return usage{errors.New("--args and --phase are for --step; for the checks there is --step-args STEP=JSON")}
	}
	if p.args != "" {
		if err := json.Unmarshal([]byte(p.args), &p.Args); err != nil {
			return usage{fmt.Errorf("--args is not a JSON object: %w", err)}
		}
	}
	p.StepArgs = map[string]map[string]any{}
	for _, given := range p.stepArgs {
		step, text, ok := strings.Cut(given, "=")
		var args map[string]any
		if err := json.Unmarshal([]byte(text), &args); !ok || err != nil {
			return usage{fmt.Errorf("--step-args %q is not of the form STEP=JSON, with a JSON object: %v", given, err)}
		}
		p.StepArgs[step] = args
	}
	if p.nodeFile != "" {
		text, err := os.ReadFile(p.nodeFile)
		if err != nil {
			return err
		}
		if err := json.Unmarshal(text, &p.Node); err != nil {
			return fmt.Errorf("%s is not a JSON object: %w", p.nodeFile, err)
		}
	}
	return nil
}

func hasManifest(dir string) bool {
	_, err := os.Stat(filepath.Join(dir, plugin.ManifestFile))
	return err == nil
}

// hasGo tells whether a directory holds a Go package.
func hasGo(dir string) bool {
	files, err := filepath.Glob(filepath.Join(dir, "*.go"))
	return err == nil && len(files) > 0
}

// isBundle tells whether the file at path is an archive that begins with a manifest.
func isBundle(path string) bool {
	file, err := os.Open(path)
	if err != nil {
		return false
	}
	defer file.Close()
	head := make([]byte, 512)
	n, err := io.ReadFull(file, head)
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
		return false
	}
	return bytes.HasPrefix(head[:n], []byte(plugin.ManifestFile+"\x00")) && bytes.Contains(head[:n], []byte("ustar"))
}

// unpack verifies a bundle and unpacks it.
func (p *pluginTest) unpack(path, temp string) (string, error) {
	if p.key == "" {
		return "", usage{errors.New("it is a bundle: name the key that it is signed with by --plugin-key")}
	}
	keys, err := plugin.LoadPublicKeys(p.key)
	if err != nil {
		return "", err
	}
	file, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer file.Close()
	dir := filepath.Join(temp, "bundle")
	_, err = plugin.Unpack(file, dir, keys, plugin.Options{})
	return dir, err
}

// testExecutable tests a plugin's directory, or an executable alone.
func (p *pluginTest) testExecutable(ctx context.Context, path, temp string, own bool, stdout, stderr io.Writer) error {
	scratch := filepath.Join(temp, "scratch")
	if err := os.Mkdir(scratch, 0o700); err != nil {
		return err
	}
	log := logrus.New()
	log.SetOutput(io.Discard)
	if p.Verbose {
		log.SetOutput(stderr)
		log.SetLevel(logrus.DebugLevel)
	}
	opts := execplugin.Options{Scratch: scratch, Log: logrus.NewEntry(log), Grace: time.Second, Limits: plugin.Limits{Query: 10}}
	if _, err := execplugin.Open(ctx, path, opts); err != nil {
		return err
	}
	absolute, err := filepath.Abs(path)
	if err != nil {
		return err
	}
	executable := hwmtest.Executable{Path: absolute, Dir: filepath.Dir(absolute), Own: own}
	if own {
		executable.Dir = absolute
		switch manifest, err := plugin.ReadManifest(path); {
		case err == nil:
			executable.Path = filepath.Join(absolute, filepath.FromSlash(manifest.Executable))
		case errors.Is(err, fs.ErrNotExist):
			executable.Path = filepath.Join(absolute, filepath.Base(absolute))
		default:
			return err
		}
	}
	p.Executable = &executable
	factory := func() hwmanager.Manager {
		opened, err := execplugin.Open(ctx, path, opts)
		if err != nil {
			return broken{err}
		}
		return opened
	}
	return p.Command.Run(ctx, factory, stdout, stderr)
}

// broken is a plugin that could be opened once, but not again.
type broken struct{ err error }

func (b broken) Name() string    { return b.err.Error() }
func (broken) ClassName() string { return "" }
func (broken) Version() string   { return "" }
func (b broken) Evaluate(context.Context, *hwmanager.Host) (hwmanager.Support, error) {
	return hwmanager.None, b.err
}

// testProgram is the program that tests a Go package.
const testProgram = `package main

import (
	"os"

	"ferric/hwmanager"
	"ferric/hwmanager/hwmtest"
{{range $i, $path := .}}	m{{$i}} "{{$path}}"
{{end}})

func main() {
	os.Exit(hwmtest.Main(func() hwmanager.Manager { return m0.New() }))
}
`

// testPackage builds a program with the package and has it test itself.
func (p *pluginTest) testPackage(ctx context.Context, dir, temp string, stdout, stderr io.Writer) error {
	program, err := ramdisk.BuildProgram(ctx, p.source, dir, temp, testProgram)
	if err != nil {
		return err
	}
	if p.Host != "" {
		if p.Host, err = filepath.Abs(p.Host); err != nil {
			return err
		}
	}
	command, err := json.Marshal(p.Command)
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, program)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(command), stdout, stderr
	cmd.Env = append(os.Environ(), "TMPDIR="+temp) // whatever becomes of it, nothing is left
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 10 * time.Second
	err = cmd.Run()
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if cmd.ProcessState == nil {
		return err
	}
	switch code := cmd.ProcessState.ExitCode(); code {
	case hwmtest.Passed:
		return nil
	case hwmtest.Failure:
		return hwmtest.ErrFailed
	case hwmtest.Untested:
		return errors.New("it could not be tested")
	default:
		return fmt.Errorf("the package ended the program, as it would end the agent (%s): it must neither exit nor panic, in whichever goroutine", cmd.ProcessState)
	}
}
