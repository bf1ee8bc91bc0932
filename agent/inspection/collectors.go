package inspection

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"ferric/api/ipa"
	"ferric/hwmanager"
)

// collector adds what it found to the document.
type collector func(ctx context.Context, o *Options, doc document) error

// collectors by name (agent contract, section "When and how inspection runs").
func collectors() map[string]collector {
	return map[string]collector{
		"default":        collectDefault,
		"logs":           collectLogs,
		"pci-devices":    collectPCI,
		"numa-topology":  collectNUMA,
		"lldp":           collectLLDP,
		"dmi-decode":     collectDMI,
		"usb-devices":    collectUSB,
		"extra-hardware": collectExtra,
	}
}

func collectDefault(ctx context.Context, o *Options, doc document) error {
	if err := o.waitForDHCP(ctx); err != nil {
		return err
	}
	doc["configuration"] = o.configuration()
	inventory, err := hwmanager.First(o.Set, "list_hardware_info", func(i hwmanager.Inventorist) (*ipa.Inventory, error) {
		return i.Inventory(ctx, o.Host)
	})
	if err != nil {
		return fmt.Errorf("inventory: %w", err)
	}
	doc["inventory"] = inventory
	doc["boot_interface"] = inventory.Boot.PXEInterface
	disk, err := hwmanager.First(o.Set, "get_os_install_device", func(r hwmanager.RootPicker) (ipa.BlockDevice, error) {
		return r.InstallDevice(ctx, o.Host, nil) // no node is known: the disk without hints
	})
	switch {
	case err == nil:
		doc["root_disk"] = disk
	case ipa.DeviceNotFound.Is(err), ipa.MethodNotFound.Is(err):
		o.Log.WithError(err).Warn("no root disk")
	default:
		return fmt.Errorf("root disk: %w", err)
	}
	return nil
}

// dhcpPoll is the time between two looks for addresses.
const dhcpPoll = 500 * time.Millisecond

// waitForDHCP waits for the IPv4 address of the interface booted from, or of
// all. That there is none in the end is only worth a warning.
func (o *Options) waitForDHCP(ctx context.Context) error {
	if o.DHCPWait <= 0 {
		return nil
	}
	mac := normalMAC(o.Host.Settings.BootIF)
	if mac == "" && !o.DHCPAllInterfaces {
		o.Log.Warn("the interface booted from is not known (BOOTIF): no wait for its address")
		return nil
	}
	deadline := time.Now().Add(o.DHCPWait)
	for {
		interfaces, err := hwmanager.First(o.Set, "list_network_interfaces", func(l hwmanager.InterfaceLister) ([]ipa.Interface, error) {
			return l.Interfaces(ctx, o.Host)
		})
		if err != nil {
			return fmt.Errorf("list network interfaces: %w", err)
		}
		missing := withoutIPv4(interfaces)
		if !o.DHCPAllInterfaces {
			missing = withoutIPv4(sameMAC(interfaces, mac))
		}
		if len(missing) == 0 {
			return nil
		}
		if time.Now().After(deadline) {
			o.Log.Warnf("no address on %s within %s", strings.Join(missing, ", "), o.DHCPWait)
			return nil
		}
		select {
		case <-time.After(dhcpPoll):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

func withoutIPv4(interfaces []ipa.Interface) []string {
	var names []string
	for _, i := range interfaces {
		if i.IPv4Address == nil {
			names = append(names, i.Name)
		}
	}
	return names
}

// sameMAC is the interface with the address. Bonds and VLANs share that of the
// network card: of these, one with an IPv4 address is enough.
func sameMAC(interfaces []ipa.Interface, mac string) []ipa.Interface {
	var same []ipa.Interface
	for _, i := range interfaces {
		if !strings.EqualFold(i.MACAddress, mac) {
			continue
		}
		if i.IPv4Address != nil {
			return nil
		}
		same = append(same, i)
	}
	return same
}

// normalMAC makes aa:bb:cc:dd:ee:ff of it, which may be in the notation of
// pxelinux: hardware type and address, all with dashes.
func normalMAC(mac string) string {
	if _, rest, dashed := strings.Cut(mac, "-"); dashed {
		mac = strings.ReplaceAll(rest, "-", ":")
	}
	return strings.ToLower(mac)
}

// collectLogs comes last in the list, so that the logs tell of the others.
func collectLogs(ctx context.Context, o *Options, doc document) error {
	if o.Logs == nil {
		return errors.New("there are no logs")
	}
	logs, err := o.Logs(ctx)
	if err != nil {
		return err
	}
	doc["logs"] = logs
	return nil
}

func collectLLDP(ctx context.Context, o *Options, doc document) error {
	packets, err := hwmanager.First(o.Set, "collect_lldp_data", func(l hwmanager.LLDPCollector) (map[string][]ipa.TLV, error) {
		return l.LLDP(ctx, o.Host, nil)
	})
	if err != nil {
		return err
	}
	doc["lldp_raw"] = packets
	return nil
}
