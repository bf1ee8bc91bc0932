// Package builtin is the one list of hardware types, of the implementations
// that exist under Ironic's names, and of which type supports which.
package builtin

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"ferric/conductor/driver"
	"ferric/conductor/driver/direct"
	"ferric/conductor/driver/fake"
	"ferric/conductor/driver/noop"
	"ferric/conductor/store"
)

// Implementations by Ironic's names.
type Implementations struct {
	Power      map[string]driver.Power
	Management map[string]driver.Management
	Boot       map[string]driver.Boot
	Deploy     map[string]driver.Deploy
	Inspect    map[string]driver.Inspect
	Rescue     map[string]driver.Rescue
	Console    map[string]driver.Console
	RAID       map[string]driver.RAID
	BIOS       map[string]driver.BIOS
	Firmware   map[string]driver.Firmware
	Vendor     map[string]driver.Vendor
	Network    map[string]driver.Network
	Storage    map[string]driver.Storage
}

// Registry implements driver.Resolver. Implementations may be added until the
// first node is driven: those that need the registry themselves come after it.
type Registry struct {
	types    []hardwareType
	choices  map[string]choice
	impl     Implementations
	have     map[string]map[string]described // the same by kind and name
	warnings []string
}

// New makes a registry of the enabled types, or names one that is not known.
// It has what needs nothing from outside: "fake", "noop" and what refuses.
func New(cfg Config) (*Registry, error) {
	hardware, err := fake.New(cfg.Fake)
	if err != nil {
		return nil, err
	}
	r := &Registry{choices: cfg.choices(), have: map[string]map[string]described{}, impl: Implementations{
		Power: map[string]driver.Power{}, Management: map[string]driver.Management{}, Boot: map[string]driver.Boot{}, Deploy: map[string]driver.Deploy{},
		Inspect: map[string]driver.Inspect{}, Rescue: map[string]driver.Rescue{}, Console: map[string]driver.Console{}, RAID: map[string]driver.RAID{},
		BIOS: map[string]driver.BIOS{}, Firmware: map[string]driver.Firmware{}, Vendor: map[string]driver.Vendor{}, Network: map[string]driver.Network{}, Storage: map[string]driver.Storage{},
	}}
	r.Add(Implementations{
		Power:      map[string]driver.Power{"fake": hardware.Power},
		Management: map[string]driver.Management{"fake": hardware.Management, "noop": noop.Management{}},
		Boot:       map[string]driver.Boot{"fake": hardware.Boot},
		Deploy:     map[string]driver.Deploy{"fake": hardware.Deploy, "noop": noop.Deploy{}},
		Inspect:    map[string]driver.Inspect{"fake": hardware.Inspect, "no-inspect": noop.NewInspect()},
		Rescue:     map[string]driver.Rescue{"fake": hardware.Rescue, "no-rescue": noop.NewRescue()},
		Console:    map[string]driver.Console{"fake": hardware.Console, "no-console": noop.NewConsole()},
		RAID:       map[string]driver.RAID{"fake": hardware.RAID, "no-raid": noop.NewRAID(), "agent": direct.RAID{}},
		BIOS:       map[string]driver.BIOS{"fake": hardware.BIOS, "no-bios": noop.NewBIOS()},
		Firmware:   map[string]driver.Firmware{"fake": hardware.Firmware, "no-firmware": noop.NewFirmware()},
		Vendor:     map[string]driver.Vendor{"fake": hardware.Vendor, "no-vendor": noop.NewVendor()},
		Network:    map[string]driver.Network{"noop": noop.Network{}},
		Storage:    map[string]driver.Storage{"fake": hardware.Storage, "noop": noop.Storage{}},
	})
	for _, name := range cfg.EnabledHardwareTypes {
		i := slices.IndexFunc(hardwareTypes, func(h hardwareType) bool { return h.name == name })
		switch {
		case i >= 0:
			r.types = append(r.types, hardwareTypes[i])
		case slices.Contains(elsewhereTypes, name):
			r.warnings = append(r.warnings, fmt.Sprintf("[DEFAULT]enabled_hardware_types: the hardware type %q is not built in, it is left out", name))
		default:
			return nil, fmt.Errorf("[DEFAULT]enabled_hardware_types: unknown hardware type %q; built in are %s", name, names(hardwareTypes))
		}
	}
	if len(r.types) == 0 {
		return nil, fmt.Errorf("[DEFAULT]enabled_hardware_types: none of %q is built in, which are %s", cfg.EnabledHardwareTypes, names(hardwareTypes))
	}
	return r, nil
}

