package inspection

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
	"strings"

	"ferric/api/hints"
	"ferric/api/ipa"
	"ferric/conductor/store"
)

// hook looks at the data: check before anything is changed, run to take facts
// over. after is a hook that has to come before it.
type hook struct {
	name  string
	after string
	check func(c Config, s *Subject) error
	run   func(c Config, s *Subject) error
}

// table of all hooks, under Ironic's names. Literal table.
var table = []hook{
	{name: "ramdisk-error", check: ramdiskError},
	{name: "validate-interfaces", check: validateInterfaces},
	{name: "ports", after: "validate-interfaces", run: ports},
	{name: "architecture", run: architecture},
	{name: "memory", run: memory},
	{name: "cpus", run: cpus},
	{name: "cpu-capabilities", run: cpuCapabilities},
	{name: "boot-mode", run: bootMode},
	{name: "root-device", run: rootDevice},
	{name: "pci-devices", run: pciDevices},
	{name: "local-link-connection", after: "validate-interfaces", run: localLinkConnection},
	{name: "physical-network", after: "validate-interfaces", run: physicalNetwork},
	{name: "parse-lldp", run: parseLLDP},
	{name: "extra-hardware", run: extraHardware},
}

// ramdiskError fails an inspection whose ramdisk says that it failed.
func ramdiskError(_ Config, s *Subject) error {
	if text, _ := s.Data.PluginData["error"].(string); text != "" {
		return fmt.Errorf("the ramdisk reported an error: %s", text)
	}
	return nil
}

func architecture(_ Config, s *Subject) error {
	var cpu struct{ Architecture string }
	if err := s.Data.decode("cpu", &cpu); err != nil {
		return err
	}
	if cpu.Architecture != "" {
		setProperty(s.Node, "cpu_arch", cpu.Architecture)
	}
	return nil
}

func memory(_ Config, s *Subject) error {
	var memory struct {
		PhysicalMB *int64 `json:"physical_mb"`
	}
	if err := s.Data.decode("memory", &memory); err != nil {
		return err
	}
	if memory.PhysicalMB != nil && *memory.PhysicalMB >= 0 {
		setProperty(s.Node, "memory_mb", float64(*memory.PhysicalMB))
	}
	return nil
}

func cpus(_ Config, s *Subject) error {
	var cpu struct{ Count int }
	if err := s.Data.decode("cpu", &cpu); err != nil {
		return err
	}
	if cpu.Count > 0 {
		setProperty(s.Node, "cpus", float64(cpu.Count))
	}
	return nil
}

func cpuCapabilities(c Config, s *Subject) error {
	var cpu struct{ Flags []string }
	if err := s.Data.decode("cpu", &cpu); err != nil {
		return err
	}
	found := map[string]string{}
	for _, flag := range cpu.Flags {
		if name := c.CPUCapabilities[flag]; name != "" {
			found[name] = "true"
		}
	}
	setCapabilities(s.Node, found)
	return nil
}

func bootMode(_ Config, s *Subject) error {
	var boot struct {
		Mode string `json:"current_boot_mode"`
	}
	if err := s.Data.decode("boot", &boot); err != nil {
		return err
	}
	if boot.Mode == "bios" || boot.Mode == "uefi" {
		setCapabilities(s.Node, map[string]string{"boot_mode": boot.Mode})
	}
	return nil
}

// partitioningSpacing is left off the size of the root disk, for partition
// tables and rounding, in GiB.
const partitioningSpacing = 1

// rootDevice finds the disk that the node's hints mean and its size.
func rootDevice(_ Config, s *Subject) error {
	wanted, _ := s.Node.Properties["root_device"].(map[string]any)
	if len(wanted) == 0 {
		return nil
	}
	parsed, err := hints.Parse(wanted)
	if err != nil {
		return err
	}
	var disks []ipa.BlockDevice
	if err := s.Data.decode("disks", &disks); err != nil {
		return err
	}
	i := slices.IndexFunc(disks, func(d ipa.BlockDevice) bool { return parsed.Match(d, nil) })
	if i < 0 {
		return errors.New("no disk satisfies the root device hints")
	}
	list, _ := s.Data.Inventory["disks"].([]any)
	s.Data.PluginData["root_disk"] = list[i]
	setProperty(s.Node, "local_gb", float64(max(disks[i].Size>>30-partitioningSpacing, 0)))
	return nil
}

// pciAlias names a kind of PCI device.
type pciAlias struct {
	Vendor  string `json:"vendor_id"`
	Product string `json:"product_id"`
	Name    string `json:"name"`
}

