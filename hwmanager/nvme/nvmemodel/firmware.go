package nvmemodel

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"maps"
	"slices"
	"time"

	"ferric/hwmanager/nvme"
)

// Firmware is the part of a drive that takes firmware (sections 3.11, 5.12 and
// 5.13). Set the exported fields before the first command, or between two.
type Firmware struct {
	FRMW, FWUG, MDTS byte
	MTFA             uint16
	Active, Next     int
	Slots            [7]string // what they hold
	// Needs is what a commit answers with that has put the image into its slot
	// and is to activate it; 0 for a drive that is content with what it is asked for.
	Needs nvme.Status
	// Prohibited are versions that may not be activated.
	Prohibited []string
	// Delay is the time from a commit that activates at once to the new firmware.
	Delay time.Duration
	// Ignores has it forget to activate what it has taken.
	Ignores bool

	pieces  map[uint32][]byte // by their offsets in dwords
	due     time.Time         // of an activation under way to Next
	resets  int
	commits []uint32
	sent    int
}

// imageMagic is what images for the model begin with; the version follows, in
// eight bytes.
const imageMagic = "model of a drive"

// Image makes an image of the version that the model accepts.
func Image(version string, size int) []byte {
	image := bytes.Repeat([]byte{0xa5, 0x5a, 1, 2}, size/4)
	copy(image, imageMagic)
	copy(image[len(imageMagic):], fmt.Sprintf("%-8s", version))
	return image
}

// Resets counts the resets of the controller.
func (d *Drive) Resets() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.Firmware.resets
}

// Commits lists the CDW10 of the Firmware Commit commands that arrived, and Sent
// counts the downloads that were accepted.
func (d *Drive) Commits() []uint32 {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.Firmware.commits)
}

// Sent counts the pieces of firmware that were accepted.
func (d *Drive) Sent() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.Firmware.sent
}

// Running is the version of the firmware that runs.
func (d *Drive) Running() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.Firmware.advance()
	return d.Firmware.Slots[d.Firmware.Active-1]
}

// ResetController is a reset at the controller level: it forgets pieces of an
// image, and activates what was committed unless that takes more.
func (d *Drive) ResetController() {
	d.reset(d.Firmware.Needs == nvme.NeedsConventionalReset || d.Firmware.Needs == nvme.NeedsSubsystemReset)
}

// Reboot takes the power away and gives it back.
func (d *Drive) Reboot() { d.reset(false) }

func (d *Drive) reset(stays bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	f := d.Firmware
	f.pieces = nil
	f.resets++
	if f.Next != 0 && !stays && !f.Ignores {
		f.Active, f.Next = f.Next, 0
	}
}

func (f *Firmware) advance() {
	if !f.due.IsZero() && !time.Now().Before(f.due) {
		f.Active, f.Next, f.due = f.Next, 0, time.Time{}
	}
}

func (f *Firmware) identify(b []byte) {
	f.advance()
	copy(b[64:72], fmt.Sprintf("%-8s", f.Slots[f.Active-1]))
	b[77] = f.MDTS
	binary.LittleEndian.PutUint16(b[256:], binary.LittleEndian.Uint16(b[256:])|nvme.OACSFirmware)
	b[260] = f.FRMW
	binary.LittleEndian.PutUint16(b[270:], f.MTFA)
	b[319] = f.FWUG
}

// log is the Firmware Slot Information log page, which is mandatory (section
// 5.16.1.4): a drive without slots has one with what it runs.
func (f *Firmware) log(b []byte) error {
	clear(b)
	if f == nil {
		b[0] = 1
		copy(b[8:16], "1.0     ")
		return nil
	}
	f.advance()
	b[0] = byte(f.Active | f.Next<<4)
	for i, holds := range f.Slots {
		if holds != "" {
			copy(b[8+8*i:], fmt.Sprintf("%-8s", holds))
		}
	}
	return nil
}

func (f *Firmware) download(c *nvme.Command) error {
	size := uint32(len(c.Data))
	unit := uint32(f.FWUG) << 12
	if f.FWUG == 0xff {
		unit = 4
	}
	switch {
	case size == 0 || size != (c.CDW10+1)*4:
		return nvme.InvalidField
	case f.MDTS != 0 && size > 4096<<f.MDTS:
		return nvme.InvalidField
	case unit != 0 && c.CDW11*4%unit != 0:
		return nvme.InvalidField
	}
	for at, piece := range f.pieces {
		if c.CDW11 < at+uint32(len(piece)/4) && at < c.CDW11+size/4 {
			return nvme.OverlappingRange
		}
	}
	if f.pieces == nil {
		f.pieces = map[uint32][]byte{}
	}
	f.pieces[c.CDW11] = bytes.Clone(c.Data)
	f.sent++
	return nil
}

// image puts the pieces together; nil if there is a gap.
func (f *Firmware) image() []byte {
	var image []byte
	for _, at := range slices.Sorted(maps.Keys(f.pieces)) {
		if int(at)*4 != len(image) {
			return nil
		}
		image = append(image, f.pieces[at]...)
	}
	return image
}

func (f *Firmware) commit(c *nvme.Command) error {
	f.commits = append(f.commits, c.CDW10)
	slot, action := int(c.CDW10&7), c.CDW10>>3&7
	atOnce := f.FRMW&(1<<4) != 0
	if action > 3 || action == 3 && !atOnce {
		return nvme.InvalidField
	}
	if slot == 0 {
		slot = 1 + int(f.FRMW&1)
	}
	if slot > int(f.FRMW>>1&7) || slot == 1 && f.FRMW&1 != 0 && action != 2 {
		return nvme.InvalidFirmwareSlot
	}
	version := f.Slots[slot-1]
	if action != 2 {
		image := f.image()
		if len(image) < len(imageMagic)+8 || string(image[:len(imageMagic)]) != imageMagic {
			f.pieces = nil
			return nvme.InvalidFirmwareImage
		}
		version = string(bytes.TrimSpace(image[len(imageMagic):][:8]))
	}
	switch {
	case version == "":
		return nvme.InvalidFirmwareImage
	case slices.Contains(f.Prohibited, version):
		f.pieces = nil
		return nvme.ActivationProhibited
	case f.Needs == nvme.ActivationTooLong && action == 3:
		return f.Needs
	}
	f.Slots[slot-1], f.pieces = version, nil
	if action == 0 {
		return nil
	}
	f.Next = slot
	switch needs := f.Needs; {
	case needs == nvme.NeedsConventionalReset, needs == nvme.NeedsSubsystemReset, needs == nvme.NeedsControllerReset && action == 3:
		return needs
	case action == 3 && !f.Ignores:
		f.due = time.Now().Add(f.Delay)
		f.advance()
	}
	return nil
}
