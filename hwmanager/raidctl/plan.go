package raidctl

import (
	"fmt"
	"slices"
	"strings"
)

// plannedVolume is a volume that is to be made.
type plannedVolume struct {
	logical    *logicalDisk
	controller *Controller
	disks      []string
	level      string
	size       int64 // 0 is all that is left
	expected   int64 // that, as far as it is known
	spans      int
	name       string
	jbod       []string // disks that have to be taken from the operating system first
	present    *Volume  // it is there already, and kept
}

// group are disks with volumes in common, of the plan.
type group struct {
	controller *Controller
	disks      []string
	level      string
	spans      int
	room       int64
	full       bool // a volume takes all that is left
}

// planner chooses disks as Ironic's documentation says: those that a logical disk
// names; else the given number, or the fewest of its level, of disks that have its
// type and interface, on its controller or on any. Disks are shared only between
// logical disks that say so.
type planner struct {
	controllers []*Controller
	doomed      map[*Volume]bool // what goes before anything is made
	deletes     bool             // all that is not kept goes first
	keeps       bool             // something is kept by skip_block_devices
	held        map[*Disk]string // what the operating system sees and needs, and why
	used        map[*Disk]bool
	groups      []*group
	names       map[string]bool
	problems    []string
}

func (p *planner) wrong(l *logicalDisk, format string, args ...any) {
	p.problems = append(p.problems, l.label()+": "+fmt.Sprintf(format, args...))
}

// plan finds disks for all logical disks, in their order in the result. Those that
// name disks choose first, then those of a given size, then those that take what
// is left.
func (p *planner) plan(logical []*logicalDisk) []*plannedVolume {
	p.used, p.names = map[*Disk]bool{}, map[string]bool{}
	planned := map[*logicalDisk]*plannedVolume{}
	p.keepPresent(logical, planned)
	order := slices.Clone(logical)
	slices.SortStableFunc(order, func(a, b *logicalDisk) int { return a.rank() - b.rank() })
	for _, l := range order {
		if planned[l] == nil {
			planned[l] = p.place(l)
		}
	}
	var volumes []*plannedVolume
	for _, l := range logical {
		if v := planned[l]; v != nil {
			volumes = append(volumes, v)
		}
	}
	p.nameAll(volumes)
	return volumes
}

func (l *logicalDisk) rank() int {
	rank := 0
	if len(l.disks) == 0 {
		rank += 2
	}
	if l.size == 0 {
		rank++
	}
	return rank
}

// keepPresent takes for made what is kept by skip_block_devices and has the name of
// a logical disk (agent contract, section "Create").
func (p *planner) keepPresent(logical []*logicalDisk, planned map[*logicalDisk]*plannedVolume) {
	for _, c := range p.controllers {
		for _, v := range c.Volumes {
			if p.doomed[v] || v.Name == "" {
				continue
			}
			at := slices.IndexFunc(logical, func(l *logicalDisk) bool { return l.name == v.Name })
			switch {
			case at < 0:
				p.names[v.Name] = true
			case !p.keeps:
				p.wrong(logical[at], "there is a volume of this name on %s: delete the configuration first", c)
				p.names[v.Name] = true
			case logical[at].level != v.Level:
				p.wrong(logical[at], "the volume of this name on %s, which is kept, has RAID level %s", c, v.Level)
			default:
				planned[logical[at]] = &plannedVolume{logical: logical[at], controller: c, disks: v.Disks, level: v.Level, name: v.Name, present: v}
			}
		}
	}
}

// free tells whether a disk can be part of a new volume, or why it cannot. JBOD is
// the one use of disks that are JBOD already, and leaves them as they are; for
// another the configuration must name them.
func (p *planner) free(c *Controller, d *Disk, l *logicalDisk) (string, bool) {
	if p.used[d] {
		return "is taken by another logical disk", false
	}
	stays := l.level == "JBOD" && d.State == stateJBOD
	if why := p.held[d]; why != "" && !stays {
		return "must stay as it is: " + why, false
	}
	switch d.State {
	case stateGood:
		return "", true
	case stateInUse:
		for _, v := range c.in(d.group) {
			if !p.doomed[v] {
				return "is part of " + v.String(), false
			}
		}
		if d.group != "" && len(c.in(d.group)) > 0 {
			return "", true
		}
		return "is in use (" + d.Status + ")", false
	case stateForeign:
		if p.deletes && !p.keeps {
			return "", true
		}
		return "has a foreign configuration: delete the configuration first", false
	case stateJBOD:
		if stays || len(l.disks) > 0 && c.jbod {
			return "", true
		}
		return "is shown to the operating system as it is (" + d.Status + "): name it in physical_disks to have it taken", false
	case stateSpare:
		return "is a spare", false
	}
	return "is not fit (" + d.Status + ")", false
}

