// Package nvmemodel is a model of an NVMe drive for tests: namespaces with
// content, and a controller in front of them that answers admin commands as the
// NVM Express Base Specification 2.0 has it, or as the test wants it to.
package nvmemodel

import (
	"cmp"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"sync"
	"time"

	"ferric/hwmanager/erasure"
	"ferric/hwmanager/nvme"
)

// Content is what a namespace holds; a file will do.
type Content interface {
	io.ReaderAt
	io.WriterAt
}

// Namespace is a namespace of a Drive.
type Namespace struct {
	Content   Content
	Size      int64 // bytes
	BlockBits int   // logarithm of the block size; 0 is 9
	FLBAS     byte
	DPS       byte
}

// Drive is a controller with its namespaces. Set the fields before the first
// command, or between two.
type Drive struct {
	Namespaces map[uint32]*Namespace
	Serial     string // "" is one of the model's
	SANICAP    uint32
	OACS       uint16
	FNA        byte
	CMIC       byte
	// Controllers are the identifiers of the drive's controllers, of which this is
	// the first; none means that it does not list them.
	Controllers []uint16
	// Estimates of an overwrite, a block erase and a crypto erase, in seconds.
	Estimates [3]uint32

	// Duration is how long a sanitize or format takes.
	Duration time.Duration
	// Fails has sanitizes fail at their end, and formats with Internal Error.
	Fails bool
	// Lies has the drive report success and change nothing.
	Lies bool
	// Hangs has sanitizes never end.
	Hangs bool
	// Refuse is asked before a command is performed: a status other than nil is
	// its answer. It may also change the command or wait.
	Refuse func(ctx context.Context, c *nvme.Command) error
	// Garble changes answers on their way to the host.
	Garble func(c *nvme.Command)

	// Firmware is what the drive can do with firmware; nil is a drive that has no
	// commands for it.
	Firmware *Firmware

	mu         sync.Mutex
	state      nvme.SanitizeState
	cdw10      uint32
	done, left time.Duration // of the sanitize in progress, up to since
	since      time.Time     // when it was started or resumed; zero without power
	formats    int
	sanitizes  []uint32
}

// New is a drive with one namespace, number 1.
func New(content Content, size int64) *Drive {
	return &Drive{
		Namespaces: map[uint32]*Namespace{1: {Content: content, Size: size}},
		Estimates:  [3]uint32{0xffffffff, 0xffffffff, 0xffffffff},
	}
}

// Transport is the way to the controller through one of its namespaces.
func (d *Drive) Transport(namespace uint32) nvme.Transport { return transport{d, namespace} }

type transport struct {
	drive *Drive
	id    uint32
}

func (t transport) NamespaceID(context.Context) (uint32, error) {
	if t.id == 0 {
		return 0, fmt.Errorf("model: %w", erasure.ErrNotSupported)
	}
	return t.id, nil
}

func (t transport) Do(ctx context.Context, c *nvme.Command) error {
	d := t.drive
	if d.Refuse != nil {
		if err := d.Refuse(ctx, c); err != nil {
			return err
		}
	}
	var err error
	if c.Opcode == 0x80 {
		err = d.format(ctx, c)
	} else {
		d.mu.Lock()
		err = d.perform(c)
		d.mu.Unlock()
	}
	if err == nil && d.Garble != nil {
		d.Garble(c)
	}
	return err
}

// Sanitizes lists the CDW10 of the Sanitize commands that were accepted.
func (d *Drive) Sanitizes() []uint32 {
	d.mu.Lock()
	defer d.mu.Unlock()
	return append([]uint32(nil), d.sanitizes...)
}

// Formats counts the formats that were completed.
func (d *Drive) Formats() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.formats
}

// PowerOff takes the power away, which stops a sanitize until PowerOn: then
// the controller resumes it (section 8.21).
func (d *Drive) PowerOff() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.advance()
	d.since = time.Time{}
}

