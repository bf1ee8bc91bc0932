package generic

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"ferric/api/ipa"
	"ferric/hwmanager"
	"ferric/images/disk"
	"ferric/images/partition"
	"ferric/images/volume"
)

// place is a partition, or a disk without partitions, that may hold a file
// system.
type place struct {
	name     string // as it is called in messages
	number   int
	target   disk.Target
	info     volume.Info
	label    string // of the file system
	partUUID string
	partName string
	foreign  string // what it is instead of a file system
}

// rootDevice is the disk that holds the system: that of the image written in
// this boot, else the one that an image would go to.
func (m *Manager) rootDevice(ctx context.Context, h *hwmanager.Host, node hwmanager.Node) (ipa.BlockDevice, error) {
	if last := h.Image.Last(); last != nil {
		disks, err := m.candidates(ctx, h, node)
		if err != nil {
			return ipa.BlockDevice{}, ipa.DeviceNotFound.New("%v", err)
		}
		for _, d := range disks {
			if d.Name == last.Device {
				return d, nil
			}
		}
		return ipa.BlockDevice{}, ipa.DeviceNotFound.New("%s, to which the image was written, is none of the %d disks (%s)", last.Device, len(disks), nameList(disks))
	}
	return m.InstallDevice(ctx, h, node)
}

// placesOn are the partitions of a disk as the kernel has them, by number.
func placesOn(ctx context.Context, h *hwmanager.Host, target disk.Target, name string) ([]place, error) {
	table, err := partition.List(target.Path())
	if err != nil {
		return nil, err
	}
	dir := filepath.Join(h.Sys, "class/block", strings.ReplaceAll(strings.TrimPrefix(name, "/dev/"), "/", "!"))
	var numbers []int
	found, err := filepath.Glob(filepath.Join(dir, "*/partition"))
	if err != nil {
		return nil, err
	}
	for _, at := range found {
		numbers = append(numbers, int(readInt(at)))
	}
	slices.Sort(numbers)
	var places []place
	for _, n := range numbers {
		p := place{name: disk.Node(name, n), number: n, target: target.Partition(n)}
		kind := ""
		for _, entry := range table.Partitions {
			if entry.Number == n {
				p.partUUID, p.partName, kind = entry.UUID, entry.Name, entry.Type
			}
		}
		if err := waitForNode(ctx, p.target.Path()); err != nil {
			return nil, err
		}
		if err := p.identify(kind); err != nil {
			return nil, err
		}
		places = append(places, p)
	}
	return places, nil
}

// Types of partitions of LVM (systemd's Discoverable Partitions Specification
// has the GUID; the MBR type is that of lvm(8)).
const (
	gptLVM = "E6D6D379-F507-44C2-A23C-238F2A3DF928"
	mbrLVM = "0x8e"
)

// identify looks at what the place holds.
func (p *place) identify(kind string) error {
	d, err := disk.OpenReadOnly(p.target.Path())
	if err != nil {
		return err
	}
	defer d.Close()
	switch {
	case kind == gptLVM || kind == mbrLVM:
		p.foreign = "a part of LVM"
	default:
		p.foreign = foreignTo(d, d.Size)
	}
	if p.foreign == "" {
		p.info, _ = volume.Identify(d, d.Size)
		p.label = volume.Label(d, d.Size)
	}
	return nil
}

// foreignTo tells what is no file system itself, but a part of something that
// holds some: "" for nothing of that kind.
func foreignTo(r io.ReaderAt, size int64) string {
	// lvm(8): the label is in one of the first four sectors, its type at byte 24.
	for sector := range int64(4) {
		label := make([]byte, 32)
		if _, err := r.ReadAt(label, sector*512); err == nil && bytes.HasPrefix(label, []byte("LABELONE")) && string(label[24:32]) == "LVM2 001" {
			return "a part of LVM"
		}
	}
	magic := make([]byte, 6)
	if _, err := r.ReadAt(magic, 0); err == nil && string(magic) == "LUKS\xba\xbe" { // LUKS2 on-disk format, section 2.1
		return "encrypted (LUKS)"
	}
	// Of arrays (linux/raid/md_p.h): versions 0.90, 1.0, 1.1, 1.2. The first two
	// are at the end, where the file system seems to be of its own.
	for _, at := range []int64{size&^(64<<10-1) - 64<<10, (size/512 - 16) &^ 7 * 512, 0, 4096} {
		if _, err := r.ReadAt(magic[:4], max(at, 0)); err == nil && binary.LittleEndian.Uint32(magic) == 0xa92b4efc {
			return "a part of a software RAID"
		}
	}
	return ""
}

