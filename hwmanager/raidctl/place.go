package raidctl

import (
	"fmt"
	"slices"
	"strings"
)

// makes is why the controller cannot make the level of so many disks; "" if it can.
func (c *Controller) makes(name string, n int) (spans int, reason string) {
	switch {
	case name == "JBOD" && !c.jbod:
		return 0, "the controller does not show disks as they are (JBOD)"
	case name == "JBOD":
		return 1, ""
	case strings.EqualFold(c.Mode, "HBA") || strings.EqualFold(c.Mode, "HBA-Mode") || strings.EqualFold(c.Mode, "JBOD-Mode") || strings.EqualFold(c.Mode, "JBOD"):
		return 0, "the controller is in mode " + c.Mode + ", which makes no volumes"
	case len(c.Levels) > 0 && !slices.Contains(c.Levels, name):
		return 0, "the controller does not make RAID level " + name + ", only " + strings.Join(c.Levels, ", ")
	case name == "1" && c.rules.oneMirror && n != 2:
		return 0, fmt.Sprintf("RAID level 1 is of 2 disks, not %d: use 1+0", n)
	}
	s := spanCount(name, n, c.rules)
	if s == 0 {
		return 0, fmt.Sprintf("RAID level %s cannot be made of %d disks, with at most %d in each of at most %d spans", name, n, c.rules.maxDisks, c.rules.maxSpans)
	}
	return s, ""
}

// placeNamed takes the disks that the logical disk names.
func (p *planner) placeNamed(l *logicalDisk, controllers []*Controller) *plannedVolume {
	var c *Controller
	for _, candidate := range controllers {
		all := !slices.ContainsFunc(l.disks, func(id string) bool { return candidate.find(id) == nil })
		if all && c != nil {
			p.wrong(l, "both %s and %s have such physical_disks: name the controller", c, candidate)
			return nil
		}
		if all {
			c = candidate
		}
	}
	if c == nil {
		if len(controllers) == 1 {
			c = controllers[0]
			for _, id := range l.disks {
				if c.find(id) == nil {
					p.wrong(l, "%s has no disk %.60q; it has %s", c, id, c.diskList())
				}
			}
			return nil
		}
		p.wrong(l, "no controller has all of the disks %s; there are %s", strings.Join(l.disks, ", "), p.controllerList())
		return nil
	}
	count := len(p.problems)
	var disks []*Disk
	for _, id := range l.disks {
		d := c.find(id)
		if slices.Contains(disks, d) {
			p.wrong(l, "physical_disks names disk %s twice", d.ID)
		}
		disks = append(disks, d)
	}
	s, reason := c.makes(l.level, len(disks))
	if reason != "" {
		p.wrong(l, "%s", reason)
	}
	p.uniform(l, c, disks)
	ids := idsOf(disks)
	if l.share {
		for _, g := range p.groups {
			if g.controller == c && sameSet(g.disks, ids) && g.level == l.level && !g.full && l.size <= g.room {
				v := &plannedVolume{logical: l, controller: c, disks: g.disks, level: l.level, size: l.size, spans: g.spans}
				p.take(v)
				return v
			}
		}
	}
	v := &plannedVolume{logical: l, controller: c, disks: ids, level: l.level, size: l.size, spans: s}
	for _, d := range disks {
		if why, ok := p.free(c, d, l); !ok {
			p.wrong(l, "disk %s %s", d.ID, why)
		}
		if d.State == stateJBOD && l.level != "JBOD" {
			v.jbod = append(v.jbod, d.ID)
		}
	}
	if reason == "" {
		if size := capacity(c, l.level, disks, s); l.size > size {
			p.wrong(l, "%s do not fit: RAID level %s of %s has %s", gibibytes(l.size), l.level, strings.Join(ids, ", "), gibibytes(size))
		}
	}
	if len(p.problems) > count {
		for _, d := range disks {
			p.used[d] = true // so that they are not the reason of problems of others
		}
		return nil
	}
	p.take(v)
	return v
}

