package plugins

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"slices"

	"ferric/conductor/store"
)

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
	if i := slices.IndexFunc(list, func(p *store.Plugin) bool { return p.Pinned && p.Version == version }); i >= 0 && len(list) > 1 {
		others := slices.Delete(list, i, i+1)
		return nil, conflict("plugin %s is pinned to %s; unpin it or pin another version first, for nodes would be offered %s otherwise", name, version, others[0].Version)
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
			return conflict("plugin %s cannot be pinned to %s, which is not there", name, *c.Pinned)
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
