package inspection_test

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ferric/conductor/inspection"
	"ferric/conductor/store"
)

// sent is what an agent sends of a machine with three interfaces, booted from
// the second.
const sent = `{
	"inventory": {
		"interfaces": [
			{"name": "lo", "mac_address": "00:00:00:00:00:00", "ipv4_address": "127.0.0.1"},
			{"name": "eth0", "mac_address": "52:54:00:AA:00:01", "ipv4_address": "10.1.0.5"},
			{"name": "eth1", "mac_address": "52:54:00:aa:00:02", "ipv6_address": "fe80::1%eth1"},
			{"name": "eth2", "mac_address": "52:54:00:aa:00:03", "client_id": "ff:01"}
		],
		"cpu": {"count": 4, "architecture": "x86_64", "flags": ["vmx", "aes", "fpu"]},
		"memory": {"total": 4000000000, "physical_mb": 4096},
		"disks": [{"name": "/dev/sda", "size": 1000}, {"name": "/dev/sdb", "size": 107374182400, "serial": "S2"}],
		"boot": {"current_boot_mode": "uefi", "pxe_interface": "01-52-54-00-aa-00-02"},
		"bmc_address": "192.0.2.9"
	},
	"error": null,
	"pci_devices": [{"vendor_id": "10de", "product_id": "1eb8"}, {"vendor_id": "10de", "product_id": "1eb8"}],
	"lldp_raw": {"eth1": [[1, "04525400770001"], [2, "05706f72742d37"], [0, ""]]},
	"data": [["disk", "sda", "size", 10]]
}`

func parse(t *testing.T, text string) *inspection.Data {
	t.Helper()
	var document map[string]any
	if err := json.Unmarshal([]byte(text), &document); err != nil {
		t.Fatal(err)
	}
	d, err := inspection.Parse(document)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// subject is a node with one port that the machine has and one that it has not.
func subject(t *testing.T) *inspection.Subject {
	return &inspection.Subject{
		Node: &store.Node{ID: 7, UUID: "node", Properties: store.Object{
			"capabilities": "boot_mode:bios,cpu_vt:false", "root_device": map[string]any{"serial": "S2"},
		}},
		Data:  parse(t, sent),
		Ports: []*store.Port{{ID: 1, Address: "52:54:00:aa:00:01", PXEEnabled: true}, {ID: 2, Address: "52:54:00:aa:00:99", PXEEnabled: true}},
	}
}

func shown(ports []*store.Port) string {
	var list []string
	for _, p := range ports {
		text := p.Address[15:]
		if p.ID == 0 {
			text += " new"
		}
		if p.PXEEnabled {
			text += " pxe"
		}
		list = append(list, text)
	}
	return strings.Join(list, ", ")
}

func TestPorts(t *testing.T) {
	tests := []struct {
		add, keep string
		update    bool
		want      string
	}{
		{"pxe", "all", true, "01, 99, 02 new pxe"},
		{"pxe", "all", false, "01 pxe, 99 pxe, 02 new pxe"},
		{"pxe", "added", true, "02 new pxe"},
		{"active", "present", true, "01, 02 new pxe"},
		{"all", "present", true, "01, 02 new pxe, 03 new"},
		{"disabled", "all", true, "01, 99"},
	}
	for _, tt := range tests {
		t.Run(tt.add+" "+tt.keep, func(t *testing.T) {
			c := inspection.DefaultConfig()
			c.AddPorts, c.KeepPorts, c.UpdatePXEEnabled = tt.add, tt.keep, tt.update
			s := subject(t)
			if err := c.Process(s); err != nil {
				t.Fatal(err)
			}
			if got := shown(s.Ports); got != tt.want {
				t.Errorf("ports: %s; want %s", got, tt.want)
			}
		})
	}
}

func TestHooks(t *testing.T) {
	c := inspection.DefaultConfig()
	c.Hooks = []string{"$default_hooks", "memory", "cpus", "cpu-capabilities", "boot-mode", "root-device", "pci-devices",
		"local-link-connection", "physical-network", "parse-lldp", "extra-hardware"}
	c.PhysicalNetworkCIDRMap = []string{"10.1.0.0/16:blue", "[fe80::]/10:green"}
	c.PCIDeviceAliases = []string{`{"vendor_id": "10DE"`, `"product_id": "1eb8"`, `"name": "gpu"}`} // as the list is cut
	if err := c.Validate(); err != nil {
		t.Fatal(err)
	}
	s := subject(t)
	if err := c.Process(s); err != nil {
		t.Fatal(err)
	}
	want := store.Object{
		"cpu_arch": "x86_64", "memory_mb": float64(4096), "cpus": float64(4), "local_gb": float64(99),
		"capabilities": "boot_mode:uefi,cpu_vt:true,cpu_aes:true,gpu:2", "root_device": map[string]any{"serial": "S2"},
	}
	if diff := cmp.Diff(want, s.Node.Properties); diff != "" {
		t.Errorf("properties:\n%s", diff)
	}
	booted := s.Ports[slices.IndexFunc(s.Ports, func(p *store.Port) bool { return p.PXEEnabled })]
	if diff := cmp.Diff(store.Object{"switch_id": "52:54:00:77:00:01", "port_id": "port-7"}, booted.LocalLinkConnection); diff != "" {
		t.Errorf("link of %s:\n%s", booted.Address, diff)
	}
	if s.Ports[0].PhysicalNetwork == nil || *s.Ports[0].PhysicalNetwork != "blue" || *booted.PhysicalNetwork != "green" {
		t.Errorf("physical networks: %v, %v; want blue, green", s.Ports[0].PhysicalNetwork, booted.PhysicalNetwork)
	}
	plugin := s.Data.PluginData
	if diff := cmp.Diff([]any{"52:54:00:aa:00:02"}, plugin["macs"]); diff != "" {
		t.Errorf("macs:\n%s", diff)
	}
	if diff := cmp.Diff(map[string]any{"disk": map[string]any{"sda": map[string]any{"size": float64(10)}}}, plugin["extra"]); diff != "" {
		t.Errorf("extra:\n%s", diff)
	}
	if plugin["root_disk"].(map[string]any)["name"] != "/dev/sdb" || plugin["data"] != nil {
		t.Errorf("root disk %v, data %v", plugin["root_disk"], plugin["data"])
	}
}

func TestFailures(t *testing.T) {
	tests := map[string]struct{ text, want string }{
		"error of the ramdisk": {strings.Replace(sent, `"error": null`, `"error": "no disks"`, 1), "the ramdisk reported an error: no disks"},
		"booted from nothing":  {strings.Replace(sent, "01-52-54-00-aa-00-02", "52:54:00:bb:00:01", 1), "no valid network interfaces found for node node among eth0, eth1, eth2, lo"},
		"cpu is a list":        {strings.Replace(sent, `"cpu": {`, `"cpu": [], "was": {`, 1), "cpu of the inventory cannot be read"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			s := subject(t)
			s.Data = parse(t, tt.text)
			if err := inspection.DefaultConfig().Process(s); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v; want %q", err, tt.want)
			}
		})
	}
	c := inspection.DefaultConfig()
	for name, hooks := range map[string][]string{"there is no hook": {"fly"}, "needs validate-interfaces before it": {"ports"}} {
		c.Hooks = hooks
		if err := c.Validate(); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("hooks %v: %v; want %q", hooks, err, name)
		}
	}
}

