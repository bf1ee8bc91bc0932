package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"ferric/api/client"
	"ferric/api/ironic"
)

// use says where an attribute can be given.
type use int

const (
	onCreate use = 1 << iota
	onSet
	onUnset
	onList // as a filter
	required
	argument // of create, without a flag
)

// kind of an attribute's value on the command line.
type kind int

const (
	text kind = iota
	number
	boolean      // --x, --no-x
	object       // KEY=VALUE, may be repeated; values are read as JSON where they are JSON
	texts        // may be repeated
	jsonDocument // JSON: as it is, @file or - for standard input
)

// attribute is one property of a resource on the command line.
type attribute struct {
	name string // of the API
	flag string // "" is name with dashes
	kind kind
	use  use
	help string
}

func (a attribute) flagName() string {
	if a.flag != "" {
		return a.flag
	}
	return strings.ReplaceAll(a.name, "_", "-")
}

// noun is a kind of resource: "port", "volume connector". From its table come
// the commands list, show, create, set, unset and delete.
type noun struct {
	name       string
	path       string // "/v1/ports"
	key        string // of the list in the answer
	columns    []string
	long       []string // of list --long
	attributes []attribute
	// allOnDelete lets delete take --all.
	allOnDelete bool
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

// values are the flags of a command by attribute.
type values map[string]any

func (n noun) flags(cmd *cobra.Command, u use) values {
	v := values{}
	for _, a := range n.attributes {
		if a.use&u == 0 || a.use&argument != 0 && u == onCreate {
			continue
		}
		name, flags := a.flagName(), cmd.Flags()
		help := a.help
		if help == "" {
			help = strings.ReplaceAll(a.name, "_", " ")
		}
		switch {
		case u == onUnset && a.kind == object:
			v[a.name] = flags.StringArray(name, nil, "remove this `KEY`; may be repeated")
		case u == onUnset:
			v[a.name] = flags.Bool(name, false, "set it back to its default")
		case a.kind == boolean:
			v[a.name] = flags.Bool(name, false, help)
			v["no-"+a.name] = flags.Bool("no-"+name, false, "not: "+help)
			cmd.MarkFlagsMutuallyExclusive(name, "no-"+name)
		case a.kind == object:
			v[a.name] = flags.StringArray(name, nil, help+": `KEY=VALUE`; may be repeated")
		case a.kind == texts:
			v[a.name] = flags.StringArray(name, nil, help+"; may be repeated")
		case a.kind == jsonDocument:
			v[a.name] = flags.String(name, "", help+": `JSON`, @file, or - for standard input")
		default:
			v[a.name] = flags.String(name, "", help)
		}
		if a.use&required != 0 && u == onCreate {
			if err := cmd.MarkFlagRequired(name); err != nil {
				panic(err) // the flag was defined above
			}
		}
	}
	return v
}

// read gives the values of the flags that were used.
func (n noun) read(cmd *cobra.Command, v values, u use) (map[string]any, error) {
	out := map[string]any{}
	for _, a := range n.attributes {
		flag := cmd.Flags().Lookup(a.flagName())
		no := cmd.Flags().Lookup("no-" + a.flagName())
		if a.kind == boolean && no != nil && no.Changed {
			out[a.name] = !*v["no-"+a.name].(*bool)
			continue
		}
		if v[a.name] == nil || flag == nil || !flag.Changed {
			continue
		}
		value, err := a.parse(v[a.name], cmd.InOrStdin())
		if err != nil {
			return nil, err
		}
		out[a.name] = value
	}
	return out, nil
}

func (a attribute) parse(v any, stdin io.Reader) (any, error) {
	switch v := v.(type) {
	case *bool:
		return *v, nil
	case *[]string:
		if a.kind == texts {
			return *v, nil
		}
		return pairs("--"+a.flagName(), *v)
	case *string:
		switch a.kind {
		case number:
			n, err := strconv.Atoi(*v)
			if err != nil {
				return nil, usageError("--%s: %q is not a whole number", a.flagName(), *v)
			}
			return n, nil
		case jsonDocument:
			return readJSON("--"+a.flagName(), *v, stdin)
		}
		return *v, nil
	}
	return nil, fmt.Errorf("flag --%s has no value", a.flagName())
}

// pairs reads KEY=VALUE; a value that is JSON is that, any other text.
func pairs(flag string, list []string) (map[string]any, error) {
	out := map[string]any{}
	for _, item := range list {
		key, value, ok := strings.Cut(item, "=")
		if !ok || key == "" {
			return nil, usageError("%s: %q is not of the form KEY=VALUE", flag, item)
		}
		out[key] = jsonOrText(value)
	}
	return out, nil
}

func jsonOrText(value string) any {
	var v any
	if json.Unmarshal([]byte(value), &v) != nil {
		return value
	}
	return v
}

// maxDocument bounds what is read of a file or of standard input.
const maxDocument = 64 << 20

// readJSON reads a JSON text, @file, or standard input for "-".
func readJSON(what, value string, stdin io.Reader) (any, error) {
	b, err := readText(value, stdin)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", what, err)
	}
	var v any
	if err := json.Unmarshal(b, &v); err != nil {
		return nil, usageError("%s is not JSON: %v", what, err)
	}
	return v, nil
}

