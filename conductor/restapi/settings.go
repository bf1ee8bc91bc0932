package restapi

import (
	"context"
	"errors"
	"net/url"
	"slices"
	"strings"

	"ferric/api/ironic"
	"ferric/conductor/store"
)

// biosFields are the attributes of a BIOS setting (REST contract, section 3.8).
// Literal table.
var biosFields = fields[store.BIOSSetting]{
	{"name", versionBIOS, readOnly, computed(func(s *store.BIOSSetting) any { return s.Name })},
	{"value", versionBIOS, readOnly, computed(func(s *store.BIOSSetting) any { return s.Value })},
	{"attribute_type", versionBIOSRegistry, readOnly, computed(func(s *store.BIOSSetting) any { return s.AttributeType })},
	{"allowable_values", versionBIOSRegistry, readOnly, computed(func(s *store.BIOSSetting) any { return s.AllowableValues })},
	{"lower_bound", versionBIOSRegistry, readOnly, computed(func(s *store.BIOSSetting) any { return s.LowerBound })},
	{"max_length", versionBIOSRegistry, readOnly, computed(func(s *store.BIOSSetting) any { return s.MaxLength })},
	{"min_length", versionBIOSRegistry, readOnly, computed(func(s *store.BIOSSetting) any { return s.MinLength })},
	{"read_only", versionBIOSRegistry, readOnly, computed(func(s *store.BIOSSetting) any { return s.ReadOnly })},
	{"reset_required", versionBIOSRegistry, readOnly, computed(func(s *store.BIOSSetting) any { return s.ResetRequired })},
	{"unique", versionBIOSRegistry, readOnly, computed(func(s *store.BIOSSetting) any { return s.Unique })},
	{"upper_bound", versionBIOSRegistry, readOnly, computed(func(s *store.BIOSSetting) any { return s.UpperBound })},
	{"created_at", versionBIOS, readOnly, computed(func(s *store.BIOSSetting) any { return moment(&s.CreatedAt) })},
	{"updated_at", versionBIOS, readOnly, computed(func(s *store.BIOSSetting) any { return moment(s.UpdatedAt) })},
}

// firmwareFields are the attributes of a firmware component. Literal table.
var firmwareFields = fields[store.FirmwareComponent]{
	{"component", versionFirmware, readOnly, computed(func(c *store.FirmwareComponent) any { return c.Component })},
	{"initial_version", versionFirmware, readOnly, computed(func(c *store.FirmwareComponent) any { return c.InitialVersion })},
	{"current_version", versionFirmware, readOnly, computed(func(c *store.FirmwareComponent) any { return c.CurrentVersion })},
	{"last_version_flashed", versionFirmware, readOnly, computed(func(c *store.FirmwareComponent) any { return c.LastVersionFlashed })},
	{"vendor", versionFirmwareIdentity, readOnly, computed(func(c *store.FirmwareComponent) any { return c.Vendor })},
	{"model", versionFirmwareIdentity, readOnly, computed(func(c *store.FirmwareComponent) any { return c.Model })},
	{"serial_number", versionFirmwareIdentity, readOnly, computed(func(c *store.FirmwareComponent) any { return c.SerialNumber })},
	{"created_at", versionFirmware, readOnly, computed(func(c *store.FirmwareComponent) any { return moment(&c.CreatedAt) })},
	{"updated_at", versionFirmware, readOnly, computed(func(c *store.FirmwareComponent) any { return moment(c.UpdatedAt) })},
}

// Microversions of what is here.
const (
	versionBIOS             ironic.Version = 40
	versionBIOSRegistry     ironic.Version = 74
	versionFirmware         ironic.Version = 86
	versionFirmwareIdentity ironic.Version = 114
)

