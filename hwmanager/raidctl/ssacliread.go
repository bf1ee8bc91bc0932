package raidctl

import (
	"cmp"
	"errors"
	"slices"
	"strings"
)

// section is a part of the tool's text: a heading, and what is indented below it.
type section struct {
	indent  int
	props   map[string]string
	depth   int // of its properties; 0 before the first
	members *[]string
	array   string
}

// maxSections bounds what is read of an output that makes no sense.
const maxSections = 1 << 16

// parseSSACLI reads "ctrl all show config detail". Headings are told by their
// words, and what belongs to them by indentation.
func parseSSACLI(out []byte) ([]*Controller, error) {
	var all []*Controller
	var stack []*section
	var finish []func()
	array := ""
	push := func(s *section) {
		s.props = map[string]string{}
		stack = append(stack, s)
	}
	for _, line := range strings.Split(strings.ReplaceAll(string(out), "\t", "        "), "\n") {
		text := strings.TrimSpace(line)
		if text == "" {
			continue
		}
		if len(finish) > maxSections {
			return nil, errors.New("its output has too many parts")
		}
		indent := len(line) - len(strings.TrimLeft(line, " "))
		for len(stack) > 0 && stack[len(stack)-1].indent >= indent {
			stack = stack[:len(stack)-1]
		}
		if indent == 0 {
			array = ""
			if !strings.Contains(text, " in Slot ") {
				push(&section{}) // an enclosure, or words
				continue
			}
			c, s := &Controller{}, &section{}
			push(s)
			all = append(all, c)
			finish = append(finish, func() { c.finish(text, s.props) })
			continue
		}
		if len(all) == 0 || len(stack) == 0 {
			continue
		}
		c := all[len(all)-1]
		top := stack[len(stack)-1]
		key, value, isProperty := strings.Cut(text+" ", ": ")
		key, value = strings.TrimSpace(key), strings.TrimSpace(value)
		words := strings.Fields(text)
		switch lower := strings.ToLower(text); {
		case strings.EqualFold(key, "array") && isProperty && value != "" || words[0] == "array" && !isProperty && len(words) > 1:
			array = strings.TrimSpace(text[len("array"):])
			array = strings.TrimSpace(strings.TrimPrefix(array, ":"))
			array, _, _ = strings.Cut(array, " ")
			push(&section{indent: indent})
		case lower == "unassigned" || lower == "hba drives" || lower == "unassigned drives":
			array = ""
			push(&section{indent: indent})
		case strings.HasPrefix(lower, "logical drive:") || words[0] == "logicaldrive" && len(words) == 2:
			v := &Volume{group: array}
			id := cmp.Or(value, words[len(words)-1])
			s := &section{indent: indent, members: &v.Disks}
			push(s)
			c.Volumes = append(c.Volumes, v)
			finish = append(finish, func() { v.finish(id, s.props) })
		case words[0] == "physicaldrive" && strings.Contains(text, "("):
			for _, s := range slices.Backward(stack) { // a member of the volume around it
				if s.members != nil && !slices.Contains(*s.members, words[1]) {
					*s.members = append(*s.members, words[1])
				}
			}
		case words[0] == "physicaldrive" && len(words) == 2:
			d := &Disk{ID: words[1], group: array}
			s := &section{indent: indent}
			push(s)
			c.Disks = append(c.Disks, d)
			finish = append(finish, func() { d.finish(s.props) })
		case isProperty && (top.depth == 0 || top.depth == indent):
			top.depth = indent
			if _, known := top.props[key]; !known {
				top.props[key] = value
			}
		case !isProperty:
			push(&section{indent: indent}) // an expander, a port
		}
	}
	for _, f := range finish {
		f()
	}
	for _, c := range all {
		c.join()
	}
	if len(all) == 0 {
		return nil, errors.New("its output names no controller: " + excerpt(out))
	}
	return all, nil
}

// prop is a property; "" for what the tool does not know.
func prop(props map[string]string, keys ...string) string {
	for _, key := range keys {
		switch v := props[key]; v {
		case "", "None", "Unknown", "N/A", "Not Available":
		default:
			return strings.Join(strings.Fields(v), " ")
		}
	}
	return ""
}

