package main

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/spf13/cobra"
)

// allocationCommand is the noun "allocation", whose creation can be waited for.
func allocationCommand(c *connection) *cobra.Command {
	create := allocations.createCommand(c)
	waitForAllocation(c, create)
	return group("allocation", "Nodes that are set aside", allocations.listCommand(c), allocations.showCommand(c), allocations.deleteCommand(c),
		allocations.setCommand(c), allocations.unsetCommand(c), create)
}

// allocationPoll is the pause between two looks at an allocation.
const allocationPoll = 500 * time.Millisecond

// waitForAllocation adds --wait to create.
func waitForAllocation(c *connection, create *cobra.Command) {
	var wait string
	create.Flags().StringVar(&wait, "wait", "", "wait for the node, for so many `seconds`; 0 is for ever")
	create.Flags().Lookup("wait").NoOptDefVal = "0"
	withoutWait := create.RunE
	create.RunE = func(cmd *cobra.Command, args []string) error {
		if wait == "" {
			return withoutWait(cmd, args)
		}
		limit, err := seconds("wait", wait)
		if err != nil {
			return err
		}
		name := cmd.Flags().Lookup("name").Value.String()
		id := cmd.Flags().Lookup("uuid").Value.String()
		if first(id, name) == "" {
			return usageError("--wait needs --name or --uuid to find the allocation again")
		}
		if err := withoutWait(cmd, args); err != nil {
			return err
		}
		ctx := cmd.Context()
		if limit > 0 {
			var cancel context.CancelFunc
			ctx, cancel = context.WithTimeout(ctx, time.Duration(limit)*time.Second)
			defer cancel()
		}
		return c.allocated(ctx, first(id, name))
	}
}

// allocated waits until the allocation has a node, or none can be had.
func (c *connection) allocated(ctx context.Context, ident string) error {
	api, err := c.client(ctx)
	if err != nil {
		return err
	}
	for {
		var a struct {
			State     string  `json:"state"`
			LastError *string `json:"last_error"`
		}
		if err := api.Do(ctx, http.MethodGet, allocations.item(ident), nil, nil, &a); err != nil {
			return err
		}
		switch {
		case a.State == "active":
			return nil
		case a.State == "error" && a.LastError != nil:
			return fmt.Errorf("allocation %s failed: %s", ident, *a.LastError)
		case a.State == "error":
			return fmt.Errorf("allocation %s failed", ident)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("allocation %s is still %s: %w", ident, a.State, ctx.Err())
		case <-time.After(allocationPoll):
		}
	}
}
