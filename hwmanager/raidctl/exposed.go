package raidctl

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"ferric/api/ipa"
	"ferric/hwmanager"
)

// Disks that the operating system sees as they are may hold what must stay, though
// no volume of the controller says so.

// seen reports whether the operating system sees the disk as it is.
func (d *Disk) seen() bool { return d.State == stateJBOD || d.exposed }

// devicesOf are the operating system's disks that a disk may be. Tools do not name
// disks of all transports as the kernel does, so whatever may be it counts.
func (k *keeper) devicesOf(d *Disk) []ipa.BlockDevice {
	return slices.DeleteFunc(slices.Clone(k.devices), func(b ipa.BlockDevice) bool {
		for _, wwn := range []*string{b.WWN, b.WWNWithExtension} {
			if wwn != nil && d.WWN != "" && strings.EqualFold(*wwn, d.WWN) {
				return false
			}
		}
		serial := ""
		if b.Serial != nil {
			serial = strings.ToLower(strings.TrimSpace(*b.Serial))
		}
		return !(sameSerial(serial, strings.ToLower(d.Serial)) || d.device != "" && b.Name == d.device)
	})
}

// isOneOf reports whether a disk is one of those with the world-wide names.
func (k *keeper) isOneOf(names map[string]bool, d *Disk) bool {
	return names[d.WWN] || slices.ContainsFunc(k.devicesOf(d), func(b ipa.BlockDevice) bool {
		return b.WWNWithExtension != nil && names[strings.ToLower(*b.WWNWithExtension)]
	})
}

// nameOfKernel is the world-wide name by which the kernel knows a disk that it was
// just shown. Tools tell the name of a port, or of the disk without its last
// digits, of some; then the serial number finds it.
func (w *work) nameOfKernel(ctx context.Context, d *Disk) string {
	if w.h.Set == nil {
		return d.WWN
	}
	for deadline := time.Now().Add(w.m.patience); ; {
		if k, err := newKeeper(ctx, w.h, nil); err == nil {
			for _, b := range k.devicesOf(d) {
				if b.WWNWithExtension != nil {
					return *b.WWNWithExtension
				}
			}
		}
		if time.Now().After(deadline) {
			return d.WWN
		}
		select {
		case <-time.After(w.m.poll):
		case <-ctx.Done():
			return d.WWN
		}
	}
}

// sameSerial reports whether both are one serial number, of which one may be cut.
func sameSerial(a, b string) bool {
	return min(len(a), len(b)) >= 6 && (strings.HasPrefix(a, b) || strings.HasPrefix(b, a))
}

// kept is why skip_block_devices keeps a disk; "" if it does not.
func (k *keeper) kept(d *Disk) string {
	devices := k.devicesOf(d)
	if len(devices) == 0 { // hints that name it as the tool does still hold
		device := ipa.BlockDevice{Name: d.device, Size: d.Size}
		if d.WWN != "" {
			device.WWN, device.WWNWithExtension = &d.WWN, &d.WWN
		}
		if d.Serial != "" {
			device.Serial = &d.Serial
		}
		devices = append(devices, device)
	}
	for i := range devices {
		if why := k.keepsDevice(&devices[i]); why != "" {
			return why
		}
	}
	return ""
}

// inUse is an error that says by what a disk is used, or what it holds that is
// protected.
func (k *keeper) inUse(h *hwmanager.Host, node hwmanager.Node, d *Disk) error {
	if at := mountedAt(h, d.device); at != "" {
		return fmt.Errorf("%s is mounted at %s", d.device, at)
	}
	for _, b := range k.devicesOf(d) {
		if at := mountedAt(h, b.Name); at != "" {
			return fmt.Errorf("%s is mounted at %s", b.Name, at)
		}
		if err := mayErase(h, node, b); err != nil {
			return err
		}
	}
	return nil
}

// held are the disks that must not become part of volumes, with the reasons.
func (k *keeper) held(h *hwmanager.Host, node hwmanager.Node, controllers []*Controller) map[*Disk]string {
	held := map[*Disk]string{}
	for _, c := range controllers {
		for _, d := range c.Disks {
			if !d.seen() {
				continue
			}
			why := k.kept(d)
			if err := k.inUse(h, node, d); err != nil {
				why = cmp.Or(why, err.Error())
			}
			if why != "" {
				held[d] = why
			}
		}
	}
	return held
}
