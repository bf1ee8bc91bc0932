package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"ferric/api/ironic"
	"ferric/conductor/event"
)

// newEventsCommand is "ferric events": what happens, as it happens.
func newEventsCommand(c *connection) *cobra.Command {
	var follow, asJSON bool
	var kinds []string
	var limit int
	cmd := &cobra.Command{
		Use:   "events [NODE]",
		Short: "Show what was seen of all nodes, or of one",
		Args:  cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			api, err := c.client(cmd.Context())
			if err != nil {
				return err
			}
			query := url.Values{}
			if len(args) > 0 {
				query.Set("node", args[0])
			}
			if kinds != nil {
				query.Set("kind", strings.Join(kinds, ","))
			}
			first := url.Values{"limit": {strconv.Itoa(limit)}}
			for name, values := range query {
				first[name] = values
			}
			list, err := api.LatestEvents(cmd.Context(), first)
			if err != nil {
				return err
			}
			show := func(e ironic.Event) error { return printEvent(cmd.OutOrStdout(), e, asJSON) }
			var last int64
			for _, e := range list {
				if err := show(e); err != nil {
					return err
				}
				last = e.ID
			}
			if !follow {
				return nil
			}
			err = api.FollowEvents(cmd.Context(), query, last, show, func(word string) {
				fmt.Fprintf(cmd.ErrOrStderr(), "ferric: %s\n", printable(word))
			})
			if errors.Is(err, context.Canceled) {
				return nil // which is how one stops to look
			}
			return err
		},
	}
	cmd.Flags().BoolVar(&follow, "follow", false, "go on with what happens, until interrupted")
	cmd.Flags().BoolVar(&asJSON, "json", false, "an event a line as JSON")
	cmd.Flags().StringSliceVar(&kinds, "kind", nil, "only events of these `kinds`")
	cmd.Flags().IntVar(&limit, "limit", 50, "begin with so many events, the last")
	var names []string
	for _, k := range event.Kinds {
		names = append(names, k.Name)
	}
	mustComplete(cmd, "kind", names)
	cmd.ValidArgsFunction = nodes.complete(c)
	return cmd
}

func printEvent(out io.Writer, e ironic.Event, asJSON bool) error {
	if asJSON {
		return json.NewEncoder(out).Encode(e)
	}
	by := ""
	if user, _ := e.Data["user"].(string); user != "" {
		by = " (" + user + ")"
	}
	_, err := fmt.Fprintf(out, "%s  %-20s  %-12s  %s%s\n", e.Time.UTC().Format(time.RFC3339), printable(first(e.Name, e.Node)), e.Kind, printable(e.Detail), printable(by))
	return err
}
