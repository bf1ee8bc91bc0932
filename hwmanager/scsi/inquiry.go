package scsi

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"ferric/hwmanager/erasure"
	"ferric/hwmanager/sgio"
	"ferric/images/disk"
)

// Vital product data pages (SPC-5, section "Vital product data parameters";
// B1h: SBC-4).
const (
	pageSupported       = 0x00
	pageSerial          = 0x80
	pageCharacteristics = 0xb1 // Block Device Characteristics
	answerSize          = 255
)

// Inquiry is what a device says of itself.
type Inquiry struct {
	Vendor, Product, Revision string
	Serial                    string // "" where it does not tell
	Type                      byte   // PERIPHERAL DEVICE TYPE
	Version                   byte   // VERSION: 5 is SPC-3, 6 SPC-4, 7 SPC-5
	Characteristics           bool   // has the page Block Device Characteristics
	// What reading a block does that was not written since a block erase and a
	// crypto erase (WABEREQ, WACEREQ of SBC-4, page B1h): 1 is that it succeeds.
	AfterBlockErase, AfterCryptoErase byte
}

// readsAfter is the value of WABEREQ and WACEREQ at which a block reads without
// error.
const readsAfter = 1

// ParseInquiry reads standard INQUIRY data (SPC-5, section "Standard INQUIRY
// data").
func ParseInquiry(b []byte) (Inquiry, error) {
	if len(b) < 36 {
		return Inquiry{}, fmt.Errorf("inquiry: %d bytes", len(b))
	}
	if qualifier := b[0] >> 5; qualifier != 0 {
		return Inquiry{}, fmt.Errorf("inquiry: no device is connected (qualifier %d): %w", qualifier, erasure.ErrNotSupported)
	}
	return Inquiry{
		Type: b[0] & 0x1f, Version: b[2],
		Vendor: text(b[8:16]), Product: text(b[16:32]), Revision: text(b[32:36]),
	}, nil
}

// text is an ASCII field; what is not printable ASCII is a question mark.
func text(b []byte) string {
	return strings.TrimSpace(strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return '?'
		}
		return r
	}, strings.TrimRight(string(b), "\x00")))
}

// ParsePage returns the payload of a page of vital product data.
func ParsePage(b []byte, page byte) ([]byte, error) {
	if len(b) < 4 || b[1] != page {
		return nil, fmt.Errorf("vital product data page %02Xh: %d bytes of something else", page, len(b))
	}
	return b[4:min(len(b), 4+int(binary.BigEndian.Uint16(b[2:])))], nil
}

// inquire asks for standard data, serial number and characteristics; the latter
// two are not there on every device.
func (d *device) inquire(ctx context.Context) error {
	answer, err := d.do(ctx, sgio.Command{CDB: []byte{opInquiry, 0, 0, 0, answerSize, 0}, Data: make([]byte, answerSize)})
	if err != nil {
		return fmt.Errorf("inquiry: %w", err)
	}
	if d.inquiry, err = ParseInquiry(answer); err != nil {
		return err
	}
	if d.inquiry.Type != typeDirectAccess && d.inquiry.Type != typeHostManagedZone {
		return fmt.Errorf("inquiry: device type %02Xh: %w", d.inquiry.Type, erasure.ErrNotSupported)
	}
	pages := d.page(ctx, pageSupported)
	d.inquiry.Characteristics = slices.Contains(pages, pageCharacteristics)
	for _, page := range pages {
		switch page {
		case pageSerial:
			d.inquiry.Serial = text(d.page(ctx, page))
		case pageCharacteristics:
			if b := d.page(ctx, page); len(b) >= 4 {
				d.inquiry.AfterBlockErase, d.inquiry.AfterCryptoErase = b[3]>>6, b[3]>>4&3
			}
		}
	}
	return nil
}

// page is the payload of a page of vital product data, nil if there is none.
func (d *device) page(ctx context.Context, page byte) []byte {
	const enable = 1 // EVPD
	answer, err := d.do(ctx, sgio.Command{CDB: []byte{opInquiry, enable, page, 0, answerSize, 0}, Data: make([]byte, answerSize)})
	if err != nil {
		return nil
	}
	payload, err := ParsePage(answer, page)
	if err != nil {
		return nil
	}
	return payload
}

