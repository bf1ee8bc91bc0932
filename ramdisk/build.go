// Package ramdisk builds what a machine boots to be deployed: a kernel, and an initramfs
// with the agent, the kernel modules of a profile and a few commands for a debug shell.
package ramdisk

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Options say what to build. Only Output is required.
type Options struct {
	Output        string      // directory for kernel, initramfs and manifest; made if needed
	Profile       Profile     // "" is Virtual
	KernelRelease string      // as in /lib/modules; "" is the newest that is not a cloud kernel
	Compression   Compression // "" is Zstd
	// Managers are further hardware managers for the agent, in order after the built-in
	// ones: packages that export "func New() hwmanager.Manager", as a directory ("./acme"),
	// or an import path with or without a version ("example.org/acme@v1.2.0").
	Managers []string
	// Source is the directory of ferric's source; see FindSource.
	Source string
	// Plugins are executable hardware managers: files, or directories with a plugin.json.
	Plugins []string
	// PluginKeys are files with the public keys (Ed25519, PEM) of those whose plugins the
	// agent may fetch at run time; without one it fetches none.
	PluginKeys []string
	// PluginMinimums are the oldest versions of plugins that are taken at run time, by name.
	PluginMinimums map[string]string
	// Agent is the package of another program to run as the agent.
	Agent string
	// Files are added as they are.
	Files []File
	// Tools are programs of this machine that are added, with the shared libraries that
	// they need.
	Tools []Tool
	// CACertificates are files of certificates (PEM) to trust besides the distribution's.
	CACertificates []string
	// Modules are further kernel modules, besides the profile's; they have to be there.
	Modules []string
	// CacheDir keeps u-root's commands from build to build; "" is the user's cache directory.
	CacheDir string
	// Progress, if set, is told what is being done.
	Progress func(what string)
}

// File is a file, or a directory with all in it, to be added to the ramdisk.
type File struct {
	Source string // on this machine
	Target string // in the ramdisk
}

const (
	initPackage    = "ferric/ramdisk/uinit"
	caCertificates = "/etc/ssl/certs/ca-certificates.crt"
)

// Build makes a ramdisk. Errors about a missing kernel or Go wrap ErrNoKernel or ErrNoGo
// and name what to install.
func Build(ctx context.Context, o Options) (*Manifest, error) {
	o, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	k, err := findKernel("/", o.KernelRelease)
	if err != nil {
		return nil, err
	}
	tools, err := findToolchain(ctx, o.Source)
	if err != nil {
		return nil, err
	}
	tempDir, err := os.MkdirTemp("", "ferric-ramdisk-")
	if err != nil {
		return nil, fmt.Errorf("build ramdisk: %w", err)
	}
	defer os.RemoveAll(tempDir)

	b := &builder{options: o, kernel: k, tools: tools, tempDir: tempDir, archive: newArchive(), manifest: newManifest(o.Profile)}
	for _, step := range []struct {
		what string
		do   func(context.Context) error
	}{
		{"versions", b.versions},
		{"commands of the debug shell (about a minute when not cached)", b.commands},
		{"agent and init", b.programs},
		{"modules of kernel " + k.release, b.modules},
		{"files", b.files},
		{"archive", b.write},
	} {
		if err := ctx.Err(); err != nil {
			return nil, fmt.Errorf("build ramdisk: %w", err)
		}
		o.Progress(step.what)
		if err := step.do(ctx); err != nil {
			return nil, fmt.Errorf("build ramdisk: %w", err)
		}
	}
	return b.manifest, nil
}

func (o Options) withDefaults() (Options, error) {
	if o.Output == "" {
		return o, errors.New("build ramdisk: no output directory given")
	}
	if o.Profile == "" {
		o.Profile = Virtual
	}
	if _, err := ParseProfile(string(o.Profile)); err != nil {
		return o, err
	}
	if o.Compression == "" {
		o.Compression = Zstd
	}
	if o.Progress == nil {
		o.Progress = func(string) {}
	}
	if o.CacheDir == "" {
		dir, err := os.UserCacheDir()
		if err != nil {
			return o, fmt.Errorf("build ramdisk: no cache directory: %w", err)
		}
		o.CacheDir = filepath.Join(dir, "ferric", "ramdisk")
	}
	return o, nil
}

// builder is one build under way.
type builder struct {
	options  Options
	kernel   kernel
	tools    toolchain
	tempDir  string
	archive  *archive
	manifest *Manifest
}

func (b *builder) versions(ctx context.Context) error {
	b.manifest.Versions = map[string]string{"go": b.tools.version, "kernel": b.kernel.release}
	for _, name := range []string{uroot, mkuimage} {
		v, err := b.tools.moduleVersion(ctx, name)
		if err != nil {
			return err
		}
		b.manifest.Versions[name] = v
	}
	return nil
}

func (b *builder) commands(ctx context.Context) error {
	data, err := b.tools.commands(ctx, b.manifest.Versions, b.options.CacheDir, b.tempDir)
	if err != nil {
		return err
	}
	if err := b.archive.merge(data); err != nil {
		return err
	}
	for _, a := range applets {
		b.manifest.Applets = append(b.manifest.Applets, filepath.Base(a))
	}
	b.manifest.Commands = partOf("/bbin/bb", b.archive.content["bbin/bb"])
	return nil
}

