package capsule

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// Resource is an entry of the EFI System Resource Table (section 23.4): firmware
// that can be updated by capsules.
type Resource struct {
	Class       GUID
	Kind        Kind
	Version     uint32
	Lowest      uint32 // version that the firmware still takes
	Flags       uint32 // bits 15:0 of the flags of capsules for it
	LastVersion uint32 // of the most recent attempt to update it; 0 for none
	LastStatus  Attempt
}

// Kind is what a resource is the firmware of.
type Kind uint32

func (k Kind) String() string {
	switch k {
	case 1:
		return "system firmware"
	case 2:
		return "device firmware"
	case 3:
		return "UEFI driver"
	}
	return "firmware"
}

// Attempt is how an update ended (section 23.4, "ESRT Last Attempt Status").
type Attempt uint32

// Success: the firmware was updated, or never tried to be.
const Success Attempt = 0

func (a Attempt) String() string {
	texts := [...]string{
		0: "success",
		1: "unsuccessful",
		2: "insufficient resources",
		3: "incorrect version: older than the lowest that is supported",
		4: "invalid image format",
		5: "authentication error: the signature is missing or not one that the machine trusts",
		6: "no external power",
		7: "the battery is too low",
		8: "unsatisfied dependencies",
	}
	switch {
	case int(a) < len(texts):
		return texts[a]
	case a >= 0x1000 && a <= 0x4000:
		return fmt.Sprintf("unsuccessful, by the vendor's reason %#x", uint32(a))
	}
	return fmt.Sprintf("unknown status %#x", uint32(a))
}

// maxResources bounds the table.
const maxResources = 256

// Resources are the entries of the table of the machine whose sysfs is at sys, by
// class; none where there is no table. An entry that cannot be read is an error
// beside the others.
func Resources(sys string) ([]Resource, error) {
	dir := filepath.Join(sys, "firmware/efi/esrt/entries")
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("ESRT: %w", err)
	}
	var all []Resource
	var failed []error
	for _, e := range entries[:min(len(entries), maxResources)] {
		r, err := resource(filepath.Join(dir, e.Name()))
		if err != nil {
			failed = append(failed, fmt.Errorf("ESRT %s: %w", e.Name(), err))
			continue
		}
		all = append(all, r)
	}
	slices.SortFunc(all, func(a, b Resource) int { return strings.Compare(a.Class.String(), b.Class.String()) })
	return all, errors.Join(failed...)
}

func resource(dir string) (Resource, error) {
	class, err := os.ReadFile(filepath.Join(dir, "fw_class"))
	if err != nil {
		return Resource{}, err
	}
	var r Resource
	if r.Class, err = ParseGUID(string(class)); err != nil {
		return r, err
	}
	for name, into := range map[string]*uint32{
		"fw_type": (*uint32)(&r.Kind), "fw_version": &r.Version, "lowest_supported_fw_version": &r.Lowest, "capsule_flags": &r.Flags,
		"last_attempt_version": &r.LastVersion, "last_attempt_status": (*uint32)(&r.LastStatus),
	} {
		text, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			return r, err
		}
		n, err := strconv.ParseUint(strings.TrimSpace(string(text)), 0, 32)
		if err != nil {
			return r, fmt.Errorf("%s: %w", name, err)
		}
		*into = uint32(n)
	}
	return r, nil
}

// Find is the resource of the class.
func Find(all []Resource, class GUID) (Resource, bool) {
	at := slices.IndexFunc(all, func(r Resource) bool { return r.Class == class })
	if at < 0 {
		return Resource{}, false
	}
	return all[at], true
}
