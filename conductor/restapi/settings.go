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
	{"name", ironic.VersionBIOS, readOnly, computed(func(s *store.BIOSSetting) any { return s.Name })},
	{"value", ironic.VersionBIOS, readOnly, computed(func(s *store.BIOSSetting) any { return s.Value })},
	{"attribute_type", ironic.VersionBIOSRegistry, readOnly, computed(func(s *store.BIOSSetting) any { return s.AttributeType })},
	{"allowable_values", ironic.VersionBIOSRegistry, readOnly, computed(func(s *store.BIOSSetting) any { return s.AllowableValues })},
	{"lower_bound", ironic.VersionBIOSRegistry, readOnly, computed(func(s *store.BIOSSetting) any { return s.LowerBound })},
	{"max_length", ironic.VersionBIOSRegistry, readOnly, computed(func(s *store.BIOSSetting) any { return s.MaxLength })},
	{"min_length", ironic.VersionBIOSRegistry, readOnly, computed(func(s *store.BIOSSetting) any { return s.MinLength })},
	{"read_only", ironic.VersionBIOSRegistry, readOnly, computed(func(s *store.BIOSSetting) any { return s.ReadOnly })},
	{"reset_required", ironic.VersionBIOSRegistry, readOnly, computed(func(s *store.BIOSSetting) any { return s.ResetRequired })},
	{"unique", ironic.VersionBIOSRegistry, readOnly, computed(func(s *store.BIOSSetting) any { return s.Unique })},
	{"upper_bound", ironic.VersionBIOSRegistry, readOnly, computed(func(s *store.BIOSSetting) any { return s.UpperBound })},
	{"created_at", ironic.VersionBIOS, readOnly, computed(func(s *store.BIOSSetting) any { return moment(&s.CreatedAt) })},
	{"updated_at", ironic.VersionBIOS, readOnly, computed(func(s *store.BIOSSetting) any { return moment(s.UpdatedAt) })},
}

// firmwareFields are the attributes of a firmware component. Literal table.
var firmwareFields = fields[store.FirmwareComponent]{
	{"component", ironic.VersionFirmware, readOnly, computed(func(c *store.FirmwareComponent) any { return c.Component })},
	{"initial_version", ironic.VersionFirmware, readOnly, computed(func(c *store.FirmwareComponent) any { return c.InitialVersion })},
	{"current_version", ironic.VersionFirmware, readOnly, computed(func(c *store.FirmwareComponent) any { return c.CurrentVersion })},
	{"last_version_flashed", ironic.VersionFirmware, readOnly, computed(func(c *store.FirmwareComponent) any { return c.LastVersionFlashed })},
	{"vendor", ironic.VersionFirmwareIdentity, readOnly, computed(func(c *store.FirmwareComponent) any { return c.Vendor })},
	{"model", ironic.VersionFirmwareIdentity, readOnly, computed(func(c *store.FirmwareComponent) any { return c.Model })},
	{"serial_number", ironic.VersionFirmwareIdentity, readOnly, computed(func(c *store.FirmwareComponent) any { return c.SerialNumber })},
	{"created_at", ironic.VersionFirmware, readOnly, computed(func(c *store.FirmwareComponent) any { return moment(&c.CreatedAt) })},
	{"updated_at", ironic.VersionFirmware, readOnly, computed(func(c *store.FirmwareComponent) any { return moment(c.UpdatedAt) })},
}

func (s *Server) settingRoutes() []route {
	return []route{
		{method: "GET", path: "/nodes/:node/bios", policy: "baremetal:node:bios:get", since: ironic.VersionBIOS, handle: s.listBIOSSettings, result: "BIOSSettings", doc: "Lists the settings of the BIOS.",
			args: []arg{{name: "detail", kind: argFlag, since: ironic.VersionBIOSRegistry, older: 400}, {name: "fields", kind: argNames, since: ironic.VersionBIOSRegistry, older: 400}}},
		{method: "GET", path: "/nodes/:node/bios/:setting", policy: "baremetal:node:bios:get", since: ironic.VersionBIOS, handle: s.showBIOSSetting, result: "BIOSSetting", doc: "Shows a setting of the BIOS."},
		{method: "GET", path: "/nodes/:node/firmware", policy: "baremetal:node:firmware:get", since: ironic.VersionFirmware, handle: s.listFirmware, result: "FirmwareComponents", doc: "Lists the versions of the firmware.",
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
		return reply{}, badRequest("Fields %s are not allowed in this API version. They require at least API version %s.", strings.Join(newer, ", "), ironic.VersionFirmwareIdentity)
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