// PowerOn gives it back.
func (d *Drive) PowerOn() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.since = time.Now()
}

// advance lets the time that has passed count for the sanitize in progress.
func (d *Drive) advance() {
	if d.state != nvme.Sanitizing || d.since.IsZero() {
		return
	}
	now := time.Now()
	passed := now.Sub(d.since)
	d.since = now
	if d.Hangs {
		return
	}
	d.done, d.left = d.done+passed, d.left-passed
	if d.left > 0 {
		return
	}
	if d.Fails {
		d.state = nvme.SanitizeHasFailed
		return
	}
	d.state = nvme.Sanitized
	for _, n := range d.Namespaces {
		d.erase(n, d.cdw10&7 == 4)
	}
}

// erase makes the content zeros, or what another key makes of it.
func (d *Drive) erase(n *Namespace, crypto bool) {
	if d.Lies {
		return
	}
	buf := make([]byte, 1<<20)
	noise := rand.NewChaCha8([32]byte{1})
	for off := int64(0); off < n.Size; off += int64(len(buf)) {
		if crypto {
			noise.Read(buf)
		}
		if _, err := n.Content.WriteAt(buf[:min(int64(len(buf)), n.Size-off)], off); err != nil {
			panic(fmt.Sprintf("model of an NVMe drive: %v", err))
		}
	}
}

func (d *Drive) perform(c *nvme.Command) error {
	d.advance()
	switch c.Opcode {
	case 0x06:
		return d.identify(c)
	case 0x02:
		return d.logPage(c)
	case 0x84:
		return d.sanitize(c)
	case 0x10, 0x11:
		if d.Firmware == nil {
			return nvme.InvalidOpcode
		}
		if d.state == nvme.Sanitizing {
			return nvme.SanitizeInProgress
		}
		if c.Opcode == 0x10 {
			return d.Firmware.commit(c)
		}
		return d.Firmware.download(c)
	}
	return nvme.InvalidOpcode
}

func (d *Drive) identify(c *nvme.Command) error {
	clear(c.Data)
	le := binary.LittleEndian
	switch c.CDW10 & 0xff {
	case 0x00:
		n := d.Namespaces[c.Namespace]
		if n == nil {
			return nil // zeros: not active
		}
		bits := 9
		if n.BlockBits != 0 {
			bits = n.BlockBits
		}
		le.PutUint64(c.Data[0:], uint64(n.Size>>bits))
		c.Data[25] = 63 // NLBAF, all alike
		c.Data[26], c.Data[29] = n.FLBAS, n.DPS
		for i := range 64 {
			c.Data[128+4*i+2] = byte(bits)
		}
	case 0x01:
		copy(c.Data[4:24], fmt.Sprintf("%-20s", cmp.Or(d.Serial, "MODEL0001")))
		copy(c.Data[24:64], fmt.Sprintf("%-40s", "Model of a drive"))
		copy(c.Data[64:72], fmt.Sprintf("%-8s", "1.0"))
		c.Data[76] = d.CMIC
		if len(d.Controllers) > 0 {
			le.PutUint16(c.Data[78:], d.Controllers[0])
		}
		le.PutUint16(c.Data[256:], d.OACS)
		le.PutUint32(c.Data[328:], d.SANICAP)
		le.PutUint32(c.Data[516:], uint32(len(d.Namespaces)))
		c.Data[524] = d.FNA
		if d.Firmware != nil {
			d.Firmware.identify(c.Data)
		}
	case 0x13:
		if len(d.Controllers) == 0 {
			return nvme.InvalidField
		}
		le.PutUint16(c.Data, uint16(len(d.Controllers)))
		for i, id := range d.Controllers {
			le.PutUint16(c.Data[2+2*i:], id)
		}
	case 0x02, 0x10:
		if c.CDW10&0xff == 0x10 && d.OACS&nvme.OACSNamespaceManagement == 0 {
			return nvme.InvalidField
		}
		at := 0
		for id := c.Namespace + 1; at < len(c.Data) && id <= 1<<12; id++ {
			if d.Namespaces[id] != nil {
				le.PutUint32(c.Data[at:], id)
				at += 4
			}
		}
	default:
		return nvme.InvalidField
	}
	return nil
}

