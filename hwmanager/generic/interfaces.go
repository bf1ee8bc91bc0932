package generic

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"sort"
	"strings"

	"ferric/api/ipa"
	"ferric/hwmanager"
)

// vlanName is the name of a VLAN interface that the ramdisk made.
var vlanName = regexp.MustCompile(`^.+\.\d+$`)

// noMAC is what virtual functions without an address show.
const noMAC = "00:00:00:00:00:00"

// Interfaces implements hwmanager.InterfaceLister: interfaces with a device
// behind them, bonds and VLANs, by name. VLAN interfaces that are wanted are
// made on the way.
func (m *Manager) Interfaces(ctx context.Context, h *hwmanager.Host) ([]ipa.Interface, error) {
	names, err := interfaceNames(h)
	if err != nil {
		return nil, err
	}
	var packets map[string][]ipa.TLV
	if h.Settings.CollectLLDP {
		packets, err = askFor(m, h, "collect_lldp_data", func(l hwmanager.LLDPCollector) (map[string][]ipa.TLV, error) {
			return l.LLDP(ctx, h, names)
		})
		if err != nil {
			h.Log.WithError(err).Warn("no LLDP packets in the inventory")
		}
	}
	interfaces, err := m.describe(ctx, h, names, packets)
	if err != nil {
		return nil, err
	}
	if added := m.addVLANs(h, interfaces); len(added) > 0 {
		more, err := m.describe(ctx, h, added, nil)
		if err != nil {
			return nil, err
		}
		interfaces = append(interfaces, more...)
		sort.Slice(interfaces, func(i, j int) bool { return interfaces[i].Name < interfaces[j].Name })
	}
	return filtered(ctx, m, h, interfaces)
}

// describe asks for what there is to know of each interface. One that no
// manager handles is left out.
func (m *Manager) describe(ctx context.Context, h *hwmanager.Host, names []string, packets map[string][]ipa.TLV) ([]ipa.Interface, error) {
	interfaces := make([]ipa.Interface, 0, len(names))
	for _, name := range names {
		nic, err := askFor(m, h, "get_interface_info", func(r hwmanager.InterfaceReader) (ipa.Interface, error) {
			return r.InterfaceInfo(ctx, h, name)
		})
		if ipa.MethodNotFound.Is(err) {
			h.Log.Debugf("network interface %s is left out", name)
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("network interface %s: %w", name, err)
		}
		if packets != nil {
			nic.LLDP = packets[name]
		}
		interfaces = append(interfaces, nic)
	}
	return interfaces, nil
}

// addVLANs makes the VLAN interfaces that are configured and returns the
// names of new ones. Each is tried once: what fails is logged.
func (m *Manager) addVLANs(h *hwmanager.Host, interfaces []ipa.Interface) []string {
	if len(h.Settings.EnableVLANInterfaces) == 0 || !live(h) {
		return nil
	}
	wanted, problems := wantedVLANs(h.Settings.EnableVLANInterfaces, interfaces, h.Settings.CollectLLDP)
	m.vlans.mu.Lock()
	defer m.vlans.mu.Unlock()
	if m.vlans.tried == nil {
		m.vlans.tried = map[string]bool{}
	}
	once := func(what string) bool {
		first := !m.vlans.tried[what]
		m.vlans.tried[what] = true
		return first
	}
	for _, err := range problems {
		if once(err.Error()) {
			h.Log.Warn(err)
		}
	}
	known := map[string]bool{}
	for _, nic := range interfaces {
		known[nic.Name] = true
	}
	var added []string
	for _, v := range wanted {
		if known[v.name()] || !once(v.name()) {
			continue
		}
		if err := makeVLAN(v); err != nil {
			h.Log.WithError(err).Warn("a VLAN is missing")
			continue
		}
		h.Log.Infof("VLAN interface %s made", v.name())
		added = append(added, v.name())
	}
	return added
}

// interfaceNames are those with a device behind them, bonds and VLANs.
func interfaceNames(h *hwmanager.Host) ([]string, error) {
	root := filepath.Join(h.Sys, "class/net")
	entries, err := os.ReadDir(root)
	if err != nil {
		return nil, fmt.Errorf("list network interfaces: %w", err)
	}
	var names []string
	for _, e := range entries {
		if isInterface(filepath.Join(root, e.Name()), e.Name()) {
			names = append(names, e.Name())
		}
	}
	return names, nil
}