func (s *Server) settingRoutes() []route {
	return []route{
		{method: "GET", path: "/nodes/:node/bios", policy: "baremetal:node:bios:get", since: versionBIOS, handle: s.listBIOSSettings, result: "BIOSSettings", doc: "Lists the settings of the BIOS.",
			args: []arg{{name: "detail", kind: argFlag, since: versionBIOSRegistry, older: 400}, {name: "fields", kind: argNames, since: versionBIOSRegistry, older: 400}}},
		{method: "GET", path: "/nodes/:node/bios/:setting", policy: "baremetal:node:bios:get", since: versionBIOS, handle: s.showBIOSSetting, result: "BIOSSetting", doc: "Shows a setting of the BIOS."},
		{method: "GET", path: "/nodes/:node/firmware", policy: "baremetal:node:firmware:get", since: versionFirmware, handle: s.listFirmware, result: "FirmwareComponents", doc: "Lists the versions of the firmware.",
			args: []arg{{name: "fields", kind: argNames}}},
	}
}

func (s *Server) listBIOSSettings(ctx context.Context, r *request) (reply, error) {
	detail, err := r.args.flag("detail")
	if err != nil {
		return reply{}, err
	}
	names, err := r.args.list("fields")
	if err != nil {
		return reply{}, err
	}
	full := detail != nil && *detail
	if full && names != nil {
		return reply{}, badRequest("Can not specify ?detail=True and fields in the same request.")
	}
	if err := biosFields.check(names, r.version); err != nil {
		return reply{}, err
	}
	if names == nil && !full {
		names = []string{"name", "value"}
	}
	n, err := s.node(ctx, r)
	if err != nil {
		return reply{}, err
	}
	settings, err := s.store.BIOSSettings(ctx, n.ID)
	if err != nil {
		return reply{}, err
	}
	list := []map[string]any{}
	for _, setting := range settings {
		list = append(list, biosView(r, n, setting, names))
	}
	return ok(map[string]any{"bios": list})
}

// withTimes adds to the fields that were asked for those that are always shown.
func withTimes(names []string) []string {
	if names == nil {
		return nil // all
	}
	return append(slices.Clone(names), "created_at", "updated_at")
}

// biosView shows the named fields, nil is all.
func biosView(r *request, n *store.Node, setting *store.BIOSSetting, names []string) map[string]any {
	out := biosFields.view(setting, r.version, withTimes(names))
	out["links"] = links(r.base, "nodes/"+n.UUID+"/bios/"+setting.Name)
	return out
}

func (s *Server) showBIOSSetting(ctx context.Context, r *request) (reply, error) {
	n, err := s.node(ctx, r)
	if err != nil {
		return reply{}, err
	}
	name, err := url.PathUnescape(r.params["setting"])
	if err != nil {
		name = r.params["setting"]
	}
	setting, err := s.store.BIOSSetting(ctx, n.ID, name)
	if errors.Is(err, store.ErrNotFound) {
		return reply{}, notFound("Node %s doesn't have a BIOS setting '%s'", n.UUID, name)
	}
	if err != nil {
		return reply{}, err
	}
	return ok(map[string]any{name: biosView(r, n, setting, nil)})
}

func (s *Server) listFirmware(ctx context.Context, r *request) (reply, error) {
	names, err := r.args.list("fields")
	if err != nil {
		return reply{}, err
	}
	newer := slices.DeleteFunc(slices.Clone(names), func(name string) bool {
		f, ok := firmwareFields.find(name)
		return !ok || f.since <= r.version
	})
	if len(newer) > 0 { // not 406, unlike elsewhere
		return reply{}, badRequest("Fields %s are not allowed in this API version. They require at least API version %s.", strings.Join(newer, ", "), versionFirmwareIdentity)
	}
	if err := firmwareFields.check(names, r.version); err != nil {
		return reply{}, err
	}
	n, err := s.node(ctx, r)
	if err != nil {
		return reply{}, err
	}
	components, err := s.store.FirmwareComponents(ctx, n.ID)
	if err != nil {
		return reply{}, err
	}
	list := []map[string]any{}
	for _, c := range components {
		list = append(list, firmwareFields.view(c, r.version, withTimes(names)))
	}
	return ok(map[string]any{"firmware": list})
}
