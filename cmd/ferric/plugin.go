package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"ferric/api/ironic"
)

// newPluginCommand is "ferric plugin": bundles that the conductor offers to agents.
func newPluginCommand(c *connection) *cobra.Command {
	return group("plugin", "Hardware managers that agents fetch from the conductor",
		newPluginAddCommand(c), newPluginListCommand(c), newPluginShowCommand(c), newPluginSetCommand(c), newPluginUnsetCommand(c), newPluginRemoveCommand(c),
		newPluginKeygenCommand(), newPluginSignCommand(), newPluginVerifyCommand(),
		newPluginTestCommand(), newPluginSchemaCommand(),
	)
}

// selectors are the flags that say which nodes a plugin is for.
type selectors struct {
	drivers, traits []string
	vendor          string
	required        bool
	disabled        bool
}

func (s *selectors) flags(cmd *cobra.Command, c *connection) {
	cmd.Flags().StringSliceVar(&s.drivers, "driver", nil, "only nodes of this `hardware type`; may be repeated, one of them is enough")
	cmd.Flags().StringSliceVar(&s.traits, "trait", nil, "only nodes with this `trait`; may be repeated, all of them are needed")
	cmd.Flags().StringVar(&s.vendor, "vendor", "", "only machines whose DMI system vendor contains this `text`, whatever the case")
	cmd.Flags().BoolVar(&s.required, "required", false, "agents of these nodes fail without it, whatever its manifest says")
	mustCompleteBy(cmd, "driver", drivers.completeIdents(c))
}

// given are the members of a request for the flags that were given.
func (s *selectors) given(cmd *cobra.Command) map[string]any {
	all := map[string]any{"drivers": s.drivers, "traits": s.traits, "dmi_vendor": s.vendor, "required": s.required, "disabled": s.disabled}
	for flag, name := range map[string]string{"driver": "drivers", "trait": "traits", "vendor": "dmi_vendor", "required": "required", "disabled": "disabled"} {
		if !cmd.Flags().Changed(flag) {
			delete(all, name)
		}
	}
	return all
}

func newPluginAddCommand(c *connection) *cobra.Command {
	var out output
	var s selectors
	var older bool
	cmd := &cobra.Command{
		Use: "add FILE", Short: "Offer a bundle that was made by `ferric plugin sign` to agents", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			query := url.Values{}
			for name, value := range s.given(cmd) {
				query.Set(name, strings.Join(textsOf(value), ","))
			}
			if older {
				query.Set("allow_older", "true")
			}
			file, size, err := openBundle(args[0], cmd.InOrStdin())
			if err != nil {
				return err
			}
			defer file.Close()
			api, err := c.client(cmd.Context())
			if err != nil {
				return err
			}
			change, err := api.AddPlugin(cmd.Context(), file, size, query)
			if err != nil {
				return err
			}
			tellWarnings(cmd, change.Warnings)
			return showPlugins(cmd.OutOrStdout(), &out, change.Plugins)
		},
	}
	out.showFlags(cmd)
	s.flags(cmd, c)
	cmd.Flags().BoolVar(&s.disabled, "disabled", false, "keep it, and offer it to nobody yet")
	cmd.Flags().BoolVar(&older, "allow-older", false, "take it although a newer version is there")
	return cmd
}

// openBundle opens a file, "-" is standard input, whose size is not known.
func openBundle(path string, stdin io.Reader) (io.ReadCloser, int64, error) {
	if path == "-" {
		return io.NopCloser(stdin), -1, nil
	}
	file, err := os.Open(path)
	if err != nil {
		return nil, 0, err
	}
	info, err := file.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%s is not a bundle but a directory or device: make one with ferric plugin sign", path)
	}
	if err != nil {
		file.Close()
		return nil, 0, err
	}
	return file, info.Size(), nil
}

func tellWarnings(cmd *cobra.Command, list []string) {
	for _, text := range list {
		fmt.Fprintf(cmd.ErrOrStderr(), "ferric: %s\n", printable(text))
	}
}

// asObject is a value as output prints it.
func asObject(v any) (map[string]any, error) {
	text, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	var object map[string]any
	return object, json.Unmarshal(text, &object)
}

func showPlugins(w io.Writer, out *output, list []ironic.Plugin) error {
	for _, p := range list {
		object, err := asObject(p)
		if err != nil {
			return err
		}
		if err := out.show(w, object); err != nil {
			return err
		}
	}
	return nil
}

