package plugins

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"

	"ferric/api/plugin"
	"ferric/conductor/store"
)

// reserved are names that are words of the API's paths.
var reserved = []string{"report"}

// trusted reads the keys, at every bundle: they are changed without a restart.
func (c Config) trusted() (plugin.Keys, error) {
	keys, err := plugin.LoadKeys(c.TrustedKeys)
	if err == nil && len(keys) == 0 {
		err = fmt.Errorf("%s has no key", c.TrustedKeys)
	}
	if err != nil {
		return nil, fmt.Errorf("[plugins]trusted_keys: %w", err)
	}
	return keys, nil
}

// check reads a bundle to its end. Without keys all of it is checked but the
// signature.
func (l *Library) check(r io.Reader) (*store.Plugin, error) {
	options := plugin.Options{MaxSize: int64(l.cfg.MaxBundleSize) << 20, Accept: accept}
	p := &store.Plugin{Verified: l.cfg.TrustedKeys != ""}
	var bundle *plugin.Bundle
	var err error
	if p.Verified {
		keys, missing := l.cfg.trusted()
		if missing != nil {
			return nil, missing
		}
		bundle, err = plugin.Read(r, keys, options)
	} else {
		bundle, err = plugin.Inspect(r, options)
	}
	switch {
	case errors.Is(err, plugin.ErrTooLarge):
		return nil, fmt.Errorf("%w: %w", ErrTooLarge, err)
	case err != nil:
		return nil, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	manifest, err := json.Marshal(bundle.Manifest)
	if err != nil {
		return nil, err
	}
	p.Name, p.Version, p.SDK, p.KeyID, p.Manifest = bundle.Name, bundle.Version, bundle.SDK, bundle.Key, string(manifest)
	return p, nil
}

func accept(m *plugin.Manifest) error {
	if slices.Contains(reserved, m.Name) {
		return fmt.Errorf("%w: no plugin can be called %q", plugin.ErrManifest, m.Name)
	}
	return nil
}