// usable is nil if a file can be written there.
func (p place) usable() error {
	switch {
	case p.foreign != "":
		return fmt.Errorf("%s is %s, which is not opened here: name a partition with a file system, or use an image that has its files on one", p.name, p.foreign)
	case p.info.Kind == "" || p.info.Kind == volume.Swap:
		return fmt.Errorf("%s has no file system that is known (ext4, xfs, btrfs, vfat)", p.name)
	}
	return nil
}

// named is the place that a file names, nil if it names none.
func (in *injector) named(ctx context.Context, f injection) (*place, error) {
	if f.number > 0 {
		var all []string
		for i := range in.places {
			if in.places[i].number == f.number {
				return &in.places[i], nil
			}
			all = append(all, fmt.Sprint(in.places[i].number))
		}
		return nil, ipa.DeviceNotFound.New("%s has no partition %d, only %s", in.device.Name, f.number, strings.Join(all, ", "))
	}
	if f.device == "" {
		return nil, nil
	}
	if strings.HasPrefix(f.device, "/dev/disk/") {
		p := in.bySource(f.device)
		if p == nil {
			return nil, ipa.DeviceNotFound.New("none of the partitions of %s is %s", in.device.Name, f.device)
		}
		return p, nil
	}
	return in.byPath(ctx, f.device)
}

// byPath is a partition or disk by its device node, which may be on another disk
// than the system.
func (in *injector) byPath(ctx context.Context, name string) (*place, error) {
	real, err := filepath.EvalSymlinks(in.h.DevicePath(name))
	if err != nil {
		if strings.HasPrefix(name, "/dev/mapper/") || strings.Count(name, "/") > 2 {
			return nil, ipa.DeviceNotFound.New("there is no %s; LVM and encrypted volumes are not opened here", name)
		}
		return nil, ipa.DeviceNotFound.New("there is no %s", name)
	}
	for i, p := range in.places {
		if at, err := filepath.EvalSymlinks(p.target.Path()); err == nil && at == real {
			return &in.places[i], nil
		}
	}
	devices, err := in.m.BlockDevices(ctx, in.h, true)
	if err != nil {
		return nil, ipa.DeviceNotFound.New("%v", err)
	}
	parent := ipa.BlockDevice{}
	for _, d := range append([]ipa.BlockDevice{in.device}, devices...) {
		sys := filepath.Join(in.h.Sys, "class/block", filepath.Base(d.Name))
		if _, err := os.Stat(filepath.Join(sys, "partition")); err != nil {
			parent = d // partitions follow their disk
		}
		if in.h.DevicePath(d.Name) != real {
			continue
		}
		kept, err := withoutSkipped(in.h, []ipa.BlockDevice{parent}, in.node)
		if err != nil {
			return nil, ipa.ProtectedDevice.New("%s: %v", name, err)
		}
		if len(kept) == 0 {
			return nil, ipa.ProtectedDevice.New("%s is on one of the skip_block_devices of the node", name)
		}
		target, err := in.h.Fence(d)
		if err != nil {
			return nil, err
		}
		p := &place{name: d.Name, target: target}
		if err := p.identify(""); err != nil {
			return nil, ipa.DeviceNotFound.New("%v", err)
		}
		return p, nil
	}
	return nil, ipa.DeviceNotFound.New("%s is neither a disk nor a partition", name)
}

// bySource is the partition of the root device that a table of file systems or
// a link of udev means: UUID=, LABEL=, PARTUUID=, PARTLABEL=, /dev/disk/by-….
// Names that depend on what else is in the machine are not taken: nil.
func (in *injector) bySource(source string) *place {
	key, value, ok := strings.Cut(source, "=")
	if !ok {
		dir, base := path.Split(source)
		key, value = strings.ToUpper(strings.TrimPrefix(path.Base(dir), "by-")), unescapeLink(base)
		if path.Dir(path.Clean(dir)) != "/dev/disk" {
			return nil
		}
	}
	value = strings.Trim(value, `"'`)
	if value == "" {
		return nil
	}
	for i, p := range in.places {
		same := false
		switch key {
		case "UUID":
			same = strings.EqualFold(p.info.UUID, value)
		case "LABEL":
			same = p.label == value
		case "PARTUUID":
			same = strings.EqualFold(p.partUUID, value)
		case "PARTLABEL":
			same = p.partName == value
		}
		if same {
			return &in.places[i]
		}
	}
	return nil
}

// unescapeLink undoes the notation of blanks and the like in names of udev's links
// ("EFI\x20System\x20Partition", systemd.unit(5), string escaping).
func unescapeLink(name string) string {
	var text strings.Builder
	for rest := name; rest != ""; {
		if escaped, ok := strings.CutPrefix(rest, `\x`); ok && len(escaped) >= 2 {
			if b, err := strconv.ParseUint(escaped[:2], 16, 8); err == nil {
				text.WriteByte(byte(b))
				rest = escaped[2:]
				continue
			}
		}
		text.WriteByte(rest[0])
		rest = rest[1:]
	}
	return text.String()
}