// uniform checks that disks which were named are of one kind, as the controller and
// the configuration want it.
func (p *planner) uniform(l *logicalDisk, c *Controller, disks []*Disk) {
	first := disks[0]
	for _, d := range disks {
		switch {
		case l.media != "" && d.Media != l.media:
			p.wrong(l, "disk %s is of type %s, not %s", d.ID, d.Media, l.media)
		case l.iface != "" && d.Interface != l.iface:
			p.wrong(l, "disk %s has the interface %s, not %s", d.ID, d.Interface, l.iface)
		case d.Media != first.Media:
			p.wrong(l, "disks %s (%s) and %s (%s) are not of one type", first.ID, first.Media, d.ID, d.Media)
		case d.Interface != first.Interface && !c.rules.mixed[d.Media]:
			p.wrong(l, "disks %s (%s) and %s (%s) have not one interface", first.ID, first.Interface, d.ID, d.Interface)
		}
	}
}

func (c *Controller) diskList() string {
	if len(c.Disks) == 0 {
		return "none"
	}
	return strings.Join(idsOf(c.Disks), ", ")
}

// placeOn chooses disks of one controller. size is what the volume would have.
func (p *planner) placeOn(l *logicalDisk, c *Controller) (v *plannedVolume, size int64, reason string) {
	n := l.count()
	s, reason := c.makes(l.level, n)
	if reason != "" {
		return nil, 0, reason
	}
	if l.share {
		for _, g := range p.groups {
			if g.controller == c && g.fits(l) {
				return &plannedVolume{logical: l, controller: c, disks: g.disks, level: l.level, size: l.size, spans: g.spans}, g.room, ""
			}
		}
	}
	kinds := map[string][]*Disk{}
	var names, refused []string
	for _, d := range c.Disks {
		if l.media != "" && d.Media != l.media || l.iface != "" && d.Interface != l.iface || d.Predictive {
			continue
		}
		if why, ok := p.free(c, d, l); !ok {
			refused = append(refused, d.ID+" "+why)
			continue
		}
		kind := d.Media + "/" + d.Interface + "/" + d.sector
		if kinds[kind] == nil {
			names = append(names, kind)
		}
		kinds[kind] = append(kinds[kind], d)
	}
	var chosen []*Disk
	most, largest := 0, int64(0)
	for _, kind := range names {
		disks := slices.Clone(kinds[kind])
		most = max(most, len(disks))
		slices.SortStableFunc(disks, func(a, b *Disk) int {
			switch {
			case a.Size < b.Size:
				return -1
			case a.Size > b.Size:
				return 1
			}
			return 0
		})
		for i := 0; i+n <= len(disks); i++ {
			window := disks[i : i+n]
			has := capacity(c, l.level, window, s)
			largest = max(largest, has)
			better := chosen == nil || l.size > 0 && has < size || l.size == 0 && has > size
			if has >= l.size && has > 0 && better {
				chosen, size = window, has
			}
		}
	}
	if chosen == nil {
		what := "disks"
		if l.media != "" || l.iface != "" {
			what = strings.TrimSpace(strings.Join(strings.Fields(l.media+" "+l.iface), " ")) + " disks"
		}
		if most < n {
			reason = fmt.Sprintf("RAID level %s needs %d %s of one kind, %d are free", l.level, n, what, most)
			if len(refused) > 0 {
				reason += " (" + strings.Join(refused, ", ") + ")"
			}
			return nil, 0, reason
		}
		return nil, 0, fmt.Sprintf("%s do not fit: RAID level %s of %d free %s has %s at most", gibibytes(l.size), l.level, n, what, gibibytes(largest))
	}
	// In the order of the slots, as the controller lists them.
	var ids []string
	for _, d := range c.Disks {
		if slices.Contains(chosen, d) {
			ids = append(ids, d.ID)
		}
	}
	return &plannedVolume{logical: l, controller: c, disks: ids, level: l.level, size: l.size, spans: s}, size, ""
}
