package main

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"ferric/api/client"
	"ferric/api/ironic"
)

// noun is a kind of resource: "port", "volume connector". From its table come
// the commands list, show, create, set, unset and delete.
type noun struct {
	name       string
	path       string // "/v1/ports"
	key        string // of the list in the answer
	columns    []string
	long       []string // of list --long
	attributes []attribute
	// by are attributes that show can find the one by, as flags: --address.
	by []attribute
	// noDetail says that the API has no detailed list of it.
	noDetail bool
	// allOnDelete lets delete take --all.
	allOnDelete bool
	// shown changes an object before it is printed; may be nil.
	shown func(object map[string]any)
	// settle waits until what was created is what it is to be; may be nil.
	settle func(ctx context.Context, api *client.Client, object map[string]any) (map[string]any, error)
	// prepare changes what create or set sends; may be nil.
	prepare func(ctx context.Context, api *client.Client, body map[string]any) error
}

// mayChange tells whether there is anything to set.
func (n noun) mayChange(u use) bool {
	return slices.ContainsFunc(n.attributes, func(a attribute) bool { return a.use&u != 0 })
}

// commands of the noun.
func (n noun) commands(c *connection) []*cobra.Command {
	list := []*cobra.Command{n.listCommand(c), n.showCommand(c), n.deleteCommand(c)}
	if n.mayChange(onCreate) {
		list = append(list, n.createCommand(c))
	}
	if n.mayChange(onSet) {
		list = append(list, n.setCommand(c))
	}
	if n.mayChange(onUnset) {
		list = append(list, n.unsetCommand(c))
	}
	return list
}

func (n noun) item(ident string) string { return n.path + "/" + url.PathEscape(ident) }

func (n noun) listCommand(c *connection) *cobra.Command {
	var out output
	var long bool
	var fields []string
	var limit int
	var marker, sort string
	cmd := &cobra.Command{Use: "list", Short: "List " + n.name + "s", Args: cobra.NoArgs}
	filters := n.flags(cmd, onList)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if limit < 0 {
			return usageError("--limit: %d is less than nothing", limit)
		}
		order, err := parseSort(sort)
		if err != nil {
			return err
		}
		columns := n.columns
		if long && n.long != nil {
			columns = n.long
		}
		if fields != nil {
			columns = fields
		}
		query := url.Values{}
		given, err := n.read(cmd, filters, onList)
		if err != nil {
			return err
		}
		for name, value := range given {
			query.Set(name, strings.Join(textsOf(value), ","))
		}
		if marker != "" {
			query.Set("marker", marker)
		}
		wanted := slices.Clone(columns)
		if len(order) == 1 {
			query.Set("sort_key", order[0].key)
			query.Set("sort_dir", order[0].direction)
		} else {
			// The API sorts by one attribute only.
			for _, by := range order {
				if !slices.Contains(wanted, by.key) {
					wanted = append(wanted, by.key)
				}
			}
		}
		api, err := c.client(cmd.Context())
		if err != nil {
			return err
		}
		if long && !n.noDetail {
			query.Set("detail", "true") // an older API lacks some of the attributes
		} else {
			query.Set("fields", strings.Join(wanted, ","))
		}
		rows, err := api.List(cmd.Context(), n.path, n.key, query, limit)
		if err != nil {
			return err
		}
		if len(order) > 1 {
			sortRows(rows, order)
		}
		return out.list(cmd.OutOrStdout(), columns, rows)
	}
	out.listFlags(cmd)
	cmd.Flags().BoolVar(&long, "long", false, "show more attributes")
	cmd.Flags().StringSliceVar(&fields, "fields", nil, "`attributes` to show, separated by commas or spaces")
	cmd.MarkFlagsMutuallyExclusive("long", "fields")
	mustComplete(cmd, "fields", n.long)
	cmd.Flags().IntVar(&limit, "limit", 0, "show so many at most; 0 is all")
	cmd.Flags().StringVar(&marker, "marker", "", "begin after the one with this `UUID`")
	cmd.Flags().StringVar(&sort, "sort", "", "`attribute[:asc|desc]` to sort by, separated by commas")
	return cmd
}

// textsOf is a filter's value as it stands in a query.
func textsOf(v any) []string {
	if list, ok := v.([]string); ok {
		return list
	}
	return []string{fmt.Sprint(v)}
}

func (n noun) showCommand(c *connection) *cobra.Command {
	var out output
	var fields []string
	by := make([]bool, len(n.by))
	cmd := &cobra.Command{Use: "show " + n.placeholder(), Short: "Show a " + n.name, Args: cobra.ExactArgs(1), ValidArgsFunction: n.complete(c)}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		query := url.Values{}
		if fields != nil {
			query.Set("fields", strings.Join(fields, ","))
		}
		if i := slices.Index(by, true); i >= 0 {
			return n.printFound(cmd, c, &out, n.by[i].name, args[0], query)
		}
		return n.print(cmd, c, &out, n.item(args[0]), query)
	}
	out.showFlags(cmd)
	cmd.Flags().StringSliceVar(&fields, "fields", nil, "`attributes` to show, separated by commas or spaces")
	mustComplete(cmd, "fields", n.long)
	for i, a := range n.by {
		cmd.Flags().BoolVar(&by[i], a.flagName(), false, a.help)
	}
	return cmd
}