func readText(value string, stdin io.Reader) ([]byte, error) {
	name, isFile := strings.CutPrefix(value, "@")
	switch {
	case value == "-":
		return io.ReadAll(io.LimitReader(stdin, maxDocument))
	case isFile:
		return os.ReadFile(name)
	}
	if info, err := os.Stat(value); err == nil && info.Mode().IsRegular() {
		return os.ReadFile(value) // as the baremetal client takes it
	}
	return []byte(value), nil
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
		query := url.Values{}
		columns := n.columns
		if long && n.long != nil {
			columns = n.long
		}
		if fields != nil {
			columns = fields
		}
		query.Set("fields", strings.Join(columns, ","))
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
		if key, direction, _ := strings.Cut(sort, ":"); key != "" {
			query.Set("sort_key", key)
			query.Set("sort_dir", first(direction, "asc"))
		}
		api, err := c.client(cmd.Context())
		if err != nil {
			return err
		}
		rows, err := api.List(cmd.Context(), n.path, n.key, query, limit)
		if err != nil {
			return err
		}
		return out.list(cmd.OutOrStdout(), columns, rows)
	}
	out.flags(cmd)
	cmd.Flags().BoolVar(&long, "long", false, "show more attributes")
	cmd.Flags().StringSliceVar(&fields, "fields", nil, "`attributes` to show, separated by commas")
	cmd.Flags().IntVar(&limit, "limit", 0, "show so many at most; 0 is all")
	cmd.Flags().StringVar(&marker, "marker", "", "begin after the one with this `UUID`")
	cmd.Flags().StringVar(&sort, "sort", "", "`attribute[:asc|desc]` to sort by")
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
	cmd := &cobra.Command{Use: "show " + n.placeholder(), Short: "Show a " + n.name, Args: cobra.ExactArgs(1), ValidArgsFunction: n.complete(c)}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		query := url.Values{}
		if fields != nil {
			query.Set("fields", strings.Join(fields, ","))
		}
		return n.print(cmd, c, &out, http.MethodGet, n.item(args[0]), query, nil)
	}
	out.flags(cmd)
	cmd.Flags().StringSliceVar(&fields, "fields", nil, "`attributes` to show, separated by commas")
	return cmd
}

// print makes a request and prints the object that it is answered with.
func (n noun) print(cmd *cobra.Command, c *connection, out *output, method, path string, query url.Values, body any) error {
	api, err := c.client(cmd.Context())
	if err != nil {
		return err
	}
	var object map[string]any
	if err := api.Do(cmd.Context(), method, path, query, body, &object); err != nil {
		return err
	}
	for _, name := range []string{"ports", "portgroups", "states", "volume", "nodes"} {
		delete(object, name) // links
	}
	return out.show(cmd.OutOrStdout(), object)
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
		if n.prepare != nil {
			api, err := c.client(cmd.Context())
			if err == nil {
				err = n.prepare(cmd.Context(), api, body)
			}
			if err != nil {
				return err
			}
		}
		return n.print(cmd, c, &out, http.MethodPost, n.path, nil, body)
	}
	out.flags(cmd)
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
		query := url.Values{}
		if reset {
			query.Set("reset_interfaces", "true")
		}
		return n.patch(cmd.Context(), api, args[0], query, patch)
	}
	return cmd
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
		for _, name := range sortedKeys(flags) {
			switch v := flags[name].(type) {
			case *bool:
				if *v {
					patch = append(patch, ironic.PatchOperation{Op: "remove", Path: "/" + name})
				}
			case *[]string:
				for _, key := range *v {
					patch = append(patch, ironic.PatchOperation{Op: "remove", Path: "/" + name + "/" + escape(key)})
				}
			}
		}
		api, err := c.client(cmd.Context())
		if err != nil {
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
func (n noun) complete(c *connection) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
		api, err := c.client(cmd.Context())
		if err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		rows, err := api.List(cmd.Context(), n.path, n.key, nil, 200)
		if err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		var found []cobra.Completion
		for _, row := range rows {
			name, _ := row["name"].(string)
			id, _ := row["uuid"].(string)
			if ident := first(name, id); ident != "" && !slices.Contains(args, ident) {
				found = append(found, ident)
			}
		}
		return found, cobra.ShellCompDirectiveNoFileComp
	}
}
