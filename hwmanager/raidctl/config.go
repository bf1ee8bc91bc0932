package raidctl

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
)

// logicalDisk is one of a configuration that is for a hardware controller, in the
// terms of Ironic's schema.
type logicalDisk struct {
	index      int // in the configuration
	level      string
	size       int64 // bytes; 0 is all that is left (MAX)
	name       string
	root       bool
	share      bool
	media      string
	iface      string
	number     int // of physical disks; 0 is the fewest of the level
	controller string
	disks      []string // ids, none to have them chosen
	source     map[string]any
}

// level is what a RAID level asks of disks.
type level struct {
	min      int
	multiple int // of disks
	perSpan  int // fewest disks of a span; 0 of a level without
	data     func(disks, spans int) int
}

// levels is the table of what can be made.
func levels() map[string]level {
	return map[string]level{
		"0":    {1, 1, 0, func(n, _ int) int { return n }},
		"1":    {2, 2, 0, func(n, _ int) int { return n / 2 }},
		"5":    {3, 1, 0, func(n, _ int) int { return n - 1 }},
		"6":    {4, 1, 0, func(n, _ int) int { return n - 2 }},
		"1+0":  {4, 2, 2, func(n, _ int) int { return n / 2 }},
		"5+0":  {6, 1, 3, func(n, s int) int { return n - s }},
		"6+0":  {8, 1, 4, func(n, s int) int { return n - 2*s }},
		"JBOD": {1, 1, 0, func(n, _ int) int { return n }},
	}
}

// spans reports whether volumes of the level consist of several of a simpler one.
func spans(name string) bool { return levels()[name].perSpan > 0 }

const softwareController = "software"

// maxSizeGB keeps sizes in bytes within bounds.
const maxSizeGB = maxSize >> 30

// isSoftware reports whether a logical disk is for the operating system's RAID.
func isSoftware(item any) bool {
	l, _ := item.(map[string]any)
	c, _ := l["controller"].(string)
	return c == softwareController
}

// split parts a configuration into what is for hardware controllers and what is
// not. A list that is none counts as one for hardware: it is refused there.
func split(config map[string]any) (hardware, software []any) {
	list, ok := config["logical_disks"].([]any)
	if !ok && config["logical_disks"] != nil {
		return []any{config["logical_disks"]}, nil
	}
	for _, item := range list {
		if isSoftware(item) {
			software = append(software, item)
		} else {
			hardware = append(hardware, item)
		}
	}
	return hardware, software
}

// only leaves out the root volume or the others.
func only(items []any, root, others bool) []any {
	return slices.DeleteFunc(slices.Clone(items), func(item any) bool {
		l, _ := item.(map[string]any)
		isRoot, _ := l["is_root_volume"].(bool)
		return isRoot && !root || !isRoot && !others
	})
}

// parseConfig reads the logical disks for hardware, and tells all that is wrong
// with them whatever the machine.
func parseConfig(items []any) (disks []*logicalDisk, problems []string) {
	roots := 0
	for i, item := range items {
		object, ok := item.(map[string]any)
		if !ok {
			problems = append(problems, fmt.Sprintf("logical disk %d is not an object", i))
			continue
		}
		l, wrong := parseLogicalDisk(object)
		l.index = i
		disks = append(disks, l)
		for _, text := range wrong {
			problems = append(problems, l.label()+": "+text)
		}
		if l.root {
			roots++
		}
	}
	if roots > 1 {
		problems = append(problems, fmt.Sprintf("%d logical disks are root volumes, at most one can be", roots))
	}
	return disks, problems
}

// label names the logical disk in messages.
func (l *logicalDisk) label() string {
	if l.name != "" {
		return fmt.Sprintf("logical disk %d (%s)", l.index, l.name)
	}
	return fmt.Sprintf("logical disk %d", l.index)
}