func (c *Controller) finish(title string, props map[string]string) {
	c.Name, _, _ = strings.Cut(title, "(sn:")
	c.Name = strings.Join(strings.Fields(c.Name), " ")
	c.Model, _, _ = strings.Cut(c.Name, " in Slot ")
	_, slot, _ := strings.Cut(c.Name, " in Slot ")
	slot, _, _ = strings.Cut(slot, " ")
	c.ref = "slot=" + cmp.Or(prop(props, "Slot"), slot)
	c.Serial = prop(props, "Serial Number")
	c.Firmware = prop(props, "Firmware Version")
	c.Driver = strings.TrimSpace(prop(props, "Driver Name") + " " + prop(props, "Driver Version"))
	c.PCI = prop(props, "PCI Address (Domain:Bus:Device.Function)")
	c.Status = prop(props, "Controller Status")
	c.Mode = prop(props, "Controller Mode")
	if strings.EqualFold(prop(props, "HBA Mode Enabled"), "True") {
		c.Mode = "HBA"
	}
	c.Cache = strings.TrimSpace(prop(props, "Total Cache Size") + " " + prop(props, "Cache Status"))
	c.Battery = prop(props, "Battery/Capacitor Status")
	c.Levels = []string{"0", "1", "1+0", "5", "5+0"}
	if !strings.EqualFold(prop(props, "RAID 6 (ADG) Status", "RAID 6 Status"), "Disabled") {
		c.Levels = append(c.Levels, "6", "6+0")
	}
	// Sizes of disks are those on their labels; the controller keeps something to
	// itself.
	c.rules = rules{maxDisks: 128, maxSpans: 64, paritySpans: 2, nameLength: 64, mixed: map[string]bool{}, oneMirror: true, reserve: 64 << 20}
}

func (v *Volume) finish(id string, props map[string]string) {
	v.ID = id
	v.Name = prop(props, "Logical Drive Label")
	kind := prop(props, "Fault Tolerance")
	v.Level = cmp.Or(levelOf(kind), kind)
	v.Size, _ = parseSize(prop(props, "Size"), 1024)
	v.Status = prop(props, "Status")
	v.WWN = naa(prop(props, "Unique Identifier"))
	v.Device = prop(props, "Disk Name")
	v.Device, _, _ = strings.Cut(v.Device, " ")
	// "OK" may come with what goes on in the background.
	v.bad = !strings.HasPrefix(strings.ToUpper(v.Status), "OK")
}

func (d *Disk) finish(props map[string]string) {
	d.Status = prop(props, "Status")
	d.Size, _ = parseSize(prop(props, "Size"), 1000)
	kind := strings.ToLower(prop(props, "Interface Type"))
	for _, name := range []string{"nvme", "sata", "sas", "scsi"} {
		if strings.Contains(kind, name) {
			d.Interface = name
			break
		}
	}
	switch {
	case kind == "":
	case strings.Contains(kind, "solid state") || strings.Contains(kind, "ssd") || d.Interface == "nvme":
		d.Media = "ssd"
	default:
		d.Media = "hdd"
	}
	d.Model = prop(props, "Model")
	d.Serial = prop(props, "Serial Number")
	d.Firmware = prop(props, "Firmware Revision")
	d.WWN = naa(prop(props, "WWID"))
	d.sector = prop(props, "Native Block Size", "Logical/Physical Block Size")
	d.Predictive = strings.Contains(strings.ToLower(d.Status), "predictive") || strings.EqualFold(prop(props, "SSD Smart Trip Wearout"), "True")
	d.device, _, _ = strings.Cut(prop(props, "Disk Name"), " ")
	// In the mode Mixed free disks are the operating system's, too.
	d.exposed = d.device != "" || strings.EqualFold(prop(props, "Drive exposed to OS"), "True")
	use := strings.ToLower(prop(props, "Drive Type"))
	status := strings.ToLower(d.Status)
	works := strings.HasPrefix(status, "ok") || strings.Contains(status, "predictive") || strings.HasPrefix(status, "rebuilding")
	switch {
	case !works:
		d.State = stateFailed
	case strings.Contains(use, "unassigned"):
		d.State, d.group = stateGood, ""
	case strings.Contains(use, "spare"):
		d.State, d.spare, d.group = stateSpare, d.group, ""
	case strings.Contains(use, "hba"):
		d.State, d.group = stateJBOD, ""
	case strings.Contains(use, "data"):
		d.State = stateInUse
	default:
		d.State = stateFailed
	}
}

// join gives volumes their disks: those of mirrors are listed with them, others
// are all of the array.
func (c *Controller) join() {
	for _, v := range c.Volumes {
		if len(v.Disks) > 0 {
			continue
		}
		for _, d := range c.Disks {
			if d.group != "" && d.group == v.group && d.State != stateSpare {
				v.Disks = append(v.Disks, d.ID)
			}
		}
	}
}
