package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/spf13/cobra"

	"ferric/api/ipa"
)

// newEraseReportCommand is "ferric node erase-report".
func newEraseReportCommand(c *connection) *cobra.Command {
	var asJSON, all bool
	cmd := &cobra.Command{
		Use:   "erase-report NODE",
		Short: "Show what the latest erase did to the disks of a node, and how that was verified",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			api, err := c.client(cmd.Context())
			if err != nil {
				return err
			}
			reports, err := api.EraseReports(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			if !all && len(reports) > 1 {
				reports = reports[:1]
			}
			if asJSON {
				encoder := json.NewEncoder(cmd.OutOrStdout())
				encoder.SetIndent("", "  ")
				return encoder.Encode(ipa.EraseReports{Reports: reports})
			}
			if len(reports) == 0 {
				return fmt.Errorf("nothing was erased on node %s yet", args[0])
			}
			for _, r := range reports {
				printEraseReport(cmd.OutOrStdout(), r)
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the whole report as JSON")
	cmd.Flags().BoolVar(&all, "all", false, "also the reports of earlier steps, newest first")
	return cmd
}

func printEraseReport(out io.Writer, r ipa.EraseReport) {
	result := "done"
	if r.Error != "" {
		result = "failed: " + printable(r.Error)
	}
	fmt.Fprintf(out, "%s, %s to %s: %s\n", printable(r.Step), moment(r.Start), moment(r.End), result)
	t := table.NewWriter()
	t.SetOutputMirror(out)
	t.SetStyle(table.StyleLight)
	t.AppendHeader(table.Row{"device", "model", "serial", "wwn", "bytes", "outcome", "method", "took", "verified"})
	for _, d := range r.Devices {
		t.AppendRow(table.Row{printable(d.Device), printable(d.Model), printable(d.Serial), printable(d.WWN), d.Size, printable(d.Outcome), printable(d.Method), took(d), verified(d)})
	}
	t.Render()
	for _, d := range r.Devices {
		if d.Reason != "" {
			fmt.Fprintf(out, "%s %s: %s\n", printable(d.Device), printable(d.Outcome), printable(d.Reason))
		}
		for _, a := range d.Attempts {
			fmt.Fprintf(out, "%s %s: %s %s\n", printable(d.Device), printable(a.Method), printable(a.Outcome), printable(a.Detail))
		}
	}
}

// verified is what was read back of the method that erased the device.
func verified(d ipa.DeviceErase) string {
	for _, a := range d.Attempts {
		if c := a.Verified; c != nil && a.Method == d.Method {
			text := fmt.Sprintf("%d of %d samples: %s", c.Samples-c.Wrong, c.Samples, printable(c.Expected))
			if !c.Direct {
				text += " (through the page cache)"
			}
			return text
		}
	}
	return "-"
}

func took(d ipa.DeviceErase) string {
	if d.Start.IsZero() || d.End.IsZero() {
		return "-"
	}
	return d.End.Sub(d.Start).Round(time.Second).String()
}

func moment(t time.Time) string {
	if t.IsZero() {
		return "?"
	}
	return t.UTC().Format(time.RFC3339)
}

// printable leaves out what a terminal would act upon: reports come from
// machines, and disks name themselves.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r >= 0x7f && r < 0xa0 {
			return '?'
		}
		return r
	}, strings.TrimSpace(s))
}
