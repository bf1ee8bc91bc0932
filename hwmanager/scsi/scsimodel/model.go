// Package scsimodel is a model of a SCSI disk for tests: content, and a device
// server in front of it that answers as SPC-5 and SBC-4 have it, or as the test
// wants it to.
package scsimodel

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"sync"
	"time"

	"ferric/hwmanager/sgio"
)

// Content is what the disk holds; a file will do.
type Content interface {
	io.ReaderAt
	io.WriterAt
}

// Service actions of SANITIZE that a Disk may have (SBC-4).
const (
	Overwrite   = 0x01
	BlockErase  = 0x02
	CryptoErase = 0x03
)

// Disk is a disk. Set the fields before the first command, or between two.
type Disk struct {
	Content Content
	Size    int64 // bytes, in blocks of 512

	Actions     []byte // service actions of SANITIZE that it has
	NoReport    bool   // REPORT SUPPORTED OPERATION CODES is not supported
	NoAUSE      bool   // the unrestricted completion mode is not supported
	NoProgress  bool   // TEST UNIT READY gives no progress indication
	Short       bool   // READ CAPACITY (16) is not supported
	Descriptors bool   // sense data are in the descriptor format
	NoPages     bool   // there are no vital product data
	Version     byte   // of the standard; 0 is SPC-4
	Type        byte   // peripheral device type

	// Duration is how long a sanitize takes.
	Duration time.Duration
	// Fails has sanitizes fail at their end.
	Fails bool
	// Lies has the disk report success and change nothing.
	Lies bool
	// Hangs has sanitizes never end.
	Hangs bool
	// Answer is asked before a command is performed: a result other than nil, or
	// an error, is its answer.
	Answer func(ctx context.Context, c sgio.Command) (*sgio.Result, error)

	mu         sync.Mutex
	sanitizing bool
	failed     bool
	free       bool // the last sanitize was one in the unrestricted mode
	action     byte
	done, left time.Duration
	since      time.Time // zero without power
	attention  bool      // power on, reset or bus device reset occurred
	sanitizes  [][]byte
}

// Sanitizes lists the CDBs of the SANITIZE commands that were begun.
func (d *Disk) Sanitizes() [][]byte {
	d.mu.Lock()
	defer d.mu.Unlock()
	return append([][]byte(nil), d.sanitizes...)
}

// PowerOff takes the power away, which stops a sanitize until PowerOn: then the
// disk goes on with it.
func (d *Disk) PowerOff() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.advance()
	d.since = time.Time{}
}

// PowerOn gives it back.
func (d *Disk) PowerOn() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.since, d.attention = time.Now(), true
}

