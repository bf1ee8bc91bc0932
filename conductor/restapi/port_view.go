package restapi

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"ferric/api"
	"ferric/api/ironic"
	"ferric/conductor/store"
)

// portFields are the attributes of a port with the microversion that each
// appeared in (REST contract, section 4). Literal table.
var portFields = fields[store.Port]{
	{"uuid", ironic.VersionMin, onCreate | sortable, requiredUUID(func(p *store.Port) *string { return &p.UUID })},
	{"name", ironic.VersionPortName, onCreate | onPatch | sortable, optionalText(func(p *store.Port) **string { return &p.Name }, 255)},
	{"address", ironic.VersionMin, onCreate | onPatch | sortable, portAddress},
	{"node_uuid", ironic.VersionMin, onCreate | onPatch, requiredUUID(func(p *store.Port) *string { return &p.NodeUUID })},
	{"extra", ironic.VersionMin, onCreate | onPatch, object(func(p *store.Port) *store.Object { return &p.Extra }, nil)},
	{"internal_info", ironic.VersionPortInternalInfo, readOnly, computed(func(p *store.Port) any { return orEmpty(p.InternalInfo) })},
	{"local_link_connection", ironic.VersionPortPXE, onCreate | onPatch, object(func(p *store.Port) *store.Object { return &p.LocalLinkConnection }, nil)},
	{"pxe_enabled", ironic.VersionPortPXE, onCreate | onPatch | sortable, flag(func(p *store.Port) *bool { return &p.PXEEnabled }, true)},
	{"portgroup_uuid", ironic.VersionPortgroupPorts, onCreate | onPatch, optionalUUID(func(p *store.Port) **string { return &p.PortgroupUUID })},
	{"physical_network", ironic.VersionPhysicalNetwork, onCreate | onPatch | sortable, physicalNetwork(func(p *store.Port) **string { return &p.PhysicalNetwork })},
	{"is_smartnic", ironic.VersionSmartNIC, onCreate | onPatch | sortable, flag(func(p *store.Port) *bool { return &p.IsSmartNIC }, false)},
	{"description", ironic.VersionPortDescription, onCreate | onPatch | sortable, optionalText(func(p *store.Port) **string { return &p.Description }, 255)},
	{"vendor", ironic.VersionPortVendor, onCreate | onPatch | sortable, optionalText(func(p *store.Port) **string { return &p.Vendor }, 32)},
	{"category", ironic.VersionPortCategory, onCreate | onPatch | sortable, optionalText(func(p *store.Port) **string { return &p.Category }, 80)},
	{"available_for_dynamic_portgroup", ironic.VersionDynamicPortgroups, onCreate | onPatch | sortable, flag(func(p *store.Port) *bool { return &p.AvailableForDynamicPortgroup }, true)},
	{"created_at", ironic.VersionMin, sortable, computed(func(p *store.Port) any { return moment(&p.CreatedAt) })},
	{"updated_at", ironic.VersionMin, sortable, computed(func(p *store.Port) any { return moment(p.UpdatedAt) })},
}

// portListFields are the columns of a list that was not asked for others.
var portListFields = []string{"uuid", "address"}

// PortView is a port as API version v shows it; fields nil is the full form.
func PortView(p *store.Port, v ironic.Version, base string, fields []string) map[string]any {
	out := portFields.view(p, v, fields)
	if _, shown := out["local_link_connection"]; shown && !knowsVTEP(v) && hasVTEP(p.LocalLinkConnection) {
		out["local_link_connection"] = map[string]any{}
	}
	out["links"] = links(base, "ports/"+p.UUID)
	return out
}

// AgentPort is a port as the conductor sends it to agents: all fields.
func AgentPort(p *store.Port) map[string]any { return portFields.view(p, api.MaxVersion, nil) }

// portAddress is a MAC address in lower case.
var portAddress = column[store.Port]{
	get: func(p *store.Port) any { return p.Address },
	set: func(p *store.Port, v any) error {
		s, _ := v.(string)
		mac, ok := parseMAC(s)
		if !ok {
			return fmt.Errorf("expected a MAC address but received %v", v)
		}
		p.Address = mac
		return nil
	},
}

