package generic

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"ferric/api/ipa"
)

// VLAN names in LLDP (IEEE 802.1Q, D.2.3): organisationally specific, OUI and
// subtype, then the VLAN's number (two bytes).
const (
	lldpOrganisation = 127
	lldpVLANName     = "0080c2" + "03"
)

// vlan is a VLAN interface that is wanted.
type vlan struct {
	parent string
	id     int
}

func (v vlan) name() string { return v.parent + "." + strconv.Itoa(v.id) }

// wantedVLANs are those that the items of enable_vlan_interfaces name, each
// once (agent contract, section "VLANs and LLDP"): "interface.vlan", the
// interface by name or MAC address, "interface" with its VLANs by LLDP, or
// "all". Problems are items that name nothing.
func wantedVLANs(items []string, interfaces []ipa.Interface, lldpCollected bool) (wanted []vlan, problems []error) {
	add := func(v vlan) {
		if !slices.Contains(wanted, v) {
			wanted = append(wanted, v)
		}
	}
	for _, item := range items {
		parent, id, numbered := cutVLAN(item)
		if !numbered && !lldpCollected {
			problems = append(problems, fmt.Errorf("VLAN interfaces of %q: they are known from LLDP only, and collect_lldp is off", item))
			continue
		}
		found := false
		for _, nic := range interfaces {
			isAll := !numbered && item == "all"
			if vlanName.MatchString(nic.Name) || !isAll && nic.Name != parent && !strings.EqualFold(nic.MACAddress, parent) {
				continue
			}
			found = true
			if !numbered {
				for _, n := range vlansOf(nic.LLDP) {
					add(vlan{nic.Name, n})
				}
				continue
			}
			n, err := strconv.Atoi(id)
			if err != nil || !isVLAN(n) {
				problems = append(problems, fmt.Errorf("VLAN interface %q: %q is no VLAN", item, id))
				continue
			}
			add(vlan{nic.Name, n})
		}
		if !found {
			problems = append(problems, fmt.Errorf("VLAN interface %q: there is no such interface", item))
		}
	}
	return wanted, problems
}

// cutVLAN separates "eth0.100".
func cutVLAN(item string) (parent, id string, numbered bool) {
	if i := strings.LastIndexByte(item, '.'); i >= 0 {
		return item[:i], item[i+1:], true
	}
	return item, "", false
}

// vlansOf are the VLANs that a packet names.
func vlansOf(packet []ipa.TLV) []int {
	var ids []int
	for _, tlv := range packet {
		rest, named := strings.CutPrefix(tlv.Value, lldpVLANName)
		if tlv.Type != lldpOrganisation || !named || len(rest) < 4 {
			continue
		}
		if id, err := strconv.ParseUint(rest[:4], 16, 16); err == nil && isVLAN(int(id)) {
			ids = append(ids, int(id))
		}
	}
	return ids
}

// isVLAN: 0 and 4095 are reserved (IEEE 802.1Q, 9.6).
func isVLAN(id int) bool { return id >= 1 && id <= 4094 }

// makeVLAN makes a VLAN interface and sets it up. One that exists is set up.
func makeVLAN(v vlan) error {
	if len(v.name()) >= unix.IFNAMSIZ {
		return fmt.Errorf("make VLAN interface %s: the name is longer than %d characters", v.name(), unix.IFNAMSIZ-1)
	}
	parent, err := netlink.LinkByName(v.parent)
	if err != nil {
		return fmt.Errorf("make VLAN interface %s: %w", v.name(), err)
	}
	attributes := netlink.NewLinkAttrs()
	attributes.Name = v.name()
	attributes.ParentIndex = parent.Attrs().Index
	link := &netlink.Vlan{LinkAttrs: attributes, VlanId: v.id}
	if err := netlink.LinkAdd(link); err != nil && !errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("make VLAN interface %s: %w", v.name(), err)
	}
	if err := netlink.LinkSetUp(link); err != nil {
		return fmt.Errorf("set VLAN interface %s up: %w", v.name(), err)
	}
	return nil
}