// Do implements sgio.Transport.
func (d *Disk) Do(ctx context.Context, c sgio.Command) (sgio.Result, error) {
	if d.Answer != nil {
		if r, err := d.Answer(ctx, c); err != nil || r != nil {
			if r == nil {
				r = &sgio.Result{}
			}
			return *r, err
		}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.advance()
	cdb := c.CDB
	switch cdb[0] {
	case 0x12:
		return d.inquiry(c), nil
	case 0x03: // REQUEST SENSE
		sense := d.Sense(0, 0)
		if d.sanitizing {
			sense = d.progress()
		}
		return read(c, sense), nil
	}
	if d.attention {
		d.attention = false
		return d.Check(0x6, 0x2900), nil
	}
	if d.sanitizing {
		sense := d.Sense(0x2, 0x041b)
		if !d.NoProgress {
			sense = d.progress()
		}
		return sgio.Result{Status: sgio.CheckCondition, Sense: sense}, nil
	}
	switch {
	case cdb[0] == 0xa3 && cdb[1] == 0x0c && !d.NoReport:
		supported := byte(1)
		if cdb[3] == 0x48 && d.has(cdb[5]) {
			supported = 3
		}
		return read(c, []byte{0, supported, 0, 10}), nil
	case cdb[0] == 0x48:
		return d.sanitize(c), nil
	case d.failed:
		return d.Check(0x3, 0x3103), nil
	case cdb[0] == 0x00:
		return sgio.Result{}, nil
	case cdb[0] == 0x9e && cdb[1] == 0x10 && !d.Short:
		answer := binary.BigEndian.AppendUint64(nil, uint64(d.Size/512-1))
		return read(c, append(binary.BigEndian.AppendUint32(answer, 512), make([]byte, 20)...)), nil
	case cdb[0] == 0x25:
		answer := binary.BigEndian.AppendUint32(nil, uint32(d.Size/512-1))
		return read(c, binary.BigEndian.AppendUint32(answer, 512)), nil
	}
	return d.Check(0x5, 0x2000), nil
}

// Check is a CHECK CONDITION status with sense key and additional sense code.
func (d *Disk) Check(key byte, code uint16) sgio.Result {
	return sgio.Result{Status: sgio.CheckCondition, Sense: d.Sense(key, code)}
}

func (d *Disk) has(action byte) bool {
	for _, a := range d.Actions {
		if a == action {
			return true
		}
	}
	return false
}

// read is GOOD status with an answer in the command's room.
func read(c sgio.Command, answer []byte) sgio.Result {
	return sgio.Result{Residual: len(c.Data) - copy(c.Data, answer)}
}

func (d *Disk) inquiry(c sgio.Command) sgio.Result {
	if c.CDB[1] == 0 {
		answer := make([]byte, 36)
		answer[0], answer[2], answer[4] = d.Type, 6, 31
		if d.Version != 0 {
			answer[2] = d.Version
		}
		copy(answer[8:], fmt.Sprintf("%-8s%-16s%-4s", "MODEL", "Model of a disk", "1.0"))
		return read(c, answer)
	}
	if d.NoPages {
		return d.Check(0x5, 0x2400)
	}
	switch c.CDB[2] {
	case 0x00:
		return read(c, []byte{0, 0x00, 0, 3, 0x00, 0x80, 0xb1})
	case 0x80:
		return read(c, append([]byte{0, 0x80, 0, 9}, "MODEL0001"...))
	case 0xb1: // reads succeed after a block erase, and may not after a crypto erase
		return read(c, append([]byte{0, 0xb1, 0, 60, 0, 1, 0, 1 << 6}, make([]byte, 56)...))
	}
	return d.Check(0x5, 0x2400)
}

// sanitize is SBC-4, section "SANITIZE command".
func (d *Disk) sanitize(c sgio.Command) sgio.Result {
	action, free := c.CDB[1]&0x1f, c.CDB[1]&(1<<5) != 0
	restricted := d.failed && !d.free
	switch {
	case len(d.Actions) == 0:
		return d.Check(0x5, 0x2000)
	case action == 0x1f:
		if restricted {
			return d.Check(0x5, 0x2400)
		}
		d.failed = false
		return sgio.Result{}
	case !d.has(action), free && d.NoAUSE, free && restricted, c.CDB[1]&(1<<7) == 0:
		return d.Check(0x5, 0x2400)
	case action == Overwrite && (len(c.Data) != int(binary.BigEndian.Uint16(c.CDB[7:])) || len(c.Data) < 5 || c.Data[0]&0x1f == 0):
		return d.Check(0x5, 0x2600)
	}
	d.sanitizing, d.failed, d.free, d.action = true, false, free, action
	d.done, d.left, d.since = 0, d.Duration, time.Now()
	d.sanitizes = append(d.sanitizes, append([]byte(nil), c.CDB...))
	return sgio.Result{}
}

// advance lets the time that has passed count for the sanitize in progress.
func (d *Disk) advance() {
	if !d.sanitizing || d.since.IsZero() {
		return
	}
	now := time.Now()
	passed := now.Sub(d.since)
	d.since = now
	if d.Hangs {
		return
	}
	if d.done, d.left = d.done+passed, d.left-passed; d.left > 0 {
		return
	}
	d.sanitizing, d.failed = false, d.Fails
	if !d.Fails && !d.Lies {
		d.erase()
	}
}

// erase makes the content zeros, or what another key makes of it.
func (d *Disk) erase() {
	buf := make([]byte, 1<<20)
	noise := rand.NewChaCha8([32]byte{1})
	for off := int64(0); off < d.Size; off += int64(len(buf)) {
		if d.action == CryptoErase {
			noise.Read(buf)
		}
		if _, err := d.Content.WriteAt(buf[:min(int64(len(buf)), d.Size-off)], off); err != nil {
			panic(fmt.Sprintf("model of a SCSI disk: %v", err))
		}
	}
}

// Sense is sense data in the format of the disk.
func (d *Disk) Sense(key byte, code uint16) []byte {
	if d.Descriptors {
		return []byte{0x72, key, byte(code >> 8), byte(code), 0, 0, 0, 0}
	}
	sense := make([]byte, 18)
	sense[0], sense[2], sense[7], sense[12], sense[13] = 0x70, key, 10, byte(code>>8), byte(code)
	return sense
}

// progress is the sense data of a sanitize in progress.
func (d *Disk) progress() []byte {
	sense := d.Sense(0x2, 0x041b)
	progress := uint16(min(d.done*65536/max(d.done+d.left, 1), 65535))
	if d.Descriptors {
		sense[7] = 8
		return append(sense, 0x02, 6, 0, 0, 0x80, byte(progress>>8), byte(progress), 0)
	}
	sense[15], sense[16], sense[17] = 0x80, byte(progress>>8), byte(progress)
	return sense
}
