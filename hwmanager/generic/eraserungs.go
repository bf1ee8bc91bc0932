package generic

import (
	"context"

	"ferric/api/ipa"
	"ferric/hwmanager/ata"
	"ferric/hwmanager/erasure"
	"ferric/hwmanager/nvme"
	"ferric/hwmanager/scsi"
	"ferric/hwmanager/sgio"
	"ferric/images/disk"
)

// secureErases are the ways in which disks erase themselves, the best first.
func secureErases() []rung { return []rung{ataErase(nil), nvmeErase(nil), scsiSanitize(nil)} }

// ataErase is ATA security erase, over transport if it is not nil.
func ataErase(transport sgio.Transport) rung {
	return rung{
		method:  ipa.MethodATA,
		enabled: func(o eraseOptions) bool { return o.ata },
		applies: takesSCSI,
		erase: func(ctx context.Context, device *disk.Device, _ eraseOptions, progress func(float64)) (erasure.Method, error) {
			return ata.Erase(ctx, device, ata.Options{Transport: transport}, progress)
		},
		settle: func(ctx context.Context, device *disk.Device) error {
			return ata.Settle(ctx, device, ata.Options{Transport: transport})
		},
	}
}

// nvmeErase is NVMe sanitize and format. Namespaces beside the disk's own are not
// given up for it: a disk with such, of which nobody knows whether they are to be
// erased now, has to be able to format one alone.
func nvmeErase(transport nvme.Transport) rung {
	return rung{
		method:  ipa.MethodNVMe,
		enabled: func(o eraseOptions) bool { return o.nvme },
		applies: func(d ipa.BlockDevice, device *disk.Device) bool { return device.IsBlock() && isNVMe(d) },
		erase: func(ctx context.Context, device *disk.Device, o eraseOptions, progress func(float64)) (erasure.Method, error) {
			return nvme.Erase(ctx, device, nvme.Options{Transport: transport, Unrestricted: o.continueIfFailed}, progress)
		},
		settle: func(ctx context.Context, device *disk.Device) error {
			return nvme.Settle(ctx, device, nvme.Options{Transport: transport}, nil)
		},
	}
}

// scsiSanitize is SCSI sanitize.
func scsiSanitize(transport sgio.Transport) rung {
	return rung{
		method:  ipa.MethodSCSI,
		enabled: func(o eraseOptions) bool { return o.scsi },
		applies: takesSCSI,
		erase: func(ctx context.Context, device *disk.Device, o eraseOptions, progress func(float64)) (erasure.Method, error) {
			return scsi.Erase(ctx, device, scsi.Options{Transport: transport, Unrestricted: o.continueIfFailed}, progress)
		},
		settle: func(ctx context.Context, device *disk.Device) error {
			return scsi.Settle(ctx, device, scsi.Options{Transport: transport}, nil)
		},
	}
}

// takesSCSI: the disk belongs to the SCSI layer of the kernel, as SATA disks do.
func takesSCSI(d ipa.BlockDevice, device *disk.Device) bool {
	return device.IsBlock() && d.HCTL != nil
}
