// Package inspection is what the conductor makes of the data that an agent
// sends of its machine: a list of hooks, chosen by configuration, that check
// the data and take facts over into the node and its ports. Hooks change what
// they are given only; who calls Process writes the result down. Reading order:
// Process, then hooks.go (the table).
package inspection

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"

	"ferric/conductor/store"
)

// Config is the section [inspector]; the names are Ironic's.
type Config struct {
	// Hooks that look at the data, in order. $default_hooks stands for DefaultHooks.
	Hooks        []string `ini:"inspector.hooks"`
	DefaultHooks []string `ini:"inspector.default_hooks"`
	// AddPorts: "pxe" makes a port of the interface booted from, "active" of
	// those with an address, "all" of all, "disabled" of none.
	AddPorts string `ini:"inspector.add_ports"`
	// KeepPorts: "all" removes no port, "present" those whose interface is not
	// there, "added" all but those that AddPorts makes.
	KeepPorts string `ini:"inspector.keep_ports"`
	// UpdatePXEEnabled sets pxe_enabled of ports by the interface booted from.
	UpdatePXEEnabled bool `ini:"inspector.update_pxe_enabled"`
	// PowerOff switches the machine off at the end.
	PowerOff bool `ini:"inspector.power_off"`
	// CPUCapabilities are the capabilities that flags of the CPU stand for.
	CPUCapabilities map[string]string `ini:"inspector.cpu_capabilities"`
	// PhysicalNetworkCIDRMap names the physical network of addresses, as
	// "10.0.0.0/24:network"; an IPv6 prefix stands in brackets.
	PhysicalNetworkCIDRMap []string `ini:"inspector.physical_network_cidr_map"`
	// PCIDeviceAliases are JSON objects {"vendor_id", "product_id", "name"}:
	// the capability <name> counts such devices.
	PCIDeviceAliases []string `ini:"inspector.pci_device_alias"`
	// DataBackend is where the data is kept: "database" or "none".
	DataBackend string `ini:"inventory.data_backend"`
}

// DefaultConfig has Ironic's defaults.
func DefaultConfig() Config {
	return Config{
		Hooks:        []string{"$default_hooks"},
		DefaultHooks: []string{"ramdisk-error", "validate-interfaces", "ports", "architecture"},
		AddPorts:     "pxe", KeepPorts: "all", UpdatePXEEnabled: true, PowerOff: true, DataBackend: "database",
		CPUCapabilities: map[string]string{
			"vmx": "cpu_vt", "svm": "cpu_vt", "aes": "cpu_aes", "pse": "cpu_hugepages", "pdpe1gb": "cpu_hugepages_1g", "smx": "cpu_txt",
		},
	}
}

// Validate names an option whose value is none.
func (c Config) Validate() error {
	for _, o := range []struct {
		name, value string
		allowed     []string
	}{
		{"[inspector]add_ports", c.AddPorts, []string{"pxe", "active", "all", "disabled"}},
		{"[inspector]keep_ports", c.KeepPorts, []string{"all", "present", "added"}},
		{"[inventory]data_backend", c.DataBackend, []string{"database", "none"}},
	} {
		if !slices.Contains(o.allowed, o.value) {
			return fmt.Errorf("%s is %q, it must be one of %s", o.name, o.value, strings.Join(o.allowed, ", "))
		}
	}
	_, err := c.hooks()
	return errors.Join(err, c.checkNetworks(), c.checkAliases())
}

// hooks are those of the configuration, in order.
func (c Config) hooks() ([]hook, error) {
	var names []string
	for _, name := range c.Hooks {
		if name == "$default_hooks" {
			names = append(names, c.DefaultHooks...)
			continue
		}
		names = append(names, name)
	}
	var list []hook
	for _, name := range names {
		i := slices.IndexFunc(table, func(h hook) bool { return h.name == name })
		if i < 0 {
			return nil, fmt.Errorf("[inspector]hooks: there is no hook %q", name)
		}
		h := table[i]
		if h.after != "" && !slices.ContainsFunc(list, func(before hook) bool { return before.name == h.after }) {
			return nil, fmt.Errorf("[inspector]hooks: %s needs %s before it", h.name, h.after)
		}
		list = append(list, h)
	}
	return list, nil
}

