package main

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"ferric/api/client"
	"ferric/api/ironic"
)

func (n noun) setCommand(c *connection) *cobra.Command {
	var reset bool
	cmd := &cobra.Command{Use: "set " + n.placeholder(), Short: "Set properties of a " + n.name, Args: cobra.ExactArgs(1), ValidArgsFunction: n.complete(c)}
	flags := n.flags(cmd, c, onSet)
	if n.name == "node" {
		cmd.Flags().BoolVar(&reset, "reset-interfaces", false, "set the interfaces that are not named to the defaults of the new driver")
	}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		given, err := n.read(cmd, flags, onSet)
		if err != nil {
			return err
		}
		api, err := c.client(cmd.Context())
		if err != nil {
			return err
		}
		if n.prepare != nil {
			if err := n.prepare(cmd.Context(), api, given); err != nil {
				return err
			}
		}
		puts, err := n.puts(cmd.Context(), api, args[0], given)
		if err != nil {
			return err
		}
		var patch ironic.Patch
		for _, name := range sortedKeys(given) {
			members, isObject := given[name].(map[string]any)
			if !isObject || !n.merges(name) {
				patch = append(patch, ironic.PatchOperation{Op: "add", Path: "/" + name, Value: given[name]})
				continue
			}
			for _, key := range sortedKeys(members) {
				patch = append(patch, ironic.PatchOperation{Op: "add", Path: "/" + name + "/" + escape(key), Value: members[key]})
			}
		}
		for _, a := range n.attributes {
			if v, ok := flags["reset-"+a.name].(*bool); ok && *v {
				patch = append(patch, ironic.PatchOperation{Op: "remove", Path: "/" + a.name})
			}
		}
		query := url.Values{}
		if reset {
			query.Set("reset_interfaces", "true")
		}
		if puts && len(patch) == 0 {
			return nil
		}
		return n.patch(cmd.Context(), api, args[0], query, patch)
	}
	return cmd
}

// puts those of the given attributes that are not patched, takes them out of
// the given, and tells whether there were any.
func (n noun) puts(ctx context.Context, api *client.Client, ident string, given map[string]any) (any bool, err error) {
	for _, a := range n.attributes {
		value, ok := given[a.name]
		if a.put == "" || !ok {
			continue
		}
		if err := api.Do(ctx, http.MethodPut, n.item(ident)+"/"+a.put, nil, value, nil); err != nil {
			return false, err
		}
		delete(given, a.name)
		any = true
	}
	return any, nil
}

// merges tells an attribute whose keys are set one by one.
func (n noun) merges(name string) bool {
	return slices.ContainsFunc(n.attributes, func(a attribute) bool { return a.name == name && a.kind == object })
}

func (n noun) unsetCommand(c *connection) *cobra.Command {
	cmd := &cobra.Command{Use: "unset " + n.placeholder(), Short: "Set properties of a " + n.name + " back", Args: cobra.ExactArgs(1), ValidArgsFunction: n.complete(c)}
	flags := n.flags(cmd, c, onUnset)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		var patch ironic.Patch
		emptied := map[string]any{}
		for _, a := range n.attributes {
			switch v := flags[a.name].(type) {
			case *bool:
				switch {
				case a.use&onUnset == 0 || !*v:
				case a.put != "":
					emptied[a.name] = struct{}{}
				default:
					patch = append(patch, ironic.PatchOperation{Op: "remove", Path: "/" + a.name})
				}
			case *[]string:
				if a.use&onUnset == 0 {
					continue
				}
				for _, key := range *v {
					patch = append(patch, ironic.PatchOperation{Op: "remove", Path: "/" + a.name + "/" + escape(key)})
				}
			}
		}
		api, err := c.client(cmd.Context())
		if err != nil {
			return err
		}
		puts, err := n.puts(cmd.Context(), api, args[0], emptied)
		if err != nil || puts && len(patch) == 0 {
			return err
		}
		return n.patch(cmd.Context(), api, args[0], nil, patch)
	}
	return cmd
}

func (n noun) patch(ctx context.Context, api *client.Client, ident string, query url.Values, patch ironic.Patch) error {
	if len(patch) == 0 {
		return usageError("nothing to change: see --help for what can be")
	}
	return api.Do(ctx, http.MethodPatch, n.item(ident), query, patch, nil)
}

// escape makes a key fit for a JSON pointer (RFC 6901, section 3).
func escape(key string) string {
	return strings.ReplaceAll(strings.ReplaceAll(key, "~", "~0"), "/", "~1")
}

func (n noun) deleteCommand(c *connection) *cobra.Command {
	var all bool
	cmd := &cobra.Command{Use: "delete " + n.placeholder() + "...", Short: "Delete " + n.name + "s", Args: cobra.MinimumNArgs(1), ValidArgsFunction: n.complete(c)}
	if n.allOnDelete {
		cmd.Args = cobra.ArbitraryArgs
		cmd.Flags().BoolVar(&all, "all", false, "delete all of them")
	}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if all == (len(args) > 0) {
			return usageError("name what to delete, or give --all")
		}
		api, err := c.client(cmd.Context())
		if err != nil {
			return err
		}
		if all {
			return api.Do(cmd.Context(), http.MethodDelete, n.path, nil, nil, nil)
		}
		return each(args, func(ident string) error {
			if err := api.Do(cmd.Context(), http.MethodDelete, n.item(ident), nil, nil, nil); err != nil {
				return err
			}
			fmt.Fprintf(cmd.OutOrStdout(), "Deleted %s %s\n", n.name, ident)
			return nil
		})
	}
	return cmd
}
