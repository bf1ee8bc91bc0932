// Package ata has ATA disks erase themselves: SECURITY ERASE UNIT, sent as ATA
// PASS-THROUGH (16) through SG_IO.
//
// The standards are ACS-4 (INCITS 529), SAT-4 (INCITS 491) and SPC-5 (INCITS
// 502); the transport is scsi/sg.h of Linux. Bridges and host adapters in
// between, and the disks themselves, are not believed: what a command was to
// bring about is read back from IDENTIFY DEVICE.
package ata

import (
	"context"
	"fmt"

	"ferric/hwmanager/sgio"
	"ferric/images/disk"
)

// Options of an erase. The zero value is for real disks.
type Options struct {
	Transport sgio.Transport // in place of SG_IO on the device
}

// drive is one device and the way to it.
type drive struct {
	transport sgio.Transport
	path      string
	size      int64 // bytes
	sector    int64
}

func driveOf(dev *disk.Device, options Options) *drive {
	d := &drive{transport: options.Transport, path: dev.Path, size: dev.Size, sector: int64(max(dev.Sector, 1))}
	if d.transport == nil {
		d.transport = sgio.New(dev.File())
	}
	return d
}

// Identify asks the disk what it is. Where it is no ATA disk, or something in
// between passes no ATA commands on, the error is erasure.ErrNotSupported.
func Identify(ctx context.Context, dev *disk.Device, options Options) (Identity, error) {
	id, err := driveOf(dev, options).identify(ctx)
	if err != nil {
		return Identity{}, fmt.Errorf("identify disk %s: %w", dev.Path, unsupported(err))
	}
	return id, nil
}

func (d *drive) identify(ctx context.Context) (Identity, error) {
	data := make([]byte, blockSize)
	err := d.do(ctx, request{name: "IDENTIFY DEVICE", code: cmdIdentifyDevice, data: data, timeout: answerTime})
	if err != nil {
		return Identity{}, err
	}
	return ParseIdentity(data)
}

// whole reports whether what has identified itself is all of what was opened,
// and no more: ATA commands sent to a partition go to its disk, and those sent
// to the volume of a RAID controller or of a bridge to one disk of it. A bridge
// that makes larger sectors of the disk's drops what does not fill one.
func (d *drive) whole(id Identity) bool {
	return id.Size > 0 && id.Size/d.sector*d.sector == d.size
}
