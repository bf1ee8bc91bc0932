package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
)

// nodePath is an address below a node.
func nodePath(ident string, below ...string) string {
	return nodes.item(ident) + "/" + strings.Join(below, "/")
}

// nodeCommand is the noun "node": its table, its verbs, and what hangs on it.
func nodeCommand(c *connection) *cobra.Command {
	cmd := group("node", "Machines", nodes.commands(c)...)
	cmd.AddCommand(verbCommands(c)...)
	cmd.AddCommand(powerCommands(c)...)
	cmd.AddCommand(
		traitCommands(c, nodes),
		oldTraitWords(c, "add"), oldTraitWords(c, "remove"),
		group("maintenance", "Maintenance of a node", maintenanceSet(c), nodeDo(c, "unset NODE...", "End maintenance", http.MethodDelete, []string{"maintenance"})),
		group("vif", "Virtual interfaces of a node", queryList(c, "list NODE", "List the VIFs of a node", []string{"id"}, below("vifs", "vifs"), cobra.ExactArgs(1)), vifAttach(c), vifDetach(c)),
		group("bios", "BIOS settings of a node", group("setting", "BIOS settings of a node", detailedList(c, "List the BIOS settings of a node", "bios", map[string]string{"name": "BIOS setting name", "value": "BIOS setting value"}, []string{"name", "value"},
			[]string{"name", "value", "attribute_type", "allowable_values", "lower_bound", "min_length", "max_length", "read_only", "reset_required", "unique", "upper_bound"}), biosShow(c))),
		group("firmware", "Firmware of a node", queryList(c, "list NODE", "List the firmware components of a node", []string{"component", "initial_version", "current_version", "last_version_flashed", "created_at", "updated_at"}, below("firmware", "firmware"), cobra.ExactArgs(1))),
		group("history", "What happened to a node", detailedList(c, "List what happened to a node", "history", nil,
			[]string{"uuid", "created_at", "severity", "event"},
			[]string{"uuid", "created_at", "severity", "event_type", "event", "conductor", "user", "project", "state", "target_provision_state", "duration_seconds"}),
			nodeShow(c, "get NODE EVENT", "Show an event of a node", 2, func(args []string) string { return nodePath(args[0], "history", url.PathEscape(args[1])) })),
		group("inventory", "What inspection found", inventorySave(c)),
		group("children", "Nodes below a node", childrenList(c)),
		group("boot", "What a machine boots", group("device", "What a machine boots from", bootDeviceSet(c), bootDeviceShow(c)), group("mode", "BIOS or UEFI", bootModeSet(c))),
		group("secure", "Secure boot", group("boot", "Secure boot", secureBoot(c, "on", true), secureBoot(c, "off", false))),
		group("console", "Console of a machine", console(c, "enable", true), console(c, "disable", false), consoleAttach(c),
			nodeShow(c, "show NODE", "Show where the console is", 1, func(args []string) string { return nodePath(args[0], "states", "console") })),
		group("vmedia", "Virtual media of a machine", vmediaAttach(c), vmediaDetach(c)),
		group("passthru", "Methods of the vendor", passthruCall(c, nodePath), passthruList(c, nodePath)),
		validateCommand(c),
		group("inject", "Send a non-maskable interrupt", nodeDo(c, "nmi NODE...", "Send a non-maskable interrupt", http.MethodPut, []string{"management", "inject_nmi"})),
		newEraseReportCommand(c),
		selCommands(c),
		sensorsCommand(c),
		newTimelineCommand(c), newExplainCommand(c),
	)
	return cmd
}

// below is the list under a node.
func below(path, key string) func([]string) (string, string) {
	return func(args []string) (string, string) { return nodePath(args[0], path), key }
}

// nodeDo makes the same request without a body for each node.
func nodeDo(c *connection, use, short, method string, path []string) *cobra.Command {
	return &cobra.Command{Use: use, Short: short, Args: cobra.MinimumNArgs(1), ValidArgsFunction: nodes.complete(c),
		RunE: func(cmd *cobra.Command, args []string) error {
			api, err := c.client(cmd.Context())
			if err != nil {
				return err
			}
			return each(args, func(ident string) error {
				return api.Do(cmd.Context(), method, nodePath(ident, path...), nil, struct{}{}, nil)
			})
		}}
}

// request is a command that makes one request of which nothing is printed.
func request(c *connection, use, short string, n int, make func(cmd *cobra.Command, args []string) (method, path string, query url.Values, body any, err error)) *cobra.Command {
	return &cobra.Command{Use: use, Short: short, Args: cobra.ExactArgs(n), ValidArgsFunction: nodes.complete(c),
		RunE: func(cmd *cobra.Command, args []string) error {
			method, path, query, body, err := make(cmd, args)
			if err != nil {
				return err
			}
			api, err := c.client(cmd.Context())
			if err != nil {
				return err
			}
			return api.Do(cmd.Context(), method, path, query, body, nil)
		}}
}

