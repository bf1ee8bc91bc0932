package ipa

import (
	"encoding/json"
	"fmt"
)

// Inventory is what inspection reports of a machine. Sizes are bytes unless
// the name says otherwise. A pointer is null on the wire where the fact is
// unknown.
type Inventory struct {
	Interfaces   []Interface   `json:"interfaces"`
	CPU          CPU           `json:"cpu"`
	Disks        []BlockDevice `json:"disks"`
	Memory       Memory        `json:"memory"`
	BMCAddress   *string       `json:"bmc_address"`
	BMCV6Address *string       `json:"bmc_v6address"`
	BMCMAC       string        `json:"bmc_mac,omitempty"`
	SystemVendor SystemVendor  `json:"system_vendor"`
	Boot         Boot          `json:"boot"`
	Hostname     string        `json:"hostname"`
}

// Interface is a network interface.
type Interface struct {
	Name        string  `json:"name"`
	MACAddress  string  `json:"mac_address"` // permanent one
	IPv4Address *string `json:"ipv4_address"`
	IPv6Address *string `json:"ipv6_address"` // with zone if link-local
	HasCarrier  bool    `json:"has_carrier"`
	LLDP        []TLV   `json:"lldp"`    // null unless collected
	Vendor      *string `json:"vendor"`  // PCI id, "0x8086"
	Product     *string `json:"product"` // PCI id
	ClientID    *string `json:"client_id"`
	BIOSDevName *string `json:"biosdevname"`
	SpeedMbps   *int    `json:"speed_mbps"` // highest possible, else current
	PCIAddress  *string `json:"pci_address"`
	Driver      *string `json:"driver"`
}

// TLV is an element of an LLDP packet, on the wire [type, "value in hex"].
type TLV struct {
	Type  int
	Value string // hex
}

// MarshalJSON implements json.Marshaler.
func (t TLV) MarshalJSON() ([]byte, error) { return json.Marshal([]any{t.Type, t.Value}) }

// UnmarshalJSON implements json.Unmarshaler.
func (t *TLV) UnmarshalJSON(data []byte) error {
	var pair []json.RawMessage
	if err := json.Unmarshal(data, &pair); err != nil {
		return fmt.Errorf("decode LLDP element: %w", err)
	}
	if len(pair) != 2 {
		return fmt.Errorf("decode LLDP element: it has %d members; want type and value", len(pair))
	}
	if err := json.Unmarshal(pair[0], &t.Type); err != nil {
		return fmt.Errorf("decode type of LLDP element: %w", err)
	}
	if err := json.Unmarshal(pair[1], &t.Value); err != nil {
		return fmt.Errorf("decode value of LLDP element: %w", err)
	}
	return nil
}

// USBDevice is a device on a USB bus.
type USBDevice struct {
	Product string `json:"product"`
	Vendor  string `json:"vendor"`
	Handle  string `json:"handle"` // "USB:1:2": bus and device number
}

// CPU describes all processors of the machine.
type CPU struct {
	ModelName    string   `json:"model_name"`
	Frequency    string   `json:"frequency"` // MHz, as text
	Count        int      `json:"count"`
	Architecture string   `json:"architecture"`
	Flags        []string `json:"flags"`
	SocketCount  int      `json:"socket_count"`
}

// Memory of the machine: Total as the operating system sees it, PhysicalMB
// (MiB) as the sum of the modules.
type Memory struct {
	Total      int64 `json:"total"`
	PhysicalMB *int  `json:"physical_mb"`
}

// BlockDevice is a disk (or assembled array) of the machine.
type BlockDevice struct {
	Name               string  `json:"name"` // /dev/sda
	Model              *string `json:"model"`
	Size               int64   `json:"size"`
	Rotational         bool    `json:"rotational"`
	WWN                *string `json:"wwn"`
	Serial             *string `json:"serial"`
	Vendor             *string `json:"vendor"`
	WWNWithExtension   *string `json:"wwn_with_extension"`
	WWNVendorExtension *string `json:"wwn_vendor_extension"`
	HCTL               *string `json:"hctl"`
	ByPath             *string `json:"by_path"`
	LogicalSectors     int     `json:"logical_sectors"`
	PhysicalSectors    int     `json:"physical_sectors"`
	Tran               *string `json:"tran"`

	// Identity is how the machine itself knows the disk again, never on the
	// wire: what was listed under the name at that moment. "" if whoever lists
	// it does not know.
	Identity string `json:"-"`
}

// SystemVendor identifies the machine (DMI).
type SystemVendor struct {
	ProductName  string   `json:"product_name"`
	SerialNumber string   `json:"serial_number"`
	Manufacturer string   `json:"manufacturer"`
	Firmware     Firmware `json:"firmware"`
}

// Firmware identifies the BIOS or UEFI.
type Firmware struct {
	Vendor    string `json:"vendor"`
	Version   string `json:"version"`
	BuildDate string `json:"build_date"`
}

// Boot says how the ramdisk was booted.
type Boot struct {
	CurrentBootMode string  `json:"current_boot_mode"` // "bios" or "uefi"
	PXEInterface    *string `json:"pxe_interface"`     // BOOTIF, verbatim
}
