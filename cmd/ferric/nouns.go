package main

import (
	"context"
	"net/url"

	"github.com/google/uuid"
	"github.com/spf13/cobra"

	"ferric/api/client"
)

const both = onCreate | onSet | onUnset

// interfaceKinds are the kinds of interfaces of a node.
var interfaceKinds = []string{"bios", "boot", "console", "deploy", "firmware", "inspect", "management", "network", "power", "raid", "rescue", "storage", "vendor"}

// The nouns with what can be said of each. Literal tables.
var (
	nodes = noun{
		name: "node", path: "/v1/nodes", key: "nodes",
		columns: []string{"uuid", "name", "instance_uuid", "power_state", "provision_state", "maintenance"},
		long: []string{"allocation_uuid", "automated_clean", "bios_interface", "boot_interface", "boot_mode", "chassis_uuid", "clean_step", "conductor", "conductor_group",
			"console_enabled", "console_interface", "created_at", "raid_config", "deploy_interface", "deploy_step", "description", "disable_power_off", "driver", "driver_info",
			"driver_internal_info", "extra", "fault", "firmware_interface", "health", "inspect_interface", "inspection_finished_at", "inspection_started_at", "instance_info",
			"instance_name", "instance_uuid", "last_error", "lessee", "maintenance", "maintenance_reason", "management_interface", "name", "network_data", "network_interface",
			"owner", "parent_node", "power_interface", "power_state", "properties", "protected", "protected_reason", "provision_updated_at", "provision_state", "raid_interface",
			"rescue_interface", "reservation", "resource_class", "retired", "retired_reason", "secure_boot", "service_step", "shard", "storage_interface", "target_power_state",
			"target_provision_state", "target_raid_config", "traits", "uuid", "updated_at", "vendor_interface"},
		by: []attribute{{name: "instance_uuid", flag: "instance", help: "NODE is the UUID of the instance on it"}},
		attributes: append([]attribute{
			{name: "driver", use: onCreate | onSet | onList | required, offers: drivers.completeIdents, help: "hardware type"},
			{name: "uuid", use: onCreate},
			{name: "name", use: both},
			{name: "driver_info", kind: object, use: both, help: "how the BMC is reached"},
			{name: "properties", flag: "property", kind: object, use: both, help: "property of the machine"},
			{name: "instance_info", kind: object, use: onSet | onUnset, help: "what is deployed"},
			{name: "extra", kind: object, use: both, help: "anything else"},
			{name: "instance_uuid", use: onSet | onUnset},
			{name: "instance_name", use: both | onList},
			{name: "chassis_uuid", use: both},
			{name: "chassis_uuid", flag: "chassis", use: onList, help: "nodes in this chassis"},
			{name: "resource_class", use: both | onList},
			{name: "conductor_group", use: both | onList},
			{name: "owner", use: both | onList},
			{name: "lessee", use: both | onList},
			{name: "shard", use: both},
			{name: "shard", flag: "shards", kind: texts, use: onList, help: "nodes of this shard"},
			{name: "parent_node", use: both | onList},
			{name: "description", use: both},
			{name: "network_data", kind: jsonDocument, use: both, help: "static network configuration of the agent"},
			{name: "automated_clean", kind: boolean, use: both, help: "clean the node automatically"},
			{name: "disable_power_off", no: "enable-power-off", kind: boolean, use: both, help: "never switch the machine off"},
			{name: "protected", kind: boolean, use: onSet | onUnset, help: "protect the node from undeploying"},
			{name: "protected_reason", use: onSet | onUnset},
			{name: "retired", kind: boolean, use: onSet | onUnset | onList, help: "retire the node"},
			{name: "retired_reason", use: onSet | onUnset},
			{name: "target_raid_config", kind: jsonDocument, use: onSet | onUnset, put: "states/raid", help: "the RAID that the node is to have"},
			{name: "provision_state", use: onList, values: provisionStates},
			{name: "fault", use: onList},
			{name: "maintenance", kind: boolean, use: onList, help: "nodes in maintenance"},
			{name: "associated", no: "unassociated", kind: boolean, use: onList, help: "nodes with an instance"},
			{name: "include_children", kind: boolean, use: onList, help: "child nodes too"},
			{name: "sharded", no: "unsharded", kind: boolean, use: onList, help: "nodes of a shard"},
			{name: "conductor", use: onList, help: "nodes that this conductor serves"},
			{name: "description_contains", use: onList, help: "nodes whose description has this text"},
		}, interfaceAttributes()...),
	}
	ports = noun{
		name: "port", path: "/v1/ports", key: "ports",
		columns: []string{"uuid", "address"},
		long: []string{"uuid", "address", "created_at", "extra", "node_uuid", "category", "vendor", "local_link_connection", "portgroup_uuid", "pxe_enabled",
			"physical_network", "updated_at", "internal_info", "is_smartnic", "name", "description"},
		by: byAddress,
		attributes: []attribute{
			{name: "address", use: onCreate | argument | onSet | onList, help: "MAC address"},
			{name: "node_uuid", flag: "node", use: onCreate | onSet | required, offers: completeNodes, help: "UUID or name of the node"},
			{name: "node", use: onList, offers: completeNodes, help: "UUID or name of the node"},
			{name: "uuid", use: onCreate},
			{name: "name", use: both},
			{name: "description", use: both},
			{name: "vendor", use: both},
			{name: "category", use: both},
			{name: "portgroup_uuid", flag: "port-group", use: both, help: "UUID of the port group"},
			{name: "shard", flag: "shards", kind: texts, use: onList, help: "those of nodes of this shard"},
			{name: "portgroup", use: onList, flag: "port-group", help: "UUID or name of the port group"},
			{name: "pxe_enabled", no: "pxe-disabled", kind: boolean, use: both, help: "boot from this port"},
			{name: "is_smartnic", kind: boolean, use: both, help: "it is a smart NIC"},
			{name: "physical_network", use: both},
			{name: "local_link_connection", kind: object, use: both, help: "switch and its port"},
			{name: "extra", kind: object, use: both, help: "anything else"},
		},
		prepare: nodeToUUID,
	}
	portGroups = noun{
		name: "port group", path: "/v1/portgroups", key: "portgroups",
		columns: []string{"uuid", "address", "name"},
		long:    []string{"uuid", "address", "created_at", "extra", "standalone_ports_supported", "node_uuid", "name", "updated_at", "internal_info", "mode", "properties", "physical_network", "category"},
		by:      byAddress,
		attributes: []attribute{
			{name: "node_uuid", flag: "node", use: onCreate | onSet | required, offers: completeNodes, help: "UUID or name of the node"},
			{name: "node", use: onList, offers: completeNodes, help: "UUID or name of the node"},
			{name: "shard", flag: "shards", kind: texts, use: onList, help: "those of nodes of this shard"},
			{name: "address", use: both | onList, help: "MAC address"},
			{name: "name", use: both},
			{name: "uuid", use: onCreate},
			{name: "mode", use: both, values: []string{"balance-rr", "active-backup", "balance-xor", "broadcast", "802.3ad", "balance-tlb", "balance-alb"}, help: "mode of the bond"},
			{name: "properties", flag: "property", kind: object, use: both, help: "property of the bond"},
			{name: "standalone_ports_supported", flag: "support-standalone-ports", no: "unsupport-standalone-ports", kind: boolean, use: onCreate | onSet, help: "its ports can be used alone"},
			{name: "physical_network", use: both},
			{name: "category", use: both},
			{name: "extra", kind: object, use: both, help: "anything else"},
		},
		prepare: nodeToUUID,
	}
	chassis = noun{
		name: "chassis", path: "/v1/chassis", key: "chassis",
		columns: []string{"uuid", "description"}, long: []string{"uuid", "description", "created_at", "updated_at", "extra"},
		attributes: []attribute{
			{name: "description", use: both}, {name: "uuid", use: onCreate}, {name: "extra", kind: object, use: both, help: "anything else"},
		},
	}
	volumeConnectors = noun{
		name: "volume connector", path: "/v1/volume/connectors", key: "connectors",
		columns: []string{"uuid", "node_uuid", "type", "connector_id"}, long: []string{"uuid", "node_uuid", "type", "connector_id", "extra", "created_at", "updated_at"},
		attributes: []attribute{
			{name: "node_uuid", flag: "node", use: onCreate | onSet | required, offers: completeNodes, help: "UUID or name of the node"},
			{name: "node", use: onList, offers: completeNodes, help: "UUID or name of the node"},
			{name: "type", use: onCreate | onSet | required, values: []string{"iqn", "ip", "mac", "wwnn", "wwpn", "port", "portgroup"}, help: "iqn, ip, mac, wwnn, wwpn, port or portgroup"},
			{name: "connector_id", use: onCreate | onSet | required},
			{name: "uuid", use: onCreate},
			{name: "extra", kind: object, use: both, help: "anything else"},
		},
		prepare: nodeToUUID,
	}
	volumeTargets = noun{
		name: "volume target", path: "/v1/volume/targets", key: "targets",
		columns: []string{"uuid", "node_uuid", "volume_type", "boot_index", "volume_id"},
		long:    []string{"uuid", "node_uuid", "volume_type", "properties", "boot_index", "extra", "volume_id", "created_at", "updated_at"},
		attributes: []attribute{
			{name: "node_uuid", flag: "node", use: onCreate | onSet | required, offers: completeNodes, help: "UUID or name of the node"},
			{name: "node", use: onList, offers: completeNodes, help: "UUID or name of the node"},
			{name: "volume_type", flag: "type", use: onCreate | onSet | required},
			{name: "boot_index", kind: number, use: onCreate | onSet | required},
			{name: "volume_id", use: onCreate | onSet | required},
			{name: "uuid", use: onCreate},
			{name: "properties", flag: "property", kind: object, use: both, help: "property of the target"},
			{name: "extra", kind: object, use: both, help: "anything else"},
		},
		prepare: nodeToUUID,
	}
	allocations = noun{
		name: "allocation", path: "/v1/allocations", key: "allocations", noDetail: true,
		columns: []string{"uuid", "name", "resource_class", "state", "node_uuid"},
		long:    []string{"uuid", "name", "state", "owner", "node_uuid", "last_error", "resource_class", "traits", "candidate_nodes", "extra", "created_at", "updated_at"},
		attributes: []attribute{
			{name: "resource_class", use: onCreate | onList},
			{name: "traits", flag: "trait", kind: texts, use: onCreate, help: "a trait that the node has to have"},
			{name: "candidate_nodes", flag: "candidate-node", kind: texts, use: onCreate, help: "a node that may be taken"},
			{name: "node", use: onCreate | onList, help: "node that is in use already"},
			{name: "name", use: both}, {name: "uuid", use: onCreate}, {name: "owner", use: onCreate | onList}, {name: "state", use: onList, values: []string{"allocating", "active", "error"}},
			{name: "extra", kind: object, use: both, help: "anything else"},
		},
	}
	deployTemplates = noun{
		name: "deploy template", path: "/v1/deploy_templates", key: "deploy_templates",
		columns: []string{"uuid", "name"}, long: []string{"uuid", "name", "steps", "extra", "created_at", "updated_at"},
		attributes: []attribute{
			{name: "name", use: onCreate | argument | onSet}, {name: "uuid", use: onCreate},
			{name: "steps", kind: jsonDocument, use: onCreate | onSet | required, help: "the steps"},
			{name: "extra", kind: object, use: both, help: "anything else"},
		},
	}
	runbooks = noun{
		name: "runbook", path: "/v1/runbooks", key: "runbooks",
		columns: []string{"uuid", "name"}, long: []string{"uuid", "name", "description", "traits", "disable_ramdisk", "owner", "public", "steps", "extra", "created_at", "updated_at"},
		attributes: []attribute{
			{name: "name", use: both | required}, {name: "uuid", use: onCreate},
			{name: "steps", kind: jsonDocument, use: onCreate | onSet | required, help: "the steps"},
			{name: "public", kind: boolean, use: both, help: "everybody may use it"}, {name: "owner", use: both}, {name: "description", use: both},
			{name: "disable_ramdisk", kind: boolean, use: both, help: "run the steps without the agent"},
			{name: "extra", kind: object, use: both, help: "anything else"},
		},
	}
	inspectionRules = noun{
		name: "inspection rule", path: "/v1/inspection_rules", key: "inspection_rules", allOnDelete: true,
		columns: []string{"uuid", "description", "priority", "phase"}, long: []string{"uuid", "description", "priority", "sensitive", "phase", "actions", "conditions", "created_at", "updated_at"},
		attributes: []attribute{
			{name: "uuid", use: onCreate}, {name: "priority", kind: number, use: both}, {name: "phase", use: both}, {name: "description", use: both},
			{name: "sensitive", kind: boolean, use: onCreate | onSet, help: "hide conditions and actions"},
			{name: "conditions", kind: jsonDocument, use: both, help: "the conditions"},
			{name: "conditions", flag: "condition", kind: object, use: onUnset}, {name: "actions", flag: "action", kind: object, use: onUnset},
			{name: "actions", kind: jsonDocument, use: onCreate | onSet | required, help: "the actions"},
		},
	}
)