// physicalNetwork is a nullable text that is not empty.
func physicalNetwork[T any](at func(row *T) **string) column[T] {
	c := optionalText(at, 64)
	plain := c.set
	c.set = func(row *T, v any) error {
		if v == "" {
			return fmt.Errorf("a non-empty value is required when setting physical_network")
		}
		return plain(row, v)
	}
	return c
}

// linkMembers are those that a local_link_connection may have, all of them
// texts. Literal table.
var linkMembers = []string{"port_id", "switch_id", "hostname", "switch_info", "network_type", "vtep-logical-switch", "vtep-physical-switch"}

// linkForms are what a local_link_connection, where it is not empty, has to
// have: the members of one of these (REST contract, section 4). Literal table.
var linkForms = [][]string{
	{"port_id", "switch_id"},
	smartNICLink,
	{"port_id", "vtep-logical-switch", "vtep-physical-switch"},
}

// smartNICLink is the form that a port with is_smartnic needs.
var smartNICLink = []string{"port_id", "hostname"}

// OpenFlow calls switches by numbers like this where it does not by MAC address.
var datapathID = regexp.MustCompile(`^[0-9a-f]{16}$`)

// knowsVTEP tells whether the version of the API has OVN's VTEP switches.
func knowsVTEP(v ironic.Version) bool { return v >= ironic.VersionVTEP && v < ironic.VersionNoVTEP }

func hasVTEP(o store.Object) bool {
	return has(o, "vtep-logical-switch") || has(o, "vtep-physical-switch")
}

func has(o store.Object, name string) bool { _, ok := o[name]; return ok }

// checkLinkConnection refuses what is none of the forms, or is not known at
// version v, and brings the switch's address to the usual spelling.
func checkLinkConnection(o store.Object, v ironic.Version) error {
	if len(o) == 0 {
		return nil
	}
	for _, name := range slices.Sorted(maps.Keys(o)) {
		if !slices.Contains(linkMembers, name) {
			return badRequest("Invalid local_link_connection: unknown member %q.", name)
		}
		if _, ok := o[name].(string); !ok {
			return badRequest("Invalid local_link_connection: %s has to be a string.", name)
		}
	}
	kind := o.String("network_type")
	if has(o, "network_type") && kind != "managed" && kind != "unmanaged" {
		return badRequest("Invalid network_type %q in local_link_connection: it has to be managed or unmanaged.", kind)
	}
	if kind != "unmanaged" && !slices.ContainsFunc(linkForms, func(form []string) bool { return hasForm(o, form) }) {
		return badRequest("Invalid local_link_connection: it needs switch_id and port_id, or port_id and hostname, or the network_type unmanaged.")
	}
	if has(o, "vtep-logical-switch") != has(o, "vtep-physical-switch") {
		return badRequest("Invalid local_link_connection: vtep-logical-switch and vtep-physical-switch need each other.")
	}
	if has(o, "network_type") && v < ironic.VersionUnmanagedPort {
		return notAcceptable("The network_type of local_link_connection is not acceptable before API version 1.64.")
	}
	if hasVTEP(o) && !knowsVTEP(v) {
		return notAcceptable("VTEP switches in local_link_connection are only acceptable in API versions 1.90 to 1.104.")
	}
	return normaliseSwitch(o)
}

func normaliseSwitch(o store.Object) error {
	if !has(o, "switch_id") {
		return nil
	}
	id := strings.ToLower(o.String("switch_id"))
	if mac, ok := parseMAC(id); ok {
		id = mac
	} else if !datapathID.MatchString(id) {
		return badRequest("Expected a MAC address or OpenFlow datapath ID as switch_id but received %q.", id)
	}
	o["switch_id"] = id
	return nil
}

func hasForm(o store.Object, members []string) bool {
	return !slices.ContainsFunc(members, func(name string) bool { return !has(o, name) })
}
