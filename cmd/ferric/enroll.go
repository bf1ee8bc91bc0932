package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"ferric/api"
	"ferric/api/client"
	"ferric/api/ironic"
)

// enrollParallel is how many machines are enrolled at once.
const enrollParallel = 16

// enrolled is what became of a machine of an inventory.
type enrolled struct {
	node    string // UUID
	outcome string // created, updated, unchanged
	changed []string
	state   string
	err     error
}

const enrollHelp = `Make the nodes, port groups, ports and traits that FILE describes, and bring
those up to date that are there. What the file does not name is left as it is,
and nothing is deleted; to run it again changes nothing.

FILE is YAML or JSON:
  defaults: {driver: ipmi, driver_info: {ipmi_username: admin, ipmi_password: secret}}
  nodes:
  - name: rack1-u10
    driver_info: {ipmi_address: 10.0.0.10}
    ports: ["52:54:00:00:00:10"]
with every attribute of a node, and traits, ports, portgroups, config_drive; or
CSV with a line of headings (name,driver,driver_info.ipmi_address,ports); or an
inventory of Bifrost's: YAML, JSON, or its legacy CSV.

A machine is found by its uuid, its name, or the address of a port.`

// enrollCommand is "ferric enroll -f FILE".
func enrollCommand(c *connection) *cobra.Command {
	var files []string
	var to, wait string
	var dry bool
	out := output{format: "table"}
	cmd := &cobra.Command{Use: "enroll -f FILE...", Short: "Enrol the machines of an inventory, or bring them up to date", Args: cobra.NoArgs, Long: enrollHelp}
	cmd.Flags().StringArrayVarP(&files, "file", "f", nil, "`file` to read, - for standard input; may be repeated")
	cmd.Flags().StringVar(&to, "to", ironic.StateManageable, "`state` to bring new nodes to: enroll, manageable (the BMC answers), or available (cleaned as well)")
	cmd.Flags().StringVar(&wait, "wait", "3600", "wait for a node for at most so many `seconds`; 0 is for ever")
	cmd.Flags().BoolVar(&dry, "dry-run", false, "tell what would be done, and do nothing")
	cmd.Flags().StringVar(&out.format, "format", "table", "`form` of the output: table, json, yaml, value, csv")
	mustComplete(cmd, "to", enrollStates)
	if err := cmd.MarkFlagRequired("file"); err != nil {
		panic(err) // the flag was defined above
	}
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if !slices.Contains(enrollStates, to) {
			return usageError("--to: %q is none of %s", to, strings.Join(enrollStates, ", "))
		}
		limit, err := seconds("wait", wait)
		if err != nil {
			return err
		}
		list, err := readInventories(files, cmd)
		if err != nil {
			return err
		}
		ctx := cmd.Context()
		api, err := c.client(ctx)
		if err != nil {
			return err
		}
		f := newFleet(api, cmd.ErrOrStderr(), labels(list), enrollParallel, limit)
		results := make([]enrolled, len(list))
		f.run(ctx, func(ctx context.Context, i int) error {
			r := enrol(ctx, api, list[i], dry)
			results[i] = r
			if r.err != nil || dry || to == ironic.StateEnroll {
				f.board.state(i, first(r.outcome, "failed"))
				return r.err
			}
			n, err := f.bring(ctx, i, r.node, to)
			if n != nil {
				results[i].state = n.ProvisionState
			}
			results[i].err = err
			return err
		})
		if err := out.list(cmd.OutOrStdout(), []string{"name", "uuid", "outcome", "changed", "provision_state"}, enrolRows(list, results)); err != nil {
			return err
		}
		return enrolFailures(list, results)
	}
	return cmd
}

// enrollStates are what enroll may bring nodes to.
var enrollStates = []string{ironic.StateEnroll, ironic.StateManageable, ironic.StateAvailable}