// nodePut puts the same to each node; what stands behind the nodes is the
// value, one of values, unless there are none.
func nodePut(c *connection, use, short string, path, values []string, body func(value string) any) *cobra.Command {
	least := 1
	if values != nil {
		least = 2
	}
	return &cobra.Command{Use: use, Short: short, Args: cobra.MinimumNArgs(least), ValidArgsFunction: nodes.completeWith(c, values),
		RunE: func(cmd *cobra.Command, args []string) error {
			value := ""
			if values != nil {
				value, args = args[len(args)-1], args[:len(args)-1]
			}
			api, err := c.client(cmd.Context())
			if err != nil {
				return err
			}
			return each(args, func(ident string) error {
				return api.Do(cmd.Context(), http.MethodPut, nodePath(ident, path...), nil, body(value), nil)
			})
		}}
}

// nodeShow prints the object at a path.
func nodeShow(c *connection, use, short string, n int, path func(args []string) string) *cobra.Command {
	var out output
	cmd := &cobra.Command{Use: use, Short: short, Args: cobra.ExactArgs(n), ValidArgsFunction: nodes.complete(c),
		RunE: func(cmd *cobra.Command, args []string) error {
			return nodes.print(cmd, c, &out, path(args), nil)
		}}
	out.showFlags(cmd)
	return cmd
}

func maintenanceSet(c *connection) *cobra.Command {
	var reason string
	cmd := nodePut(c, "set NODE...", "Put nodes into maintenance", []string{"maintenance"}, nil, func(string) any {
		if reason == "" {
			return struct{}{}
		}
		return map[string]any{"reason": reason}
	})
	cmd.Flags().StringVar(&reason, "reason", "", "why")
	return cmd
}

func vifAttach(c *connection) *cobra.Command {
	var port, group string
	var info []string
	cmd := request(c, "attach NODE VIF", "Attach a VIF to a node", 2, func(_ *cobra.Command, args []string) (string, string, url.Values, any, error) {
		body, err := pairs("--vif-info", info)
		if err != nil {
			return "", "", nil, nil, err
		}
		body["id"] = args[1]
		if port != "" {
			body["port_uuid"] = port
		}
		if group != "" {
			body["portgroup_uuid"] = group
		}
		return http.MethodPost, nodePath(args[0], "vifs"), nil, body, nil
	})
	cmd.Flags().StringVar(&port, "port-uuid", "", "`UUID` of the port to attach it to")
	cmd.Flags().StringVar(&group, "portgroup-uuid", "", "`UUID` of the port group to attach it to")
	cmd.Flags().StringArrayVar(&info, "vif-info", nil, "`KEY=VALUE`; may be repeated")
	return cmd
}

func vifDetach(c *connection) *cobra.Command {
	return request(c, "detach NODE VIF", "Detach a VIF from a node", 2, func(_ *cobra.Command, args []string) (string, string, url.Values, any, error) {
		return http.MethodDelete, nodePath(args[0], "vifs", url.PathEscape(args[1])), nil, nil, nil
	})
}

// detailedList lists what is below a node; with --long, all that the API has of it.
func detailedList(c *connection, short, below string, titles map[string]string, columns, long []string) *cobra.Command {
	out := output{titles: titles}
	var detailed bool
	var fields []string
	cmd := &cobra.Command{Use: "list NODE", Short: short, Args: cobra.ExactArgs(1), ValidArgsFunction: nodes.complete(c)}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		show, query := columns, url.Values{}
		if detailed {
			show = long
		}
		if fields != nil {
			show = fields
		}
		if detailed || fields != nil {
			query.Set("detail", "true")
		}
		api, err := c.client(cmd.Context())
		if err != nil {
			return err
		}
		rows, err := api.List(cmd.Context(), nodePath(args[0], below), below, query, 0)
		if err != nil {
			return err
		}
		return out.list(cmd.OutOrStdout(), show, rows)
	}
	out.listFlags(cmd)
	cmd.Flags().BoolVar(&detailed, "long", false, "show more attributes")
	cmd.Flags().StringSliceVar(&fields, "fields", nil, "`attributes` to show, separated by commas or spaces")
	cmd.MarkFlagsMutuallyExclusive("long", "fields")
	return cmd
}

func biosShow(c *connection) *cobra.Command {
	var out output
	cmd := &cobra.Command{Use: "show NODE SETTING", Short: "Show a BIOS setting of a node", Args: cobra.ExactArgs(2), ValidArgsFunction: nodes.complete(c),
		RunE: func(cmd *cobra.Command, args []string) error {
			api, err := c.client(cmd.Context())
			if err != nil {
				return err
			}
			var answer map[string]map[string]any
			if err := api.Do(cmd.Context(), http.MethodGet, nodePath(args[0], "bios", url.PathEscape(args[1])), nil, nil, &answer); err != nil {
				return err
			}
			return out.show(cmd.OutOrStdout(), answer[args[1]])
		}}
	out.showFlags(cmd)
	return cmd
}

