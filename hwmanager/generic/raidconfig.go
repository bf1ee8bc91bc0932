package generic

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"

	"ferric/api/hints"
	"ferric/api/ipa"
	"ferric/hwmanager"
)

// logicalDisk is one array of a RAID configuration (agent contract, section
// "Software RAID").
type logicalDisk struct {
	level  string // "0", "1", "1+0", "5" or "6"
	size   int64  // bytes; 0 is all that is left (MAX)
	name   string // volume_name, "" for none
	root   *bool  // is_root_volume, nil if nothing is said
	disks  []hints.Hints
	listed bool // physical_disks are given
}

// volume is the name that the array gets.
func (l logicalDisk) volume(index int) string {
	if l.name != "" {
		return l.name
	}
	return fmt.Sprintf("md%d", index)
}

// mdLevel is the level in mdadm's words.
func (l logicalDisk) mdLevel() string {
	if l.level == "1+0" {
		return "10"
	}
	return l.level
}

const (
	softwareController = "software"
	maxLogicalDisks    = 2
	// maxVolumeName is what the superblock has for the name (linux,
	// include/uapi/linux/raid/md_p.h: set_name, ended by a zero).
	maxVolumeName = arrayNameSize - 1
	// maxSizeGB keeps sizes in bytes within 63 bits.
	maxSizeGB = 1 << 30
)

// levelMembers are the fewest members of the levels of a second array; the
// first is always a mirror.
var levelMembers = map[string]int{"0": 2, "1": 2, "1+0": 2, "5": 3, "6": 4}

// raidConfigOf reads a RAID configuration without judging it as a whole. What
// cannot be read as what it should be is a problem of the list.
func raidConfigOf(config map[string]any) (disks []logicalDisk, problems []string) {
	list, ok := config["logical_disks"].([]any)
	if !ok || len(list) == 0 {
		return nil, []string{"logical_disks must be a list of at least one object"}
	}
	for i, item := range list {
		object, ok := item.(map[string]any)
		if !ok {
			problems = append(problems, fmt.Sprintf("logical disk %d is not an object", i))
			disks = append(disks, logicalDisk{})
			continue
		}
		l, wrong := logicalDiskOf(object)
		disks = append(disks, l)
		for _, text := range wrong {
			problems = append(problems, fmt.Sprintf("logical disk %d: %s", i, text))
		}
	}
	return disks, problems
}

func logicalDiskOf(object map[string]any) (l logicalDisk, problems []string) {
	wrong := func(format string, args ...any) { problems = append(problems, fmt.Sprintf(format, args...)) }
	if c, _ := object["controller"].(string); c != softwareController {
		wrong("controller must be %q for every logical disk, or for none", softwareController)
	}
	l.level, _ = object["raid_level"].(string)
	switch size := object["size_gb"].(type) {
	case string:
		if size != "MAX" {
			wrong("size_gb is %.40q instead of a number of GiB or MAX", size)
		}
	case float64:
		if size != math.Trunc(size) || size < 1 || size > maxSizeGB {
			wrong("size_gb is %v instead of a number of GiB from 1 on, or MAX", size)
			break
		}
		l.size = int64(size) << 30
	default:
		wrong("size_gb must be a number of GiB or MAX")
	}
	if name, given := object["volume_name"]; given && name != nil {
		l.name, _ = name.(string)
		if !validVolumeName(l.name) {
			wrong("volume_name %.60q is no name of 1 to %d letters, digits, '.', '_', '-'", fmt.Sprint(name), maxVolumeName)
		}
		if l.name == espVolume {
			wrong("volume_name %s is the name of the array that mirrors EFI system partitions", espVolume)
		}
	}
	if root, given := object["is_root_volume"]; given && root != nil {
		b, ok := root.(bool)
		if !ok {
			wrong("is_root_volume must be a boolean")
		}
		l.root = &b
	}
	if physical, given := object["physical_disks"]; given && physical != nil {
		l.listed = true
		list, ok := physical.([]any)
		if !ok || len(list) < 2 {
			wrong("physical_disks must be a list of at least two objects")
		}
		for _, item := range list {
			hint, ok := item.(map[string]any)
			if !ok {
				wrong("physical_disks: %.80q is not an object of hints", fmt.Sprint(item))
				continue
			}
			parsed, err := hints.Parse(hint)
			if err == nil && len(parsed) == 0 {
				err = errors.New("an empty object names no disk")
			}
			if err != nil {
				wrong("physical_disks: %v", err)
				continue
			}
			l.disks = append(l.disks, parsed)
		}
	}
	return l, problems
}

