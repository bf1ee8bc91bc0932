package efi

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
)

// Bits of OsIndications and OsIndicationsSupported (UEFI 2.10, section 8.5.4).
const (
	FileCapsules   = 1 << 2 // capsules in the directory \EFI\UpdateCapsule are processed
	ManagedFMP     = 1 << 3 // capsules for the firmware management protocol are
	CapsuleResults = 1 << 4 // variables CapsuleXXXX tell how that ended
)

// Indications are what the firmware below efivars can be asked for; none if it
// does not say.
func Indications(efivars string) (uint64, error) {
	return store{efivars}.indications("OsIndicationsSupported")
}

func (s store) indications(name string) (uint64, error) {
	b, err := s.read(name)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	if len(b) != 8 {
		return 0, fmt.Errorf("read EFI variable %s: %d bytes", name, len(b))
	}
	return binary.LittleEndian.Uint64(b), nil
}

// Indicate asks the firmware for something at the next boot, beside what it is
// asked for already.
func Indicate(efivars string, bits uint64) error {
	s := store{efivars}
	before, err := s.indications("OsIndications")
	if err != nil {
		return err
	}
	return s.write("OsIndications", binary.LittleEndian.AppendUint64(nil, before|bits))
}

// Paths are the device paths of the boot entries, as text (PathText), whatever
// their order. Entries that cannot be read are left out.
func Paths(efivars string) ([]string, error) {
	options, err := store{efivars}.options()
	if err != nil {
		return nil, err
	}
	var paths []string
	for _, o := range options {
		if o.err == nil {
			paths = append(paths, o.path)
		}
	}
	return paths, nil
}
