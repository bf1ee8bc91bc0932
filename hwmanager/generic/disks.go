package generic

import (
	"context"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"sort"
	"strconv"
	"strings"

	"ferric/api/ipa"
	"ferric/hwmanager"
)

// sectorUnit is the unit of the size attribute of a block device in sysfs,
// whatever its sectors are.
const sectorUnit = 512

// notDisks are names of block devices that are no disks of the machine: RAM
// disks, loops, floppies, optical drives, flash translation layers.
var notDisks = regexp.MustCompile(`^(ram|zram|loop|fd|sr|scd|mtdblock|nbd)\d+$`)

// hctlName is the name of a SCSI device: host, channel, target, LUN.
var hctlName = regexp.MustCompile(`^\d+:\d+:\d+:\d+$`)

// BlockDevices implements hwmanager.DiskLister: whole disks, assembled arrays
// and multipath devices, and their partitions if wanted, disks in the order of
// their names, each followed by its partitions.
func (m *Manager) BlockDevices(ctx context.Context, h *hwmanager.Host, partitions bool) ([]ipa.BlockDevice, error) {
	root := filepath.Join(h.Sys, "block")
	entries, err := os.ReadDir(root)
	if err != nil {
		return nil, fmt.Errorf("list block devices: %w", err)
	}
	names := make([]string, 0, len(entries))
	for _, e := range entries {
		names = append(names, e.Name())
	}
	sort.Slice(names, func(i, j int) bool { return diskLess(names[i], names[j]) })

	var disks []ipa.BlockDevice
	for _, name := range names {
		dir := filepath.Join(root, name)
		if !isDisk(dir, name) {
			continue
		}
		disk := readDisk(h, dir, name)
		if disk.Size == 0 {
			continue
		}
		disks = append(disks, disk)
		if partitions {
			disks = append(disks, partitionsOf(dir, disk)...)
		}
	}
	return filtered(ctx, m, h, disks)
}

// diskLess orders as the kernel counts: sda, sdb, …, sdz, sdaa.
func diskLess(a, b string) bool {
	if len(a) != len(b) {
		return len(a) < len(b)
	}
	return a < b
}

func isDisk(dir, name string) bool {
	switch {
	case notDisks.MatchString(name):
		return false
	case readText(dir, "hidden") == "1": // one path of a multipath NVMe disk, without a device node
		return false
	case strings.HasPrefix(name, "dm-"):
		return strings.HasPrefix(readText(dir, "dm/uuid"), "mpath-")
	case readText(dir, "device/type") == "5": // SCSI peripheral type: CD-ROM
		return false
	}
	return !isMultipathMember(dir)
}

func isMultipathMember(dir string) bool {
	holders, _ := os.ReadDir(filepath.Join(dir, "holders"))
	for _, holder := range holders {
		if strings.HasPrefix(readText(dir, "holders", holder.Name(), "dm/uuid"), "mpath-") {
			return true
		}
	}
	return false
}

// readDisk collects the facts of one disk. Where they stand differs by
// transport (lab notes, section "Disks in the guest").
func readDisk(h *hwmanager.Host, dir, name string) ipa.BlockDevice {
	identity := identityOf(dir)
	disk := ipa.BlockDevice{
		Name:            "/dev/" + deviceName(name),
		Size:            readSize(dir),
		Rotational:      readText(dir, "queue/rotational") == "1",
		Model:           optional(readText(identity, "device/model")),
		Vendor:          optional(readText(identity, "device/vendor")),
		Serial:          optional(readSerial(identity)),
		LogicalSectors:  int(readInt(dir, "queue/logical_block_size")),
		PhysicalSectors: int(readInt(dir, "queue/physical_block_size")),
	}
	disk.Identity = hwmanager.DiskIdentity(dir)
	disk.WWN, disk.WWNWithExtension, disk.WWNVendorExtension = wwns(firstText(identity, "wwid", "device/wwid"))
	if target, err := filepath.EvalSymlinks(filepath.Join(dir, "device")); err == nil {
		if base := filepath.Base(target); hctlName.MatchString(base) {
			disk.HCTL = &base
		}
	}
	if path, err := topology(h.Sys, dir); err == nil {
		disk.Tran = optional(transport(path))
		if byPath := path.byPath(); byPath != "" {
			disk.ByPath = optional("/dev/disk/by-path/" + byPath)
		}
	}
	return disk
}

