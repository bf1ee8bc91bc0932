package nvme

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"ferric/hwmanager/erasure"
)

// Identify (section 5.17): opcode, values of CNS, size of every answer.
const (
	opIdentify       = 0x06
	cnsNamespace     = 0x00 // 5.17.2.1; data structure: NVM Command Set 4.1.5.1
	cnsController    = 0x01 // 5.17.2.2
	cnsActiveList    = 0x02 // 5.17.2.3
	cnsAllocatedList = 0x10 // 5.17.2.12
	identifySize     = 4096
	listLength       = identifySize / 4
)

// commandTime bounds commands that the controller answers from its memory.
const commandTime = 30 * time.Second

// Controller is what is needed of the Identify Controller data structure.
type Controller struct {
	Serial, Model, Firmware string
	CMIC                    byte   // controller multi-path I/O and namespace sharing
	OACS                    uint16 // optional admin commands
	SANICAP                 uint32 // sanitize capabilities
	NN                      uint32 // highest namespace identifier
	FNA                     byte   // format NVM attributes
	ID                      uint16 // CNTLID
	MDTS                    byte   // maximum data transfer size
	FRMW                    byte   // firmware updates
	MTFA                    uint16 // maximum time for firmware activation, 100 ms
	FWUG                    byte   // firmware update granularity, 4 KiB
}

// Bits of Controller (section 5.17.2.2).
const (
	CMICControllers         = 1 << 1 // the subsystem may have several controllers
	OACSFormat              = 1 << 1
	OACSFirmware            = 1 << 2
	OACSNamespaceManagement = 1 << 3
	SanitizeCryptoErase     = 1 << 0  // of SANICAP
	SanitizeBlockErase      = 1 << 1  // of SANICAP
	SanitizeOverwrite       = 1 << 2  // of SANICAP
	FormatAll               = 1 << 0  // of FNA: a format is one of all namespaces
	FormatEraseAll          = 1 << 1  // of FNA: so is a secure erase
	FormatCryptoErase       = 1 << 2  // of FNA
	maxNamespaces           = 1 << 16 // of ours: a drive with more is not believed
)

// ParseController reads an Identify Controller data structure.
func ParseController(b []byte) (Controller, error) {
	if len(b) < identifySize {
		return Controller{}, fmt.Errorf("identify controller: %d bytes", len(b))
	}
	return Controller{
		Serial:   text(b[4:24]),
		Model:    text(b[24:64]),
		Firmware: text(b[64:72]),
		CMIC:     b[76],
		OACS:     binary.LittleEndian.Uint16(b[256:]),
		SANICAP:  binary.LittleEndian.Uint32(b[328:]),
		NN:       binary.LittleEndian.Uint32(b[516:]),
		FNA:      b[524],
		ID:       binary.LittleEndian.Uint16(b[78:]),
		MDTS:     b[77],
		FRMW:     b[260],
		MTFA:     binary.LittleEndian.Uint16(b[270:]),
		FWUG:     b[319],
	}, nil
}

// text is an ASCII field, which is padded with spaces; what is not printable
// ASCII is a question mark.
func text(b []byte) string {
	b, _, _ = bytes.Cut(b, []byte{0})
	return strings.TrimSpace(strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return '?'
		}
		return r
	}, string(b)))
}

// Namespace is what is needed of the Identify Namespace data structure.
type Namespace struct {
	Blocks    uint64 // NSZE
	BlockSize int    // bytes of data of a logical block, without metadata
	FLBAS     byte   // formatted LBA size
	DPS       byte   // end-to-end data protection type settings
	NMIC      byte   // bit 0: may be attached to several controllers
	FPI       byte   // format progress indicator
}

// ParseNamespace reads an Identify Namespace data structure.
func ParseNamespace(b []byte) (Namespace, error) {
	if len(b) < identifySize {
		return Namespace{}, fmt.Errorf("identify namespace: %d bytes", len(b))
	}
	n := Namespace{
		Blocks: binary.LittleEndian.Uint64(b[0:]),
		FLBAS:  b[26],
		DPS:    b[29],
		NMIC:   b[30],
		FPI:    b[32],
	}
	if n.Blocks == 0 {
		return Namespace{}, errors.New("identify namespace: not active")
	}
	formats, format := int(b[25])+1, n.format() // NLBAF is zero-based
	if format >= formats {
		return Namespace{}, fmt.Errorf("identify namespace: formatted as number %d of %d formats", format, formats)
	}
	shift := b[128+4*format+2] // LBADS of the LBA format
	if shift < 9 || shift > 24 {
		return Namespace{}, fmt.Errorf("identify namespace: blocks of 2^%d bytes", shift)
	}
	n.BlockSize = 1 << shift
	if n.Blocks > 1<<63/uint64(n.BlockSize)-1 {
		return Namespace{}, fmt.Errorf("identify namespace: %d blocks of %d bytes", n.Blocks, n.BlockSize)
	}
	return n, nil
}

// format is the number of the LBA format: bits 3:0 of FLBAS, and bits 6:5 above
// them.
func (n Namespace) format() int { return int(n.FLBAS&0xf | n.FLBAS>>5&3<<4) }

