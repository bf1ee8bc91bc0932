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
	// noPages says that the API lists all of it at once.
	noPages bool
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
	filters := n.flags(cmd, c, onList)
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
	flags := n.flags(cmd, c, onCreate)
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
