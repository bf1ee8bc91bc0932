package images

import (
	"context"
	"fmt"

	"ferric/api/ipa"
	"ferric/images/configdrive"
	"ferric/images/disk"
	"ferric/images/partition"
)

// Deployment is a disk with its image, as far as the agent contract wants to
// know (section "prepare_image").
type Deployment struct {
	Result
	// RootUUID is the MBR disk signature of a whole-disk image, "0x%08x"; of a
	// partition image the UUID of the root file system or, if it has none that
	// is known, of the partition.
	RootUUID string
	// ESPUUID, PRePUUID and Partitions are of a partition image: the volume
	// ID of the EFI system partition ("ABCD-1234"), the UUID of the PReP boot
	// partition, and the partitions' numbers by their names (PartRoot, …).
	ESPUUID, PRePUUID string
	Partitions        map[string]int
	// ConfigDrive is the partition that holds the config drive, "" if none.
	ConfigDrive string
}

// Deploy writes the image, moves the GPT's backup header to the end of the
// disk, checks that the partition table is usable, writes the config drive
// (base64(gzip(volume)) or URL; "" for none), makes the kernel see the new
// partitions and reads the MBR signature. If it fails after the image was
// written, the ends of the disk are wiped as Write does it.
func Deploy(ctx context.Context, target disk.Target, req Request, configDrive string, progress func(ipa.Progress)) (Deployment, error) {
	m := watch(progress)
	d, err := deploy(ctx, target, req, configDrive, m)
	m.finish(err == nil)
	return d, err
}

func deploy(ctx context.Context, target disk.Target, req Request, configDrive string, m *monitor) (Deployment, error) {
	res, err := write(ctx, target, req, m)
	if err != nil {
		return Deployment{Result: res}, err
	}
	d := Deployment{Result: res}
	if err := d.finish(ctx, target, req, configDrive, m); err != nil {
		if werr := wipe(context.WithoutCancel(ctx), target); werr != nil {
			err = fmt.Errorf("%w; and the disk could not be wiped again: %w", err, werr)
		}
		return d, fmt.Errorf("deploy image to %s: %w", target.Path(), err)
	}
	return d, nil
}

// finish turns a panic into an error: what follows the image parses tables and
// file systems that come from it, and the disk must be wiped then, too.
func (d *Deployment) finish(ctx context.Context, target disk.Target, req Request, configDrive string, m *monitor) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("%w: what is on the disk now cannot be read: %v", ErrCorrupt, r)
		}
	}()
	m.enter(ipa.PhasePartitioning)
	// Whatever keeps the backup header from moving, the primary one may
	// still be good: that is for Validate to say (agent contract, "After
	// writing": errors of the fix are ignored).
	_ = partition.FixBackup(target)
	if err := partition.Validate(target.Path()); err != nil {
		return err
	}
	if configDrive != "" {
		m.enter(ipa.PhaseConfigDrive)
		p, err := configdrive.Write(ctx, target, configDrive, req.driveOptions())
		if err != nil {
			return err
		}
		d.ConfigDrive = disk.Node(target.Path(), p.Number)
	}
	if err := partition.Reread(ctx, target.Path()); err != nil {
		return err
	}
	d.RootUUID, err = partition.Signature(target.Path())
	return err
}
