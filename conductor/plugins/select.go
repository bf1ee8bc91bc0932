package plugins

import (
	"context"
	"net/url"
	"slices"
	"strings"

	"ferric/api/ipa"
	"ferric/api/plugin"
	"ferric/conductor/driver"
	"ferric/conductor/store"
)

// Subject is what plugins are selected by.
type Subject struct {
	Driver string
	Traits []string
	// Vendor is the DMI system vendor of the machine, as its inspection found
	// it; "" is not known.
	Vendor string
}

// matches says whether a plugin is for a node: its driver is one of the
// plugin's, it has all of the plugin's traits, and nothing is known of its
// vendor that says otherwise.
func matches(p *store.Plugin, s Subject) bool {
	if len(p.Drivers) > 0 && !slices.ContainsFunc(p.Drivers, func(name string) bool { return sameDriver(name, s.Driver) }) {
		return false
	}
	for _, trait := range p.Traits {
		if !slices.Contains(s.Traits, trait) {
			return false
		}
	}
	return p.Vendor == "" || s.Vendor == "" || strings.Contains(strings.ToLower(s.Vendor), strings.ToLower(p.Vendor))
}

// sameDriver compares hardware types; classic drivers stand for theirs.
func sameDriver(a, b string) bool {
	if a == b {
		return true
	}
	return hardware(a) == hardware(b)
}

func hardware(name string) string {
	if modern, classic := driver.HardwareType(name); classic {
		return modern
	}
	return name
}

// Select picks what a node is offered: of each plugin the newest version that
// matches, or the pinned one if that matches. Disabled ones are left out.
func Select(list []*store.Plugin, s Subject) []*store.Plugin {
	pinned := map[string]bool{}
	for _, p := range list {
		pinned[p.Name] = pinned[p.Name] || p.Pinned
	}
	best := map[string]*store.Plugin{}
	for _, p := range list {
		if p.Disabled || pinned[p.Name] && !p.Pinned || !matches(p, s) {
			continue
		}
		if b := best[p.Name]; b == nil || plugin.CompareVersions(p.Version, b.Version) > 0 {
			best[p.Name] = p
		}
	}
	out := []*store.Plugin{}
	for _, p := range best {
		out = append(out, p)
	}
	sortPlugins(out)
	return out
}

// subject reads what a node's plugins are selected by. The inventory is looked
// at only where it matters.
func (l *Library) subject(ctx context.Context, nodeID int64, list []*store.Plugin) (s Subject, err error) {
	if s.Driver, s.Traits, err = l.store.PluginSubject(ctx, nodeID); err != nil {
		return s, err
	}
	if !slices.ContainsFunc(list, func(p *store.Plugin) bool { return p.Vendor != "" }) {
		return s, nil
	}
	s.Vendor, err = l.store.SystemVendor(ctx, nodeID)
	return s, err
}

// Offered is the plugins that an agent of the node is offered. One whose file is
// gone is among them: that the agent cannot fetch it is reported, while an older
// version in its place, or none, would not be noticed.
func (l *Library) Offered(ctx context.Context, nodeID int64) ([]*store.Plugin, error) {
	list, err := l.List(ctx)
	if err != nil || len(list) == 0 {
		return nil, err
	}
	s, err := l.subject(ctx, nodeID, list)
	if err != nil {
		return nil, err
	}
	return Select(list, s), nil
}

// For finds a plugin that an agent of the node may fetch: one that is not
// disabled and for the node. What was offered some time ago still is, although
// there is a newer one by now.
func (l *Library) For(ctx context.Context, nodeID int64, name, version string) (*store.Plugin, error) {
	p, err := l.store.Plugin(ctx, name, version)
	if err != nil {
		return nil, err
	}
	s, err := l.subject(ctx, nodeID, []*store.Plugin{p})
	if err != nil {
		return nil, err
	}
	if p.Disabled || !matches(p, s) {
		return nil, store.ErrNotFound
	}
	return p, nil
}

// Offers are what the answer to a lookup names.
func Offers(list []*store.Plugin) []ipa.PluginOffer {
	var offers []ipa.PluginOffer
	for _, p := range list {
		offers = append(offers, ipa.PluginOffer{
			Name: p.Name, Version: p.Version, Size: p.Size, SHA256: p.SHA256, Vendor: p.Vendor, Required: p.Required,
			URL: "/ferric/v1/plugins/" + url.PathEscape(p.Name) + "/" + url.PathEscape(p.Version) + "/bundle",
		})
	}
	return offers
}
