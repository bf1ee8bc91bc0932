package restapi

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"ferric/api"
	"ferric/api/ipa"
	"ferric/api/ironic"
	"ferric/conductor/driver"
	"ferric/conductor/plugins"
	"ferric/conductor/store"
)

// errNoPlugins is for a conductor that keeps none.
func errNoPlugins() error {
	return api.Errorf(http.StatusServiceUnavailable, "This conductor keeps no plugins.")
}

// library is the bundles that there are.
func (s *Server) library() (*plugins.Library, error) {
	if s.cfg.Plugins == nil {
		return nil, errNoPlugins()
	}
	return s.cfg.Plugins, nil
}

func (s *Server) pluginView(p *store.Plugin, whole bool) ironic.Plugin {
	v := ironic.Plugin{
		Name: p.Name, Version: p.Version, SDK: p.SDK, Size: p.Size, SHA256: p.SHA256, KeyID: p.KeyID, Verified: p.Verified,
		Drivers: p.Drivers, Traits: p.Traits, Vendor: p.Vendor, Required: p.Required, Pinned: p.Pinned, Disabled: p.Disabled,
		Fault: s.cfg.Plugins.Fault(p), CreatedAt: p.CreatedAt, UpdatedAt: p.UpdatedAt,
	}
	if whole {
		_ = json.Unmarshal([]byte(p.Manifest), &v.Manifest) // written as JSON
	}
	return v
}

func (s *Server) pluginViews(list []*store.Plugin, whole bool) []ironic.Plugin {
	views := []ironic.Plugin{}
	for _, p := range list {
		views = append(views, s.pluginView(p, whole))
	}
	return views
}

func (s *Server) listPlugins(ctx context.Context, _ *request) (reply, error) {
	library, err := s.library()
	if err != nil {
		return reply{}, err
	}
	list, err := library.List(ctx)
	if err != nil {
		return reply{}, err
	}
	return ok(ironic.Plugins{Plugins: s.pluginViews(list, false)})
}

// showPlugin shows the versions of a plugin, the newest first.
func (s *Server) showPlugin(ctx context.Context, r *request) (reply, error) {
	library, err := s.library()
	if err != nil {
		return reply{}, err
	}
	list, err := library.Of(ctx, r.params["plugin"], r.params["version"])
	if err != nil {
		return reply{}, pluginError(r, err)
	}
	if r.params["version"] != "" {
		return ok(s.pluginView(list[0], true))
	}
	return ok(ironic.Plugins{Plugins: s.pluginViews(list, true)})
}

func pluginError(r *request, err error) error {
	if errors.Is(err, store.ErrNotFound) {
		return notFound("Plugin %s could not be found.", strings.TrimSpace(r.params["plugin"]+" "+r.params["version"]))
	}
	return err
}

// Bounds of what a plugin is selected by.
const (
	maxSelectors = 50
	maxSelector  = 255
)

// names reads a list of drivers or traits as it is written; nil if it is missing.
func (a arguments) names(name string) (*[]string, error) {
	list := []string{}
	switch v := a.values[name].(type) {
	case nil:
		return nil, nil
	case string:
		if v != "" {
			list = strings.Split(v, ",")
		}
	case []any:
		for _, item := range v {
			text, ok := item.(string)
			if !ok {
				return nil, badRequest("Expected a list of strings for %s.", name)
			}
			list = append(list, text)
		}
	default:
		return nil, badRequest("Expected a list for %s.", name)
	}
	for i, text := range list {
		if list[i] = strings.TrimSpace(text); list[i] == "" || len(text) > maxSelector {
			return nil, badRequest("The names in %s have 1 to %d characters.", name, maxSelector)
		}
	}
	slices.Sort(list)
	if list = slices.Compact(list); len(list) > maxSelectors {
		return nil, badRequest("There can be %d names in %s.", maxSelectors, name)
	}
	return &list, nil
}

// readPluginChange reads how a plugin is offered.
func readPluginChange(a arguments) (c plugins.Change, err error) {
	if c.Drivers, err = a.names("drivers"); err != nil {
		return c, err
	}
	if c.Traits, err = a.names("traits"); err != nil {
		return c, err
	}
	if c.Traits != nil {
		for _, trait := range *c.Traits {
			if err := checkTrait(trait); err != nil {
				return c, err
			}
		}
	}
	if a.has("dmi_vendor") {
		vendor, err := a.text("dmi_vendor")
		if err != nil {
			return c, err
		}
		if vendor = strings.TrimSpace(vendor); len(vendor) > maxSelector {
			return c, badRequest("The dmi_vendor has more than %d characters.", maxSelector)
		}
		c.Vendor = &vendor
	}
	if c.Required, err = a.flag("required"); err != nil {
		return c, err
	}
	c.Disabled, err = a.flag("disabled")
	return c, err
}

