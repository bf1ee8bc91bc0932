// Package efi makes a written disk known to UEFI firmware: it finds the boot
// loaders on the EFI system partition and writes boot entries for them.
package efi

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"

	"ferric/images/disk"
	"ferric/images/fat"
	"ferric/images/partition"
)

var (
	// ErrNoESP: the disk has no EFI system partition.
	ErrNoESP = errors.New("no EFI system partition")
	// ErrNoLoader: the EFI system partition holds no boot loader that is known.
	ErrNoLoader = errors.New("no boot loader")
	// ErrFirmware: the firmware did not keep what was written.
	ErrFirmware = errors.New("firmware did not keep a boot entry")
	// ErrFull: the firmware has no room for another variable.
	ErrFull = errors.New("the memory of the firmware for variables is full")
)

// Entry is one boot entry.
type Entry struct {
	Number uint16 // as in Boot0003
	Label  string
	Loader string // \EFI\BOOT\BOOTX64.EFI
}

// loader is a file to boot, with the label of its entry, "" if it has none.
type loader struct {
	path  string // with slashes
	label string
}

// Install finds the loaders on the EFI system partition of device and writes a
// boot entry for each below efivars (/sys/firmware/efi/efivars), first in the
// boot order; older entries with the same label go. espUUID (may be "") names
// the partition, by its own or its file system's UUID, where the table does
// not mark one. It fails with ErrNoESP or ErrNoLoader if there is nothing to
// boot.
func Install(ctx context.Context, efivars, device, espUUID string) ([]Entry, error) {
	d, table, err := readTable(device)
	if err != nil {
		return nil, err
	}
	defer d.Close()
	esp, err := findESP(d, table, espUUID)
	if err != nil {
		return nil, err
	}
	options, err := optionsFor(d, table, esp, io.NewSectionReader(d, esp.Start, esp.Size), "")
	if err != nil {
		return nil, err
	}
	return store{efivars}.install(ctx, options)
}

// InstallMirror is Install for disks whose EFI system partitions the array at
// mirror makes of one file system: entries for each of them, told apart by the
// ends of their labels, the first disk's first (agent contract, section "Boot on
// md").
func InstallMirror(ctx context.Context, efivars, mirror string, devices []string) ([]Entry, error) {
	// What the array has written need not be in what is cached of a disk.
	content, err := disk.OpenReadOnly(mirror)
	if err != nil {
		return nil, fmt.Errorf("boot entries: %w", err)
	}
	defer content.Close()
	var all []loadOption
	for i, device := range devices {
		options, err := mirrored(device, io.NewSectionReader(content, 0, content.Size), fmt.Sprintf(" (RAID, part%d)", i))
		if err != nil {
			return nil, err
		}
		all = append(all, options...)
	}
	return store{efivars}.install(ctx, all)
}

// mirrored are the options for one disk of a mirror with that content.
func mirrored(device string, content *io.SectionReader, suffix string) ([]loadOption, error) {
	d, table, err := readTable(device)
	if err != nil {
		return nil, err
	}
	defer d.Close()
	esp, err := findESP(d, table, "")
	if err != nil {
		return nil, err
	}
	return optionsFor(d, table, esp, content, suffix)
}

func readTable(device string) (*disk.Device, *partition.Table, error) {
	d, err := disk.OpenReadOnly(device)
	if err != nil {
		return nil, nil, fmt.Errorf("boot entries: %w", err)
	}
	table, err := partition.Read(d)
	if err != nil {
		return nil, nil, errors.Join(fmt.Errorf("boot entries: %w", err), d.Close())
	}
	return d, table, nil
}