func (d *Drive) logPage(c *nvme.Command) error {
	if c.CDW10&0xff == 0x03 {
		return d.Firmware.log(c.Data)
	}
	if c.CDW10&0xff != 0x81 || d.SANICAP&7 == 0 {
		return nvme.InvalidLogPage
	}
	clear(c.Data)
	le := binary.LittleEndian
	progress := uint16(0xffff)
	if d.state == nvme.Sanitizing && d.done+d.left > 0 {
		progress = uint16(d.done * 65536 / (d.done + d.left))
	}
	le.PutUint16(c.Data[0:], progress)
	le.PutUint16(c.Data[2:], uint16(d.state))
	le.PutUint32(c.Data[4:], d.cdw10)
	for i, seconds := range d.Estimates {
		le.PutUint32(c.Data[8+4*i:], seconds)
	}
	return nil
}

// sanitize is section 5.24 with the restrictions of section 8.21.
func (d *Drive) sanitize(c *nvme.Command) error {
	if d.SANICAP&7 == 0 {
		return nvme.InvalidOpcode
	}
	if d.state == nvme.Sanitizing {
		return nvme.SanitizeInProgress
	}
	action, unrestricted := c.CDW10&7, c.CDW10&(1<<3) != 0
	restricted := d.state == nvme.SanitizeHasFailed && d.cdw10&(1<<3) == 0
	if action == 1 { // exit failure mode
		if restricted {
			return nvme.SanitizeFailed
		}
		if d.state == nvme.SanitizeHasFailed {
			d.state = nvme.NeverSanitized
		}
		return nil
	}
	capability := map[uint32]uint32{2: nvme.SanitizeBlockErase, 3: nvme.SanitizeOverwrite, 4: nvme.SanitizeCryptoErase}[action]
	if d.SANICAP&capability == 0 {
		return nvme.InvalidField
	}
	if restricted && unrestricted {
		return nvme.SanitizeFailed
	}
	d.state, d.cdw10 = nvme.Sanitizing, c.CDW10
	d.done, d.left, d.since = 0, d.Duration, time.Now()
	d.sanitizes = append(d.sanitizes, c.CDW10)
	return nil
}

// format is section 5.14: it is complete when the command is.
func (d *Drive) format(ctx context.Context, c *nvme.Command) error {
	d.mu.Lock()
	d.advance()
	state := d.state
	d.mu.Unlock()
	switch {
	case d.OACS&nvme.OACSFormat == 0:
		return nvme.InvalidOpcode
	case state == nvme.Sanitizing:
		return nvme.SanitizeInProgress
	case state == nvme.SanitizeHasFailed:
		return nvme.SanitizeFailed
	}
	target, erase := d.Namespaces[c.Namespace], c.CDW10>>9&7
	switch {
	case target == nil:
		return nvme.InvalidNamespace
	case byte(c.CDW10&0xf|c.CDW10>>12&3<<5|c.CDW10>>4&1<<4) != target.FLBAS,
		byte(c.CDW10>>5&7|c.CDW10>>8&1<<3) != target.DPS:
		return nvme.InvalidFormat // this drive has one format only
	case erase > 2, erase == 2 && d.FNA&nvme.FormatCryptoErase == 0:
		return nvme.InvalidField
	}
	if d.Hangs {
		<-ctx.Done()
		return context.Cause(ctx)
	}
	select {
	case <-time.After(d.Duration):
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	if d.Fails {
		return nvme.Status(0x006)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for id, n := range d.Namespaces {
		if id == c.Namespace || d.FNA&(nvme.FormatAll|nvme.FormatEraseAll) != 0 {
			d.erase(n, erase == 2)
		}
	}
	d.formats++
	return nil
}
