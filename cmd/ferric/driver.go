package main

import (
	"net/http"
	"net/url"
	"strings"

	"github.com/spf13/cobra"
)

// drivers are the hardware types; they are only looked at.
var drivers = noun{name: "driver", path: "/v1/drivers", key: "drivers", noPages: true, shown: joinLists, columns: []string{"name", "hosts"}}

func driverPath(name string, below ...string) string {
	return drivers.item(name) + "/" + strings.Join(below, "/")
}

func driverCommand(c *connection) *cobra.Command {
	return group("driver", "Hardware types", driverList(c), drivers.showCommand(c),
		group("property", "Members of driver_info", descriptionList(c, "Describe the members of driver_info", "properties")),
		group("raid", "RAID of a hardware type", group("property", "Members of a logical disk", descriptionList(c, "Describe the members of a logical disk", "raid", "logical_disk_properties"))),
		group("passthru", "Methods of the vendor", passthruCall(c, driverPath), passthruList(c, driverPath)))
}

func driverList(c *connection) *cobra.Command {
	var long bool
	var only string
	var fields []string
	out := output{titles: map[string]string{"name": "Supported driver(s)"}}
	cmd := &cobra.Command{Use: "list", Short: "List the hardware types", Args: cobra.NoArgs}
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		columns, query := drivers.columns, url.Values{}
		if long {
			query.Set("detail", "true")
			columns = []string{"name", "type", "hosts"}
			for _, kind := range interfaceKinds {
				columns = append(columns, "default_"+kind+"_interface", "enabled_"+kind+"_interfaces")
			}
		}
		if only != "" {
			query.Set("type", only)
		}
		if fields != nil {
			query.Set("fields", strings.Join(fields, ","))
			columns = fields
		}
		api, err := c.client(cmd.Context())
		if err != nil {
			return err
		}
		rows, err := api.List(cmd.Context(), drivers.path, drivers.key, query, 0)
		if err != nil {
			return err
		}
		for _, row := range rows {
			joinLists(row)
		}
		return out.list(cmd.OutOrStdout(), columns, rows)
	}
	out.listFlags(cmd)
	cmd.Flags().StringVar(&only, "type", "", "those of this `type`: dynamic or classic")
	mustComplete(cmd, "type", []string{"dynamic", "classic"})
	cmd.Flags().BoolVar(&long, "long", false, "show the interfaces, too")
	cmd.Flags().StringSliceVar(&fields, "fields", nil, "`attributes` to show, separated by commas")
	cmd.MarkFlagsMutuallyExclusive("long", "fields")
	return cmd
}

// joinLists makes texts of lists of names, "a, b".
func joinLists(object map[string]any) {
	for name, value := range object {
		list, ok := value.([]any)
		if !ok || name == "links" {
			continue
		}
		texts := make([]string, len(list))
		for i, item := range list {
			texts[i] = cell(item)
		}
		object[name] = strings.Join(texts, ", ")
	}
}

// descriptionList lists an object of texts.
func descriptionList(c *connection, short string, below ...string) *cobra.Command {
	var out output
	cmd := &cobra.Command{Use: "list DRIVER", Short: short, Args: cobra.ExactArgs(1)}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		api, err := c.client(cmd.Context())
		if err != nil {
			return err
		}
		var texts map[string]string
		if err := api.Do(cmd.Context(), http.MethodGet, driverPath(args[0], below...), nil, nil, &texts); err != nil {
			return err
		}
		var rows []map[string]any
		for _, name := range sortedKeys(texts) {
			rows = append(rows, map[string]any{"property": name, "description": texts[name]})
		}
		return out.list(cmd.OutOrStdout(), []string{"property", "description"}, rows)
	}
	out.listFlags(cmd)
	return cmd
}

// conductors are looked at by "ferric conductor list" and "show"; without a
// verb the word runs one.
var conductors = noun{
	name: "conductor", path: "/v1/conductors", key: "conductors",
	columns: []string{"hostname", "conductor_group", "alive"}, long: []string{"hostname", "conductor_group", "alive", "drivers", "created_at", "updated_at"},
}
