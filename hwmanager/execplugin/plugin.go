// Package execplugin makes a hardware manager of an executable in any language.
//
// One process answers one question: its first argument is the method, the
// question comes as JSON on standard input, the answer goes as lines of JSON to
// standard output. docs/plugin-protocol.md is the reference, Schema the same
// for programs. Whatever the process does wrong fails its own question with its
// own words, and nothing of it is left when the question is over.
//
// Reading order: Open, methods.go (what can be asked), abilities.go, call.go,
// run.go (one process), box.go (what holds it together).
package execplugin

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/sirupsen/logrus"

	"ferric/api/plugin"
	"ferric/hwmanager"
)

// Options are what whoever opens a plugin may choose. The zero value is good
// for the ramdisk.
type Options struct {
	// Scratch is where calls get their scratch directories; os.TempDir if empty.
	Scratch string
	// Limits bound a call of a plugin whose manifest does not.
	Limits plugin.Limits
	// Grace is the time between SIGTERM and SIGKILL for a plugin whose time is
	// up; 0 is five seconds.
	Grace time.Duration
	// NoCgroup keeps plugins out of cgroups even where the agent may make some.
	NoCgroup bool
	// Log takes what the plugin says while it is opened; nil for nobody.
	Log *logrus.Entry
}

// Limits of a call, unless options or manifest have others.
const (
	defaultMemory = 512 // MiB, or half of the machine's if that is less
	defaultStep   = time.Hour
	defaultQuery  = 40 * time.Second // a conductor waits a minute for the list of steps
	defaultGrace  = 5 * time.Second
)

// Plugin is an executable as a hardware manager. It has all abilities of
// package hwmanager and passes on those that the executable does not have.
type Plugin struct {
	dir        string // of the plugin's files
	executable string
	manifest   plugin.Manifest
	about      description
	limits     limits
	opts       Options
	boxes      boxes
}

// description is the result of describe.
type description struct {
	Name    string   `json:"name"`
	Version string   `json:"version"`
	SDK     string   `json:"sdk"`
	Methods []string `json:"methods"`
}

// Open takes in the plugin at path, a directory with a manifest or with an
// executable of its own name, or an executable, and asks it to describe
// itself. The files must stay where they are.
func Open(ctx context.Context, path string, opts Options) (*Plugin, error) {
	p, err := open(ctx, path, opts)
	if err != nil {
		return nil, fmt.Errorf("open plugin %s: %w", filepath.Base(path), err)
	}
	return p, nil
}

func open(ctx context.Context, path string, opts Options) (*Plugin, error) {
	// Calls run in directories of their own.
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	p := &Plugin{opts: opts}
	if p.manifest, p.executable, err = locate(path); err != nil {
		return nil, err
	}
	p.dir = filepath.Dir(p.executable)
	if p.manifest.Executable != "" {
		p.dir = path
	}
	if err := runnable(p.executable); err != nil {
		return nil, err
	}
	if p.limits, err = limitsOf(p.manifest.Limits, opts); err != nil {
		return nil, err
	}
	p.about.Name = cmp.Or(p.manifest.Name, filepath.Base(p.executable)) // for errors, until it is known
	p.boxes = findBoxes(opts.NoCgroup)

	var about description
	err = p.ask(ctx, &hwmanager.Host{Log: opts.Log}, "describe", nil, &about)
	if errors.Is(err, hwmanager.ErrNotHandled) {
		err = errors.New("describe: it was not handled (exit status 3)")
	}
	if err != nil {
		return nil, err
	}
	if err := p.agrees(about); err != nil {
		return nil, fmt.Errorf("describe: %w", err)
	}
	p.about = about
	return p, nil
}

