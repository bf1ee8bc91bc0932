package restapi

import (
	"context"
	"slices"
	"strings"

	"ferric/api/ironic"
	"ferric/conductor/driver"
)

// driverInterfaces are the interfaces of a hardware type with the microversion
// that each appeared in (REST contract, section 7). Literal table.
var driverInterfaces = []struct {
	name  string
	since ironic.Version
}{
	{"bios", ironic.VersionBIOS}, {"boot", ironic.VersionDynamicDriver}, {"console", ironic.VersionDynamicDriver}, {"deploy", ironic.VersionDynamicDriver},
	{"firmware", ironic.VersionFirmware}, {"inspect", ironic.VersionDynamicDriver}, {"management", ironic.VersionDynamicDriver},
	{"network", ironic.VersionDynamicDriver}, {"power", ironic.VersionDynamicDriver}, {"raid", ironic.VersionDynamicDriver},
	{"rescue", ironic.VersionRescue}, {"storage", ironic.VersionStorageInterface}, {"vendor", ironic.VersionDynamicDriver},
}

// hostedDriver is a hardware type with the conductors that serve it.
type hostedDriver struct {
	driver.Info
	hosts []string
}

// drivers are the hardware types that a live conductor serves.
func (s *Server) drivers(ctx context.Context) ([]hostedDriver, error) {
	conductors, err := s.store.Conductors(ctx)
	if err != nil {
		return nil, err
	}
	hosts := map[string][]string{}
	for _, c := range conductors {
		if !s.alive(c) {
			continue
		}
		for _, name := range c.Drivers() {
			hosts[name] = append(hosts[name], c.Hostname)
		}
	}
	var list []hostedDriver
	for _, d := range s.conductor.Drivers() {
		if on := hosts[d.Name]; on != nil {
			slices.Sort(on)
			list = append(list, hostedDriver{d, on})
		}
	}
	return list, nil
}

func (s *Server) listDrivers(ctx context.Context, r *request) (reply, error) {
	a := r.args
	kind, err := a.text("type")
	if err != nil {
		return reply{}, err
	}
	if kind != "" && kind != "classic" && kind != "dynamic" {
		return reply{}, badRequest(`"type" filter must be one of "classic" or "dynamic", if specified.`)
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
		return reply{}, badRequest("Can not specify ?detail=True and fields in the same request.")
	}
	drivers, err := s.drivers(ctx)
	if err != nil {
		return reply{}, err
	}
	views := []map[string]any{}
	for _, d := range drivers {
		if kind != "classic" { // there are none
			views = append(views, driverView(d, r, full || names != nil, names))
		}
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
		since, known := driverField(name)
		switch {
		case !known:
			return nil, badRequest("Field(s) %q are not valid.", name)
		case since > v:
			return nil, notAcceptable("Field %q is not acceptable before API version %s.", name, since)
		}
	}
	return names, nil
}

// driverField finds the microversion that a field appeared in.
func driverField(name string) (since ironic.Version, known bool) {
	if slices.Contains([]string{"name", "type", "hosts", "links", "properties"}, name) {
		return 1, true
	}
	for _, i := range driverInterfaces {
		if name == "default_"+i.name+"_interface" || name == "enabled_"+i.name+"_interfaces" {
			return i.since, true
		}
	}
	return 0, false
}

// driverView shows the named fields, nil is all; full has the interfaces, too.
func driverView(d hostedDriver, r *request, full bool, names []string) map[string]any {
	out := map[string]any{"name": d.Name, "hosts": d.hosts, "links": links(r.base, "drivers/"+d.Name)}
	if r.version >= ironic.VersionLinks {
		out["properties"] = links(r.base, "drivers/"+d.Name+"/properties")
	}
	if r.version >= ironic.VersionDynamicDriver {
		out["type"] = "dynamic"
	}
	for _, i := range driverInterfaces {
		if !full || i.since > r.version {
			continue
		}
		out["default_"+i.name+"_interface"] = d.Default[i.name]
		enabled := append([]string{}, d.Enabled[i.name]...)
		slices.SortFunc(enabled, strings.Compare)
		out["enabled_"+i.name+"_interfaces"] = enabled
	}
	for name := range out {
		if names != nil && name != "links" && !slices.Contains(names, name) {
			delete(out, name)
		}
	}
	return out
}

func (s *Server) driver(ctx context.Context, r *request) (hostedDriver, error) {
	drivers, err := s.drivers(ctx)
	if err != nil {
		return hostedDriver{}, err
	}
	for _, d := range drivers {
		if d.Name == r.params["driver"] {
			return d, nil
		}
	}
	return hostedDriver{}, notFound("Could not find the following driver(s) or hardware type(s): %s.", r.params["driver"])
}

func (s *Server) showDriver(ctx context.Context, r *request) (reply, error) {
	names, err := driverFields(r.args, r.version)
	if err != nil {
		return reply{}, err
	}
	d, err := s.driver(ctx, r)
	if err != nil {
		return reply{}, err
	}
	return ok(driverView(d, r, true, names))
}

func (s *Server) showDriverProperties(ctx context.Context, r *request) (reply, error) {
	d, err := s.driver(ctx, r)
	if err != nil {
		return reply{}, err
	}
	return ok(d.Properties)
}

func (s *Server) driverRoutes() []route {
	return append(vendorRoutes("/drivers/:driver/vendor_passthru", "baremetal:driver:vendor_passthru", s.listDriverMethods, s.callDriverMethod), []route{
		{method: "GET", path: "/drivers", policy: "baremetal:driver:get", handle: s.listDrivers, result: "Drivers", doc: "Lists the hardware types.",
			args: []arg{{name: "type", kind: argText, since: ironic.VersionDynamicDriver, doc: "dynamic or classic; of the latter there are none."}, {name: "detail", kind: argFlag, since: ironic.VersionDynamicDriver, doc: "Shows the interfaces, too."}, {name: "fields", kind: argNames, since: ironic.VersionDriverFields}}},
		{method: "GET", path: "/drivers/:driver", policy: "baremetal:driver:get", handle: s.showDriver, result: "Driver", doc: "Shows a hardware type.",
			args: []arg{{name: "fields", kind: argNames, since: ironic.VersionDriverFields}}},
		{method: "GET", path: "/drivers/:driver/properties", policy: "baremetal:driver:get_properties", handle: s.showDriverProperties, result: "DriverProperties", doc: "Describes the members of driver_info."},
		{method: "GET", path: "/drivers/:driver/raid/logical_disk_properties", policy: "baremetal:driver:get_raid_logical_disk_properties", since: ironic.VersionRAID, older: 406, handle: s.showLogicalDiskProperties,
			result: "LogicalDiskProperties", doc: "Describes the members of a logical disk."},
	}...)
}