// completeNodes stands for nodes.completeIdents, which the tables above cannot
// name: nodes is one of them.
func completeNodes(c *connection) cobra.CompletionFunc {
	return noun{path: "/v1/nodes", key: "nodes"}.completeIdents(c)
}

func interfaceAttributes() []attribute {
	var list []attribute
	for _, kind := range interfaceKinds {
		list = append(list, attribute{name: kind + "_interface", use: both, reset: true, offers: completeInterfaces(kind)})
	}
	return list
}

// byAddress is how ports and port groups can be found.
var byAddress = []attribute{{name: "address", help: "it is named by its MAC address"}}

// nodeToUUID lets users name a node where the API wants its UUID.
func nodeToUUID(ctx context.Context, api *client.Client, body map[string]any) error {
	ident, ok := body["node_uuid"].(string)
	if !ok || uuid.Validate(ident) == nil {
		return nil
	}
	n, err := api.Node(ctx, ident)
	if err != nil {
		return err
	}
	body["node_uuid"] = n.UUID
	return nil
}

// group is a word of the command line that has only commands below it.
func group(name, short string, below ...*cobra.Command) *cobra.Command {
	cmd := &cobra.Command{Use: name, Short: short, Args: cobra.NoArgs, RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() }}
	cmd.AddCommand(below...)
	return cmd
}

