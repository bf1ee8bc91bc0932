package restapi

import (
	"context"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"ferric/api/ironic"
	"ferric/conductor/console"
	"ferric/conductor/driver"
	"ferric/conductor/flow"
)

// Hardware is what the API asks of a node's hardware. What a driver cannot do
// is driver.ErrUnsupported.
type Hardware interface {
	Console(ctx context.Context, id int64) (enabled bool, info map[string]any, err error)
	SetConsole(ctx context.Context, id int64, on bool) error
	// AttachConsole looks at a console that is on: console.ErrStopped if it is not.
	AttachConsole(ctx context.Context, id int64, withRecent bool) (*console.Viewer, error)
	// Sensors are those of the machine, by kind and name: as they were read
	// last, or with refresh as they are now.
	Sensors(ctx context.Context, id int64, refresh bool) (flow.SensorReadings, error)
	InjectNMI(ctx context.Context, id int64) error
	// Indicators are by component and name.
	Indicators(ctx context.Context, id int64) (map[string]map[string]driver.Indicator, error)
	IndicatorState(ctx context.Context, id int64, component, name string) (string, error)
	SetIndicatorState(ctx context.Context, id int64, component, name, state string) error
	VirtualMedia(ctx context.Context, id int64) ([]map[string]any, error)
	AttachVirtualMedia(ctx context.Context, id int64, device, imageURL string) error
	// DetachVirtualMedia of no device is of all.
	DetachVirtualMedia(ctx context.Context, id int64, devices []string) error
	VendorMethods(ctx context.Context, id int64) (map[string]driver.VendorMethod, error)
	// CallVendor returns before an asynchronous method has ended.
	CallVendor(ctx context.Context, id int64, name, httpMethod string, args map[string]any) (result any, async bool, err error)
}

func (s *Server) hardwareRoutes() []route {
	const indicators, vmedia = "/nodes/:node/management/indicators", "/nodes/:node/vmedia"
	return append(vendorRoutes("/nodes/:node/vendor_passthru", "baremetal:node:vendor_passthru", s.listVendorMethods, s.callVendorMethod), []route{
		{method: "GET", path: "/nodes/:node/states/console", policy: "baremetal:node:get_console", handle: s.showConsole, result: "Console", doc: "Tells how to reach the console."},
		{method: "GET", path: "/nodes/states/console/:node", policy: "baremetal:node:get_console", handle: s.showConsole, result: "Console", doc: "Tells how to reach the console, as older clients ask."},
		{method: "PUT", path: "/nodes/:node/states/console", policy: "baremetal:node:set_console_state", handle: s.setConsole, status: 202, doc: "Switches the console on or off.",
			args: []arg{{name: "enabled", kind: argFlag, doc: "Whether it is to be on."}}},
		{method: "PUT", path: "/nodes/:node/management/inject_nmi", policy: "baremetal:node:inject_nmi", since: ironic.VersionInjectNMI, handle: s.injectNMI, status: 204, doc: "Interrupts the machine."},
		{method: "GET", path: indicators, policy: "baremetal:node:get_indicator_state", since: ironic.VersionIndicators, handle: s.listIndicators, result: "Indicators", doc: "Lists the lamps of the machine."},
		{method: "GET", path: indicators + "/:indicator", policy: "baremetal:node:get_indicator_state", since: ironic.VersionIndicators, handle: s.showIndicator, result: "IndicatorState", doc: "Tells how a lamp is."},
		{method: "PUT", path: indicators + "/:indicator", policy: "baremetal:node:set_indicator_state", since: ironic.VersionIndicators, handle: s.setIndicator, status: 204, doc: "Switches a lamp.",
			args: []arg{{name: "state", kind: argText, doc: "One of the lamp's states."}}},
		{method: "GET", path: vmedia, policy: "baremetal:node:vmedia:get", since: ironic.VersionVirtualMediaList, handle: s.listVirtualMedia, result: "VirtualMedia", doc: "Lists the virtual drives of the machine."},
		{method: "POST", path: vmedia, policy: "baremetal:node:vmedia:attach", since: ironic.VersionVirtualMedia, handle: s.attachVirtualMedia, status: 204, doc: "Puts an image into a virtual drive.",
			args: []arg{{name: "device_type", kind: argText, doc: "disk, cdrom or floppy."}, {name: "image_url", kind: argText}, {name: "image_download_source", kind: argText, doc: "http, local or swift; is checked and changes nothing."}}},
		{method: "DELETE", path: vmedia, policy: "baremetal:node:vmedia:detach", since: ironic.VersionVirtualMedia, handle: s.detachVirtualMedia, status: 204, doc: "Empties virtual drives.",
			args: []arg{{name: "device_types", kind: argNames, doc: "Those to empty, without it all."}}},
	}...)
}

