package restapi

import (
	"fmt"
	"regexp"
	"strings"

	"ferric/api"
	"ferric/api/ironic"
	"ferric/conductor/provision"
	"ferric/conductor/store"
)

// nodeFields are the attributes of a node with the microversion that each
// appeared in (REST contract, section 3.1). Literal table.
var nodeFields = fields[store.Node]{
	{"uuid", ironic.VersionMin, onCreate | sortable, requiredUUID(func(n *store.Node) *string { return &n.UUID })},
	{"name", ironic.VersionNodeName, onCreate | onPatch | sortable, optionalText(func(n *store.Node) **string { return &n.Name }, 255)},
	{"driver", ironic.VersionMin, onCreate | onPatch | sortable, nodeDriver},
	{"driver_info", ironic.VersionMin, onCreate | onPatch, object(func(n *store.Node) *store.Object { return &n.DriverInfo }, nil)},
	{"driver_internal_info", ironic.VersionDriverInternalInfo, readOnly, computed(func(n *store.Node) any { return orEmpty(n.DriverInternalInfo) })},
	{"properties", ironic.VersionMin, onCreate | onPatch, object(func(n *store.Node) *store.Object { return &n.Properties }, checkProperties)},
	{"instance_info", ironic.VersionMin, onCreate | onPatch, object(func(n *store.Node) *store.Object { return &n.InstanceInfo }, nil)},
	{"extra", ironic.VersionMin, onCreate | onPatch, object(func(n *store.Node) *store.Object { return &n.Extra }, nil)},
	{"instance_uuid", ironic.VersionMin, onCreate | onPatch | sortable, optionalUUID(func(n *store.Node) **string { return &n.InstanceUUID })},
	{"instance_name", ironic.VersionInstanceName, onCreate | onPatch | sortable, nodeInstanceName},
	{"chassis_uuid", ironic.VersionMin, onCreate | onPatch | sortable, optionalUUID(func(n *store.Node) **string { return &n.ChassisUUID })},
	{"description", ironic.VersionDescription, onCreate | onPatch | sortable, optionalText(func(n *store.Node) **string { return &n.Description }, 4096)},
	{"resource_class", ironic.VersionResourceClass, onCreate | onPatch | sortable, optionalText(func(n *store.Node) **string { return &n.ResourceClass }, 80)},
	{"conductor_group", ironic.VersionConductorGroup, onCreate | onPatch | sortable, nodeConductorGroup},
	{"owner", ironic.VersionOwner, onCreate | onPatch | sortable, optionalText(func(n *store.Node) **string { return &n.Owner }, 255)},
	{"lessee", ironic.VersionLessee, onCreate | onPatch | sortable, optionalText(func(n *store.Node) **string { return &n.Lessee }, 255)},
	{"shard", ironic.VersionShards, onCreate | onPatch | sortable, optionalText(func(n *store.Node) **string { return &n.Shard }, 255)},
	{"parent_node", ironic.VersionParentNode, onCreate | onPatch | sortable, optionalText(func(n *store.Node) **string { return &n.ParentNode }, 36)},
	{"automated_clean", ironic.VersionAutomatedClean, onCreate | onPatch | sortable, optionalFlag(func(n *store.Node) **bool { return &n.AutomatedClean })},
	{"disable_power_off", ironic.VersionDisablePowerOff, onCreate | onPatch | sortable, flag(func(n *store.Node) *bool { return &n.DisablePowerOff }, false)},
	{"protected", ironic.VersionProtected, onPatch | sortable, flag(func(n *store.Node) *bool { return &n.Protected }, false)},
	{"protected_reason", ironic.VersionProtected, onPatch | sortable, optionalText(func(n *store.Node) **string { return &n.ProtectedReason }, 4096)},
	{"retired", ironic.VersionRetired, onCreate | onPatch | sortable, flag(func(n *store.Node) *bool { return &n.Retired }, false)},
	{"retired_reason", ironic.VersionRetired, onCreate | onPatch | sortable, optionalText(func(n *store.Node) **string { return &n.RetiredReason }, 4096)},
	{"maintenance", ironic.VersionMin, onCreate | onPatch | sortable, flag(func(n *store.Node) *bool { return &n.Maintenance }, false)},
	{"maintenance_reason", ironic.VersionMin, sortable, computed(func(n *store.Node) any { return n.MaintenanceReason })},
	{"fault", ironic.VersionFault, sortable, computed(func(n *store.Node) any { return n.Fault })},
	{"network_data", ironic.VersionNetworkData, onCreate | onPatch, object(func(n *store.Node) *store.Object { return &n.NetworkData }, checkNetworkData)},

	{"bios_interface", ironic.VersionBIOS, onCreate | onPatch | sortable, interfaceName(func(n *store.Node) **string { return &n.BIOSInterface })},
	{"boot_interface", ironic.VersionInterfaces, onCreate | onPatch | sortable, interfaceName(func(n *store.Node) **string { return &n.BootInterface })},
	{"console_interface", ironic.VersionInterfaces, onCreate | onPatch | sortable, interfaceName(func(n *store.Node) **string { return &n.ConsoleInterface })},
	{"deploy_interface", ironic.VersionInterfaces, onCreate | onPatch | sortable, interfaceName(func(n *store.Node) **string { return &n.DeployInterface })},
	{"firmware_interface", ironic.VersionFirmware, onCreate | onPatch | sortable, interfaceName(func(n *store.Node) **string { return &n.FirmwareInterface })},
	{"inspect_interface", ironic.VersionInterfaces, onCreate | onPatch | sortable, interfaceName(func(n *store.Node) **string { return &n.InspectInterface })},
	{"management_interface", ironic.VersionInterfaces, onCreate | onPatch | sortable, interfaceName(func(n *store.Node) **string { return &n.ManagementInterface })},
	{"network_interface", ironic.VersionNetworkInterface, onCreate | onPatch | sortable, interfaceName(func(n *store.Node) **string { return &n.NetworkInterface })},
	{"power_interface", ironic.VersionInterfaces, onCreate | onPatch | sortable, interfaceName(func(n *store.Node) **string { return &n.PowerInterface })},
	{"raid_interface", ironic.VersionInterfaces, onCreate | onPatch | sortable, interfaceName(func(n *store.Node) **string { return &n.RAIDInterface })},
	{"rescue_interface", ironic.VersionRescue, onCreate | onPatch | sortable, interfaceName(func(n *store.Node) **string { return &n.RescueInterface })},
	{"storage_interface", ironic.VersionStorageInterface, onCreate | onPatch | sortable, interfaceName(func(n *store.Node) **string { return &n.StorageInterface })},
	{"vendor_interface", ironic.VersionInterfaces, onCreate | onPatch | sortable, interfaceName(func(n *store.Node) **string { return &n.VendorInterface })},

	{"power_state", ironic.VersionMin, sortable, computed(func(n *store.Node) any { return n.PowerState })},
	{"target_power_state", ironic.VersionMin, sortable, computed(func(n *store.Node) any { return n.TargetPowerState })},
	{"provision_state", ironic.VersionMin, sortable, computed(func(n *store.Node) any { return n.ProvisionState })},
	{"target_provision_state", ironic.VersionMin, sortable, computed(func(n *store.Node) any { return n.TargetProvisionState })},
	{"provision_updated_at", ironic.VersionMin, sortable, computed(func(n *store.Node) any { return moment(n.ProvisionUpdatedAt) })},
	{"last_error", ironic.VersionMin, sortable, computed(func(n *store.Node) any { return n.LastError })},
	{"reservation", ironic.VersionMin, sortable, computed(func(n *store.Node) any { return n.Reservation })},
	{"console_enabled", ironic.VersionMin, onCreate | sortable, flag(func(n *store.Node) *bool { return &n.ConsoleEnabled }, false)},
	{"inspection_started_at", ironic.VersionInspect, sortable, computed(func(n *store.Node) any { return moment(n.InspectionStartedAt) })},
	{"inspection_finished_at", ironic.VersionInspect, sortable, computed(func(n *store.Node) any { return moment(n.InspectionFinishedAt) })},
	{"clean_step", ironic.VersionCleanStep, readOnly, computed(func(n *store.Node) any { return orEmpty(n.CleanStep) })},
	{"deploy_step", ironic.VersionDeployStep, readOnly, computed(func(n *store.Node) any { return orEmpty(n.DeployStep) })},
	{"service_step", ironic.VersionService, readOnly, computed(func(n *store.Node) any { return orEmpty(n.ServiceStep) })},
	{"raid_config", ironic.VersionRAID, readOnly, computed(func(n *store.Node) any { return orEmpty(n.RAIDConfig) })},
	{"target_raid_config", ironic.VersionRAID, readOnly, computed(func(n *store.Node) any { return orEmpty(n.TargetRAIDConfig) })},
	{"traits", ironic.VersionTraits, readOnly, computed(func(n *store.Node) any { return append([]string{}, n.Traits...) })},
	{"boot_mode", ironic.VersionBootMode, onCreate | sortable, nodeBootMode},
	{"secure_boot", ironic.VersionBootMode, onCreate | sortable, optionalFlag(func(n *store.Node) **bool { return &n.SecureBoot })},
	{"allocation_uuid", ironic.VersionAllocations, readOnly, computed(func(n *store.Node) any { return n.AllocationUUID })},
	{"health", ironic.VersionHealth, sortable, computed(func(n *store.Node) any { return n.Health })},
	{"conductor", ironic.VersionConductors, readOnly, computed(func(*store.Node) any { return nil })}, // see ViewOptions
	{"created_at", ironic.VersionMin, sortable, computed(func(n *store.Node) any { return moment(&n.CreatedAt) })},
	{"updated_at", ironic.VersionMin, sortable, computed(func(n *store.Node) any { return moment(n.UpdatedAt) })},
}

