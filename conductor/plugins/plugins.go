// Package plugins keeps the bundles of hardware managers that agents are
// offered, and says which of them a node's agent is offered. A bundle is a row
// of the database and a file in a directory; the file is durable before the row
// is, and goes after it, so that there never is a row without its file.
package plugins

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"

	"github.com/sirupsen/logrus"

	"ferric/api/plugin"
	"ferric/conductor/store"
)

// Config says where bundles are kept and which are taken.
type Config struct {
	// Directory has the bundles; it is made if it is missing, and belongs to one conductor. Default: plugins, beside the database.
	Directory string `ini:"plugins.directory"`
	// TrustedKeys is a directory with public keys (*.pub, PEM). With it, only bundles that one of them has signed can be added.
	// Without it their structure and their digests are checked, but not who made them: agents do that in any case.
	TrustedKeys string `ini:"plugins.trusted_keys"`
	// MaxBundleSize is the size of a bundle, in MiB.
	MaxBundleSize int `ini:"plugins.max_bundle_size"`
	// MaxTotalSize is the size of all of them, in MiB; 0 is any.
	MaxTotalSize int `ini:"plugins.max_total_size"`
	// MaxUploads is how many bundles can be on their way at once.
	MaxUploads int `ini:"plugins.max_uploads"`
}

// DefaultConfig has no keys.
func DefaultConfig() Config {
	return Config{MaxBundleSize: 256, MaxTotalSize: 4096, MaxUploads: 4}
}

// Validate finds options that make no sense.
func (c Config) Validate() error {
	if c.MaxBundleSize <= 0 || c.MaxUploads <= 0 || c.MaxTotalSize < 0 {
		return errors.New("[plugins]max_bundle_size and max_uploads must be positive, max_total_size must not be negative")
	}
	if c.TrustedKeys == "" {
		return nil
	}
	_, err := c.trusted()
	return err
}

// Errors of this package, besides store.ErrNotFound. They are wrapped with the reason.
var (
	ErrInvalid  = errors.New("the bundle is refused")
	ErrTooLarge = errors.New("the bundle is too large")
	ErrConflict = errors.New("conflict")
	ErrBusy     = errors.New("too many uploads")
	ErrNoSpace  = errors.New("no space for the bundle")
)

// Library is the bundles that there are. It is safe for concurrent use.
type Library struct {
	cfg     Config
	store   *store.Store
	log     *logrus.Entry
	uploads chan struct{}
	changes sync.Mutex // held from what is looked at until what follows of it is written
}

// Names of files in the directory. Others are not touched.
const (
	upload    = "upload-" // with what came so far of a bundle
	uploadEnd = ".tmp"
	bundleEnd = ".bundle"
)

// Open prepares the directory. What an earlier run has left in it and no row
// tells of is removed.
func Open(ctx context.Context, cfg Config, s *store.Store, log *logrus.Entry) (*Library, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(cfg.Directory, 0o750); err != nil {
		return nil, fmt.Errorf("directory of the plugins: %w", err)
	}
	l := &Library{cfg: cfg, store: s, log: log, uploads: make(chan struct{}, cfg.MaxUploads)}
	return l, l.sweep(ctx)
}

func (l *Library) sweep(ctx context.Context) error {
	list, err := l.store.Plugins(ctx)
	if err != nil {
		return err
	}
	known := map[string]bool{}
	for _, p := range list {
		known[fileName(p)] = true
		if fault := l.Fault(p); fault != "" {
			l.log.WithFields(logrus.Fields{"plugin": p.Name, "version": p.Version}).Errorf("the plugin is not offered: %s; remove it and add it again", fault)
		}
	}
	entries, err := os.ReadDir(l.cfg.Directory)
	if err != nil {
		return fmt.Errorf("directory of the plugins: %w", err)
	}
	for _, e := range entries {
		name := e.Name()
		ours := strings.HasPrefix(name, upload) && strings.HasSuffix(name, uploadEnd) || strings.HasSuffix(name, bundleEnd) && !known[name]
		if !ours || !e.Type().IsRegular() {
			continue
		}
		if err := os.Remove(l.path(name)); err != nil {
			return fmt.Errorf("remove what an earlier run has left: %w", err)
		}
		l.log.WithField("file", name).Info("removed a bundle that an earlier run has left")
	}
	return nil
}

func (l *Library) path(name string) string { return filepath.Join(l.cfg.Directory, name) }

// fileName is what the file of a plugin is called. The digest in it keeps a
// file that is on its way out apart from one that takes its place.
func fileName(p *store.Plugin) string {
	return p.Name + "-" + p.Version + "-" + p.SHA256 + bundleEnd
}

// Fault is why a plugin cannot be offered, "" if it can.
func (l *Library) Fault(p *store.Plugin) string {
	info, err := os.Stat(l.path(fileName(p)))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "its file " + fileName(p) + " is missing"
	case err != nil:
		return "its file cannot be read: " + err.Error()
	case info.Size() != p.Size:
		return fmt.Sprintf("its file has %d bytes, not %d", info.Size(), p.Size)
	}
	return ""
}

