package efi

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

const (
	// globalGUID names the variables of the UEFI specification.
	globalGUID = "8be4df61-93ca-11d2-aa0d-00e098032b8c"
	// bootAttributes: non-volatile, boot-service and runtime access.
	bootAttributes = 7
	maxVariable    = 64 << 10
	// immutable is FS_IMMUTABLE_FL of linux/fs.h.
	immutable = 0x10
)

// store is the firmware's variables, as efivarfs shows them below root.
type store struct{ root string }

// install writes an entry for each option, under the number of an entry with
// the same label if there is one, and puts them first in BootOrder.
func (s store) install(ctx context.Context, options []loadOption) ([]Entry, error) {
	existing, err := s.bootEntries()
	if err != nil {
		return nil, err
	}
	order, err := s.bootOrder()
	if err != nil {
		return nil, err
	}
	var entries []Entry
	var first, gone []uint16
	for _, o := range options {
		if ctx.Err() != nil {
			return entries, context.Cause(ctx)
		}
		var same []uint16
		for n, label := range existing {
			if label == o.label {
				same = append(same, n)
			}
		}
		slices.Sort(same)
		number := uint16(0)
		if len(same) > 0 {
			number, gone = same[0], append(gone, same[1:]...)
		} else if number, err = freeNumber(existing); err != nil {
			return entries, err
		}
		for _, n := range same {
			delete(existing, n)
		}
		existing[number] = o.label + "\x00" // taken, and equal to no label
		if err := s.write(bootName(number), o.data); err != nil {
			return entries, err
		}
		first = append(first, number)
		entries = append(entries, Entry{Number: number, Label: o.label, Loader: o.loader})
	}
	var wanted []byte
	for _, n := range slices.Concat(first, order) {
		if !slices.Contains(gone, n) && !containsOrder(wanted, n) {
			wanted = binary.LittleEndian.AppendUint16(wanted, n)
		}
	}
	if err := s.write("BootOrder", wanted); err != nil {
		return entries, err
	}
	for _, n := range gone {
		if err := s.remove(bootName(n)); err != nil {
			return entries, err
		}
	}
	return entries, nil
}

func containsOrder(order []byte, n uint16) bool {
	for ; len(order) >= 2; order = order[2:] {
		if binary.LittleEndian.Uint16(order) == n {
			return true
		}
	}
	return false
}

func bootName(n uint16) string { return fmt.Sprintf("Boot%04X", n) }

func freeNumber(taken map[uint16]string) (uint16, error) {
	for n := range 1 << 16 {
		if _, ok := taken[uint16(n)]; !ok {
			return uint16(n), nil
		}
	}
	return 0, errors.New("all boot entry numbers are taken")
}

// bootEntries are the labels of all boot entries by number.
func (s store) bootEntries() (map[uint16]string, error) {
	files, err := os.ReadDir(s.root)
	if err != nil {
		return nil, fmt.Errorf("list EFI variables: %w", err)
	}
	entries := map[uint16]string{}
	for _, f := range files {
		name, guid, _ := strings.Cut(f.Name(), "-")
		digits, ok := strings.CutPrefix(name, "Boot")
		if !ok || len(digits) != 4 || !strings.EqualFold(guid, globalGUID) {
			continue
		}
		n, err := strconv.ParseUint(digits, 16, 16)
		if err != nil {
			continue
		}
		// An unreadable entry keeps its number.
		data, _ := s.read(name)
		label, _ := labelOf(data)
		entries[uint16(n)] = label
	}
	return entries, nil
}

func (s store) bootOrder() ([]uint16, error) {
	data, err := s.read("BootOrder")
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var order []uint16
	for ; len(data) >= 2; data = data[2:] {
		order = append(order, binary.LittleEndian.Uint16(data))
	}
	return order, nil
}

func (s store) file(name string) string { return filepath.Join(s.root, name+"-"+globalGUID) }

// read returns a variable's data, without the attributes in front of it.
func (s store) read(name string) ([]byte, error) {
	f, err := os.Open(s.file(name))
	if err != nil {
		return nil, fmt.Errorf("read EFI variable %s: %w", name, err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxVariable))
	if err != nil {
		return nil, fmt.Errorf("read EFI variable %s: %w", name, err)
	}
	if len(b) < 4 {
		return nil, fmt.Errorf("read EFI variable %s: only %d bytes", name, len(b))
	}
	return b[4:], nil
}

// write sets a variable and reads it back: firmware was seen to say yes and do
// nothing. The kernel takes a variable in one write.
func (s store) write(name string, data []byte) error {
	old, err := s.read(name)
	if err == nil && bytes.Equal(old, data) {
		return nil // spares the flash memory
	}
	fresh := errors.Is(err, fs.ErrNotExist)
	if err := mutable(s.file(name)); err != nil {
		return fmt.Errorf("write EFI variable %s: %w", name, err)
	}
	f, err := os.OpenFile(s.file(name), os.O_WRONLY|os.O_CREATE, 0o644)
	if err != nil {
		return fmt.Errorf("write EFI variable %s: %w", name, err)
	}
	content := append(binary.LittleEndian.AppendUint32(nil, bootAttributes), data...)
	_, err = f.Write(content)
	if info, serr := f.Stat(); err == nil && serr == nil && info.Size() > int64(len(content)) {
		// efivarfs replaces the content; elsewhere the old end is still there.
		err = f.Truncate(int64(len(content)))
	}
	if err = errors.Join(err, f.Close()); err != nil {
		if errors.Is(err, unix.ENOSPC) {
			err = fmt.Errorf("%w: %w", ErrFull, err)
		}
		if fresh {
			_ = os.Remove(s.file(name)) // the kernel may show one without content
		}
		return fmt.Errorf("write EFI variable %s: %w", name, err)
	}
	back, err := s.read(name)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrFirmware, err)
	}
	if !bytes.Equal(back, data) {
		return fmt.Errorf("%w: %s reads back differently", ErrFirmware, name)
	}
	return nil
}

func (s store) remove(name string) error {
	if err := mutable(s.file(name)); err != nil {
		return fmt.Errorf("remove EFI variable %s: %w", name, err)
	}
	if err := os.Remove(s.file(name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove EFI variable %s: %w", name, err)
	}
	return nil
}

// mutable clears the immutable flag, by which the kernel keeps variables from
// being removed by accident (Documentation/filesystems/efivarfs.rst).
func mutable(path string) error {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	flags, err := unix.IoctlGetUint32(int(f.Fd()), unix.FS_IOC_GETFLAGS)
	if err != nil || flags&immutable == 0 {
		return nil // also on a file system without such flags
	}
	return unix.IoctlSetPointerInt(int(f.Fd()), unix.FS_IOC_SETFLAGS, int(flags&^immutable))
}
