package builtin

import (
	"fmt"
	"slices"
	"strings"

	"ferric/conductor/driver/fake"
)

// Config chooses among what is built in, under Ironic's names. A list that is
// not set enables everything.
type Config struct {
	// EnabledHardwareTypes are the hardware types that nodes may use.
	EnabledHardwareTypes []string `ini:"DEFAULT.enabled_hardware_types"`

	// Enabled…Interfaces are the implementations that nodes may use.
	EnabledBIOSInterfaces       []string `ini:"DEFAULT.enabled_bios_interfaces"`
	EnabledBootInterfaces       []string `ini:"DEFAULT.enabled_boot_interfaces"`
	EnabledConsoleInterfaces    []string `ini:"DEFAULT.enabled_console_interfaces"`
	EnabledDeployInterfaces     []string `ini:"DEFAULT.enabled_deploy_interfaces"`
	EnabledFirmwareInterfaces   []string `ini:"DEFAULT.enabled_firmware_interfaces"`
	EnabledInspectInterfaces    []string `ini:"DEFAULT.enabled_inspect_interfaces"`
	EnabledManagementInterfaces []string `ini:"DEFAULT.enabled_management_interfaces"`
	EnabledNetworkInterfaces    []string `ini:"DEFAULT.enabled_network_interfaces"`
	EnabledPowerInterfaces      []string `ini:"DEFAULT.enabled_power_interfaces"`
	EnabledRAIDInterfaces       []string `ini:"DEFAULT.enabled_raid_interfaces"`
	EnabledRescueInterfaces     []string `ini:"DEFAULT.enabled_rescue_interfaces"`
	EnabledStorageInterfaces    []string `ini:"DEFAULT.enabled_storage_interfaces"`
	EnabledVendorInterfaces     []string `ini:"DEFAULT.enabled_vendor_interfaces"`

	// Default…Interface goes to nodes that name none. Without it, it is the
	// first that is enabled in the order of the node's hardware type.
	DefaultBIOSInterface       string `ini:"DEFAULT.default_bios_interface"`
	DefaultBootInterface       string `ini:"DEFAULT.default_boot_interface"`
	DefaultConsoleInterface    string `ini:"DEFAULT.default_console_interface"`
	DefaultDeployInterface     string `ini:"DEFAULT.default_deploy_interface"`
	DefaultFirmwareInterface   string `ini:"DEFAULT.default_firmware_interface"`
	DefaultInspectInterface    string `ini:"DEFAULT.default_inspect_interface"`
	DefaultManagementInterface string `ini:"DEFAULT.default_management_interface"`
	DefaultNetworkInterface    string `ini:"DEFAULT.default_network_interface"`
	DefaultPowerInterface      string `ini:"DEFAULT.default_power_interface"`
	DefaultRAIDInterface       string `ini:"DEFAULT.default_raid_interface"`
	DefaultRescueInterface     string `ini:"DEFAULT.default_rescue_interface"`
	DefaultStorageInterface    string `ini:"DEFAULT.default_storage_interface"`
	DefaultVendorInterface     string `ini:"DEFAULT.default_vendor_interface"`

	Fake fake.Config
}

// DefaultConfig enables what is built in for real hardware, with every interface.
func DefaultConfig() Config {
	return Config{
		EnabledHardwareTypes:    []string{"ipmi"},
		DefaultNetworkInterface: "noop", DefaultStorageInterface: "noop", // Ironic's, too
		Fake: fake.DefaultConfig(),
	}
}

// choice is what the configuration says of a kind of interface.
type choice struct {
	enabled  []string // nil is all
	fallback string   // "" is the type's first
}

func (c *Config) choices() map[string]choice {
	return map[string]choice{
		"bios":       {c.EnabledBIOSInterfaces, c.DefaultBIOSInterface},
		"boot":       {c.EnabledBootInterfaces, c.DefaultBootInterface},
		"console":    {c.EnabledConsoleInterfaces, c.DefaultConsoleInterface},
		"deploy":     {c.EnabledDeployInterfaces, c.DefaultDeployInterface},
		"firmware":   {c.EnabledFirmwareInterfaces, c.DefaultFirmwareInterface},
		"inspect":    {c.EnabledInspectInterfaces, c.DefaultInspectInterface},
		"management": {c.EnabledManagementInterfaces, c.DefaultManagementInterface},
		"network":    {c.EnabledNetworkInterfaces, c.DefaultNetworkInterface},
		"power":      {c.EnabledPowerInterfaces, c.DefaultPowerInterface},
		"raid":       {c.EnabledRAIDInterfaces, c.DefaultRAIDInterface},
		"rescue":     {c.EnabledRescueInterfaces, c.DefaultRescueInterface},
		"storage":    {c.EnabledStorageInterfaces, c.DefaultStorageInterface},
		"vendor":     {c.EnabledVendorInterfaces, c.DefaultVendorInterface},
	}
}

// Check tells before the conductor starts what of the configuration cannot be:
// a name that means nothing, or a hardware type that is left without an
// interface. It is called when all implementations have been added. Names that
// mean something to Ironic only are returned as warnings.
func (r *Registry) Check() (warnings []string, err error) {
	warnings = slices.Clone(r.warnings)
	for _, kind := range kinds {
		c, built := r.choices[kind], sortedKeys(r.have[kind])
		named := map[string]string{}
		for _, name := range c.enabled {
			named[name] = "[DEFAULT]enabled_" + kind + "_interfaces"
		}
		if c.fallback != "" && named[c.fallback] == "" {
			named[c.fallback] = "[DEFAULT]default_" + kind + "_interface"
		}
		for _, name := range sortedKeys(named) {
			switch {
			case slices.Contains(built, name):
			case known(kind, name):
				warnings = append(warnings, fmt.Sprintf("%s: the %s interface %q is not built in, it is left out", named[name], kind, name))
			default:
				return nil, fmt.Errorf("%s: unknown %s interface %q; built in are %s", named[name], kind, name, strings.Join(built, ", "))
			}
		}
	}
	for _, h := range r.types {
		for _, kind := range kinds {
			if _, err := r.fallback(h, kind); err != nil {
				return nil, fmt.Errorf("[DEFAULT]enabled_%s_interfaces and default_%s_interface: %w", kind, kind, err)
			}
		}
	}
	return warnings, nil
}

// known reports whether Ironic has an implementation of that name.
func known(kind, name string) bool {
	return slices.Contains(elsewhere, name) || slices.ContainsFunc(hardwareTypes, func(h hardwareType) bool { return slices.Contains(h.interfaces[kind], name) })
}
