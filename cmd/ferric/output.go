package main

import (
	"encoding/csv"
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
	format  string
	columns []string
}

const formats = "table, json, yaml, csv or value"

// flags adds -f and -c to a command that prints an answer.
func (o *output) flags(cmd *cobra.Command) {
	cmd.Flags().StringVarP(&o.format, "format", "f", "table", "`form` of the output: "+formats)
	cmd.Flags().StringArrayVarP(&o.columns, "column", "c", nil, "print this `column` only; may be repeated")
	mustComplete(cmd, "format", []string{"table", "json", "yaml", "csv", "value"})
}

// list prints rows with the given attributes as columns.
func (o *output) list(w io.Writer, attributes []string, rows []map[string]any) error {
	attributes, err := o.choose(attributes, func(name string) string { return heading(name) })
	if err != nil {
		return err
	}
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
		out := csv.NewWriter(w)
		records := [][]string{headings}
		for _, row := range rows {
			records = append(records, cells(attributes, row))
		}
		return out.WriteAll(records)
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
		return render(w, t)
	}
	return o.unknown()
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
	names, err := o.choose(names, func(name string) string { return name })
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
	case "csv":
		return csv.NewWriter(w).WriteAll([][]string{names, cells(names, object)})
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
		return render(w, t)
	}
	return o.unknown()
}

func (o *output) unknown() error {
	return usageError("unknown format %q: it has to be %s", o.format, formats)
}

// choose picks the attributes that -c names, by heading or by name.
func (o *output) choose(have []string, title func(string) string) ([]string, error) {
	if o.columns == nil {
		return have, nil
	}
	var chosen []string
	for _, c := range o.columns {
		i := slices.IndexFunc(have, func(name string) bool { return name == c || strings.EqualFold(title(name), c) })
		if i < 0 {
			return nil, usageError("no column %q: there are %s", c, strings.Join(have, ", "))
		}
		chosen = append(chosen, have[i])
	}
	return chosen, nil
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
	e.SetIndent("", "  ")
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

func render(w io.Writer, t table.Writer) error {
	_, err := fmt.Fprintln(w, t.Render())
	return err
}

// headings of attributes that are not simply their words. Literal table.
var headings = map[string]string{
	"provision_state": "Provisioning State", "provision_updated_at": "Provision Updated At", "target_provision_state": "Target Provision State",
	"node_uuid": "Node UUID", "uuid": "UUID", "instance_uuid": "Instance UUID", "chassis_uuid": "Chassis UUID", "portgroup_uuid": "Port Group UUID",
	"allocation_uuid": "Allocation UUID", "pxe_enabled": "PXE boot enabled", "is_smartnic": "Is Smart NIC port", "volume_id": "Volume ID",
	"connector_id": "Connector ID", "bios_interface": "BIOS Interface", "raid_interface": "RAID Interface", "raid_config": "Current RAID configuration",
	"target_raid_config": "Target RAID configuration", "hosts": "Active host(s)", "name": "Name", "driver_name": "Supported driver(s)", "id": "ID",
}

// heading is the title of an attribute's column.
func heading(name string) string {
	if h, ok := headings[name]; ok {
		return h
	}
	words := strings.Split(name, "_")
	for i, w := range words {
		if w != "" {
			words[i] = strings.ToUpper(w[:1]) + w[1:]
		}
	}
	return strings.Join(words, " ")
}