func (s *Server) showConsole(ctx context.Context, r *request) (reply, error) {
	n, err := s.node(ctx, r)
	if err != nil {
		return reply{}, err
	}
	enabled, info, err := s.conductor.Console(ctx, n.ID)
	if err != nil {
		return reply{}, err
	}
	out := map[string]any{"console_enabled": enabled, "console_info": nil}
	if enabled {
		if url, isText := info["url"].(string); isText {
			info["url"] = consoleURL(r.base, url)
		}
		out["console_info"] = info
	}
	return ok(out)
}

func (s *Server) setConsole(ctx context.Context, r *request) (reply, error) {
	on, err := r.args.flag("enabled")
	if err != nil {
		return reply{}, err
	}
	if on == nil {
		return reply{}, badRequest("Missing mandatory parameter: enabled")
	}
	n, err := s.node(ctx, r)
	if err != nil {
		return reply{}, err
	}
	if err := s.conductor.SetConsole(ctx, n.ID, *on); err != nil {
		return reply{}, err
	}
	return accepted(statesAddress(r) + "/console")
}

func (s *Server) injectNMI(ctx context.Context, r *request) (reply, error) {
	n, err := s.node(ctx, r)
	if err != nil {
		return reply{}, err
	}
	if err := s.conductor.InjectNMI(ctx, n.ID); err != nil {
		return reply{}, err
	}
	return noContent()
}

func (s *Server) listIndicators(ctx context.Context, r *request) (reply, error) {
	n, err := s.node(ctx, r)
	if err != nil {
		return reply{}, err
	}
	components, err := s.conductor.Indicators(ctx, n.ID)
	if err != nil {
		return reply{}, err
	}
	list := []map[string]any{}
	for _, component := range slices.Sorted(maps.Keys(components)) {
		for _, name := range slices.Sorted(maps.Keys(components[component])) {
			lamp, full := components[component][name], name+"@"+component
			list = append(list, map[string]any{"name": full, "component": component, "readonly": lamp.ReadOnly, "states": lamp.States,
				"links": links(r.base, "nodes/"+r.params["node"]+"/management/indicators/"+full)})
		}
	}
	return ok(map[string]any{"indicators": list})
}

// indicator splits the name of a lamp, which is name@component.
func indicator(r *request) (component, name string, err error) {
	full, err := url.PathUnescape(r.params["indicator"])
	name, component, found := strings.Cut(full, "@")
	if err != nil || !found {
		return "", "", badRequest("Malformed indicator name %q", r.params["indicator"])
	}
	return component, name, nil
}

func (s *Server) showIndicator(ctx context.Context, r *request) (reply, error) {
	n, err := s.node(ctx, r)
	if err != nil {
		return reply{}, err
	}
	component, name, err := indicator(r)
	if err != nil {
		return reply{}, err
	}
	state, err := s.conductor.IndicatorState(ctx, n.ID, component, name)
	if err != nil {
		return reply{}, err
	}
	return ok(map[string]any{"state": state})
}

func (s *Server) setIndicator(ctx context.Context, r *request) (reply, error) {
	state, err := r.args.text("state")
	if err != nil {
		return reply{}, err
	}
	if state == "" {
		return reply{}, badRequest("Missing mandatory parameter: state")
	}
	n, err := s.node(ctx, r)
	if err != nil {
		return reply{}, err
	}
	component, name, err := indicator(r)
	if err != nil {
		return reply{}, err
	}
	if err := s.conductor.SetIndicatorState(ctx, n.ID, component, name, state); err != nil {
		return reply{}, err
	}
	return noContent()
}

// What there is of virtual drives (REST contract, section 3.8). Literal tables.
var (
	mediaDevices = []string{"disk", "cdrom", "floppy"}
	mediaSources = []string{"http", "local", "swift"}
	mediaSchemes = []string{"http", "https", "nfs", "cifs"}
)

func (s *Server) listVirtualMedia(ctx context.Context, r *request) (reply, error) {
	n, err := s.node(ctx, r)
	if err != nil {
		return reply{}, err
	}
	list, err := s.conductor.VirtualMedia(ctx, n.ID)
	if err != nil {
		return reply{}, err
	}
	if list == nil {
		list = []map[string]any{}
	}
	return ok(list)
}

