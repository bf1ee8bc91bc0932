package raidctl

import (
	"cmp"
	"strconv"
	"strings"
)

// storcliController reads "/cN show all"; nil is a host adapter.
func storcliController(data object) *Controller {
	basics, ver, status, hw, capable := data.in("Basics"), data.in("Version"), data.in("Status"), data.in("HwCfg"), data.in("Capabilities")
	most := data.in("Max. Supported Config") // of the second generation
	levels := capable.text("RAID Level Supported", "RAID Levels Supported", "Supported RAID Levels")
	c := &Controller{
		Model:    cmp.Or(basics.text("Model", "Product Name"), data.text("Product Name")),
		Serial:   cmp.Or(basics.text("Serial Number"), data.text("Serial Number")),
		PCI:      cmp.Or(basics.text("PCI Address"), data.in("HostInterface").text("PCI Address"), data.text("PCI Address")),
		Firmware: cmp.Or(ver.text("Firmware Package Build", "Package Version", "Firmware Version"), data.text("FW Package Build", "FW Version")),
		Driver:   strings.TrimSpace(ver.text("Driver Name") + " " + ver.text("Driver Version")),
		Status:   cmp.Or(status.text("Controller Status"), data.text("Controller Status")),
		Mode:     cmp.Or(data.in("Personality Information").text("Current Personality"), basics.text("Current Personality"), status.text("Current Personality", "Controller Personality")),
		Cache:    hw.text("On Board Memory Size"),
		Levels:   storcliLevels(levels),
		// That a controller could does not mean that it is allowed to.
		jbod:  strings.EqualFold(cmp.Or(capable.text("Enable JBOD"), data.in("Supported Adapter Operations").text("Support JBOD")), "Yes"),
		rules: rules{maxDisks: 32, maxSpans: 8, nameLength: 15, mixed: map[string]bool{}},
	}
	for _, limits := range []object{capable, most} {
		if n, ok := limits.number("Max Arms Per VD", "Max PD Per Array"); ok && n > 0 {
			c.rules.maxDisks = int(min(n, 1<<10))
		}
		if n, ok := limits.number("Max Spans Per VD"); ok && n > 0 {
			c.rules.maxSpans = int(min(n, 1<<10))
		}
	}
	// The second generation needs no leave to show a disk as it is.
	if n, _ := most.number("Max JBODs"); n > 0 {
		c.jbod = true
	}
	if n, ok := hw.number("DDR Memory Size(MiB)"); ok && c.Cache == "" {
		c.Cache = strconv.FormatInt(n, 10) + " MiB"
	}
	for media, kind := range map[string]string{"hdd": "HDD", "ssd": "SSD"} {
		mix := capable.text("Mix of SAS/SATA of "+kind+" type in VD", "Mix of SAS-"+kind+"/SATA-"+kind+" in VD")
		c.rules.mixed[media] = strings.EqualFold(mix, "Allowed")
	}
	for _, pack := range append(data.list("Cachevault_Info", "Energy Pack Info"), data.list("BBU_Info")...) {
		c.Battery = strings.TrimSpace(pack.text("Model", "SubType") + " " + pack.text("State", "Status"))
	}
	// Without a list of it there is a number: 0 is healthy (StorCLI Reference
	// Manual, controller status).
	if n := status.text("BBU Status"); c.Battery == "" && n != "" && n != "0" {
		c.Battery = "status " + n
	}
	for _, row := range data.list("PD LIST", "Physical Device Information") {
		if d := storcliDisk(row); d != nil {
			c.Disks = append(c.Disks, d)
		}
	}
	for _, row := range data.list("VD LIST") {
		if v := storcliVolume(row); v != nil {
			c.Volumes = append(c.Volumes, v)
		}
	}
	if len(c.Levels) == 0 && len(c.Volumes) == 0 && len(capable) > 0 {
		return nil
	}
	for _, v := range c.Volumes {
		for _, d := range c.Disks {
			if d.group != "" && d.group == v.group && d.State == stateInUse {
				v.Disks = append(v.Disks, d.ID)
			}
		}
	}
	return c
}