// optionsFor makes an option for each loader in content, which is what the partition
// esp of d holds.
func optionsFor(d *disk.Device, table *partition.Table, esp partition.Partition, content *io.SectionReader, suffix string) ([]loadOption, error) {
	loaders, err := findLoaders(content)
	if err != nil {
		return nil, fmt.Errorf("partition %d of %s: %w", esp.Number, d.Path, err)
	}
	options := make([]loadOption, 0, len(loaders))
	for i, l := range loaders {
		if l.label == "" {
			l.label = fmt.Sprintf("ironic%d", i+1)
		}
		l.label += suffix
		o, err := newLoadOption(l, esp, table, int64(d.Sector))
		if err != nil {
			return nil, fmt.Errorf("boot entry %s: %w", l.label, err)
		}
		options = append(options, o)
	}
	return options, nil
}

func findESP(d *disk.Device, table *partition.Table, uuid string) (partition.Partition, error) {
	for _, p := range table.Partitions {
		if p.IsESP() {
			return p, nil
		}
	}
	for _, p := range table.Partitions {
		if uuid == "" {
			break
		}
		fs, err := fat.Open(io.NewSectionReader(d, p.Start, p.Size), p.Size)
		if err == nil && (strings.EqualFold(fs.ID, uuid) || strings.EqualFold(p.UUID, uuid)) {
			return p, nil
		}
	}
	return partition.Partition{}, fmt.Errorf("%w on %s", ErrNoESP, d.Path)
}

// Names of loaders (agent contract, section "install_bootloader"); case does
// not count. The first file of the CSV kind wins alone.
var (
	csvNames    = [...]string{"bootx64.csv", "bootaa64.csv", "boot.csv"}
	loaderNames = [...]string{
		"bootia32.efi", "bootx64.efi", "bootia64.efi", "bootarm.efi", "bootaa64.efi",
		"bootriscv32.efi", "bootriscv64.efi", "bootriscv128.efi", "grubaa64.efi", "winload.efi",
	}
)

const maxCSV = 64 << 10

// findLoaders looks through the file system in r, in the order of the paths.
func findLoaders(r *io.SectionReader) ([]loader, error) {
	fs, err := fat.Open(r, r.Size())
	if err != nil {
		return nil, err
	}
	var found, tables []string
	err = fs.Walk(func(p string, e fat.Entry) error {
		name := strings.ToLower(e.Name)
		switch {
		case e.Dir:
		case slices.Contains(csvNames[:], name):
			tables = append(tables, p)
		case slices.Contains(loaderNames[:], name):
			found = append(found, p)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	byPath := func(a, b string) int { return cmp.Compare(strings.ToLower(a), strings.ToLower(b)) }
	slices.SortFunc(found, byPath)
	slices.SortFunc(tables, byPath)
	for _, p := range tables {
		text, err := fs.ReadFile(p, maxCSV)
		if err != nil {
			return nil, err
		}
		l, ok := parseCSV(text)
		if !ok {
			continue
		}
		beside, err := fs.ReadDir(path.Dir(p))
		if err != nil {
			return nil, err
		}
		// A table that names what is not there would be an entry that boots nothing.
		if slices.ContainsFunc(beside, func(e fat.Entry) bool { return !e.Dir && strings.EqualFold(e.Name, l.path) }) {
			l.path = path.Join(path.Dir(p), l.path)
			return []loader{l}, nil
		}
	}
	loaders := make([]loader, 0, len(found))
	for _, p := range found {
		loaders = append(loaders, loader{path: p})
	}
	if len(loaders) == 0 {
		return nil, ErrNoLoader
	}
	return loaders, nil
}

// parseCSV reads the first line of shim's table of loaders: file, label, ...
// in UTF-16, little-endian where no byte order mark says otherwise.
func parseCSV(b []byte) (loader, bool) {
	text := decodeUTF16(b)
	line, _, _ := strings.Cut(strings.TrimLeft(text, "\r\n"), "\n")
	fields := strings.SplitN(line, ",", 4)
	if len(fields) < 2 {
		return loader{}, false
	}
	l := loader{path: strings.TrimSpace(fields[0]), label: strings.TrimSpace(fields[1])}
	ok := l.path != "" && l.label != "" && !strings.ContainsAny(l.path, "/\\\x00") && l.path != ".." && !strings.Contains(l.label, "\x00")
	return l, ok
}