// ParseCapacity reads the answer to READ CAPACITY (16), or, if it is as short,
// to READ CAPACITY (10): bytes of the device (SBC-4, sections of these).
func ParseCapacity(b []byte) (int64, error) {
	var last, block uint64
	switch {
	case len(b) >= 12:
		last, block = binary.BigEndian.Uint64(b), uint64(binary.BigEndian.Uint32(b[8:]))
	case len(b) == 8:
		last, block = uint64(binary.BigEndian.Uint32(b)), uint64(binary.BigEndian.Uint32(b[4:]))
	default:
		return 0, fmt.Errorf("read capacity: %d bytes", len(b))
	}
	if block == 0 || last >= math.MaxInt64/block {
		return 0, fmt.Errorf("read capacity: last block %d, of %d bytes", last, block)
	}
	return int64((last + 1) * block), nil
}

func (d *device) capacity(ctx context.Context) (int64, error) {
	cdb := make([]byte, 16)
	cdb[0], cdb[1], cdb[13] = opServiceActionIn, saReadCapacity16, 32
	answer, err := d.do(ctx, sgio.Command{CDB: cdb, Data: make([]byte, 32)})
	if refused(err) {
		answer, err = d.do(ctx, sgio.Command{CDB: []byte{opReadCapacity10, 0, 0, 0, 0, 0, 0, 0, 0, 0}, Data: make([]byte, 8)})
	}
	if err != nil {
		return 0, fmt.Errorf("read capacity: %w", err)
	}
	return ParseCapacity(answer)
}

// checkWhole is nil if the commands for dev go to nothing larger: a partition,
// or a part of a disk that a device mapper makes a disk of, passes them on to
// the whole disk.
func (d *device) checkWhole(ctx context.Context, dev *disk.Device, own bool) error {
	size, err := d.capacity(ctx)
	if failed(err) {
		// After a failed sanitize a device does not tell. Linux numbers its disks.
		if own && !isDiskNode(dev) {
			return fmt.Errorf("capacity is unknown after a failed sanitize, and the device may be part of a disk: %w", erasure.ErrNotSupported)
		}
		return nil
	}
	if err != nil {
		return err
	}
	if size != dev.Size {
		return fmt.Errorf("the disk has %d bytes and the device %d: it is not the whole device: %w", dev.Size, size, erasure.ErrNotSupported)
	}
	return nil
}

// isDiskNode reports whether dev is a whole SCSI disk by its device number:
// linux/major.h, SCSI_DISK0_MAJOR to SCSI_DISK15_MAJOR, each disk with 16 minors.
func isDiskNode(dev *disk.Device) bool {
	var stat unix.Stat_t
	if err := unix.Fstat(int(dev.File().Fd()), &stat); err != nil || !dev.IsBlock() {
		return false
	}
	major, minor := unix.Major(stat.Rdev), unix.Minor(stat.Rdev)
	return minor%16 == 0 && (major == 8 || major >= 65 && major <= 71 || major >= 128 && major <= 135)
}

// reported asks whether the device supports a command with a service action
// (SPC-5, section "REPORT SUPPORTED OPERATION CODES"). Where it cannot tell, it
// may be tried.
func (d *device) reported(ctx context.Context, operation, action byte) error {
	const withAction = 2 // REPORTING OPTIONS 010b
	cdb := []byte{opMaintenanceIn, saReportOperation, withAction, operation, 0, action, 0, 0, 0, answerSize, 0, 0}
	answer, err := d.do(ctx, sgio.Command{CDB: cdb, Data: make([]byte, answerSize)})
	var e *Error
	switch {
	case errors.As(err, &e) && e.Sense != nil && e.Sense.Key == sgio.IllegalRequest:
		return nil
	case errors.As(err, &e):
		return fmt.Errorf("report supported operation codes: %w", err)
	case err != nil:
		return err
	}
	const notSupported = 1 // SUPPORT 001b
	if len(answer) >= 2 && answer[1]&7 == notSupported {
		return erasure.ErrNotSupported
	}
	return nil
}
