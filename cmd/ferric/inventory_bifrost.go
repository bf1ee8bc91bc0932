package main

import (
	"errors"
	"fmt"
	"slices"
)

// parseBifrost reads Bifrost's inventory: a mapping from the names of hosts to
// what is said of them; also as it comes out of Bifrost's inventory script
// (below _meta.hostvars), or out of Kolla's configuration.
func parseBifrost(top map[string]any) ([]*described, error) {
	if meta, ok := top["_meta"].(map[string]any); ok {
		top, ok = meta["hostvars"].(map[string]any)
		if !ok {
			return nil, errors.New("_meta has no hostvars")
		}
	}
	if kolla, ok := top["kolla_bifrost_servers"].(map[string]any); ok {
		top = kolla
	}
	var list []*described
	for _, name := range sortedKeys(top) {
		host, ok := top[name].(map[string]any)
		if !ok || host["driver"] == nil && host["driver_info"] == nil && host["nics"] == nil {
			return nil, fmt.Errorf("%q is neither nodes or defaults, nor a host with driver, driver_info and nics as in Bifrost's inventory", name)
		}
		d, err := describeBifrost(name, host)
		if err != nil {
			return nil, fmt.Errorf("host %s: %w", name, err)
		}
		d.where = "host " + name
		list = append(list, d)
	}
	return list, nil
}

// Bifrost's names of properties, and Ironic's.
var bifrostProperties = map[string]string{"ram": "memory_mb", "disk_size": "local_gb"}

// describeBifrost translates a host. What means nothing to a node, such as the
// addresses that its instance is to have, is kept in extra.bifrost.
func describeBifrost(name string, host map[string]any) (*described, error) {
	node := map[string]any{"name": name}
	rest := map[string]any{}
	info := map[string]any{}
	for _, key := range sortedKeys(host) {
		value := host[key]
		switch {
		case key == "nics":
			ports, err := bifrostNICs(value)
			if err != nil {
				return nil, err
			}
			node["ports"] = ports
		case key == "driver_info":
			members, ok := value.(map[string]any)
			if !ok {
				return nil, errors.New("driver_info is not a mapping")
			}
			for member, v := range members {
				group, grouped := v.(map[string]any) // "power", in older ones
				if !grouped {
					info[member] = v
				}
				for inner, v := range group {
					info[inner] = v
				}
			}
		case key == "ipa_kernel_url":
			info["deploy_kernel"] = value
		case key == "ipa_ramdisk_url":
			info["deploy_ramdisk"] = value
		case key == "properties":
			members, ok := value.(map[string]any)
			if !ok {
				return nil, errors.New("properties is not a mapping")
			}
			properties := map[string]any{}
			for member, v := range members {
				properties[first(bifrostProperties[member], member)] = v
			}
			node["properties"] = properties
		case key == "traits" || slices.ContainsFunc(nodes.attributes, func(a attribute) bool { return a.name == key && a.use&(onCreate|onSet) != 0 }):
			node[key] = value
		default:
			rest[key] = value
		}
	}
	node["driver_info"] = info
	if len(rest) > 0 {
		extra, _ := node["extra"].(map[string]any)
		node["extra"] = overlay(extra, map[string]any{"bifrost": rest})
	}
	return newDescribed(node)
}

func bifrostNICs(v any) ([]any, error) {
	list, ok := v.([]any)
	if !ok {
		return nil, errors.New("nics is not a list")
	}
	var ports []any
	for _, item := range list {
		nic, ok := item.(map[string]any)
		if !ok || nic["mac"] == nil {
			return nil, fmt.Errorf("nics has %v; want a mapping with mac", item)
		}
		port := map[string]any{"address": nic["mac"]}
		for _, key := range []string{"pxe_enabled", "physical_network", "local_link_connection", "extra"} {
			if value, ok := nic[key]; ok {
				port[key] = value
			}
		}
		ports = append(ports, port)
	}
	return ports, nil
}
