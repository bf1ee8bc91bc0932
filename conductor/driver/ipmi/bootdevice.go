package ipmi

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/bougou/go-ipmi/pkg/types"
)

// bootDevices is the boot device selector, bits 5:2 of the second byte of the boot flags, as that byte
// (IPMI 2.0 table 28-14, deploy-flow section 12), for Ironic's names.
func bootDevices() map[string]uint8 {
	return map[string]uint8{"pxe": 0x04, "disk": 0x08, "safe": 0x0c, "cdrom": 0x14, "bios": 0x18}
}

// supermicroDisk selects the local disk on Supermicro's UEFI firmware (deploy-flow section 12).
const supermicroDisk = 0x24

// Bits of the first byte of the boot flags, and the mask of the selector in the second.
const (
	flagsValid      = 0x80
	flagsPersistent = 0x40
	flagsUEFI       = 0x20
	selectorMask    = 0x3c
)

// SupportedBootDevices lists the names that SetBootDevice takes, in order.
func SupportedBootDevices() []string { return []string{"bios", "cdrom", "disk", "pxe", "safe"} }

// BootDevice reads the boot flags back. Many BMCs cannot do so, or clear them at power on, so nothing may depend
// on it: flags that are absent or not valid give "" and nil.
func (b *BMCs) BootDevice(ctx context.Context, info Info) (device string, persistent *bool, err error) {
	ctx, o, end, err := b.begin(ctx, info, "get boot device", b.commandLimit(1))
	if err != nil {
		return "", nil, err
	}
	defer end()
	data, err := o.command(ctx, types.CommandGetSystemBootOptions, []byte{uint8(types.BootOptionParamSelector_BootFlags), 0, 0})
	if answered(err) {
		return "", nil, nil
	}
	if err != nil {
		return "", nil, err
	}
	device, persistent = parseBootFlags(data)
	return device, persistent, nil
}

// BootMode reads from the boot flags by which rules the firmware boots; "" is unknown.
func (b *BMCs) BootMode(ctx context.Context, info Info) (string, error) {
	ctx, o, end, err := b.begin(ctx, info, "get boot mode", b.commandLimit(1))
	if err != nil {
		return "", err
	}
	defer end()
	data, err := o.command(ctx, types.CommandGetSystemBootOptions, []byte{uint8(types.BootOptionParamSelector_BootFlags), 0, 0})
	if answered(err) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	const parameterInvalid = 0x80
	switch {
	case len(data) < 4 || data[1]&parameterInvalid != 0 || data[2]&flagsValid == 0:
		return "", nil
	case data[2]&flagsUEFI != 0:
		return "uefi", nil
	}
	return "bios", nil
}

// SetBootMode selects the rules by which the firmware boots from now on, and leaves the device that is selected.
func (b *BMCs) SetBootMode(ctx context.Context, info Info, uefi bool) error {
	ctx, o, end, err := b.begin(ctx, info, "set boot mode", b.commandLimit(2))
	if err != nil {
		return err
	}
	defer end()
	flags, selector := uint8(flagsValid|flagsPersistent), uint8(0)
	data, err := o.command(ctx, types.CommandGetSystemBootOptions, []byte{uint8(types.BootOptionParamSelector_BootFlags), 0, 0})
	if err != nil && !answered(err) {
		return err
	}
	const parameterInvalid = 0x80
	if err == nil && len(data) >= 4 && data[1]&parameterInvalid == 0 && data[2]&flagsValid != 0 {
		if selector = data[3] & selectorMask; selector != 0 {
			flags = flagsValid | data[2]&flagsPersistent // a device for the next start stays one
		}
	}
	if uefi {
		flags |= flagsUEFI
	}
	_, err = o.command(ctx, types.CommandSetSystemBootOptions, []byte{uint8(types.BootOptionParamSelector_BootFlags), flags, selector, 0, 0, 0})
	return err
}

// parseBootFlags reads the answer of Get System Boot Options: version, selector with its invalid bit, flags.
func parseBootFlags(data []byte) (device string, persistent *bool) {
	const parameterInvalid = 0x80
	if len(data) < 4 || data[1]&parameterInvalid != 0 || data[2]&flagsValid == 0 {
		return "", nil
	}
	selector := data[3] & selectorMask
	if selector == supermicroDisk {
		selector = bootDevices()["disk"]
	}
	for name, value := range bootDevices() {
		if value == selector {
			isPersistent := data[2]&flagsPersistent != 0
			return name, &isPersistent
		}
	}
	return "", nil
}

// SetBootDevice selects what the firmware boots: at the next start only, or from now on if persistent; by UEFI
// or by BIOS rules. Before, it forbids the BMC to forget the selection after 60 s, unless that is switched off;
// a BMC which does not know that option is none the worse.
func (b *BMCs) SetBootDevice(ctx context.Context, info Info, device string, persistent, uefi bool) error {
	selector, ok := bootDevices()[device]
	if !ok {
		return fmt.Errorf("%w: boot device %q, supported are %s", ErrInvalidParameter, device, strings.Join(SupportedBootDevices(), ", "))
	}
	if uefi && device == "disk" && strings.EqualFold(info.Vendor, "supermicro") {
		selector = supermicroDisk
	}
	ctx, o, end, err := b.begin(ctx, info, "set boot device "+device, b.commandLimit(2))
	if err != nil {
		return err
	}
	defer end()
	disableTimeout := b.cfg.DisableBootTimeout
	if info.DisableBootTimeout != nil {
		disableTimeout = *info.DisableBootTimeout
	}
	if disableTimeout {
		// Bit 3: keep the flags valid when no Chassis Control comes within 60 s.
		const keepOnTimeout = 0x08
		_, err := o.command(ctx, types.CommandSetSystemBootOptions, []byte{uint8(types.BootOptionParamSelector_BMCBootFlagValidBitClear), keepOnTimeout})
		if err != nil && !answered(err) {
			return err
		}
	}
	flags := uint8(flagsValid)
	if persistent {
		flags |= flagsPersistent
	}
	if uefi {
		flags |= flagsUEFI
	}
	_, err = o.command(ctx, types.CommandSetSystemBootOptions, slices.Concat([]byte{uint8(types.BootOptionParamSelector_BootFlags)}, []byte{flags, selector, 0, 0, 0}))
	return err
}
