package builtin

import "slices"

// kinds of interfaces, in the order of the contract. Literal table.
var kinds = []string{"bios", "boot", "console", "deploy", "firmware", "inspect", "management", "network", "power", "raid", "rescue", "storage", "vendor"}

// hardwareType names, for each kind of interface, the implementations that it
// supports in the order of preference: the first that is enabled is the
// default. Names of Ironic's that are not built in hold their place.
type hardwareType struct {
	name       string
	interfaces map[string][]string
	any        bool // takes any enabled implementation besides
	// unasked are the defaults where the configuration does not say which
	// implementations of a kind are enabled.
	unasked map[string]string
}

// generic is what most types have in common (deploy flow, section 11).
var generic = map[string][]string{
	"bios":       {"no-bios"},
	"boot":       {"ipxe", "pxe", "http-ipxe", "http"},
	"console":    {"no-console", "fake-graphical"},
	"deploy":     {"autodetect", "direct", "ansible", "ramdisk", "anaconda", "bootc", "custom-agent"},
	"firmware":   {"no-firmware"},
	"inspect":    {"agent", "no-inspect"},
	"management": {"noop"},
	"network":    {"flat", "neutron", "ironic-networking", "noop"},
	"raid":       {"no-raid", "agent"},
	"rescue":     {"no-rescue", "agent"},
	"storage":    {"noop", "cinder", "external"},
	"vendor":     {"no-vendor"},
}

// hardwareTypes is the literal list of those that are built in.
var hardwareTypes = []hardwareType{
	{name: "ipmi", unasked: map[string]string{"console": "no-console"}, interfaces: map[string][]string{
		"bios": generic["bios"], "boot": generic["boot"], "console": {"ipmitool-socat", "ipmitool-shellinabox", "no-console", "fake-graphical"}, "deploy": generic["deploy"],
		"firmware": generic["firmware"], "inspect": generic["inspect"], "management": {"ipmitool", "noop"}, "network": generic["network"],
		"power": {"ipmitool"}, "raid": generic["raid"], "rescue": generic["rescue"], "storage": generic["storage"], "vendor": {"ipmitool", "no-vendor"},
	}},
	{name: "manual-management", interfaces: map[string][]string{
		"bios": generic["bios"], "boot": generic["boot"], "console": generic["console"], "deploy": append(slices.Clone(generic["deploy"]), "noop"),
		"firmware": generic["firmware"], "inspect": generic["inspect"], "management": {"noop", "fake"}, "network": generic["network"],
		"power": {"agent", "fake"}, "raid": generic["raid"], "rescue": generic["rescue"], "storage": generic["storage"], "vendor": generic["vendor"],
	}},
	{name: "fake-hardware", any: true, interfaces: map[string][]string{
		"bios": {"fake", "no-bios"}, "boot": {"fake"}, "console": {"fake", "no-console"}, "deploy": {"fake"}, "firmware": {"fake", "no-firmware"},
		"inspect": {"fake", "no-inspect"}, "management": {"fake"}, "network": {"noop"}, "power": {"fake"}, "raid": {"fake", "no-raid"},
		"rescue": {"fake", "no-rescue"}, "storage": {"fake", "noop"}, "vendor": {"fake", "no-vendor"},
	}},
}

// elsewhere are Ironic's names that are built in nowhere here: they are known,
// so that its configuration files are read. Literal tables.
var (
	elsewhereTypes = []string{"redfish", "idrac", "ilo", "ilo5", "irmc", "snmp", "xclarity", "ibmc", "intel-ipmi"}
	elsewhere      = []string{
		"redfish", "redfish-virtual-media", "redfish-https", "redfish-graphical", "idrac-redfish", "idrac-redfish-virtual-media", "idrac-wsman", "inspector",
		"ilo", "ilo5", "ilo-pxe", "ilo-ipxe", "ilo-virtual-media", "ilo-uefi-https", "irmc", "irmc-pxe", "irmc-virtual-media", "intel-ipmitool", "snmp", "xclarity", "ibmc",
	}
)
