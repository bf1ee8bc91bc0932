package restapi

import (
	"fmt"
	"math"
	"net"
	"net/netip"
	"slices"
	"strings"

	"ferric/conductor/store"
)

// Types of links and networks in network_data (OpenStack's network_data.json).
var (
	linkTypes  = []string{"bridge", "dvs", "hw_veb", "hyperv", "ovs", "tap", "vhostuser", "vif", "phy"}
	bondModes  = []string{"802.3ad", "balance-rr", "active-backup", "balance-xor", "broadcast", "balance-tlb", "balance-alb"}
	ipv4Types  = []string{"ipv4", "ipv4_dhcp"}
	ipv6Types  = []string{"ipv6", "ipv6_dhcp", "ipv6_slaac"}
	dnsService = []string{"dns"}
)

// member is one of an object in network_data.
type member struct {
	name     string
	required bool
	valid    func(v any) bool
}

// Members of what network_data is made of. Literal tables.
var (
	plainLink = []member{{"id", true, isText}, {"type", true, oneOf(linkTypes...)}, {"ethernet_mac_address", true, isMAC}, {"mtu", false, isMTU}, {"vif_id", false, isText}}
	bondLink  = []member{{"id", true, isText}, {"type", true, oneOf("bond")}, {"ethernet_mac_address", true, isMAC}, {"mtu", false, isMTU}, {"vif_id", false, isText},
		{"bond_mode", true, oneOf(bondModes...)}, {"bond_links", true, isTexts}}
	vlanLink = []member{{"id", true, isText}, {"type", true, oneOf("vlan")}, {"vlan_mac_address", true, isMAC}, {"mtu", false, isMTU}, {"vif_id", false, isText},
		{"vlan_id", true, isWhole}, {"vlan_link", true, isText}}
)

// network are the members of a network of an address family, route those of a
// route in it, service those of a service in it.
func network(types []string, address func(any) bool) []member {
	service := []member{{"type", true, oneOf(dnsService...)}, {"address", true, address}}
	route := []member{{"network", true, address}, {"netmask", true, address}, {"gateway", true, address}, {"services", false, isListOf(service)}}
	return []member{{"id", true, isText}, {"link", true, isText}, {"network_id", true, isText}, {"type", true, oneOf(types...)},
		{"ip_address", false, address}, {"netmask", false, address}, {"routes", false, isListOf(route)}, {"services", false, isListOf(service)}}
}

// checkNetworkData checks network_data: nothing, or links, networks and
// services that are well formed.
func checkNetworkData(o store.Object) error {
	if len(o) == 0 {
		return nil
	}
	service := []member{{"type", true, oneOf(dnsService...)}, {"address", true, func(v any) bool { return isIPv4(v) || isIPv6(v) }}}
	for _, part := range []struct {
		name   string
		shapes func(entry map[string]any) []member
	}{
		{"links", shapeOfLink},
		{"networks", shapeOfNetwork},
		{"services", func(map[string]any) []member { return service }},
	} {
		entries, isList := o[part.name].([]any)
		if !isList {
			return fmt.Errorf("%s is required and has to be a list", part.name)
		}
		for i, e := range entries {
			entry, isObject := e.(map[string]any)
			if !isObject {
				return fmt.Errorf("%s[%d] is not an object", part.name, i)
			}
			if err := checkMembers(entry, part.shapes(entry)); err != nil {
				return fmt.Errorf("%s[%d] %w", part.name, i, err)
			}
		}
	}
	return nil
}

func shapeOfLink(entry map[string]any) []member {
	switch entry["type"] {
	case "bond":
		return bondLink
	case "vlan":
		return vlanLink
	}
	return plainLink
}

func shapeOfNetwork(entry map[string]any) []member {
	kind, _ := entry["type"].(string)
	if slices.Contains(ipv6Types, kind) {
		return network(ipv6Types, isIPv6)
	}
	return network(ipv4Types, isIPv4)
}

// checkMembers checks those members that are known; others may be there too.
func checkMembers(entry map[string]any, members []member) error {
	for _, m := range members {
		v, given := entry[m.name]
		if !given {
			if m.required {
				return fmt.Errorf("has no %s", m.name)
			}
			continue
		}
		if !m.valid(v) {
			return fmt.Errorf("has the invalid %s %v", m.name, v)
		}
	}
	return nil
}

func isListOf(members []member) func(v any) bool {
	return func(v any) bool {
		list, isList := v.([]any)
		return isList && !slices.ContainsFunc(list, func(item any) bool {
			entry, isObject := item.(map[string]any)
			return !isObject || checkMembers(entry, members) != nil
		})
	}
}

func isTexts(v any) bool {
	list, isList := v.([]any)
	return isList && !slices.ContainsFunc(list, func(item any) bool { return !isText(item) })
}

func isWhole(v any) bool {
	n, isNumber := v.(float64)
	return isNumber && n == math.Trunc(n)
}

func isMTU(v any) bool {
	n, isNumber := v.(float64)
	return v == nil || isNumber && n >= 1 && n <= 65535
}

func isMAC(v any) bool {
	text, _ := v.(string)
	mac, err := net.ParseMAC(text)
	return err == nil && len(mac) == 6 && len(text) == 17
}

func isIPv4(v any) bool {
	text, _ := v.(string)
	addr, err := netip.ParseAddr(text)
	return err == nil && addr.Is4()
}

// isIPv6 also takes an address with the length of its prefix.
func isIPv6(v any) bool {
	text, _ := v.(string)
	if strings.Contains(text, "/") {
		prefix, err := netip.ParsePrefix(text)
		return err == nil && prefix.Addr().Is6()
	}
	addr, err := netip.ParseAddr(text)
	return err == nil && addr.Is6()
}
