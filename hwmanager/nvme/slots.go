package nvme

import (
	"context"
	"fmt"
	"time"
)

// Firmware Slot Information log page (section 5.16.1.4).
const (
	logFirmware     = 0x03
	logFirmwareSize = 512
	maxSlots        = 7
	revisionSize    = 8
)

// SlotLog is the Firmware Slot Information log page.
type SlotLog struct {
	Active int // slot that the running firmware was loaded from
	Next   int // slot that the next reset of the controller activates; 0 if it is not told
	// Revisions are what the slots hold, from slot 1 on; "" for an empty slot.
	Revisions [maxSlots]string
}

// ParseSlotLog reads a Firmware Slot Information log page.
func ParseSlotLog(b []byte) (SlotLog, error) {
	if len(b) < 8+maxSlots*revisionSize {
		return SlotLog{}, fmt.Errorf("firmware slot log page: %d bytes", len(b))
	}
	l := SlotLog{Active: int(b[0] & 7), Next: int(b[0] >> 4 & 7)}
	for i := range l.Revisions {
		l.Revisions[i] = text(b[8+revisionSize*i:][:revisionSize])
	}
	if l.Active == 0 {
		return SlotLog{}, fmt.Errorf("firmware slot log page: no slot is active")
	}
	return l, nil
}

// SlotCount is how many slots for firmware the drive has; 0 is what a drive says
// that does not know of them.
func (c Controller) SlotCount() int { return int(c.FRMW >> 1 & 7) }

// FirstReadOnly reports whether the first slot cannot be written.
func (c Controller) FirstReadOnly() bool { return c.FRMW&1 != 0 }

// ActivatesAtOnce reports whether firmware is activated without a reset.
func (c Controller) ActivatesAtOnce() bool { return c.FRMW&(1<<4) != 0 }

// TakesFirmware reports whether the drive has the commands for it.
func (c Controller) TakesFirmware() bool { return c.OACS&OACSFirmware != 0 }

// activationTime is how long an activation is waited for: twice what the drive
// says, or two minutes where it says nothing.
func (c Controller) activationTime() time.Duration {
	if c.MTFA == 0 {
		return 2 * time.Minute
	}
	return 2*time.Duration(c.MTFA)*100*time.Millisecond + 30*time.Second
}

// Sizes of pieces of an image. MDTS counts units of the smallest page that the
// controller knows, which is 4 KiB or more.
const (
	piece    = 4 << 10
	maxPiece = 32 << 10 // where the drive does not restrict it
	unlimit  = 0xff     // FWUG: any dword will do
)

// pieceSize is what of an image a command carries.
func (c Controller) pieceSize() (int64, error) {
	limit := int64(1) << 30
	if c.MDTS != 0 && c.MDTS < 18 {
		limit = piece << c.MDTS
	}
	switch c.FWUG {
	case 0: // not told; all drives take 4 KiB
		return piece, nil
	case unlimit:
		return min(maxPiece, limit), nil
	}
	size := piece * int64(c.FWUG)
	if size > limit {
		return 0, fmt.Errorf("the drive wants firmware in pieces of %d bytes and takes no more than %d in a command", size, limit)
	}
	return size, nil
}

// chooseSlot is the slot that an image of the version goes to: wanted if it is
// not 0, else one that is not running, so that there is a way back, preferably one
// that holds the version already, or nothing. 0 leaves it to the drive.
func (c Controller) chooseSlot(log SlotLog, wanted int, version string) (int, error) {
	first := 1
	if c.FirstReadOnly() {
		first = 2
	}
	switch n := c.SlotCount(); {
	case n == 0 && wanted == 0:
		return 0, nil // before NVMe 1.0b
	case wanted != 0 && wanted <= n && wanted < first:
		return 0, fmt.Errorf("firmware slot %d can only be read", wanted)
	case wanted < 0, wanted > n:
		return 0, fmt.Errorf("there is no firmware slot %d: the drive has %d", wanted, n)
	case wanted != 0:
		return wanted, nil
	case first > n:
		return 0, fmt.Errorf("the only firmware slot of the drive can only be read")
	}
	best, rank := 0, -1
	for slot := first; slot <= c.SlotCount(); slot++ {
		r := 0
		switch holds := log.Revisions[slot-1]; {
		case slot == log.Active:
		case holds == version:
			r = 3
		case holds == "":
			r = 2
		default:
			r = 1
		}
		if r > rank {
			best, rank = slot, r
		}
	}
	return best, nil
}

// Firmware is what a drive says of its firmware.
type Firmware struct {
	Controller
	Slots SlotLog
}

// ReadFirmware asks a drive for its firmware.
func ReadFirmware(ctx context.Context, t Transport) (Firmware, error) {
	d := &drive{transport: t}
	return d.firmware(ctx)
}

func (d *drive) firmware(ctx context.Context) (Firmware, error) {
	answer, err := d.identify(ctx, cnsController, 0)
	if err != nil {
		return Firmware{}, fmt.Errorf("identify controller: %w", err)
	}
	if d.Controller, err = ParseController(answer); err != nil {
		return Firmware{}, err
	}
	c := &Command{
		Opcode: opGetLogPage, Namespace: allNamespaces,
		CDW10: logFirmware | retainEvent | (logFirmwareSize/4-1)<<16,
		Data:  make([]byte, logFirmwareSize), Timeout: commandTime,
	}
	if err := d.do(ctx, c); err != nil {
		return Firmware{}, fmt.Errorf("read firmware slot log page: %w", err)
	}
	log, err := ParseSlotLog(c.Data)
	if err != nil {
		return Firmware{}, err
	}
	return Firmware{Controller: d.Controller, Slots: log}, nil
}
