// Package builtin is the one list of hardware types, of the implementations
// that exist under Ironic's names, and of which type supports which.
package builtin

import (
	"fmt"
	"maps"
	"slices"
	"sort"
	"strings"

	"ferric/conductor/driver"
	"ferric/conductor/store"
)

// hardwareType names, for each interface type, the supported implementations
// in the order of preference: the first that is enabled is the default.
type hardwareType struct {
	name       string
	interfaces map[string][]string
}

// hardwareTypes is the literal list (deploy flow, section 11).
var hardwareTypes = []hardwareType{
	{"ipmi", map[string][]string{
		"bios": {"no-bios"}, "boot": {"ipxe"}, "console": {"no-console"}, "deploy": {"direct"}, "inspect": {"no-inspect"},
		"management": {"ipmitool"}, "network": {"noop"}, "power": {"ipmitool"}, "raid": {"no-raid", "agent"}, "rescue": {"no-rescue"},
		"storage": {"noop"}, "vendor": {"no-vendor"},
	}},
	{"fake-hardware", map[string][]string{
		"bios": {"no-bios"}, "boot": {"fake", "ipxe"}, "console": {"no-console"}, "deploy": {"fake", "direct"}, "inspect": {"no-inspect"},
		"management": {"fake", "ipmitool"}, "network": {"noop"}, "power": {"fake", "ipmitool"}, "raid": {"no-raid", "agent"}, "rescue": {"no-rescue"},
		"storage": {"noop"}, "vendor": {"no-vendor"},
	}},
}

// Config chooses among the built-in ones.
type Config struct {
	// EnabledHardwareTypes are the hardware types that nodes may use.
	EnabledHardwareTypes []string `ini:"DEFAULT.enabled_hardware_types"`
}

// DefaultConfig enables what is built in for real hardware.
func DefaultConfig() Config { return Config{EnabledHardwareTypes: []string{"ipmi"}} }

// Implementations by Ironic's names.
type Implementations struct {
	Power      map[string]driver.Power
	Management map[string]driver.Management
	Boot       map[string]driver.Boot
	Deploy     map[string]driver.Deploy
}

// Registry implements driver.Resolver. Implementations may be added until the
// first node is driven: those that need the registry themselves come after it.
type Registry struct {
	types []hardwareType
	impl  Implementations
}

// New makes a registry of the enabled types, or names one that is not built in.
func New(cfg Config) (*Registry, error) {
	r := &Registry{impl: Implementations{
		Power: map[string]driver.Power{}, Management: map[string]driver.Management{},
		Boot: map[string]driver.Boot{}, Deploy: map[string]driver.Deploy{},
	}}
	for _, name := range cfg.EnabledHardwareTypes {
		i := slices.IndexFunc(hardwareTypes, func(h hardwareType) bool { return h.name == name })
		if i < 0 {
			return nil, fmt.Errorf("[DEFAULT]enabled_hardware_types: unknown hardware type %q; built in are %s", name, names(hardwareTypes))
		}
		r.types = append(r.types, hardwareTypes[i])
	}
	return r, nil
}

// Add adds implementations.
func (r *Registry) Add(i Implementations) {
	maps.Copy(r.impl.Power, i.Power)
	maps.Copy(r.impl.Management, i.Management)
	maps.Copy(r.impl.Boot, i.Boot)
	maps.Copy(r.impl.Deploy, i.Deploy)
}

// fields are the columns of a node that name its interfaces.
func fields(n *store.Node) map[string]**string {
	return map[string]**string{
		"bios": &n.BIOSInterface, "boot": &n.BootInterface, "console": &n.ConsoleInterface, "deploy": &n.DeployInterface,
		"inspect": &n.InspectInterface, "management": &n.ManagementInterface, "network": &n.NetworkInterface, "power": &n.PowerInterface,
		"raid": &n.RAIDInterface, "rescue": &n.RescueInterface, "storage": &n.StorageInterface, "vendor": &n.VendorInterface,
	}
}

// SetDefaults checks the driver and the interfaces of a node and fills in the
// defaults of those that are not set.
func (r *Registry) SetDefaults(n *store.Node) error {
	h, err := r.hardwareType(n.Driver)
	if err != nil {
		return err
	}
	columns := fields(n)
	for _, kind := range slices.Sorted(maps.Keys(columns)) {
		column, supported := columns[kind], h.interfaces[kind]
		if *column == nil {
			*column = &supported[0]
		}
		if !slices.Contains(supported, **column) {
			return driver.Invalid("Could not find %s interface %q for hardware type %q of node %s. Supported are: %s.", kind, **column, h.name, n.Label(), strings.Join(supported, ", "))
		}
	}
	return nil
}

func (r *Registry) hardwareType(name string) (hardwareType, error) {
	i := slices.IndexFunc(r.types, func(h hardwareType) bool { return h.name == name })
	if i < 0 {
		return hardwareType{}, driver.Invalid("Could not find the driver %q. Enabled hardware types are: %s.", name, names(r.types))
	}
	return r.types[i], nil
}

// Interfaces finds the implementations that the node's columns name; those in
// its instance_info go before.
func (r *Registry) Interfaces(n *store.Node) (driver.Interfaces, error) {
	if _, err := r.hardwareType(n.Driver); err != nil {
		return driver.Interfaces{}, err
	}
	var i driver.Interfaces
	var err error
	if i.Power, err = find(r.impl.Power, "power", n, n.PowerInterface); err != nil {
		return driver.Interfaces{}, err
	}
	if i.Management, err = find(r.impl.Management, "management", n, n.ManagementInterface); err != nil {
		return driver.Interfaces{}, err
	}
	if i.Boot, err = find(r.impl.Boot, "boot", n, n.BootInterface); err != nil {
		return driver.Interfaces{}, err
	}
	if i.Deploy, err = find(r.impl.Deploy, "deploy", n, n.DeployInterface); err != nil {
		return driver.Interfaces{}, err
	}
	return i, nil
}

func find[T any](have map[string]T, kind string, n *store.Node, column *string) (T, error) {
	name := n.InstanceInfo.String(kind + "_interface")
	if name == "" && column != nil {
		name = *column
	}
	if i, ok := have[name]; ok {
		return i, nil
	}
	var none T
	return none, driver.Invalid("Node %s names the %s interface %q, which is not available.", n.Label(), kind, name)
}

// Types describes the enabled hardware types for the API.
func (r *Registry) Types() []driver.Info {
	var list []driver.Info
	for _, h := range r.types {
		info := driver.Info{Name: h.name, Default: map[string]string{}, Enabled: map[string][]string{}, Properties: map[string]string{}}
		for kind, supported := range h.interfaces {
			info.Default[kind] = supported[0]
			enabled := slices.Clone(supported)
			sort.Strings(enabled)
			info.Enabled[kind] = enabled
		}
		for _, v := range []driver.Validator{
			r.impl.Power[info.Default["power"]], r.impl.Management[info.Default["management"]],
			r.impl.Boot[info.Default["boot"]], r.impl.Deploy[info.Default["deploy"]],
		} {
			if v != nil {
				maps.Copy(info.Properties, v.Properties())
			}
		}
		list = append(list, info)
	}
	return list
}

func names(types []hardwareType) string {
	var list []string
	for _, h := range types {
		list = append(list, h.name)
	}
	sort.Strings(list)
	return strings.Join(list, ", ")
}

var _ driver.Resolver = (*Registry)(nil)
