package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"os"

	"github.com/spf13/cobra"
	"go.yaml.in/yaml/v3"

	"ferric/api/client"
)

// createCommand is "ferric create FILE...".
func createCommand(c *connection) *cobra.Command {
	return &cobra.Command{Use: "create FILE...", Short: "Create the chassis, nodes, port groups and ports that files describe", Args: cobra.MinimumNArgs(1),
		Long: `Create what JSON or YAML files describe:
{"chassis": [...], "nodes": [...]}, where a chassis has "nodes", a node "traits",
"portgroups" and "ports", and a port group "ports".
What cannot be created is left out, with all in it; the rest is created.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			files := make([]map[string]any, len(args))
			for i, name := range args {
				var err error
				if files[i], err = readResources(name); err != nil {
					return err
				}
			}
			api, err := c.client(cmd.Context())
			if err != nil {
				return err
			}
			var failures []error
			for i, file := range files {
				if err := createBelow(cmd.Context(), api, topOfFile, map[string]string{}, file); err != nil {
					failures = append(failures, fmt.Errorf("%s: %w", args[i], err))
				}
			}
			return errors.Join(failures...)
		}}
}

// nest is what stands below a key of a resource: its noun, the attributes that
// name what it is in, and the one by which what is in it names it.
type nest struct {
	key     string
	noun    *noun
	owners  []string
	asOwner string
	below   []nest
}

// What files can hold. Literal tables.
var (
	inPortGroup = []nest{{"ports", &ports, []string{"node_uuid", "portgroup_uuid"}, "", nil}}
	inNode      = []nest{{"portgroups", &portGroups, []string{"node_uuid"}, "portgroup_uuid", inPortGroup}, {"ports", &ports, []string{"node_uuid"}, "", nil}}
	inChassis   = []nest{{"nodes", &nodes, []string{"chassis_uuid"}, "node_uuid", inNode}}
	topOfFile   = []nest{{"chassis", &chassis, nil, "chassis_uuid", inChassis}, {"nodes", &nodes, nil, "node_uuid", inNode}}
)

// readResources reads JSON, which is YAML, too.
func readResources(name string) (map[string]any, error) {
	b, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	var file map[string]any
	if err := yaml.Unmarshal(b, &file); err != nil {
		return nil, usageError("%s: %v", name, err)
	}
	for key := range file {
		if key != "chassis" && key != "nodes" {
			return nil, usageError("%s: there is no %q in such a file: only chassis and nodes", name, key)
		}
	}
	return file, nil
}

// createBelow creates what a holder has; owners are the UUIDs of all that it is in.
func createBelow(ctx context.Context, api *client.Client, nests []nest, owners map[string]string, holder map[string]any) error {
	var failures []error
	for _, n := range nests {
		list, ok := holder[n.key].([]any)
		if !ok && holder[n.key] != nil {
			return fmt.Errorf("%s is not a list", n.key)
		}
		for _, item := range list {
			object, ok := item.(map[string]any)
			if !ok {
				return fmt.Errorf("%s holds what is not an object", n.key)
			}
			if err := createWithAll(ctx, api, n, maps.Clone(owners), object); err != nil {
				failures = append(failures, err)
			}
		}
	}
	return errors.Join(failures...)
}

// createWithAll creates a resource and all in it.
func createWithAll(ctx context.Context, api *client.Client, n nest, owners map[string]string, object map[string]any) error {
	body := maps.Clone(object)
	for _, name := range n.owners {
		if other, ok := body[name]; ok && other != owners[name] {
			return fmt.Errorf("the %s %s is to have the %s %v, but stands in %s", n.noun.name, labelOf(object), name, other, owners[name])
		}
		body[name] = owners[name]
	}
	for _, inside := range n.below {
		delete(body, inside.key)
	}
	var traits any
	if n.noun == &nodes {
		traits = body["traits"]
		delete(body, "traits") // they have an address of their own
	}
	var made struct{ UUID string }
	if err := api.Do(ctx, http.MethodPost, n.noun.path, nil, body, &made); err != nil {
		return fmt.Errorf("create the %s %s: %w", n.noun.name, labelOf(object), err)
	}
	if traits != nil {
		if err := api.Do(ctx, http.MethodPut, n.noun.item(made.UUID)+"/traits", nil, map[string]any{"traits": traits}, nil); err != nil {
			return fmt.Errorf("traits of the node %s: %w", labelOf(object), err)
		}
	}
	if n.asOwner != "" {
		owners[n.asOwner] = made.UUID
	}
	return createBelow(ctx, api, n.below, owners, object)
}

// labelOf is what people know a described resource by.
func labelOf(object map[string]any) string {
	for _, name := range []string{"name", "address", "uuid", "description"} {
		if s, ok := object[name].(string); ok && s != "" {
			return s
		}
	}
	return "without a name"
}
