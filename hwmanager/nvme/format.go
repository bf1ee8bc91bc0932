package nvme

import (
	"context"
	"errors"
	"fmt"
	"time"

	"ferric/hwmanager/erasure"
)

// Format NVM (section 5.14): opcode and fields of CDW10.
const (
	opFormat           = 0x80
	metadataExtended   = 1 << 4 // MSET
	protectionShift    = 5      // PI
	protectionFirst    = 1 << 8 // PIL
	eraseUserData      = 1 << 9 // SES 001b
	eraseCrypto        = 2 << 9 // SES 010b
	formatUpperShift   = 12     // LBAFU
	flbasExtended      = 1 << 4 // FLBAS: metadata is transferred with the data
	dpsFirst           = 1 << 3 // DPS: protection information is the first bytes of the metadata
	fpiSupported       = 1 << 7 // FPI: bits 6:0 are the per cent that remain
	formatProgressTick = 2 * time.Second
)

// keep is CDW10 of a format that leaves block size, metadata and protection
// information as they are.
func (n Namespace) keep() uint32 {
	format := uint32(n.format())
	cdw10 := format&0xf | format>>4<<formatUpperShift | uint32(n.DPS&7)<<protectionShift
	if n.FLBAS&flbasExtended != 0 {
		cdw10 |= metadataExtended
	}
	if n.DPS&dpsFirst != 0 {
		cdw10 |= protectionFirst
	}
	return cdw10
}

// format erases the namespace by Format NVM with a secure erase, of the key if
// the drive can, else of the data.
func (d *drive) format(ctx context.Context, o Options, progress func(float64)) (erasure.Method, error) {
	if d.OACS&OACSFormat == 0 {
		return erasure.Method{}, fmt.Errorf("format: %w", erasure.ErrNotSupported)
	}
	if d.FNA&(FormatAll|FormatEraseAll) != 0 {
		if err := d.checkAgreed(ctx, o.Agreed); err != nil {
			return erasure.Method{}, fmt.Errorf("format: %w", err)
		}
	}
	if d.FNA&FormatCryptoErase != 0 {
		method, err := d.formatBy(ctx, "nvme-format-crypto-erase", eraseCrypto, progress)
		if !errors.Is(err, erasure.ErrNotSupported) {
			return method, err
		}
	}
	return d.formatBy(ctx, "nvme-format-user-data-erase", eraseUserData, progress)
}

func (d *drive) formatBy(ctx context.Context, name string, erase uint32, progress func(float64)) (erasure.Method, error) {
	method := erasure.Method{Name: name, Leaves: erasure.Changed, Unreadable: d.ns.protected()}
	err := d.formatting(ctx, &Command{
		Opcode: opFormat, Namespace: d.id, CDW10: d.ns.keep() | erase,
		Timeout: min(unreported+writeTime(d.ns.Size()), longest),
	}, progress)
	switch {
	case refusesCommand(err):
		return method, fmt.Errorf("%s: %w (%w)", name, erasure.ErrNotSupported, err)
	case err != nil:
		return method, fmt.Errorf("%s: %w", name, err)
	}
	after, err := d.namespace(ctx)
	if err != nil {
		return method, fmt.Errorf("%s: the drive completed it, and then: %w", name, err)
	}
	if after.Size() != d.ns.Size() || after.BlockSize != d.ns.BlockSize {
		return method, fmt.Errorf("%s: the namespace had %d blocks of %d bytes and has %d of %d", name, d.ns.Blocks, d.ns.BlockSize, after.Blocks, after.BlockSize)
	}
	progress(1)
	return method, nil
}

// formatting performs a Format NVM command, which ends with the format, and
// reports how far it is where the namespace tells.
func (d *drive) formatting(ctx context.Context, c *Command, progress func(float64)) error {
	if d.ns.FPI&fpiSupported == 0 {
		return d.do(ctx, c)
	}
	done := make(chan error, 1)
	go func() { done <- d.do(ctx, c) }()
	ticker := time.NewTicker(formatProgressTick)
	defer ticker.Stop()
	for {
		select {
		case err := <-done:
			return err
		case <-ticker.C:
			if now, err := d.namespace(ctx); err == nil && now.FPI&fpiSupported != 0 {
				progress(1 - float64(min(now.FPI&0x7f, 100))/100)
			}
		}
	}
}
