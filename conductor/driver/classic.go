package driver

import (
	"strings"

	"ferric/conductor/store"
)

// classic are the drivers that Ironic had before hardware types, with the type
// and the interfaces that do the same today. iSCSI deployment is no more; its
// place has taken direct deployment. Literal table.
var classic = map[string]struct{ hardware, power, management, deploy string }{
	"fake":                   {"fake-hardware", "fake", "fake", "fake"},
	"fake_agent":             {"fake-hardware", "fake", "fake", "direct"},
	"fake_pxe":               {"fake-hardware", "fake", "fake", "direct"},
	"fake_ipmitool":          {"fake-hardware", "ipmitool", "ipmitool", "fake"},
	"fake_ipmitool_socat":    {"fake-hardware", "ipmitool", "ipmitool", "fake"},
	"fake_soft_power":        {"fake-hardware", "fake", "fake", "fake"},
	"pxe_ipmitool":           {"ipmi", "ipmitool", "ipmitool", "direct"},
	"pxe_ipmitool_socat":     {"ipmi", "ipmitool", "ipmitool", "direct"},
	"pxe_ipminative":         {"ipmi", "ipmitool", "ipmitool", "direct"},
	"agent_ipmitool":         {"ipmi", "ipmitool", "ipmitool", "direct"},
	"agent_ipmitool_socat":   {"ipmi", "ipmitool", "ipmitool", "direct"},
	"agent_pyghmi":           {"ipmi", "ipmitool", "ipmitool", "direct"},
	"agent_pxe":              {"ipmi", "ipmitool", "ipmitool", "direct"},
	"pxe_redfish":            {"redfish", "redfish", "redfish", "direct"},
	"agent_redfish":          {"redfish", "redfish", "redfish", "direct"},
	"pxe_drac":               {"idrac", "idrac-redfish", "idrac-redfish", "direct"},
	"pxe_drac_inspector":     {"idrac", "idrac-redfish", "idrac-redfish", "direct"},
	"pxe_ilo":                {"ilo", "ilo", "ilo", "direct"},
	"agent_ilo":              {"ilo", "ilo", "ilo", "direct"},
	"iscsi_ilo":              {"ilo", "ilo", "ilo", "direct"},
	"pxe_irmc":               {"irmc", "irmc", "irmc", "direct"},
	"agent_irmc":             {"irmc", "irmc", "irmc", "direct"},
	"iscsi_irmc":             {"irmc", "irmc", "irmc", "direct"},
	"pxe_snmp":               {"snmp", "snmp", "noop", "direct"},
	"pxe_ucs":                {"cisco-ucs-managed", "ucsm", "ucsm", "direct"},
	"agent_ucs":              {"cisco-ucs-managed", "ucsm", "ucsm", "direct"},
	"pxe_iscsi_cimc":         {"cisco-ucs-standalone", "cimc", "cimc", "direct"},
	"pxe_agent_cimc":         {"cisco-ucs-standalone", "cimc", "cimc", "direct"},
	"pxe_ssh":                {"ipmi", "ipmitool", "ipmitool", "direct"},
	"agent_ssh":              {"ipmi", "ipmitool", "ipmitool", "direct"},
	"pxe_ipmitool_inspector": {"ipmi", "ipmitool", "ipmitool", "direct"},
}

// HardwareType is the hardware type that has taken a classic driver's place.
func HardwareType(name string) (hardware string, isClassic bool) {
	c, isClassic := classic[name]
	return c.hardware, isClassic
}

// HardwareTypes replaces the classic drivers in a list, and tells which there
// were. Each type is in it once.
func HardwareTypes(names []string) (types, classics []string) {
	seen := map[string]bool{}
	for _, name := range names {
		if hardware, ok := HardwareType(name); ok {
			classics = append(classics, name)
			name = hardware
		}
		if !seen[name] {
			seen[name] = true
			types = append(types, name)
		}
	}
	return types, classics
}

// Modernise puts the hardware type in a node in place of a classic driver, and
// its interfaces where the node has none. It tells which driver there was.
func Modernise(n *store.Node) (was string, isClassic bool) {
	c, ok := classic[n.Driver]
	if !ok {
		return "", false
	}
	was, n.Driver = n.Driver, c.hardware
	for to, name := range map[**string]string{&n.PowerInterface: c.power, &n.ManagementInterface: c.management, &n.DeployInterface: c.deploy} {
		if *to == nil {
			*to = &name
		}
	}
	return was, true
}

// IsClassicAgent tells whether a name is that of a classic driver whose
// ramdisk is the agent: lookups went to its vendor methods.
func IsClassicAgent(name string) bool {
	_, ok := classic[name]
	return ok && strings.HasPrefix(name, "agent_")
}
