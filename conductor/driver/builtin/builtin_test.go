package builtin_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"ferric/conductor/driver"
	"ferric/conductor/driver/builtin"
	"ferric/conductor/driver/fake"
	"ferric/conductor/store"
)

// registry has implementations under the names of those that need a BMC, a
// network or an agent.
func registry(t *testing.T, configure func(*builtin.Config)) (*builtin.Registry, error) {
	t.Helper()
	cfg := builtin.DefaultConfig()
	cfg.EnabledHardwareTypes = []string{"ipmi", "fake-hardware"}
	if configure != nil {
		configure(&cfg)
	}
	r, err := builtin.New(cfg)
	if err != nil {
		return nil, err
	}
	r.Add(builtin.Implementations{
		Power:      map[string]driver.Power{"ipmitool": fake.Power{}},
		Management: map[string]driver.Management{"ipmitool": fake.Management{}},
		Boot:       map[string]driver.Boot{"ipxe": fake.Boot{}},
		Deploy:     map[string]driver.Deploy{"direct": fake.Deploy{}},
	})
	return r, nil
}

func TestSetDefaults(t *testing.T) {
	for name, tt := range map[string]struct {
		driver    string
		configure func(*builtin.Config)
		want      string // of bios, boot, … in the order of the contract
	}{
		"ipmi":          {"ipmi", nil, "no-bios ipxe no-console direct no-firmware no-inspect ipmitool noop ipmitool no-raid no-rescue noop no-vendor"},
		"fake-hardware": {"fake-hardware", nil, "fake fake fake fake fake fake fake noop fake fake fake noop fake"},
		"first that is enabled": {"fake-hardware", func(c *builtin.Config) {
			c.EnabledBIOSInterfaces, c.EnabledRAIDInterfaces = []string{"no-bios"}, []string{"agent", "no-raid"}
		}, "no-bios fake fake fake fake fake fake noop fake no-raid fake noop fake"},
		"asked for by the configuration": {"ipmi", func(c *builtin.Config) {
			c.EnabledRAIDInterfaces, c.DefaultRAIDInterface = []string{"no-raid", "agent"}, "agent"
		}, "no-bios ipxe no-console direct no-firmware no-inspect ipmitool noop ipmitool agent no-rescue noop no-vendor"},
		"default of Ironic's that is not built in": {"ipmi", func(c *builtin.Config) { c.DefaultDeployInterface = "autodetect" },
			"no-bios ipxe no-console direct no-firmware no-inspect ipmitool noop ipmitool no-raid no-rescue noop no-vendor"},
	} {
		t.Run(name, func(t *testing.T) {
			r, err := registry(t, tt.configure)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := r.Check(); err != nil {
				t.Fatal(err)
			}
			n := &store.Node{Driver: tt.driver}
			if err := r.SetDefaults(n); err != nil {
				t.Fatal(err)
			}
			got := strings.Join([]string{*n.BIOSInterface, *n.BootInterface, *n.ConsoleInterface, *n.DeployInterface, *n.FirmwareInterface, *n.InspectInterface,
				*n.ManagementInterface, *n.NetworkInterface, *n.PowerInterface, *n.RAIDInterface, *n.RescueInterface, *n.StorageInterface, *n.VendorInterface}, " ")
			if got != tt.want {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
		})
	}
}

func TestRefusedInterfaces(t *testing.T) {
	r, err := registry(t, func(c *builtin.Config) { c.EnabledVendorInterfaces = []string{"no-vendor", "fake"} })
	if err != nil {
		t.Fatal(err)
	}
	name := func(s string) *string { return &s }
	for what, tt := range map[string]struct {
		node *store.Node
		want string
	}{
		"unknown driver":      {&store.Node{Driver: "redfish"}, `Could not find the following driver(s) or hardware type(s): redfish. Enabled are: fake-hardware, ipmi.`},
		"interface of others": {&store.Node{Driver: "ipmi", PowerInterface: name("fake")}, `power interface implementation 'fake' is not supported by hardware type ipmi. Supported are: ipmitool.`},
		"not enabled":         {&store.Node{Driver: "ipmi", BootInterface: name("pxe")}, `Could not find the boot interface "pxe": it is not enabled. Valid interfaces are fake, ipxe.`},
		"by instance_info": {&store.Node{Driver: "ipmi", InstanceInfo: store.Object{"deploy_interface": "ramdisk"}},
			`Could not find the deploy interface "ramdisk": it is not enabled. Valid interfaces are direct, fake, noop.`},
	} {
		var invalid *driver.InvalidParameterError
		if err := r.SetDefaults(tt.node); !errors.As(err, &invalid) || err.Error() != tt.want {
			t.Errorf("%s: error %v; want %s", what, err, tt.want)
		}
	}
	// fake-hardware takes any that is enabled.
	if err := r.SetDefaults(&store.Node{Driver: "fake-hardware", PowerInterface: name("ipmitool"), DeployInterface: name("direct")}); err != nil {
		t.Error(err)
	}
}

// What cannot be is said before the conductor starts; what only Ironic knows
// is left out with a warning.
func TestCheck(t *testing.T) {
	for name, tt := range map[string]struct {
		configure func(*builtin.Config)
		err       string // part of it
		warnings  []string
	}{
		"everything": {nil, "", nil},
		"an ironic.conf": {func(c *builtin.Config) {
			c.EnabledHardwareTypes = []string{"ipmi", "redfish"}
			c.EnabledBootInterfaces = []string{"ipxe", "redfish-virtual-media"}
			c.EnabledDeployInterfaces, c.DefaultDeployInterface = []string{"autodetect", "direct"}, "autodetect"
		}, "", []string{
			`[DEFAULT]enabled_hardware_types: the hardware type "redfish" is not built in, it is left out`,
			`[DEFAULT]enabled_boot_interfaces: the boot interface "redfish-virtual-media" is not built in, it is left out`,
			`[DEFAULT]enabled_deploy_interfaces: the deploy interface "autodetect" is not built in, it is left out`,
		}},
		"unknown type":      {func(c *builtin.Config) { c.EnabledHardwareTypes = []string{"toaster"} }, `unknown hardware type "toaster"; built in are fake-hardware, ipmi, manual-management`, nil},
		"no type left":      {func(c *builtin.Config) { c.EnabledHardwareTypes = []string{"redfish"} }, `none of ["redfish"] is built in`, nil},
		"unknown interface": {func(c *builtin.Config) { c.EnabledPowerInterfaces = []string{"ipmitool", "crank"} }, `[DEFAULT]enabled_power_interfaces: unknown power interface "crank"; built in are fake, ipmitool`, nil},
		"unknown default":   {func(c *builtin.Config) { c.DefaultPowerInterface = "crank" }, `[DEFAULT]default_power_interface: unknown power interface "crank"`, nil},
		"nothing enabled that the type supports": {func(c *builtin.Config) { c.EnabledPowerInterfaces = []string{"fake"} },
			`For hardware type 'ipmi', no default value found for power interface: enabled are fake, it supports ipmitool.`, nil},
		"default that the type does not support": {func(c *builtin.Config) { c.DefaultManagementInterface = "fake" },
			`For hardware type 'ipmi', no default value found for management interface: "fake" is not enabled for it, which are: ipmitool, noop.`, nil},
		"default that is not enabled": {func(c *builtin.Config) {
			c.EnabledRAIDInterfaces, c.DefaultRAIDInterface = []string{"no-raid"}, "agent"
		}, `no default value found for raid interface: "agent" is not enabled`, nil},
		"no delay":  {func(c *builtin.Config) { c.Fake.PowerDelay = "soon" }, `[fake]power_delay: "soon" is neither`, nil},
		"odd delay": {func(c *builtin.Config) { c.Fake.BootDelay = "3,1" }, `[fake]boot_delay: in "3,1" the second number is less`, nil},
	} {
		t.Run(name, func(t *testing.T) {
			r, err := registry(t, tt.configure)
			var warnings []string
			if err == nil {
				warnings, err = r.Check()
			}
			switch {
			case tt.err == "" && err != nil, tt.err != "" && (err == nil || !strings.Contains(err.Error(), tt.err)):
				t.Errorf("error %v, want %q", err, tt.err)
			case !slices.Equal(warnings, tt.warnings):
				t.Errorf("warnings %q, want %q", warnings, tt.warnings)
			}
		})
	}
}

func TestInterfaces(t *testing.T) {
	r, err := registry(t, nil)
	if err != nil {
		t.Fatal(err)
	}
	n := &store.Node{Driver: "fake-hardware"} // a row from before there were interfaces
	i, err := r.Interfaces(n)
	if err != nil {
		t.Fatal(err)
	}
	if err := i.Console.Validate(t.Context(), n); err != nil {
		t.Errorf("console: %v", err)
	}
	// instance_info goes before the node's own.
	n.InstanceInfo = store.Object{"console_interface": "no-console"}
	if i, err = r.Interfaces(n); err != nil {
		t.Fatal(err)
	}
	if err := i.Console.Validate(t.Context(), n); !errors.Is(err, driver.ErrUnsupported) || err.Error() != "Driver fake-hardware does not support console (disabled or not implemented)." {
		t.Errorf("console of instance_info: %v", err)
	}
	n.InstanceInfo = store.Object{"deploy_interface": "ramdisk"}
	if _, err := r.Interfaces(n); err == nil || !strings.Contains(err.Error(), `names the deploy interface "ramdisk", which is not available`) {
		t.Errorf("error %v", err)
	}
}