// nodeListFields are the columns of a list that was not asked for others.
var nodeListFields = []string{"instance_uuid", "maintenance", "name", "power_state", "provision_state", "uuid"}

// nodeCollections are the links to what hangs on a node, with the microversion
// that each appeared in. Literal table.
var nodeCollections = []struct {
	name  string
	since ironic.Version
}{{"ports", 1}, {"portgroups", 24}, {"states", 14}, {"volume", 32}}

// ViewOptions select what a view of a node holds.
type ViewOptions struct {
	Base      string   // links start with it
	Fields    []string // nil is all, with the links to the node's collections
	Conductor *string  // host that serves the node
}

// NodeView is a node as API version v shows it, secrets masked.
func NodeView(n *store.Node, v ironic.Version, o ViewOptions) map[string]any {
	out := nodeFields.view(n, v, o.Fields)
	maskNode(out, "", "image_url")
	if _, ok := out["conductor"]; ok {
		out["conductor"] = o.Conductor
	}
	if _, ok := out["provision_state"]; ok {
		out["provision_state"] = shownState(n.ProvisionState, v)
	}
	out["links"] = links(o.Base, "nodes/"+n.UUID)
	if o.Fields == nil {
		for _, c := range nodeCollections {
			if c.since <= v {
				out[c.name] = links(o.Base, "nodes/"+n.UUID+"/"+c.name)
			}
		}
	}
	return out
}

