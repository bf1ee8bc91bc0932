package main

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/spf13/cobra"

	"ferric/api/client"
)

// allocationCommand is the noun "allocation", whose creation can be waited for.
func allocationCommand(c *connection) *cobra.Command {
	var wait string
	waited := allocations
	waited.settle = func(ctx context.Context, api *client.Client, object map[string]any) (map[string]any, error) {
		if wait == "" {
			return object, nil
		}
		limit, err := seconds("wait", wait)
		if err != nil {
			return nil, err
		}
		return allocated(ctx, api, cell(object["uuid"]), time.Duration(limit)*time.Second)
	}
	create := waited.createCommand(c)
	create.Flags().StringVar(&wait, "wait", "", "wait for the node, for so many `seconds`; 0 is for ever")
	create.Flags().Lookup("wait").NoOptDefVal = "0"
	return group("allocation", "Nodes that are set aside", allocations.listCommand(c), allocations.showCommand(c), allocations.deleteCommand(c),
		allocations.setCommand(c), allocations.unsetCommand(c), create)
}

// allocationPoll is the pause between two looks at an allocation.
const allocationPoll = 500 * time.Millisecond

// allocated waits until the allocation has a node, or none can be had; a limit
// of 0 is none.
func allocated(ctx context.Context, api *client.Client, ident string, limit time.Duration) (map[string]any, error) {
	if limit > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, limit, fmt.Errorf("%s are over", limit))
		defer cancel()
	}
	for {
		var a map[string]any
		err := api.Do(ctx, http.MethodGet, allocations.item(ident), nil, nil, &a)
		switch {
		case err != nil && ctx.Err() == nil:
			return nil, err
		case err == nil && a["state"] == "active":
			return a, nil
		case err == nil && a["state"] == "error":
			return nil, fmt.Errorf("allocation %s failed: %s", ident, cell(a["last_error"]))
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("allocation %s has no node yet (%w); the conductor goes on looking: see ferric allocation show %s", ident, context.Cause(ctx), ident)
		case <-time.After(allocationPoll):
		}
	}
}