// storcliLevels are the levels of a text like "RAID0, RAID1(2 or more drives), RAID50".
func storcliLevels(text string) []string {
	var levels []string
	for _, word := range strings.FieldsFunc(text, func(r rune) bool { return r == ',' || r == '(' || r == ')' }) {
		if level := levelOf(word); level != "" {
			levels = append(levels, level)
		}
	}
	return levels
}

// levelOf is a level in Ironic's words, "" for one that it does not have.
func levelOf(text string) string {
	text = strings.ToUpper(strings.Join(strings.Fields(text), ""))
	text = strings.TrimPrefix(text, "RAID")
	switch text {
	case "0", "1", "2", "5", "6", "1+0", "5+0", "6+0":
		return text
	case "10", "50", "60":
		return text[:1] + "+0"
	}
	return ""
}

// storcliDisk reads a row of PD LIST.
func storcliDisk(row object) *Disk {
	raw, _ := row["EID:Slt"].(string)
	if raw == "" {
		raw, _ = row["EID:Slot"].(string)
	}
	enclosure, slot, both := strings.Cut(strings.ReplaceAll(raw, " ", ""), ":")
	if !both || !isNumber(slot) {
		return nil
	}
	id := slot
	if isNumber(enclosure) {
		id = enclosure + ":" + slot
	}
	d := &Disk{
		ID:        id,
		Status:    strings.TrimSpace(row.text("State") + " " + row.text("Status")),
		Size:      row.size("Size"),
		Media:     strings.ToLower(row.text("Med")),
		Interface: strings.ToLower(row.text("Intf")),
		Model:     row.text("Model"),
		sector:    row.text("SeSz"),
		group:     row.text("DG"),
	}
	if d.Interface == "parallel scsi" {
		d.Interface = "scsi"
	}
	d.State = storcliState(row.text("State"), row.text("Status"))
	switch {
	case d.group == "F" && d.State != stateFailed:
		d.State, d.group = stateForeign, ""
	case d.State == stateSpare:
		d.spare, d.group = d.group, ""
	case !isNumber(d.group):
		d.group = ""
	}
	return d
}

// storcliState reads the state of a disk. What is not known is not fit for a
// volume, nor is what the second generation's other word tells not to work.
func storcliState(word, status string) state {
	switch strings.ToLower(status) {
	case "failed", "offline", "missing", "bad", "unusable", "unusbl":
		return stateFailed
	}
	switch strings.ToLower(word) {
	case "ugood":
		return stateGood
	case "uconf": // of the second generation, which has two words
		if strings.EqualFold(status, "Good") {
			return stateGood
		}
	case "jbod":
		return stateJBOD
	case "onln", "rbld", "cpybck":
		return stateInUse
	case "conf":
		if strings.EqualFold(status, "Online") || strings.EqualFold(status, "Rebuild") {
			return stateInUse
		}
	case "ghs", "dhs", "hsp":
		return stateSpare
	}
	return stateFailed
}

func isNumber(text string) bool {
	_, err := strconv.ParseUint(text, 10, 31)
	return err == nil
}

// storcliVolume reads a row of VD LIST.
func storcliVolume(row object) *Volume {
	group, id, ok := strings.Cut(strings.ReplaceAll(row.text("DG/VD"), " ", ""), "/")
	if !ok || !isNumber(id) {
		return nil
	}
	kind := row.text("TYPE", "Type")
	v := &Volume{
		ID: id, Name: row.text("Name"), Level: cmp.Or(levelOf(kind), kind), Size: row.size("Size"), Status: row.text("State"), group: group,
	}
	v.bad = !strings.EqualFold(v.Status, "Optl")
	return v
}

