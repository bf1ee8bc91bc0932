package main

import (
	"context"
	"net/url"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"ferric/api/ironic"
)

// provisionStates that nodes can be in. Literal table, for the shell.
var provisionStates = []string{
	ironic.StateEnroll, ironic.StateVerifying, ironic.StateManageable, ironic.StateAvailable,
	ironic.StateInspecting, ironic.StateInspectWait, ironic.StateInspectFailed,
	ironic.StateCleaning, ironic.StateCleanWait, ironic.StateCleanHold, ironic.StateCleanFailed,
	ironic.StateDeploying, ironic.StateDeployWait, ironic.StateDeployHold, ironic.StateDeployFailed, ironic.StateActive,
	ironic.StateDeleting, ironic.StateError, ironic.StateAdopting, ironic.StateAdoptFailed,
	ironic.StateRescuing, ironic.StateRescueWait, ironic.StateRescueFailed, ironic.StateRescue,
	ironic.StateUnrescuing, ironic.StateUnrescueFailed,
	ironic.StateServicing, ironic.StateServiceWait, ironic.StateServiceHold, ironic.StateServiceFailed,
}

var (
	bootDevices = []string{"pxe", "disk", "cdrom", "bios", "safe", "wanboot"}
	bootModes   = []string{"bios", "uefi"}
	httpMethods = []string{"POST", "PUT", "GET", "DELETE", "PATCH"}
)

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

// completeInterfaces offers the interfaces of a kind that any driver has enabled.
func completeInterfaces(kind string) func(c *connection) cobra.CompletionFunc {
	return func(c *connection) cobra.CompletionFunc {
		return func(cmd *cobra.Command, _ []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
			ctx, cancel := context.WithTimeout(cmd.Context(), completion)
			defer cancel()
			var found []string
			if api, err := c.client(ctx); err == nil {
				rows, err := api.List(ctx, drivers.path, drivers.key, url.Values{"detail": {"true"}}, 0)
				for _, row := range rows {
					list, _ := row["enabled_"+kind+"_interfaces"].([]any)
					for _, name := range list {
						found = append(found, cell(name))
					}
				}
				if err != nil {
					return nil, cobra.ShellCompDirectiveNoFileComp
				}
			}
			slices.Sort(found)
			return slices.Compact(found), cobra.ShellCompDirectiveNoFileComp
		}
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
	limit := offered
	if n.noPages {
		limit = 0
	}
	rows, err := api.List(ctx, n.path, n.key, nil, limit)
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

// mustComplete offers the values of a flag that was just defined.
func mustComplete(cmd *cobra.Command, flag string, values []string) {
	mustCompleteBy(cmd, flag, cobra.FixedCompletions(values, cobra.ShellCompDirectiveNoFileComp))
}

// mustCompleteBy has a function offer the values of a flag that was just defined.
func mustCompleteBy(cmd *cobra.Command, flag string, offer cobra.CompletionFunc) {
	if err := cmd.RegisterFlagCompletionFunc(flag, offer); err != nil {
		panic(err)
	}
}