// List is all plugins, by name and from the newest version to the oldest.
func (l *Library) List(ctx context.Context) ([]*store.Plugin, error) {
	list, err := l.store.Plugins(ctx)
	if err != nil {
		return nil, err
	}
	sortPlugins(list)
	return list, nil
}

func sortPlugins(list []*store.Plugin) {
	slices.SortStableFunc(list, func(a, b *store.Plugin) int {
		if c := strings.Compare(a.Name, b.Name); c != 0 {
			return c
		}
		return plugin.CompareVersions(b.Version, a.Version)
	})
}

// Of is the versions of one plugin, "" is all of them, the newest first.
func (l *Library) Of(ctx context.Context, name, version string) ([]*store.Plugin, error) {
	all, err := l.List(ctx)
	if err != nil {
		return nil, err
	}
	list := slices.DeleteFunc(all, func(p *store.Plugin) bool { return p.Name != name || version != "" && p.Version != version })
	if len(list) == 0 {
		return nil, fmt.Errorf("plugin %s: %w", strings.TrimSpace(name+" "+version), store.ErrNotFound)
	}
	return list, nil
}

// Addition is how a bundle is added.
type Addition struct {
	Drivers, Traits []string
	Vendor          string
	Required        bool
	Disabled        bool
	// AllowOlder takes a version that is older than one that is there.
	AllowOlder bool
}

// Add takes a bundle from r, which is said to have so many bytes; -1 is not
// known. When it returns, file and row are durable.
func (l *Library) Add(ctx context.Context, r io.Reader, length int64, a Addition) (*store.Plugin, error) {
	if length > int64(l.cfg.MaxBundleSize)<<20 {
		return nil, l.tooLarge() // before any of it is read
	}
	select {
	case l.uploads <- struct{}{}:
		defer func() { <-l.uploads }()
	default:
		return nil, fmt.Errorf("%w: %d bundles are on their way already", ErrBusy, cap(l.uploads))
	}
	file, err := os.CreateTemp(l.cfg.Directory, upload+"*"+uploadEnd)
	if err != nil {
		return nil, noSpace(err)
	}
	defer os.Remove(file.Name()) // fails when it has got its name
	defer file.Close()
	p, err := l.take(file, r)
	if err != nil {
		return nil, err
	}
	p.Drivers, p.Traits, p.Vendor, p.Required, p.Disabled = a.Drivers, a.Traits, a.Vendor, a.Required, a.Disabled
	if err := file.Sync(); err != nil {
		return nil, noSpace(err)
	}
	l.changes.Lock()
	defer l.changes.Unlock()
	if err := l.admit(ctx, p, a.AllowOlder); err != nil {
		return nil, err
	}
	return p, l.keep(ctx, file, p)
}

// take writes what comes to the file and looks at it.
func (l *Library) take(file *os.File, r io.Reader) (*store.Plugin, error) {
	limit := int64(l.cfg.MaxBundleSize) << 20
	digest := sha256.New()
	source := &source{r: io.LimitReader(r, limit+1)}
	size, err := io.Copy(io.MultiWriter(file, digest), source)
	switch {
	case source.err != nil:
		return nil, fmt.Errorf("%w: it was cut off after %d bytes: %w", ErrInvalid, size, source.err)
	case err != nil:
		return nil, noSpace(err)
	case size > limit:
		return nil, l.tooLarge()
	}
	if _, err := file.Seek(0, io.SeekStart); err != nil {
		return nil, err
	}
	p, err := l.check(file)
	if err != nil {
		return nil, err
	}
	p.Size, p.SHA256 = size, hex.EncodeToString(digest.Sum(nil))
	return p, nil
}

func (l *Library) tooLarge() error {
	return fmt.Errorf("%w: it has more than the %d MiB of [plugins]max_bundle_size", ErrTooLarge, l.cfg.MaxBundleSize)
}

// source keeps the error of a reader apart from that of a writer.
type source struct {
	r   io.Reader
	err error
}

func (s *source) Read(b []byte) (int, error) {
	n, err := s.r.Read(b)
	if err != nil && err != io.EOF {
		s.err = err
	}
	return n, err
}

// admit compares the plugin with those that are there.
func (l *Library) admit(ctx context.Context, p *store.Plugin, older bool) error {
	all, err := l.List(ctx)
	if err != nil {
		return err
	}
	total := p.Size
	for _, there := range all {
		total += there.Size
		if there.Name != p.Name {
			continue
		}
		switch c := plugin.CompareVersions(there.Version, p.Version); {
		case c == 0 && there.SHA256 == p.SHA256:
			return fmt.Errorf("%w: this very bundle of plugin %s %s is there already", ErrConflict, p.Name, there.Version)
		case c == 0:
			return fmt.Errorf("%w: plugin %s %s is there already with other contents (sha256 %s); give what has changed another version, or remove that one first",
				ErrConflict, p.Name, there.Version, there.SHA256)
		case c > 0 && !older:
			return fmt.Errorf("%w: plugin %s %s is older than %s, which is there; to have both, allow_older must be asked for", ErrConflict, p.Name, p.Version, there.Version)
		}
	}
	if most := int64(l.cfg.MaxTotalSize) << 20; most > 0 && total > most {
		return fmt.Errorf("%w: all bundles would have %d MiB, [plugins]max_total_size allows %d", ErrNoSpace, total>>20, l.cfg.MaxTotalSize)
	}
	return nil
}

