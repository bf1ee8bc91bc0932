package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/google/uuid"
	"go.yaml.in/yaml/v3"

	"ferric/api/ironic"
)

// described is a machine as an inventory describes it: a node in the words of
// the API, and what belongs to it.
type described struct {
	where       string // in the file, for people
	node        map[string]any
	traits      []string
	ports       []map[string]any
	portGroups  []map[string]any
	configDrive any
}

// label is what people know the machine by.
func (d *described) label() string {
	for _, key := range []string{"name", "uuid"} {
		if s, ok := d.node[key].(string); ok && s != "" {
			return s
		}
	}
	return d.addresses()[0]
}

// addresses are the MAC addresses of all ports, as the API writes them.
func (d *described) addresses() []string {
	var list []string
	for _, p := range d.ports {
		if s, ok := p["address"].(string); ok {
			list = append(list, strings.ToLower(s))
		}
	}
	return list
}

// maxInventory bounds the machines of a file.
const maxInventory = 100_000

// readInventory reads a file, or standard input for "-": YAML or JSON of our own
// shape or of Bifrost's, or CSV of either.
func readInventory(name string, stdin io.Reader) ([]*described, error) {
	var text []byte
	var err error
	if name == "-" {
		name = "standard input"
		text, err = io.ReadAll(io.LimitReader(stdin, maxDocument+1))
	} else {
		var file *os.File
		if file, err = os.Open(name); err == nil {
			defer file.Close()
			text, err = io.ReadAll(io.LimitReader(file, maxDocument+1))
		}
	}
	if err != nil {
		return nil, err
	}
	if len(text) > maxDocument {
		return nil, usageError("%s is larger than %d MiB", name, maxDocument>>20)
	}
	list, err := parseInventory(filepath.Ext(name), text)
	if err != nil {
		return nil, usageError("%s: %w", name, err)
	}
	return list, nil
}

// parseInventory chooses the shape: CSV by the extension, or where the text is
// neither a mapping nor a list of YAML.
func parseInventory(extension string, text []byte) ([]*described, error) {
	var list []*described
	var document any
	err := yaml.NewDecoder(bytes.NewReader(text)).Decode(&document)
	_, prose := document.(string)
	switch {
	case strings.EqualFold(extension, ".csv"), prose && bytes.Contains(text, []byte(",")):
		list, err = parseCSV(text)
	case errors.Is(err, io.EOF):
		err = errors.New("it is empty")
	case err == nil:
		if document, err = plainJSON(document); err == nil {
			list, err = parseDocument(document)
		}
	}
	if err != nil {
		return nil, err
	}
	if len(list) > maxInventory {
		return nil, fmt.Errorf("it describes %d machines, at most %d are taken at a time", len(list), maxInventory)
	}
	return list, checkInventory(list)
}

// plainJSON makes of YAML what comes out of JSON, so that it can be compared
// with what the API answers.
func plainJSON(v any) (any, error) {
	b, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("it has what JSON cannot say: %w", err)
	}
	var plain any
	return plain, json.Unmarshal(b, &plain)
}

// parseDocument tells our shape, {"nodes": [...]} or the bare list, from Bifrost's.
func parseDocument(document any) ([]*described, error) {
	top, ok := document.(map[string]any)
	if !ok {
		nodes, ok := document.([]any)
		if !ok {
			return nil, errors.New("it is neither a mapping nor a list")
		}
		return parseNodes(nil, nodes)
	}
	if _, ours := top["nodes"]; !ours {
		return parseBifrost(top)
	}
	for _, key := range sortedKeys(top) {
		if key != "nodes" && key != "defaults" {
			return nil, fmt.Errorf("there is no %q in an inventory: only nodes and defaults", key)
		}
	}
	defaults, ok := top["defaults"].(map[string]any)
	if !ok && top["defaults"] != nil {
		return nil, errors.New("defaults is not a mapping")
	}
	nodes, ok := top["nodes"].([]any)
	if !ok {
		return nil, errors.New("nodes is not a list")
	}
	return parseNodes(defaults, nodes)
}

func parseNodes(defaults map[string]any, nodes []any) ([]*described, error) {
	var list []*described
	for i, item := range nodes {
		node, ok := item.(map[string]any)
		if !ok {
			return nil, fmt.Errorf("node %d is not a mapping", i+1)
		}
		d, err := newDescribed(overlay(defaults, node))
		if err != nil {
			return nil, fmt.Errorf("node %d (%s): %w", i+1, labelOf(node), err)
		}
		d.where = fmt.Sprintf("node %d (%s)", i+1, labelOf(node))
		list = append(list, d)
	}
	return list, nil
}