var (
	pluginColumns     = []string{"name", "version", "state", "drivers", "traits", "dmi_vendor", "verified"}
	pluginLong        = []string{"name", "version", "state", "drivers", "traits", "dmi_vendor", "required", "verified", "key_id", "sdk", "size", "sha256", "created_at", "updated_at"}
	nodePluginColumns = []string{"name", "offered", "loaded", "state", "reason"}
)

// pluginRows are plugins as rows of a list.
func pluginRows(list []ironic.Plugin) ([]map[string]any, error) {
	rows := []map[string]any{}
	for _, p := range list {
		row, err := asObject(p)
		if err != nil {
			return nil, err
		}
		row["state"] = pluginState(p)
		joinLists(row)
		rows = append(rows, row)
	}
	return rows, nil
}

// pluginState is how a plugin is offered, in a word or two.
func pluginState(p ironic.Plugin) string {
	var words []string
	for _, w := range []struct {
		so   bool
		text string
	}{{p.Fault != "", "broken: " + p.Fault}, {p.Disabled, "disabled"}, {p.Pinned, "pinned"}} {
		if w.so {
			words = append(words, w.text)
		}
	}
	return first(strings.Join(words, ", "), "offered")
}

func newPluginListCommand(c *connection) *cobra.Command {
	var out output
	var node string
	var long bool
	cmd := &cobra.Command{
		Use: "list", Short: "List the plugins, or what became of them on a node", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			api, err := c.client(cmd.Context())
			if err != nil {
				return err
			}
			if node != "" {
				found, err := api.NodePlugins(cmd.Context(), node)
				if err != nil {
					return err
				}
				return listNodePlugins(cmd, &out, found)
			}
			list, err := api.Plugins(cmd.Context())
			if err != nil {
				return err
			}
			rows, err := pluginRows(list)
			if err != nil {
				return err
			}
			columns := pluginColumns
			if long {
				columns = pluginLong
			}
			return out.list(cmd.OutOrStdout(), columns, rows)
		},
	}
	out.listFlags(cmd)
	cmd.Flags().BoolVar(&long, "long", false, "show more attributes")
	cmd.Flags().StringVar(&node, "node", "", "what an agent of this `node` is offered, and what became of it")
	mustCompleteBy(cmd, "node", completeNodes(c))
	cmd.MarkFlagsMutuallyExclusive("long", "node")
	return cmd
}

func listNodePlugins(cmd *cobra.Command, out *output, found *ironic.NodePlugins) error {
	rows := []map[string]any{}
	for _, p := range found.Plugins {
		row, err := asObject(p)
		if err != nil {
			return err
		}
		rows = append(rows, row)
	}
	if err := out.list(cmd.OutOrStdout(), nodePluginColumns, rows); err != nil || out.format != "table" {
		return err
	}
	text := "No agent of this node has reported its plugins."
	if found.Reported != nil {
		text = "Reported " + found.Reported.UTC().Format(time.RFC3339)
		if !found.Current {
			text += " by an agent of an earlier boot"
		}
		text += "."
	}
	_, err := fmt.Fprintln(cmd.OutOrStdout(), text)
	return err
}