func (s *Server) attachVirtualMedia(ctx context.Context, r *request) (reply, error) {
	members := map[string]string{}
	for _, name := range []string{"device_type", "image_url", "image_download_source"} {
		text, err := r.args.text(name)
		if err != nil {
			return reply{}, err
		}
		if text == "" && name != "image_download_source" {
			return reply{}, badRequest("Schema error for vmedia: '%s' is a required property", name)
		}
		members[name] = text
	}
	device, source := members["device_type"], members["image_download_source"]
	image, err := url.Parse(members["image_url"])
	switch {
	case !slices.Contains(mediaDevices, device):
		return reply{}, badRequest("Schema error for vmedia: device_type %q is not one of %s", device, strings.Join(mediaDevices, ", "))
	case source != "" && !slices.Contains(mediaSources, source):
		return reply{}, badRequest("Schema error for vmedia: image_download_source %q is not one of %s", source, strings.Join(mediaSources, ", "))
	case err != nil:
		return reply{}, badRequest("The image_url is malformed.")
	case !slices.Contains(mediaSchemes, image.Scheme):
		return reply{}, badRequest("Unsupported or missing URL scheme: %s", image.Scheme)
	}
	n, err := s.node(ctx, r)
	if err != nil {
		return reply{}, err
	}
	if err := s.conductor.AttachVirtualMedia(ctx, n.ID, device, image.String()); err != nil {
		return reply{}, err
	}
	return noContent()
}

func (s *Server) detachVirtualMedia(ctx context.Context, r *request) (reply, error) {
	devices, err := r.args.list("device_types")
	if err != nil {
		return reply{}, err
	}
	invalid := slices.DeleteFunc(slices.Clone(devices), func(d string) bool { return slices.Contains(mediaDevices, d) })
	if len(invalid) > 0 {
		return reply{}, badRequest("Invalid device type(s) %s (valid are %s)", strings.Join(invalid, ", "), strings.Join(mediaDevices, ", "))
	}
	n, err := s.node(ctx, r)
	if err != nil {
		return reply{}, err
	}
	if err := s.conductor.DetachVirtualMedia(ctx, n.ID, devices); err != nil {
		return reply{}, err
	}
	return noContent()
}

// httpMethods are those that a vendor's method may be called with.
var httpMethods = []string{http.MethodGet, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete}

// vendorRoutes are those of vendors' methods below base, in both spellings.
func vendorRoutes(base, policy string, list, call handler) []route {
	routes := []route{{method: "GET", path: base + "/methods", policy: policy, handle: list, result: "VendorMethods", doc: "Lists the methods of the vendor interface."}}
	for _, m := range httpMethods {
		routes = append(routes,
			route{method: m, path: base, policy: policy, handle: call, body: "VendorArguments", result: "VendorResult", doc: "Calls a method of the vendor interface.",
				args: []arg{{name: "method", kind: argText, doc: "Name of the method."}}},
			route{method: m, path: base + "/:method", policy: policy, handle: call, body: "VendorArguments", result: "VendorResult", doc: "Calls a method of the vendor interface."})
	}
	return routes
}

// vendorCall reads which method is to be called, and with what.
func vendorCall(r *request) (method string, args map[string]any, err error) {
	if method = r.params["method"]; method == "" {
		if method, err = r.args.text("method"); err != nil {
			return "", nil, err
		}
	}
	if method == "" {
		return "", nil, badRequest("Missing mandatory parameter: method")
	}
	if strings.TrimSpace(string(r.body)) == "" {
		return method, map[string]any{}, nil
	}
	args, err = r.decodeObject()
	return method, args, err
}

func (s *Server) listVendorMethods(ctx context.Context, r *request) (reply, error) {
	n, err := s.node(ctx, r)
	if err != nil {
		return reply{}, err
	}
	methods, err := s.conductor.VendorMethods(ctx, n.ID)
	if err != nil {
		return reply{}, err
	}
	if methods == nil {
		methods = map[string]driver.VendorMethod{}
	}
	return ok(methods)
}

func (s *Server) callVendorMethod(ctx context.Context, r *request) (reply, error) {
	method, args, err := vendorCall(r)
	if err != nil {
		return reply{}, err
	}
	n, err := s.node(ctx, r)
	if err != nil {
		return reply{}, err
	}
	result, async, err := s.conductor.CallVendor(ctx, n.ID, method, r.route.method, args)
	switch {
	case err != nil:
		return reply{}, err
	case async:
		return accepted("")
	}
	return ok(&result) // null is an answer, too
}

// listDriverMethods: no hardware type that is built in has methods of its own.
func (s *Server) listDriverMethods(ctx context.Context, r *request) (reply, error) {
	if _, err := s.driver(ctx, r); err != nil {
		return reply{}, err
	}
	return ok(map[string]any{})
}

func (s *Server) callDriverMethod(ctx context.Context, r *request) (reply, error) {
	method, _, err := vendorCall(r)
	if err != nil {
		return reply{}, err
	}
	if _, err := s.driver(ctx, r); err != nil {
		return reply{}, err
	}
	return reply{}, flow.NoVendorMethod(method)
}