func (c Config) aliases() ([]pciAlias, error) {
	var list []pciAlias
	// The commas of a list have cut the objects; this puts them together again.
	if err := json.Unmarshal([]byte("["+strings.Join(c.PCIDeviceAliases, ",")+"]"), &list); err != nil {
		return nil, fmt.Errorf("[inspector]pci_device_alias: %w", err)
	}
	return list, nil
}

func (c Config) checkAliases() error {
	_, err := c.aliases()
	return err
}

// pciDevices counts the devices that have an alias.
func pciDevices(c Config, s *Subject) error {
	list, err := c.aliases()
	if err != nil {
		return err
	}
	counts := map[string]int{}
	devices, _ := s.Data.PluginData["pci_devices"].([]any)
	for _, item := range devices {
		device, _ := item.(map[string]any)
		vendor, _ := device["vendor_id"].(string)
		product, _ := device["product_id"].(string)
		for _, a := range list {
			if strings.EqualFold(a.Vendor, vendor) && strings.EqualFold(a.Product, product) {
				counts[a.Name]++
			}
		}
	}
	found := map[string]string{}
	for name, n := range counts {
		found[name] = fmt.Sprint(n)
	}
	setCapabilities(s.Node, found)
	return nil
}

// network is a line of the map from addresses to physical networks.
type network struct {
	prefix *net.IPNet
	name   string
}

func (c Config) networks() ([]network, error) {
	var list []network
	for _, text := range c.PhysicalNetworkCIDRMap {
		i := strings.LastIndex(text, ":")
		if i < 0 {
			return nil, fmt.Errorf("[inspector]physical_network_cidr_map: %q is not of the form cidr:network", text)
		}
		_, prefix, err := net.ParseCIDR(strings.NewReplacer("[", "", "]", "").Replace(text[:i]))
		if err != nil {
			return nil, fmt.Errorf("[inspector]physical_network_cidr_map: %w", err)
		}
		list = append(list, network{prefix, text[i+1:]})
	}
	return list, nil
}

func (c Config) checkNetworks() error {
	_, err := c.networks()
	return err
}

// physicalNetwork names the network of ports that have none by the address of
// their interface.
func physicalNetwork(c Config, s *Subject) error {
	networks, err := c.networks()
	if err != nil {
		return err
	}
	list, _ := s.Data.nics()
	for _, p := range s.Ports {
		i := slices.IndexFunc(list, func(n nic) bool { return n.mac == p.Address })
		if i < 0 || list[i].ip == nil || p.PhysicalNetwork != nil {
			continue
		}
		if j := slices.IndexFunc(networks, func(n network) bool { return n.prefix.Contains(list[i].ip) }); j >= 0 {
			p.PhysicalNetwork = &networks[j].name
		}
	}
	return nil
}

// extraHardware turns the rows of the collector extra-hardware into an object.
func extraHardware(_ Config, s *Subject) error {
	rows, ok := s.Data.PluginData["data"].([]any)
	if !ok {
		return nil
	}
	tree := map[string]any{}
	for _, item := range rows {
		row, _ := item.([]any)
		if len(row) != 4 {
			continue // no row of that collector
		}
		at := tree
		for _, key := range row[:2] {
			name := fmt.Sprint(key)
			below, ok := at[name].(map[string]any)
			if !ok {
				below = map[string]any{}
				at[name] = below
			}
			at = below
		}
		at[fmt.Sprint(row[2])] = row[3]
	}
	delete(s.Data.PluginData, "data")
	s.Data.PluginData["extra"] = tree
	return nil
}

func setProperty(n *store.Node, name string, value any) {
	if n.Properties == nil {
		n.Properties = store.Object{}
	}
	n.Properties[name] = value
}

// setCapabilities lays capabilities over those of the node's properties, which
// are one text "name:value,name:value".
func setCapabilities(n *store.Node, found map[string]string) {
	if len(found) == 0 {
		return
	}
	var order []string
	values := map[string]string{}
	for pair := range strings.SplitSeq(n.Properties.String("capabilities"), ",") {
		if name, value, ok := strings.Cut(strings.TrimSpace(pair), ":"); ok {
			order, values[name] = append(order, name), value
		}
	}
	for _, name := range slices.Sorted(maps.Keys(found)) {
		if _, ok := values[name]; !ok {
			order = append(order, name)
		}
		values[name] = found[name]
	}
	pairs := make([]string, len(order))
	for i, name := range order {
		pairs[i] = name + ":" + values[name]
	}
	setProperty(n, "capabilities", strings.Join(pairs, ","))
}
