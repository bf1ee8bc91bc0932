package restapi_test

import (
	"strings"
	"testing"
)

// TestNetworkData holds the check of network_data against OpenStack's schema.
func TestNetworkData(t *testing.T) {
	s := newService(t)
	s.enrol("n1")
	whole := func(links, networks, services string) string {
		return `{"links": [` + links + `], "networks": [` + networks + `], "services": [` + services + `]}`
	}
	const link = `{"id": "l", "type": "phy", "ethernet_mac_address": "52:54:00:00:00:01", "mtu": null}`
	for _, tc := range []struct {
		data   string
		status int
		fault  string
	}{
		{`null`, 200, ""},
		{`{}`, 200, ""},
		{whole("", "", ""), 200, ""},
		{whole(link, `{"id": "n", "link": "l", "network_id": "x", "type": "ipv4", "ip_address": "10.0.0.2", "netmask": "255.255.255.0",
			"routes": [{"network": "0.0.0.0", "netmask": "0.0.0.0", "gateway": "10.0.0.1", "services": [{"type": "dns", "address": "10.0.0.3"}]}], "more": 1}`,
			`{"type": "dns", "address": "fd00::1"}`), 200, ""},
		{whole(`{"id": "b", "type": "bond", "ethernet_mac_address": "52:54:00:00:00:01", "bond_mode": "802.3ad", "bond_links": ["l"], "mtu": 9000},
			{"id": "v", "type": "vlan", "vlan_mac_address": "52:54:00:00:00:01", "vlan_link": "b", "vlan_id": 7}`,
			`{"id": "n", "link": "v", "network_id": "x", "type": "ipv6", "ip_address": "fd00::2/64"}`, ""), 200, ""},
		{`7`, 400, "an object is expected"},
		{`{"links": []}`, 400, "networks is required"},
		{whole("7", "", ""), 400, "links[0] is not an object"},
		{whole(`{"id": "l", "type": "phy"}`, "", ""), 400, "links[0] has no ethernet_mac_address"},
		{whole(`{"id": "l", "type": "wifi", "ethernet_mac_address": "52:54:00:00:00:01"}`, "", ""), 400, "links[0] has the invalid type wifi"},
		{whole(`{"id": "l", "type": "phy", "ethernet_mac_address": "52:54"}`, "", ""), 400, "ethernet_mac_address"},
		{whole(`{"id": "l", "type": "phy", "ethernet_mac_address": "52:54:00:00:00:01", "mtu": 0}`, "", ""), 400, "mtu"},
		{whole(`{"id": "b", "type": "bond", "ethernet_mac_address": "52:54:00:00:00:01", "bond_mode": "fast", "bond_links": []}`, "", ""), 400, "bond_mode"},
		{whole(`{"id": "b", "type": "bond", "ethernet_mac_address": "52:54:00:00:00:01", "bond_mode": "802.3ad", "bond_links": [7]}`, "", ""), 400, "bond_links"},
		{whole(`{"id": "v", "type": "vlan", "vlan_mac_address": "52:54:00:00:00:01", "vlan_link": "b", "vlan_id": 1.5}`, "", ""), 400, "vlan_id"},
		{whole("", `{"id": "n", "link": "l", "type": "ipv4"}`, ""), 400, "networks[0] has no network_id"},
		{whole("", `{"id": "n", "link": "l", "network_id": "x", "type": "ipv4", "ip_address": "fd00::1"}`, ""), 400, "ip_address"},
		{whole("", `{"id": "n", "link": "l", "network_id": "x", "type": "ipv6_slaac", "ip_address": "10.0.0.1"}`, ""), 400, "ip_address"},
		{whole("", `{"id": "n", "link": "l", "network_id": "x", "type": "ipx"}`, ""), 400, "invalid type ipx"},
		{whole("", `{"id": "n", "link": "l", "network_id": "x", "type": "ipv4", "routes": [{"network": "0.0.0.0"}]}`, ""), 400, "routes"},
		{whole("", "", `{"type": "ntp", "address": "10.0.0.1"}`), 400, "services[0] has the invalid type ntp"},
		{whole("", "", `{"type": "dns", "address": "here"}`), 400, "address"},
	} {
		a := s.call("66", "PATCH", "/v1/nodes/n1", op("add", "/network_data", tc.data))
		if a.status != tc.status || !strings.Contains(a.fault(), tc.fault) {
			t.Errorf("network_data %s: %d %s, want %d %q", tc.data, a.status, a.body, tc.status, tc.fault)
		}
	}
}