// AgentNode is a node as the conductor sends it to agents: all fields, secrets
// masked. The config drive is shown where a step is to write it.
func AgentNode(n *store.Node, unmaskConfigDrive bool) map[string]any {
	out := nodeFields.view(n, api.MaxVersion, nil)
	show := ""
	if unmaskConfigDrive {
		show = "configdrive"
	}
	maskNode(out, show, "")
	return out
}

// maskNode hides the secrets of those fields that may hold some.
func maskNode(view map[string]any, show, hide string) {
	for _, name := range []string{"driver_info", "driver_internal_info", "instance_info", "clean_step", "deploy_step", "service_step"} {
		if v, ok := view[name]; ok {
			view[name] = mask(v, show, hide)
		}
	}
}

// shownState is a provision state as old clients know it.
func shownState(s provision.State, v ironic.Version) any {
	switch {
	case s == provision.Available && v < ironic.VersionAvailable:
		return nil
	case s == provision.InspectWait && v < ironic.VersionInspectWait:
		return provision.Inspecting
	}
	return s
}

// links are the two addresses of a resource.
func links(base, path string) []ironic.Link {
	return []ironic.Link{{Href: base + "/v1/" + path, Rel: "self"}, {Href: base + "/" + path, Rel: "bookmark"}}
}

func orEmpty(o store.Object) map[string]any {
	if o == nil {
		return map[string]any{}
	}
	return o
}

// Columns of a node with rules of their own.
var (
	nodeDriver = column[store.Node]{
		get: func(n *store.Node) any { return n.Driver },
		set: func(n *store.Node, v any) error {
			s, err := textValue(v, 255)
			if err == nil && s == "" {
				err = fmt.Errorf("a driver is required")
			}
			n.Driver = s
			return err
		},
	}
	nodeConductorGroup = column[store.Node]{
		get: func(n *store.Node) any { return n.ConductorGroup },
		set: func(n *store.Node, v any) error {
			n.ConductorGroup = ""
			if v == nil {
				return nil
			}
			s, err := textValue(v, 255)
			if err == nil && !conductorGroup.MatchString(s) {
				err = fmt.Errorf("only letters, digits, _, - and . are allowed")
			}
			n.ConductorGroup = strings.ToLower(s)
			return err
		},
	}
	nodeBootMode = column[store.Node]{
		get: func(n *store.Node) any { return n.BootMode },
		set: func(n *store.Node, v any) error {
			s, _ := v.(string)
			if s != "uefi" && s != "bios" {
				return fmt.Errorf("expected uefi or bios")
			}
			n.BootMode = &s
			return nil
		},
	}
	nodeInstanceName = column[store.Node]{
		get: func(n *store.Node) any { return n.InstanceName },
		set: func(n *store.Node, v any) error {
			if v == "" {
				return fmt.Errorf("at least one character is expected")
			}
			return optionalText(func(n *store.Node) **string { return &n.InstanceName }, maxInstanceName).set(n, v)
		},
	}
)

var conductorGroup = regexp.MustCompile(`^[a-zA-Z0-9_\-.]*$`)

func interfaceName(at func(n *store.Node) **string) column[store.Node] { return optionalText(at, 255) }

func checkProperties(o store.Object) error {
	for _, key := range []string{"memory_mb", "local_gb", "cpus"} {
		if o[key] != "" && !nonNegative(o[key]) { // empty is not known
			return fmt.Errorf("%s must be a non-negative integer, not %v", key, o[key])
		}
	}
	return nil
}
