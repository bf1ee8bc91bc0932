package generic

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"sort"
	"strings"

	"github.com/safchain/ethtool"
	"github.com/vishvananda/netlink"

	"ferric/api/ipa"
	"ferric/hwmanager"
)

// vlanName is the name of a VLAN interface that the ramdisk made.
var vlanName = regexp.MustCompile(`^.+\.\d+$`)

// noMAC is what virtual functions without an address show.
const noMAC = "00:00:00:00:00:00"

// Interfaces implements hwmanager.InterfaceLister: interfaces with a device
// behind them, bonds and VLANs, by name.
func (m *Manager) Interfaces(_ context.Context, h *hwmanager.Host) ([]ipa.Interface, error) {
	root := filepath.Join(h.Sys, "class/net")
	entries, err := os.ReadDir(root)
	if err != nil {
		return nil, fmt.Errorf("list network interfaces: %w", err)
	}
	kernel := kernelFor(h)
	defer kernel.close()
	interfaces := []ipa.Interface{}
	for _, e := range entries {
		dir := filepath.Join(root, e.Name())
		if !isInterface(dir, e.Name()) {
			continue
		}
		nic := readInterface(dir, e.Name(), kernel)
		// Addresses with this prefix belong to virtual devices of the host
		// (agent contract, section "Inventory document").
		if strings.HasPrefix(nic.MACAddress, "fa:") {
			continue
		}
		interfaces = append(interfaces, nic)
	}
	sort.Slice(interfaces, func(i, j int) bool { return interfaces[i].Name < interfaces[j].Name })
	return interfaces, nil
}

func isInterface(dir, name string) bool {
	for _, mark := range []string{"device", "bonding"} {
		if _, err := os.Stat(filepath.Join(dir, mark)); err == nil {
			return true
		}
	}
	return vlanName.MatchString(name)
}

func readInterface(dir, name string, kernel kernel) ipa.Interface {
	nic := ipa.Interface{
		Name:       name,
		MACAddress: strings.ToLower(kernel.permanentMAC(name)),
		HasCarrier: readText(dir, "carrier") == "1",
		Vendor:     optional(readText(dir, "device/vendor")),
		Product:    optional(readText(dir, "device/device")),
	}
	if nic.MACAddress == "" || nic.MACAddress == noMAC {
		nic.MACAddress = strings.ToLower(readText(dir, "address"))
	}
	nic.IPv4Address, nic.IPv6Address = kernel.addresses(name)
	if speed := int(readInt(dir, "speed")); speed > 0 {
		nic.SpeedMbps = &speed
	}
	if driver, err := os.Readlink(filepath.Join(dir, "device/driver")); err == nil {
		nic.Driver = optional(filepath.Base(driver))
	}
	if device, err := filepath.EvalSymlinks(filepath.Join(dir, "device")); err == nil {
		// A virtio device lies one level below its PCI function.
		for _, d := range []string{device, filepath.Dir(device)} {
			if base := filepath.Base(d); pciName.MatchString(base) {
				nic.PCIAddress = &base
				break
			}
		}
	}
	return nic
}

// kernel is what sysfs does not tell of interfaces.
type kernel interface {
	permanentMAC(name string) string // "" if unknown
	addresses(name string) (v4, v6 *string)
	close()
}

// kernelFor asks the running kernel, unless h is a fixture.
func kernelFor(h *hwmanager.Host) kernel {
	if h.Sys != "/sys" {
		return noKernel{}
	}
	tool, err := ethtool.NewEthtool()
	if err != nil {
		return liveKernel{}
	}
	return liveKernel{tool}
}

type noKernel struct{}

func (noKernel) permanentMAC(string) string          { return "" }
func (noKernel) addresses(string) (*string, *string) { return nil, nil }
func (noKernel) close()                              {}

type liveKernel struct{ tool *ethtool.Ethtool }

func (k liveKernel) permanentMAC(name string) string {
	if k.tool == nil {
		return ""
	}
	mac, err := k.tool.PermAddr(name)
	if err != nil {
		return ""
	}
	return mac
}

// addresses are the first ones of each family; a link-local one is given with
// its zone.
func (k liveKernel) addresses(name string) (v4, v6 *string) {
	link, err := netlink.LinkByName(name)
	if err != nil {
		return nil, nil
	}
	if list, err := netlink.AddrList(link, netlink.FAMILY_V4); err == nil && len(list) > 0 {
		v4 = optional(list[0].IP.String())
	}
	if list, err := netlink.AddrList(link, netlink.FAMILY_V6); err == nil && len(list) > 0 {
		text := list[0].IP.String()
		if list[0].IP.IsLinkLocalUnicast() {
			text += "%" + name
		}
		v6 = &text
	}
	return v4, v6
}

func (k liveKernel) close() {
	if k.tool != nil {
		k.tool.Close()
	}
}
