package efi

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"slices"
)

// option is a boot entry as the firmware has it.
type option struct {
	name   string // of the variable, Boot0003
	number uint16
	label  string
	path   string // as text
	err    error  // why the entry cannot be read; nothing but name and number is known
}

// Clean deletes the boot entries below efivars whose device path, as text
// (PathText), matches, and takes them out of BootOrder and BootNext. It returns
// them, and what it could not read and left alone. That the firmware did what
// it was told is read back; ErrFirmware if not.
func Clean(ctx context.Context, efivars string, match func(path string) bool) (deleted []Entry, unread []error, err error) {
	s := store{efivars}
	options, err := s.options()
	if err != nil {
		return nil, nil, err
	}
	var gone []option
	for _, o := range options {
		switch {
		case o.err != nil:
			unread = append(unread, o.err)
		case match(o.path):
			gone = append(gone, o)
		}
	}
	if len(gone) == 0 {
		return nil, unread, nil
	}
	// First nothing refers to the entries, then they go: an interruption leaves
	// entries that are not tried, instead of numbers without an entry.
	if err := s.forget(gone); err != nil {
		return nil, unread, err
	}
	for _, o := range gone {
		if ctx.Err() != nil {
			return deleted, unread, context.Cause(ctx)
		}
		if err := s.remove(o.name); err != nil {
			return deleted, unread, err
		}
		deleted = append(deleted, Entry{Number: o.number, Label: o.label, Loader: o.path})
	}
	return deleted, unread, s.lacks(gone)
}

// options are all boot entries, by number.
func (s store) options() ([]option, error) {
	entries, err := s.bootEntries()
	if err != nil {
		return nil, err
	}
	var options []option
	for _, number := range slices.Sorted(maps.Keys(entries)) {
		o := option{name: bootName(number), number: number}
		data, err := s.read(o.name)
		if err == nil {
			o.label, o.path, err = parseOption(data)
		}
		if err != nil {
			o.err = fmt.Errorf("%s: %w", o.name, err)
		}
		options = append(options, o)
	}
	return options, nil
}

// parseOption reads an EFI_LOAD_OPTION (UEFI 2.10, section 3.1.3): attributes,
// length of the device path, label up to a NUL, device path, optional data.
func parseOption(data []byte) (label, path string, err error) {
	label, ok := labelOf(data)
	if !ok {
		return "", "", errors.New("malformed boot entry: its label has no end")
	}
	size := int(binary.LittleEndian.Uint16(data[4:]))
	rest := data[6:]
	for len(rest) >= 2 && (rest[0] != 0 || rest[1] != 0) {
		rest = rest[2:]
	}
	rest = rest[2:]
	if size > len(rest) {
		return "", "", fmt.Errorf("malformed boot entry: a device path of %d bytes in %d", size, len(rest))
	}
	path, err = PathText(rest[:size])
	return printable(label), path, err
}

// forget takes entries out of BootOrder and BootNext.
func (s store) forget(gone []option) error {
	isGone := func(n uint16) bool {
		return slices.ContainsFunc(gone, func(o option) bool { return o.number == n })
	}
	order, err := s.bootOrder()
	if err != nil {
		return err
	}
	kept := slices.DeleteFunc(slices.Clone(order), isGone)
	switch {
	case len(kept) == len(order):
	case len(kept) == 0: // a variable without data does not exist (UEFI 2.10, section 8.2)
		err = s.remove("BootOrder")
	default:
		var data []byte
		for _, n := range kept {
			data = binary.LittleEndian.AppendUint16(data, n)
		}
		err = s.write("BootOrder", data)
	}
	if err != nil {
		return err
	}
	next, err := s.read("BootNext")
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if len(next) == 2 && isGone(binary.LittleEndian.Uint16(next)) {
		return s.remove("BootNext")
	}
	return nil
}

// lacks is nil if the firmware has none of the entries any more.
func (s store) lacks(gone []option) error {
	order, err := s.bootOrder()
	if err != nil {
		return err
	}
	for _, o := range gone {
		if _, err := os.Lstat(s.file(o.name)); !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("%w: %s is still there after it was deleted", ErrFirmware, o.name)
		}
		if slices.Contains(order, o.number) {
			return fmt.Errorf("%w: BootOrder still has %s", ErrFirmware, o.name)
		}
	}
	return nil
}
