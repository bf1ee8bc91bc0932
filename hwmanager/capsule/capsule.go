// Package capsule reads capsules, in which firmware is handed to UEFI, and the
// table of what takes such firmware (ESRT), and hands capsules over.
//
// Sections named are those of the UEFI specification 2.10.
package capsule

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// Flags of EFI_CAPSULE_HEADER (section 8.5.3). Bits 15:0 belong to who defined
// the capsule's GUID.
const (
	FlagPersist    = 1 << 16 // the capsule is there after a reset
	FlagTable      = 1 << 17 // and shown in the system table
	FlagReset      = 1 << 18 // the firmware resets the machine when it gets it
	flagsReserved  = 0xfff80000
	headerSize     = 28
	maxHeader      = 64 << 10 // of ours: what follows the header is the payload
	flagsAt        = 20
	fmpHeaderSize  = 8
	maxItems       = 1 << 10 // of ours
	maxDependency  = 64 << 10
	authSize       = 8 + 24 // EFI_FIRMWARE_IMAGE_AUTHENTICATION without the certificate's data
	payloadHeader  = 16
	supportsAuth   = 1 << 0 // of ImageCapsuleSupport
	supportsDepend = 1 << 1 // of ImageCapsuleSupport
)

// ErrFormat: it is no capsule, or one that is damaged.
var ErrFormat = errors.New("not a valid UEFI capsule")

// Capsule is what a capsule says of itself.
type Capsule struct {
	GUID     GUID
	Flags    uint32
	Size     int64
	Drivers  int // that are in it for the update of its payloads
	Payloads []Payload
}

// Payload is firmware in a capsule.
type Payload struct {
	Type     GUID   // what it is for: the class of an entry of the ESRT
	Index    byte   // number of the image of that device
	Instance uint64 // the one of several devices that it is for; 0: any
	Size     int64
	Signed   bool
	Depends  []byte // dependency expression; nil for none
	// Known says whether the payload has a header with the next two.
	Known           bool
	Version, Lowest uint32
}

// Managed says that the payloads go to the firmware management protocol: the
// header of such a capsule only tells how it is delivered.
func (c *Capsule) Managed() bool { return c.GUID == fmpCapsule() }

// Parse reads the headers of a capsule that is all of r. It believes nothing that
// does not fit together.
func Parse(r io.ReaderAt, size int64) (*Capsule, error) {
	c, err := parse(r, size, true)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrFormat, err)
	}
	return c, nil
}

func parse(r io.ReaderAt, size int64, outer bool) (*Capsule, error) {
	h, err := read(r, size, 0, headerSize)
	if err != nil {
		return nil, err
	}
	if what := mistaken(h); what != "" && outer {
		return nil, fmt.Errorf("it is %s", what)
	}
	le := binary.LittleEndian
	c := &Capsule{GUID: GUID(h[:16]), Flags: le.Uint32(h[flagsAt:]), Size: int64(le.Uint32(h[24:]))}
	body := int64(le.Uint32(h[16:]))
	switch {
	case c.Size != size:
		return nil, fmt.Errorf("its header tells of %d bytes, and it has %d", c.Size, size)
	case body < headerSize || body > maxHeader || body >= size:
		return nil, fmt.Errorf("its header is said to have %d of %d bytes", body, size)
	case c.Flags&flagsReserved != 0:
		return nil, fmt.Errorf("it has the flags %#x, of which %#x are reserved", c.Flags, c.Flags&flagsReserved)
	case c.Flags&(FlagTable|FlagReset) != 0 && c.Flags&FlagPersist == 0:
		return nil, fmt.Errorf("it has the flags %#x, which go only with %#x", c.Flags, FlagPersist)
	}
	section := io.NewSectionReader(r, body, size-body)
	if c.Managed() {
		return c, c.items(section)
	}
	// Anything else is whatever the class wants; some want a managed capsule.
	only := Payload{Type: c.GUID, Size: section.Size()}
	if outer {
		if inner, err := parse(section, section.Size(), false); err == nil && inner.Managed() {
			c.Drivers = inner.Drivers
			if len(inner.Payloads) == 1 {
				only = inner.Payloads[0]
				only.Type = c.GUID
			}
		}
	}
	c.Payloads = []Payload{only}
	return c, nil
}

// mistaken names what is often downloaded in place of a capsule.
func mistaken(h []byte) string {
	for magic, what := range map[string]string{
		"MSCF":       "a cabinet archive: take the capsule out of it",
		"PK\x03\x04": "a zip archive: take the capsule out of it",
		"MZ":         "a program: the vendor's other download is the capsule",
		"\x7fELF":    "a program: the vendor's other download is the capsule",
		"<!DOCTYPE":  "a web page",
		"<html":      "a web page",
		"\x1f\x8b":   "compressed by gzip",
	} {
		if len(h) >= len(magic) && string(h[:len(magic)]) == magic {
			return what
		}
	}
	return ""
}