// place finds disks for one logical disk; nil is that there are none, which is then
// among the problems.
func (p *planner) place(l *logicalDisk) *plannedVolume {
	if _, known := levels()[l.level]; !known {
		return nil
	}
	controllers := p.controllers
	if l.controller != "" {
		controllers = slices.DeleteFunc(slices.Clone(controllers), func(c *Controller) bool { return !c.is(l.controller) })
		switch len(controllers) {
		case 0:
			p.wrong(l, "there is no controller %.80q; there are %s", l.controller, p.controllerList())
			return nil
		case 1:
		default:
			p.wrong(l, "%d controllers are called %.80q; there are %s", len(controllers), l.controller, p.controllerList())
			return nil
		}
	}
	if len(l.disks) > 0 {
		return p.placeNamed(l, controllers)
	}
	var reasons []string
	var best *plannedVolume
	var bestSize int64
	for _, c := range controllers {
		v, size, reason := p.placeOn(l, c)
		if v == nil {
			reasons = append(reasons, c.Name+": "+reason)
			continue
		}
		// Of several controllers the first that has room for a given size, and for
		// all that is left the one with the most.
		if best == nil || l.size == 0 && size > bestSize {
			best, bestSize = v, size
		}
	}
	if best == nil {
		if len(reasons) == 0 {
			reasons = []string{"there is no RAID controller"}
		}
		p.wrong(l, "%s", strings.Join(reasons, "; "))
		return nil
	}
	p.take(best)
	return best
}

func (p *planner) controllerList() string {
	var names []string
	for _, c := range p.controllers {
		names = append(names, c.Name)
	}
	if len(names) == 0 {
		return "none"
	}
	return strings.Join(names, ", ")
}

// fits reports whether a logical disk can share the disks of the group.
func (g *group) fits(l *logicalDisk) bool {
	if g.full || g.level != l.level || l.number > 0 && l.number != len(g.disks) || l.size > g.room || g.room <= 0 {
		return false
	}
	for _, id := range g.disks {
		d := g.controller.disk(id)
		if l.media != "" && d.Media != l.media || l.iface != "" && d.Interface != l.iface {
			return false
		}
	}
	return true
}

// take marks the disks of a volume as used, and keeps account of what is left of
// those that are shared.
func (p *planner) take(v *plannedVolume) {
	for _, g := range p.groups {
		if g.controller == v.controller && sameSet(g.disks, v.disks) {
			v.expected = g.room
			g.room -= v.size
			g.full = v.size == 0
			return
		}
	}
	var disks []*Disk
	for _, id := range v.disks {
		d := v.controller.disk(id)
		p.used[d] = true
		disks = append(disks, d)
	}
	v.expected = capacity(v.controller, v.level, disks, v.spans)
	if v.logical.share {
		p.groups = append(p.groups, &group{v.controller, v.disks, v.level, v.spans, v.expected - v.size, v.size == 0})
	}
}

// nameAll checks the names of volumes and makes those that are not given.
func (p *planner) nameAll(volumes []*plannedVolume) {
	for _, v := range volumes {
		if v.name = v.logical.name; v.name == "" || v.present != nil || v.level == "JBOD" {
			continue
		}
		if err := validName(v.name, v.controller.rules); err != nil {
			p.wrong(v.logical, "%v", err)
		}
		if p.names[v.name] && v.present == nil {
			p.wrong(v.logical, "volume_name %s is not unique", v.name)
		}
		p.names[v.name] = true
	}
	next := 0
	for _, v := range volumes {
		for v.name == "" && v.level != "JBOD" {
			if name := fmt.Sprintf("volume-%d", next); !p.names[name] {
				v.name, p.names[name] = name, true
			}
			next++
		}
	}
}

// capacity is what a volume of the disks has: that of the smallest disk, as often
// as the level has disks with data.
func capacity(c *Controller, name string, disks []*Disk, spans int) int64 {
	if len(disks) == 0 {
		return 0
	}
	smallest := disks[0].Size
	for _, d := range disks {
		smallest = min(smallest, d.Size)
	}
	usable := max(smallest-c.rules.reserve, 0)
	data := int64(levels()[name].data(len(disks), spans))
	if usable > maxSize/max(data, 1) {
		return maxSize
	}
	return usable * data
}

func idsOf(disks []*Disk) []string {
	ids := make([]string, 0, len(disks))
	for _, d := range disks {
		ids = append(ids, d.ID)
	}
	return ids
}

func sameSet(a, b []string) bool {
	a, b = slices.Sorted(slices.Values(a)), slices.Sorted(slices.Values(b))
	return slices.Equal(a, b)
}