// identityOf is where a disk's identity stands: for a multipath device with one
// of its paths.
func identityOf(dir string) string {
	if strings.HasPrefix(readText(dir, "dm/uuid"), "mpath-") {
		if paths, err := os.ReadDir(filepath.Join(dir, "slaves")); err == nil && len(paths) > 0 {
			return filepath.Join(dir, "slaves", paths[0].Name())
		}
	}
	return dir
}

// deviceName is the name below /dev. Multipath devices keep the kernel's,
// too: what udev calls them exists only where udev runs.
func deviceName(name string) string {
	// The kernel writes slashes in names as "!" (cciss!c0d0).
	return strings.ReplaceAll(name, "!", "/")
}

// readSerial is the serial number: an attribute of virtio and NVMe disks, and
// page 0x80 of the vital product data for SCSI and ATA (SPC-4, 7.8.12: four
// bytes of header, then the number, padded with blanks).
func readSerial(dir string) string {
	if s := firstText(dir, "serial", "device/serial"); s != "" {
		return s
	}
	page, err := os.ReadFile(filepath.Join(dir, "device/vpd_pg80"))
	if err != nil || len(page) <= 4 {
		return ""
	}
	return clean(string(page[4:]))
}

// wwns takes the kernel's world-wide name apart. NAA names get the notation
// of udev: a name of 16 bytes has a vendor extension in its second half.
func wwns(id string) (wwn, withExtension, extension *string) {
	hex, isNAA := strings.CutPrefix(id, "naa.")
	switch {
	case id == "" || strings.HasPrefix(id, "t10."):
		return nil, nil, nil // T10 vendor identification is no world-wide name
	case !isNAA:
		return &id, &id, nil
	case len(hex) == 32:
		return optional("0x" + hex[:16]), optional("0x" + hex), optional("0x" + hex[16:])
	}
	name := "0x" + hex
	return &name, &name, nil
}

// partitionsOf are the partitions of a disk as block devices of their own;
// what identifies the disk stays with the disk.
func partitionsOf(dir string, disk ipa.BlockDevice) []ipa.BlockDevice {
	entries, _ := os.ReadDir(dir)
	var parts []ipa.BlockDevice
	for _, e := range entries {
		sub := filepath.Join(dir, e.Name())
		if _, err := os.Stat(filepath.Join(sub, "partition")); err != nil {
			continue
		}
		parts = append(parts, ipa.BlockDevice{
			Name:            "/dev/" + deviceName(e.Name()),
			Size:            readSize(sub),
			Rotational:      disk.Rotational,
			LogicalSectors:  disk.LogicalSectors,
			PhysicalSectors: disk.PhysicalSectors,
			Identity:        disk.Identity,
		})
	}
	sort.Slice(parts, func(i, j int) bool { return diskLess(parts[i].Name, parts[j].Name) })
	return parts
}

// readText is an attribute without blanks around it; "" if it cannot be read.
func readText(parts ...string) string {
	data, err := os.ReadFile(filepath.Join(parts...))
	if err != nil {
		return ""
	}
	return clean(string(data))
}

func clean(s string) string {
	return strings.TrimSpace(strings.ToValidUTF8(strings.Trim(s, "\x00 \n\t"), "?"))
}

func firstText(dir string, names ...string) string {
	for _, name := range names {
		if s := readText(dir, name); s != "" {
			return s
		}
	}
	return ""
}

// readSize is the size of a block device in bytes; 0 if it has none that can be.
func readSize(dir string) int64 {
	sectors := readInt(dir, "size")
	if sectors < 0 || sectors > math.MaxInt64/sectorUnit {
		return 0
	}
	return sectors * sectorUnit
}

// readInt is a number in an attribute; 0 if there is none.
func readInt(parts ...string) int64 {
	n, err := strconv.ParseInt(readText(parts...), 0, 64)
	if err != nil {
		return 0
	}
	return n
}

// optional is nil for "".
func optional(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}