func readInventories(files []string, cmd *cobra.Command) ([]*described, error) {
	var all []*described
	for _, name := range files {
		list, err := readInventory(name, cmd.InOrStdin())
		if err != nil {
			return nil, err
		}
		if len(files) > 1 {
			for _, d := range list {
				d.where = name + ", " + d.where
			}
		}
		all = append(all, list...)
	}
	if err := checkInventory(all); err != nil { // across the files
		return nil, usage{err}
	}
	return all, nil
}

func labels(list []*described) []string {
	names := make([]string, len(list))
	for i, d := range list {
		names[i] = d.label()
	}
	return names
}

func enrolRows(list []*described, results []enrolled) []map[string]any {
	rows := make([]map[string]any, len(list))
	for i, r := range results {
		outcome := r.outcome
		if r.err != nil {
			outcome = strings.TrimPrefix(outcome+", failed", ", ")
		}
		rows[i] = map[string]any{"name": list[i].label(), "uuid": r.node, "outcome": outcome, "changed": strings.Join(r.changed, " "), "provision_state": r.state}
	}
	return rows
}

func enrolFailures(list []*described, results []enrolled) error {
	var failures []error
	for i, r := range results {
		if r.err != nil {
			failures = append(failures, fmt.Errorf("%s: %w", list[i].label(), r.err))
		}
	}
	return errors.Join(failures...)
}

// enrol makes a machine's node and all that belongs to it, or brings them up to
// date. It can be interrupted anywhere: the next time it goes on.
func enrol(ctx context.Context, api *client.Client, d *described, dry bool) enrolled {
	r := enrolled{}
	have, err := findDescribed(ctx, api, d)
	if err != nil {
		r.err = err
		return r
	}
	w := writer{ctx, api, dry, &r}
	if have == nil {
		r.outcome = "created"
		if dry {
			return r
		}
		if have, r.err = w.create(d); r.err != nil {
			return r
		}
	} else {
		r.outcome = "unchanged"
		r.node, _ = have["uuid"].(string)
		r.err = w.update(have, d)
	}
	r.state, _ = have["provision_state"].(string)
	if r.err == nil {
		r.err = w.belongings(have, d)
	}
	return r
}

// findDescribed looks for the node of a machine; nil is none.
func findDescribed(ctx context.Context, api *client.Client, d *described) (map[string]any, error) {
	for _, key := range []string{"uuid", "name"} {
		ident, ok := d.node[key].(string)
		if !ok {
			continue
		}
		var node map[string]any
		err := api.Do(ctx, http.MethodGet, nodes.item(ident), nil, nil, &node)
		if err == nil || !isNotFound(err) {
			return node, err
		}
	}
	for _, address := range d.addresses() {
		list, err := api.List(ctx, ports.path, ports.key, url.Values{"address": {address}, "fields": {"node_uuid"}}, 1)
		if err != nil {
			return nil, err
		}
		if len(list) == 0 {
			continue
		}
		var node map[string]any
		ident := fmt.Sprint(list[0]["node_uuid"])
		if err := api.Do(ctx, http.MethodGet, nodes.item(ident), nil, nil, &node); err != nil {
			return nil, err
		}
		if name, ok := node["name"].(string); ok && name != "" && d.node["name"] != nil {
			return nil, fmt.Errorf("the address %s is that of node %s: correct the file, or rename or delete that node", address, name)
		}
		return node, nil // a machine that has enrolled itself gets its name
	}
	return nil, nil
}

func isNotFound(err error) bool {
	var refusal *api.Error
	return errors.As(err, &refusal) && refusal.Status == http.StatusNotFound
}

// writer makes changes, or only notes them.
type writer struct {
	ctx context.Context
	api *client.Client
	dry bool
	r   *enrolled
}

func (w writer) create(d *described) (map[string]any, error) {
	var made map[string]any
	if err := w.api.Do(w.ctx, http.MethodPost, nodes.path, nil, d.node, &made); err != nil {
		return nil, err
	}
	w.r.node, _ = made["uuid"].(string)
	return made, nil
}

// deployedFrom are attributes that say what an instance was made of; they are
// not to change under it.
var deployedFrom = []string{"instance_info"}