// value is what p points at, or its zero.
func value[T any](p *T) (v T) {
	if p != nil {
		v = *p
	}
	return v
}

// addPlugin takes a bundle as it comes.
func (s *Server) addPlugin(ctx context.Context, r *request) (reply, error) {
	library, err := s.library()
	if err != nil {
		return reply{}, err
	}
	c, err := readPluginChange(r.args)
	if err != nil {
		return reply{}, err
	}
	older, err := r.args.flag("allow_older")
	if err != nil {
		return reply{}, err
	}
	p, err := library.Add(ctx, r.stream, r.length, plugins.Addition{
		Drivers: value(c.Drivers), Traits: value(c.Traits), Vendor: value(c.Vendor), Required: value(c.Required), Disabled: value(c.Disabled), AllowOlder: value(older),
	})
	if err != nil {
		return reply{}, err
	}
	r.log.WithField("plugin", p.Name).WithField("version", p.Version).WithField("sha256", p.SHA256).WithField("user", r.identity.User()).Info("plugin added")
	return reply{status: http.StatusCreated, location: r.base + "/ferric/v1/plugins/" + p.Name + "/" + p.Version,
		body: ironic.PluginChange{Plugins: []ironic.Plugin{s.pluginView(p, true)}, Warnings: s.pluginWarnings(p)}}, nil
}

// pluginWarnings are what an operator may have overlooked.
func (s *Server) pluginWarnings(p *store.Plugin) []string {
	list := []string{}
	if !p.Verified {
		list = append(list, "The signature was not verified, for the conductor has no keys ([plugins]trusted_keys); agents verify it with those of their ramdisk.")
	}
	return append(list, s.driverWarnings(p.Drivers)...)
}

func (s *Server) driverWarnings(names []string) (list []string) {
	for _, name := range names {
		hardware := name
		if modern, classic := driver.HardwareType(name); classic {
			hardware = modern
		}
		if !slices.ContainsFunc(s.conductor.Drivers(), func(i driver.Info) bool { return i.Name == hardware }) {
			list = append(list, fmt.Sprintf("No hardware type %s is enabled.", name))
		}
	}
	return list
}

// changePlugin changes which nodes a plugin is offered to.
func (s *Server) changePlugin(ctx context.Context, r *request) (reply, error) {
	library, err := s.library()
	if err != nil {
		return reply{}, err
	}
	c, err := readPluginChange(r.args)
	if err != nil {
		return reply{}, err
	}
	if _, given := r.args.values["pinned"]; given {
		version, err := r.args.text("pinned") // null is none
		if err != nil {
			return reply{}, err
		}
		c.Pinned = &version
	}
	if c == (plugins.Change{}) {
		return reply{}, badRequest("Nothing to change was named.")
	}
	list, err := library.Change(ctx, r.params["plugin"], r.params["version"], c)
	if err != nil {
		return reply{}, pluginError(r, err)
	}
	return ok(ironic.PluginChange{Plugins: s.pluginViews(list, false), Warnings: append([]string{}, s.driverWarnings(value(c.Drivers))...)})
}

// removePlugin forgets a plugin; agents that have it keep it.
func (s *Server) removePlugin(ctx context.Context, r *request) (reply, error) {
	library, err := s.library()
	if err != nil {
		return reply{}, err
	}
	out, err := library.Remove(ctx, r.params["plugin"], r.params["version"])
	if err != nil {
		return reply{}, pluginError(r, err)
	}
	views, warnings := []ironic.Plugin{}, []string{}
	for _, p := range out.Removed {
		v := s.pluginView(p, false)
		v.Fault = ""
		views = append(views, v)
		const most = 10
		if users := out.Users[p.ID]; len(users) > 0 {
			names := strings.Join(users[:min(most, len(users))], ", ")
			if more := len(users) - most; more > 0 {
				names += fmt.Sprintf(" and %d more", more)
			}
			warnings = append(warnings, fmt.Sprintf("Agents have %s %s and keep it until they end: node %s.", p.Name, p.Version, names))
		}
		r.log.WithField("plugin", p.Name).WithField("version", p.Version).WithField("user", r.identity.User()).Info("plugin removed")
	}
	return ok(ironic.PluginChange{Plugins: views, Warnings: warnings})
}