// locate finds the executable at path, and the manifest if there is one.
func locate(path string) (plugin.Manifest, string, error) {
	info, err := os.Stat(path)
	if err != nil {
		return plugin.Manifest{}, "", err
	}
	if !info.IsDir() {
		return plugin.Manifest{}, path, nil
	}
	m, err := plugin.ReadManifest(path)
	if errors.Is(err, fs.ErrNotExist) {
		executable := filepath.Join(path, filepath.Base(path))
		if _, err := os.Stat(executable); err != nil {
			return plugin.Manifest{}, "", fmt.Errorf("the directory has neither %s nor an executable %s", plugin.ManifestFile, filepath.Base(path))
		}
		return plugin.Manifest{}, executable, nil
	}
	if err != nil {
		return plugin.Manifest{}, "", err
	}
	if err := checkSDK(m.SDK); err != nil {
		return *m, "", fmt.Errorf("%s: %w", plugin.ManifestFile, err)
	}
	return *m, filepath.Join(path, filepath.FromSlash(m.Executable)), nil
}

// maxVersion bounds a version, in bytes.
const maxVersion = 64

func checkName(name string) error {
	if !plugin.ValidName(name) {
		return fmt.Errorf("name %.80q: want 1 to 64 letters, digits, \"_\" and \"-\", which is not the first", name)
	}
	return nil
}

// checkSDK refuses a plugin that was written for another major version of the
// protocol, or for no version at all. Minor versions only add.
func checkSDK(version string) error {
	if err := plugin.CheckSDK(version, hwmanager.SDKVersion); err != nil {
		return fmt.Errorf("sdk: %w", err)
	}
	return nil
}

// agrees checks what a plugin says of itself, by itself and against its
// manifest.
func (p *Plugin) agrees(d description) error {
	if err := checkName(d.Name); err != nil {
		return err
	}
	if d.Version == "" || len(d.Version) > maxVersion {
		return fmt.Errorf("version %.80q: want 1 to %d characters", d.Version, maxVersion)
	}
	if err := checkSDK(d.SDK); err != nil {
		return err
	}
	if m := p.manifest; m.Name != "" && (m.Name != d.Name || m.Version != d.Version) {
		return fmt.Errorf("it says that it is %s %s, its manifest %s %s", d.Name, d.Version, m.Name, m.Version)
	}
	offers := func(method string) bool { return slices.Contains(d.Methods, method) }
	if !offers("evaluate_hardware_support") {
		return errors.New("methods lack evaluate_hardware_support, which every manager needs")
	}
	for _, list := range stepLists {
		if offers(list) && !offers("execute_step") {
			return fmt.Errorf("methods have %s, but not execute_step", list)
		}
	}
	return nil
}

// runnable says in words why the file at path cannot be run, where the
// kernel's error would leave one guessing.
func runnable(path string) error {
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	name := filepath.Base(path)
	if !info.Mode().IsRegular() {
		return fmt.Errorf("%s is not a file", name)
	}
	if info.Mode()&0o111 == 0 {
		return fmt.Errorf("%s is not executable (mode %s)", name, info.Mode())
	}
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	head := make([]byte, 256)
	n, _ := f.Read(head)
	line, _, _ := bytes.Cut(head[:n], []byte("\n"))
	rest, script := bytes.CutPrefix(line, []byte("#!"))
	if !script {
		return nil // the kernel tells of the others
	}
	// A carriage return is part of the name: that is what is wrong then.
	interpreter, _, _ := strings.Cut(strings.Trim(string(rest), " \t"), " ")
	if _, err := os.Stat(interpreter); err != nil {
		return fmt.Errorf("%s wants the interpreter %q, which is not on this machine", name, interpreter)
	}
	return nil
}

// Name implements hwmanager.Manager.
func (p *Plugin) Name() string { return p.about.Name }

// ClassName implements hwmanager.Manager: it is the name.
func (p *Plugin) ClassName() string { return p.about.Name }

// Version implements hwmanager.Manager. It stays what the plugin said when it
// was opened.
func (p *Plugin) Version() string { return p.about.Version }

// Required reports whether the machine must not go on without the plugin.
func (p *Plugin) Required() bool { return p.manifest.Required }

// Methods are what the plugin can be asked.
func (p *Plugin) Methods() []string { return slices.Clone(p.about.Methods) }

// offers reports whether the plugin said that it answers method.
func (p *Plugin) offers(method string) bool { return slices.Contains(p.about.Methods, method) }
