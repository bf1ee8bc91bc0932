package raidctl

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// smartModel answers as ssacli does. The text follows the examples of "HPE Smart
// Storage Administrator User Guide" (part number 765468-011, chapter "SSA CLI"),
// and of "show config detail" in "Configuring Arrays on HPE Smart Array
// Controllers Reference Guide"; values are made up.
type smartModel struct{}

var (
	smartCreate = regexp.MustCompile(`^ctrl slot=(\d+) (array (\S+) )?create type=ld (.*) forced$`)
	smartDelete = regexp.MustCompile(`^ctrl slot=(\d+) ld (\d+) delete forced$`)
)

func (smartModel) change(args []string) bool {
	line := strings.Join(args, " ")
	return smartCreate.MatchString(line) || smartDelete.MatchString(line)
}

func (smartModel) refuse(_ []string, words string) string { return "\nError: " + words + "\n\n" }

func (m smartModel) run(s *modelState, args []string) (string, bool) {
	line := strings.Join(args, " ")
	if s.ReadBad != "" && strings.Contains(line, "show") {
		return s.ReadBad, false
	}
	if line == "ctrl all show config detail" {
		if len(s.Controllers) == 0 {
			return "\nError: No controllers detected. Possible causes:\n       - The driver for the installed controller(s) is not loaded.\n\n", false
		}
		return m.show(s), true
	}
	words := smartCreate.FindStringSubmatch(line)
	remove := smartDelete.FindStringSubmatch(line)
	slot := ""
	switch {
	case words != nil:
		slot = words[1]
	case remove != nil:
		slot = remove[1]
	default:
		return m.refuse(args, "Syntax error at \""+line+"\""), false
	}
	at := slices.IndexFunc(s.Controllers, func(c *modelController) bool { return c.ID == number(slot) })
	if at < 0 {
		return m.refuse(args, "The controller identified by \"slot="+slot+"\" was not detected."), false
	}
	wrong := ""
	if remove != nil {
		wrong = s.Controllers[at].drop(s, number(remove[2]))
	} else {
		wrong = m.create(s, s.Controllers[at], words[3], words[4])
	}
	if wrong != "" {
		return m.refuse(args, wrong), false
	}
	return "\n", true
}

func (m smartModel) create(s *modelState, c *modelController, array, rest string) string {
	name, level, spans := "", "", 1
	var sectors int64
	var ids []string
	if array != "" {
		for _, d := range c.Disks {
			if d.Group == array {
				ids = append(ids, d.id())
			}
		}
		if ids == nil {
			return "The array identified by \"" + array + "\" was not detected."
		}
	}
	for _, word := range strings.Fields(rest) {
		key, value, _ := strings.Cut(word, "=")
		switch key {
		case "drives":
			ids = strings.Split(value, ",")
		case "raid":
			level = strings.ReplaceAll(value, "+", "")
		case "size":
			if value != "max" {
				sectors = int64(number(value)) << 11
			}
		case "logicaldrivelabel":
			name = value
		default:
			return "Syntax error at \"" + word + "\""
		}
	}
	if level == "1" && len(ids) != 2 {
		return "RAID 1 needs two drives."
	}
	switch level {
	case "10":
		spans = len(ids) / 2
	case "50", "60":
		spans = 2
	}
	return c.add(s, level, name, ids, spans, sectors)
}

// decimal writes a size as on the label of a disk, cut off.
func decimal(sectors int64) string {
	gb := float64(sectors) * 512 / 1e9
	if gb >= 1000 {
		return fmt.Sprintf("%.1f TB", float64(int(gb/100))/10)
	}
	return fmt.Sprintf("%.0f GB", gb-0.5)
}

func binary(sectors int64) string {
	gb := float64(sectors) * 512 / (1 << 30)
	if gb >= 1024 {
		return fmt.Sprintf("%.2f TB", gb/1024)
	}
	return fmt.Sprintf("%.2f GB", gb)
}