// detail adds what "/cN/eall/sall show all" tells. The first generation has three
// members for each disk, the second a list of disks.
func (c *Controller) detail(data object) {
	for _, key := range data.keys() {
		path, ok := strings.CutPrefix(key, "Drive ")
		if !ok || !strings.HasSuffix(path, " - Detailed Information") {
			continue
		}
		path = strings.TrimSuffix(path, " - Detailed Information")
		details := data.in(key)
		if d := c.find(path); d != nil {
			d.detail(details.in("Drive "+path+" State"), details.in("Drive "+path+" Device attributes"))
		}
	}
	for _, drive := range data.list("Drives List") {
		row := object{}
		if rows := drive.list("Drive Information"); len(rows) > 0 {
			row = rows[0]
		} else {
			row = drive.in("Drive Information")
		}
		found := storcliDisk(row)
		if found == nil {
			continue
		}
		if d := c.disk(found.ID); d != nil {
			details := drive.in("Drive Detailed Information")
			health := details.in("LU/NS Properties") // where newer versions have it
			if len(health) == 0 {
				health = details
			}
			d.detail(health, details)
			d.Predictive = d.Predictive || details.flagged()
		}
	}
}

func (d *Disk) detail(health, attributes object) {
	predicted, _ := health.number("Predictive Failure Count")
	d.Predictive = predicted > 0 || health.flagged()
	d.Errors, _ = health.number("Media Error Count")
	d.Serial = attributes.text("SN", "Serial Number")
	d.Model = cmp.Or(d.Model, attributes.text("Model Number", "Model"))
	d.Firmware = attributes.text("Firmware Revision", "Firmware Revision Level")
	d.WWN = naa(attributes.text("WWN"))
	if unit, err := parseSize(attributes.text("Logical Sector Size"), 1024); err == nil {
		if size, ok := sectors(attributes.text("Coerced size"), unit); ok && near(size, d.Size) {
			d.Size = size
		}
	}
}

// flagged reports whether a disk itself tells that it fails.
func (o object) flagged() bool {
	return strings.EqualFold(o.text("S.M.A.R.T alert flagged by drive", "SMART Alert Flagged by Drive"), "Yes")
}

// near reports whether both are one size, of which one may be rounded.
func near(a, b int64) bool { return a > b-b/500 && a < b+b/500 }

// naa is a world-wide name in the notation of udev; "" for what is none.
func naa(text string) string {
	text = strings.TrimPrefix(strings.ToLower(strings.TrimSpace(text)), "0x")
	if len(text) != 16 && len(text) != 32 || strings.Trim(text, "0123456789abcdef") != "" || strings.Trim(text, "0") == "" {
		return ""
	}
	return "0x" + text
}

// properties adds what "/cN/vall show all" tells: flat members of the first
// generation, a list of the second.
func (c *Controller) properties(data object) {
	for _, v := range c.Volumes {
		v.properties(data.in("VD"+v.ID+" Properties"), data.list("PDs for VD "+v.ID))
	}
	for _, item := range data.list("Virtual Drives") {
		rows := item.list("VD Info")
		if len(rows) == 0 {
			rows = []object{item.in("VD Info")}
		}
		found := storcliVolume(rows[0])
		if found == nil {
			continue
		}
		for _, v := range c.Volumes {
			if v.ID == found.ID {
				v.properties(item.in("VD Properties"), item.list("PDs"))
			}
		}
	}
}

func (v *Volume) properties(facts object, disks []object) {
	v.WWN = cmp.Or(naa(facts.text("SCSI NAA Id", "SCSI NAA ID")), v.WWN)
	v.Device = cmp.Or(facts.text("OS Drive Name"), v.Device)
	if n, ok := facts.number("Number of Blocks"); ok {
		for _, sector := range []int64{512, 4096} {
			if n < maxSize/sector && near(n*sector, v.Size) {
				v.Size = n * sector
				break
			}
		}
	}
	var ids []string
	for _, row := range disks {
		if d := storcliDisk(row); d != nil {
			ids = append(ids, d.ID)
		}
	}
	if len(ids) > 0 {
		v.Disks = ids
	}
}
