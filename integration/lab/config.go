package lab

import (
	"crypto/sha256"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/google/uuid"
)

// The rack's network. The conductor and everything else inside uses Address.
const (
	Bridge   = "br0"
	Address  = "192.168.77.1"
	Prefix   = "192.168.77.0/24"
	Address6 = "fd00:77::1"
	Prefix6  = "fd00:77::/64"

	firstBMC = 201 // last octet of the first BMC's address

	DefaultUser     = "admin"
	DefaultPassword = "ferric-lab"
)

// Firmware of a machine.
type Firmware string

const (
	BIOS Firmware = "bios" // SeaBIOS
	UEFI Firmware = "uefi" // OVMF
)

// NetBoot is how a machine's firmware boots from the network.
type NetBoot string

const (
	// NICROM uses the ROM of QEMU's network card, which already is iPXE: it fetches scripts, never a boot loader.
	NICROM NetBoot = "rom"
	// FirmwarePXE leaves the ROM out, so that OVMF's own PXE fetches a first-stage loader by TFTP. UEFI only.
	FirmwarePXE NetBoot = "pxe"
	// FirmwareHTTP leaves the ROM out and turns OVMF's PXE off, so that it does HTTP boot. UEFI only.
	FirmwareHTTP NetBoot = "http"
)

// DiskKind is the bus that a disk is on.
type DiskKind string

const (
	Virtio DiskKind = "virtio"
	NVMe   DiskKind = "nvme"
	SATA   DiskKind = "sata"
	SCSI   DiskKind = "scsi"
)

// Disk is a disk of a machine, a sparse file. An existing file of the same size is kept with its content.
type Disk struct {
	Kind    DiskKind
	SizeMiB int    // default 4096
	Sector  int    // bytes of a logical block, 512 (default) or 4096; SATA has 512 only
	Serial  string // default NAME-diskN
	WWN     uint64 // SATA and SCSI only; 0: none
	Model   string // SATA and SCSI only; "": QEMU's
	SSD     bool   // SATA and SCSI only: reports itself as not rotating
	RPM     int    // SATA and SCSI only: reported rotation rate, 0: none; not with SSD
	Data    bool   // firmware is never told to boot from it
	File    string // default DIR/nodes/NAME/diskN.raw
}

// SMBIOS identity of a machine; empty fields get values made from its name.
type SMBIOS struct {
	Manufacturer string
	Product      string
	Serial       string
	SKU          string
	AssetTag     string
	UUID         string
}

// Override is what becomes of the boot selector after a boot that used it.
type Override string

const (
	// OneShot clears the selector, as a BMC does unless it was told "persistent". ipmi_sim drops that flag, so the
	// rack cannot tell; since an unset selector means disk first, "disk, persistent" comes to the same thing.
	OneShot    Override = "once"
	Persistent Override = "persistent"
)

// BMCConfig is the access to a machine's BMC.
type BMCConfig struct {
	Address  string // default 192.168.77.201 and up, port 623
	User     string // default DefaultUser
	Password string // default DefaultPassword
}

// Direct is a kernel that QEMU itself puts into the machine's memory, for tests of what runs in a ramdisk and not of how
// it got there. It is booted at every start and reset, unless the selector was SelectDisk when the power was switched on.
type Direct struct {
	Kernel    string // file
	Initramfs string // file
	Params    string // kernel command line
}

// NodeConfig describes a machine. Only Name is required.
type NodeConfig struct {
	Name      string
	Firmware  Firmware // default BIOS
	NetBoot   NetBoot  // default NICROM
	NIC       string   // QEMU device, default virtio-net-pci (e1000, e1000e, … for others)
	MAC       string   // default 52:54:00:77:00:01 and up
	MemoryMiB int      // default 512 for BIOS, 768 for UEFI; at least 128
	Disks     []Disk   // default one virtio disk
	Override  Override // default OneShot
	SMBIOS    SMBIOS
	BMC       BMCConfig
	// SecureBoot has OVMF start only what is signed for Microsoft's keys. UEFI only.
	SecureBoot bool
	Direct     *Direct  // nil: firmware boots from network or disk
	Clock      string   // what the machine's clock shows at power-on, as QEMU's -rtc base=; default "utc", the right time
	Arguments  []string // further arguments of QEMU
}

