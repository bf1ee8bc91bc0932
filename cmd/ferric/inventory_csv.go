package main

import (
	"bytes"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
)

// parseCSV reads a table with a line of headings: attributes of nodes
// ("name", "driver"), members of their mappings ("driver_info.ipmi_address"),
// "ports" and "traits", whose cells hold several, separated by spaces. An empty
// cell says nothing. A table that begins with a MAC address is of Bifrost's
// legacy form.
func parseCSV(text []byte) ([]*described, error) {
	r := csv.NewReader(bytes.NewReader(text))
	r.FieldsPerRecord = -1
	r.TrimLeadingSpace = true
	r.Comment = '#'
	head, err := r.Read()
	if errors.Is(err, io.EOF) {
		return nil, errors.New("it is empty")
	}
	if err != nil {
		return nil, err
	}
	read := func(row []string) (*described, error) { return describeRow(head, row) }
	var list []*described
	row := head
	if _, err := net.ParseMAC(strings.TrimSpace(head[0])); err == nil {
		read = describeBifrostRow
	} else {
		if err := checkHeadings(head); err != nil {
			return nil, err
		}
		row, err = r.Read()
		if err != nil && !errors.Is(err, io.EOF) {
			return nil, err
		}
	}
	for ; row != nil; row, err = r.Read() {
		line, _ := r.FieldPos(0)
		d, err := read(row)
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", line, err)
		}
		d.where = fmt.Sprintf("line %d", line)
		list = append(list, d)
	}
	if !errors.Is(err, io.EOF) {
		return nil, err
	}
	return list, nil
}

// checkHeadings refuses what no attribute is called, or what is there twice.
func checkHeadings(head []string) error {
	for i, name := range head {
		name = strings.TrimSpace(name)
		head[i] = name
		top, _, isMember := strings.Cut(name, ".")
		known := slices.ContainsFunc(nodes.attributes, func(a attribute) bool {
			return a.name == top && a.use&(onCreate|onSet) != 0 && (a.kind == object) == isMember
		})
		if !known && name != "ports" && name != "traits" {
			return fmt.Errorf("the column %q is no attribute of a node; members of mappings are called driver_info.ipmi_address, properties.cpus and so on, and there are ports and traits", name)
		}
		if slices.Contains(head[:i], name) {
			return fmt.Errorf("there are two columns %q", name)
		}
	}
	return nil
}

func describeRow(head, row []string) (*described, error) {
	if len(row) > len(head) {
		return nil, fmt.Errorf("it has %d cells, and there are %d columns", len(row), len(head))
	}
	d := &described{node: map[string]any{}}
	for i, cell := range row {
		cell = strings.TrimSpace(cell)
		name := head[i]
		top, member, isMember := strings.Cut(name, ".")
		switch {
		case cell == "":
		case name == "ports":
			for _, address := range strings.Fields(cell) {
				d.ports = append(d.ports, map[string]any{"address": address})
			}
		case name == "traits":
			d.traits = strings.Fields(cell)
		case isMember:
			values, _ := d.node[top].(map[string]any)
			if values == nil {
				values = map[string]any{}
				d.node[top] = values
			}
			values[member] = cell
			if top != "driver_info" { // where a password may look like a number
				values[member] = jsonOrText(cell)
			}
		default:
			value, err := attributeValue(name, cell)
			if err != nil {
				return nil, err
			}
			d.node[name] = value
		}
	}
	return d, nil
}

// attributeValue reads a cell as the attribute's kind.
func attributeValue(name, cell string) (any, error) {
	i := slices.IndexFunc(nodes.attributes, func(a attribute) bool { return a.name == name && a.use&(onCreate|onSet) != 0 })
	switch a := nodes.attributes[i]; a.kind {
	case boolean:
		word, ok := truths[strings.ToLower(cell)]
		if !ok {
			return nil, fmt.Errorf("%s is %q; want true or false", name, cell)
		}
		return word == "true", nil
	case jsonDocument:
		return readJSON(name, cell, nil)
	}
	return cell, nil
}

// Columns of Bifrost's legacy table, which has no headings.
const (
	bifrostMAC = iota
	bifrostUser
	bifrostPassword
	bifrostBMC
	bifrostCPUs
	bifrostRAM
	bifrostDisk
	_ // flavour
	_ // type
	bifrostUUID
	bifrostName
	bifrostIPv4
	bifrostTargetChannel
	bifrostTargetAddress
	bifrostTransitChannel
	bifrostTransitAddress
	bifrostDriver
	bifrostColumns
)

// describeBifrostRow makes of a row what Bifrost's mapping would say.
func describeBifrostRow(row []string) (*described, error) {
	if len(row) <= bifrostName || len(row) > bifrostColumns {
		return nil, fmt.Errorf("it has %d cells; Bifrost's legacy form has %d to %d", len(row), bifrostName+1, bifrostColumns)
	}
	row = append(slices.Clone(row), make([]string, bifrostColumns-len(row))...)
	info := map[string]any{"ipmi_address": row[bifrostBMC], "ipmi_username": row[bifrostUser], "ipmi_password": row[bifrostPassword]}
	for key, value := range map[string]string{
		"ipmi_target_channel": row[bifrostTargetChannel], "ipmi_target_address": row[bifrostTargetAddress],
		"ipmi_transit_channel": row[bifrostTransitChannel], "ipmi_transit_address": row[bifrostTransitAddress],
	} {
		if value != "" {
			info[key] = value
		}
	}
	switch {
	case row[bifrostTransitChannel] != "" && row[bifrostTransitAddress] != "":
		info["ipmi_bridging"] = "dual"
	case row[bifrostTargetChannel] != "" && row[bifrostTargetAddress] != "":
		info["ipmi_bridging"] = "single"
	}
	driver := row[bifrostDriver]
	if driver == "" || strings.Contains(driver, "ipmi") { // Bifrost's own default, ssh to a hypervisor, is of no hardware
		driver = "ipmi"
	}
	host := map[string]any{
		"name": row[bifrostName], "driver": driver, "driver_info": info,
		"nics":       []any{map[string]any{"mac": row[bifrostMAC]}},
		"properties": map[string]any{"cpus": row[bifrostCPUs], "ram": row[bifrostRAM], "disk_size": row[bifrostDisk], "cpu_arch": "x86_64"},
	}
	for key, i := range map[string]int{"uuid": bifrostUUID, "ipv4_address": bifrostIPv4} {
		if row[i] != "" {
			host[key] = row[i]
		}
	}
	return describeBifrost(row[bifrostName], host)
}
