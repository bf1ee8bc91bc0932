package main

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// ipmiNode is what every inventory of TestInventories describes first.
func ipmiNode(properties, extra map[string]any) map[string]any {
	node := map[string]any{
		"name": "n1", "driver": "ipmi",
		"driver_info": map[string]any{"ipmi_address": "10.0.0.1", "ipmi_username": "admin", "ipmi_password": "0123"},
	}
	if properties != nil {
		node["properties"] = properties
	}
	if extra != nil {
		node["extra"] = map[string]any{"bifrost": extra}
	}
	return node
}

func TestInventories(t *testing.T) {
	bifrost := map[string]any{"cpus": "16", "memory_mb": "32760", "local_gb": "235", "cpu_arch": "x86_64"}
	port := []map[string]any{{"address": "52:54:00:00:00:01"}}
	for _, tt := range []struct {
		name, extension, text string
		node                  map[string]any
		ports                 []map[string]any
		traits                []string
	}{
		{"defaults", ".yaml", `
defaults:
  driver: ipmi
  driver_info: {ipmi_username: admin, ipmi_password: "none", ipmi_address: "none"}
nodes:
- name: n1
  driver_info: {ipmi_address: 10.0.0.1, ipmi_password: "0123"}
  ports: ["52:54:00:00:00:01"]
  traits: [CUSTOM_A]
`, ipmiNode(nil, nil), port, []string{"CUSTOM_A"}},
		{"a bare list of JSON", ".json", `[{"name": "n1", "driver": "ipmi", "driver_info": {"ipmi_username": "admin", "ipmi_password": "0123", "ipmi_address": "10.0.0.1"},
			"ports": [{"address": "52:54:00:00:00:01", "pxe_enabled": false}]}]`,
			ipmiNode(nil, nil), []map[string]any{{"address": "52:54:00:00:00:01", "pxe_enabled": false}}, nil},
		{"ports in a port group", "", `nodes: [{name: n1, driver: ipmi, driver_info: {ipmi_username: admin, ipmi_password: "0123", ipmi_address: 10.0.0.1},
			portgroups: [{name: bond0, ports: ["52:54:00:00:00:01"]}]}]`,
			ipmiNode(nil, nil), []map[string]any{{"address": "52:54:00:00:00:01", "portgroup": "bond0"}}, nil},
		{"CSV", ".csv", "name, driver, driver_info.ipmi_address, driver_info.ipmi_username, driver_info.ipmi_password, properties.cpus, ports, traits\n# a comment\nn1, ipmi, 10.0.0.1, admin, 0123, 16, 52:54:00:00:00:01, CUSTOM_A CUSTOM_B\n",
			ipmiNode(map[string]any{"cpus": 16.0}, nil), port, []string{"CUSTOM_A", "CUSTOM_B"}},
		{"Bifrost's JSON, with groups in driver_info", ".json", `{"n1": {"driver": "ipmi", "driver_info": {"power": {"ipmi_address": "10.0.0.1", "ipmi_username": "admin", "ipmi_password": "0123"}},
			"nics": [{"mac": "52:54:00:00:00:01"}], "ipv4_address": "10.0.1.1", "properties": {"cpus": "16", "ram": "32760", "disk_size": "235", "cpu_arch": "x86_64"}}}`,
			ipmiNode(bifrost, map[string]any{"ipv4_address": "10.0.1.1"}), port, nil},
		{"Bifrost's YAML", ".yml", `
n1:
  name: n1
  driver: ipmi
  driver_info: {ipmi_address: 10.0.0.1, ipmi_username: admin, ipmi_password: "0123"}
  nics: [{mac: "52:54:00:00:00:01"}]
  properties: {cpus: "16", ram: "32760", disk_size: "235", cpu_arch: x86_64}
  host_groups: [baremetal]
`, ipmiNode(bifrost, map[string]any{"host_groups": []any{"baremetal"}}), port, nil},
		{"out of Bifrost's inventory script", ".json", `{"_meta": {"hostvars": {"n1": {"driver": "ipmi", "driver_info": {"ipmi_address": "10.0.0.1", "ipmi_username": "admin", "ipmi_password": "0123"}, "nics": [{"mac": "52:54:00:00:00:01"}]}}}, "baremetal": {"hosts": ["n1"]}}`,
			ipmiNode(nil, nil), port, nil},
		{"Bifrost's legacy CSV", "", "52:54:00:00:00:01,admin,0123,10.0.0.1,16,32760,235,Control,VM,,n1,10.0.1.1,,,,,ipmi\n",
			ipmiNode(bifrost, map[string]any{"ipv4_address": "10.0.1.1"}), port, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			list, err := parseInventory(tt.extension, []byte(tt.text))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.node, list[0].node); diff != "" {
				t.Errorf("node (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(tt.ports, list[0].ports); diff != "" {
				t.Errorf("ports (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(tt.traits, list[0].traits); diff != "" {
				t.Errorf("traits (-want +got):\n%s", diff)
			}
		})
	}
}

