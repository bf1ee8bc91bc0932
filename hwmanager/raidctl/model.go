package raidctl

import (
	"fmt"
	"slices"
	"strings"
)

// state is what a physical disk is to its controller.
type state string

const (
	stateGood    state = "ready"      // free for a volume
	stateForeign state = "foreign"    // has a configuration of another controller
	stateJBOD    state = "jbod"       // the operating system sees it as it is
	stateInUse   state = "configured" // in a volume
	stateSpare   state = "spare"
	stateFailed  state = "failed" // or otherwise unfit for a volume
)

// Controller is a RAID controller as its tool shows it.
type Controller struct {
	Name     string    `json:"name"` // what configurations call it
	Model    string    `json:"model"`
	Serial   string    `json:"serial,omitempty"`
	Firmware string    `json:"firmware,omitempty"`
	Driver   string    `json:"driver,omitempty"`
	PCI      string    `json:"pci_address,omitempty"`
	Status   string    `json:"status,omitempty"`
	Mode     string    `json:"mode,omitempty"`
	Cache    string    `json:"cache,omitempty"`
	Battery  string    `json:"battery,omitempty"` // of the cache, or what stands in for it
	Levels   []string  `json:"raid_levels,omitempty"`
	Tool     string    `json:"tool"`
	Disks    []*Disk   `json:"physical_disks"`
	Volumes  []*Volume `json:"volumes"`

	ref     string // in commands: "/c0", "slot=0"
	backend backend
	jbod    bool // disks can be shown to the operating system as they are
	rules   rules
}

// rules are what a kind of controllers, or one of them, allows.
type rules struct {
	maxDisks, maxSpans int
	paritySpans        int // of levels 5+0 and 6+0, if they are fewer
	nameLength         int // of a volume
	mixed              map[string]bool
	// mixed has the media whose disks of several interfaces may be in one
	// volume.
	oneMirror bool  // RAID 1 is of two disks
	reserve   int64 // bytes of each disk that are not known to be usable
}

// Disk is a physical disk behind a controller.
type Disk struct {
	ID         string `json:"id"` // "252:1" (enclosure:slot), "1I:1:1" (port:box:bay)
	State      state  `json:"state"`
	Status     string `json:"status"` // in the words of the tool
	Size       int64  `json:"size"`
	Media      string `json:"disk_type,omitempty"`      // "hdd", "ssd"
	Interface  string `json:"interface_type,omitempty"` // "sas", "sata", "scsi", "nvme"
	Model      string `json:"model,omitempty"`
	Serial     string `json:"serial,omitempty"`
	Firmware   string `json:"firmware,omitempty"`
	WWN        string `json:"wwn,omitempty"`
	Predictive bool   `json:"predictive_failure"`
	Errors     int64  `json:"media_errors"`

	device  string // of the operating system that sees it as it is; "" if not known
	exposed bool   // it does, though the disk is free

	sector string // size of sectors, in the words of the tool
	group  string // of disks with volumes in common; "" for none
	spare  string // what it is a spare of
}

// Volume is a logical disk of a controller.
type Volume struct {
	ID     string   `json:"id"`
	Name   string   `json:"name"`
	Level  string   `json:"raid_level"` // in Ironic's words
	Size   int64    `json:"size"`
	Status string   `json:"status"`
	WWN    string   `json:"wwn,omitempty"` // "0x" and 16 or 32 digits
	Device string   `json:"device,omitempty"`
	Disks  []string `json:"physical_disks"`

	group string
	bad   bool // it is not what it should be
}

// disk is the one with the id, nil for none.
func (c *Controller) disk(id string) *Disk {
	at := slices.IndexFunc(c.Disks, func(d *Disk) bool { return d.ID == id })
	if at < 0 {
		return nil
	}
	return c.Disks[at]
}

// find is the disk that a configuration means: by its id in the notations of
// tools, or by its serial number.
func (c *Controller) find(text string) *Disk {
	wanted := plainDisk(text, c.ref)
	for _, d := range c.Disks {
		if strings.EqualFold(plainDisk(d.ID, ""), wanted) || d.Serial != "" && strings.EqualFold(d.Serial, strings.TrimSpace(text)) {
			return d
		}
	}
	return nil
}

// plainDisk takes "/c0/e252/s1", "c0:252:1", " :1" and "Port 1I:Box 1:Bay 1" to the
// notation of lists.
func plainDisk(text, controller string) string {
	text = strings.ToLower(strings.TrimSpace(text))
	if rest, ok := strings.CutPrefix(text, strings.ToLower(controller)+"/"); ok && controller != "" {
		text = rest
		if slot, only := strings.CutPrefix(text, "s"); only {
			return slot
		}
		if enclosure, slot, both := strings.Cut(text, "/"); both {
			return strings.TrimPrefix(enclosure, "e") + ":" + strings.TrimPrefix(slot, "s")
		}
	}
	for _, word := range []string{"port", "box", "bay"} {
		text = strings.ReplaceAll(text, word, "")
	}
	text = strings.ReplaceAll(text, " ", "")
	return strings.TrimPrefix(text, ":")
}

// is reports whether a configuration means the controller: by its name, its
// model, its serial or PCI number, or as its tool calls it.
func (c *Controller) is(text string) bool {
	squeeze := func(s string) string { return strings.ToLower(strings.Join(strings.Fields(s), "")) }
	wanted := squeeze(text)
	number := strings.TrimPrefix(strings.TrimPrefix(c.ref, "/c"), "slot=")
	for _, name := range []string{c.Name, c.Model, c.Serial, c.PCI, c.ref, strings.TrimPrefix(c.ref, "/"), number} {
		if name != "" && squeeze(name) == wanted {
			return true
		}
	}
	// "Smart Array P408i-a SR Gen10 in Slot 0" is shown with "(Embedded)" behind it,
	// and with the vendor before it by newer tools.
	bare, _, _ := strings.Cut(c.Name, " (")
	vendorless := strings.TrimPrefix(squeeze(bare), "hpe")
	return wanted == squeeze(bare) || strings.TrimPrefix(wanted, "hpe") == vendorless
}

// in are the volumes of a group of disks.
func (c *Controller) in(group string) []*Volume {
	var volumes []*Volume
	for _, v := range c.Volumes {
		if v.group == group && group != "" {
			volumes = append(volumes, v)
		}
	}
	return volumes
}

func (c *Controller) String() string { return c.Name }

func (v *Volume) String() string {
	name := v.Name
	if name == "" {
		name = "without name"
	}
	return fmt.Sprintf("volume %s (%s, RAID %s, %s)", v.ID, name, v.Level, gibibytes(v.Size))
}

// gibibytes writes a size for people.
func gibibytes(size int64) string {
	if size%(1<<30) == 0 {
		return fmt.Sprintf("%d GiB", size>>30)
	}
	return fmt.Sprintf("%.2f GiB", float64(size)/(1<<30))
}
