package inspection

import (
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
	"strings"

	"ferric/conductor/store"
)

// nic is an interface of the machine that could be read.
type nic struct {
	name   string
	mac    string
	pxe    bool // the machine was booted from it
	ip     net.IP
	client string
	shown  map[string]any
}

// nics reads the interfaces of the inventory; what has no name or no valid
// address is left out. booted says whether the one booted from is known.
func (d *Data) nics() (list []nic, booted bool) {
	pxe := d.pxeAddress()
	items, _ := d.Inventory["interfaces"].([]any)
	for _, item := range items {
		members, _ := item.(map[string]any)
		name, _ := members["name"].(string)
		text, _ := members["mac_address"].(string)
		mac := macAddress(text)
		if name == "" || mac == "" {
			continue
		}
		n := nic{name: name, mac: mac, pxe: mac == pxe}
		for _, key := range []string{"ipv6_address", "ipv4_address"} {
			text, _ := members[key].(string)
			address, _, _ := strings.Cut(text, "%") // the zone of a link-local one
			address, _, _ = strings.Cut(address, "/")
			if ip := net.ParseIP(address); ip != nil {
				n.ip = ip
			}
		}
		n.client, _ = members["client_id"].(string)
		n.shown = maps.Clone(members)
		n.shown["pxe_enabled"] = n.pxe
		list = append(list, n)
	}
	return list, pxe != ""
}

// pxeAddress is the address of the interface that the machine was booted from,
// which a boot loader writes with dashes and the type of the hardware before it.
func (d *Data) pxeAddress() string {
	boot, _ := d.Inventory["boot"].(map[string]any)
	text, _ := boot["pxe_interface"].(string)
	if strings.Count(text, "-") > 0 {
		text = strings.ReplaceAll(text, "-", ":")
		if strings.Count(text, ":") == 6 {
			text = text[strings.Index(text, ":")+1:]
		}
	}
	return macAddress(text)
}

// validateInterfaces finds the interfaces that ports may be made of.
func validateInterfaces(c Config, s *Subject) error {
	list, booted := s.Data.nics()
	if len(list) == 0 {
		return errors.New("no interfaces in the inventory")
	}
	addressed := slices.ContainsFunc(list, func(n nic) bool { return n.ip != nil })
	all, valid, macs := map[string]any{}, map[string]any{}, []any{}
	for _, n := range list {
		all[n.name] = n.shown
		switch {
		case n.name == "lo", n.ip != nil && n.ip.IsLoopback():
			continue
		case c.AddPorts == "pxe" && booted && !n.pxe:
			continue
		// Where it is not known what was booted from, an address is the next best sign.
		case c.AddPorts == "pxe" && !booted && addressed && n.ip == nil:
			continue
		case c.AddPorts == "active" && n.ip == nil:
			continue
		}
		valid[n.name] = n.shown
		macs = append(macs, n.mac)
	}
	if len(valid) == 0 {
		return fmt.Errorf("no valid network interfaces found for node %s among %s", s.Node.UUID, strings.Join(slices.Sorted(maps.Keys(all)), ", "))
	}
	s.Data.PluginData["all_interfaces"], s.Data.PluginData["valid_interfaces"], s.Data.PluginData["macs"] = all, valid, macs
	return nil
}

// ports makes ports of valid interfaces, and removes or updates others as configured.
func ports(c Config, s *Subject) error {
	list, booted := s.Data.nics()
	valid, _ := s.Data.PluginData["valid_interfaces"].(map[string]any)
	find := func(mac string) int {
		return slices.IndexFunc(list, func(n nic) bool { return n.mac == mac })
	}
	added := map[string]bool{}
	for _, n := range list {
		if valid[n.name] == nil {
			continue
		}
		added[n.mac] = true
		known := slices.ContainsFunc(s.Ports, func(p *store.Port) bool { return p.Address == n.mac })
		if c.AddPorts == "disabled" || known {
			continue
		}
		p := store.NewPort()
		p.Address, p.NodeID, p.PXEEnabled = n.mac, s.Node.ID, n.pxe || !booted
		if n.client != "" {
			p.Extra["client-id"] = n.client
		}
		s.Ports = append(s.Ports, p)
	}
	s.Ports = slices.DeleteFunc(s.Ports, func(p *store.Port) bool {
		return c.KeepPorts == "present" && find(p.Address) < 0 || c.KeepPorts == "added" && !added[p.Address]
	})
	if c.UpdatePXEEnabled && booted {
		for _, p := range s.Ports {
			i := find(p.Address)
			p.PXEEnabled = i >= 0 && list[i].pxe
		}
	}
	return nil
}