func newPluginShowCommand(c *connection) *cobra.Command {
	var out output
	cmd := &cobra.Command{
		Use: "show NAME [VERSION]", Short: "Show a plugin with its manifest, the newest version unless one is named", Args: cobra.RangeArgs(1, 2), ValidArgsFunction: completePlugins(c),
		RunE: func(cmd *cobra.Command, args []string) error {
			api, err := c.client(cmd.Context())
			if err != nil {
				return err
			}
			list, err := api.Plugin(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			if len(args) > 1 {
				list = slices.DeleteFunc(list, func(p ironic.Plugin) bool { return p.Version != args[1] })
			}
			if len(list) == 0 {
				return fmt.Errorf("plugin %s has no version %s", args[0], strings.Join(args[1:], ""))
			}
			return showPlugins(cmd.OutOrStdout(), &out, list[:1])
		},
	}
	out.showFlags(cmd)
	return cmd
}

// changePlugin sends a change and lists what it was made to.
func changePlugin(cmd *cobra.Command, c *connection, out *output, args []string, change map[string]any) error {
	if len(change) == 0 {
		return usageError("nothing to change was named: see --help")
	}
	version := ""
	if len(args) > 1 {
		version = args[1]
	}
	if _, pins := change["pinned"]; pins && version != "" {
		return usageError("--version is for the plugin, not for one version of it: leave %s out", version)
	}
	api, err := c.client(cmd.Context())
	if err != nil {
		return err
	}
	changed, err := api.ChangePlugin(cmd.Context(), args[0], version, change)
	if err != nil {
		return err
	}
	tellWarnings(cmd, changed.Warnings)
	rows, err := pluginRows(changed.Plugins)
	if err != nil {
		return err
	}
	return out.list(cmd.OutOrStdout(), pluginColumns, rows)
}

func newPluginSetCommand(c *connection) *cobra.Command {
	var out output
	var s selectors
	var version string
	var enable, disable bool
	cmd := &cobra.Command{
		Use: "set NAME [VERSION]", Short: "Change which nodes a plugin is offered to, all its versions unless one is named", Args: cobra.RangeArgs(1, 2), ValidArgsFunction: completePlugins(c),
		RunE: func(cmd *cobra.Command, args []string) error {
			change := s.given(cmd)
			if enable || disable {
				change["disabled"] = disable
			}
			if version != "" {
				change["pinned"] = version
			}
			return changePlugin(cmd, c, &out, args, change)
		},
	}
	out.listFlags(cmd)
	s.flags(cmd, c)
	cmd.Flags().StringVar(&version, "version", "", "offer this `version` only, instead of the newest that fits")
	cmd.Flags().BoolVar(&disable, "disable", false, "offer it to nobody")
	cmd.Flags().BoolVar(&enable, "enable", false, "offer it again")
	cmd.MarkFlagsMutuallyExclusive("enable", "disable")
	return cmd
}

func newPluginUnsetCommand(c *connection) *cobra.Command {
	var out output
	var driver, trait, vendor, required, version bool
	cmd := &cobra.Command{
		Use: "unset NAME [VERSION]", Short: "Take back what `ferric plugin set` said", Args: cobra.RangeArgs(1, 2), ValidArgsFunction: completePlugins(c),
		RunE: func(cmd *cobra.Command, args []string) error {
			change := map[string]any{}
			for _, u := range []struct {
				so    bool
				name  string
				value any
			}{{driver, "drivers", []string{}}, {trait, "traits", []string{}}, {vendor, "dmi_vendor", ""}, {required, "required", false}, {version, "pinned", nil}} {
				if u.so {
					change[u.name] = u.value
				}
			}
			return changePlugin(cmd, c, &out, args, change)
		},
	}
	out.listFlags(cmd)
	cmd.Flags().BoolVar(&driver, "driver", false, "nodes of any hardware type")
	cmd.Flags().BoolVar(&trait, "trait", false, "nodes with any traits")
	cmd.Flags().BoolVar(&vendor, "vendor", false, "machines of any vendor")
	cmd.Flags().BoolVar(&required, "required", false, "agents go on without it, unless its manifest requires it")
	cmd.Flags().BoolVar(&version, "version", false, "offer the newest version that fits again")
	return cmd
}

func newPluginRemoveCommand(c *connection) *cobra.Command {
	return &cobra.Command{
		Use: "rm NAME [VERSION]", Aliases: []string{"remove", "delete"}, Short: "Remove a plugin, all its versions unless one is named", Args: cobra.RangeArgs(1, 2), ValidArgsFunction: completePlugins(c),
		RunE: func(cmd *cobra.Command, args []string) error {
			api, err := c.client(cmd.Context())
			if err != nil {
				return err
			}
			version := ""
			if len(args) > 1 {
				if version = args[1]; version == "" {
					return usageError("VERSION is empty")
				}
			}
			change, err := api.RemovePlugin(cmd.Context(), args[0], version)
			if err != nil {
				return err
			}
			tellWarnings(cmd, change.Warnings)
			for _, p := range change.Plugins {
				fmt.Fprintf(cmd.OutOrStdout(), "Removed plugin %s %s.\n", p.Name, p.Version)
			}
			return nil
		},
	}
}

// completePlugins offers names, and then the versions of the one that was named.
func completePlugins(c *connection) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
		ctx, cancel := context.WithTimeout(cmd.Context(), completion)
		defer cancel()
		var found []string
		api, err := c.client(ctx)
		if err == nil {
			var list []ironic.Plugin
			list, err = api.Plugins(ctx)
			for _, p := range list {
				switch {
				case len(args) == 0:
					found = append(found, p.Name)
				case len(args) == 1 && p.Name == args[0]:
					found = append(found, p.Version)
				}
			}
		}
		if err != nil && !errors.Is(err, context.Canceled) {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return slices.Compact(found), cobra.ShellCompDirectiveNoFileComp
	}
}
