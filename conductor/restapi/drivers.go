package restapi

import (
	"context"
	"slices"
	"strings"

	"ferric/api/ironic"
	"ferric/conductor/flow"
)

// driverInterfaces are the interfaces of a hardware type with the microversion
// that each appeared in (REST contract, section 7). Literal table.
var driverInterfaces = []struct {
	name  string
	since ironic.Version
}{
	{"bios", 40}, {"boot", 30}, {"console", 30}, {"deploy", 30}, {"inspect", 30}, {"management", 30}, {"network", 30},
	{"power", 30}, {"raid", 30}, {"rescue", 38}, {"storage", 33}, {"vendor", 30},
}

const versionDriverLinks ironic.Version = 14

func (s *Server) listDrivers(ctx context.Context, r *request) (reply, error) {
	a := r.args
	kind, err := a.text("type")
	if err != nil {
		return reply{}, err
	}
	if kind != "" && kind != "classic" && kind != "dynamic" {
		return reply{}, badRequest("Driver type must be classic or dynamic, not %q.", kind)
	}
	detail, err := a.flag("detail")
	if err != nil {
		return reply{}, err
	}
	names, err := driverFields(a, r.version)
	if err != nil {
		return reply{}, err
	}
	full := detail != nil && *detail
	if full && names != nil {
		return reply{}, badRequest("Can't fetch a subset of fields with 'detail' set")
	}
	views := []map[string]any{}
	for _, d := range s.conductor.Drivers() {
		if kind == "classic" {
			break // there are none
		}
		view := driverView(d, r, full || names != nil)
		for name := range view {
			if names != nil && name != "links" && !slices.Contains(names, name) {
				delete(view, name)
			}
		}
		views = append(views, view)
	}
	return ok(map[string]any{"drivers": views})
}

// driverFields reads ?fields=; nil if there is none.
func driverFields(a arguments, v ironic.Version) ([]string, error) {
	names, err := a.list("fields")
	if err != nil || names == nil {
		return nil, err
	}
	for _, name := range names {
		if !isDriverField(name) {
			return nil, badRequest("Field(s) %q are not valid.", name)
		}
	}
	return names, nil
}

func isDriverField(name string) bool {
	if slices.Contains([]string{"name", "type", "hosts", "links", "properties"}, name) {
		return true
	}
	for _, i := range driverInterfaces {
		if name == "default_"+i.name+"_interface" || name == "enabled_"+i.name+"_interfaces" {
			return true
		}
	}
	return false
}

func driverView(d flow.DriverInfo, r *request, full bool) map[string]any {
	out := map[string]any{"name": d.Name, "hosts": d.Hosts, "links": links(r.base, "drivers/"+d.Name)}
	if r.version >= versionDriverLinks {
		out["properties"] = links(r.base, "drivers/"+d.Name+"/properties")
	}
	if r.version < ironic.VersionDynamicDriver {
		return out
	}
	out["type"] = "dynamic"
	if !full {
		return out
	}
	for _, i := range driverInterfaces {
		if i.since > r.version {
			continue
		}
		out["default_"+i.name+"_interface"] = nil
		if name := d.Default[i.name]; name != "" {
			out["default_"+i.name+"_interface"] = name
		}
		enabled := slices.Clone(d.Enabled[i.name])
		slices.SortFunc(enabled, strings.Compare)
		if enabled == nil {
			enabled = []string{}
		}
		out["enabled_"+i.name+"_interfaces"] = enabled
	}
	return out
}

func (s *Server) driver(r *request) (flow.DriverInfo, error) {
	for _, d := range s.conductor.Drivers() {
		if d.Name == r.params["driver"] {
			return d, nil
		}
	}
	return flow.DriverInfo{}, notFound("Could not find the following driver(s) or hardware type(s): %s.", r.params["driver"])
}

func (s *Server) showDriver(ctx context.Context, r *request) (reply, error) {
	d, err := s.driver(r)
	if err != nil {
		return reply{}, err
	}
	return ok(driverView(d, r, true))
}

func (s *Server) showDriverProperties(ctx context.Context, r *request) (reply, error) {
	d, err := s.driver(r)
	if err != nil {
		return reply{}, err
	}
	if d.Properties == nil {
		return ok(map[string]string{})
	}
	return ok(d.Properties)
}

func (s *Server) driverRoutes() []route {
	return []route{
		{method: "GET", path: "/drivers", policy: "baremetal:driver:get", handle: s.listDrivers, result: "Drivers", doc: "Lists the hardware types.",
			args: []arg{{name: "type", kind: argText, since: ironic.VersionDynamicDriver}, {name: "detail", kind: argFlag, since: ironic.VersionDynamicDriver}, {name: "fields", kind: argNames, since: 77}}},
		{method: "GET", path: "/drivers/:driver", policy: "baremetal:driver:get", handle: s.showDriver, result: "Driver", doc: "Shows a hardware type."},
		{method: "GET", path: "/drivers/:driver/properties", policy: "baremetal:driver:get_properties", handle: s.showDriverProperties, result: "DriverProperties", doc: "Describes the members of driver_info."},
		{method: "GET", path: "/drivers/:driver/raid/logical_disk_properties", policy: "baremetal:driver:get_raid_logical_disk_properties", since: 12, older: 406, handle: s.showLogicalDiskProperties,
			result: "LogicalDiskProperties", doc: "Describes the members of a logical disk."},
	}
}