// Config of a rack.
type Config struct {
	Dir   string // everything that the rack writes is in here; made if absent
	Nodes []NodeConfig
	// Accel is "tcg", "kvm", or "" to use KVM only if a probe guest really boots under it; the answer is kept in Dir.
	Accel string
}

// maxDir keeps the paths of the rack's Unix sockets below the 108 bytes that the kernel allows.
const maxDir = 80

// maxSerial is what virtio and NVMe have room for.
const maxSerial = 20

var nodeName = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,12}$`)

// complete returns a copy of the configuration with all defaults filled in, or what is wrong with it.
func (c Config) complete() (Config, error) {
	dir, err := filepath.Abs(c.Dir)
	if err != nil || c.Dir == "" {
		return c, fmt.Errorf("rack: a directory is required")
	}
	if len(dir) > maxDir || strings.ContainsAny(dir, " \"'\\,\n") {
		return c, fmt.Errorf("rack: directory %q must be at most %d characters long and hold no blanks, quotes or commas", dir, maxDir)
	}
	c.Dir = dir
	switch c.Accel {
	case "", "tcg", "kvm":
	default:
		return c, fmt.Errorf("rack: accelerator %q is neither tcg nor kvm", c.Accel)
	}
	if len(c.Nodes) > 50 {
		return c, fmt.Errorf("rack: %d machines, at most 50 fit", len(c.Nodes))
	}
	nodes := make([]NodeConfig, 0, len(c.Nodes))
	names, addresses := map[string]bool{}, map[string]bool{}
	for i, n := range c.Nodes {
		n, err := n.complete(dir, i)
		if err != nil {
			return c, err
		}
		if names[n.Name] || addresses[n.BMC.Address] {
			return c, fmt.Errorf("machine %s: its name or BMC address %s is taken by another machine", n.Name, n.BMC.Address)
		}
		names[n.Name], addresses[n.BMC.Address] = true, true
		nodes = append(nodes, n)
	}
	c.Nodes = nodes
	return c, nil
}

func (n NodeConfig) complete(dir string, index int) (NodeConfig, error) {
	if !nodeName.MatchString(n.Name) {
		return n, fmt.Errorf("machine %d: name %q must be lower-case letters, digits and hyphens, at most 13", index, n.Name)
	}
	setDefault(&n.Firmware, BIOS)
	setDefault(&n.NetBoot, NICROM)
	setDefault(&n.NIC, "virtio-net-pci")
	setDefault(&n.MAC, fmt.Sprintf("52:54:00:77:00:%02x", index+1))
	setDefault(&n.Override, OneShot)
	setDefault(&n.Clock, "utc")
	setDefault(&n.BMC.Address, fmt.Sprintf("192.168.77.%d", firstBMC+index))
	setDefault(&n.BMC.User, DefaultUser)
	setDefault(&n.BMC.Password, DefaultPassword)
	setDefault(&n.SMBIOS.Manufacturer, "Ferric")
	setDefault(&n.SMBIOS.Product, "Virtual Machine "+string(n.Firmware))
	setDefault(&n.SMBIOS.Serial, "SN-"+n.Name)
	setDefault(&n.SMBIOS.SKU, "lab")
	setDefault(&n.SMBIOS.AssetTag, "asset-"+n.Name)
	setDefault(&n.SMBIOS.UUID, n.uuid())
	if n.MemoryMiB == 0 {
		n.MemoryMiB = map[Firmware]int{BIOS: 512, UEFI: 768}[n.Firmware]
	}
	if n.Disks == nil {
		n.Disks = []Disk{{Kind: Virtio}}
	}
	disks := make([]Disk, 0, len(n.Disks))
	for i, d := range n.Disks {
		setDefault(&d.Kind, Virtio)
		setDefault(&d.SizeMiB, 4096)
		setDefault(&d.Sector, 512)
		setDefault(&d.Serial, fmt.Sprintf("%s-disk%d", n.Name, i))
		setDefault(&d.File, filepath.Join(dir, "nodes", n.Name, fmt.Sprintf("disk%d.raw", i)))
		disks = append(disks, d)
	}
	n.Disks = disks
	return n, n.validate()
}

func (n NodeConfig) validate() error {
	bad := func(format string, args ...any) error {
		return fmt.Errorf("machine %s: "+format, append([]any{n.Name}, args...)...)
	}
	if n.Firmware != BIOS && n.Firmware != UEFI {
		return bad("firmware %q is neither bios nor uefi", n.Firmware)
	}
	switch n.NetBoot {
	case NICROM:
	case FirmwarePXE, FirmwareHTTP:
		if n.Firmware != UEFI {
			return bad("SeaBIOS has no network boot of its own: %q needs uefi", n.NetBoot)
		}
	default:
		return bad("network boot %q is none of rom, pxe, http", n.NetBoot)
	}
	if n.SecureBoot && n.Firmware != UEFI {
		return bad("SeaBIOS has no Secure Boot: it needs uefi")
	}
	if n.Override != OneShot && n.Override != Persistent {
		return bad("override %q is neither once nor persistent", n.Override)
	}
	if _, err := net.ParseMAC(n.MAC); err != nil {
		return bad("%v", err)
	}
	if addr, err := netip.ParseAddr(n.BMC.Address); err != nil || !netip.MustParsePrefix(Prefix).Contains(addr) {
		return bad("BMC address %q is not in %s", n.BMC.Address, Prefix)
	}
	for _, s := range []string{n.BMC.User, n.BMC.Password} {
		if len(s) > 16 || strings.ContainsAny(s, "\"\\\n ") {
			return bad("BMC user and password hold at most 16 characters and no blanks, quotes or backslashes")
		}
	}
	if _, err := uuid.Parse(n.SMBIOS.UUID); err != nil {
		return bad("UUID %q: %v", n.SMBIOS.UUID, err)
	}
	if n.MemoryMiB < 128 {
		return bad("%d MiB of memory, at least 128 are needed", n.MemoryMiB)
	}
	sata := 0
	for _, d := range n.Disks {
		switch d.Kind {
		case Virtio, NVMe, SCSI:
		case SATA:
			sata++
		default:
			return bad("disk kind %q is none of virtio, nvme, sata, scsi", d.Kind)
		}
		if len(d.Serial) > maxSerial {
			return bad("disk serial number %q is longer than %d characters", d.Serial, maxSerial)
		}
		if d.SizeMiB < 1 {
			return bad("disk %s has %d MiB", d.Serial, d.SizeMiB)
		}
		if d.Sector != 512 && (d.Sector != 4096 || d.Kind == SATA) {
			return bad("disk %s on %s cannot have sectors of %d bytes", d.Serial, d.Kind, d.Sector)
		}
		// ATA8-ACS, IDENTIFY DEVICE word 217: 1 is no rotation, 0401h to FFFEh are rates.
		if d.RPM != 0 && (d.SSD || d.RPM < 0x401 || d.RPM > 0xfffe) {
			return bad("disk %s cannot rotate at %d per minute", d.Serial, d.RPM)
		}
		for _, s := range []string{d.File, d.Serial, d.Model} {
			if strings.ContainsAny(s, ",\n") {
				return bad("%q holds a comma", s)
			}
		}
	}
	if sata > 6 {
		return bad("%d SATA disks, the controller has 6 ports", sata)
	}
	for _, s := range []string{n.SMBIOS.Manufacturer, n.SMBIOS.Product, n.SMBIOS.Serial, n.SMBIOS.SKU, n.SMBIOS.AssetTag, n.NIC, n.Clock} {
		if strings.ContainsAny(s, ",\n") {
			return bad("%q holds a comma", s)
		}
	}
	return nil
}

// uuid gives each name the same UUID in every rack.
func (n NodeConfig) uuid() string {
	return uuid.NewHash(sha256.New(), uuid.NameSpaceDNS, []byte(n.Name+".lab.ferric"), 5).String()
}

// guid is the BMC's GUID in ipmi_sim's notation.
func (n NodeConfig) guid() string { return strings.ReplaceAll(n.SMBIOS.UUID, "-", "") }

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// DefaultDir is the rack directory of "ferric lab up": $XDG_STATE_HOME/ferric/lab, else ferric/lab in the user's cache.
func DefaultDir() (string, error) {
	if state := os.Getenv("XDG_STATE_HOME"); state != "" {
		return filepath.Join(state, "ferric", "lab"), nil
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("find a directory for the rack: %w", err)
	}
	return filepath.Join(cache, "ferric", "lab"), nil
}