// Size is the capacity in bytes.
func (n Namespace) Size() int64 { return int64(n.Blocks) * int64(n.BlockSize) }

// protected reports whether blocks carry protection information.
func (n Namespace) protected() bool { return n.DPS&7 != 0 }

// drive is a controller by way of one of its namespaces.
type drive struct {
	transport Transport
	Controller
	id uint32 // of the namespace
	ns Namespace
}

// identify finds out what the disk is. The namespace must be of the size that
// the kernel gives the disk: a partition, or a part of a drive that a device
// mapper makes a disk of, passes commands on that would hit the whole drive.
func identify(ctx context.Context, t Transport, size int64) (*drive, error) {
	d := &drive{transport: t}
	var err error
	if d.id, err = t.NamespaceID(ctx); err != nil {
		return nil, err
	}
	if d.id == 0 || d.id == allNamespaces {
		return nil, fmt.Errorf("namespace identifier %#x: %w", d.id, erasure.ErrNotSupported)
	}
	answer, err := d.identify(ctx, cnsController, 0)
	if err != nil {
		return nil, fmt.Errorf("identify controller: %w", err)
	}
	if d.Controller, err = ParseController(answer); err != nil {
		return nil, err
	}
	if d.ns, err = d.namespace(ctx); err != nil {
		return nil, err
	}
	if d.ns.Size() != size {
		return nil, fmt.Errorf("the disk has %d bytes and its namespace %d: it is not the whole namespace: %w", size, d.ns.Size(), erasure.ErrNotSupported)
	}
	return d, nil
}

func (d *drive) namespace(ctx context.Context) (Namespace, error) {
	answer, err := d.identify(ctx, cnsNamespace, d.id)
	if err != nil {
		return Namespace{}, fmt.Errorf("identify namespace %d: %w", d.id, err)
	}
	return ParseNamespace(answer)
}

func (d *drive) identify(ctx context.Context, cns, namespace uint32) ([]byte, error) {
	c := &Command{Opcode: opIdentify, Namespace: namespace, CDW10: cns, Data: make([]byte, identifySize), Timeout: commandTime}
	return c.Data, d.do(ctx, c)
}

// retryTime is how long a command is sent again whose status says that it may
// succeed later, retryPause the time between.
const (
	retryTime  = time.Minute
	retryPause = time.Second
)

// do performs a command, again while it fails for a reason that passes.
func (d *drive) do(ctx context.Context, c *Command) error {
	for deadline := time.Now().Add(retryTime); ; {
		err := d.once(ctx, c)
		if !transient(err) || time.Now().After(deadline) {
			return err
		}
		if err := erasure.Sleep(ctx, retryPause); err != nil {
			return err
		}
	}
}

// resetTime is how long the kernel may take to abort a command that is late,
// and to reset the controller.
const resetTime = 3 * time.Minute

// once performs a command. A kernel that does not give up waiting for the
// controller is given up waiting for.
func (d *drive) once(ctx context.Context, c *Command) error {
	ctx, cancel := context.WithTimeoutCause(ctx, c.Timeout+resetTime, errAborted)
	defer cancel()
	return d.transport.Do(ctx, c)
}

// checkAgreed is nil if all namespaces of the NVM subsystem, which a sanitize
// erases and some formats do, are the disk's own or among those agreed on.
func (d *drive) checkAgreed(ctx context.Context, agreed []uint32) error {
	list := uint32(cnsActiveList) // those of this controller
	switch {
	case d.OACS&OACSNamespaceManagement != 0:
		list = cnsAllocatedList // those of the subsystem
	case d.CMIC&CMICControllers != 0:
		return fmt.Errorf("the drive may have namespaces at other controllers, which cannot be listed: %w", erasure.ErrNotSupported)
	}
	all, err := d.list(ctx, list)
	if err != nil {
		return fmt.Errorf("list namespaces: %w", err)
	}
	if !slices.Contains(all, d.id) {
		return fmt.Errorf("list namespaces: namespace %d is not in the list", d.id)
	}
	for _, id := range all {
		if id != d.id && !slices.Contains(agreed, id) {
			return fmt.Errorf("namespace %d of the same drive would be erased along: %w", id, erasure.ErrNotSupported)
		}
	}
	return nil
}

// list reads a list of namespace identifiers, which are in ascending order. A
// controller of before NVMe 1.1 has no lists; one that can have a single
// namespace needs none.
func (d *drive) list(ctx context.Context, cns uint32) ([]uint32, error) {
	var all []uint32
	for last := uint32(0); ; {
		answer, err := d.identify(ctx, cns, last)
		if refusesCommand(err) && d.NN == 1 && last == 0 {
			return []uint32{1}, nil
		}
		if refusesCommand(err) {
			err = fmt.Errorf("%w (%w)", erasure.ErrNotSupported, err)
		}
		if err != nil {
			return nil, err
		}
		for i := range listLength {
			id := binary.LittleEndian.Uint32(answer[4*i:])
			if id == 0 {
				return all, nil
			}
			if id <= last || len(all) == maxNamespaces {
				return nil, fmt.Errorf("identifier %#x after %#x, the %dth", id, last, len(all)+1)
			}
			all, last = append(all, id), id
		}
	}
}