// overlay lays a node over the defaults: member by member where both are
// mappings.
func overlay(defaults, node map[string]any) map[string]any {
	out := maps.Clone(defaults)
	if out == nil {
		out = map[string]any{}
	}
	for key, value := range node {
		below, ok := out[key].(map[string]any)
		if above, both := value.(map[string]any); ok && both {
			value = overlay(below, above)
		}
		out[key] = value
	}
	return out
}

// newDescribed takes apart what stands in one mapping: attributes of the node,
// and what has addresses of its own in the API.
func newDescribed(node map[string]any) (*described, error) {
	d := &described{node: node}
	for _, part := range []struct {
		key  string
		read func(v any) error
	}{
		{"traits", func(v any) error { return readTexts(v, &d.traits) }},
		{"ports", func(v any) error { return readPorts(v, &d.ports) }},
		{"portgroups", func(v any) error { return readPorts(v, &d.portGroups) }},
		{"config_drive", func(v any) error { d.configDrive = v; return nil }},
	} {
		value, ok := node[part.key]
		if !ok {
			continue
		}
		delete(node, part.key)
		if err := part.read(value); err != nil {
			return nil, fmt.Errorf("%s: %w", part.key, err)
		}
	}
	for _, g := range d.portGroups {
		if inside, ok := g["ports"]; ok {
			delete(g, "ports")
			var list []map[string]any
			if err := readPorts(inside, &list); err != nil {
				return nil, fmt.Errorf("ports of a port group: %w", err)
			}
			for _, p := range list {
				p["portgroup"] = labelOf(g) // taken out before it is sent
			}
			d.ports = append(d.ports, list...)
		}
	}
	return d, nil
}

func readTexts(v any, out *[]string) error {
	list, ok := v.([]any)
	if !ok {
		return errors.New("is not a list")
	}
	for _, item := range list {
		s, ok := item.(string)
		if !ok {
			return fmt.Errorf("%v is not a text", item)
		}
		*out = append(*out, s)
	}
	return nil
}

// readPorts takes a list of mappings, or of MAC addresses.
func readPorts(v any, out *[]map[string]any) error {
	list, ok := v.([]any)
	if !ok {
		return errors.New("is not a list")
	}
	for _, item := range list {
		switch item := item.(type) {
		case string:
			*out = append(*out, map[string]any{"address": item})
		case map[string]any:
			*out = append(*out, maps.Clone(item))
		default:
			return fmt.Errorf("%v is neither a mapping nor a MAC address", item)
		}
	}
	return nil
}

// checkInventory finds what would make one machine of two, before anything is
// asked of the API.
func checkInventory(list []*described) error {
	if len(list) == 0 {
		return errors.New("it describes no machine")
	}
	seen := map[string]string{}
	var failures []error
	for _, d := range list {
		identity := d.addresses()
		for _, key := range []string{"name", "uuid"} {
			value, ok := d.node[key]
			s, isText := value.(string)
			switch {
			case !ok:
			case !isText || s == "":
				failures = append(failures, fmt.Errorf("%s: %s is %v; want a text", d.where, key, value))
			case key == "uuid" && uuid.Validate(s) != nil:
				failures = append(failures, fmt.Errorf("%s: uuid %q is none", d.where, s))
			default:
				identity = append(identity, s)
			}
		}
		if len(identity) == 0 {
			failures = append(failures, fmt.Errorf("%s has neither name, nor uuid, nor a port: it could not be found again", d.where))
		}
		slices.Sort(identity)
		for _, id := range slices.Compact(identity) {
			if other, ok := seen[id]; ok {
				failures = append(failures, fmt.Errorf("%s and %s are both %s", other, d.where, id))
			}
			seen[id] = d.where
		}
	}
	return errors.Join(failures...)
}

// changes is the patch that makes of a node, as the API shows it, the one that
// is wanted. Mappings are compared member by member, and what the file does not
// name stays as it is: inspection has found it. Secrets are not shown, so they
// are set each time.
func changes(have, want map[string]any) ironic.Patch {
	var patch ironic.Patch
	set := func(path string, have, want any) {
		switch {
		case have == nil && want == nil || equal(have, want):
		case want == nil:
			patch = append(patch, ironic.PatchOperation{Op: "remove", Path: path})
		default:
			patch = append(patch, ironic.PatchOperation{Op: "add", Path: path, Value: want})
		}
	}
	for _, name := range sortedKeys(want) {
		wanted, isObject := want[name].(map[string]any)
		current, _ := have[name].(map[string]any)
		if !isObject || !nodes.merges(name) {
			set("/"+name, have[name], want[name])
			continue
		}
		for _, key := range sortedKeys(wanted) {
			set("/"+name+"/"+escape(key), current[key], wanted[key])
		}
	}
	return patch
}

// equal compares values of JSON.
func equal(a, b any) bool {
	x, errX := json.Marshal(a)
	y, errY := json.Marshal(b)
	return errX == nil && errY == nil && bytes.Equal(x, y)
}