// printFound prints the only one whose attribute has that value.
func (n noun) printFound(cmd *cobra.Command, c *connection, out *output, attribute, value string, query url.Values) error {
	api, err := c.client(cmd.Context())
	if err != nil {
		return err
	}
	query.Set(attribute, value)
	if !query.Has("fields") {
		query.Set("detail", "true")
	}
	found, err := api.List(cmd.Context(), n.path, n.key, query, 0)
	if err != nil {
		return err
	}
	if len(found) != 1 {
		return fmt.Errorf("there are %d %ss whose %s is %s", len(found), n.name, attribute, value)
	}
	return out.show(cmd.OutOrStdout(), withoutLinks(found[0]))
}

// print prints the object at a path.
func (n noun) print(cmd *cobra.Command, c *connection, out *output, path string, query url.Values) error {
	api, err := c.client(cmd.Context())
	if err != nil {
		return err
	}
	var object map[string]any
	if err := api.Do(cmd.Context(), http.MethodGet, path, query, nil, &object); err != nil {
		return err
	}
	object = withoutLinks(object)
	if n.shown != nil {
		n.shown(object)
	}
	return out.show(cmd.OutOrStdout(), object)
}

// withoutLinks takes what only leads on from an object.
func withoutLinks(object map[string]any) map[string]any {
	for _, name := range []string{"ports", "portgroups", "states", "volume", "nodes", "properties"} {
		if list, ok := object[name].([]any); ok && isLinks(list) {
			delete(object, name)
		}
	}
	return object
}

func isLinks(list []any) bool {
	return !slices.ContainsFunc(list, func(item any) bool {
		link, ok := item.(map[string]any)
		return !ok || link["href"] == nil
	})
}

func (n noun) placeholder() string {
	return strings.ToUpper(strings.ReplaceAll(n.name, " ", "-"))
}

func (n noun) createCommand(c *connection) *cobra.Command {
	var out output
	cmd := &cobra.Command{Use: "create", Short: "Create a " + n.name, Args: cobra.NoArgs}
	positional := ""
	for _, a := range n.attributes {
		if a.use&argument != 0 {
			positional = a.name
			cmd.Use += " " + strings.ToUpper(a.name)
			cmd.Args = cobra.ExactArgs(1)
		}
	}
	flags := n.flags(cmd, onCreate)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		body, err := n.read(cmd, flags, onCreate)
		if err != nil {
			return err
		}
		if positional != "" {
			body[positional] = args[0]
		}
		api, err := c.client(cmd.Context())
		if err != nil {
			return err
		}
		if n.prepare != nil {
			if err := n.prepare(cmd.Context(), api, body); err != nil {
				return err
			}
		}
		var object map[string]any
		if err := api.Do(cmd.Context(), http.MethodPost, n.path, nil, body, &object); err != nil {
			return err
		}
		if n.settle != nil {
			if object, err = n.settle(cmd.Context(), api, object); err != nil {
				return err
			}
		}
		return out.show(cmd.OutOrStdout(), withoutLinks(object))
	}
	out.showFlags(cmd)
	return cmd
}

func (n noun) setCommand(c *connection) *cobra.Command {
	var reset bool
	cmd := &cobra.Command{Use: "set " + n.placeholder(), Short: "Set properties of a " + n.name, Args: cobra.ExactArgs(1), ValidArgsFunction: n.complete(c)}
	flags := n.flags(cmd, onSet)
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
	flags := n.flags(cmd, onUnset)
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

// complete offers the names, or else the UUIDs, of what there is.
func (n noun) complete(c *connection) cobra.CompletionFunc { return n.completeWith(c, nil) }

// completeWith offers values, too, once there is an argument.
func (n noun) completeWith(c *connection, values []string) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
		found := n.idents(cmd.Context(), c, args)
		if len(args) > 0 {
			found = append(found, values...)
		}
		return found, cobra.ShellCompDirectiveNoFileComp
	}
}

// completeIdents is for flags that name one.
func (n noun) completeIdents(c *connection) cobra.CompletionFunc {
	return func(cmd *cobra.Command, _ []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
		return n.idents(cmd.Context(), c, nil), cobra.ShellCompDirectiveNoFileComp
	}
}

// offered is how many names the shell is given, completion how long it waits.
const (
	offered    = 500
	completion = 5 * time.Second
)

// idents are the names, or else the UUIDs, of what there is; none on any error,
// for a shell has no place to show it.
func (n noun) idents(ctx context.Context, c *connection, without []string) []string {
	ctx, cancel := context.WithTimeout(ctx, completion)
	defer cancel()
	api, err := c.client(ctx)
	if err != nil {
		return nil
	}
	rows, err := api.List(ctx, n.path, n.key, nil, offered)
	if err != nil {
		return nil
	}
	var found []string
	for _, row := range rows {
		name, _ := row["name"].(string)
		host, _ := row["hostname"].(string)
		id, _ := row["uuid"].(string)
		if ident := first(name, host, id); ident != "" && !slices.Contains(without, ident) {
			found = append(found, ident)
		}
	}
	return found
}