func inventorySave(c *connection) *cobra.Command {
	var file string
	cmd := &cobra.Command{Use: "save NODE", Short: "Save what the inspection of a node found, as JSON", Args: cobra.ExactArgs(1), ValidArgsFunction: nodes.complete(c),
		RunE: func(cmd *cobra.Command, args []string) error {
			api, err := c.client(cmd.Context())
			if err != nil {
				return err
			}
			var inventory any
			if err := api.Do(cmd.Context(), http.MethodGet, nodePath(args[0], "inventory"), nil, nil, &inventory); err != nil {
				return err
			}
			b, err := json.MarshalIndent(inventory, "", "  ")
			if err != nil {
				return err
			}
			if file != "" {
				return os.WriteFile(file, append(b, '\n'), 0o644)
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s\n", b)
			return err
		}}
	cmd.Flags().StringVar(&file, "file", "", "`file` to write; standard output otherwise")
	return cmd
}

func childrenList(c *connection) *cobra.Command {
	return nodeShow(c, "list NODE", "List the nodes below a node", 1, func(args []string) string { return nodePath(args[0], "children") })
}

func bootDeviceSet(c *connection) *cobra.Command {
	var persistent bool
	cmd := nodePut(c, "set NODE... DEVICE", "Select what machines boot from: "+strings.Join(bootDevices, ", "), []string{"management", "boot_device"}, bootDevices, func(device string) any {
		return map[string]any{"boot_device": device, "persistent": persistent}
	})
	cmd.Flags().BoolVar(&persistent, "persistent", false, "for all boots, not only the next")
	return cmd
}

func bootDeviceShow(c *connection) *cobra.Command {
	var out output
	var supported bool
	devices := noun{name: "node", shown: joinLists}
	cmd := &cobra.Command{Use: "show NODE", Short: "Show what a machine boots from", Args: cobra.ExactArgs(1), ValidArgsFunction: nodes.complete(c),
		RunE: func(cmd *cobra.Command, args []string) error {
			path := nodePath(args[0], "management", "boot_device")
			if supported {
				path += "/supported"
			}
			return devices.print(cmd, c, &out, path, nil)
		}}
	out.showFlags(cmd)
	cmd.Flags().BoolVar(&supported, "supported", false, "what it can boot from")
	return cmd
}

func bootModeSet(c *connection) *cobra.Command {
	return nodePut(c, "set NODE... MODE", "Select bios or uefi", []string{"states", "boot_mode"}, bootModes, func(mode string) any { return map[string]any{"target": mode} })
}

func secureBoot(c *connection, word string, on bool) *cobra.Command {
	return nodePut(c, word+" NODE...", "Switch secure boot "+word, []string{"states", "secure_boot"}, nil, func(string) any { return map[string]any{"target": on} })
}

func console(c *connection, word string, on bool) *cobra.Command {
	return nodePut(c, word+" NODE...", word+" the console", []string{"states", "console"}, nil, func(string) any { return map[string]any{"enabled": on} })
}

func vmediaAttach(c *connection) *cobra.Command {
	var source string
	cmd := request(c, "attach NODE DEVICE-TYPE URL", "Insert an image: cdrom, disk or floppy", 3, func(_ *cobra.Command, args []string) (string, string, url.Values, any, error) {
		body := map[string]any{"device_type": args[1], "image_url": args[2]}
		if source != "" {
			body["image_download_source"] = source
		}
		return http.MethodPost, nodePath(args[0], "vmedia"), nil, body, nil
	})
	cmd.Flags().StringVar(&source, "image-download-source", "", "http or local")
	return cmd
}

func vmediaDetach(c *connection) *cobra.Command {
	var types []string
	cmd := request(c, "detach NODE", "Eject images", 1, func(_ *cobra.Command, args []string) (string, string, url.Values, any, error) {
		query := url.Values{}
		if types != nil {
			query.Set("device_types", strings.Join(types, ","))
		}
		return http.MethodDelete, nodePath(args[0], "vmedia"), query, nil, nil
	})
	cmd.Flags().StringSliceVar(&types, "device-types", nil, "cdrom, disk, floppy; all without it")
	return cmd
}

func validateCommand(c *connection) *cobra.Command {
	var out output
	cmd := &cobra.Command{Use: "validate NODE", Short: "Tell what each interface of a node lacks", Args: cobra.ExactArgs(1), ValidArgsFunction: nodes.complete(c)}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		api, err := c.client(cmd.Context())
		if err != nil {
			return err
		}
		results, err := api.Validate(cmd.Context(), args[0])
		if err != nil {
			return err
		}
		var rows []map[string]any
		for _, name := range sortedKeys(results) {
			row := map[string]any{"interface": name, "reason": results[name].Reason}
			if r := results[name].Result; r != nil {
				row["result"] = *r
			}
			rows = append(rows, row)
		}
		return out.list(cmd.OutOrStdout(), []string{"interface", "result", "reason"}, rows)
	}
	out.listFlags(cmd)
	return cmd
}

// seconds is a flag's text as a number of seconds; 0 without one.
func seconds(flag, value string) (int, error) {
	if value == "" {
		return 0, nil
	}
	n, err := strconv.Atoi(value)
	if err != nil || n < 0 {
		return 0, usageError("--%s: %q is not a number of seconds", flag, value)
	}
	return n, nil
}
