package builtin

import (
	"maps"
	"slices"
	"strings"

	"ferric/conductor/driver"
	"ferric/conductor/store"
)

// SetDefaults checks the driver and the interfaces of a node, those that its
// instance_info names too, and fills in the defaults of those that are not set.
func (r *Registry) SetDefaults(n *store.Node) error {
	h, err := r.hardwareType(n.Driver)
	if err != nil {
		return err
	}
	columns := columns(n)
	for _, kind := range kinds {
		if name := n.InstanceInfo.String(kind + "_interface"); name != "" {
			if err := r.check(h, kind, name); err != nil {
				return err
			}
		}
		column := columns[kind]
		if *column != nil {
			if err := r.check(h, kind, **column); err != nil {
				return err
			}
			continue
		}
		name, err := r.fallback(h, kind)
		if err != nil {
			return err
		}
		*column = &name
	}
	return nil
}

// check tells whether nodes of a type may use an implementation.
func (r *Registry) check(h hardwareType, kind, name string) error {
	switch {
	case !slices.Contains(r.enabled(kind), name):
		return driver.Invalid("Could not find the %s interface %q: it is not enabled. Valid interfaces are %s.", kind, name, strings.Join(r.enabled(kind), ", "))
	case !slices.Contains(r.usable(h, kind), name):
		return driver.Invalid("%s interface implementation '%s' is not supported by hardware type %s. Supported are: %s.", kind, name, h.name, strings.Join(r.usable(h, kind), ", "))
	}
	return nil
}

// Interfaces finds the implementations that the node's columns name; those in
// its instance_info go before.
func (r *Registry) Interfaces(n *store.Node) (driver.Interfaces, error) {
	h, err := r.hardwareType(n.Driver)
	if err != nil {
		return driver.Interfaces{}, err
	}
	f := finder{r: r, h: h, n: n}
	i := driver.Interfaces{
		Power:      find(&f, r.impl.Power, "power", n.PowerInterface),
		Management: find(&f, r.impl.Management, "management", n.ManagementInterface),
		Boot:       find(&f, r.impl.Boot, "boot", n.BootInterface),
		Deploy:     find(&f, r.impl.Deploy, "deploy", n.DeployInterface),
		Inspect:    find(&f, r.impl.Inspect, "inspect", n.InspectInterface),
		Rescue:     find(&f, r.impl.Rescue, "rescue", n.RescueInterface),
		Console:    find(&f, r.impl.Console, "console", n.ConsoleInterface),
		RAID:       find(&f, r.impl.RAID, "raid", n.RAIDInterface),
		BIOS:       find(&f, r.impl.BIOS, "bios", n.BIOSInterface),
		Firmware:   find(&f, r.impl.Firmware, "firmware", n.FirmwareInterface),
		Vendor:     find(&f, r.impl.Vendor, "vendor", n.VendorInterface),
		Network:    find(&f, r.impl.Network, "network", n.NetworkInterface),
		Storage:    find(&f, r.impl.Storage, "storage", n.StorageInterface),
	}
	if f.err != nil {
		return driver.Interfaces{}, f.err
	}
	return i, nil
}

// finder keeps the first error of several finds.
type finder struct {
	r   *Registry
	h   hardwareType
	n   *store.Node
	err error
}

func find[T any](f *finder, have map[string]T, kind string, column *string) T {
	var none T
	if f.err != nil {
		return none
	}
	name := f.n.InstanceInfo.String(kind + "_interface")
	switch {
	case name != "":
	case column != nil:
		name = *column
	default: // a row from before there was this kind
		if name, f.err = f.r.fallback(f.h, kind); f.err != nil {
			return none
		}
	}
	i, ok := have[name]
	if !ok {
		f.err = driver.Invalid("Node %s names the %s interface %q, which is not available.", f.n.Label(), kind, name)
	}
	return i
}

// Types describes the enabled hardware types for the API.
func (r *Registry) Types() []driver.Info {
	var list []driver.Info
	for _, h := range r.types {
		info := driver.Info{Name: h.name, Default: map[string]string{}, Enabled: map[string][]string{}, Properties: map[string]string{}}
		for _, kind := range kinds {
			info.Enabled[kind] = r.usable(h, kind)
			name, err := r.fallback(h, kind)
			if err != nil {
				continue // Check said so
			}
			info.Default[kind] = name
			maps.Copy(info.Properties, r.have[kind][name].Properties())
		}
		info.RAID = slices.ContainsFunc(info.Enabled["raid"], func(name string) bool { return r.impl.RAID[name].ConfiguresRAID() })
		list = append(list, info)
	}
	return list
}

var _ driver.Resolver = (*Registry)(nil)