// ErrMalformed says that what was sent is no inspection data.
var ErrMalformed = errors.New("malformed inspection data")

// Data is what was sent of a machine.
type Data struct {
	Inventory  map[string]any
	PluginData map[string]any // all else, and what hooks add
}

// maxInterfaces of a machine, of each of which a port may be made: more than any
// has, and few enough to look all of them up.
const maxInterfaces = 1024

// Parse takes the document of an agent apart. It must tell of interfaces with
// MAC addresses, for nothing else says which machine it is.
func Parse(document map[string]any) (*Data, error) {
	inventory, ok := document["inventory"].(map[string]any)
	if !ok {
		return nil, fmt.Errorf("%w: inventory is missing or no object", ErrMalformed)
	}
	list, ok := inventory["interfaces"].([]any)
	if !ok || len(list) == 0 {
		return nil, fmt.Errorf("%w: inventory has no interfaces", ErrMalformed)
	}
	if len(list) > maxInterfaces {
		return nil, fmt.Errorf("%w: inventory has %d interfaces, at most %d can be taken", ErrMalformed, len(list), maxInterfaces)
	}
	for i, item := range list {
		nic, ok := item.(map[string]any)
		if !ok {
			return nil, fmt.Errorf("%w: interface %d of the inventory is no object", ErrMalformed, i)
		}
		if mac, ok := nic["mac_address"].(string); !ok || mac == "" {
			return nil, fmt.Errorf("%w: interface %d of the inventory has no mac_address", ErrMalformed, i)
		}
	}
	d := &Data{Inventory: inventory, PluginData: map[string]any{}}
	for name, value := range document {
		if name != "inventory" {
			d.PluginData[name] = value
		}
	}
	return d, nil
}

// MACs are the valid addresses of the machine's interfaces, in lower case.
func (d *Data) MACs() []string {
	var macs []string
	list, _ := d.Inventory["interfaces"].([]any)
	for _, item := range list {
		nic, _ := item.(map[string]any)
		text, _ := nic["mac_address"].(string)
		if mac := macAddress(text); mac != "" {
			macs = append(macs, mac)
		}
	}
	return macs
}

// macAddress is an address as ports have it, or "" for a text that is none. The
// longer ones of other kinds of hardware are no address of a port.
func macAddress(text string) string {
	mac, err := net.ParseMAC(text)
	if err != nil || len(mac) != 6 {
		return ""
	}
	return mac.String()
}

// BMCAddresses are those of the machine's BMC as the machine knows them.
func (d *Data) BMCAddresses() []string {
	var addresses []string
	for _, key := range []string{"bmc_address", "bmc_v6address"} {
		text, _ := d.Inventory[key].(string)
		if ip := net.ParseIP(text); ip != nil && !ip.IsUnspecified() {
			addresses = append(addresses, ip.String())
		}
	}
	return addresses
}

// decode reads a member of the inventory into v.
func (d *Data) decode(member string, v any) error {
	raw, err := json.Marshal(d.Inventory[member])
	if err == nil {
		err = json.Unmarshal(raw, v)
	}
	if err != nil {
		return fmt.Errorf("%s of the inventory cannot be read: %w", member, err)
	}
	return nil
}

// Subject is what hooks work on.
type Subject struct {
	Node *store.Node
	Data *Data
	// Ports of the node. Hooks change those there are, take them out, or put in
	// further ones with no ID.
	Ports []*store.Port
}

// Process runs the hooks over the subject. An error ends the inspection; the
// subject is then not to be written down.
func (c Config) Process(s *Subject) error {
	hooks, err := c.hooks()
	if err != nil {
		return err
	}
	// Checks come before anything is changed.
	for _, h := range hooks {
		if h.check == nil {
			continue
		}
		if err := h.check(c, s); err != nil {
			return fmt.Errorf("hook %s: %w", h.name, err)
		}
	}
	for _, h := range hooks {
		if h.run == nil {
			continue
		}
		if err := h.run(c, s); err != nil {
			return fmt.Errorf("hook %s: %w", h.name, err)
		}
	}
	return nil
}
