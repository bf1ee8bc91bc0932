package plugins

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"

	"ferric/api/plugin"
	"ferric/conductor/store"
)

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
	total, newest := p.Size, (*store.Plugin)(nil)
	for _, there := range all {
		total += there.Size
		if there.Name != p.Name {
			continue
		}
		switch c := plugin.CompareVersions(there.Version, p.Version); {
		case c == 0 && there.SHA256 == p.SHA256:
			return conflict("this very bundle of plugin %s %s is there already", p.Name, there.Version)
		case c == 0:
			return conflict("plugin %s %s is there already with other contents (sha256 %s); give what has changed another version, or remove that one first", p.Name, there.Version, there.SHA256)
		case c > 0 && newest == nil:
			newest = there
		}
	}
	if newest != nil && !older {
		return conflict("plugin %s %s is older than %s, which is there; to have both, allow_older must be asked for", p.Name, p.Version, newest.Version)
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