func isInterface(dir, name string) bool {
	for _, mark := range []string{"device", "bonding"} {
		if _, err := os.Stat(filepath.Join(dir, mark)); err == nil {
			return true
		}
	}
	return vlanName.MatchString(name)
}

// InterfaceInfo implements hwmanager.InterfaceReader. Interfaces without a
// hardware address are not for conductors, and those whose address begins
// with "fa:" belong to the host's own virtual devices (agent contract,
// section "Inventory document").
func (m *Manager) InterfaceInfo(_ context.Context, h *hwmanager.Host, name string) (ipa.Interface, error) {
	dir := filepath.Join(h.Sys, "class/net", name)
	link := askKernel(h, name)
	nic := ipa.Interface{
		Name:        name,
		IPv4Address: link.v4,
		IPv6Address: link.v6,
		HasCarrier:  readText(dir, "carrier") == "1",
		Vendor:      optional(readText(dir, "device/vendor")),
		Product:     optional(readText(dir, "device/device")),
		SpeedMbps:   link.fastest,
	}
	nic.MACAddress, nic.ClientID = hardwareAddress(dir, link.permanentMAC)
	if nic.MACAddress == "" || nic.MACAddress == noMAC || strings.HasPrefix(nic.MACAddress, "fa:") {
		return ipa.Interface{}, hwmanager.ErrNotHandled
	}
	if speed := int(readInt(dir, "speed")); nic.SpeedMbps == nil && speed > 0 {
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
				nic.BIOSDevName = m.staticFacts(h).onboard[base]
				break
			}
		}
	}
	return nic, nil
}

// infiniband is the kernel's type of such interfaces (linux/if_arp.h).
const infiniband = "32"

// hardwareAddress is the permanent address, else the current one. An
// InfiniBand interface has 20 bytes, the last eight of them its GUID, of which
// address and DHCP client are made (agent contract, section "Other managers").
func hardwareAddress(dir, permanent string) (mac string, clientID *string) {
	current := strings.ToLower(readText(dir, "address"))
	if readText(dir, "type") == infiniband {
		const hexByte, addressBytes, guidBytes = len("00:"), 20, 8
		if len(current) != addressBytes*hexByte-1 {
			return "", nil
		}
		guid := current[(addressBytes-guidBytes)*hexByte:]
		id := "ff:00:00:00:00:00:02:00:00:02:c9:00:" + guid
		return guid[:3*hexByte] + guid[5*hexByte:], &id
	}
	if permanent != "" {
		return permanent, nil
	}
	return current, nil
}

// FilterDevice implements hwmanager.DeviceFilter: nothing is hidden.
func (*Manager) FilterDevice(_ context.Context, _ *hwmanager.Host, device any) (any, error) {
	return device, nil
}

// askFor puts a question to all managers, of which this one may not be the
// best (agent contract, section "Base methods"). Where no managers were
// loaded this one answers.
func askFor[A, R any](m *Manager, h *hwmanager.Host, method string, ask func(A) (R, error)) (R, error) {
	if h.Set != nil {
		return hwmanager.First(h.Set, method, ask)
	}
	answer, err := ask(any(m).(A))
	if err == hwmanager.ErrNotHandled {
		err = ipa.MethodNotFound.New("Could not find method: %s", method)
	}
	return answer, err
}

// filtered are the devices as the managers want them seen.
func filtered[D any](ctx context.Context, m *Manager, h *hwmanager.Host, devices []D) ([]D, error) {
	kept := make([]D, 0, len(devices))
	for _, device := range devices {
		answer, err := askFor(m, h, "filter_device", func(f hwmanager.DeviceFilter) (any, error) {
			return f.FilterDevice(ctx, h, device)
		})
		if err != nil {
			return nil, fmt.Errorf("filter devices: %w", err)
		}
		if answer == nil {
			continue
		}
		changed, ok := answer.(D)
		if !ok {
			return nil, fmt.Errorf("filter devices: a manager made a %T of a %T", answer, device)
		}
		kept = append(kept, changed)
	}
	return kept, nil
}
