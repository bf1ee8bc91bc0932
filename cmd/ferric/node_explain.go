package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"go.yaml.in/yaml/v3"

	why "ferric/conductor/explain"
)

// newExplainCommand is "ferric node explain".
func newExplainCommand(c *connection) *cobra.Command {
	var format string
	var quick bool
	cmd := &cobra.Command{
		Use:   "explain NODE",
		Short: "Say why a node is where it is and what to do next, from what was observed",
		Args:  cobra.ExactArgs(1), ValidArgsFunction: nodes.complete(c),
		RunE: func(cmd *cobra.Command, args []string) error {
			if !slices.Contains(explainFormats, format) {
				return usageError("--format: %q is none of %s", format, strings.Join(explainFormats, ", "))
			}
			api, err := c.client(cmd.Context())
			if err != nil {
				return err
			}
			query := url.Values{}
			if quick {
				query.Set("probe", "false")
			}
			var answer json.RawMessage
			path := "/ferric/v1/nodes/" + url.PathEscape(args[0]) + "/explain"
			if err := api.Do(cmd.Context(), http.MethodGet, path, query, nil, &answer); err != nil {
				return err
			}
			return printExplanation(cmd.OutOrStdout(), answer, format)
		},
	}
	cmd.Flags().StringVarP(&format, "format", "f", "table", "`form` of the output: "+strings.Join(explainFormats, ", "))
	cmd.Flags().BoolVar(&quick, "no-probe", false, "ask neither the BMC nor the agent for it")
	mustComplete(cmd, "format", explainFormats)
	return cmd
}

var explainFormats = []string{"table", "json", "yaml"}

func printExplanation(out io.Writer, answer json.RawMessage, format string) error {
	if format != "table" {
		var object any
		if err := json.Unmarshal(answer, &object); err != nil {
			return err
		}
		if format == "yaml" {
			return yaml.NewEncoder(out).Encode(object)
		}
		encoder := json.NewEncoder(out)
		encoder.SetIndent("", "  ")
		return encoder.Encode(object)
	}
	var e why.Explanation
	if err := json.Unmarshal(answer, &e); err != nil {
		return err
	}
	f := e.Facts
	fmt.Fprintf(out, "%s: %s\n", printable(first(f.Name, f.UUID)), printable(e.Cause.Text))
	for i, a := range e.Cause.Actions {
		fmt.Fprintf(out, "%s %s\n", map[bool]string{true: "  Next: ", false: "        "}[i == 0], printable(a))
	}
	fmt.Fprintln(out)
	for _, line := range explainLines(f) {
		if line[1] != "" {
			fmt.Fprintf(out, "  %-15s %s\n", line[0], printable(line[1]))
		}
	}
	for _, a := range e.Also {
		fmt.Fprintf(out, "  %-15s %s\n", "also", printable(a.Text))
	}
	return nil
}

// explainLines are the facts that fit on a screen.
func explainLines(f *why.Facts) (lines [][2]string) {
	add := func(name, format string, args ...any) {
		lines = append(lines, [2]string{name, fmt.Sprintf(format, args...)})
	}
	ago := func(t *time.Time) string {
		if t == nil {
			return ""
		}
		return f.Now.Sub(*t).Round(time.Second).String() + " ago"
	}
	state := string(f.State)
	if f.Target != "" {
		state += ", on the way to " + string(f.Target)
	}
	if f.Since != nil {
		state += ", since " + ago(f.Since)
	}
	add("state", "%s", state)
	if f.AskedVerb != "" {
		add("asked for", "%s by %s, %s", f.AskedVerb, first(f.AskedBy, "somebody"), ago(f.AskedAt))
	}
	power := first(f.Power, "unknown")
	if f.Probe != "" && f.Probe != f.Power {
		power += ", the BMC says " + f.Probe
	}
	add("power", "%s", power)
	switch {
	case f.ProbeError != "":
		add("BMC", "%s", f.ProbeError)
	case f.BMC != nil && f.BMC.OK:
		add("BMC", "answered %s, %s", f.BMC.What, ago(&f.BMC.Time))
	case f.BMC != nil:
		add("BMC", "%s, %s", f.BMC.Error, ago(&f.BMC.Time))
	}
	if f.Maintenance {
		add("maintenance", "%s", strings.TrimSpace(f.Fault+" "+f.Reason))
	}
	if f.Work != "" {
		add("work", "%s, since %s", f.Work, ago(f.WorkSince))
	}
	if f.Step != "" {
		add("step", "%s (%d of %d), %s", f.Step, f.StepNumber, f.Steps, ago(f.StepSince))
	}
	if p := f.Progress; p != nil {
		add("progress", "%d of %d MiB, %.1f MiB/s", p.Done>>20, p.Total>>20, p.BytesPerSec/(1<<20))
	}
	for _, p := range f.Ports {
		note := ""
		if !p.PXEEnabled {
			note = ", not to boot from the network"
		}
		add("port", "%s%s", p.Address, note)
		const last = 3
		for _, s := range p.Sightings[max(0, len(p.Sightings)-last):] {
			add("", "  %s", sightingText(s, f.Now))
		}
	}
	const strangers = 3
	for _, s := range f.Strangers[:min(strangers, len(f.Strangers))] {
		add("no node's", "%s %s", s.MAC, sightingText(s, f.Now))
	}
	if f.AgentURL != "" || f.LastHeartbeat != nil {
		add("agent", "%s %s, heard %s", f.AgentURL, f.AgentVersion, ago(f.LastHeartbeat))
	}
	for _, e := range f.RefusedLookups[max(0, len(f.RefusedLookups)-1):] {
		add("lookup", "%s, %s", e.Detail, ago(&e.Time))
	}
	if p := f.Plugins; p != nil {
		for _, name := range sortedKeys(p.Loaded) {
			add("plugin", "%s %s", name, p.Loaded[name])
		}
		for _, name := range sortedKeys(p.Refused) {
			add("plugin", "%s was refused: %s", name, p.Refused[name])
		}
		for _, name := range sortedKeys(p.SetAside) {
			add("plugin", "%s was set aside: %s", name, p.SetAside[name])
		}
	}
	add("last error", "%s", f.LastError)
	return lines
}

func sightingText(s why.Sighting, now time.Time) string {
	text := fmt.Sprintf("%s %s: %s", s.Protocol, s.Request, first(s.Reason, s.Answer))
	if s.Count > 1 {
		text += fmt.Sprintf(" (%d times)", s.Count)
	}
	return text + ", " + now.Sub(s.Time).Round(time.Second).String() + " ago"
}