func (b *builder) programs(ctx context.Context) error {
	agent, err := b.agent(ctx)
	if err != nil {
		return err
	}
	if err := b.archive.file("bin/ferric-agent", 0o755, agent); err != nil {
		return err
	}
	b.manifest.Agent = partOf("/bin/ferric-agent", agent)
	init, err := b.tools.build(ctx, initPackage, b.tempDir)
	if err != nil {
		return err
	}
	if err := b.archive.file("init", 0o755, init); err != nil {
		return err
	}
	b.manifest.Init = partOf("/init", init)
	// The init serves these too; see its documentation.
	for _, name := range []string{"modprobe", "reboot", "poweroff", "halt", "rescue-login", "rescue-sshd", "shell"} {
		b.archive.symlink("sbin/"+name, "../init")
	}
	// u-root's own does not know itself by this name unless it is called by the whole path.
	b.archive.symlink("bin/sh", "../init")
	return nil
}

// agent builds the agent, with the managers that were asked for, and lists them in the
// manifest.
func (b *builder) agent(ctx context.Context) ([]byte, error) {
	if b.options.Agent != "" {
		return b.tools.build(ctx, b.options.Agent, b.tempDir)
	}
	var vendors []vendored
	for _, asked := range b.options.Managers {
		v, err := parseManager(asked)
		if err != nil {
			return nil, err
		}
		vendors = append(vendors, v)
	}
	program := filepath.Join(b.tempDir, "program")
	var content []byte
	var err error
	if len(vendors) == 0 {
		content, err = b.tools.build(ctx, plainAgent, b.tempDir)
	} else if program, err = b.tools.buildWith(ctx, b.tempDir, vendors, agentProgram); err == nil {
		content, err = os.ReadFile(program)
	}
	if err != nil {
		return nil, err
	}
	if b.manifest.Managers, err = listManagers(ctx, program, vendors); err != nil {
		return nil, err
	}
	return content, addOrigins(ctx, filepath.Dir(program), b.manifest.Managers, vendors)
}

func (b *builder) modules(context.Context) error {
	return addModules(b.archive, b.manifest, b.kernel, "/", b.options.Profile, b.options.Modules)
}

func (b *builder) files(context.Context) error {
	before := map[string]bool{}
	for name := range b.archive.content {
		before[name] = true
	}
	if err := b.certificates(); err != nil {
		return err
	}
	for name, text := range map[string]string{
		"etc/passwd": "root:x:0:0:root:/root:/bin/sh\nrescue:x:0:0:rescue:/root:/bin/sh\n",
		"etc/group":  "root:x:0:\n",
		"etc/hosts":  "127.0.0.1 localhost\n::1 localhost\n",
	} {
		if err := b.archive.file(name, 0o644, []byte(text)); err != nil {
			return err
		}
	}
	for _, f := range b.options.Files {
		if err := b.archive.hostFile(f.Source, f.Target); err != nil {
			return err
		}
	}
	b.archive.symlink("etc/mtab", "/proc/self/mounts") // by which programs spare what is mounted
	if err := b.programsOfHost(); err != nil {
		return err
	}
	if err := b.plugins(); err != nil {
		return err
	}
	for _, p := range b.archive.parts("") {
		if !before[strings.TrimPrefix(p.Path, "/")] {
			b.manifest.Files = append(b.manifest.Files, p)
		}
	}
	return nil
}

// certificates writes what the agent trusts when it is not configured otherwise.
func (b *builder) certificates() error {
	trusted, err := os.ReadFile(caCertificates)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w: install the package ca-certificates", err)
	}
	if err != nil {
		return fmt.Errorf("read trusted certificates: %w", err)
	}
	for _, name := range b.options.CACertificates {
		own, err := os.ReadFile(name)
		if err != nil {
			return fmt.Errorf("read trusted certificates: %w", err)
		}
		if !x509.NewCertPool().AppendCertsFromPEM(own) {
			return fmt.Errorf("read trusted certificates: %s holds none in PEM form", name)
		}
		trusted = slices.Concat(trusted, []byte("\n"), own)
	}
	return b.archive.file(caCertificates, 0o644, trusted)
}

// write packs the archive and writes all files, the manifest last: where it is, the
// ramdisk is complete.
func (b *builder) write(context.Context) error {
	image, err := os.ReadFile(b.kernel.image)
	if err != nil {
		return fmt.Errorf("read kernel: %w", err)
	}
	info, err := os.Stat(b.kernel.image)
	if err != nil {
		return fmt.Errorf("read kernel: %w", err)
	}
	// The kernel package's time serves for all files: it is the same in every build from
	// it, and a machine whose clock lies before it has no valid clock.
	raw, err := b.archive.bytes(uint64(info.ModTime().Unix()))
	if err != nil {
		return err
	}
	packed, err := compress(raw, b.options.Compression)
	if err != nil {
		return err
	}
	m := b.manifest
	m.Kernel = partOf(KernelFile, image)
	m.Initramfs = partOf(InitramfsFile, packed)
	m.Compression = b.options.Compression
	m.RawSize = int64(len(raw))
	text, err := m.encode()
	if err != nil {
		return err
	}
	if err := os.MkdirAll(b.options.Output, 0o755); err != nil {
		return fmt.Errorf("make output directory: %w", err)
	}
	for _, f := range []struct {
		name string
		data []byte
	}{{KernelFile, image}, {InitramfsFile, packed}, {ManifestFile, text}} {
		if err := writeFile(filepath.Join(b.options.Output, f.name), f.data); err != nil {
			return err
		}
	}
	return nil
}