// nodePlugins tells what an agent of a node is offered, and what became of it.
func (s *Server) nodePlugins(ctx context.Context, r *request) (reply, error) {
	n, err := s.unversionedNode(ctx, r)
	if err != nil {
		return reply{}, err
	}
	out := ironic.NodePlugins{Node: n.UUID, Plugins: []ironic.NodePlugin{}, Loaded: map[string]string{}, Refused: map[string]string{}, SetAside: map[string]string{}, NotHere: map[string]string{}}
	byName := map[string]*ironic.NodePlugin{}
	entry := func(name string) *ironic.NodePlugin {
		if byName[name] == nil {
			byName[name] = &ironic.NodePlugin{Name: name}
		}
		return byName[name]
	}
	if s.cfg.Plugins != nil {
		offered, err := s.cfg.Plugins.Offered(ctx, n.ID)
		if err != nil {
			return reply{}, err
		}
		for _, p := range offered {
			e := entry(p.Name)
			e.Offered, e.State = p.Version, "offered"
		}
	}
	report, err := s.store.PluginReport(ctx, n.ID)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return reply{}, err
	}
	if err == nil {
		at := report.ReportedAt.UTC().Truncate(time.Second)
		out.Reported, out.Current = &at, report.Agent == driver.AgentDigest(n)
		for name := range report.Loaded {
			out.Loaded[name] = report.Loaded.String(name)
			e := entry(name)
			e.Loaded, e.State = out.Loaded[name], "loaded"
		}
		for _, part := range []struct {
			state string
			of    store.Object
			to    map[string]string
		}{{"refused", report.Refused, out.Refused}, {"set aside", report.SetAside, out.SetAside}, {ipa.PluginNotHere, report.NotHere, out.NotHere}} {
			for name := range part.of {
				part.to[name] = part.of.String(name)
				e := entry(name)
				e.State, e.Reason = part.state, part.to[name]
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(byName)) {
		out.Plugins = append(out.Plugins, *byName[name])
	}
	return ok(out)
}

// pluginSelectors are the arguments that say which nodes a plugin is for.
// Literal table.
var pluginSelectors = []arg{
	{name: "drivers", kind: argAny, doc: "Hardware types, a comma list; none is any."},
	{name: "traits", kind: argAny, doc: "Traits, a comma list; a node needs all of them."},
	{name: "dmi_vendor", kind: argText, doc: "What the machine's DMI system vendor contains, whatever the case."},
	{name: "required", kind: argFlag, doc: "Whether agents fail without it, whatever its manifest says."},
	{name: "disabled", kind: argFlag, doc: "Whether it is offered to nobody."},
}

func (s *Server) pluginRoutes() []route {
	const all, one, version = "/ferric/v1/plugins", "/ferric/v1/plugins/:plugin", "/ferric/v1/plugins/:plugin/:version"
	pinned := arg{name: "pinned", kind: argText, doc: "The version that alone is offered; null is the newest that matches."}
	return []route{
		{method: "GET", path: all, policy: "baremetal:plugin:get", handle: s.listPlugins, result: "Plugins", doc: "Lists the plugins that agents are offered."},
		{method: "POST", path: all, policy: "baremetal:plugin:create", handle: s.addPlugin, stream: true, status: 201, result: "PluginChange", doc: "Adds a bundle, which is the body.",
			args: slices.Concat(pluginSelectors, []arg{{name: "allow_older", kind: argFlag, doc: "Whether the version may be older than one that is there."}})},
		{method: "GET", path: one, policy: "baremetal:plugin:get", handle: s.showPlugin, result: "Plugins", doc: "Shows the versions of a plugin."},
		{method: "PATCH", path: one, policy: "baremetal:plugin:update", handle: s.changePlugin, args: slices.Concat(pluginSelectors, []arg{pinned}), result: "PluginChange", doc: "Changes which nodes all versions of a plugin are offered to."},
		{method: "DELETE", path: one, policy: "baremetal:plugin:delete", handle: s.removePlugin, result: "PluginChange", doc: "Removes all versions of a plugin."},
		{method: "GET", path: version, policy: "baremetal:plugin:get", handle: s.showPlugin, result: "Plugin", doc: "Shows a version of a plugin, with its manifest."},
		{method: "PATCH", path: version, policy: "baremetal:plugin:update", handle: s.changePlugin, args: pluginSelectors, result: "PluginChange", doc: "Changes which nodes a version of a plugin is offered to."},
		{method: "DELETE", path: version, policy: "baremetal:plugin:delete", handle: s.removePlugin, result: "PluginChange", doc: "Removes a version of a plugin."},
		{method: "GET", path: version + "/bundle", policy: "public", handle: s.sendBundle, result: octets, doc: "Gives an agent that shows its token the bundle.",
			args: []arg{{name: "node_uuid", kind: argUUID, doc: "The agent's node."}}},
		{method: "POST", path: all + "/report", policy: "public", handle: s.reportPlugins, body: "PluginReport", status: 204, doc: "Tells what became of an agent's plugins."},
		// Reasons are as private as last_error, which they become part of.
		{method: "GET", path: "/ferric/v1/nodes/:node/plugins", policy: ruleLastError, handle: s.nodePlugins, result: "NodePlugins", doc: "Tells what an agent of the node is offered, and what became of it."},
	}
}
