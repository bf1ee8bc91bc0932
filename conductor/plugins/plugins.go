// Package plugins keeps the bundles of hardware managers that agents are
// offered, and says which of them a node's agent is offered. A bundle is a row
// of the database and a file in a directory; the file is durable before the row
// is, and goes after it, so that there never is a row without its file.
package plugins

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

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

// conflictError is an ErrConflict in words of its own.
type conflictError string

func (e conflictError) Error() string        { return string(e) }
func (e conflictError) Is(target error) bool { return target == ErrConflict }

func conflict(format string, args ...any) error { return conflictError(fmt.Sprintf(format, args...)) }

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
			l.log.WithFields(logrus.Fields{"plugin": p.Name, "version": p.Version}).Errorf("the plugin cannot be fetched: %s; remove it and add it again", fault)
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

// Fault is why agents cannot fetch a plugin, "" if they can.
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

// List is all plugins without their manifests, by name and from the newest version to the oldest.
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
	list, err := l.store.PluginVersions(ctx, name, version)
	if err != nil {
		return nil, err
	}
	if len(list) == 0 {
		return nil, fmt.Errorf("plugin %s: %w", strings.TrimSpace(name+" "+version), store.ErrNotFound)
	}
	sortPlugins(list)
	return list, nil
}

// OpenBundle opens the file of a plugin for reading.
func (l *Library) OpenBundle(p *store.Plugin) (*os.File, error) {
	if fault := l.Fault(p); fault != "" {
		return nil, fmt.Errorf("plugin %s %s: %s: %w", p.Name, p.Version, fault, store.ErrNotFound)
	}
	return os.Open(l.path(fileName(p)))
}
