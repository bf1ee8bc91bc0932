package auth

import (
	"net/http"
	"slices"

	"ferric/api"
)

// scope is where a role has to be held to count.
type scope int

const (
	system  scope = iota // on the whole system
	project              // anywhere
	owner                // in the project that owns the object
	lessee               // in the project that leases the node
)

// grant is one way to be allowed: a role in a scope.
type grant struct {
	role  string
	scope scope
}

// Groups of grants that rules share. Keystone lists implied roles in the
// token: an admin is a manager, a member and a reader as well.
var (
	systemAdmin  = []grant{{"admin", system}}
	systemMaker  = []grant{{"admin", system}, {"service", system}}
	systemMember = []grant{{"member", system}, {"elevated", system}}
	systemReader = []grant{{"reader", system}, {"service", system}, {"elevated", system}}
	systemWriter = slices.Concat(systemMember, []grant{{"service", system}})
	anyReader    = []grant{{"reader", project}, {"service", project}}
	anyManager   = []grant{{"manager", project}, {"service", project}}

	ownerService = []grant{{"service", owner}}
	ownerReader  = slices.Concat(ownerService, []grant{{"reader", owner}})
	ownerMember  = slices.Concat(ownerService, []grant{{"member", owner}})
	ownerManager = slices.Concat(ownerService, []grant{{"admin", owner}, {"manager", owner}})

	lesseeManager = []grant{{"admin", lessee}, {"manager", lessee}}
	tenantReader  = slices.Concat(ownerReader, []grant{{"reader", lessee}})
	tenantMember  = []grant{{"member", owner}, {"member", lessee}}
)

// rule says who is allowed what. Names are Ironic's.
type rule struct {
	name  string
	allow [][]grant
}

// may makes the lines of the table short.
func may(name string, allow ...[]grant) rule { return rule{"baremetal:" + name, allow} }

