package inspection

import (
	"encoding/hex"
	"net"
	"slices"

	"ferric/conductor/store"
)

// Types of LLDP elements and subtypes of the first two (IEEE 802.1AB).
const (
	lldpChassis    = 1
	lldpPort       = 2
	lldpPortText   = 4
	lldpSystemName = 5
	lldpSystemText = 6

	chassisMAC    = 4
	portAlias     = 1
	portMAC       = 3
	portName      = 5
	portLocal     = 7
	lldpNameBytes = 255
)

// neighbour is what a switch says of itself to one interface.
type neighbour struct {
	switchID, portID              string
	systemName, systemDescription string
	portDescription               string
}

// readLLDP reads the elements [type, "hex"] that were collected on an interface.
func readLLDP(elements any) (n neighbour, ok bool) {
	list, _ := elements.([]any)
	for _, item := range list {
		pair, _ := item.([]any)
		if len(pair) != 2 {
			continue
		}
		kind, _ := pair[0].(float64)
		text, _ := pair[1].(string)
		value, err := hex.DecodeString(text)
		if err != nil || len(value) == 0 || len(value) > lldpNameBytes+2 {
			continue
		}
		switch int(kind) {
		case lldpChassis:
			if value[0] == chassisMAC && len(value) == 7 {
				n.switchID = net.HardwareAddr(value[1:]).String()
			}
		case lldpPort:
			switch {
			case value[0] == portMAC && len(value) == 7:
				n.portID = net.HardwareAddr(value[1:]).String()
			case value[0] == portAlias, value[0] == portName, value[0] == portLocal:
				n.portID = string(value[1:])
			}
		case lldpPortText:
			n.portDescription = string(value)
		case lldpSystemName:
			n.systemName = string(value)
		case lldpSystemText:
			n.systemDescription = string(value)
		}
	}
	return n, n != neighbour{}
}

// lldp is what was collected, by name of the interface.
func (d *Data) lldp() map[string]neighbour {
	found := map[string]neighbour{}
	collected, _ := d.PluginData["lldp_raw"].(map[string]any)
	list, _ := d.nics()
	for _, n := range list {
		elements := collected[n.name]
		if elements == nil {
			elements = n.shown["lldp"]
		}
		if heard, ok := readLLDP(elements); ok {
			found[n.name] = heard
		}
	}
	return found
}

// localLinkConnection takes over which port of which switch each port of the
// node is connected to. What an operator has set stays.
func localLinkConnection(_ Config, s *Subject) error {
	heard := s.Data.lldp()
	list, _ := s.Data.nics()
	for _, p := range s.Ports {
		i := slices.IndexFunc(list, func(n nic) bool { return n.mac == p.Address })
		if i < 0 {
			continue
		}
		if p.LocalLinkConnection == nil {
			p.LocalLinkConnection = store.Object{}
		}
		n := heard[list[i].name]
		for key, value := range map[string]string{"switch_id": n.switchID, "port_id": n.portID} {
			if value != "" && p.LocalLinkConnection[key] == nil {
				p.LocalLinkConnection[key] = value
			}
		}
	}
	return nil
}

// parseLLDP makes what was heard readable.
func parseLLDP(_ Config, s *Subject) error {
	parsed := map[string]any{}
	for name, n := range s.Data.lldp() {
		members := map[string]any{}
		for key, value := range map[string]string{
			"switch_chassis_id": n.switchID, "switch_port_id": n.portID, "switch_system_name": n.systemName,
			"switch_system_description": n.systemDescription, "switch_port_description": n.portDescription,
		} {
			if value != "" {
				members[key] = value
			}
		}
		parsed[name] = members
	}
	if len(parsed) > 0 {
		s.Data.PluginData["parsed_lldp"] = parsed
	}
	return nil
}