// keep gives the file its name and then writes the row.
func (l *Library) keep(ctx context.Context, file *os.File, p *store.Plugin) error {
	path := l.path(fileName(p))
	if err := os.Rename(file.Name(), path); err != nil {
		return fmt.Errorf("keep the bundle: %w", err)
	}
	err := syncDirectory(l.cfg.Directory)
	if err == nil {
		err = l.store.AddPlugin(ctx, p)
	}
	if err == nil {
		return nil
	}
	// Where it is not certain that there is no row, the next start finds out.
	if _, there := l.store.Plugin(context.WithoutCancel(ctx), p.Name, p.Version); errors.Is(there, store.ErrNotFound) {
		os.Remove(path)
	}
	return err
}

// Removal is what became of a removal.
type Removal struct {
	Removed []*store.Plugin
	// Users are nodes whose agent has the plugin, by what was removed: they keep it until they end.
	Users map[int64][]string
}

// Remove forgets versions of a plugin, "" is all of them.
func (l *Library) Remove(ctx context.Context, name, version string) (*Removal, error) {
	l.changes.Lock()
	defer l.changes.Unlock()
	list, err := l.Of(ctx, name, "")
	if err != nil {
		return nil, err
	}
	for _, p := range list {
		if p.Pinned && p.Version == version && len(list) > 1 {
			return nil, fmt.Errorf("%w: plugin %s is pinned to %s; unpin it or pin another version first, for nodes would be offered %s otherwise", ErrConflict, name, version, list[0].Version)
		}
	}
	out := &Removal{Users: map[int64][]string{}}
	if out.Removed, err = l.store.RemovePlugins(ctx, name, version); err != nil {
		return nil, err
	}
	// The rows are gone: what fails from here on leaves files for the next start to remove.
	ctx = context.WithoutCancel(ctx)
	for _, p := range out.Removed {
		if err := os.Remove(l.path(fileName(p))); err != nil && !errors.Is(err, fs.ErrNotExist) {
			l.log.WithError(err).Warn("the bundle of a removed plugin stays until the next start")
		}
		users, err := l.store.NodesWithPlugin(ctx, p.Name, p.Version)
		if err != nil {
			l.log.WithError(err).Warn("cannot look for the nodes that use a plugin")
			continue
		}
		out.Users[p.ID] = users
	}
	return out, nil
}

// Change is how versions of a plugin are offered from now on; nil leaves what
// there is.
type Change struct {
	Drivers, Traits    *[]string
	Vendor             *string
	Required, Disabled *bool
	// Pinned is the version that alone is offered, "" is none. It is for all
	// versions of a plugin only.
	Pinned *string
}

// Change changes versions of a plugin, "" is all of them.
func (l *Library) Change(ctx context.Context, name, version string, c Change) ([]*store.Plugin, error) {
	l.changes.Lock()
	defer l.changes.Unlock()
	list, err := l.store.ChangePlugins(ctx, name, version, func(list []*store.Plugin) error {
		if c.Pinned != nil && *c.Pinned != "" && !slices.ContainsFunc(list, func(p *store.Plugin) bool { return p.Version == *c.Pinned }) {
			return fmt.Errorf("%w: plugin %s cannot be pinned to %s, which is not there", ErrConflict, name, *c.Pinned)
		}
		for _, p := range list {
			c.apply(p)
		}
		return nil
	})
	sortPlugins(list)
	return list, err
}

func (c Change) apply(p *store.Plugin) {
	if c.Drivers != nil {
		p.Drivers = *c.Drivers
	}
	if c.Traits != nil {
		p.Traits = *c.Traits
	}
	if c.Vendor != nil {
		p.Vendor = *c.Vendor
	}
	if c.Required != nil {
		p.Required = *c.Required
	}
	if c.Disabled != nil {
		p.Disabled = *c.Disabled
	}
	if c.Pinned != nil {
		p.Pinned = p.Version == *c.Pinned
	}
}

// OpenBundle opens the file of a plugin for reading.
func (l *Library) OpenBundle(p *store.Plugin) (*os.File, error) {
	if fault := l.Fault(p); fault != "" {
		return nil, fmt.Errorf("plugin %s %s: %s: %w", p.Name, p.Version, fault, store.ErrNotFound)
	}
	return os.Open(l.path(fileName(p)))
}

func syncDirectory(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("keep the bundle: %w", err)
	}
	defer d.Close()
	if err := d.Sync(); err != nil {
		return noSpace(err)
	}
	return nil
}

// noSpace tells a full disk from other failures.
func noSpace(err error) error {
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return fmt.Errorf("%w: %w", ErrNoSpace, err)
	}
	return fmt.Errorf("keep the bundle: %w", err)
}