// rules are those of Ironic's default policy. Literal table. What nobody is
// allowed (show_password, show_instance_secrets) has no line: secrets are
// masked for everybody.
var rules = []rule{
	may("node:create", systemMaker),
	may("node:create:self_owned_node", []grant{{"admin", project}, {"service", project}}),
	may("node:list", anyReader),
	may("node:list_all", systemReader),
	may("node:get", systemReader, tenantReader),
	may("node:get:filter_threshold", systemReader),
	may("node:get:last_error", systemReader, ownerReader),
	may("node:get:reservation", systemReader, ownerReader),
	may("node:get:driver_internal_info", systemReader, ownerReader),
	may("node:get:driver_info", systemReader, ownerReader),
	may("node:update", systemWriter, tenantMember),
	may("node:update_extra", systemWriter, tenantMember),
	may("node:update_instance_info", systemWriter, ownerMember, lesseeManager),
	may("node:update_owner_provisioned", systemAdmin),
	may("node:update:driver_info", systemWriter, ownerMember),
	may("node:update:properties", systemWriter, ownerMember),
	may("node:update:chassis_uuid", systemAdmin),
	may("node:update:instance_uuid", systemWriter, ownerMember),
	may("node:update:lessee", systemWriter, ownerMember),
	may("node:update:owner", systemMember),
	may("node:update:driver_interfaces", systemWriter, ownerManager),
	may("node:update:network_data", systemWriter, ownerMember),
	may("node:update:conductor_group", systemMember),
	may("node:update:name", systemWriter, ownerMember),
	may("node:update:retired", systemWriter, ownerMember),
	may("node:update:shard", systemAdmin),
	may("node:update:parent_node", systemMember),
	may("node:update:disable_power_off", systemAdmin),
	may("node:disable_cleaning", systemAdmin),
	may("node:delete", systemAdmin),
	may("node:delete:self_owned_node", []grant{{"admin", owner}}),
	may("node:validate", systemWriter, ownerMember, lesseeManager),
	may("node:set_maintenance", systemWriter, ownerMember, lesseeManager),
	may("node:clear_maintenance", systemWriter, ownerMember, lesseeManager),
	may("node:get_boot_device", systemWriter, ownerManager),
	may("node:set_boot_device", systemWriter, ownerManager),
	may("node:get_indicator_state", systemReader, tenantReader),
	may("node:set_indicator_state", systemWriter, ownerMember),
	may("node:inject_nmi", systemWriter, ownerManager),
	may("node:get_states", systemReader, tenantReader),
	may("node:set_power_state", systemWriter, tenantMember),
	may("node:set_boot_mode", systemWriter, tenantMember),
	may("node:set_secure_boot", systemWriter, tenantMember),
	may("node:set_provision_state", systemWriter, ownerMember, lesseeManager),
	may("node:set_provision_state:clean_steps", systemWriter, ownerMember, lesseeManager),
	may("node:set_provision_state:service_steps", systemWriter, ownerMember, lesseeManager),
	may("node:set_raid_state", systemWriter, ownerMember),
	may("node:get_console", systemWriter, ownerMember),
	may("node:set_console_state", systemWriter, ownerMember),
	may("node:vif:list", systemReader, tenantReader),
	may("node:vif:attach", systemWriter, ownerMember, lesseeManager),
	may("node:vif:detach", systemWriter, ownerMember, lesseeManager),
	may("node:traits:list", systemReader, tenantReader),
	may("node:traits:set", systemWriter, ownerManager),
	may("node:traits:delete", systemWriter, ownerManager),
	may("node:bios:get", systemReader, tenantReader),
	may("node:firmware:get", systemReader, tenantReader),
	may("node:history:get", systemReader, ownerReader),
	may("node:inventory:get", systemReader, ownerReader),
	may("node:vmedia:get", systemReader, tenantReader),
	may("node:vmedia:attach", systemWriter, tenantMember),
	may("node:vmedia:detach", systemWriter, tenantMember),
	may("node:vendor_passthru", systemAdmin),
	may("shards:get", systemReader),
	may("port:get", systemReader, tenantReader),
	may("port:list", anyReader),
	may("port:list_all", systemReader),
	may("port:create", systemMaker, ownerManager),
	may("port:update", systemWriter, ownerManager),
	may("port:delete", systemMaker, ownerManager),
	may("portgroup:get", systemReader, tenantReader),
	may("portgroup:list", anyReader),
	may("portgroup:list_all", systemReader),
	may("portgroup:create", systemMaker, ownerManager),
	may("portgroup:update", systemWriter, ownerManager),
	may("portgroup:delete", systemMaker, ownerManager),
	may("chassis:get", systemReader),
	may("chassis:create", systemAdmin),
	may("chassis:update", systemMember),
	may("chassis:delete", systemAdmin),
	may("driver:get", systemReader),
	may("driver:get_properties", systemReader),
	may("driver:get_raid_logical_disk_properties", systemReader),
	may("driver:vendor_passthru", systemAdmin),
	may("conductor:get", systemReader),
	may("volume:list", anyReader),
	may("volume:list_all", systemReader),
	may("volume:get", systemReader, tenantReader),
	may("volume:create", systemWriter, ownerManager, lesseeManager),
	may("volume:update", systemWriter, ownerMember, lesseeManager),
	may("volume:delete", systemWriter, ownerManager, lesseeManager),
	may("volume:view_target_properties", systemReader, []grant{{"admin", project}}),
	may("allocation:get", systemReader, []grant{{"reader", owner}}),
	may("allocation:list", anyReader),
	may("allocation:list_all", systemReader),
	may("allocation:create", systemMember, []grant{{"member", project}}),
	may("allocation:create_restricted", systemMember),
	may("allocation:update", systemMember, []grant{{"member", owner}}),
	may("allocation:delete", systemMember, []grant{{"member", owner}}),
	may("events:post", systemAdmin),
	may("deploy_template:get", systemReader),
	may("deploy_template:create", systemAdmin),
	may("deploy_template:update", systemAdmin),
	may("deploy_template:delete", systemAdmin),
	may("runbook:get", systemReader, []grant{{"reader", owner}, {"service", project}}),
	may("runbook:list", anyReader),
	may("runbook:list_all", systemReader),
	may("runbook:create", systemMember, anyManager),
	may("runbook:update", systemMember, []grant{{"manager", owner}, {"service", project}}),
	may("runbook:update:public", systemMember),
	may("runbook:update:owner", systemMember),
	may("runbook:delete", systemMember, []grant{{"manager", owner}, {"service", project}}),
	may("runbook:use", systemMember, []grant{{"manager", owner}, {"service", project}}),
	may("inspection_rule:get", systemReader),
	may("inspection_rule:list_all", systemReader),
	may("inspection_rule:create", systemAdmin),
	may("inspection_rule:update", systemAdmin),
	may("inspection_rule:delete", systemAdmin),
	// Ferric's own: what runs on machines as root is for administrators only.
	may("plugin:get", systemReader),
	may("plugin:create", systemAdmin),
	may("plugin:update", systemAdmin),
	may("plugin:delete", systemAdmin),
}

// Public is the policy of what needs no credentials.
const Public = "public"

// Policy is the table by name.
type Policy map[string][]grant

// NewPolicy makes it.
func NewPolicy() Policy {
	p := Policy{}
	for _, r := range rules {
		p[r.name] = slices.Concat(r.allow...)
	}
	return p
}

// Knows tells whether there is such a rule.
func (p Policy) Knows(name string) bool {
	_, ok := p[name]
	return ok || name == Public
}

// AboutOwners tells whether the rule depends on who owns or leases an object.
func (p Policy) AboutOwners(name string) bool {
	return slices.ContainsFunc(p[name], func(g grant) bool { return g.scope == owner || g.scope == lessee })
}

// Target is what a rule is about; nil members are nobody's.
type Target struct{ Owner, Lessee *string }

// Allows tells whether id may do to t what the rule is about. Nobody may what
// there is no rule for, except administrators, for whom there are none.
func (p Policy) Allows(id *Identity, name string, t Target) bool {
	if id.Admin || name == Public {
		return true
	}
	return slices.ContainsFunc(p[name], func(g grant) bool { return id.holds(g, t) })
}

func (id *Identity) holds(g grant, t Target) bool {
	if g.role == "elevated" {
		return id.elevated
	}
	if !slices.Contains(id.Roles, g.role) {
		return false
	}
	switch g.scope {
	case system:
		return id.System
	case project:
		return id.System || id.ProjectID != ""
	case owner:
		return id.in(t.Owner)
	case lessee:
		return id.in(t.Lessee)
	}
	return false
}

func (id *Identity) in(project *string) bool {
	return project != nil && id.ProjectID != "" && *project == id.ProjectID
}

// Denied is the answer to who may not.
func Denied(name string) error {
	return api.Errorf(http.StatusForbidden, "Access was denied to the following resource: %s", name)
}