// validVolumeName keeps names to what mdadm and file systems take as they are;
// a colon would part the name from one of a host.
func validVolumeName(name string) bool {
	if name == "" || len(name) > maxVolumeName || name[0] == '.' || name[0] == '-' {
		return false
	}
	for _, c := range []byte(name) {
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '.', c == '_', c == '-':
		default:
			return false
		}
	}
	return true
}

// isSoftwareRAID reports whether any logical disk is for the software
// controller. Without one the configuration is for somebody else.
func isSoftwareRAID(config map[string]any) bool {
	list, _ := config["logical_disks"].([]any)
	return slices.ContainsFunc(list, func(item any) bool {
		object, _ := item.(map[string]any)
		c, _ := object["controller"].(string)
		return c == softwareController
	})
}

// validateRAID judges a configuration: everything that is wrong with
// it is in one error of kind ipa.SoftwareRAID.
// disks are those that arrays without physical_disks are made of. The logical disks are
// in the order in which they are made: what takes the rest of the disks comes last.
func validateRAID(config map[string]any, disks int, skipsVolumes bool) ([]logicalDisk, error) {
	logical, problems := raidConfigOf(config)
	wrong := func(format string, args ...any) { problems = append(problems, fmt.Sprintf(format, args...)) }
	if len(logical) > maxLogicalDisks {
		wrong("%d logical disks are more than %d", len(logical), maxLogicalDisks)
	}
	roots, max := 0, 0
	for i, l := range logical {
		members := disks
		if l.listed {
			members = len(l.disks)
		}
		least, known := levelMembers[l.level]
		switch {
		case i == 0 && l.level != "1":
			wrong("the first logical disk must have RAID level 1, not %.20q", l.level)
		case !known:
			wrong("RAID level %.20q of logical disk %d is none of 0, 1, 1+0, 5 and 6", l.level, i)
		case members < least:
			wrong("RAID level %s of logical disk %d needs %d disks, there are %d", l.level, i, least, members)
		}
		if l.root != nil && *l.root {
			roots++
		}
		if l.size == 0 {
			max++
		}
		if l.name == "" && skipsVolumes {
			wrong("logical disk %d needs a volume_name, because skip_block_devices names volumes", i)
		}
	}
	slices.SortStableFunc(logical, func(a, b logicalDisk) int { return boolInt(a.size == 0) - boolInt(b.size == 0) })
	names := map[string]bool{}
	for i, l := range logical {
		if names[l.volume(i)] {
			wrong("the volume name %.40q is not unique", l.volume(i))
		}
		names[l.volume(i)] = true
	}
	if max > 1 {
		wrong("only one logical disk can have the size MAX")
	}
	if roots > 1 {
		wrong("%d logical disks are root volumes, at most one can be", roots)
	}
	if len(problems) > 0 {
		return nil, raidError("the RAID configuration is invalid: %s", strings.Join(problems, "; "))
	}
	return logical, nil
}

func boolInt(b bool) int {
	if b {
		return 1
	}
	return 0
}

// raidError is an error of kind ipa.SoftwareRAID that keeps what it wraps.
func raidError(format string, args ...any) error {
	return ipa.SoftwareRAID.New("%v", fmt.Errorf(format, args...))
}

// raidVolumes are the volume names of properties.skip_block_devices.
func raidVolumes(node hwmanager.Node) ([]string, error) {
	_, volumes, err := skipList(node)
	if err != nil {
		return nil, ipa.SoftwareRAID.New("%v", err)
	}
	return volumes, nil
}
