package main

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/spf13/cobra"
	"go.yaml.in/yaml/v3"
)

// output is how an answer is printed. The formats, and the headings of lists,
// are those of the baremetal client, so that scripts find what they expect.
type output struct {
	format   string
	columns  []string
	noindent bool
	prefix   string // of variables, in the format shell
	width    int
	sort     []string
	descend  bool
	titles   map[string]string // headings of this list only, by attribute
}

// showFlags adds -f and -c to a command that prints an object.
func (o *output) showFlags(cmd *cobra.Command) {
	o.flags(cmd, "shell")
	cmd.Flags().StringVar(&o.prefix, "prefix", "", "begin the names of variables with this, in the format shell")
}

// listFlags adds -f and -c to a command that prints a list.
func (o *output) listFlags(cmd *cobra.Command) {
	o.flags(cmd, "csv")
	cmd.Flags().StringArrayVar(&o.sort, "sort-column", nil, "sort by this `column`; may be repeated")
	cmd.Flags().Bool("sort-ascending", false, "sort from the smallest on, as without it")
	cmd.Flags().BoolVar(&o.descend, "sort-descending", false, "sort from the greatest on")
	cmd.MarkFlagsMutuallyExclusive("sort-ascending", "sort-descending")
}

func (o *output) flags(cmd *cobra.Command, own string) {
	formats := []string{"table", "json", "yaml", "value", own}
	cmd.Flags().StringVarP(&o.format, "format", "f", "table", "`form` of the output: "+strings.Join(formats, ", "))
	cmd.Flags().StringArrayVarP(&o.columns, "column", "c", nil, "print this `column` only; may be repeated")
	cmd.Flags().BoolVar(&o.noindent, "noindent", false, "JSON on one line")
	cmd.Flags().IntVar(&o.width, "max-width", 0, "wrap the cells of a table that is wider than so many `columns`")
	mustComplete(cmd, "format", formats)
}

// list prints rows with the given attributes as columns.
func (o *output) list(w io.Writer, attributes []string, rows []map[string]any) error {
	heading := func(name string) string { return first(o.titles[name], heading(name)) }
	for i := len(o.sort) - 1; i >= 0; i-- {
		by, err := find(attributes, heading, o.sort[i])
		if err != nil {
			return err
		}
		sortRows(rows, []sortKey{{by, map[bool]string{false: "asc", true: "desc"}[o.descend]}})
	}
	chosen, err := choose(attributes, heading, o.columns)
	if err != nil {
		return err
	}
	attributes = chosen
	headings := make([]string, len(attributes))
	for i, name := range attributes {
		headings[i] = heading(name)
	}
	switch o.format {
	case "json", "yaml":
		list := make([]document, len(rows))
		for i, row := range rows {
			for j, name := range attributes {
				list[i] = append(list[i], member{headings[j], row[name]})
			}
		}
		return o.encode(w, list)
	case "csv":
		if err := writeCSV(w, anyOf(headings)); err != nil {
			return err
		}
		for _, row := range rows {
			record := make([]any, len(attributes))
			for i, name := range attributes {
				record[i] = row[name]
			}
			if err := writeCSV(w, record); err != nil {
				return err
			}
		}
		return nil
	case "value":
		for _, row := range rows {
			if _, err := fmt.Fprintln(w, strings.Join(cells(attributes, row), " ")); err != nil {
				return err
			}
		}
		return nil
	case "table":
		t := newTable(headings...)
		for _, row := range rows {
			t.AppendRow(tableRow(cells(attributes, row)))
		}
		return o.render(w, t)
	}
	return o.unknown()
}

// writeCSV writes a record with all in quotes that is not a number or a truth,
// as the baremetal client does; nothing is "".
func writeCSV(w io.Writer, record []any) error {
	fields := make([]string, len(record))
	for i, value := range record {
		switch value.(type) {
		case nil:
			fields[i] = `""`
		case bool, float64:
			fields[i] = cell(value)
		default:
			fields[i] = `"` + strings.ReplaceAll(cell(value), `"`, `""`) + `"`
		}
	}
	_, err := io.WriteString(w, strings.Join(fields, ",")+"\n")
	return err
}

func anyOf(list []string) []any {
	out := make([]any, len(list))
	for i, text := range list {
		out[i] = text
	}
	return out
}

