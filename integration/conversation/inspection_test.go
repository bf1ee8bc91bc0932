package conversation_test

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"ferric/api/ipa"
	"ferric/integration/conversation"
)

// inspectionParams are the kernel parameters with which the machine is inspected before it is deployed.
func inspectionParams(mac string) string {
	return fmt.Sprintf("BOOTIF=%s ipa-inspection-callback-url=%%s%s ipa-inspection-collectors=default,pci-devices,numa-topology,lldp,dmi-decode,usb-devices,logs "+
		"ipa-collect-lldp=1 ipa-lldp-timeout=20 ipa-enable-vlan-interfaces=all", bootif(mac), conversation.Inspect)
}

func bootif(mac string) string { return "01-" + strings.ReplaceAll(mac, ":", "-") }

// inspectionArguments give the machine two NUMA nodes of its 512 MiB, and something on USB.
func inspectionArguments() []string {
	return []string{
		"-object", "memory-backend-ram,id=ram0,size=256M", "-object", "memory-backend-ram,id=ram1,size=256M",
		"-numa", "node,nodeid=0,cpus=0,memdev=ram0", "-numa", "node,nodeid=1,memdev=ram1",
		"-device", "qemu-xhci", "-device", "usb-tablet",
	}
}

// switchVLAN is the one that the switch tells of.
const switchVLAN = 77

// neighbour sends what a switch says of itself by LLDP (IEEE 802.1AB) to the machine, once a second until ctx ends.
func neighbour(ctx context.Context, device string) error {
	link, err := net.InterfaceByName(device)
	if err != nil {
		return err
	}
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("socket for LLDP: %w", err)
	}
	defer unix.Close(fd)
	tlv := func(kind int, value ...byte) []byte {
		return append(binary.BigEndian.AppendUint16(nil, uint16(kind<<9|len(value))), value...)
	}
	group := []byte{0x01, 0x80, 0xc2, 0x00, 0x00, 0x0e}
	frame := slices.Concat(group, []byte{0x52, 0x54, 0, 0x77, 0xee, 1}, []byte{0x88, 0xcc},
		tlv(1, 4, 0x52, 0x54, 0, 0x77, 0xee, 1), tlv(2, append([]byte{5}, "port-7"...)...), tlv(3, 0, 120),
		tlv(127, append([]byte{0x00, 0x80, 0xc2, 3, 0, switchVLAN, 4}, "lab7"...)...), tlv(0))
	to := &unix.SockaddrLinklayer{Ifindex: link.Index, Halen: 6}
	copy(to.Addr[:], group)
	for tick := time.NewTicker(time.Second); ; {
		// Before the machine is on, nobody is at the other end of the tap.
		if err := unix.Sendto(fd, frame, 0, to); err != nil && !errors.Is(err, unix.ENETDOWN) && !errors.Is(err, unix.EIO) {
			return fmt.Errorf("send LLDP: %w", err)
		}
		select {
		case <-ctx.Done():
			tick.Stop()
			return nil
		case <-tick.C:
		}
	}
}

// inspected checks what the agent posted (agent contract 9.2).
func inspected(t *testing.T, ctx context.Context, s *conversation.Site) {
	t.Helper()
	call, err := s.WaitCall(ctx, conversation.Inspect, 202)
	must(t, err)
	if call.Version != "" {
		t.Errorf("inspection data came with API version %q; want none", call.Version)
	}
	var data struct {
		Inventory     ipa.Inventory   `json:"inventory"`
		RootDisk      ipa.BlockDevice `json:"root_disk"`
		BootInterface string          `json:"boot_interface"`
		Configuration struct {
			Collectors []string                         `json:"collectors"`
			Managers   []struct{ Name, Version string } `json:"managers"`
		} `json:"configuration"`
		Error *string             `json:"error"`
		Logs  []byte              `json:"logs"` // base64
		PCI   []map[string]any    `json:"pci_devices"`
		USB   []map[string]string `json:"usb_devices"`
		LLDP  map[string][][2]any `json:"lldp_raw"`
		NUMA  struct {
			RAM []struct {
				Node int `json:"numa_node"`
				Size int `json:"size_kb"`
			} `json:"ram"`
			NICs []map[string]any `json:"nics"`
		} `json:"numa_topology"`
		DMI map[string]any `json:"dmi"`
	}
	if err := json.Unmarshal(call.Body, &data); err != nil {
		t.Fatalf("inspection data: %v: %.500s", err, call.Body)
	}
	config := s.Machine.Config
	want := func(ok bool, what string, got any) {
		t.Helper()
		if !ok {
			t.Errorf("inspection data: %s is %+v", what, got)
		}
	}
	inventory := data.Inventory
	want(data.Error == nil, "error", data.Error)
	want(data.BootInterface == bootif(config.MAC), "boot_interface", data.BootInterface)
	want(inventory.Boot.PXEInterface != nil && *inventory.Boot.PXEInterface == bootif(config.MAC) && inventory.Boot.CurrentBootMode == "uefi", "boot", inventory.Boot)
	want(inventory.BMCAddress != nil && *inventory.BMCAddress == config.BMC.Address, "bmc_address", inventory.BMCAddress)
	want(inventory.BMCMAC == "52:54:c0:a8:4d:c9", "bmc_mac", inventory.BMCMAC)
	want(inventory.SystemVendor.SerialNumber == config.SMBIOS.Serial && inventory.SystemVendor.Manufacturer == config.SMBIOS.Manufacturer, "system_vendor", inventory.SystemVendor)
	want(data.RootDisk.Serial != nil && *data.RootDisk.Serial == config.Disks[0].Serial, "root_disk", data.RootDisk)
	want(slices.Equal(data.Configuration.Collectors, []string{"default", "pci-devices", "numa-topology", "lldp", "dmi-decode", "usb-devices", "logs"}), "collectors", data.Configuration.Collectors)
	want(len(data.Configuration.Managers) > 0 && data.Configuration.Managers[0].Version != "", "managers", data.Configuration.Managers)
	want(len(data.Logs) > 0, "logs", len(data.Logs))
	want(len(data.PCI) > 3, "pci_devices", data.PCI)
	want(slices.ContainsFunc(data.USB, func(d map[string]string) bool { return strings.Contains(d["product"], "QEMU USB Tablet") }), "usb_devices", data.USB)
	want(len(data.NUMA.RAM) == 2, "numa_topology", data.NUMA)
	want(data.DMI["bios"] != nil && data.DMI["memory"] != nil && data.DMI["cpu"] != nil, "dmi", data.DMI)

	nic, vlan := "", 0
	for _, i := range inventory.Interfaces {
		if base, id, found := strings.Cut(i.Name, "."); found {
			_, err := fmt.Sscan(id, &vlan)
			want(err == nil && base != "", "VLAN interface", i.Name)
		} else if strings.EqualFold(i.MACAddress, config.MAC) {
			nic = i.Name
			want(i.IPv4Address != nil && strings.HasPrefix(*i.IPv4Address, "192.168.77."), "ipv4_address", i.IPv4Address)
			want(i.HasCarrier && len(i.LLDP) > 0, "interface", i)
		}
	}
	want(vlan == switchVLAN, "VLAN of interfaces", inventory.Interfaces)
	port := slices.ContainsFunc(data.LLDP[nic], func(tlv [2]any) bool { return tlv[0] == float64(2) && tlv[1] == fmt.Sprintf("%x", "\x05port-7") })
	want(port, "lldp_raw of "+nic, data.LLDP)
}