// Add adds implementations.
func (r *Registry) Add(i Implementations) {
	add(r, "power", r.impl.Power, i.Power)
	add(r, "management", r.impl.Management, i.Management)
	add(r, "boot", r.impl.Boot, i.Boot)
	add(r, "deploy", r.impl.Deploy, i.Deploy)
	add(r, "inspect", r.impl.Inspect, i.Inspect)
	add(r, "rescue", r.impl.Rescue, i.Rescue)
	add(r, "console", r.impl.Console, i.Console)
	add(r, "raid", r.impl.RAID, i.RAID)
	add(r, "bios", r.impl.BIOS, i.BIOS)
	add(r, "firmware", r.impl.Firmware, i.Firmware)
	add(r, "vendor", r.impl.Vendor, i.Vendor)
	add(r, "network", r.impl.Network, i.Network)
	add(r, "storage", r.impl.Storage, i.Storage)
}

// described is what all implementations have in common.
type described interface{ Properties() map[string]string }

func add[T described](r *Registry, kind string, to, from map[string]T) {
	if r.have[kind] == nil {
		r.have[kind] = map[string]described{}
	}
	for name, i := range from {
		to[name], r.have[kind][name] = i, i
	}
}

// enabled lists the implementations of a kind that nodes may use, sorted.
func (r *Registry) enabled(kind string) []string {
	built := sortedKeys(r.have[kind])
	if wanted := r.choices[kind].enabled; wanted != nil {
		built = slices.DeleteFunc(built, func(name string) bool { return !slices.Contains(wanted, name) })
	}
	return built
}

// usable lists those of the enabled implementations that a type supports, sorted.
func (r *Registry) usable(h hardwareType, kind string) []string {
	return slices.DeleteFunc(r.enabled(kind), func(name string) bool { return !h.any && !slices.Contains(h.interfaces[kind], name) })
}

// fallback is the implementation for nodes of a type that name none.
func (r *Registry) fallback(h hardwareType, kind string) (string, error) {
	usable := r.usable(h, kind)
	if name := r.choices[kind].fallback; name != "" && (r.have[kind][name] != nil || !known(kind, name)) {
		if !slices.Contains(usable, name) {
			return "", driver.Invalid("For hardware type '%s', no default value found for %s interface: %q is not enabled for it, which are: %s.", h.name, kind, name, strings.Join(usable, ", "))
		}
		return name, nil
	}
	if name := h.unasked[kind]; name != "" && r.choices[kind].enabled == nil {
		return name, nil
	}
	for _, name := range h.interfaces[kind] {
		if slices.Contains(usable, name) {
			return name, nil
		}
	}
	return "", driver.Invalid("For hardware type '%s', no default value found for %s interface: enabled are %s, it supports %s.",
		h.name, kind, strings.Join(r.enabled(kind), ", "), strings.Join(h.interfaces[kind], ", "))
}

func (r *Registry) hardwareType(name string) (hardwareType, error) {
	i := slices.IndexFunc(r.types, func(h hardwareType) bool { return h.name == name })
	if i < 0 {
		return hardwareType{}, driver.Invalid("Could not find the following driver(s) or hardware type(s): %s. Enabled are: %s.", name, names(r.types))
	}
	return r.types[i], nil
}

// TypeNames are those of the hardware types that nodes may use, sorted.
func (r *Registry) TypeNames() []string { return sortedNames(r.types) }

func sortedNames(types []hardwareType) []string {
	var list []string
	for _, h := range types {
		list = append(list, h.name)
	}
	slices.Sort(list)
	return list
}

func names(types []hardwareType) string { return strings.Join(sortedNames(types), ", ") }

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

// columns are those of a node that name its interfaces.
func columns(n *store.Node) map[string]**string {
	return map[string]**string{
		"bios": &n.BIOSInterface, "boot": &n.BootInterface, "console": &n.ConsoleInterface, "deploy": &n.DeployInterface, "firmware": &n.FirmwareInterface,
		"inspect": &n.InspectInterface, "management": &n.ManagementInterface, "network": &n.NetworkInterface, "power": &n.PowerInterface,
		"raid": &n.RAIDInterface, "rescue": &n.RescueInterface, "storage": &n.StorageInterface, "vendor": &n.VendorInterface,
	}
}