// FuzzProcess: what a machine sends never makes a hook panic.
func FuzzProcess(f *testing.F) {
	f.Add([]byte(sent))
	f.Add([]byte(`{"inventory": {"interfaces": [{"mac_address": "x"}]}}`))
	c := inspection.DefaultConfig()
	c.Hooks = []string{"$default_hooks", "memory", "cpus", "cpu-capabilities", "boot-mode", "root-device", "pci-devices",
		"local-link-connection", "physical-network", "parse-lldp", "extra-hardware"}
	c.AddPorts = "all"
	f.Fuzz(func(t *testing.T, text []byte) {
		var document map[string]any
		if json.Unmarshal(text, &document) != nil {
			return
		}
		d, err := inspection.Parse(document)
		if err != nil {
			return
		}
		s := &inspection.Subject{Node: &store.Node{}, Data: d}
		if c.Process(s) == nil && len(d.MACs()) == 0 && len(s.Ports) > 0 {
			t.Errorf("ports %v of no addresses", s.Ports)
		}
	})
}

// TestForeignAddresses: a network of another kind has no addresses of ports.
func TestForeignAddresses(t *testing.T) {
	d := parse(t, `{"inventory": {"interfaces": [
		{"name": "ib0", "mac_address": "a0:00:02:20:fe:80:00:00:00:00:00:00:00:02:c9:03:00:0f:12:34"},
		{"name": "eui", "mac_address": "02:00:5e:10:00:00:00:01"}, {"name": "eth0", "mac_address": "52:54:00:aa:00:01"}]}}`)
	if got := d.MACs(); !slices.Equal(got, []string{"52:54:00:aa:00:01"}) {
		t.Errorf("addresses %q", got)
	}
	c := inspection.DefaultConfig()
	c.AddPorts = "all"
	s := &inspection.Subject{Node: &store.Node{UUID: "node"}, Data: d}
	if err := c.Process(s); err != nil || shown(s.Ports) != "01 new pxe" {
		t.Errorf("ports %q, %v", shown(s.Ports), err)
	}
}

func TestTooManyInterfaces(t *testing.T) {
	nics := make([]any, 1025)
	for i := range nics {
		nics[i] = map[string]any{"mac_address": "52:54:00:aa:00:01"}
	}
	if _, err := inspection.Parse(map[string]any{"inventory": map[string]any{"interfaces": nics}}); !errors.Is(err, inspection.ErrMalformed) {
		t.Errorf("%d interfaces: %v", len(nics), err)
	}
}