func (m smartModel) show(s *modelState) string {
	var b strings.Builder
	for _, c := range s.Controllers {
		fmt.Fprintf(&b, "\n%s in Slot %d (Embedded)\n   Bus Interface: PCI\n   Slot: %d\n   Serial Number: %s\n", c.Model, c.ID, c.ID, c.Serial)
		fmt.Fprintf(&b, "   RAID 6 (ADG) Status: %s\n   Controller Status: OK\n   Hardware Revision: A\n   Firmware Version: %s\n", c.Levels, c.Firmware)
		b.WriteString("   Cache Board Present: True\n   Cache Status: OK\n   Total Cache Size: 2.0\n   Battery/Capacitor Count: 1\n   Battery/Capacitor Status: OK\n")
		fmt.Fprintf(&b, "   Driver Name: smartpqi\n   Driver Version: Linux 2.1.18-045\n   PCI Address (Domain:Bus:Device.Function): %s\n   Controller Mode: %s\n", c.PCI, c.Mode)
		b.WriteString("   Sensor ID: 0\n      Location: Capacitor\n      Current Value (C): 39\n\n   Port Name: 1I\n         Port ID: 0\n         Port Location: Internal\n\n")
		groups := map[string][]*modelDisk{}
		var names []string
		for _, d := range c.Disks {
			if groups[d.Group] == nil {
				names = append(names, d.Group)
			}
			groups[d.Group] = append(groups[d.Group], d)
		}
		slices.Sort(names)
		shown := c.shown(s)
		for _, name := range names {
			if name == "" {
				continue
			}
			fmt.Fprintf(&b, "   Array: %s\n      Interface Type: %s\n      Unused Space: 0 MB (0.00%%)\n      Used Space: 1 TB (100.00%%)\n      Status: OK\n      Array Type: Data\n\n", name, groups[name][0].Interface)
			for _, v := range shown {
				if v.Group == name {
					m.volume(&b, v)
				}
			}
			for _, d := range groups[name] {
				m.disk(&b, d)
			}
			b.WriteString("\n")
		}
		if len(groups[""]) > 0 {
			b.WriteString("   Unassigned\n\n")
			for _, d := range groups[""] {
				m.disk(&b, d)
			}
		}
		b.WriteString("\n   SEP (Vendor ID HPE, Model Smart Adapter) 379\n      Device Number: 379\n      Firmware Version: 9.99\n      WWID: 51402EC001D3A2A8\n      Vendor ID: HPE\n\n")
	}
	return b.String()
}

func (m smartModel) volume(b *strings.Builder, v *modelVolume) {
	level := v.Level
	if level == "10" {
		level = "1+0"
	}
	fmt.Fprintf(b, "      Logical Drive: %d\n         Size: %s\n         Fault Tolerance: %s\n         Heads: 255\n         Strip Size: 256 KB\n", v.ID, binary(v.Sectors), level)
	fmt.Fprintf(b, "         Status: OK\n         Unique Identifier: %s\n         Disk Name: /dev/sdz          Mount Points: None\n", strings.ToUpper(v.NAA))
	fmt.Fprintf(b, "         Logical Drive Label: %s\n", v.Name)
	if level == "1" {
		for i, d := range v.Disks {
			fmt.Fprintf(b, "         Mirror Group %d:\n            physicaldrive %s (port 1I:box 1:bay %d, SAS HDD, 300 GB, OK)\n", i+1, d, i)
		}
	}
	b.WriteString("         Drive Type: Data\n         LD Acceleration Method: Controller Cache\n\n")
}

func (m smartModel) disk(b *strings.Builder, d *modelDisk) {
	use := map[string]string{"UGood": "Unassigned Drive", "Onln": "Data Drive", "GHS": "Spare Drive", "UBad": "Unassigned Drive", "JBOD": "HBA Mode Drive"}[d.State]
	status := "OK"
	switch {
	case d.State == "UBad":
		status = "Failed"
	case d.Predictive > 0:
		status = "Predictive Failure"
	}
	kind := d.Interface
	if d.Media == "SSD" {
		kind = "Solid State " + kind
	}
	parts := strings.Split(d.Port, ":")
	fmt.Fprintf(b, "      physicaldrive %s\n         Port: %s\n         Box: %s\n         Bay: %s\n         Status: %s\n         Drive Type: %s\n", d.Port, parts[0], parts[1], parts[2], status, use)
	fmt.Fprintf(b, "         Interface Type: %s\n         Size: %s\n         Native Block Size: 512\n         Firmware Revision: HPD5\n", kind, decimal(d.Sectors))
	fmt.Fprintf(b, "         Serial Number: %s\n         WWID: %s\n         Model: HPE     %s\n         Current Temperature (C): 30\n", d.Serial, strings.ToUpper(d.WWN), d.Model)
	if d.Device != "" {
		fmt.Fprintf(b, "         Drive exposed to OS: True\n         Disk Name: %s \n", d.Device)
	}
	b.WriteString("\n")
}