// apiCommands are the nouns of the API.
func apiCommands(c *connection) []*cobra.Command {
	runbook := group("runbook", "Lists of steps for cleaning and servicing", runbooks.commands(c)...)
	runbook.AddCommand(traitCommands(c, runbooks))
	return []*cobra.Command{
		nodeCommand(c),
		group("port", "Network ports of nodes", append(ports.commands(c), group("group", "Bonds of ports", portGroups.commands(c)...))...),
		group("chassis", "Groups of nodes", chassis.commands(c)...),
		group("volume", "Remote volumes", group("connector", "What a node reaches volumes by", volumeConnectors.commands(c)...), group("target", "Volumes of a node", volumeTargets.commands(c)...)),
		allocationCommand(c),
		deployCommand(c),
		enrollCommand(c),
		runbook,
		group("inspection", "Rules of inspection", group("rule", "What follows from what an inspection found", inspectionRules.commands(c)...)),
		driverCommand(c),
		shardCommand(c),
		createCommand(c),
		newPluginCommand(c),
		newEventsCommand(c),
	}
}

func shardCommand(c *connection) *cobra.Command {
	return group("shard", "Shards of nodes", queryList(c, "list", "List the shards with their number of nodes", []string{"name", "count"},
		func([]string) (string, string) { return "/v1/shards", "shards" }, cobra.NoArgs))
}

// queryList is a command that lists what a path answers with.
func queryList(c *connection, use, short string, columns []string, where func(args []string) (path, key string), args cobra.PositionalArgs) *cobra.Command {
	var out output
	cmd := &cobra.Command{Use: use, Short: short, Args: args}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		api, err := c.client(cmd.Context())
		if err != nil {
			return err
		}
		path, key := where(args)
		rows, err := api.List(cmd.Context(), path, key, url.Values{}, 0)
		if err != nil {
			return err
		}
		return out.list(cmd.OutOrStdout(), columns, rows)
	}
	out.listFlags(cmd)
	return cmd
}
