package restapi

import (
	"fmt"

	"ferric/api"
	"ferric/api/ironic"
	"ferric/conductor/store"
)

// portFields are the attributes of a port with the microversion that each
// appeared in (REST contract, section 4). Literal table.
var portFields = fields[store.Port]{
	{"uuid", 1, onCreate | sortable, portUUID},
	{"address", 1, onCreate | onPatch | sortable, portAddress},
	{"node_uuid", 1, onCreate | onPatch, portNode},
	{"extra", 1, onCreate | onPatch, object(func(p *store.Port) *store.Object { return &p.Extra }, nil)},
	{"internal_info", 18, readOnly, computed(func(p *store.Port) any { return orEmpty(p.InternalInfo) })},
	{"local_link_connection", 19, onCreate | onPatch, object(func(p *store.Port) *store.Object { return &p.LocalLinkConnection }, nil)},
	{"pxe_enabled", 19, onCreate | onPatch | sortable, flag(func(p *store.Port) *bool { return &p.PXEEnabled }, true)},
	{"portgroup_uuid", 24, onCreate | onPatch, portPortgroup},
	{"physical_network", 34, onCreate | onPatch | sortable, optionalText(func(p *store.Port) **string { return &p.PhysicalNetwork }, 64)},
	{"is_smartnic", 53, onCreate | onPatch | sortable, flag(func(p *store.Port) *bool { return &p.IsSmartNIC }, false)},
	{"created_at", 1, sortable, computed(func(p *store.Port) any { return moment(&p.CreatedAt) })},
	{"updated_at", 1, sortable, computed(func(p *store.Port) any { return moment(p.UpdatedAt) })},
}

// portListFields are the columns of a list that was not asked for others.
var portListFields = []string{"uuid", "address"}

// PortView is a port as API version v shows it; fields nil is the full form.
func PortView(p *store.Port, v ironic.Version, base string, fields []string) map[string]any {
	out := portFields.view(p, v, fields)
	out["links"] = links(base, "ports/"+p.UUID)
	return out
}

// AgentPort is a port as the conductor sends it to agents: all fields.
func AgentPort(p *store.Port) map[string]any { return portFields.view(p, api.MaxVersion, nil) }

// Columns of a port with rules of their own.
var (
	portUUID = column[store.Port]{
		get: func(p *store.Port) any { return p.UUID },
		set: func(p *store.Port, v any) error {
			s, _ := v.(string)
			id, ok := parseUUID(s)
			if !ok {
				return fmt.Errorf("expected a UUID but received %v", v)
			}
			p.UUID = id
			return nil
		},
	}
	portAddress = column[store.Port]{
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
	// The row refers to the node by its id, which the handler looks up.
	portNode = column[store.Port]{
		get: func(p *store.Port) any { return p.NodeUUID },
		set: func(p *store.Port, v any) error {
			s, _ := v.(string)
			id, ok := parseUUID(s)
			if !ok {
				return fmt.Errorf("expected a UUID but received %v", v)
			}
			p.NodeUUID = id
			return nil
		},
	}
	// There is no portgroup resource, so none can be found.
	portPortgroup = column[store.Port]{
		get: func(*store.Port) any { return nil },
		set: func(_ *store.Port, v any) error {
			if v != nil {
				return fmt.Errorf("portgroup %v could not be found", v)
			}
			return nil
		},
	}
)

// linkConnections are the forms of local_link_connection besides {}: the
// members that each needs, and those that it may have. Literal table.
var linkConnections = []struct {
	since              ironic.Version
	required, optional []string
}{
	{19, []string{"switch_id", "port_id"}, []string{"switch_info"}},
	{53, []string{"port_id", "hostname"}, nil}, // smart NIC
	{64, []string{"network_type"}, nil},        // "unmanaged"
}

// checkLinkConnection refuses what is none of the forms known at version v.
func checkLinkConnection(o store.Object, v ironic.Version) error {
	if len(o) == 0 {
		return nil
	}
	if kind, ok := o["network_type"]; ok && kind != "unmanaged" {
		return badRequest("Invalid network_type %v in local_link_connection, only unmanaged is valid.", kind)
	}
	for _, form := range linkConnections {
		if form.since <= v && hasForm(o, form.required, form.optional) {
			return nil
		}
	}
	return badRequest("Invalid local_link_connection: it needs switch_id and port_id, or port_id and hostname, or network_type.")
}

func hasForm(o store.Object, required, optional []string) bool {
	known := 0
	for _, name := range required {
		if s, ok := o[name].(string); !ok || s == "" {
			return false
		}
		known++
	}
	for _, name := range optional {
		if _, ok := o[name]; ok {
			known++
		}
	}
	return known == len(o)
}
