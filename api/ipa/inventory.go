package ipa

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
	Name        string   `json:"name"`
	MACAddress  string   `json:"mac_address"`
	IPv4Address *string  `json:"ipv4_address"`
	IPv6Address *string  `json:"ipv6_address"`
	HasCarrier  bool     `json:"has_carrier"`
	LLDP        [][2]any `json:"lldp"`    // null unless collected
	Vendor      *string  `json:"vendor"`  // PCI id, "0x8086"
	Product     *string  `json:"product"` // PCI id
	ClientID    *string  `json:"client_id"`
	BIOSDevName *string  `json:"biosdevname"`
	SpeedMbps   *int     `json:"speed_mbps"`
	PCIAddress  *string  `json:"pci_address"`
	Driver      *string  `json:"driver"`
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
