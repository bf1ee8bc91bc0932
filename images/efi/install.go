// Package efi makes a written disk known to UEFI firmware: it finds the boot
// loaders on the EFI system partition and writes boot entries for them.
package efi

import (
	"context"
	"errors"
	"fmt"
)

// ErrNoESP: the disk has no EFI system partition.
var ErrNoESP = errors.New("no EFI system partition")

// ErrNoLoader: the EFI system partition holds no boot loader that is known.
var ErrNoLoader = errors.New("no boot loader")

// Entry is one boot entry.
type Entry struct {
	Number uint16 // as in Boot0003
	Label  string
	Loader string // \EFI\BOOT\BOOTX64.EFI
}

// Install finds the loaders on the EFI system partition of device and writes a
// boot entry for each below efivars (/sys/firmware/efi/efivars), first in the
// boot order; entries with the same label go. espUUID (may be "") names the
// partition where the table does not. It fails with ErrNoESP or ErrNoLoader if
// there is nothing to boot.
func Install(ctx context.Context, efivars, device, espUUID string) ([]Entry, error) {
	return nil, fmt.Errorf("boot entries for %s: %w", device, errors.ErrUnsupported)
}