// show prints one object, all its attributes in alphabetical order.
func (o *output) show(w io.Writer, object map[string]any) error {
	names := make([]string, 0, len(object))
	for name := range object {
		if name != "links" {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	names, err := choose(names, func(name string) string { return name }, o.columns)
	if err != nil {
		return err
	}
	switch o.format {
	case "json", "yaml":
		var d document
		for _, name := range names {
			d = append(d, member{name, object[name]})
		}
		return o.encode(w, d)
	case "shell":
		for _, name := range names {
			value := shellQuoted.Replace(cell(object[name]))
			if _, err := fmt.Fprintf(w, "%s%s=\"%s\"\n", o.prefix, variable(name), value); err != nil {
				return err
			}
		}
		return nil
	case "value":
		for _, name := range names {
			if _, err := fmt.Fprintln(w, cell(object[name])); err != nil {
				return err
			}
		}
		return nil
	case "table":
		t := newTable("Field", "Value")
		for _, name := range names {
			t.AppendRow(table.Row{name, printable(cell(object[name]))})
		}
		return o.render(w, t)
	}
	return o.unknown()
}

func (o *output) unknown() error {
	return usageError("unknown format %q: see --help for those there are", o.format)
}

// choose picks the attributes that are named, by heading or by name; without
// names all.
func choose(have []string, title func(string) string, named []string) ([]string, error) {
	if named == nil {
		return have, nil
	}
	var chosen []string
	for _, name := range named {
		attribute, err := find(have, title, name)
		if err != nil {
			return nil, err
		}
		chosen = append(chosen, attribute)
	}
	return chosen, nil
}

func find(have []string, title func(string) string, named string) (string, error) {
	i := slices.IndexFunc(have, func(name string) bool { return name == named || strings.EqualFold(title(name), named) })
	if i < 0 {
		return "", usageError("no column %q: there are %s", named, strings.Join(have, ", "))
	}
	return have[i], nil
}

// shellQuoted makes a text fit for double quotes in a shell.
var shellQuoted = strings.NewReplacer(`\`, `\\`, `"`, `\"`, "$", `\$`, "`", "\\`")

// variable is an attribute's name as that of a variable of the shell.
func variable(name string) string {
	return strings.Map(func(r rune) rune {
		if r == '_' || r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' {
			return r
		}
		return '_'
	}, name)
}

func (o *output) encode(w io.Writer, v any) error {
	if o.format == "yaml" {
		e := yaml.NewEncoder(w)
		e.SetIndent(2)
		if err := e.Encode(v); err != nil {
			return err
		}
		return e.Close()
	}
	e := json.NewEncoder(w)
	if !o.noindent {
		e.SetIndent("", "  ")
	}
	e.SetEscapeHTML(false)
	return e.Encode(v)
}

// document is an object whose members stay in order.
type document []member

type member struct {
	name  string
	value any
}

// MarshalJSON implements json.Marshaler.
func (d document) MarshalJSON() ([]byte, error) {
	var b strings.Builder
	b.WriteByte('{')
	for i, m := range d {
		if i > 0 {
			b.WriteByte(',')
		}
		value, err := json.Marshal(m.value)
		if err != nil {
			return nil, err
		}
		b.WriteString(strconv.Quote(m.name) + ":")
		b.Write(value)
	}
	b.WriteByte('}')
	return []byte(b.String()), nil
}

// MarshalYAML implements yaml.Marshaler.
func (d document) MarshalYAML() (any, error) {
	node := &yaml.Node{Kind: yaml.MappingNode}
	for _, m := range d {
		var key, value yaml.Node
		key.SetString(m.name)
		if err := value.Encode(m.value); err != nil {
			return nil, err
		}
		node.Content = append(node.Content, &key, &value)
	}
	return node, nil
}

func cells(names []string, row map[string]any) []string {
	out := make([]string, len(names))
	for i, name := range names {
		out[i] = cell(row[name])
	}
	return out
}

// cell is a value as text; what is not a simple one is shown as JSON.
func cell(v any) string {
	switch v := v.(type) {
	case nil:
		return "None"
	case string:
		return v
	case bool:
		if v {
			return "True"
		}
		return "False"
	case float64:
		return strconv.FormatFloat(v, 'f', -1, 64)
	}
	b, err := json.Marshal(v)
	if err != nil {
		return fmt.Sprint(v)
	}
	return string(b)
}

func newTable(headings ...string) table.Writer {
	t := table.NewWriter()
	t.SetStyle(table.StyleDefault)
	t.Style().Format.Header = 0 // as they are
	t.AppendHeader(tableRow(headings))
	return t
}

func tableRow(texts []string) table.Row {
	row := make(table.Row, len(texts))
	for i, text := range texts {
		row[i] = printable(text)
	}
	return row
}

func (o *output) render(w io.Writer, t table.Writer) error {
	if o.width > 0 {
		t.Style().Size.WidthMax = o.width
	}
	_, err := fmt.Fprintln(w, t.Render())
	return err
}

// headings of attributes that are not simply their words. Literal table.
var headings = map[string]string{
	"provision_state": "Provisioning State", "network_data": "Network Configuration", "pxe_enabled": "PXE boot enabled", "is_smartnic": "Is Smart NIC port",
	"raid_config": "Current RAID configuration", "target_raid_config": "Target RAID configuration", "hosts": "Active host(s)",
	"volume_type": "Driver Volume Type", "http_methods": "Supported HTTP methods", "attach": "Response is attachment",
	"dmi_vendor": "DMI Vendor", "sdk": "SDK", "sha256": "SHA256", "max_length": "Maximum Length", "min_length": "Minimum Length", "event": "Description of the event", "event_type": "Event Origin Type", "duration_seconds": "Duration (seconds)",
}

// inCapitals are words of headings.
var inCapitals = []string{"uuid", "id", "bios", "raid"}

// heading is the title of an attribute's column.
func heading(name string) string {
	if h, ok := headings[name]; ok {
		return h
	}
	words := strings.Split(name, "_")
	for i, w := range words {
		switch {
		case slices.Contains(inCapitals, w):
			words[i] = strings.ToUpper(w)
		case w != "":
			words[i] = strings.ToUpper(w[:1]) + w[1:]
		}
	}
	return strings.Join(words, " ")
}