// items reads EFI_FIRMWARE_MANAGEMENT_CAPSULE_HEADER (section 23.3.2), which
// offsets are counted from, and what it lists: drivers, then payloads.
func (c *Capsule) items(r *io.SectionReader) error {
	h, err := read(r, r.Size(), 0, fmpHeaderSize)
	if err != nil {
		return err
	}
	le := binary.LittleEndian
	version, drivers, payloads := le.Uint32(h[0:]), int(le.Uint16(h[4:])), int(le.Uint16(h[6:]))
	n := drivers + payloads
	switch {
	case version != 1:
		return fmt.Errorf("its firmware management header has version %d, known is 1", version)
	case payloads == 0:
		return errors.New("it holds no firmware")
	case n > maxItems:
		return fmt.Errorf("it lists %d items", n)
	}
	list, err := read(r, r.Size(), fmpHeaderSize, int64(8*n))
	if err != nil {
		return err
	}
	offsets := make([]int64, n+1)
	offsets[n] = r.Size()
	least := int64(fmpHeaderSize + 8*n)
	for i := range n {
		at := le.Uint64(list[8*i:])
		if at >= uint64(r.Size()) || int64(at) < least {
			return fmt.Errorf("item %d of %d is said to be at %d, which is not between %d and %d", i+1, n, at, least, r.Size())
		}
		offsets[i], least = int64(at), int64(at)+1
	}
	c.Drivers = drivers
	for i := range drivers {
		magic, err := read(r, offsets[i+1], offsets[i], 2)
		if err != nil || string(magic) != "MZ" {
			return fmt.Errorf("item %d is no EFI driver", i+1)
		}
	}
	for i := drivers; i < n; i++ {
		p, err := parsePayload(io.NewSectionReader(r, offsets[i], offsets[i+1]-offsets[i]))
		if err != nil {
			return fmt.Errorf("item %d: %w", i+1, err)
		}
		c.Payloads = append(c.Payloads, p)
	}
	return nil
}

// parsePayload reads EFI_FIRMWARE_MANAGEMENT_CAPSULE_IMAGE_HEADER (section
// 23.3.2) and what stands before the firmware itself.
func parsePayload(r *io.SectionReader) (Payload, error) {
	var p Payload
	le := binary.LittleEndian
	h, err := read(r, r.Size(), 0, 32)
	if err != nil {
		return p, err
	}
	sizes := map[uint32]int64{1: 32, 2: 40, 3: 48}
	version := le.Uint32(h[0:])
	size, known := sizes[version]
	if !known {
		return p, fmt.Errorf("its image header has version %d, known are 1 to 3", version)
	}
	if h, err = read(r, r.Size(), 0, size); err != nil {
		return p, err
	}
	p = Payload{Type: GUID(h[4:20]), Index: h[20], Size: int64(le.Uint32(h[24:]))}
	if vendor := int64(le.Uint32(h[28:])); size+p.Size+vendor != r.Size() {
		return p, fmt.Errorf("its headers, %d bytes of firmware and %d of the vendor's code are not the %d bytes that it has", p.Size, vendor, r.Size())
	}
	var supports uint64
	if version >= 2 {
		p.Instance = le.Uint64(h[32:])
	}
	if version >= 3 {
		supports = le.Uint64(h[40:])
	}
	return p, p.prefixes(io.NewSectionReader(r, size, p.Size), supports)
}

// prefixes are what stands before the firmware: EFI_FIRMWARE_IMAGE_AUTHENTICATION
// and EFI_FIRMWARE_IMAGE_DEP (section 23.1), and the header in which EDK II has
// the version, which is usual and in no specification.
func (p *Payload) prefixes(r *io.SectionReader, supports uint64) error {
	le := binary.LittleEndian
	at := int64(0)
	if h, err := read(r, r.Size(), 0, authSize); err == nil && le.Uint16(h[12:]) == 0x0200 && le.Uint16(h[14:]) == 0x0ef1 {
		length := int64(le.Uint32(h[8:])) // of WIN_CERTIFICATE, itself included
		if length < authSize-8 || 8+length > r.Size() {
			return fmt.Errorf("its signature is said to have %d of %d bytes", length, r.Size())
		}
		p.Signed, at = true, 8+length
	}
	if supports&supportsAuth != 0 && !p.Signed {
		return errors.New("it is said to be signed, and has no signature")
	}
	if supports&supportsDepend != 0 {
		text, err := read(r, r.Size(), at, min(maxDependency, r.Size()-at))
		if err != nil {
			return err
		}
		length, err := dependencyLength(text)
		if err != nil {
			return err
		}
		p.Depends, at = text[:length], at+int64(length)
	}
	if h, err := read(r, r.Size(), at, payloadHeader); err == nil && string(h[:4]) == "MSS1" {
		length := int64(le.Uint32(h[4:]))
		if length < payloadHeader || length > r.Size()-at {
			return fmt.Errorf("its payload header is said to have %d of %d bytes", length, r.Size()-at)
		}
		p.Known, p.Version, p.Lowest = true, le.Uint32(h[8:]), le.Uint32(h[12:])
	}
	return nil
}

// read reads n bytes at off, which must lie before end.
func read(r io.ReaderAt, end, off, n int64) ([]byte, error) {
	if off < 0 || n < 0 || off > end-n {
		return nil, fmt.Errorf("it ends after %d bytes, within what belongs at %d", end, off)
	}
	b := make([]byte, n)
	if got, err := r.ReadAt(b, off); int64(got) < n {
		return nil, fmt.Errorf("read %d bytes at %d: %w", n, off, err)
	}
	return b, nil
}
