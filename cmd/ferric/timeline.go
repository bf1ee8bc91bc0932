package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"ferric/conductor/timeline"
)

// barWidth is how wide the bars of a timeline are.
const barWidth = 40

// newTimelineCommand is "ferric node timeline".
func newTimelineCommand(c *connection) *cobra.Command {
	var asJSON bool
	var limit int
	cmd := &cobra.Command{
		Use:   "timeline NODE",
		Short: "Show how long the last operations with a node took, and their parts",
		Args:  cobra.ExactArgs(1), ValidArgsFunction: nodes.complete(c),
		RunE: func(cmd *cobra.Command, args []string) error {
			api, err := c.client(cmd.Context())
			if err != nil {
				return err
			}
			var answer struct {
				Node       string               `json:"node"`
				Operations []timeline.Operation `json:"operations"`
			}
			path := "/ferric/v1/nodes/" + url.PathEscape(args[0]) + "/timeline"
			if err := api.Do(cmd.Context(), http.MethodGet, path, url.Values{"limit": {strconv.Itoa(limit)}}, nil, &answer); err != nil {
				return err
			}
			if asJSON {
				encoder := json.NewEncoder(cmd.OutOrStdout())
				encoder.SetIndent("", "  ")
				return encoder.Encode(answer)
			}
			if len(answer.Operations) == 0 {
				return fmt.Errorf("nothing was done with node %s yet", args[0])
			}
			for _, o := range answer.Operations {
				printOperation(cmd.OutOrStdout(), o)
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the timeline as JSON")
	cmd.Flags().IntVar(&limit, "limit", 1, "so many `operations`, the last")
	return cmd
}

func printOperation(out io.Writer, o timeline.Operation) {
	by := ""
	if o.User != "" {
		by = " by " + o.User
	}
	fmt.Fprintf(out, "%s%s at %s: %s after %s, %s to %s\n", o.Name, printable(by), moment(o.Start), o.Outcome, span(o.Seconds), o.From, o.To)
	for _, p := range o.Parts {
		what := p.Name
		if p.Bytes > 0 && p.Seconds > 0 {
			what += fmt.Sprintf(" (%d MiB, %.1f MiB/s)", p.Bytes>>20, float64(p.Bytes)/p.Seconds/(1<<20))
		}
		mark := ""
		if p.Outcome != timeline.Done {
			mark = "  " + p.Outcome
		}
		fmt.Fprintf(out, "  %-5s  %8s  %s  %s%s\n", p.Kind, span(p.Seconds), bar(p.Start.Sub(o.Start).Seconds(), p.Seconds, o.Seconds), printable(what), mark)
	}
	if o.Error != "" {
		fmt.Fprintf(out, "  %s\n", printable(o.Error))
	}
}

// bar shows where in a whole a part lies.
func bar(start, length, whole float64) string {
	if whole <= 0 {
		return strings.Repeat("█", barWidth)
	}
	from := min(max(int(start/whole*barWidth), 0), barWidth-1)
	to := min(max(int((start+length)/whole*barWidth+0.5), from+1), barWidth)
	return strings.Repeat("·", from) + strings.Repeat("█", to-from) + strings.Repeat("·", barWidth-to)
}

// span is a duration as people read it.
func span(seconds float64) string {
	d := time.Duration(seconds * float64(time.Second))
	if d < 10*time.Second {
		return d.Round(100 * time.Millisecond).String()
	}
	return d.Round(time.Second).String()
}