func parseLogicalDisk(object map[string]any) (l *logicalDisk, problems []string) {
	l = &logicalDisk{source: object}
	wrong := func(format string, args ...any) { problems = append(problems, fmt.Sprintf(format, args...)) }
	text := func(name string, value any) string {
		s, ok := value.(string)
		if !ok || s == "" {
			wrong("%s must be a text", name)
		}
		return s
	}
	boolean := func(name string, value any) bool {
		b, ok := value.(bool)
		if !ok {
			wrong("%s must be a boolean", name)
		}
		return b
	}
	for _, name := range slices.Sorted(maps.Keys(object)) {
		value := object[name]
		if value == nil {
			continue
		}
		switch name {
		case "raid_level":
			l.level = text(name, value)
		case "size_gb":
			l.size = sizeGB(value, wrong)
		case "volume_name":
			l.name = text(name, value)
		case "is_root_volume":
			l.root = boolean(name, value)
		case "share_physical_disks":
			l.share = boolean(name, value)
		case "disk_type":
			if l.media = text(name, value); l.media != "" && !slices.Contains([]string{"hdd", "ssd"}, l.media) {
				wrong("disk_type %.40q is none of hdd and ssd", l.media)
			}
		case "interface_type":
			if l.iface = text(name, value); l.iface != "" && !slices.Contains([]string{"sata", "scsi", "sas", "nvme"}, l.iface) {
				wrong("interface_type %.40q is none of sata, scsi, sas and nvme", l.iface)
			}
		case "number_of_physical_disks":
			n, ok := value.(float64)
			if !ok || n != math.Trunc(n) || n < 1 || n > 1<<10 {
				wrong("number_of_physical_disks must be a number from 1 on")
				continue
			}
			l.number = int(n)
		case "controller":
			l.controller = text(name, value)
		case "physical_disks":
			list, ok := value.([]any)
			if !ok || len(list) == 0 {
				wrong("physical_disks must be a list of ids of disks")
			}
			for _, item := range list {
				id, ok := item.(string)
				if !ok || id == "" {
					wrong("physical_disks: %.60q is no id of a disk", fmt.Sprint(item))
					continue
				}
				l.disks = append(l.disks, id)
			}
		default:
			wrong("%.40q is nothing that a logical disk has", name)
		}
	}
	if object["size_gb"] == nil {
		wrong("size_gb is missing")
	}
	l.judgeLevel(wrong)
	return l, problems
}

func sizeGB(value any, wrong func(string, ...any)) int64 {
	switch size := value.(type) {
	case string:
		if size != "MAX" {
			wrong("size_gb is %.40q instead of a number of GiB or MAX", size)
		}
	case float64:
		if size != math.Trunc(size) || size < 1 || size > maxSizeGB {
			wrong("size_gb is %v instead of a number of GiB from 1 on, or MAX", size)
			break
		}
		return int64(size) << 30
	default:
		wrong("size_gb must be a number of GiB or MAX")
	}
	return 0
}

// judgeLevel checks what the level says of the number of disks.
func (l *logicalDisk) judgeLevel(wrong func(string, ...any)) {
	kind, known := levels()[l.level]
	switch {
	case l.source["raid_level"] == nil:
		wrong("raid_level is missing")
		return
	case l.level == "2":
		wrong("RAID level 2 is made by none of the controllers")
		return
	case !known:
		wrong("RAID level %.20q is none of 0, 1, 5, 6, 1+0, 5+0, 6+0 and JBOD", l.level)
		return
	}
	if len(l.disks) > 0 && l.number > 0 && l.number != len(l.disks) {
		wrong("number_of_physical_disks is %d, but physical_disks has %d", l.number, len(l.disks))
	}
	n := l.count()
	switch {
	case n < kind.min:
		wrong("RAID level %s needs %d disks or more, not %d", l.level, kind.min, n)
	case n%kind.multiple != 0:
		wrong("RAID level %s needs an even number of disks, not %d", l.level, n)
	}
	if l.level == "JBOD" && (n > 1 || l.share || l.size > 0) {
		wrong("JBOD shows one disk as it is: its size_gb is MAX, and it is not shared")
	}
	twice := map[string]bool{}
	for _, id := range l.disks {
		if plain := plainDisk(id, ""); twice[plain] {
			wrong("physical_disks has %.60s twice", id)
		} else {
			twice[plain] = true
		}
	}
}

// count is the number of disks of the volume.
func (l *logicalDisk) count() int {
	switch {
	case len(l.disks) > 0:
		return len(l.disks)
	case l.number > 0:
		return l.number
	}
	return levels()[l.level].min
}

// spanCount is how many spans n disks of the level make under the rules: the fewest
// from two on, each of the same number of disks. 0 is that there is no way.
func spanCount(name string, n int, r rules) int {
	kind := levels()[name]
	if kind.perSpan == 0 {
		if n > r.maxDisks {
			return 0
		}
		return 1
	}
	// Mirrors are the best in spans of two disks.
	if name == "1+0" {
		for s := n / 2; s >= 2; s-- {
			if n%(2*s) == 0 && s <= r.maxSpans && n/s <= r.maxDisks {
				return s
			}
		}
		return 0
	}
	limit := r.maxSpans
	if r.paritySpans > 0 {
		limit = r.paritySpans
	}
	for s := 2; s <= limit; s++ {
		if n%s == 0 && n/s >= kind.perSpan && n/s <= r.maxDisks {
			return s
		}
	}
	return 0
}

// validName is nil for a name that volumes of the controller can have.
func validName(name string, r rules) error {
	if len(name) > r.nameLength {
		return fmt.Errorf("volume_name %.70q is longer than the %d characters that the controller has", name, r.nameLength)
	}
	bad := strings.IndexFunc(name, func(c rune) bool {
		return !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.ContainsRune("._-", c))
	})
	if bad >= 0 || strings.HasPrefix(name, "-") {
		return fmt.Errorf("volume_name %.70q has other characters than letters, digits, '.', '_', '-'", name)
	}
	return nil
}