func TestBadInventories(t *testing.T) {
	for _, tt := range []struct{ extension, text, want string }{
		{".yaml", "", "it is empty"},
		{".yaml", "a: [", "yaml"},
		{".yaml", "nodes: []", "describes no machine"},
		{".yaml", "nodes: {}", "nodes is not a list"},
		{".yaml", "nodes: [1]", "node 1 is not a mapping"},
		{".yaml", "nodes: [{driver: ipmi}]", "has neither name, nor uuid, nor a port"},
		{".yaml", "nodes: [{name: a}, {name: a}]", "node 1 (a) and node 2 (a) are both a"},
		{".yaml", `nodes: [{name: a, ports: ["52:54:00:00:00:0A"]}, {name: b, ports: ["52:54:00:00:00:0a"]}]`, "are both 52:54:00:00:00:0a"},
		{".yaml", "nodes: [{name: a, uuid: b}]", `uuid "b" is none`},
		{".yaml", "nodes: [{name: 1}]", "name is 1; want a text"},
		{".yaml", "nodes: [{name: a, ports: 1}]", "node 1 (a): ports: is not a list"},
		{".yaml", "nodes: [{name: a}]\nnode: []", `there is no "node" in an inventory`},
		{".yaml", "n1: {colour: red}", `"n1" is neither nodes or defaults, nor a host`},
		{".yaml", "n1: {driver: ipmi, nics: [{}]}", "host n1: nics has"},
		{".csv", "name,colour\na,b\n", `the column "colour" is no attribute`},
		{".csv", "name,driver_info\na,b\n", `the column "driver_info" is no attribute`},
		{".csv", "name,name\na,b\n", `two columns "name"`},
		{".csv", "name\na,b\n", "line 2: it has 2 cells, and there are 1 columns"},
		{".csv", "name,automated_clean\na,perhaps\n", `line 2: automated_clean is "perhaps"`},
		{".csv", "52:54:00:00:00:01,admin\n", "line 1: it has 2 cells; Bifrost's legacy form"},
		{".csv", "name\n\"a\n", "line 2"},
	} {
		if list, err := parseInventory(tt.extension, []byte(tt.text)); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%q: %v, %v; want %q", tt.text, list, err, tt.want)
		}
	}
}

func FuzzInventory(f *testing.F) {
	f.Add(".csv", []byte("name,driver_info.a\nb,c\n"))
	f.Add("", []byte("52:54:00:00:00:01,admin,p,10.0.0.1,1,1,1,,,,n1\n"))
	f.Add(".yaml", []byte("nodes: [{name: a, portgroups: [{name: g, ports: [b]}]}]"))
	f.Add(".yaml", []byte("n1: {driver: ipmi, driver_info: {power: {a: b}}, nics: [{mac: c}]}"))
	f.Fuzz(func(t *testing.T, extension string, text []byte) {
		list, err := parseInventory(extension, text)
		for _, d := range list {
			if err == nil && d.label() == "" {
				t.Errorf("%s has no name", d.where)
			}
		}
	})
}