func (w writer) update(have map[string]any, d *described) error {
	want := map[string]any{}
	for key, value := range d.node {
		if key == "uuid" || slices.Contains(deployedFrom, key) && have["provision_state"] != ironic.StateEnroll &&
			have["provision_state"] != ironic.StateManageable && have["provision_state"] != ironic.StateAvailable {
			continue
		}
		want[key] = value
	}
	patch := changes(have, want)
	for _, op := range patch {
		if !isMasked(have, op.Path) {
			w.note(op.Path[1:])
		}
	}
	if len(patch) == 0 || w.dry {
		return nil
	}
	return w.api.Do(w.ctx, http.MethodPatch, nodes.item(w.r.node), nil, patch, nil)
}

// isMasked tells whether the API hides what is at a path.
func isMasked(have map[string]any, path string) bool {
	name, key, _ := strings.Cut(path[1:], "/")
	members, _ := have[name].(map[string]any)
	return members[key] == "******"
}

func (w writer) note(what string) {
	w.r.changed = append(w.r.changed, strings.ReplaceAll(what, "/", "."))
	if w.r.outcome == "unchanged" {
		w.r.outcome = "updated"
	}
}

// belongings brings traits, port groups and ports up to date.
func (w writer) belongings(node map[string]any, d *described) error {
	has, _ := node["traits"].([]any)
	for _, trait := range d.traits {
		if slices.Contains(has, any(trait)) {
			continue
		}
		w.noteNew("trait " + trait)
		if w.dry {
			continue
		}
		if err := w.api.Do(w.ctx, http.MethodPut, nodePath(w.r.node, "traits", url.PathEscape(trait)), nil, nil, nil); err != nil {
			return err
		}
	}
	groups, err := w.settle(&portGroups, "name", d.portGroups)
	if err != nil {
		return err
	}
	for _, p := range d.ports {
		if name, ok := p["portgroup"].(string); ok {
			delete(p, "portgroup")
			if uuid := groups[strings.ToLower(name)]; uuid != "" {
				p["portgroup_uuid"] = uuid
			}
		}
	}
	_, err = w.settle(&ports, "address", d.ports)
	return err
}

// settle brings a node's ports or port groups up to date, found by key or by
// their address, and gives their UUIDs by that key.
func (w writer) settle(n *noun, key string, wanted []map[string]any) (map[string]string, error) {
	if len(wanted) == 0 {
		return nil, nil
	}
	has, err := w.api.List(w.ctx, n.path, n.key, url.Values{"node": {w.r.node}, "detail": {"true"}}, 0)
	if err != nil {
		return nil, err
	}
	uuids := map[string]string{}
	for _, want := range wanted {
		want["node_uuid"] = w.r.node
		if address, ok := want["address"].(string); ok {
			want["address"] = strings.ToLower(address) // as the API writes it
		}
		ident := strings.ToLower(labelOf(want))
		i := slices.IndexFunc(has, func(h map[string]any) bool {
			return want[key] != nil && strings.EqualFold(fmt.Sprint(h[key]), fmt.Sprint(want[key]))
		})
		if i < 0 {
			w.noteNew(n.name + " " + ident)
			if w.dry {
				continue
			}
			var made map[string]any
			if err := w.api.Do(w.ctx, http.MethodPost, n.path, nil, want, &made); err != nil {
				return nil, fmt.Errorf("%s %s: %w", n.name, ident, err)
			}
			uuids[ident], _ = made["uuid"].(string)
			continue
		}
		uuid, _ := has[i]["uuid"].(string)
		uuids[ident] = uuid
		patch := changes(has[i], want)
		for _, op := range patch {
			w.note(n.name + " " + ident + op.Path)
		}
		if len(patch) > 0 && !w.dry {
			if err := w.api.Do(w.ctx, http.MethodPatch, n.item(uuid), nil, patch, nil); err != nil {
				return nil, fmt.Errorf("%s %s: %w", n.name, ident, err)
			}
		}
	}
	return uuids, nil
}

// noteNew notes what is made, unless the whole node is new.
func (w writer) noteNew(what string) {
	if w.r.outcome != "created" {
		w.note(what)
	}
}
